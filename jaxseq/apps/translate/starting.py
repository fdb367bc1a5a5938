"""The length of a training, and the run that it fine-tunes, if any."""

from __future__ import annotations

import dataclasses
import math

from jaxseq.apps import run_folder
from jaxseq.apps.ragged import Ragged
from jaxseq.apps.settings import Default, option
from jaxseq.apps.text import UNK
from jaxseq.apps.translate.config import KIND, TranslateConfig
from jaxseq.apps.translate.model import load
from jaxseq.apps.translate.preparation import Preparation
from jaxseq.apps.translate.saving import CHUNK
from jaxseq.errors import InputError
from jaxseq.notation import Params

OF_THE_MODEL = (
    "source", "target", "normalise", "source_tokens", "target_tokens", "subwords", "shared", "case",
    "model", "cell", "attention", "layers", "decoder_layers", "residual", "layer_norm", "tie", "input_feeding",
    "embedding", "hidden",
)  # fmt: skip
"""Settings without which the parameters of a run are useless: fine-tuning takes them from the run."""


def check_length(config: TranslateConfig) -> None:
    """Check that a new training is not given both steps and epochs.

    Raises:
      InputError: if both steps and epochs are given.
    """
    if config.epochs and not isinstance(config.steps, Default):
        raise InputError(
            f"--steps {config.steps} and --epochs {config.epochs:g} both say how long to train; leave out one of them"
        )


def in_steps(config: TranslateConfig, steps_of_an_epoch: float) -> TranslateConfig:
    """Return the settings with as many steps as their epochs take, rounded up.

    More than 100 are rounded to a multiple of 20, the steps that are compiled as one program.
    """
    if not config.epochs:
        return config
    steps = max(1, math.ceil(config.epochs * steps_of_an_epoch))
    # a chunk is a divisor of the steps: of 1,501 it would be a single one
    if steps > 5 * CHUNK:
        steps = round(steps / CHUNK) * CHUNK
    return dataclasses.replace(config, steps=steps)


def fine_tuned(config: TranslateConfig) -> TranslateConfig:
    """Return the settings with those of the model taken from the run that `init_from` names, if any.

    Raises:
      InputError: if there is no such run, or a setting of the model was given and is not the run's.
    """
    if not config.init_from:
        return config
    base, usual = run_folder.read_config(config.init_from, KIND, TranslateConfig, config.cell), TranslateConfig()
    for name in OF_THE_MODEL:
        given, had = getattr(config, name), getattr(base, name)
        # a value equal to the default counts as not given
        if given not in (had, getattr(usual, name)):
            raise InputError(
                f"{option(name)} {given}: the run {config.init_from} has {had}, and --init-from keeps its model; "
                f"leave out {option(name)}, or train anew without --init-from"
            )
    return dataclasses.replace(config, **{name: getattr(base, name) for name in OF_THE_MODEL})


def base(config: TranslateConfig) -> tuple[tuple[Preparation, Preparation], Params]:
    """Return how the run that is fine-tuned prepares sentences, and its parameters."""
    translator = load(config.init_from, config.cell)
    return (translator.source, translator.target), translator.params


def chosen_otherwise(config: TranslateConfig) -> str:
    """Return a note if the best checkpoint is chosen by another measure than the training loss, else nothing."""
    if config.loss != "risk" or config.best != "loss" or not (config.validation or config.dev):
        return ""
    return (
        "--loss risk trains for BLEU, but --best loss keeps the checkpoint with the lowest validation loss, which this "
        "training may raise; --best bleu keeps the one with the best BLEU"
    )


def unknown_share(source: Ragged, target: Ragged) -> str:
    """Return how many training tokens the vocabularies lack, as a sentence; an empty string if they lack none."""
    # each row has one EOS, which is always known
    shares = [side.count(UNK) / (len(side.tokens) - len(side.lengths)) for side in (source, target)]  # without EOS
    if not any(shares):
        return ""
    return (
        f"{shares[0]:.1%} of the source tokens and {shares[1]:.1%} of the target tokens are not in the vocabularies of "
        "the run that is fine-tuned; they are read and learnt as <unk>"
    )

"""The settings of a translator, their checks, and the presets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxseq.apps.custom import check_translates, find_cell
from jaxseq.apps.pairs import Form
from jaxseq.apps.settings import MOST, MOST_LAYERS, MOST_UNITS, Default, require, require_at_least, require_at_most
from jaxseq.apps.text import NORMALISERS
from jaxseq.apps.translate.fields import (
    DataSettings,
    ModelSettings,
    ObjectiveSettings,
    ReportSettings,
    TextSettings,
    TrainingSettings,
)
from jaxseq.apps.tutorial import attentive, plain
from jaxseq.attention import ATTENTIONS
from jaxseq.errors import InputError, choose
from jaxseq.forcing import schedule
from jaxseq.optimizers import OPTIMIZERS, SCHEDULES, check_decay
from jaxseq.seq2seq import Seq2Seq, translator

KIND = "translation"
"""The kind of run in config.json."""
SAMPLE_ABOVE = 20_000
"""Target words above which a note recommends a sampled softmax."""
LONGEST = 320
"""The most source tokens that a translator reads, EOS included."""
POSITIONS = 10
"""The same of the tutorial's attention, which has a weight for each position; and the most target tokens of the
tutorial's models."""


@dataclasses.dataclass(frozen=True)
class TranslateConfig(ReportSettings, ObjectiveSettings, TrainingSettings, ModelSettings, TextSettings, DataSettings):
    """Settings of a translation run: those of all groups; a dataclass has the fields of its last base first."""

    def __post_init__(self) -> None:
        # with hyphens, as options are typed and earlier versions saved them
        object.__setattr__(self, "attention", self.attention.replace("-", "_"))
        for name in ("data", "dev", "test"):
            words = getattr(self, name)
            if not isinstance(words, str):  # one word is the same, given either way
                object.__setattr__(self, name, words[0] if len(words) == 1 else tuple(map(str, words)))

    def check(self) -> None:
        """Check every setting.

        Raises:
          InputError: naming the setting, its allowed values and its value.
        """
        positive = (
            "embedding", "hidden", "layers", "decoder_layers", "steps", "batch", "buckets", "report_every", "min_count",
            "accumulate", "plateau_patience", "risk_samples",
        )  # fmt: skip
        require_at_least(1, positive, self)
        require_at_most(MOST_LAYERS, ("layers", "decoder_layers"), self)
        require_at_most(MOST_UNITS, ("embedding", "hidden"), self)
        require_at_most(MOST, positive, self)
        require_at_least(0, ("patience", "warmup", "clip", "coverage_loss", "sampled", "average", "batch_tokens"), self)
        for name in ("dropout", "word_dropout", "label_smoothing", "validation", "ema"):
            require(0 <= getattr(self, name) < 1, name, "at least 0 and below 1", self)
        for name in ("learning_rate", "risk_sharpness"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, "above 0 and finite", self)
        require(self.snapshots == 0 or self.snapshots >= 2, "snapshots", "0, or at least 2", self)
        # the end of the sentence is a token too
        most = self.longest - 1
        require(2 <= self.max_tokens <= most, "max_tokens", f"at least 2 and at most {most}", self)
        require(len(set(self.columns)) == 2, "columns", "two languages", self)
        require(bool(self.data), "data", "the pairs to train on", self)
        require(all(w > 0 and math.isfinite(w) for w in self.weights), "weights", "above 0 and finite", self)
        require(self.source != self.target, "target", "another language than source", self)
        for name, table in _TABLES.items():
            choose(name.replace("_", " "), getattr(self, name), table)
        self._check_text()
        # traced for shapes only: a cell that does not fit is refused before any data are read
        if self.model == "translator":
            check_translates(find_cell(self.cell))
        plain = self.loss == "sentences" or self.model != "translator"
        for name in ("coverage_loss", "sampled"):
            require(not (plain and getattr(self, name)), name, "0 with the tutorial's models and their loss", self)
            require(self.loss != "risk" or not getattr(self, name), name, "0 with --loss risk", self)
        if self.model != "translator":
            require(self.loss != "risk", "loss", "tokens or sentences with the tutorial's models", self)
            require(self.precision == "float32", "precision", "float32 with the tutorial's models", self)
        # builds the schedule for its checks, and drops it
        schedule(self.forcing, self.forcing_start, self.forcing_end, self.forcing_steps)
        self._check_optimizing()

    def _check_optimizing(self) -> None:
        """Check the settings of how parameters are updated, and which are kept."""
        require(0 <= self.epochs < math.inf, "epochs", "at least 0 and finite", self)
        require(0 < self.plateau_factor < 1, "plateau_factor", "above 0 and below 1", self)
        if self.weight_decay is not None:
            check_decay(self.optimizer, self.weight_decay)
        # both average parameters, and only one set is validated and saved
        require(not (self.ema and self.average), "average", "0 with --ema, which averages as well", self)
        require(
            self.best == "loss" or self.validation > 0 or bool(self.dev),
            "best",
            "loss if no pair is held back",
            self,
        )

    def _check_text(self) -> None:
        """Check the settings of tokens and vocabularies."""
        require(self.subwords == 0 or self.subwords >= 32, "subwords", "0, or at least 32", self)
        by = [self.tokens_of(side) for side in ("source", "target")]
        if self.subwords == 0 and "subwords" in by:
            raise InputError("subword tokens need a vocabulary size; add --subwords 8000")
        if self.normalise == "tutorial":
            require(not self.subwords, "subwords", "0 with --normalise tutorial", self)
            require(self.case != "keep", "case", "lower or restore with --normalise tutorial", self)
        # row n of the one matrix is token n of both languages
        if self.tie == "all" and not self.shared:
            raise InputError(
                "--tie all uses one embedding for both languages, so they need one vocabulary; add --shared, for "
                "example with --subwords 8000"
            )
        if self.shared and by[0] != by[1]:
            raise InputError(
                f"--shared uses one vocabulary, so tokens must be of one kind; got --source-tokens {by[0]} and "
                f"--target-tokens {by[1]}. Add --subwords 8000, or name one for both"
            )

    def tokens_of(self, side: str) -> str:
        """Return the kind of tokens of a side, source or target: chars, words or subwords."""
        named = {one: getattr(self, f"{one}_tokens") for one in ("source", "target")}
        return "subwords" if self.subwords and "subwords" not in named.values() else named[side]

    def check_weights(self, corpora: int) -> None:
        """Check that there is a weight for each corpus, or none at all.

        Raises:
          InputError: saying how many there are.
        """
        if self.weights and len(self.weights) != corpora:
            raise InputError(
                f"--weights: expected a number for each corpus of --data; got {len(self.weights)} for {corpora}. Two "
                "files of one corpus, one for each language, are one"
            )

    @property
    def name(self) -> str:
        """Return the name that messages use for the pairs to train on."""
        return self.data if isinstance(self.data, str) else " ".join(self.data)

    @property
    def form(self) -> Form:
        """Return which languages are read from a file, and where they are in it."""
        return Form(self.source, self.target, self.columns, self.source_column, self.target_column)

    @property
    def longest(self) -> int:
        """Return the most source tokens that the model reads, EOS included."""
        return POSITIONS if self.model == "tutorial-attention" else LONGEST

    def most_target_tokens(self, source_tokens: int) -> int:
        """Return the most tokens of a translation of `source_tokens`, EOS of both included."""
        if self.model != "translator":
            return POSITIONS
        return 2 * source_tokens + 10  # every pair of zh-en and of cmn-eng fits, from and into Chinese

    @property
    def products(self) -> Any:
        """Return the dtype to which operands of matrix products are rounded; None keeps their own."""
        return None if self.precision == "float32" else jnp.bfloat16

    def notes(self, target_words: int) -> list[str]:
        """Return a note if the target vocabulary is so large that a sampled softmax saves most of a step."""
        if self.sampled or self.model != "translator" or target_words <= SAMPLE_ABOVE:
            return []
        return [f"the target has {target_words:,} words: --sampled 2000 trains faster, --min-count 2 keeps fewer words"]

    def build(self, training: bool = False) -> Seq2Seq:
        """Return the model of these settings; for `training` its products have their precision."""
        # reduced precision pays only in training: validation and decoding use the saved parameters in full
        config = self if training else dataclasses.replace(self, precision="float32")
        return choose("model", self.model, MODELS)(config)


def _translator(config: TranslateConfig) -> Seq2Seq:
    if config.attention == "positional":
        raise InputError(
            "--attention positional needs the model tutorial-attention; ours reads the source, such as additive"
        )
    return translator(
        find_cell(config.cell), ATTENTIONS[config.attention], config.layers, config.dropout,
        decoder_layers=config.decoder_layers, residual=config.residual, layer_norm=config.layer_norm, tie=config.tie,
        input_feeding=config.input_feeding, word_dropout=config.word_dropout, products=config.products,
    )  # fmt: skip


MODELS = {
    "translator": _translator,
    "tutorial-plain": lambda config: plain,
    "tutorial-attention": lambda config: attentive(POSITIONS, config.dropout),
}
"""How each model is built from the settings."""

TOKENS = {"chars": "characters", "words": "words", "subwords": "pieces of words"}
"""Kinds of tokens, with their plural for messages."""
_TABLES: dict[str, Mapping[str, object]] = {
    "attention": ATTENTIONS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES,
    "normalise": NORMALISERS, "source_tokens": TOKENS, "target_tokens": TOKENS, "model": MODELS,
}  # fmt: skip
"""The settings that are names, each with the table of its values."""

_TUTORIAL = TranslateConfig(
    normalise="tutorial",
    source_tokens="words",
    case="lower",
    prefix_filter=True,
    max_tokens=9,
    validation=0.0,
    embedding=256,
    hidden=256,
    steps=Default(20_000),
    batch=1,
    replacement=True,
    buckets=1,
    schedule="constant",
    warmup=0,
    clip=0.0,
    label_smoothing=0.0,
    loss="sentences",
    forcing_start=0.5,
    forcing_per="sequence",
    report_every=500,
    patience=0,
)

PRESETS: dict[str, TranslateConfig] = {
    "default": TranslateConfig(),
    "tutorial-plain": dataclasses.replace(
        _TUTORIAL, model="tutorial-plain", optimizer="adam", learning_rate=0.01, dropout=0.0
    ),
    "tutorial-attention": dataclasses.replace(
        _TUTORIAL, model="tutorial-attention", optimizer="sgd", learning_rate=0.01, dropout=0.1
    ),
}
"""Settings by name; an option given with a preset overrides it."""

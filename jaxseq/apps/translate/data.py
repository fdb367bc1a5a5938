"""What a translator reads: a file of pairs prepared once, and the token numbers that training takes from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.apps import datasets, text
from jaxseq.apps.pairs import check_not_empty, passes_filter, read_pairs, split_rows
from jaxseq.apps.text import PAD, SOS, Bucket, Vocabulary
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.preparation import Pair, Preparation, learn, preparations, unlearnt
from jaxseq.errors import InputError
from jaxseq.notation import Array


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Pairs read, filtered, split and prepared.

    Fields:
      train: the pairs to train on.
      validation: the pairs held back; no sentence of theirs, on either side, is in `train`.
      source: how sources are prepared, with the vocabulary of those in `train`.
      target: how targets are prepared, with the vocabulary of those in `train`.
      notes: what was left out and why, for people.
    """

    train: Sequence[Pair]
    validation: Sequence[Pair]
    source: Preparation
    target: Preparation
    notes: Sequence[str]

    def digest(self) -> str:
        """Return what tells this corpus from a changed one: a sum of all pairs in their order."""
        texts = [[[source.text, target.text] for source, target in part] for part in (self.train, self.validation)]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def measured(self) -> tuple[str, Sequence[Pair]]:
        """Return which pairs measure a translator, and these: those held back, or all where none were."""
        where, pairs = ("held back in training", self.validation) if self.validation else ("trained on", self.train)
        return where, pairs


def digest_of(source: Vocabulary, target: Vocabulary) -> str:
    """Return what tells two vocabularies from others of the same size: a sum of all their tokens in order."""
    return hashlib.sha256(json.dumps([source.tokens, target.tokens]).encode()).hexdigest()


def read_sentences(config: TranslateConfig, path: Path | str, source: Preparation, target: Preparation) -> list[Pair]:
    """Return the prepared pairs of a file.

    Raises:
      InputError: if the file cannot be used, or a side is empty once it is normalised.
    """
    written = read_pairs(path, config.columns, config.source, config.target)
    pairs = [(source.sentence(a), target.sentence(b)) for a, b in written]
    check_not_empty(written, [(a.text, b.text) for a, b in pairs], path)
    return pairs


def prepare(config: TranslateConfig, given: tuple[Preparation, Preparation] | None = None) -> Corpus:
    """Read the file that config names, filter and split it, and learn tokens and vocabularies from the training part.

    `given` are preparations that have learnt already, such as those of a run, which are taken instead.

    Raises:
      InputError: if the file cannot be used, nothing is left after the filters, or it is too small to split.
    """
    path, (source, target) = datasets.find(config.data), unlearnt(given) if given else preparations(config)
    pairs, notes = _filtered(config, read_sentences(config, path, source, target), path)
    train, validation = pairs, []
    if config.validation:
        texts = [(a.text, b.text) for a, b in pairs]
        parts = split_rows(texts, config.validation, config.seed)
        train, validation = ([pairs[row] for row in rows] for rows in parts)
    source, target, (train, validation) = learn(config, source, target, (train, validation), given)
    notes += config.notes(len(target.vocabulary))
    return Corpus(train, validation, source, target, notes)


def _filtered(config: TranslateConfig, pairs: list[Pair], path: Path) -> tuple[list[Pair], list[str]]:
    """Return the pairs that pass the filters, and notes on those that do not."""
    notes, read = [], len(pairs)
    if config.prefix_filter:
        english = 0 if config.source == "en" else 1
        pairs = [pair for pair in pairs if passes_filter((pair[0].text, pair[1].text), english)]
        notes.append(f"{read - len(pairs)} of {read} pairs do not pass the tutorial's filter")
    kept = [pair for pair in pairs if max(len(side.tokens) for side in pair) <= config.max_tokens]
    if len(kept) < len(pairs):
        notes.append(f"{len(pairs) - len(kept)} pairs are longer than --max-tokens {config.max_tokens} and left out")
    if not kept:
        raise InputError(f"{path}: no pair is left of {read}: {'; '.join(notes)}. Loosen the filter or --max-tokens")
    return kept, notes


def numbered(source: Preparation, target: Preparation, pairs: Sequence[Pair], buckets: int) -> list[Bucket]:
    """Return pairs as token numbers, each side ending with EOS, grouped by length and padded."""
    return text.buckets([source.numbers(a) for a, _ in pairs], [target.numbers(b) for _, b in pairs], buckets)


def target_counts(buckets: Sequence[Bucket], size: int) -> Array:
    """Return how often each of `size` target tokens is predicted, EOS included; PAD is not predicted."""
    targets = np.concatenate([bucket.target.ravel() for bucket in buckets])
    return jnp.asarray(np.bincount(targets[targets != PAD], minlength=size))


class Batch(NamedTuple):
    """Token numbers: ``source [S, B]``, ``inputs [T, B]`` (SOS first), ``targets [T, B]`` (EOS last), PAD between."""

    source: Array
    inputs: Array
    targets: Array


def take(data: tuple[Array, Array], rows: Array) -> Batch:
    """Return the batch of those rows of ``(source [S, N], target [T, N])``; a row of -1 is empty."""
    source, targets = (jnp.where(rows >= 0, jnp.take(side, jnp.maximum(rows, 0), axis=1), PAD) for side in data)
    first = jnp.full_like(targets[:1], SOS)
    return Batch(source, jnp.concatenate([first, targets[:-1]]), targets)

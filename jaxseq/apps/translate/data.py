"""What a translator reads: a file of pairs prepared once, and the token numbers that training takes from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.apps import datasets, text
from jaxseq.apps.pairs import check_not_empty, passes_filter, read_pairs, split_rows
from jaxseq.apps.reading import INVISIBLE
from jaxseq.apps.text import EOS, PAD, SOS, Bucket, Vocabulary
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.errors import InputError
from jaxseq.notation import Array


class Sentence(NamedTuple):
    """A sentence as it was `written`, its normalised `text`, and the `tokens` of that."""

    written: str
    text: str
    tokens: Sequence[str]


UNCOUNTED = Vocabulary(())
"""The vocabulary of a preparation until the training sentences are counted."""


class Preparation(NamedTuple):
    """How a sentence of one language becomes token numbers; training, evaluation and translation share it."""

    normalise: Callable[[str], str]
    cut: Callable[[str], list[str]]
    vocabulary: Vocabulary = UNCOUNTED

    def sentence(self, written: str) -> Sentence:
        """Normalise a sentence and cut it into tokens; zero-width characters are dropped."""
        normal = self.normalise(INVISIBLE.sub("", written))
        return Sentence(written, normal, self.cut(normal))

    def numbers(self, sentence: Sentence) -> list[int]:
        """Return a sentence's token numbers, EOS at the end."""
        return [*self.vocabulary.encode(sentence.tokens), EOS]

    def unknown(self, sentence: Sentence) -> list[str]:
        """Return a sentence's tokens that the vocabulary lacks."""
        return self.vocabulary.unknown(sentence.tokens)


Pair = tuple[Sentence, Sentence]
"""Source and target."""


def preparations(
    config: TranslateConfig, source: Vocabulary = UNCOUNTED, target: Vocabulary = UNCOUNTED
) -> tuple[Preparation, Preparation]:
    """Return how sentences of the source and of the target language are prepared."""
    normalise = text.NORMALISERS[config.normalise]
    return (
        Preparation(normalise, text.TOKENISERS[config.source_tokens], source),
        Preparation(normalise, text.TOKENISERS[config.target_tokens], target),
    )


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

    def measured(self) -> tuple[str, list[Pair]]:
        """Return which pairs measure a translator, and these: those held back, or all where none were."""
        where, pairs = ("held back in training", self.validation) if self.validation else ("trained on", self.train)
        return where, [(_shown(source), _shown(target)) for source, target in pairs]


def _shown(sentence: Sentence) -> Sentence:
    """Return a sentence as if it had been written as the model saw it: normalised."""
    return sentence._replace(written=text.detokenise(sentence.text.split()))


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


def prepare(config: TranslateConfig) -> Corpus:
    """Read the file that config names, filter and split it, and count its vocabularies.

    Raises:
      InputError: if the file cannot be used, nothing is left after the filters, or it is too small to split.
    """
    path, (source, target) = datasets.find(config.data), preparations(config)
    pairs, notes = _filtered(config, read_sentences(config, path, source, target), path)
    train, validation = pairs, []
    if config.validation:
        texts = [(a.text, b.text) for a, b in pairs]
        parts = split_rows(texts, config.validation, config.seed)
        train, validation = ([pairs[row] for row in rows] for rows in parts)
    sources, targets = (
        Vocabulary.build((pair[side].tokens for pair in train), config.min_count) for side in (0, 1)
    )  # fmt: skip
    notes += config.notes(len(targets))
    return Corpus(train, validation, source._replace(vocabulary=sources), target._replace(vocabulary=targets), notes)


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

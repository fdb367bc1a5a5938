"""Read, filter, split and number the sentence pairs that a translator is trained on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.apps import buckets, text
from jaxseq.apps.pairs import Origin, Reader, origins, passes_filter, split_rows
from jaxseq.apps.ragged import Ragged
from jaxseq.apps.text import PAD, SOS, Bucket, Vocabulary
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.preparation import Pair, Preparation, Sentence, learn, preparations, unlearnt
from jaxseq.errors import InputError, quoted
from jaxseq.notation import Array


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Pairs read, filtered, split and prepared.

    Fields:
      train: the pairs to train on.
      validation: the pairs held back; none of their sentences, on either side, is in `train`.
      source: how sources are prepared, with the vocabulary of those in `train`.
      target: how targets are prepared, with the vocabulary of those in `train`.
      notes: on pairs that were left out, and why.
      test: the pairs that measure the translator after training; empty unless given.
      weights: how often each pair in `train` is seen, relative to others; None for alike.
    """

    train: Sequence[Pair]
    validation: Sequence[Pair]
    source: Preparation
    target: Preparation
    notes: Sequence[str]
    test: Sequence[Pair] = ()
    weights: np.ndarray | None = None

    def digest(self) -> str:
        """Return a checksum of all pairs in order; it tells whether the corpus has changed."""
        return _sum_of(self.train, self.validation)

    def test_digest(self) -> str:
        """Return a checksum of the test pairs in order."""
        return _sum_of(self.test)

    def numbers(self) -> tuple[Ragged, Ragged]:
        """Return the token ids of sources and targets to train on, each ending with EOS."""
        sides = enumerate((self.source, self.target))
        source, target = (Ragged.of([side.numbers(pair[n]) for pair in self.train]) for n, side in sides)
        return source, target

    def measured(self) -> tuple[str, Sequence[Pair]]:
        """Return a name for the pairs that measure a translator, and the pairs: test, held back, or all."""
        where, pairs = ("held back in training", self.validation) if self.validation else ("trained on", self.train)
        if self.test:
            where, pairs = "for testing", self.test
        return where, pairs


def _sum_of(*parts: Sequence[Pair]) -> str:
    """Return a checksum of the texts of pairs, part by part."""
    texts = [[[source.text, target.text] for source, target in part] for part in parts]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def digest_of(source: Vocabulary, target: Vocabulary) -> str:
    """Return a checksum of all tokens of two vocabularies in order."""
    return hashlib.sha256(json.dumps([source.tokens, target.tokens]).encode()).hexdigest()


def read_sentences(
    config: TranslateConfig, words: str | Path | Sequence[str], source: Preparation, target: Preparation
) -> list[Pair]:
    """Return the prepared pairs that words mean, such as a file; see `pairs.origins`.

    Raises:
      InputError: if a file cannot be used, or a side is empty once it is normalised.
    """
    found = [_sentences(config, one, source, target)[0] for one in origins(words, config.source, config.target)]
    return [pair for pairs in found for pair in pairs]


def _sentences(
    config: TranslateConfig, origin: Origin, source: Preparation, target: Preparation
) -> tuple[list[Pair], list[str]]:
    """Return the prepared pairs of a corpus, and notes on the pairs left out."""
    pairs, reader = [], Reader(origin, config.form)
    for written in reader:
        a, b = source.sentence(written.source), target.sentence(written.target)
        check_not_empty(origin, written.line, a, b)
        pairs.append((a, b))
    return pairs, reader.notes


def check_not_empty(origin: Origin, line: int, source: Sentence, target: Sentence) -> None:
    """Check that neither side of a pair is empty after normalisation.

    Raises:
      InputError: naming the pair and its line.
    """
    if not (source.text and target.text):
        raise InputError(
            f"{origin.name}, line {line}: the pair {quoted(source.written)} / {quoted(target.written)} has a side that "
            "is empty after normalisation; remove it, or choose another --normalise"
        )


def prepare(config: TranslateConfig, given: tuple[Preparation, Preparation] | None = None) -> Corpus:
    """Read the files that config names, filter and split the pairs, and learn tokens and words from the training part.

    `given` are preparations that have already learnt, such as those of a run; they are used instead.

    Raises:
      InputError: if a file cannot be used, nothing is left after the filters, or there is too little to split.
    """
    source, target = unlearnt(given) if given else preparations(config)
    pairs, corpora, notes = read_corpora(config, config.data, source, target)
    # before the split: a fault in these files is found before anything is learnt
    test: list[Pair] = []
    if config.test:
        test, more = fit_to_read(config, read_sentences(config, config.test, source, target))
        notes += more
    rows, validation = list(range(len(pairs))), test[:0]
    if config.dev:
        validation, _, more = read_corpora(config, config.dev, source, target)
        notes += [f"--dev: {note}" for note in more]
    elif config.validation:
        # by the normalised text: sentences that differ only in case or spacing are the same
        rows, held = split_rows([(a.text, b.text) for a, b in pairs], config.validation, config.seed)
        validation = [pairs[row] for row in held]
    # `split_rows` has already kept sentences of held-back pairs out of the rest
    for option, others in (("--dev", validation if config.dev else []), ("--test", test)):
        rows, more = _without_leaks(config, pairs, rows, others, option)
        notes += more
    train = [pairs[row] for row in rows]
    # learnt from the training part only, then applied to the other parts
    source, target, (train, validation, test) = learn(config, source, target, (train, validation, test), given)
    notes += config.notes(len(target.vocabulary))
    return Corpus(train, validation, source, target, notes, test, weights_of(config, corpora[rows]))


def weights_of(config: TranslateConfig, corpora: np.ndarray) -> np.ndarray | None:
    """Return float ``[N]``, the weight of each pair, given the number of its corpus; they sum to N. None: all alike.

    Each corpus gets a share of the pairs that training sees in proportion to its weight, whatever its size.
    """
    if not config.weights:
        return None
    sizes = np.bincount(corpora, minlength=len(config.weights))
    if not sizes.all():
        raise InputError(f"--weights: no pair is left of corpus {int(np.argmin(sizes)) + 1}; leave it out of --data")
    # a pair's weight falls with the size of its corpus; times N, so that the mean is 1
    share = np.array(config.weights) / np.sum(config.weights) * len(corpora) / sizes
    return share[corpora]


def read_corpora(
    config: TranslateConfig, words: str | Sequence[str], source: Preparation, target: Preparation
) -> tuple[list[Pair], np.ndarray, list[str]]:
    """Return the pairs of all corpora that pass the filters, the number of the corpus of each, and notes.

    Raises:
      InputError: as `read_sentences`, or if nothing is left after the filters.
    """
    found = origins(words, config.source, config.target)
    # --dev and --test are read by this function as well, and have no weights
    if words == config.data:
        config.check_weights(len(found))
    pairs, counts, notes = [], [], []
    for origin in found:
        more, said = _sentences(config, origin, source, target)
        pairs += more
        counts.append(len(more))
        notes += said
    kept, said = _filtered(config, pairs, " and ".join(origin.name for origin in found))
    corpora = np.repeat(np.arange(len(found)), counts)[kept]
    return [pairs[row] for row in kept], corpora, notes + said


def _filtered(config: TranslateConfig, pairs: Sequence[Pair], name: str) -> tuple[list[int], list[str]]:
    """Return the numbers of the pairs that pass the filters, and notes on those that do not."""
    notes, rows = [], list(range(len(pairs)))
    if config.prefix_filter:
        # its prefixes are English, in either direction of translation
        english = 0 if config.source == "en" else 1
        rows = [row for row in rows if passes_filter((pairs[row][0].text, pairs[row][1].text), english)]
        notes.append(f"{len(pairs) - len(rows)} of {len(pairs)} pairs do not pass the tutorial's filter")
    # by the tokens before learning: subwords are learnt from the remaining pairs
    kept = [row for row in rows if max(len(side.tokens) for side in pairs[row]) <= config.max_tokens]
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} pairs are longer than --max-tokens {config.max_tokens} and left out")
    if not kept:
        raise InputError(
            f"{name}: no pair is left of {len(pairs)}: {'; '.join(notes)}. Loosen the filter or --max-tokens"
        )
    return kept, notes


def fit_to_read(config: TranslateConfig, pairs: Sequence[Pair]) -> tuple[list[Pair], list[str]]:
    """Return the test pairs whose source the model can read, and a note on the others.

    Raises:
      InputError: if no pair is left.
    """
    # below, since the end of the sentence is a token as well
    fit = [pair for pair in pairs if len(pair[0].tokens) < config.longest]
    if not fit:
        raise InputError(f"--test: no source has fewer than {config.longest} tokens, the most that the model reads")
    left_out = len(pairs) - len(fit)
    note = f"--test: {left_out} pairs have a source of {config.longest} tokens or more, and are left out"
    return fit, [note] * (left_out > 0)


def _without_leaks(
    config: TranslateConfig, pairs: Sequence[Pair], rows: Sequence[int], others: Sequence[Pair], option: str
) -> tuple[list[int], list[str]]:
    """Return the rows to train on, and a note on those that share a sentence with other pairs."""
    # one shared side is enough: the other side may be another translation of the same sentence
    held = [{pair[side].text for pair in others} for side in (0, 1)]
    shared = [row for row in rows if any(pairs[row][side].text in held[side] for side in (0, 1))]
    if not shared:
        return list(rows), []
    seen = [{pairs[row][side].text for row in shared} for side in (0, 1)]
    known = sum(any(pair[side].text in seen[side] for side in (0, 1)) for pair in others)
    note = f"{len(shared)} of {len(rows)} training pairs share a sentence with {known} of the {len(others)} of {option}"
    if config.leaks == "keep":
        return list(rows), [f"{note}; --leaks remove leaves them out of training"]
    kept = sorted({*rows} - {*shared})
    if not kept:
        raise InputError(f"{note}, so that none is left to train on; give other pairs, or --leaks keep")
    return kept, [f"{note}, and are left out of training"]


def numbered(source: Preparation, target: Preparation, pairs: Sequence[Pair], count: int) -> list[Bucket]:
    """Return pairs as token numbers, each side ending with EOS, in at most `count` groups of similar length, padded."""
    if not pairs:
        return []
    sources, targets = [source.numbers(a) for a, _ in pairs], [target.numbers(b) for _, b in pairs]
    lengths = np.array([(len(a), len(b)) for a, b in zip(sources, targets, strict=True)]).T
    of = buckets.groups(lengths[0], lengths[1], buckets.bounds(lengths[0], lengths[1], count))
    parts = [rows for b in range(count) if len(rows := np.flatnonzero(of == b))]
    return [
        Bucket(text.pad([sources[row] for row in rows]), text.pad([targets[row] for row in rows]), rows)
        for rows in parts
    ]


class Batch(NamedTuple):
    """Token numbers: ``source [S, B]``, ``inputs [T, B]`` (SOS first), ``targets [T, B]`` (EOS last), PAD between."""

    source: Array
    inputs: Array
    targets: Array


def take(data: tuple[Array, Array], rows: Array) -> Batch:
    """Return the batch of those rows of ``(source [S, N], target [T, N])``; a row of -1 is empty."""
    # the index of an empty row must be a valid one; the row that is read there becomes PAD
    source, targets = (jnp.where(rows >= 0, jnp.take(side, jnp.maximum(rows, 0), axis=1), PAD) for side in data)
    # teacher forcing: step t reads the target of step t - 1
    first = jnp.full_like(targets[:1], SOS)
    return Batch(source, jnp.concatenate([first, targets[:-1]]), targets)

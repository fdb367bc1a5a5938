"""Pairs on their way into a prepared folder: read once, with text on disk and a few numbers of each in memory."""

from __future__ import annotations

import array
import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxseq.apps.pairs import Reader, origins, passes_filter, split_numbered
from jaxseq.apps.text import SPECIALS, Vocabulary
from jaxseq.apps.translate import data
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.preparation import Pair, Preparation, Sentence
from jaxseq.errors import InputError

BLOCK = 2**18
"""Pairs whose words are processed at a time."""


class Spool:
    """All pairs that pass the filters: 38 bytes of each in memory, the rest in files.

    Fields:
      hashes: of each side of each pair, 64 bits of a hash of its text.
      lengths: of each side of each pair, its number of tokens after the latest tokenising.
      places: where each pair's text begins in its file.
      corpora: the number of the corpus that each pair is from.
      leaks: of each pair, 1 if it shares a sentence with --dev, 2 with --test, 3 with both.
      numbers: of each side, its distinct tokens with their order of appearance.
      notes: on pairs that were left out, and why.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        # typed arrays grow as lists do, with 2 to 8 bytes a number instead of some 36
        self.hashes = (array.array("Q"), array.array("Q"))
        self.lengths = [array.array("H"), array.array("H")]
        self.places, self.corpora, self.leaks = array.array("Q"), array.array("H"), array.array("B")
        self.numbers: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self.notes: list[str] = []
        self.paths = tuple(folder / name for name in ("source.words", "target.words"))
        self.files = [stack.enter_context(path.open("wb")) for path in self.paths]
        self.text = stack.enter_context((folder / "text").open("w+b"))
        self.size = 0

    def add(self, pair: Pair, corpus: int, leak: int) -> None:
        """Take one more pair."""
        for side, sentence in enumerate(pair):
            known = self.numbers[side]
            self.hashes[side].append(hash_of(sentence.text))
            self.lengths[side].append(len(sentence.tokens))
            # numbers in the order of appearance: those of the vocabulary are known only after the last pair
            words = array.array("I", [known.setdefault(token, len(known)) for token in sentence.tokens])
            self.files[side].write(words.tobytes())
        # JSON, since a sentence may hold tabs
        line = (json.dumps([pair[0].written, pair[1].written], ensure_ascii=False) + "\n").encode()
        self.places.append(self.size)
        self.text.write(line)
        self.size += len(line)
        self.corpora.append(corpus)
        self.leaks.append(leak)

    def parts(self, config: TranslateConfig) -> tuple[np.ndarray, np.ndarray]:
        """Return bool ``[N]`` twice: which pairs are for training, and which are held back."""
        # --dev holds its own pairs back
        held = np.zeros(len(self.places), bool)
        if config.validation and not config.dev:
            # equal texts get equal numbers, without the texts
            sides = [np.unique(np.frombuffer(one, np.uint64), return_inverse=True)[1] for one in self.hashes]
            held = split_numbered(sides[0], sides[1], config.validation, config.seed)
        leaks = np.frombuffer(self.leaks, np.uint8)
        train = ~held
        for bit, option in ((1, "--dev"), (2, "--test")):
            shared = train & (leaks & bit > 0)
            if shared.any():
                note = f"{shared.sum()} of {train.sum()} training pairs share a sentence with pairs of {option}"
                if config.leaks == "remove":
                    train = train & ~shared
                    self.notes.append(f"{note}, and are left out of training")
                else:
                    self.notes.append(f"{note}; --leaks remove leaves them out of training")
        if not train.any():
            raise InputError("no pair is left to train on; give other pairs, or --leaks keep")
        return train, held

    def words(self, side: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield ``(first pair, lengths [n], tokens)`` of blocks of pairs."""
        # the file is read through another handle
        self.files[side].flush()
        lengths = np.frombuffer(self.lengths[side], self.lengths[side].typecode)
        with open(self.paths[side], "rb") as file:
            for at in range(0, len(lengths), BLOCK):
                part = lengths[at : at + BLOCK].astype(np.int64)
                yield at, part, np.frombuffer(file.read(4 * int(part.sum())), np.uint32)

    def cut_again(self, side: int, train: np.ndarray, way: Preparation) -> None:
        """Write the tokens of the training pairs again, by a tokeniser that has learnt; other pairs get none."""
        # lengths of 0: pairs outside the training part are not cut again
        known, lengths, file = self.numbers[side], array.array("I", bytes(4 * len(self.places))), self.files[side]
        known.clear()
        file.seek(0)
        file.truncate()
        for row, written in zip(np.flatnonzero(train).tolist(), Texts(self, side, train), strict=True):
            tokens = way.again(Sentence(written, "", ())).tokens
            file.write(array.array("I", [known.setdefault(token, len(known)) for token in tokens]).tobytes())
            lengths[row] = len(tokens)
        self.lengths[side] = lengths

    def vocabulary(self, sides: Sequence[int], train: np.ndarray, min_count: int) -> Vocabulary:
        """Return the vocabulary of these sides of the training pairs, equal to `Vocabulary.build` of them in turn."""
        found: dict[str, list[int]] = {}  # of each token its count, and where it first appears
        before = 0
        for side in sides:
            counts, first, seen = self._counted(side, train)
            for token, count, place in zip(self.numbers[side], counts.tolist(), first.tolist(), strict=True):
                if count:
                    found.setdefault(token, [0, before + place])[0] += count
            before += seen
        # as `Counter.most_common` orders: by falling count, then by first appearance
        order = sorted(found, key=lambda token: (-found[token][0], found[token][1]))
        return Vocabulary([token for token in order if found[token][0] >= min_count and token not in SPECIALS])

    def _counted(self, side: int, train: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Return how often each token is in training pairs, its first place, and how many tokens these have."""
        size = len(self.numbers[side])
        counts, first, seen = np.zeros(size, np.int64), np.full(size, np.iinfo(np.int64).max), 0
        for at, lengths, tokens in self.words(side):
            tokens = tokens[np.repeat(train[at : at + len(lengths)], lengths)]
            counts += np.bincount(tokens, minlength=size)
            # the first place of a token within the block, and so within the part once `seen` is added
            which, places = np.unique(tokens, return_index=True)
            first[which] = np.minimum(first[which], seen + places)
            seen += len(tokens)
        return counts, first, seen

    def sentences(self, side: int, rows: np.ndarray) -> Iterator[Sentence]:
        """Yield the tokens of the pairs with these ascending numbers."""
        known = list(self.numbers[side])
        for at, lengths, tokens in self.words(side):
            starts = np.concatenate([[0], np.cumsum(lengths)])
            # rows rise, so that those of a block are one slice
            for row in (rows[np.searchsorted(rows, at) : np.searchsorted(rows, at + len(lengths))] - at).tolist():
                yield Sentence("", "", [known[n] for n in tokens[starts[row] : starts[row + 1]].tolist()])

    def written(self, row: int) -> str:
        """Return a pair as it was written, a line of JSON."""
        self.text.seek(self.places[row])
        return self.text.readline().decode()

    def digest(self, train: np.ndarray, held: np.ndarray) -> str:
        """Return a checksum of the pairs, and of which are held back."""
        found = hashlib.sha256()
        for part in (train, held):
            for side in self.hashes:
                found.update(np.frombuffer(side, np.uint64)[part].tobytes())
            # a pair that moves from one part to the other changes the checksum
            found.update(b"|")
        return found.hexdigest()


class Texts:
    """One side of some pairs of a spool as written, read from its file at each iteration."""

    def __init__(self, spool: Spool, side: int, chosen: np.ndarray) -> None:
        """Take the spool, the side, and bool ``[N]``, which pairs."""
        self.spool, self.side, self.chosen = spool, side, chosen

    def __len__(self) -> int:
        return int(self.chosen.sum())

    def __iter__(self) -> Iterator[str]:
        self.spool.text.seek(0)
        for chosen, line in zip(self.chosen.tolist(), self.spool.text, strict=True):
            if chosen:
                yield json.loads(line)[self.side]


def hash_of(sentence: str) -> int:
    """Return a 64-bit hash of a sentence; among 10 million, two collide in one of 300,000 corpora."""
    return int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=8).digest(), "little")


@contextlib.contextmanager
def spooled(config: TranslateConfig, folder: Path, ways: Sequence[Preparation]) -> Iterator[Spool]:
    """Read all pairs that settings name, once, into a spool whose files are in a folder.

    Raises:
      InputError: as `data.prepare`.
    """
    source, target = ways
    # the files are closed with the block, whatever happens in it
    with contextlib.ExitStack() as stack:
        spool = Spool(folder, stack)
        # hashes of --dev and --test come first, so training pairs are read only once
        known = [
            [{hash_of(pair[side].text) for pair in pairs} for side in (0, 1)]
            for words, read in ((config.dev, _dev), (config.test, data.read_sentences))
            for pairs in [read(config, words, source, target) if words else []]
        ]
        found, total, passed = origins(config.data, config.source, config.target), 0, 0
        config.check_weights(len(found))
        english = 0 if config.source == "en" else 1
        for number, origin in enumerate(found):
            reader = Reader(origin, config.form)
            for written in reader:
                pair = source.sentence(written.source), target.sentence(written.target)
                data.check_not_empty(origin, written.line, *pair)
                # counted before the filters, for the notes
                total += 1
                if config.prefix_filter and not passes_filter((pair[0].text, pair[1].text), english):
                    continue
                passed += 1
                if max(len(side.tokens) for side in pair) > config.max_tokens:
                    continue
                # bit 1 for --dev, bit 2 for --test
                leak = sum(
                    bit * any(hash_of(side.text) in sums for side, sums in zip(pair, one, strict=True))
                    for bit, one in zip((1, 2), known, strict=True)
                    if one[0]
                )
                spool.add(pair, number, leak)
            spool.notes += reader.notes
        _count(spool, config, total, passed)
        yield spool


def _dev(config: TranslateConfig, words: str | Sequence[str], source: Preparation, target: Preparation) -> list[Pair]:
    return data.read_corpora(config, words, source, target)[0]


def _count(spool: Spool, config: TranslateConfig, read: int, passed: int) -> None:
    """Note how many pairs did not pass the filters."""
    kept = len(spool.places)
    if passed < read:
        spool.notes.append(f"{read - passed} of {read} pairs do not pass the tutorial's filter")
    if kept < passed:
        spool.notes.append(f"{passed - kept} pairs are longer than --max-tokens {config.max_tokens} and left out")
    if not kept:
        raise InputError(f"no pair is left of {read}: {'; '.join(spool.notes)}. Loosen the filter or --max-tokens")

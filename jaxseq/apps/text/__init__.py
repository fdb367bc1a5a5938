"""Turn sentences into token ids and back: normalising, tokenising, vocabularies, padded batches. No JAX here.

Here are vocabularies and batches; the modules normalise text and cut it into tokens.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxseq.apps.text.normalising import NORMALISERS, plain, tutorial
from jaxseq.apps.text.scripts import HAN as CJK
from jaxseq.apps.text.tokenisers import TOKENISERS, chars, detokenise, words
from jaxseq.errors import InputError, quoted
from jaxseq.inputs import parse_json

__all__ = [
    "CJK", "EOS", "NORMALISERS", "PAD", "SOS", "SPECIALS", "TOKENISERS", "UNK", "Bucket", "Vocabulary", "buckets",
    "chars", "detokenise", "pad", "plain", "tutorial", "words",
]  # fmt: skip

PAD, SOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<sos>", "<eos>", "<unk>")


class Vocabulary:
    """Tokens and their ids: PAD 0, SOS 1, EOS 2, UNK 3, then tokens by descending frequency.

    Example:
      >>> vocabulary = Vocabulary.build([["a", "b"], ["b"]])
      >>> vocabulary.encode(["b", "a", "c"]), vocabulary.decode([4, 5, 2, 0]), vocabulary.unknown(["c"])
      ([4, 5, 3], ['b', 'a'], ['c'])
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        """Take the tokens after the special ones."""
        self.tokens = (*SPECIALS, *tokens)
        self.numbers = {token: number for number, token in enumerate(self.tokens)}
        if len(self.numbers) < len(self.tokens):
            twice = next(t for t, n in collections.Counter(self.tokens).items() if n > 1)
            raise InputError(f"duplicate token {quoted(twice)}")

    @classmethod
    def build(cls, sentences: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """Count the tokens of sentences; those seen fewer than `min_count` times become UNK."""
        # tokens of one count stay in the order in which they first appear, so that a vocabulary is the same each time
        counts = collections.Counter(token for sentence in sentences for token in sentence)
        # text may contain words such as <eos>, which would get two ids
        return cls([t for t, n in counts.most_common() if n >= min_count and t not in SPECIALS])

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the tokens' ids, UNK for unknown ones."""
        return [self.numbers.get(token, UNK) for token in tokens]

    def unknown(self, tokens: Iterable[str]) -> list[str]:
        """Return the tokens that are not in the vocabulary."""
        return [token for token in tokens if token not in self.numbers]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """Return the tokens up to EOS, without PAD and SOS."""
        tokens: list[str] = []
        for number in map(int, numbers):
            if number == EOS:
                break
            if number not in (PAD, SOS):
                tokens.append(self.tokens[number])
        return tokens

    def to_json(self) -> str:
        """Return all tokens, special ones first, as a JSON list."""
        # indent=0 puts one token on a line
        return json.dumps(self.tokens, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str, name: Path | str = "vocabulary") -> Vocabulary:
        """Read the JSON that `to_json` wrote.

        Raises:
          InputError: if it is not such a list.
        """
        tokens = parse_json(text, name, "restore it from a copy, or train again")
        # the special tokens have fixed ids, which compiled programs contain
        right = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        if not right or tuple(tokens[:4]) != SPECIALS:
            raise InputError(
                f"{name} is damaged: expected a JSON list of tokens that begins with {', '.join(SPECIALS)}"
            )
        try:
            return cls(tokens[4:])
        except InputError as error:
            raise InputError(f"{name} is damaged: {error}") from error


def pad(rows: Sequence[Sequence[int]], length: int | None = None) -> np.ndarray:
    """Return int32 ``[T, N]``, time-major, PAD below each row's end; T is `length` or the longest row's.

    Example:
      >>> pad([[5, 6, 2], [7, 2]]).T.tolist()
      [[5, 6, 2], [7, 2, 0]]
    """
    longest = max(map(len, rows), default=0)
    if length is not None and longest > length:
        raise InputError(f"pad: a sequence has {longest} tokens, more than the length {length}; cut it or pad to more")
    # time first, as scans over it read it; int32, which programs are compiled for
    out = np.full((longest if length is None else length, len(rows)), PAD, np.int32)
    for column, row in enumerate(rows):
        out[: len(row), column] = row
    return out


class Bucket(NamedTuple):
    """Pairs of similar length: ``source [S, N]``, ``target [T, N]``, and ``indices [N]`` of the pairs."""

    source: np.ndarray
    target: np.ndarray
    indices: np.ndarray

"""Rows of token ids of different lengths as one array, in memory or mapped from a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq.apps.text import PAD

BLOCK = 2**22
"""Tokens that are processed at a time."""


class Ragged(NamedTuple):
    """Rows of different lengths, one after the other: ``tokens [sum of lengths]``, ``starts [N + 1]``.

    Either may be memory-mapped; only the pages that are used are read.
    """

    tokens: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Return lists of numbers as one array."""
        # int64: a corpus may have more tokens than int32 counts
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
        return cls(np.fromiter((n for row in rows for n in row), np.int32, int(starts[-1])), starts)

    @property
    def lengths(self) -> np.ndarray:
        """Return int ``[N]``, the length of each row."""
        return np.diff(self.starts).astype(np.int32)

    def count(self, token: int) -> int:
        """Return how often a token id occurs."""
        blocks = range(0, len(self.tokens), BLOCK)  # piece by piece, so that a mapped array is never whole in memory
        return sum(int(np.count_nonzero(self.tokens[at : at + BLOCK] == token)) for at in blocks)

    def padded(self, rows: np.ndarray, length: int) -> np.ndarray:
        """Return int32 ``[length, len(rows)]``, rows as columns with PAD below their ends."""
        begin = self.starts[rows]
        step = np.arange(length)[:, None]
        real = step < (self.starts[rows + 1] - begin)[None]
        # a position below a row's end may be past the array: token 0 is read there, and dropped in the next line
        found = self.tokens[np.where(real, begin[None] + step, 0)].astype(np.int32)
        # files hold uint16 or uint32, and programs are compiled for int32
        return np.where(real, found, np.int32(PAD))

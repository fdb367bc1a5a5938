"""Sequences of similar length, translated or scored in batches of a few sizes: each size and length needs a program.

The batch that a sequence is in never changes its result, so sizes and lengths are chosen to save compilation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxseq.apps.translate.config import LONGEST, POSITIONS

LENGTHS = (5, POSITIONS, 20, 40, 80, 160, LONGEST)
"""Lengths that programs are compiled for: a sequence is always padded to the next of these."""
BATCHES = (1, 8, 64)
"""Batch sizes that programs are compiled for."""
LONG, ROWS_OF_LONG = 80, 8
"""Batches of sequences longer than the first number have at most the second: attention maps grow with the square."""


class Together(NamedTuple):
    """The sequences of one batch.

    Fields:
      lengths: to which each side is padded.
      places: of the sequences, among all.
      filled: the same, filled up with copies of the last one: a copy of a row takes no more steps.
    """

    lengths: tuple[int, ...]
    places: list[int]
    filled: list[int]


def batches(lengths: Sequence[tuple[int, ...]], size: int | None = None) -> Iterator[Together]:
    """Yield batches that hold each sequence once, padded to common lengths.

    Args:
      lengths: of each sequence, or of both sides of each pair.
      size: of every batch, except those of long sequences; by default `size_for` their number.

    Example:
      >>> for one in batches([(3,), (12,), (4,)]):
      ...     print(one.lengths, one.places, len(one.filled))
      (5,) [0, 2] 8
      (20,) [1] 8
    """
    # one size for all groups: each length then has one program
    size = size or size_for(len(lengths))
    groups: dict[tuple[int, ...], list[int]] = {}
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):  # similar lengths end together
        groups.setdefault(tuple(map(padded_length, lengths[place])), []).append(place)
    for padded, group in groups.items():
        rows = size if max(padded) <= LONG else min(size, ROWS_OF_LONG)
        for start in range(0, len(group), rows):
            places = group[start : start + rows]
            yield Together(padded, places, places + places[-1:] * (rows - len(places)))


def size_for(count: int) -> int:
    """Return the smallest batch size that holds this many sequences, or the largest."""
    return next((size for size in BATCHES if size >= count), BATCHES[-1])


def padded_length(length: int) -> int:
    """Return the length that a sequence is padded to: one of `LENGTHS`, or a multiple of the last."""
    return next((n for n in LENGTHS if n >= length), -(-length // LENGTHS[-1]) * LENGTHS[-1])

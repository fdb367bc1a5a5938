"""Groups of pairs of similar length, cut for the least padding."""

from __future__ import annotations

import numpy as np

FINEST = 48
"""Most lengths of a side at which groups may end; if there are more, their quantiles are used."""


def bounds(source: np.ndarray, target: np.ndarray, count: int) -> np.ndarray:
    """Return int ``[K, 2]``, the padded lengths of at most `count` groups of pairs.

    Bounds rise on both sides, and a pair belongs to the first group in which both its sides fit. Of all such bounds
    these pad least: a dynamic programme over (source length, target length) finds them. With n lengths of either side
    it takes ``count n**4 / 4`` additions, n at most `FINEST`, however many pairs there are.

    Args:
      source: int ``[N]``, lengths of the sources.
      target: int ``[N]``, lengths of the targets.
      count: most groups; each costs a compiled program.

    Example:
      >>> bounds(np.array([2, 2, 3, 9]), np.array([3, 2, 3, 8]), 2).tolist()
      [[3, 3], [9, 8]]
    """
    sides = [_lengths(side) for side in (source, target)]
    there = np.zeros([len(side) for side in sides], np.int64)
    np.add.at(there, (np.searchsorted(sides[0], source), np.searchsorted(sides[1], target)), 1)
    fitting = there.cumsum(0).cumsum(1)  # pairs that fit under a bound
    longest = np.add.outer(*sides)  # positions of a pair in a group with that bound
    least, choices = fitting * longest, []
    for _ in range(count - 1):
        more, choice = np.empty_like(least), np.empty_like(least)
        for i, j in np.ndindex(least.shape):
            # the best bound of the groups below one with bound (i, j)
            below = least[: i + 1, : j + 1] + (fitting[i, j] - fitting[: i + 1, : j + 1]) * longest[i, j]
            at = int(below.argmin())
            more[i, j] = below.flat[at]
            choice[i, j] = np.ravel_multi_index(np.unravel_index(at, below.shape), least.shape)
        least = more
        choices.append(choice)
    place = least.size - 1  # of the whole: the longest on both sides
    found = [place]
    for choice in reversed(choices):
        place = int(choice.flat[place])
        found.append(place)
    places = [np.unravel_index(place, least.shape) for place in dict.fromkeys(reversed(found))]
    return np.array([[sides[0][i], sides[1][j]] for i, j in places if fitting[i, j]])


def groups(source: np.ndarray, target: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return int ``[N]``, the group of each pair under bounds ``[K, 2]``: the first in which both sides fit."""
    return np.maximum(np.searchsorted(at[:, 0], source), np.searchsorted(at[:, 1], target))


def _lengths(side: np.ndarray) -> np.ndarray:
    """Return the lengths of a side at which groups may end, the longest last."""
    lengths = np.unique(side)
    if len(lengths) <= FINEST:
        return lengths
    return np.unique(np.quantile(side, np.arange(1, FINEST + 1) / FINEST, method="higher"))

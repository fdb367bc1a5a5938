"""Choose pairs: the tutorial's filter, and the part that is held back."""

from __future__ import annotations

import array
import random
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from jaxseq.errors import InputError

Pair = tuple[str, str]

TUTORIAL_PREFIXES = (
    "i am ", "i m ", "he is", "he s ", "she is", "she s ", "you are", "you re ", "we are", "we re ", "they are",
    "they re ",
)  # fmt: skip
"""English beginnings that the tutorial keeps. Apostrophes stay in its text, so that "i m " and its like never match."""
TUTORIAL_WORDS = 10
"""A side with this many words or more is too long for the tutorial."""
HELD_MOST = 10_000
"""The most pairs that are held back: more would slow down each report and tell nothing new."""


def passes_filter(pair: Pair, english: int = 1) -> bool:
    """Return whether the tutorial keeps a pair: both sides under 10 words, English beginning with one of its prefixes.

    `english` is the side that is English, 0 or 1. Words are separated by spaces.
    """
    return all(len(side.split(" ")) < TUTORIAL_WORDS for side in pair) and pair[english].startswith(TUTORIAL_PREFIXES)


def split_rows(pairs: Sequence[Sequence[Hashable]], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the training pairs and of those held back, which share no sentence on either side.

    Numbers the sentences and calls `split_numbered`.
    """
    tables: tuple[dict[Hashable, int], dict[Hashable, int]] = ({}, {})
    sides = [
        np.fromiter((table.setdefault(pair[side], len(table)) for pair in pairs), np.int64, len(pairs))
        for side, table in enumerate(tables)
    ]
    held = split_numbered(sides[0], sides[1], fraction, seed)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


def split_numbered(source: np.ndarray, target: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return bool ``[N]``, which pairs are held back; they share no sentence on either side with the others.

    Pairs that share a sentence, directly or through others, stay together; whole groups are drawn at random, small
    ones first, until `fraction` of the pairs is held back, at most `HELD_MOST`. Time grows linearly with N; some
    100 bytes for each pair are held meanwhile.

    Args:
      source: int ``[N]``, a number for each source sentence, equal for equal ones, below N.
      target: the same of targets.
      fraction: of the pairs.
      seed: of the draw.

    Raises:
      InputError: if the corpus is too small to hold anything back.
    """
    # a group is all that must stay together, since pairs share sentences with each other through others
    labels, sizes = np.unique(connected(source, target), return_inverse=True, return_counts=True)[1:]
    # 8 bytes a group, where a list of Python's integers has 36
    order = array.array("q", range(len(sizes)))
    random.Random(seed).shuffle(order)
    wanted = min(round(len(source) * fraction), HELD_MOST)
    # large groups come last: one of them may be all that is held back
    small = sizes <= max(1, wanted // 20)
    chosen, count = np.zeros(len(sizes), bool), 0
    shuffled = np.array(order, np.int64)
    for group in np.concatenate([shuffled[small[shuffled]], shuffled[~small[shuffled]]]).tolist():
        if count == wanted:
            break
        # a group that does not fit is passed over, and a smaller one behind it may fit
        if count + sizes[group] <= wanted:
            chosen[group] = True
            count += int(sizes[group])
    if count in (0, len(source)):
        raise InputError(
            f"the corpus is too small to split: {len(source)} pairs, of which {fraction:.0%} should be held back and "
            "share no sentence with the rest. Give more pairs, or train on all with --validation 0"
        )
    return chosen[labels]


def connected(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return int ``[N]``, of each pair the first pair of its group, where pairs that share a sentence are in one group.

    Time grows linearly with N, apart from one sort.

    Example:
      >>> connected(np.array([0, 1, 2, 1]), np.array([0, 1, 0, 2])).tolist()
      [0, 1, 0, 1]
    """
    # a graph whose points are the sentences of both sides, and whose edges are the pairs
    N = len(source)
    # targets are numbered from N on, so that no point is both a source and a target
    edges = coo_matrix((np.ones(N, bool), (source, target + N)), shape=(2 * N, 2 * N))
    groups = connected_components(edges, directed=False)[1][source]
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return first[group]

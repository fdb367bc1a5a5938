"""Pairs chosen: the tutorial's filter, and the part that is held back."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

from jaxseq.errors import InputError

Pair = tuple[str, str]

TUTORIAL_PREFIXES = (
    "i am ", "i m ", "he is", "he s ", "she is", "she s ", "you are", "you re ", "we are", "we re ", "they are",
    "they re ",
)  # fmt: skip
"""English beginnings that the tutorial keeps. Apostrophes stay in its text, so that "i m " and its like never match."""
TUTORIAL_WORDS = 10
"""A side with this many words or more is too long for the tutorial."""


def passes_filter(pair: Pair, english: int = 1) -> bool:
    """Return whether the tutorial keeps a pair: both sides under 10 words, English beginning with one of its prefixes.

    `english` is the side that is English, 0 or 1. Words are separated by spaces.
    """
    return all(len(side.split(" ")) < TUTORIAL_WORDS for side in pair) and pair[english].startswith(TUTORIAL_PREFIXES)


def split_rows(pairs: Sequence[Sequence[Hashable]], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the training pairs and of those held back, which share no sentence on either side.

    Pairs that share a sentence, directly or through others, stay together; whole groups are drawn at random, small
    ones first taken, until `fraction` of the pairs is held back.

    Raises:
      InputError: if the corpus is too small to hold anything back.
    """
    groups = list(connected(pairs))
    random.Random(seed).shuffle(groups)
    wanted = round(len(pairs) * fraction)
    groups.sort(key=lambda group: len(group) > max(1, wanted // 20))
    held: set[int] = set()
    for group in groups:
        if len(held) + len(group) <= wanted:
            held.update(group)
    if not held or len(held) == len(pairs):
        raise InputError(
            f"the corpus is too small to split: {len(pairs)} pairs, of which {fraction:.0%} should be held back and "
            "share no sentence with the rest. Give more pairs, or train on all with --validation 0"
        )
    return [row for row in range(len(pairs)) if row not in held], sorted(held)


def connected(pairs: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Return groups of pair numbers: the connected components of the graph whose edges are shared sentences.

    Groups come in the order of their first pair, and their numbers rise. The time grows as the number of pairs does
    (union-find with path halving), and a number and two entries of a table are held for each pair.

    Example:
      >>> connected([("a", 1), ("b", 2), ("c", 1)])
      [[0, 2], [1]]
    """
    above = list(range(len(pairs)))  # of each pair one with a lower number of the same group, in the end the lowest
    first: tuple[dict[Hashable, int], dict[Hashable, int]] = ({}, {})
    for row, pair in enumerate(pairs):
        for seen, sentence in zip(first, pair, strict=True):
            a, b = row, seen.setdefault(sentence, row)
            while above[a] != a:
                above[a] = a = above[above[a]]
            while above[b] != b:
                above[b] = b = above[above[b]]
            above[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for row in range(len(pairs)):
        above[row] = above[above[row]]  # that of a lower row is the lowest already
        groups.setdefault(above[row], []).append(row)
    return list(groups.values())

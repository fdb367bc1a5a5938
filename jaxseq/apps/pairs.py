"""Sentence pairs: read from the tab-separated format of manythings.org/anki and Tatoeba, filtered, split."""

from __future__ import annotations

import collections
import random
import re
from collections.abc import Sequence
from pathlib import Path

from jaxseq.apps.reading import read_text
from jaxseq.errors import InputError, choose

Pair = tuple[str, str]

TUTORIAL_PREFIXES = (
    "i am ", "i m ", "he is", "he s ", "she is", "she s ", "you are", "you re ", "we are", "we re ", "they are",
    "they re ",
)  # fmt: skip
"""English beginnings that the tutorial keeps. Apostrophes stay in its text, so that "i m " and its like never match."""
TUTORIAL_WORDS = 10
"""A side with this many words or more is too long for the tutorial."""


def read_pairs(path: Path | str, columns: Pair = ("en", "zh"), source: str = "zh", target: str = "en") -> list[Pair]:
    """Return the (source, target) pairs of a file of two or three tab-separated columns, the third being attribution.

    Blank lines are passed over. `columns` names the languages of the first two; `source` and `target` pick them.

    Raises:
      InputError: as `read_text`; or if a line has one column, more than three, or an empty side.
    """
    sides = {language: number for number, language in enumerate(columns)}
    first, second = choose("language", source, sides), choose("language", target, sides)
    pairs, wrong = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) not in (2, 3) or not (cells[0] and cells[1]):
            wrong.append((number, len(cells)))
        else:
            pairs.append((cells[first], cells[second]))
    if wrong:
        number, count = wrong[0]
        got = "an empty side" if count in (2, 3) else f"{count} column{'s' * (count != 1)}"
        raise InputError(
            f"{path}, line {number}: expected {columns[0]}<TAB>{columns[1]}, with an optional third column for "
            f"attribution; got {got}. Lines like it: {len(wrong)}. Mend or remove them"
        )
    return pairs


def check_not_empty(written: Sequence[Pair], normalised: Sequence[Pair], path: Path | str) -> None:
    """Check that both sides of every pair of a file are still there after normalisation.

    Raises:
      InputError: naming the first pair that lacks one, and its line.
    """
    for original, sides in zip(written, normalised, strict=True):
        if not all(sides):
            raise InputError(
                f"{path}{_line(path, original)}: the pair {original[0]!r} / {original[1]!r} has a side that is empty "
                "after normalisation; remove it, or choose another --normalise"
            )


def _line(path: Path | str, pair: Pair) -> str:
    """Return the place of a pair in its file, such as ``", line 3"``."""
    lines = (re.split(r"\s*\t\s*", line.strip()) for line in read_text(path).split("\n"))
    return next((f", line {number}" for number, cells in enumerate(lines, 1) if {*pair} <= {*cells}), "")


def passes_filter(pair: Pair, english: int = 1) -> bool:
    """Return whether the tutorial keeps a pair: both sides under 10 words, English beginning with one of its prefixes.

    `english` is the side that is English, 0 or 1. Words are separated by spaces.
    """
    return all(len(side.split(" ")) < TUTORIAL_WORDS for side in pair) and pair[english].startswith(TUTORIAL_PREFIXES)


def split_rows(pairs: Sequence[Pair], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the training pairs and of those held back, which share no sentence on either side.

    Pairs that share a sentence, directly or through others, stay together; whole groups are drawn at random, small
    ones first taken, until `fraction` of the pairs is held back.

    Raises:
      InputError: if the corpus is too small to hold anything back.
    """
    groups = list(_connected(pairs))
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


def _connected(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return groups of pair numbers: the connected components of the graph whose edges are shared sentences."""
    sharing: dict[tuple[int, str], list[int]] = collections.defaultdict(list)
    for index, pair in enumerate(pairs):
        for side in (0, 1):
            sharing[side, pair[side]].append(index)
    groups, seen = [], set()
    for index in range(len(pairs)):
        if index in seen:
            continue
        group, todo = [], [index]
        seen.add(index)
        while todo:
            group.append(at := todo.pop())
            near = {n for side in (0, 1) for n in sharing[side, pairs[at][side]]} - seen
            seen |= near
            todo += near
        groups.append(sorted(group))
    return groups

"""Sentence pairs: read from the tab-separated format of manythings.org/anki and Tatoeba, filtered, split."""

from __future__ import annotations

import collections
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxseq.errors import InputError, choose

Pair = tuple[str, str]

INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff]")
"""Zero-width characters and the byte order mark, found in the wild and never meant."""

TUTORIAL_PREFIXES = (
    "i am ", "i m ", "he is", "he s ", "she is", "she s ", "you are", "you re ", "we are", "we re ", "they are",
    "they re ",
)  # fmt: skip
"""English beginnings that the tutorial keeps. Apostrophes stay in its text, so that "i m " and its like never match."""


def read_text(path: Path | str) -> str:
    """Return a file's text, with byte order mark and zero-width characters dropped and line ends made one.

    Raises:
      InputError: if the file is missing, a folder, empty, binary or not UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a text file")
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; check the path") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if b"\0" in raw:
        raise InputError(f"{path} is a binary file (a zero byte at {raw.index(0)}); expected UTF-8 text")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte {raw[error.start]:#04x} at offset {error.start}); "
            f"convert it, for example: iconv -f GB18030 -t UTF-8 {path.name}"
        ) from error
    text = INVISIBLE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"{path} is empty; expected text")
    return text


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


def normalise_pairs(pairs: Sequence[Pair], normalise: Callable[[str], str], path: Path | str) -> list[Pair]:
    """Return the pairs with both sides normalised, in order.

    Raises:
      InputError: if a side is empty after normalisation.
    """
    done = [(normalise(source), normalise(target)) for source, target in pairs]
    for original, (source, target) in zip(pairs, done, strict=True):
        if not (source and target):
            raise InputError(
                f"{path}{_line(path, original)}: the pair {original[0]!r} / {original[1]!r} has a side that is empty "
                "after normalisation; remove it, or choose another --normalise"
            )
    return done


def _line(path: Path | str, pair: Pair) -> str:
    """Return where a pair stands in its file, such as ``", line 3"``."""
    lines = (re.split(r"\s*\t\s*", line.strip()) for line in read_text(path).split("\n"))
    return next((f", line {number}" for number, cells in enumerate(lines, 1) if {*pair} <= {*cells}), "")


def prefix_filter(
    pairs: Sequence[Pair], english: int = 1, prefixes: Sequence[str] = TUTORIAL_PREFIXES, max_tokens: int = 10
) -> list[Pair]:
    """Return the tutorial's choice of pairs: both sides under `max_tokens` words, English beginning with a prefix.

    `english` is the side that is English, 0 or 1. Words are what spaces separate.
    """
    return [
        pair
        for pair in pairs
        if all(len(side.split(" ")) < max_tokens for side in pair) and pair[english].startswith(tuple(prefixes))
    ]


def split_pairs(pairs: Sequence[Pair], fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return (training, validation): no sentence of the validation part, on either side, is in the training part.

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
    train = [pair for index, pair in enumerate(pairs) if index not in held]
    return train, [pairs[index] for index in sorted(held)]


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

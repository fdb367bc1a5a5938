"""The shipped corpus and series as arrays to train on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxseq import shipped

PAD, SOS, EOS, UNKNOWN, FIRST = range(5)
"""Special token ids; those of a vocabulary begin at FIRST."""


def sentences(name: str = "zh-en") -> list[tuple[str, str]]:
    """Return the (English, Chinese) pairs of a shipped corpus."""
    rows = (line.split("\t") for line in shipped.find(name).read_text("utf-8").splitlines() if line.strip())
    return [(english, chinese) for english, chinese, *_ in rows]


class Sentences(NamedTuple):
    """Sentences as token ids: ``source [S, N]`` and ``target [T, N]``, each ending with EOS, then PAD."""

    source: np.ndarray
    target: np.ndarray


class Corpus(NamedTuple):
    """Training and held-out sentences, and the sizes of both vocabularies, which come from the training part."""

    train: Sentences
    held: Sentences
    source_size: int
    target_size: int


def corpus(most: int) -> Corpus:
    """Return the shipped corpus, Chinese characters to English words, without sentences longer than `most` tokens."""
    parts = []
    for name in ("zh-en", "zh-en-held-out"):
        pairs = [([*chinese], re.findall(r"[\w']+|[^\w\s]", english.lower())) for english, chinese in sentences(name)]
        parts.append([pair for pair in pairs if max(map(len, pair)) <= most])
    train, held = parts
    source, target = (_numbers(side) for side in zip(*train, strict=True))

    def numbered(pairs: list[tuple[list[str], list[str]]]) -> Sentences:
        sides = zip((source, target), zip(*pairs, strict=True), strict=True)
        return Sentences(*(_padded([[*(known.get(t, UNKNOWN) for t in row), EOS] for row in s]) for known, s in sides))

    return Corpus(numbered(train), numbered(held), FIRST + len(source), FIRST + len(target))


def _numbers(rows: Iterable[list[str]]) -> dict[str, int]:
    return {token: n for n, token in enumerate(sorted({token for row in rows for token in row}), FIRST)}


def _padded(rows: list[list[int]]) -> np.ndarray:
    longest = max(map(len, rows))
    return np.array([[*row, *[PAD] * (longest - len(row))] for row in rows], np.int32).T


def airline(window: int = 12, season: int = 12, held: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Return windows ``[window, N, 1]`` of the airline series and their next values, ``[N, 1]``, without the test part.

    A value is the growth over the same month of the previous year, standardised.
    """
    values = np.loadtxt(shipped.find("airline"), delimiter=",", skiprows=1, usecols=1)
    logs = np.log(values[: len(values) - round(len(values) * held)])
    growth = logs[season:] - logs[:-season]
    scaled = ((growth - growth.mean()) / growth.std()).astype(np.float32)[:, None]
    count = len(scaled) - window
    return np.stack([scaled[t : t + count] for t in range(window)]), scaled[window:]

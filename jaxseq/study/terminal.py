"""Text for a terminal: columns, values as blocks or letters, colours where it has them."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SHADES = " ░▒▓█"
"""From 0, closed or forgotten, to 1, open or kept."""

BARS = "▁▂▃▄▅▆▇█"

PLAIN = {SHADES: " .:+#", BARS: "_.-=+*%#"}
"""Letters for them where there are no block characters."""

CUBE = (0, 95, 135, 175, 215, 255)
"""Red, green and blue as a terminal of 256 colours has them."""

KINDS = ("gate", "signed")
"""Values from 0 to 1, and from -1 to 1: colour maps."""

LEFT, RIGHT = 8, 8
"""Columns for units' numbers and for their half-lives."""


class Screen(NamedTuple):
    """The room and the characters to show a sequence.

    Fields:
      width: columns of a line.
      columns: those of them for time.
      each: columns of one step.
      units: how many units are shown.
      example: which sequence.
      maps: the page's colour maps.
      colours: how many colours there are, 0 or 256 or more.
      shades: characters from 0 to 1.
      bars: characters of a bar's height.
    """

    width: int
    columns: int
    each: int
    units: int
    example: int
    maps: dict[str, list[str]]
    colours: int
    shades: str
    bars: str


def row(name: str, body: str, note: str = "") -> str:
    """Return a line: the name of a row at the left, its body over time, a note at the right."""
    return f"{name:>{LEFT - 1}} {body}{note:>{RIGHT}}"


def fit(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most this many values, means of neighbours where there are more."""
    if len(values) <= most:
        return values
    # edges of nearly equal spans that cover all values: no step is skipped
    edges = np.linspace(0, len(values), most + 1).round().astype(int)
    return np.array([values[a:b].mean() for a, b in itertools.pairwise(edges)])


def painted(share: Sequence[float] | np.ndarray, kind: str, each: int, screen: Screen) -> str:
    """Return values of 0 to 1 as shades, or as full blocks in the colours of the page, each this many columns wide."""
    # NaN is drawn as 0; the study names undefined numbers elsewhere
    levels = np.clip(np.nan_to_num(np.asarray(share)), 0, 1)
    if not screen.colours:
        return "".join(screen.shades[min(4, int(v * 5))] * each for v in levels)
    of = screen.maps[kind]
    # one escape sequence for each run of equal colours: lines stay short
    runs = itertools.groupby(_escape(of[round(float(v) * (len(of) - 1))], screen.colours) for v in levels)
    return "".join(f"{escape}{screen.shades[-1] * each * len(list(run))}" for escape, run in runs) + "\x1b[0m"


def _escape(colour: str, colours: int) -> str:
    """Return the escape sequence of a hex colour, or of the nearest one that a terminal of 256 colours has."""
    shades = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    # 24-bit colours
    if colours > 256:
        return f"\x1b[38;2;{shades[0]};{shades[1]};{shades[2]}m"
    # colours 16 to 231 of such a terminal are a cube of 6 x 6 x 6
    red, green, blue = (min(range(6), key=lambda n: abs(CUBE[n] - shade)) for shade in shades)
    return f"\x1b[38;5;{16 + 36 * red + 6 * green + blue}m"


def ticks(labels: Sequence[str], each: int, columns: int) -> str:
    """Return as many labels as fit, each starting at its step."""
    line, end = "", 0
    for n, label in enumerate(labels):
        # with more steps than columns, `fit` has squeezed them by this factor
        at = n * each * min(1, columns / (each * len(labels)))
        shown = _seen(label)
        if at < end or at + _wide(shown) > columns:
            continue
        line += " " * (int(at) - _wide(line)) + shown
        # words need a gap, single characters do not
        end = int(at) + _wide(shown) + (1 if len(shown) > 1 else 0)
    return line


def folded(text: str, width: int, margin: str = "") -> list[str]:
    """Return a text in lines of at most `width` columns, four at most; the rest is cut."""
    lines, line = [], margin
    # words longer than a line are cut, as Chinese without spaces is
    for word in _seen(text).split(" "):
        for piece in _pieces(word, width - len(margin)):
            if line.strip() and _wide(line) + 1 + _wide(piece) > width:
                lines.append(line)
                line = margin
            line = f"{line} {piece}" if line.strip() else line + piece
    lines = [*lines, line] if line.strip() else lines
    return lines if len(lines) <= 4 else [*lines[:3], _pieces(lines[3], width - 1)[0] + "…"]


def _pieces(word: str, width: int) -> list[str]:
    """Return a word in pieces of at most this many columns."""
    pieces = [""]
    for c in word:
        if _wide(pieces[-1] + c) > width:
            pieces.append("")
        pieces[-1] += c
    return pieces


def _seen(text: str) -> str:
    """Return a text without control characters, which would move a terminal's cursor or reverse a line."""
    return "".join(c if c.isprintable() else "·" for c in text)


def _wide(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    # Chinese takes two columns, a combining accent none
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

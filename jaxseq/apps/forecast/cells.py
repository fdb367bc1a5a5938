"""Read text cells as numbers in all common notations; the notation is decided over a whole column."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

_MISSING = (
    ". .. ... - -- --- – — ? : * / na n/a n.a. #n/a #na nan -nan null none nil nd n.d. missing #div/0! #value! #ref! "
    "#num! <na> nat 缺失 无"
)
MISSING = frozenset(["", *_MISSING.split()])
"""Cells that mean a missing value, in lower case."""
SIGNS = str.maketrans({"−": "-", "–": "-", "’": "'", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
"""Other characters for a minus, an apostrophe and a blank."""
UNIT = r"(?:[%‰$€£¥￥₹₩₽元円]|(?:US|R|A|C|HK|NT)\$|USD|EUR|GBP|CNY|RMB|JPY|CHF|INR|kr\.?|zł)"
PEOPLES = re.compile(
    rf"(\()?\s*([-+]?)\s*({UNIT})?\s*([-+]?)\s*(\d[\d.,' ]*|[.,]\d+)(e[-+]?\d+)?\s*({UNIT})?\s*(\))?", re.I
)
"""A number with signs, a unit in front or behind, and brackets for a loss."""
POINT = re.compile(r"(?:[1-9]\d{0,2}(?:([,' ])\d{3})(?:\1\d{3})*|[1-9]\d?(?:,\d{2})+,\d{3}|\d+)?(?:\.\d*)?")
"""A point before decimals; commas, apostrophes or blanks between thousands (India's crores and lakhs as well)."""
COMMA = re.compile(r"(?:[1-9]\d{0,2}(?:([.' ])\d{3})(?:\1\d{3})*|\d+)?(?:,\d*)?")
"""A comma before decimals; points, apostrophes or blanks between thousands."""
LONGEST_NUMBER = 100
"""The most characters of a cell that may be a number."""
MEANT = 0.5
"""A column with a larger share of numbers than this is numeric, and its other cells are mistakes."""


def is_number(cell: str) -> bool:
    """Return whether a cell is a number in one of the known notations."""
    return _matched(cell.strip().translate(SIGNS)) is not None


def _matched(cell: str) -> re.Match[str] | None:
    """Return the parts of a number; long cells are skipped, since matching takes quadratic time."""
    return PEOPLES.fullmatch(cell) if len(cell) <= LONGEST_NUMBER else None


class Numbers(NamedTuple):
    """The readings of a column of text.

    Fields:
      values: float64 by decimal mark (``.`` or ``,``), NaN where nothing is written, for the marks under which every
        cell is a number; one alone where both say the same.
      differ: the first row on which two readings differ, or None.
      unread: rows whose cells are neither numbers nor missing, under the reading that leaves fewest.
      share: of the cells that are there, how many are numbers.
      units: currency or per cent signs, "" among them where a cell has none.
      marked: whether some cell shows which mark comes before decimals.
    """

    values: Mapping[str, np.ndarray]
    differ: int | None
    unread: np.ndarray
    share: float
    units: frozenset[str]
    marked: bool

    @property
    def is_meant(self) -> bool:
        """Whether this is a column of numbers, perhaps with mistakes."""
        return self.share > MEANT


def numbers(cells: np.ndarray, plain: bool = True) -> Numbers:
    """Read a column of text.

    Args:
      cells: dtype object, of str.
      plain: 1.234 is 1.234 where every cell is a number as programs write them. Not so in a file whose cells are
        separated by semicolons: there the point may separate thousands.
    """
    # a long cell is not a number, and parsing it would be slow
    long = np.fromiter(map(len, cells), int, len(cells)) > LONGEST_NUMBER
    cells = np.where(long, "long", cells) if long.any() else cells
    # most files have numbers as programs write them, and one call reads them all
    values = pd.to_numeric(cells, errors="coerce").astype(np.float64, copy=False)
    odd = np.flatnonzero(np.isnan(values))
    missing = np.zeros(len(cells), bool)
    if len(odd):
        missing[odd] = [cell.casefold() in MISSING for cell in cells[odd]]
        odd = odd[~missing[odd]]
    there = len(cells) - int(missing.sum())
    if not len(odd) and (plain or not there):
        return Numbers({".": values}, None, odd, float(there > 0), frozenset(), False)
    return _as_people_write(cells, missing, there)


def _as_people_write(cells: np.ndarray, missing: np.ndarray, there: int) -> Numbers:
    codes, distinct = pd.factorize(cells)  # columns repeat themselves, and each distinct cell is read once
    readings = [_readings(cell) for cell in distinct]
    point, comma = (np.array([reading[k] for reading in readings], np.float64)[codes] for k in (0, 1))
    marks = {".": point, ",": comma}
    unread = {mark: np.flatnonzero(np.isnan(values) & ~missing) for mark, values in marks.items()}
    whole = {mark: values for mark, values in marks.items() if not len(unread[mark])}
    differ = np.flatnonzero((point != comma) & ~missing) if len(whole) == 2 else np.zeros(0, int)
    fewest = min(unread.values(), key=len)
    units = frozenset(unit for *values, unit in readings if not np.isnan(values).all())
    first = int(differ[0]) if len(differ) else None
    # Without a difference the point does: one reading then covers both.
    values = whole if first is not None else dict(list(whole.items())[:1])
    marked = len(whole) == 1 and first is None and any("." in c or "," in c for c in distinct)
    return Numbers(values, first, fewest, 1 - len(fewest) / max(1, there), units, marked)


def _readings(cell: str) -> tuple[float, float, str]:
    """Return a cell's value with a point and with a comma before decimals, NaN if it is not a number, and its unit."""
    plain = cell.strip().translate(SIGNS)
    found = _matched(plain if plain.isascii() else unicodedata.normalize("NFKC", plain))
    if found is None:
        return (_infinity(plain), _infinity(plain), "")
    opened, sign, before, sign_within, digits, exponent, after, closed = found.groups()
    # one bracket, two signs or two units: a mistake, whose meaning is not guessed
    if bool(opened) != bool(closed) or (sign and sign_within) or (before and after):
        return (np.nan, np.nan, "")
    # (5) is a loss of 5, as accountants write it
    factor = -1.0 if "-" in (sign, sign_within) or opened else 1.0
    digits, power = digits.strip(), exponent or ""
    point = float(re.sub(r"[,' ]", "", digits) + power) if POINT.fullmatch(digits) else np.nan
    comma = float(re.sub(r"[.' ]", "", digits).replace(",", ".") + power) if COMMA.fullmatch(digits) else np.nan
    return (factor * point, factor * comma, before or after or "")


def _infinity(cell: str) -> float:
    """Return infinity where it is written, else NaN."""
    return float(cell) if re.fullmatch(r"[-+]?inf(inity)?", cell, re.I) else np.nan

"""Formats of dates: how a cell may be written, and the instants that such a column names."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DATE_WORDS = frozenset(
    "date datum datetime date_time timestamp ts ds day days month months mon monat week weeks woche period periode "
    "quarter quartal year years yr jahr fecha mes año ano mois année annee time zeit zeitpunkt when observation_date "
    "date/time 日期 时间 月份 月 年份 年 年月 季度 周 日".split()
)
"""Names of columns of dates, in lower case."""
EARLIEST, LATEST = 1000, 2999
"""Plausible years of a date; others are mistakes and placeholders, such as 9999."""
PIVOT = 69
"""Years of two digits from here on are of the 1900s, as in POSIX."""

_MONTHS = (
    "jan januar january janv janvier ene enero|feb februar february fév févr février febrero|"
    "mar march mär märz mrz mars marzo|apr april avr avril abr abril|may mai mayo|jun june juni juin junio|"
    "jul july juli juil juillet julio|aug august août aout ago agosto|sep sept september septembre septiembre|"
    "oct october okt oktober octobre octubre|nov november novembre noviembre|"
    "dec december dez dezember déc décembre dic diciembre"
)
MONTHS = {name: n for n, names in enumerate(_MONTHS.split("|"), 1) for name in names.split()}
"""Months in English, German, French and Spanish."""

_TIME = (
    r"(?:(?:[T ]+|:)(?P<H>\d{1,2})(?:[:hH](?P<M>\d{2})(?::(?P<S>\d{2})(?P<f>[.,]\d{1,9})?)?)?"
    r"\s?(?P<p>[AaPp]\.?[Mm]\.?)?)?\s?(?P<z>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
_DIGITS = r"(?:\.0+)?"  # a column of numbers with a gap comes out of many programs as 2015.0
_WORD, _OF, _YEAR = r"(?P<word>[^\W\d_]{3,12})\.?", r"[-/ ,.]+(?:de |of )?", r"(?P<y>\d{4}|\d{2})"
_DAY = r"(?P<d>\d{1,2})(?:st|nd|rd|th|\.)?"
_WEEKDAY = r"(?:[^\W\d_]{2,10}\.?,? )?"
SEPARATED = {
    "year-month-day": r"(?P<y>\d{4})(?P<s>[-/. ])(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})" + _TIME,
    "year-month": r"(?P<y>\d{4})(?:[-/.:]|[ -]?M)(?P<m>\d{1,2})",
    "month-year": r"(?P<m>\d{1,2})[-/.](?P<y>\d{4})",
    "quarter": r"(?P<y>\d{4})[-/: ]?[Qq](?P<q>[1-4])",
    "quarter, year": r"(?:[Qq](?P<q>[1-4])|(?P<q2>[1-4])[Qq])[-/: ]?" + _YEAR,
    "half-year": r"(?P<y>\d{4})[-/: ]?[HSh](?P<half>[12])",
    "week": r"(?P<y>\d{4})-?W(?P<w>\d{2})(?:-?(?P<wd>[1-7]))?",
    "day-month-year": r"(?P<d>\d{1,2})(?P<s>[-/. ])(?P<m>\d{1,2})(?P=s)" + _YEAR + _TIME,
    "month-day-year": r"(?P<m>\d{1,2})(?P<s>[-/. ])(?P<d>\d{1,2})(?P=s)" + _YEAR + _TIME,
    "year-month-day of two digits": r"(?P<y>\d{2})(?P<s>[-/. ])(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})" + _TIME,
    "day, month in words": _WEEKDAY + _DAY + r"[-/ ]?(?:de |of )?" + _WORD + _OF + _YEAR + _TIME,
    "month in words, day": _WEEKDAY + _WORD + r"[ -]" + _DAY + r",? (?P<y>\d{4})" + _TIME,
    "month in words": _WORD + r"[-/ ,.'’]*(?:de )?" + _YEAR,
    "year, month in words": r"(?P<y>\d{4})[-/ ]?" + _WORD + r"(?:[-/ ](?P<d>\d{1,2}))?",
    "Chinese": r"(?P<y>\d{4})\s?年\s?(?:(?P<m>\d{1,2})\s?月份?\s?(?:(?P<d>\d{1,2})\s?[日号]?)?)?" + _TIME,
    "Chinese quarter": r"(?P<y>\d{4})\s?年?\s?第?(?P<cq>[1-4一二三四])季度?",
    "compact date and time": r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})[T_ ](?P<H>\d{2}):?(?P<M>\d{2})(?::?(?P<S>\d{2}))?"
    r"(?P<z>Z|[+-]\d{2}:?\d{2})?",
}
"""Forms with more than digits, which no number has."""
DIGITS = {
    "year": r"(?P<y>\d{4})" + _DIGITS,
    "year-month, compact": r"(?P<y>\d{4})(?P<m>\d{2})" + _DIGITS,
    "year-month-day, compact": r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})" + _DIGITS,
    "day-month-year, compact": r"(?P<d>\d{2})(?P<m>\d{2})(?P<y>\d{4})",
    "month-day-year, compact": r"(?P<m>\d{2})(?P<d>\d{2})(?P<y>\d{4})",
    "year-month-day of two digits, compact": r"(?P<y>\d{2})(?P<m>\d{2})(?P<d>\d{2})",
    "year to hour, compact": r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})",
    "year to minute, compact": r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})",
    "year to second, compact": r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})",
    "seconds since 1970": r"(?P<e>\d{9,10})(?P<f>\.\d{1,18})?",
    "milliseconds since 1970": r"(?P<e3>\d{12,13})" + _DIGITS,
    "microseconds since 1970": r"(?P<e6>\d{15,16})" + _DIGITS,
    "nanoseconds since 1970": r"(?P<e9>\d{18,19})" + _DIGITS,
}
"""Forms of digits alone: a number may look the same, so that the column's name or its steps decide."""
FORMS = {name: re.compile(rf"^{form}$", re.M) for name, form in (SEPARATED | DIGITS).items()}
_ANY = "|".join(
    # one pattern cannot have two groups of one name
    re.sub(r"\(\?P([<=])(\w+)", rf"(?P\1\2_{n}", form)
    for n, (name, form) in enumerate(SEPARATED.items())
    if name != "month in words"
)
SURE = re.compile(rf"^(?:{_ANY})$", re.M)
"""All of `SEPARATED` but a word and a number, whose word must be a month."""
TIME = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s?(?:[AaPp]\.?[Mm]\.?)?")
"""A time of day."""


def is_date_cell(cell: str) -> bool:
    """Return whether a cell has one of the forms that no number has."""
    text = cell.strip()
    return SURE.match(text) is not None or _is_month(text)


def _is_month(text: str) -> bool:
    found = FORMS["month in words"].match(text)
    return found is not None and found["word"].casefold() in MONTHS


class Instants(NamedTuple):
    """The instants that a form reads from a column.

    Fields:
      stamps: datetime64[us] ``[T]``, in UTC where there are offsets.
      local: as written, without offsets.
      wrong: the rows that name no date, such as February 30th.
      offsets: minutes to the east of UTC, or None where none is written.
    """

    stamps: np.ndarray
    local: np.ndarray
    wrong: np.ndarray
    offsets: np.ndarray | None


def match(form: str, cells: Sequence[str]) -> list[tuple[str, ...]] | None:
    """Return the groups of a form in every cell, or None where a cell does not have it."""
    found = FORMS[form].findall("\n".join(cells))  # one call for all: three times as fast as one a cell
    return found if len(found) == len(cells) else None


def instants(form: str, found: list[tuple[str, ...]]) -> Instants:
    """Return the instants of matched cells."""
    names = FORMS[form].groupindex
    columns = dict(zip(names, (np.array(column) for column in _columns(found, list(names.values()))), strict=True))
    for key, times, over in (("e", 10**6, 1), ("e3", 1000, 1), ("e6", 1, 1), ("e9", 1, 1000)):
        if key in columns:
            # unsigned: 19 digits may be above the largest int64, and still nanoseconds of the year 2500
            micro = (columns[key].astype(np.uint64) * np.uint64(times) // np.uint64(over)).astype(np.int64)
            return _epoch(micro, columns)
    year, month, day, wrong = _dates(columns, len(found))
    # other years may overflow datetime64, and are reported as wrong
    within = (year >= EARLIEST) & (year <= LATEST)
    months = np.where(within, (year - 1970) * 12 + month - 1, 0).astype("M8[M]")
    stamps = months.astype("M8[D]") + (day - 1).astype("m8[D]")
    # February 30th falls into March
    wrong |= ~within | (day < 1) | (stamps.astype("M8[M]") != months)
    if "w" in columns:
        stamps = _of_weeks(year, _integers(columns["w"]), _integers(columns["wd"], 1))
        # a form of weeks has neither month nor day to check
        wrong = ~within | (_integers(columns["w"]) < 1) | (_integers(columns["w"]) > 53)
    time, bad = _times(columns, len(found))
    local = stamps.astype("M8[us]") + time
    offsets, mixed = _offsets(columns)
    away = np.timedelta64(0, "m") if offsets is None else offsets
    return Instants(local - away, local, np.flatnonzero(wrong | bad | mixed), offsets)


def _columns(found: list, groups: list[int]) -> list[Sequence[str]]:
    if found and isinstance(found[0], str):  # a form of one group
        return [tuple(found)]
    # group by group: zip(*found) would make an iterator for each row
    return [[*map(operator.itemgetter(group - 1), found)] for group in groups]


def _integers(column: np.ndarray, empty: int = 0) -> np.ndarray:
    return np.where(column == "", str(empty), column).astype(np.int64)


def _epoch(micro: np.ndarray, columns: dict[str, np.ndarray]) -> Instants:
    if "f" in columns:
        fraction = np.where(columns["f"] == "", "0", columns["f"]).astype(float)
        micro = micro + np.round(fraction * 10**6).astype(np.int64)
    stamps = micro.astype("M8[us]")
    return Instants(stamps, stamps, np.zeros(0, int), None)


def _dates(columns: dict[str, np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return years, months and days, 1 where they are not written, and which rows have none such."""
    wrong = np.zeros(rows, bool)
    year, short = _integers(columns["y"]), np.char.str_len(columns["y"]) == 2
    year = np.where(short, year + np.where(year >= PIVOT, 1900, 2000), year)
    month = day = np.ones(rows, np.int64)
    if "m" in columns:
        month = _integers(columns["m"], 1)
    if "d" in columns:
        day = _integers(columns["d"], 1)
    if "word" in columns:
        # each distinct word is looked up once
        words, codes = np.unique(columns["word"], return_inverse=True)
        month = np.array([MONTHS.get(word.casefold(), 0) for word in words.tolist()])[codes]
    if "q" in columns:
        quarter = _integers(columns["q"])
        # the quarter's first month
        month = np.where(quarter > 0, quarter, _integers(columns["q2"]) if "q2" in columns else 0) * 3 - 2
    if "cq" in columns:
        month = np.array(["1一2二3三4四".index(c) // 2 for c in columns["cq"].tolist()]) * 3 + 1
    if "half" in columns:
        month = _integers(columns["half"]) * 6 - 5
    wrong |= (month < 1) | (month > 12)
    return year, month, day, wrong


def _of_weeks(year: np.ndarray, week: np.ndarray, weekday: np.ndarray) -> np.ndarray:
    """Return the days of ISO 8601's weeks: the first is that of January 4th, and begins on a Monday."""
    fourth = (year - 1970).astype("M8[Y]").astype("M8[D]") + np.timedelta64(3, "D")
    monday = fourth - ((fourth.astype(np.int64) + 3) % 7).astype("m8[D]")  # day 0, 1970-01-01, was a Thursday
    return monday + ((week - 1) * 7 + weekday - 1).astype("m8[D]")


def _times(columns: dict[str, np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times of day, and a mask of those that are not valid."""
    if "H" not in columns:
        return np.zeros(rows, "m8[us]"), np.zeros(rows, bool)
    hour, minute, second = (_integers(columns[k]) if k in columns else np.zeros(rows, np.int64) for k in "HMS")
    end = (hour == 24) & (minute == 0) & (second == 0)  # the midnight after, as loggers write it
    bad = ((hour > 23) & ~end) | (minute > 59) | (second > 59)
    if "p" in columns:
        half = np.char.lower(np.char.replace(columns["p"], ".", ""))
        bad |= (half != "") & ((hour < 1) | (hour > 12))
        # 12 am is 0 o'clock, 12 pm is 12
        hour = np.where(half == "", hour, hour % 12 + 12 * (half == "pm"))
    micro = ((hour * 60 + minute) * 60 + second) * 10**6
    if "f" in columns and (columns["f"] != "").any():
        fraction = np.where(columns["f"] == "", ".0", np.char.replace(columns["f"], ",", ".")).astype(float)
        micro = micro + np.round(fraction * 10**6).astype(np.int64)
    return micro.astype("m8[us]"), bad


def _offsets(columns: dict[str, np.ndarray]) -> tuple[np.ndarray | None, np.ndarray | bool]:
    """Return offsets from UTC, None where none is written, and the rows that have none where others have."""
    if "z" not in columns or not (columns["z"] != "").any():
        return None, False
    written, codes = np.unique(columns["z"], return_inverse=True)
    minutes = []
    for text in written.tolist():
        digits = re.sub(r"\D", "", text).ljust(4, "0")
        minutes.append((-1 if text.startswith("-") else 1) * (int(digits[:2]) * 60 + int(digits[2:])))
    # the largest offset in use is +14:00
    far = np.abs(np.array(minutes)) > 14 * 60
    return np.array(minutes, "m8[m]")[codes], (columns["z"] == "") | far[codes]

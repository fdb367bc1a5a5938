"""Time series from CSV files, cut into windows, scaled, forecast by simple rules, and measured. NumPy only."""

from __future__ import annotations

import collections
import csv
import datetime
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxseq.apps.reading import read_text
from jaxseq.errors import InputError, choose

DATE_FORMATS = ("%Y-%m", "%Y/%m/%d", "%Y/%m", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%d.%m.%Y")
"""Forms of a date that are accepted in addition to ISO 8601."""
FOR_PEOPLE = re.compile(r"[-+]?[$€£¥]?\s?(\d{1,3}([,.'’\s]\d{3})+([.,]\d+)?|\d+([.,]\d+)?)\s?[%$€£¥]?")
"""Numbers as people write them: 1,234 and 1.234,5 and 0,5 and $5 and 5%. The decimal mark is ambiguous."""
REGULAR = 0.15
"""Fewer long steps between dates than this share are gaps; more are the calendar, as weekends are (one step in 5)."""


class Series(NamedTuple):
    """A series: column `names`, `dates` (rising; None where the file has none) and ``values`` float64 ``[T, D]``."""

    names: tuple[str, ...]
    dates: list[datetime.datetime] | None
    values: np.ndarray


def read_csv(path: Path | str, *, date: str | None = None, columns: Sequence[str] = ()) -> Series:
    """Read a CSV file with a header; the date column and the columns of numbers are found, or named.

    Comma, semicolon or tab separate. Without `date` the first column of dates is it; without `columns` every named
    column of numbers is taken. Times with an offset are put to UTC.

    Raises:
      InputError: if the file is not such text, or has no header, no numbers, gaps (in cells, or between the dates),
        unsorted or repeated dates, uneven rows, two columns of one name.
    """
    names, rows, lines = _table(path)
    table = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    for name in (*columns, *([] if date is None else [date])):
        choose("column", name, table)
    dated = date if date is not None else next((n for n in table if n not in columns and _is_dates(table[n])), None)
    dates = None if dated is None else _dates(path, lines, table[dated])
    found = [n for n in table if n and n != dated and any(_is_meant(cell) for cell in table[n])]
    wanted = list(dict.fromkeys(columns)) or found
    if not wanted:
        first = ", ".join(repr(cell) for cell in rows[0])
        raise InputError(
            f"{path}: no column of numbers among {', '.join(names)} (the first row is {first}); a forecast needs one, "
            "with a point before decimals and nothing between thousands"
        )
    values = np.stack([_numbers(path, lines, name, table[name]) for name in wanted], axis=1)
    return Series(tuple(wanted), dates, values)


def _table(path: Path | str) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, the rows of cells, and the line number of each row."""
    numbered = list(enumerate(read_text(path).split("\n"), 1))
    kept = [(n, line) for n, line in numbered if line.strip()]
    separator = max(",;\t", key=kept[0][1].count)
    if separator not in kept[0][1]:  # one column: a blank line between its rows is an empty cell
        numbered = numbered[: kept[-1][0]]
        kept = numbered[kept[0][0] - 1 :]
    # Line by line: a quote that is never closed then spoils its own line, and not the numbers of all that follow.
    (_, names), *body = [(n, _cells(path, n, line, separator)) for n, line in kept]
    if all(_number(name) is not None or _date(name) for name in names):
        raise InputError(f"{path}, line {kept[0][0]}: expected a header with names of columns, got {kept[0][1]!r}")
    twice = [name for name, count in collections.Counter(names).items() if name and count > 1]
    if twice:
        raise InputError(f"{path}, line {kept[0][0]}: two columns are named {twice[0]!r}; rename one of them")
    if not body:
        raise InputError(f"{path} has a header and no rows; expected a row for each time step")
    uneven = [(n, len(row)) for n, row in body if len(row) != len(names)]
    if uneven:
        raise InputError(
            f"{path}, line {uneven[0][0]}: expected {len(names)} columns as in the header, got {uneven[0][1]}. "
            f"Lines like it: {len(uneven)}. Mend or remove them"
        )
    return names, [row for _, row in body], [n for n, _ in body]


def _cells(path: Path | str, number: int, line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator)) or [""]]
    except csv.Error as error:
        raise InputError(f"{path}, line {number}: {error}; is this a CSV file?") from error


def _date(cell: str) -> datetime.datetime | None:
    if not any(mark in cell for mark in "-/."):
        return None  # 20010101 may be a date and may be a number: it is taken for a number
    try:
        return _plain(datetime.datetime.fromisoformat(cell))
    except ValueError:
        pass
    for form in DATE_FORMATS:
        try:
            return datetime.datetime.strptime(cell, form)
        except ValueError:
            continue
    return None


def _plain(date: datetime.datetime) -> datetime.datetime:
    return date.astimezone(datetime.UTC).replace(tzinfo=None) if date.tzinfo else date


def _is_dates(cells: list[str]) -> bool:
    return _date(next((cell for cell in cells if cell), "")) is not None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _is_meant(cell: str) -> bool:
    """Return whether a cell is a number, or looks like one."""
    return _number(cell) is not None or FOR_PEOPLE.fullmatch(cell) is not None


def _dates(path: Path | str, lines: list[int], cells: list[str]) -> list[datetime.datetime]:
    """Return rising dates, or raise where a cell is not a date, or dates fall, repeat or leave steps out."""
    dates: list[datetime.datetime] = []
    for line, cell in zip(lines, cells, strict=True):
        parsed = _date(cell)
        if parsed is None:
            raise InputError(f"{path}, line {line}: {cell!r} is not a date; expected for example 1949-01 or 1949-01-31")
        if dates and parsed <= dates[-1]:
            what = "the same date twice" if parsed == dates[-1] else "a date before the one above"
            raise InputError(f"{path}, line {line}: {cell} is {what}; sort the rows by date, one row for each date")
        dates.append(parsed)
    steps = [(b - a).total_seconds() for a, b in itertools.pairwise(dates)]
    gaps = [i for i, step in enumerate(steps, 1) if step > 1.5 * float(np.median(steps))]
    if 0 < len(gaps) < REGULAR * len(steps):
        first = gaps[0]
        raise InputError(
            f"{path}, line {lines[first]}: rows are missing between {cells[first - 1]} and {cells[first]}; expected "
            f"dates at one distance. Gaps like it: {len(gaps)}. Add the rows (interpolate, say): a season is counted "
            "in rows"
        )
    return dates


def _numbers(path: Path | str, lines: list[int], name: str, cells: list[str]) -> np.ndarray:
    values = [_number(cell) for cell in cells]
    bad = [i for i, v in enumerate(values) if v is None or not math.isfinite(v)]
    if bad:
        first, wanted, mend = cells[bad[0]], "a number", "Fill the gaps (interpolate, say)"
        if FOR_PEOPLE.fullmatch(first):
            wanted, mend = "a number with a point before decimals and nothing else, such as 1234.5", "Rewrite them"
        raise InputError(
            f"{path}, line {lines[bad[0]]}: column {name!r} has {repr(first) if first else 'nothing'}, expected "
            f"{wanted}. Cells like it: {len(bad)}{_on_lines(lines, bad)}. {mend} or choose other columns with --columns"
        )
    return np.array(values, float)


def _on_lines(lines: list[int], bad: list[int], most: int = 5) -> str:
    shown = ", ".join(str(lines[i]) for i in bad[:most])
    return f" (lines {shown}{', ...' if len(bad) > most else ''})" if len(bad) > 1 else ""


def season_length(dates: Sequence[datetime.datetime] | None) -> int:
    """Return how many steps make a season, from the dates' spacing: 12 months, 4 quarters, 7 days, 24 hours; else 1.

    Example:
      >>> season_length([datetime.datetime(1949, m, 1) for m in (1, 2, 3)])
      12
    """
    if not dates or len(dates) < 2:
        return 1
    hours = float(np.median([(b - a).total_seconds() for a, b in itertools.pairwise(dates)])) / 3600
    known = {1: 24, 24: 7, 24 * 30: 12, 24 * 91: 4}
    return next((season for step, season in known.items() if abs(hours - step) <= 0.07 * step), 1)


def windows(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all windows and what follows each: inputs ``[length, N, D]``, targets ``[N, D]`` of ``values [T, D]``.

    Raises:
      InputError: if there are too few rows for one window and its target.
    """
    if length < 1 or len(values) <= length:
        raise InputError(f"a window of {length} steps and its target need {length + 1} rows or more; got {len(values)}")
    inputs = np.stack([values[t : t + len(values) - length] for t in range(length)])
    return inputs, values[length:]


class Scaler(NamedTuple):
    """Values to the numbers a network sees, and back: optional logarithm, seasonal difference, standardisation.

    Fields, all from the training part alone:
      log: whether the logarithm was taken.
      lag: differences are taken against the value so many steps before; 0 for none.
      mean: ``[D]``.
      std: ``[D]``.
    """

    log: bool
    lag: int
    mean: np.ndarray
    std: np.ndarray

    @staticmethod
    def fit(train: np.ndarray, names: Sequence[str], *, log: bool = False, lag: int = 0) -> Scaler:
        """Return the scaler of the training part ``[T, D]``.

        Raises:
          InputError: for a constant column, too few rows for the lag, or a logarithm of values that are not positive.
        """
        if len(train) <= lag + 1:
            raise InputError(f"a seasonal difference of {lag} steps needs more than {lag + 1} rows; got {len(train)}")
        for name, column in zip(names, train.T, strict=True):
            if (column == column[0]).all():
                raise InputError(
                    f"column {name!r} is constant ({column[0]:g}) in the training part: nothing to forecast"
                )
        changed = Scaler(log, lag, np.zeros(train.shape[1]), np.ones(train.shape[1])).forward(train)
        std = changed.std(0)
        return Scaler(log, lag, changed.mean(0), np.where(std > 0, std, 1.0))

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values ``[T - lag, D]``: the first `lag` have nothing to be compared with.

        Raises:
          InputError: for a logarithm of values that are not positive.
        """
        if self.log and (values <= 0).any():
            row, column = np.argwhere(values <= 0)[0]
            raise InputError(
                f"the logarithm needs values above 0; got {values[row, column]:g} in row {row + 1}, "
                f"column {column + 1} ({int((values <= 0).sum())} such values): use --no-log"
            )
        x = np.log(values) if self.log else values
        x = x[self.lag :] - x[: len(x) - self.lag] if self.lag else x
        return (x - self.mean) / self.std

    def inverse(self, scaled: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return the values ``[N, D]`` of scaled ones, each against the value one lag earlier, ``before [N, D]``."""
        x = scaled * self.std + self.mean
        if self.lag:
            x = x + (np.log(before) if self.log else before)
        return np.exp(x) if self.log else x


def naive(history: np.ndarray, steps: int, season: int = 1) -> np.ndarray:
    """Return ``[steps, D]``: each value repeats the one a season ago (season 1: the last value), free-running.

    Raises:
      InputError: if the history is shorter than a season.

    Example:
      >>> naive(np.array([[1.0], [2.0], [3.0]]), steps=3, season=2).ravel().tolist()
      [2.0, 3.0, 2.0]
    """
    if not 1 <= season <= len(history):
        raise InputError(f"a season of {season} steps needs as many rows to repeat, and 1 or more; got {len(history)}")
    return history[len(history) - season + np.arange(steps) % season]


def fit_autoregression(values: np.ndarray, order: int) -> np.ndarray:
    """Return the least-squares weights ``[1 + order * D, D]`` of a linear autoregression, intercept first."""
    inputs, targets = windows(values, order)
    return np.linalg.lstsq(_design(np.moveaxis(inputs, 0, 1)), targets, rcond=None)[0]


def autoregress(weights: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the next value ``[N, D]`` after each window ``[N, order, D]``."""
    return _design(window) @ weights


def _design(windows: np.ndarray) -> np.ndarray:
    flat = windows.reshape(len(windows), -1)
    return np.concatenate([np.ones((len(flat), 1)), flat], axis=1)


def rmse(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the root of the mean squared error of ``[T, D]`` forecasts.

    Raises:
      InputError: if the shapes differ.
    """
    return float(np.sqrt(np.mean(_errors(actual, forecast) ** 2)))


def mae(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the mean absolute error of ``[T, D]`` forecasts.

    Raises:
      InputError: if the shapes differ.
    """
    return float(np.mean(np.abs(_errors(actual, forecast))))


def mase(actual: np.ndarray, forecast: np.ndarray, train: np.ndarray, season: int) -> float:
    """Return the mean absolute scaled error: 1 is what the seasonal naive forecast comes to on the training part.

    Reference: Hyndman & Koehler 2006, "Another look at measures of forecast accuracy", eq. for q_t. Columns are scaled
    one by one and averaged. Infinite where a column of the training part repeats exactly, season by season: there is
    then no error to compare with (0 if the forecast is exact too).

    Raises:
      InputError: if the shapes of `actual` and `forecast` differ, or `train` is no longer than a season.
    """
    if not 1 <= season < len(train):
        raise InputError(f"a season of {season} steps needs {season + 1} training rows or more; got {len(train)}")
    scale = np.abs(train[season:] - train[:-season]).mean(0)
    error = np.abs(_errors(actual, forecast)).mean(0)
    unscaled = np.where(error > 0, math.inf, 0.0)
    return float(np.mean(np.divide(error, scale, out=unscaled, where=scale > 0)))


def _errors(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    if actual.shape != forecast.shape:  # [T] and [T, 1] would broadcast to [T, T]
        raise InputError(f"actual and forecast must be of one shape; got {actual.shape} and {forecast.shape}")
    return actual - forecast

"""Time series from CSV files, cut into windows, scaled, forecast by simple rules, and measured. NumPy only."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxseq.errors import InputError, choose
from jaxseq.pairs import read_text

DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m", "%Y/%m/%d", "%Y/%m", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y",
)  # fmt: skip


class Series(NamedTuple):
    """A series: column `names`, `dates` (rising; None where the file has none) and ``values`` float64 ``[T, D]``."""

    names: tuple[str, ...]
    dates: list[datetime.datetime] | None
    values: np.ndarray


def read_csv(path: Path | str, *, date: str | None = None, columns: Sequence[str] = ()) -> Series:
    """Read a CSV file with a header; the date column and the columns of numbers are found, or named.

    Comma, semicolon or tab separate. Without `date` the first column of dates is it; without `columns` every column
    of numbers is taken.

    Raises:
      InputError: if the file is no such text, or has no numbers, gaps, unsorted or repeated dates, uneven rows.
    """
    lines = [(n, line) for n, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    separator = max(",;\t", key=lines[0][1].count)
    header, *rows = list(csv.reader((line for _, line in lines), delimiter=separator))
    numbers, names = [n for n, _ in lines[1:]], [name.strip() for name in header]
    if not rows:
        raise InputError(f"{path} has a header and no rows; expected a row for each time step")
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != len(names):
            raise InputError(f"{path}, line {number}: expected {len(names)} columns as in the header, got {len(row)}")
    table = {name: [row[i].strip() for row in rows] for i, name in enumerate(names)}
    for name in (*columns, *([date] if date else [])):
        choose("column", name, table)
    dated = date or next((name for name in names if name not in columns and _date(table[name][0])), None)
    wanted = list(columns) or [n for n in names if n != dated and any(_number(c) is not None for c in table[n])]
    if not wanted:
        raise InputError(f"{path}: no column of numbers among {', '.join(names)}; a forecast needs one")
    dates = _dates(path, numbers, table[dated]) if dated else None
    values = np.stack([_numbers(path, numbers, name, table[name]) for name in wanted], axis=1)
    return Series(tuple(wanted), dates, values)


def _date(cell: str) -> datetime.datetime | None:
    for form in DATE_FORMATS:
        try:
            return datetime.datetime.strptime(cell, form)
        except ValueError:
            continue
    return None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _dates(path: Path | str, lines: list[int], cells: list[str]) -> list[datetime.datetime]:
    dates: list[datetime.datetime] = []
    for line, cell in zip(lines, cells, strict=True):
        parsed = _date(cell)
        if parsed is None:
            raise InputError(f"{path}, line {line}: {cell!r} is not a date; expected for example 1949-01 or 1949-01-31")
        if dates and parsed <= dates[-1]:
            what = "the same date twice" if parsed == dates[-1] else "a date before the one above"
            raise InputError(f"{path}, line {line}: {cell} is {what}; sort the rows by date, one row a date")
        dates.append(parsed)
    return dates


def _numbers(path: Path | str, lines: list[int], name: str, cells: list[str]) -> np.ndarray:
    values = [_number(cell) for cell in cells]
    bad = [i for i, v in enumerate(values) if v is None or not math.isfinite(v)]
    if bad:
        raise InputError(
            f"{path}, line {lines[bad[0]]}: column {name!r} has {cells[bad[0]] or 'nothing'!r}, expected a number. "
            f"Cells like it: {len(bad)}. Fill the gaps (interpolate, say) or choose other columns with --columns"
        )
    return np.array(values, float)


def season_length(dates: Sequence[datetime.datetime] | None) -> int:
    """Return how many steps make a season, from the dates' spacing: 12 months, 4 quarters, 7 days, 24 hours; else 1.

    Example:
      >>> season_length([datetime.datetime(1949, m, 1) for m in (1, 2, 3)])
      12
    """
    if not dates or len(dates) < 2:
        return 1
    hours = float(np.median(np.diff([d.timestamp() for d in dates]))) / 3600
    known = {1: 24, 24: 7, 24 * 30: 12, 24 * 91: 4}
    return next((season for step, season in known.items() if abs(hours - step) <= 0.06 * step), 1)


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
        if log and (train <= 0).any():
            raise InputError("the logarithm needs values above 0; got some at or below: use --no-log")
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
        """Return scaled values ``[T - lag, D]``: the first `lag` have nothing to be compared with."""
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
    """Return ``[steps, D]``: each value repeats the one a season ago (season 1: the last value), free-running."""
    last = history[len(history) - season :]
    return np.concatenate([last] * -(-steps // season))[:steps]


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
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean((actual - forecast) ** 2)))


def mae(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(actual - forecast)))


def mase(actual: np.ndarray, forecast: np.ndarray, train: np.ndarray, season: int) -> float:
    """Return the mean absolute scaled error: 1 is what the seasonal naive forecast comes to on the training part.

    Reference: Hyndman & Koehler 2006, "Another look at measures of forecast accuracy", eq. for q_t. Columns are scaled
    one by one and averaged.
    """
    scale = np.abs(train[season:] - train[:-season]).mean(0)
    return float(np.mean(np.abs(actual - forecast).mean(0) / scale))

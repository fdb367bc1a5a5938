"""Read one or many series with their covariates on one calendar, from a file or a DataFrame."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps.forecast import dates as stamps_of
from jaxseq.apps.forecast.calendar import Calendar, infer, on_calendar
from jaxseq.apps.forecast.cells import MISSING
from jaxseq.apps.forecast.columns import Columns, Reader, covariates, roles
from jaxseq.apps.forecast.rows import Rows, check_distinct, missing_note, ordered, without_totals
from jaxseq.apps.forecast.steps import are_among
from jaxseq.apps.forecast.table import Table, read_table, some
from jaxseq.errors import InputError

FILLED, ROOM = 31, 10**6
"""Rows that are due for each row that is there, at most, since they take memory: a month has 31 days; and as many
cells in addition."""
THINNEST = 0.5
"""A series with a smaller share of the rows due by the panel's calendar is refused."""


class Series(NamedTuple):
    """One series of a panel, float64 throughout.

    Fields:
      name: its id, or the name of its column.
      stamps: one for each row and none left out; None where the file has no dates.
      values: ``[T]``, NaN where missing; the first and the last are there.
      past: ``[T, P]``, covariates known only up to now, without NaN.
      future: ``[T + known ahead, F]``, covariates known ahead, without NaN; at least T rows.
      static: ``[S]``.
    """

    name: str
    stamps: pd.DatetimeIndex | None
    values: np.ndarray
    past: np.ndarray
    future: np.ndarray
    static: np.ndarray


class Panel(NamedTuple):
    """Series that share a calendar.

    Fields:
      series: at least one.
      calendar: frequency and seasons.
      notes: on how the file was read, and on cells filled or left out, one line each.
      columns: the role of each column of the file; None where arrays were given.
    """

    series: tuple[Series, ...]
    calendar: Calendar
    notes: tuple[str, ...] = ()
    columns: Columns | None = None


def read(
    source: Path | str | pd.DataFrame,
    *,
    date: str | None = None,
    time: str | None = None,
    date_format: str | None = None,
    target: tuple[str, ...] = (),
    id: str | None = None,
    id_columns: bool = False,
    past: tuple[str, ...] = (),
    future: tuple[str, ...] = (),
    static: tuple[str, ...] = (),
    frequency: str | None = None,
    seasons: tuple[int, ...] = (),
    decimal: str | None = None,
    missing: tuple[float, ...] = (),
    calendar: Calendar | None = None,
) -> Panel:
    """Read a CSV, TSV, other separated or Parquet file (gzip too), or a DataFrame.

    Args:
      source: the file or the DataFrame.
      date: column of dates; found if not named. Without one, rows are steps.
      time: column of times of day that goes with it.
      date_format: how dates are written, as strptime has it, where that is not clear.
      target: columns to forecast, each a series; all other columns of numbers if none is named.
      id: column that says to which series a row belongs (long format). Nixtla's ``unique_id, ds, y`` is recognised.
      id_columns: every column is a series (wide format): text is refused instead of left out.
      past: covariates known only up to now.
      future: covariates known ahead, in rows under the last target too.
      static: covariates with one value for each series.
      frequency: pandas' name of the step between rows; found if not named.
      seasons: rows in each season; found if not named.
      decimal: mark before decimals, ``.`` or ``,``, where that is not clear.
      missing: numbers that mean a missing value, such as -9999.
      calendar: the calendar that rows must be on if they continue others; then neither frequency nor seasons.

    Raises:
      InputError: if the file cannot be read without doubt; the message says where, what was expected, and what to do.
    """
    table = read_table(source)
    # the long format of Nixtla's libraries
    if id is None and {"unique_id", "ds"} <= set(table.cells):
        id, target = "unique_id", target or (("y",) if "y" in table.cells else ())
    # looked up at once: a mistyped name is reported before dates are read
    named = [*target, *([] if id is None else [id]), *past, *future, *static]
    for name in named:
        table.check_has(name)
    found = stamps_of.find(table, date, time, named, date_format)
    # a line of totals has no date, and would make the column one of mixed forms
    table = without_totals(table, found) if found else table
    when = stamps_of.read(table, found, date_format) if found else None
    reader = Reader(table, decimal, missing)
    columns, left_out = roles(
        table, reader, found, target=target, id=id, id_columns=id_columns, past=past, future=future, static=static
    )
    notes = [*table.notes, *(when.notes if when else ("no column of dates: rows are steps, in their order",))]
    rows = Rows(table, columns, None if when is None else when.stamps, *_groups(table, id))
    series, calendar, more = _assembled(rows, reader, frequency, seasons, calendar)
    return Panel(series, calendar, (*notes, *left_out, *reader.notes, *more), columns)


def _groups(table: Table, id: str | None) -> tuple[np.ndarray, list[str]]:
    """Return the series of each row, as a place in the list of ids."""
    if id is None:
        return np.zeros(len(table.lines), np.int64), [""]
    cells = stamps_of.text_of(table, id)
    # NA and None are names, such as Namibia's code
    empty = [i for i, cell in enumerate(cells) if cell.casefold() in MISSING - {"na", "none"}]
    if empty:
        raise InputError(f"{table.at(empty[0])}: the id in column {id!r} is empty; rows like it: {len(empty)}")
    codes, ids = pd.factorize(cells)
    return codes, list(ids)


def _assembled(
    rows: Rows, reader: Reader, frequency: str | None, seasons: tuple[int, ...], known: Calendar | None
) -> tuple[tuple[Series, ...], Calendar, tuple[str, ...]]:
    """Return the series, their calendar and lines on what was filled."""
    table, columns, notes = rows.table, rows.columns, []
    targets = np.stack([reader.values(name) for name in columns.target], axis=1)
    past, past_notes = covariates(table, reader, columns.past)
    future, future_notes = covariates(table, reader, columns.future)
    static, static_notes = _static(rows, reader)
    notes += [*past_notes, *future_notes, *static_notes]
    order, sort_note = ordered(rows)
    notes += sort_note
    if rows.stamps is None:
        if frequency is not None:
            raise InputError(f"{table.where} has no column of dates, so no --frequency; name it with --date")
        calendar, grid = Calendar(None, tuple(sorted(seasons)) or (1,)), None
        # without dates each series counts its own rows
        places = np.concatenate([np.arange(count) for count in np.bincount(rows.codes)])
    else:
        check_distinct(rows, order)
        # one calendar for all series: a short one alone may not show it
        distinct, inverse = np.unique(rows.stamps, return_inverse=True)
        inferred = infer(distinct, frequency, seasons) if known is None else on_calendar(distinct, known)
        calendar, moved = inferred.calendar, inferred.stamps[inverse]
        grid = calendar.between(inferred.stamps[0], inferred.stamps[-1])
        places = np.searchsorted(grid.to_numpy("M8[us]"), moved)
        # a few rows in closed hours do not make them open
        on = are_among(moved, grid.to_numpy("M8[us]"))
        if not on.all():
            first = table.at(int(np.flatnonzero(~on)[0]))
            notes.append(f"left out: {(~on).sum()} rows in hours or days that are closed otherwise, the first {first}")
        order, places = order[on[order]], places[order[on[order]]]
        notes += [f"{calendar}", *inferred.notes]
    placed = np.concatenate([targets, past, future], axis=1)[order]
    series, cut = _cut(rows, grid, rows.codes[order], places, placed, (past.shape[1], future.shape[1]), static)
    return series, calendar, (*notes, *cut, *missing_note(series, calendar, FILLING))


def _cut(
    rows: Rows, grid: pd.DatetimeIndex | None, codes: np.ndarray, places: np.ndarray, placed: np.ndarray,
    sizes: tuple[int, int], static: np.ndarray,
) -> tuple[tuple[Series, ...], list[str]]:  # fmt: skip
    """Return each id's and target's series from its first value to its last, and lines on what that leaves out."""
    columns, series, notes, filled_cells, ends = rows.columns, [], [], 0, []
    # many series have the same rows, and a slice of an index takes longer than all else
    stretch = functools.cache(lambda first, last: None if grid is None else grid[first:last])
    # rows are sorted by series, so that each is one slice
    bounds = np.searchsorted(codes, np.arange(len(rows.ids) + 1))
    names = len(columns.target)
    for code, id in enumerate(rows.ids):
        at = places[bounds[code] : bounds[code + 1]]
        if not len(at):
            notes.append(f"left out: series {id!r}, which has no row in opening hours")
            continue
        due = int(at[-1] - at[0]) + 1
        if columns.id is not None and len(at) < THINNEST * due:
            raise InputError(
                f"{rows.table.where}: series {id!r} has {len(at)} of the {due} rows due by the calendar of all; "
                "forecast series of different steps apart"
            )
        # only a frequency that was given may leave so many rows to be filled
        if due > FILLED * len(at) + ROOM / placed.shape[1]:
            raise InputError(
                f"{rows.table.where} has {len(at):,} of the {due:,} rows due by --frequency; give a longer one, or "
                "leave it out"
            )
        # rows that are due and missing become NaN
        whole = np.full((due, placed.shape[1]), np.nan)
        whole[at - at[0]] = placed[bounds[code] : bounds[code + 1]]
        for n, target in enumerate(columns.target):
            name = target if columns.id is None else id if names == 1 else f"{id} {target}"
            # from the first value to the last: holes at the ends are not to be forecast
            there = np.flatnonzero(~np.isnan(whole[:, n]))
            if not len(there):
                notes.append(f"left out: series {name!r}, which has no value")
                continue
            first, last = int(there[0]), int(there[-1]) + 1
            past, holes_past = _carried(whole[first:last, names : names + sizes[0]])
            # to the end: rows below the last target hold covariates known ahead
            future, holes = _known(whole[first:, names + sizes[0] :], last - first)
            filled_cells += holes_past + holes
            ends += [name] * (first > 0 or (last < len(whole) and not sizes[1]))
            stamps = stretch(int(at[0]) + first, int(at[0]) + last)
            series.append(Series(name, stamps, whole[first:last, n].copy(), past, future, static[code]))
    if not series:
        raise InputError(f"{rows.table.where}: no value in {some(columns.target)}; a forecast needs some")
    if ends:
        notes.append(f"rows without a value left out at the start or end of {some(ends)}")
    if filled_cells:
        notes.append(f"covariates: {filled_cells} missing values, filled with the one before")
    return tuple(series), notes


def _carried(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return covariates with the last value in every hole, the first value before it; and how many holes."""
    holes = int(np.isnan(values).sum()) if values.size else 0
    # forwards first, so that no value is filled from a later one, except before the first
    return (pd.DataFrame(values).ffill().bfill().to_numpy() if holes else values.copy()), holes


def _known(values: np.ndarray, rows: int) -> tuple[np.ndarray, int]:
    """Return covariates known ahead, up to the first row under the target's last that lacks one."""
    if not values.shape[1]:
        return values[:rows].copy(), 0
    ahead = np.isnan(values[rows:]).any(1)
    length = rows + (int(ahead.argmax()) if ahead.any() else len(ahead))
    return _carried(values[:length])


def _static(rows: Rows, reader: Reader) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the static features of each id, ``[N, S]``."""
    values, notes = covariates(rows.table, reader, rows.columns.static)
    first = np.unique(rows.codes, return_index=True)[1]
    # NaN differs from itself, so that an empty cell is found here too
    differ = np.argwhere(values != values[first][rows.codes])
    if len(differ):
        raise InputError(
            f"{rows.table.at(int(differ[0, 0]))}: a static column of {', '.join(rows.columns.static)} changes within "
            f"series {rows.ids[rows.codes[differ[0, 0]]]!r}, or is empty; one that changes is --past or --future"
        )
    return values[first], notes


FILLING = "masked in training, filled in windows from the rows before alone"
"""How missing values are treated, for a note: `simple.filled` fills them."""

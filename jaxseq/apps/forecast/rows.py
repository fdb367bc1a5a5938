"""The rows of a table in order: totals below it, dates that fall or repeat, clock changes, and missing values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps.forecast.calendar import Calendar
from jaxseq.apps.forecast.columns import Columns
from jaxseq.apps.forecast.dates import text_of
from jaxseq.apps.forecast.forms import is_date_cell
from jaxseq.apps.forecast.steps import DAY, shown
from jaxseq.apps.forecast.table import Table
from jaxseq.errors import InputError

if TYPE_CHECKING:
    from jaxseq.apps.forecast.panel import Series

TOTALS = frozenset(
    "total grand sum summe gesamt average mean mittelwert durchschnitt median count source note quelle "
    "合计 总计 平均".split()
)
"""First words of text below a table, in lower case."""
CURE = "write offsets (2024-10-27T02:00+02:00), or UTC"


class Rows(NamedTuple):
    """A table whose columns and dates are known.

    Fields:
      table: the table.
      columns: the roles of its columns.
      stamps: datetime64[us] ``[T]``, or None where there are no dates.
      codes: ``[T]``, the series of each row, a place in `ids`.
      ids: names of series; one, empty, where the table has no column of ids.
    """

    table: Table
    columns: Columns
    stamps: np.ndarray | None
    codes: np.ndarray
    ids: list[str]


def without_totals(table: Table, dates: tuple[str, ...]) -> Table:
    """Return the table without rows of totals or remarks below it."""
    if table.is_dates(dates[0]):
        return table
    cells = text_of(table, dates[0])
    last = len(cells)
    # from the end: a total within the table is a mistake that reading the dates will report
    while last > 1 and _is_total(cells[last - 1]):
        last -= 1
    if last == len(cells):
        return table
    shown = ", ".join(repr(cell[:30]) for cell in cells[last:])
    return table.rows(np.arange(last), f"left out below the table: {shown}")


def _is_total(cell: str) -> bool:
    words = cell.casefold().replace(":", " ").split()
    return bool(words) and words[0] in TOTALS and not is_date_cell(cell)


def ordered(rows: Rows) -> tuple[np.ndarray, list[str]]:
    """Return the order of rows by series and stamp, and a line if they were not in it."""
    if rows.stamps is None:
        return np.argsort(rows.codes, kind="stable"), []
    order = np.lexsort((rows.stamps, rows.codes))
    # within a series alone: where the next begins, time goes back
    steps = np.diff(rows.stamps)[np.diff(rows.codes) == 0]
    zero = np.timedelta64(0, "us")
    if (steps >= zero).all():
        return order, []
    how = "from the last to the first" if (steps <= zero).all() else "in no order"
    return order, [f"rows were {how}: sorted by date"]


def check_distinct(rows: Rows, order: np.ndarray) -> None:
    """Check that a series has one row for each stamp.

    Raises:
      InputError: if not; the message names a column that looks like an id, or the change of clocks.
    """
    assert rows.stamps is not None
    stamps, codes, table = rows.stamps[order], rows.codes[order], rows.table
    again = np.flatnonzero((np.diff(stamps) == np.timedelta64(0, "us")) & (np.diff(codes) == 0))
    if not len(again):
        return
    first, row = (int(order[again[0] + k]) for k in (0, 1))
    stamp = shown(stamps[again[0]])
    where = f"{table.at(row)}: {stamp} occurs twice (first in {table.at(first).rpartition(', ')[2]})"
    if rows.columns.id is None:
        ids = _ids(rows)
        if ids:
            name, count = ids[0]
            raise InputError(
                f"{where}; repeated dates: {len(again)}. Column {name!r} looks like an id of {count} series: "
                f"say --id {name}"
            )
    # rows less than a day apart: a daily Sunday at midnight has nothing to do with clocks
    apart = np.diff(np.sort(stamps))
    if ((apart > np.timedelta64(0, "us")) & (apart < DAY)).any() and clocks_change(stamps[again]):
        raise InputError(f"{where}: an hour comes twice where clocks go back, so these are local times; {CURE}")
    series = "" if rows.columns.id is None else f" in series {rows.ids[codes[again[0]]]!r}"
    raise InputError(f"{where}{series}; repeated dates: {len(again)}. Keep one row for each date, or add the rows up")


def _ids(rows: Rows) -> list[tuple[str, int]]:
    """Return columns that make the rows distinct together with the stamp, of the fewest values first, and how many."""
    found = []
    stamps = pd.factorize(rows.stamps)[0]
    for name in rows.table.cells:
        if name in rows.columns.dates:
            continue
        codes, distinct = pd.factorize(text_of(rows.table, name))
        # A column of numbers with a value for nearly every row is a measurement. An id makes each stamp unique.
        if 2 <= len(distinct) <= len(codes) / 2 and len(pd.unique(stamps * len(distinct) + codes)) == len(codes):
            found.append((name, len(distinct)))
    return sorted(found, key=lambda pair: pair[1])


def clocks_change(stamps: np.ndarray) -> bool:
    """Return whether all stamps are Sundays before 4 o'clock in a month in which some country changes its clocks."""
    times = pd.DatetimeIndex(stamps)
    return bool(((times.day_of_week == 6) & (times.hour < 4) & times.month.isin([3, 4, 9, 10, 11])).all())


def missing_note(series: Sequence[Series], calendar: Calendar, filling: str) -> list[str]:
    """Return a line on values that are missing, and one on a change of clocks."""
    holes = {s.name: np.flatnonzero(np.isnan(s.values)) for s in series}
    short = {name: rows for name, rows in holes.items() if len(rows)}
    if not short:
        return []
    total, size = sum(map(len, short.values())), sum(len(s.values) for s in series)
    if len(short) > 1:
        return [f"{total} of {size} values missing in {len(short)} of {len(series)} series: {filling}"]
    one = next(s for s in series if s.name in short)
    rows = short[one.name]
    stamps = None if one.stamps is None else one.stamps.to_numpy("M8[us]")[rows]
    first = [f"row {row}" for row in rows[:4]] if stamps is None else [shown(stamp) for stamp in stamps[:4]]
    places = ", ".join(first) + (", ..." if len(rows) > 4 else "")
    notes = [f"{one.name}: {total} of {len(one.values)} values missing ({places}): {filling}"]
    # a calendar of days has no hour that could be missing
    within_days = calendar.frequency is not None and calendar.frequency.endswith(("h", "min"))
    if stamps is not None and within_days and clocks_change(stamps):
        notes.append(f"an hour is missing where clocks go forward, so these are local times: {CURE} cures it")
    return notes

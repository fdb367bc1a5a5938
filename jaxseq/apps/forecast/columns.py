"""The role of each column of a table (target, covariate or id) and its numbers."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps.forecast.cells import MISSING, Numbers, numbers
from jaxseq.apps.forecast.dates import is_date, may_be_dates
from jaxseq.apps.forecast.forms import DATE_WORDS
from jaxseq.apps.forecast.sentinels import declared, marked, suspected
from jaxseq.apps.forecast.table import Table, some
from jaxseq.errors import InputError, quoted

ROW_NAMES = frozenset("index id row no no. nr n num number instant rownames rowid obs t step # 序号 编号".split())
"""Names of columns that number the rows, in lower case."""
CATEGORIES = 10
"""The most text categories that become columns of 0 and 1; more are refused."""

SHOWN = 20
"""The most left-out columns that a note names."""


class Columns(NamedTuple):
    """The names of columns by their role."""

    dates: tuple[str, ...]
    id: str | None
    target: tuple[str, ...]
    past: tuple[str, ...]
    future: tuple[str, ...]
    static: tuple[str, ...]


class Reader:
    """The numbers of a table's columns, read once; the mark before decimals is decided over all of them.

    Args:
      table: the table.
      decimal: ``.`` or ``,``; None finds it.
      missing: numbers that mean a missing value.

    Raises:
      InputError: for another mark.
    """

    def __init__(self, table: Table, decimal: str | None, missing: Sequence[float] = ()) -> None:
        if decimal not in (None, ".", ","):
            raise InputError(f"--decimal is the mark before decimals, . or ,; got {decimal!r}")
        self.table, self.decimal, self.missing = table, decimal, missing
        self.found: dict[str, Numbers] = {}
        # semicolons are what programs write where the comma comes before decimals
        self.plain = table.separator != ";" and decimal != ","
        self.notes: list[str] = []

    def read(self, name: str) -> Numbers:
        """Return the readings of a column of text."""
        if name not in self.found:
            self.found[name] = numbers(self.table.cells[name], self.plain)
        return self.found[name]

    def is_numbers(self, name: str) -> bool:
        """Return whether a column is numeric, perhaps with mistakes."""
        if self.table.is_text(name):
            return self.read(name).is_meant
        return self.table.cells[name].dtype.kind == "f"

    def values(self, name: str) -> np.ndarray:
        """Return a column's numbers, float64, NaN where missing.

        Raises:
          InputError: for a cell that is not a number, an infinite one, two units, and where a comma may come before
            decimals or between thousands.
        """
        values = cells = self.table.cells[name]
        if self.table.is_text(name):
            values = self._of_text(name)
            self.notes += marked(name, cells, values)
        values, notes = declared(name, values, self.missing)
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise InputError(
                f"{self.table.at(int(infinite[0]))}: column {name!r} has an infinite value; cells like it: "
                f"{len(infinite)}. Empty them, or correct them"
            )
        self.notes += [*notes, *suspected(name, values)]
        return values

    def _of_text(self, name: str) -> np.ndarray:
        table, reading, cells = self.table, self.read(name), self.table.cells[name]
        if not reading.values:
            row = int(reading.unread[0])
            raise InputError(
                f"{table.at(row)}: column {name!r} has {cells[row][:60]!r}, expected a number; cells like it: "
                f"{len(reading.unread)}. Correct them, or leave them empty where there is no value"
            )
        self._check_units(name, reading)
        if reading.differ is None:
            mark = next(iter(reading.values))
            # a cell shows the other mark than the one that was given
            if self.decimal not in (None, mark) and reading.marked:
                row = next(i for i, cell in enumerate(cells) if mark in cell)
                raise InputError(
                    f"{table.at(row)}: column {name!r} has {quoted(cells[row])}, not a number with --decimal "
                    f"{self.decimal}"
                )
            return reading.values[mark]
        # other columns of the file may show which mark it uses
        decided = self.decimal or self._mark
        if decided is None:
            row = reading.differ
            both = " or ".join(f"{reading.values[mark][row]:.12g} (--decimal {mark})" for mark in ".,")
            raise InputError(
                f"{table.at(row)}: column {name!r} has {quoted(cells[row])}, which may be {both}: choose one"
            )
        return reading.values[decided]

    @functools.cached_property
    def _mark(self) -> str | None:
        """Return the decimal mark of the columns that show one, if they agree."""
        text = [name for name in self.table.cells if self.table.is_text(name)]
        marks = {m for name in text if self.read(name).marked and self.is_numbers(name) for m in self.read(name).values}
        return marks.pop() if len(marks) == 1 else None

    def _check_units(self, name: str, reading: Numbers) -> None:
        units = sorted(reading.units - {""})
        # 5% and 5 may be a hundred times as much; a currency is often written in the first row alone.
        if len(units) > 1 or ("%" in units and "" in reading.units):
            shown = " and ".join(repr(unit) for unit in (*units, *([] if len(units) > 1 else [""])))
            raise InputError(f"{self.table.where}: column {name!r} has cells with the units {shown}; use one")
        if units:
            self.notes.append(f"{name}: numbers in {units[0]}")


def roles(
    table: Table,
    reader: Reader,
    dates: tuple[str, ...],
    *,
    target: tuple[str, ...],
    id: str | None,
    id_columns: bool,
    past: tuple[str, ...],
    future: tuple[str, ...],
    static: tuple[str, ...],
) -> tuple[Columns, tuple[str, ...]]:
    """Return the role of each column, and a line on those that are left out.

    Raises:
      InputError: if a column is named twice, or none is left to forecast.
    """
    used = [*dates, *([] if id is None else [id]), *past, *future, *static]
    twice = next((name for name, count in collections.Counter([*target, *used]).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"column {twice!r} is named twice; a column is a date, an id, a target or one covariate")
    taken = {*used, *target}
    free = [name for name in table.cells if name not in taken]
    # of named targets as well as others, so that one message can say all
    reasons = {name: _reason(table, reader, name) for name in free}
    found = tuple(target) or tuple(name for name in free if reasons[name] is None)
    if not found:
        shown = some([f"{name} ({why})" for name, why in reasons.items()], SHOWN, "; ") or (
            "every other column is an id or a covariate" if len(used) > len(dates) else "the file has only dates"
        )
        raise InputError(f"{table.where}: no column of numbers to forecast: {shown}. Name it with --target")
    if id_columns and not target:
        # in the wide form a column of text is likely a number with a mistake
        text = next((name for name, why in reasons.items() if why and why.startswith("text")), None)
        if text is not None:
            raise InputError(f"{table.where}: with --id-columns each column is a series; {text!r} is {reasons[text]}")
    targets = {*found}
    left = [f"{name} ({reasons[name] or 'not named as a target'})" for name in free if name not in targets]
    notes = (f"left out: {some(left, SHOWN)}",) if left else ()
    return Columns(dates, id, found, tuple(past), tuple(future), tuple(static)), notes


def _reason(table: Table, reader: Reader, name: str) -> str | None:
    """Return why a column cannot be a target unless it is named, or None."""
    if table.is_dates(name):
        return "dates"
    cells = table.cells[name]
    if table.is_text(name):
        first = next((cell for cell in cells if cell.casefold() not in MISSING), None)
    else:
        first = None if np.isnan(cells).all() else ""
    if first is None:
        return "empty"
    if not reader.is_numbers(name):
        return "dates" if is_date(table, name) else f"text, such as {first[:30]!r}"
    if name.casefold() in DATE_WORDS and may_be_dates(table, name):
        return "dates"
    if name.startswith("Unnamed:") or name.casefold() in ROW_NAMES:
        values = pd.to_numeric(pd.Series(cells), errors="coerce").to_numpy()
        # by its values too: a column called n may be a count
        if values[0] in (0, 1) and (np.diff(values) == 1).all():
            return "row numbers"
    return None


def covariates(table: Table, reader: Reader, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return columns as float64 ``[T, C]``, text as columns of 0 and 1, and a line on these.

    Raises:
      InputError: for text of more than `CATEGORIES` categories, and as `Reader.values`.
    """
    columns, notes = [np.zeros((len(table.lines), 0))], []
    for name in names:
        if table.is_dates(name):
            raise InputError(f"{table.where}: column {name!r} holds dates; a covariate holds numbers or categories")
        if reader.is_numbers(name):
            columns.append(reader.values(name)[:, None])
            continue
        cells = table.cells[name]
        categories = sorted({cell for cell in cells if cell.casefold() not in MISSING})
        if not 0 < len(categories) <= CATEGORIES:
            raise InputError(
                f"{table.where}: column {name!r} is text of {len(categories)} categories; a covariate has numbers, or "
                f"1 to {CATEGORIES} categories"
            )
        shown = categories[1:] if len(categories) == 2 else categories  # two categories need only one column
        columns.append((cells[:, None] == np.array(shown, object)).astype(np.float64))
        notes.append(
            f"{name}: text, 1 where it is {', '.join(map(quoted, shown))}" + ", a column each" * (len(shown) > 1)
        )
    return np.concatenate(columns, axis=1), tuple(notes)

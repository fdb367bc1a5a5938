"""Find the date columns of a table and read them; the format is decided over the whole column."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps.forecast import forms
from jaxseq.apps.forecast.cells import numbers
from jaxseq.apps.forecast.forms import DATE_WORDS, Instants
from jaxseq.apps.forecast.table import Table
from jaxseq.errors import InputError, quoted

PARTS = (
    frozenset("year yr yyyy jahr año ano année annee 年 年份".split()),
    frozenset("month mnth mon mo mm monat mes mois 月 月份".split()),
    frozenset("day dd tag día dia jour 日".split()),
    frozenset("hour hr hh stunde hora heure 时 小时".split()),
)
"""Names of columns that hold one part of a date each, in lower case."""
SAMPLE = 24
"""Cells of a column that decide which formats are tried."""
CLEARER = 2.0
"""Of two readings that fit every cell, one is taken if its rows are this many times as dense as the other's."""
ASK = "say how it is written with --date-format, for example --date-format %d.%m.%y"


class Dates(NamedTuple):
    """Instants of the rows.

    Fields:
      stamps: datetime64[us] ``[T]``, in the order of the rows.
      notes: how they were read.
    """

    stamps: np.ndarray
    notes: tuple[str, ...]


def find(
    table: Table, date: str | None, time: str | None, taken: Sequence[str], date_format: str | None = None
) -> tuple[str, ...]:
    """Return the columns that make the stamps: one; date and time; year, month, day, hour; or none.

    Raises:
      InputError: if a named column is missing, or one that must be dates by its name is not understood.
    """
    free = [name for name in table.cells if name not in taken]
    for name in (date, time):
        if name is not None:
            table.check_has(name)
    if date is None:
        date = _found(table, free, date_format is not None)
        # a column called year is a date by itself only where no month goes with it
        parts = _parts(table, free)
        if parts and (date is None or date in parts):
            return parts
    if date is None:
        return ()
    time = time or _time(table, date, [name for name in free if name != date])
    return (date,) if time is None else (date, time)


def _found(table: Table, free: list[str], has_format: bool) -> str | None:
    if "ds" in free:  # Nixtla's name
        return "ds"
    sure = [name for name in free if is_date(table, name)]
    # of several columns of dates, one that is called so
    named = [name for name in sure if name.casefold() in DATE_WORDS]
    if sure:
        return (named or sure)[0]
    for name in free:
        if name.casefold() in DATE_WORDS and _is_digits(table, name):
            return name
    # digits without a name for dates: the first column, if it rises at one step, as 2001, 2002 ...
    if len(free) > 1 and _is_digits(table, free[0]) and _rises(_read(text_of(table, free[0]), table.at, free[0])):
        return free[0]
    strange = [n for n in free if n.casefold() in DATE_WORDS and not _parts_named(n) and table.is_text(n)]
    for name in strange:
        cells = table.cells[name]
        if has_format:
            return name
        # an error only where the column is not one of numbers, which may be called day or year
        if not numbers(cells).is_meant and any(cells):
            row = next(i for i, cell in enumerate(cells) if cell)
            raise InputError(
                f"{table.at(row)}: {quoted(cells[row])} in column {name!r} is not understood as a date; {ASK}"
            )
    return None


def is_date(table: Table, name: str) -> bool:
    """Return whether a column can only be dates."""
    if not table.is_text(name):
        return table.is_dates(name)
    cells = [*itertools.islice(filter(None, table.cells[name]), SAMPLE)]
    # 01.2015 is a month, and is a number
    if all(cell.replace(".", "", 1).isdigit() for cell in cells):
        return False
    # more than half: a column of dates may have mistakes, which are named when it is read
    return 2 * sum(map(forms.is_date_cell, cells)) > len(cells)


def may_be_dates(table: Table, name: str) -> bool:
    """Return whether a column can be read as dates, though perhaps as numbers as well."""
    return is_date(table, name) or _is_digits(table, name)


def _is_digits(table: Table, name: str) -> bool:
    """Return whether every cell has a form of dates that numbers may have too."""
    cells = [cell for cell in text_of(table, name) if cell]
    if not cells:
        return False
    for form in [*forms.DIGITS, "month-year", "year-month"]:
        if all(forms.FORMS[form].match(cell) for cell in cells[:SAMPLE]):
            found = forms.match(form, cells)
            if found is not None and not len(forms.instants(form, found).wrong):
                return True
    return False


def _parts_named(name: str) -> bool:
    return any(name.casefold() in words for words in PARTS)


def _parts(table: Table, free: list[str]) -> tuple[str, ...]:
    """Return columns named year, month and perhaps day and hour that hold such numbers, or none."""
    found: list[str] = []
    for words, most in zip(PARTS, (9999, 12, 31, 24), strict=True):
        name = next((n for n in free if n.casefold() in words), None)
        values = None if name is None else pd.to_numeric(pd.Series(text_of(table, name)), errors="coerce").to_numpy()
        # parts without a gap: year and day alone make no date
        if name is None or values is None or not ((values >= 0) & (values <= most)).all():
            break
        found.append(name)
    return tuple(found) if len(found) > 1 else ()


def _time(table: Table, date: str, free: list[str]) -> str | None:
    """Return the column of times of day that goes with a column of dates, if there is one."""
    # the date has its time already
    if table.is_dates(date) or ":" in next((cell for cell in text_of(table, date) if cell), ""):
        return None
    for name in free:
        cells = [cell for cell in text_of(table, name)[:SAMPLE] if cell]
        if cells and all(forms.TIME.fullmatch(cell) for cell in cells):
            return name
        if name.casefold() in PARTS[3] and all(re.fullmatch("[0-9]{1,2}", cell) and int(cell) <= 24 for cell in cells):
            return name
    return None


def text_of(table: Table, name: str) -> np.ndarray:
    """Return a column as text, dtype object; whole numbers without a point."""
    column = table.cells[name]
    if isinstance(column, pd.DatetimeIndex):
        return np.where(column.isna(), "", column.astype(str).to_numpy(object))
    if column.dtype.kind == "f":
        shown = ("" if math.isnan(v) else f"{v:.0f}" if v.is_integer() else repr(v) for v in column.tolist())
        return np.array([*shown], object)
    return column


def read(table: Table, columns: tuple[str, ...], date_format: str | None = None) -> Dates:
    """Read the stamps that columns make together.

    Raises:
      InputError: for a cell that is not a date, and where two readings fit; the message gives both.
    """
    name = columns[0]
    if len(columns) == 1 and table.is_dates(name):
        return _typed(table, name)
    cells = _joined(table, columns)
    empty = np.flatnonzero(cells == "")
    if len(empty):
        raise InputError(
            f"{table.at(int(empty[0]))}: column {name!r} has no date; rows like it: {len(empty)}. Fill or remove them"
        )
    shown = " and ".join(map(repr, columns))
    if date_format is not None:
        return _by_format(cells, date_format, table.at, shown)
    return _read(cells, table.at, shown)


def _typed(table: Table, name: str) -> Dates:
    column = table.cells[name]
    assert isinstance(column, pd.DatetimeIndex)
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise InputError(f"{table.at(int(missing[0]))}: column {name!r} has no date; rows like it: {len(missing)}")
    years = column.year
    wrong = np.flatnonzero((years < forms.EARLIEST) | (years > forms.LATEST))
    if len(wrong):
        raise InputError(
            f"{table.at(int(wrong[0]))}: column {name!r} has the year {years[wrong[0]]}; rows like it: {len(wrong)}. "
            f"Years {forms.EARLIEST} to {forms.LATEST} are read; correct or remove them"
        )
    if column.tz is None:
        return Dates(column.to_numpy("M8[us]"), ())
    # the time that clocks showed, from which `_placed` tells whether days are meant
    local = column.tz_localize(None).to_numpy("M8[us]")
    return _placed(local, column.tz_convert("UTC").tz_localize(None).to_numpy("M8[us]"), [])


def _joined(table: Table, columns: tuple[str, ...]) -> np.ndarray:
    first, *rest = (text_of(table, name) for name in columns)
    if not rest:
        return first
    year = all(cell.isdigit() and len(cell) == 4 for cell in first)
    cells = first
    for n, column in enumerate(rest):  # 2015 and 1 make 2015-1; a date and 0:30, or 9, a date and a time of day
        cells = cells + ("-" if year and n < 2 else " ") + column
    return cells


def _by_format(cells: np.ndarray, form: str, at: Callable[[int], str], name: str) -> Dates:
    try:
        if "%" not in form:  # pandas has words for formats that it finds itself, cell by cell
            raise ValueError("it has no %")
        stamps = pd.to_datetime(pd.Series(cells, dtype=object), format=form, errors="coerce", utc="%z" in form)
    except (ValueError, LookupError, TypeError, ArithmeticError, re.error) as error:
        raise InputError(f"--date-format {form} is not a date format ({error}); for example %Y-%m-%d %H:%M") from error
    wrong = np.flatnonzero(stamps.isna() | (stamps.dt.year < forms.EARLIEST) | (stamps.dt.year > forms.LATEST))
    if len(wrong):
        # pandas before 3 reads formats as nanoseconds, which begin and end in these years
        years = "1678 to 2261" if stamps.dt.unit == "ns" else f"{forms.EARLIEST} to {forms.LATEST}"
        raise InputError(
            f"{at(int(wrong[0]))}: {quoted(cells[wrong[0]])} in column {name} is not a date of the form {form}; "
            f"cells like it: {len(wrong)}. Years {years} are read"
        )
    return Dates((stamps.dt.tz_localize(None) if "%z" in form else stamps).to_numpy("M8[us]"), ())


def _read(cells: np.ndarray, at: Callable[[int], str], name: str) -> Dates:
    """Read cells by the form that fits them all."""
    plain = [" ".join(cell.split()) for cell in cells]
    # spread over the column: its first days may all be below 13, and fit day-month and month-day
    places = np.unique(np.linspace(0, len(plain) - 1, SAMPLE).astype(int))
    tried = [form for form, pattern in forms.FORMS.items() if all(pattern.match(plain[i]) for i in places)]
    matched = {form: found for form in tried if (found := forms.match(form, plain)) is not None}
    readings = {form: forms.instants(form, found) for form, found in matched.items()}
    if not readings:
        raise _mixed(plain, at, name)
    whole = {form: reading for form, reading in readings.items() if not len(reading.wrong)}
    if not whole:
        # the form that fails in fewest rows is most likely the one that was meant
        reading = min(readings.values(), key=lambda reading: len(reading.wrong))
        row = int(reading.wrong[0])
        why = " (others in the column have an offset)" if reading.offsets is not None else ""
        raise InputError(
            f"{at(row)}: {quoted(cells[row])} in column {name} is not a date{why}; cells like it: "
            f"{len(reading.wrong)}. Years {forms.EARLIEST} to {forms.LATEST} are read; or {ASK}"
        )
    form = _clearest(whole, plain, at, name)
    notes = [f"dates in column {name} read as {form}"]
    return _placed(whole[form].local, whole[form].stamps, notes)


def _placed(local: np.ndarray, utc: np.ndarray, notes: list[str]) -> Dates:
    """Return days as they are written, where the offsets of all rows are those of local midnights, and else UTC."""
    if (local == utc).all():
        return Dates(local, tuple(notes))
    if (local == local.astype("M8[D]")).all():
        return Dates(local, (*notes, "offsets left out: every row is a local midnight, and means its day"))
    return Dates(utc, (*notes, "offsets applied: the stamps are UTC"))


def _mixed(cells: list[str], at: Callable[[int], str], name: str) -> InputError:
    """Return the error for a column of no form, or of several: it names the first row that differs from most."""
    counts = {form: sum(p.match(cell) is not None for cell in cells) for form, p in forms.FORMS.items()}
    most = max(counts, key=lambda form: counts[form])
    if not counts[most]:
        return InputError(f"{at(0)}: {quoted(cells[0])} in column {name} is not understood as a date; {ASK}")
    row = next(i for i, cell in enumerate(cells) if not forms.FORMS[most].match(cell))
    like = next(cell for cell in cells if forms.FORMS[most].match(cell))
    return InputError(
        f"{at(row)}: {quoted(cells[row])} in column {name} is not a date in the format of the others ({quoted(like)}); "
        f"cells like it: {len(cells) - counts[most]}. Correct them, or {ASK}"
    )


def _clearest(whole: dict[str, Instants], cells: list[str], at: Callable[[int], str], name: str) -> str:
    """Return the form whose stamps come at one step; 01/02/2015 may be February 1st and January 2nd.

    Raises:
      InputError: where two do; the message gives both readings.
    """
    # the wrong order of day and month scatters the rows over the year
    ranked = sorted(whole, key=lambda form: -density(whole[form].stamps))
    best = ranked[0]
    for other in ranked[1:]:
        differ = np.flatnonzero(whole[best].stamps != whole[other].stamps)
        if len(differ) and density(whole[best].stamps) < CLEARER * density(whole[other].stamps):
            row = int(differ[0])
            ways = " or ".join(
                f"{np.datetime64(whole[form].stamps[row], 'D')} ({form}: --date-format {_format(form, cells[row])})"
                for form in (best, other)
            )
            raise InputError(
                f"{at(row)}: {quoted(cells[row])} in column {name} may be {ways}, and the whole column fits "
                "both. Choose one"
            )
    return best


def density(stamps: np.ndarray) -> float:
    """Return the share of steps of the commonest length, from the first stamp to the last, that have a row."""
    # np.unique hashes, and stamps of even steps to the same places
    stamps = np.sort(stamps)
    stamps = np.concatenate([stamps[:1], stamps[1:][stamps[1:] != stamps[:-1]]])
    if len(stamps) < 2:
        return 1.0
    months = stamps.astype("M8[M]")
    in_month = stamps - months.astype("M8[us]")
    # months have no one length in days, but one step in months
    places = (months if (in_month == in_month[0]).all() else stamps).astype(np.int64)
    steps, counts = np.unique(np.diff(places), return_counts=True)
    return len(stamps) / ((places[-1] - places[0]) / steps[counts.argmax()] + 1)


def _rises(dates: Dates) -> bool:
    """Return whether digits rise as dates do: each later than the one before, at one step."""
    return bool((np.diff(dates.stamps) > np.timedelta64(0, "us")).all()) and density(dates.stamps) > 0.5


def _format(form: str, cell: str) -> str:
    """Return strptime's format of a form for a cell."""
    codes = {"day": "%d", "month": "%m", "year": "%y" if "two digits" in form else "%Y", "to": "", "hour": "%d%H"}
    if "since" in form:
        return "none, but seconds turned into dates"
    found = forms.FORMS[form].match(cell)
    groups = found.groupdict() if found else {}
    if len(groups.get("y", "")) == 2:
        codes["year"] = "%y"
    names = form.split(",")[0].removesuffix(" of two digits").split("-")
    time = "" if ":" not in cell else " %H:%M:%S" if cell.count(":") == 2 else " %H:%M"
    return (groups.get("s") or "").join(codes.get(name, "") for name in names) + time

"""The calendar of a series: how far apart its rows are, how many make a season, and which stamps come next."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps.forecast.steps import DAY, MONDAY, WEEK, are_among, length, listed, parts, shown, slots
from jaxseq.errors import InputError

SPARSE = 0.5
"""If a smaller share of the due rows is present, the rows are irregular."""
EMPTIEST = 200
"""The most steps due for each row: a week has 168 hours."""
RARE = 0.25
"""An hour of the week with rows in a smaller share of weeks than this, relative to others, is closed."""
NAMES = "January February March April May June July August September October November December".split()
DAYS = "MON TUE WED THU FRI SAT SUN".split()


class Calendar(NamedTuple):
    """When a row is due.

    Fields:
      frequency: pandas' name for the step, such as ``h``, ``15min``, ``D``, ``B``, ``W-SUN``, ``MS``; None where the
        rows have no dates.
      seasons: rows in each season, the shortest first; ``(1,)`` without a season. Closed hours have no rows.
      open: steps of the week, from Monday 00:00 on, that have rows; None where all have.
      shift: days after the stamps of `frequency`: 14 for months dated the 15th.
    """

    frequency: str | None = None
    seasons: tuple[int, ...] = (1,)
    open: tuple[int, ...] | None = None
    shift: int = 0

    def __str__(self) -> str:
        """Return a line such as ``hourly (h), open 45 of 168 hours a week; season 9 and 45 rows``."""
        season = " and ".join(map(str, self.seasons))
        rows = "no season" if self.seasons == (1,) else f"season {season} rows"
        if self.frequency is None:
            return f"no dates; {rows}"
        closed = "" if self.open is None else f", {len(self.open)} of {self._slots()} steps of a week"
        shift = f", on day {self.shift + 1} of the month" if self.shift else ""
        return f"{_words(self.frequency)}{closed}{shift}; {rows}"

    def next_stamps(self, last: pd.Timestamp, h: int) -> pd.DatetimeIndex:
        """Return the `h` stamps after `last`, closed hours and days left out.

        Raises:
          InputError: if the rows have no dates, or dates after the year 9999 would come.
        """
        if self.frequency is None:
            raise InputError("the rows have no dates: there are no stamps to continue; count steps instead")
        # two weeks more than h open steps fill: one may be cut at either end
        most = h if self.open is None else (h // len(self.open) + 2) * self._slots()
        start = pd.Timestamp(last).as_unit("us") - self._shift()
        try:
            stamps = pd.date_range(start, periods=most + 1, freq=self.frequency, unit="us")
        except (OverflowError, ValueError) as error:  # pandas' OutOfBoundsDatetime is a ValueError
            raise InputError(f"{h} steps after {last} leave the calendar; ask for fewer") from error
        # if `start` is off the calendar, pandas begins at the next stamp on it
        return self._kept(stamps[stamps > start])[:h] + self._shift()

    def last_stamps(self, last: pd.Timestamp, count: int) -> pd.DatetimeIndex:
        """Return the `count` stamps up to `last`, which is the last of them; the rows must have dates."""
        most = count if self.open is None else (count // len(self.open) + 2) * self._slots()
        end = pd.Timestamp(last).as_unit("us") - self._shift()
        return self._kept(pd.date_range(end=end, periods=most, freq=self.frequency, unit="us"))[-count:] + self._shift()

    def between(self, first: np.datetime64, last: np.datetime64) -> pd.DatetimeIndex:
        """Return the stamps from `first` to `last`, both included."""
        shift = self._shift()
        start, end = (pd.Timestamp(t).as_unit("us") - shift for t in (first, last))
        stamps = self._kept(listed(start, end, str(self.frequency)))
        return stamps + shift if self.shift else stamps

    def _shift(self) -> pd.Timedelta:
        # in nanoseconds, stamps after 2262 would not fit
        return pd.Timedelta(np.timedelta64(self.shift, "D")).as_unit("us")

    def _slots(self) -> int:
        return int(WEEK // length(str(self.frequency)))

    def _kept(self, stamps: pd.DatetimeIndex) -> pd.DatetimeIndex:
        if self.open is None:
            return stamps
        return stamps[np.isin(slots(stamps.to_numpy("M8[us]"), length(str(self.frequency))), self.open)]


def _words(frequency: str) -> str:
    """Return ``monthly (MS)`` for ``MS``."""
    count, base = parts(frequency)
    words = {"MS": "monthly", "ME": "monthly", "BMS": "monthly", "BME": "monthly", "QS": "quarterly", "QE": "quarterly",
             "YS": "yearly", "YE": "yearly", "W": "weekly", "D": "daily", "B": "working days", "h": "hourly",
             "min": "every minute", "s": "every second"}  # fmt: skip
    units = {"MS": "months", "ME": "months", "YS": "years", "YE": "years", "W": "weeks", "D": "days", "h": "hours",
             "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds"}  # fmt: skip
    return f"{words.get(base, base)} ({frequency})" if count == 1 else f"every {count} {units.get(base, base)}"


class Inferred(NamedTuple):
    """A calendar found in stamps.

    Fields:
      calendar: its seasons are those that fit into the rows twice.
      stamps: datetime64[us] ``[T]``, the given stamps, moved onto the calendar.
      notes: on stamps that were moved.
    """

    calendar: Calendar
    stamps: np.ndarray
    notes: tuple[str, ...]


def infer(stamps: np.ndarray, frequency: str | None = None, seasons: Sequence[int] = ()) -> Inferred:
    """Find the calendar on which stamps lie.

    Args:
      stamps: datetime64[us] ``[T]``, rising.
      frequency: pandas' name, where it is known.
      seasons: rows of each season, where they are known.

    Raises:
      InputError: if there are fewer than 2 stamps, or no common step.
    """
    if any(season < 1 for season in seasons):
        raise InputError(f"a season has 1 row or more; got {min(seasons)}")
    if frequency is not None:
        found = Inferred(_given(stamps, frequency), stamps, ())
    elif len(stamps) < 2:
        raise InputError(f"there is 1 date ({shown(stamps[0])}), and no step; give more rows, or --frequency")
    else:
        found = _months(stamps) or _fixed(stamps) or _by_period(stamps) or _refuse(stamps)
    calendar = found.calendar
    rows = len(calendar.between(found.stamps[0], found.stamps[-1]))
    chosen = tuple(sorted(seasons)) or tuple(s for s in _seasons(calendar) if s > 1 and 2 * s <= rows) or (1,)
    return found._replace(calendar=calendar._replace(seasons=chosen))


def on_calendar(stamps: np.ndarray, calendar: Calendar) -> Inferred:
    """Check that stamps, perhaps only a few, lie on a known calendar.

    Raises:
      InputError: if they lie on another one.
    """
    if calendar.frequency is None:
        raise InputError("these rows have dates, and the earlier ones had none; leave the column of dates out")
    due = calendar.between(stamps[0], stamps[-1]).to_numpy("M8[us]")
    off = stamps[~are_among(stamps, due)]
    if not len(off) and (len(stamps) == 1 or len(stamps) >= SPARSE * len(due)):
        return Inferred(calendar, stamps, ())
    found = infer(stamps, None, calendar.seasons)
    if found.calendar._replace(open=None) != calendar._replace(open=None):
        where = f"; there is no row at {shown(off[0])}" if len(off) else ""
        raise InputError(f"expected rows that continue {calendar}; got {found.calendar}{where}")
    return found._replace(calendar=calendar)


def _given(stamps: np.ndarray, frequency: str) -> Calendar:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older names, such as H and M, still have a meaning for some pandas
        try:
            offset = pd.tseries.frequencies.to_offset(frequency)
            if offset.n < 1:
                raise ValueError("a step back in time, or none")
            name = offset.freqstr
            due = listed(stamps[0], stamps[-1], name).to_numpy("M8[us]")
        except InputError:
            raise
        except (ValueError, AttributeError, TypeError, ArithmeticError) as error:
            raise InputError(
                f"unknown --frequency {frequency}; expected a name of pandas: s, min, 15min, h, D, B, W-SUN, MS, ME, "
                "QS, QE, YS, YE"
            ) from error
    off = stamps[~are_among(stamps, due)]
    if len(off):
        raise InputError(
            f"--frequency {frequency} has no row at {shown(off[0])}; such rows: {len(off)} of {len(stamps)}"
        )
    return Calendar(name)


def _months(stamps: np.ndarray) -> Inferred | None:
    """Return months, quarters, years and other steps of whole months."""
    months = stamps.astype("M8[M]")
    index = months.astype(np.int64)
    steps: np.ndarray = np.diff(index)
    # two rows in one month: not months
    if (steps < 1).any():
        return None
    step = _commonest(steps)
    if (steps % step).any() or len(stamps) < SPARSE * (steps.sum() // step + 1):
        return None
    starts, ends = months.astype("M8[us]"), (months + np.timedelta64(1, "M")).astype("M8[us]") - DAY
    days = stamps - starts
    month = int(index[-1] % 12)
    if (days == days[0]).all() and days[0] % DAY == np.timedelta64(0, "us"):
        shift = int(days[0] // DAY)
        return Inferred(Calendar(_name_of_months(step, month, "S"), shift=shift), stamps, ())
    if (stamps == ends).all():
        return Inferred(Calendar(_name_of_months(step, month, "E")), stamps, ())
    # the first or last working day: the day of the month changes, and so does the step in days
    for name in ("BMS", "BME") if step == 1 else ():
        due = listed(starts[0], ends[-1], name).to_numpy("M8[us]")
        if are_among(stamps, due).all():
            return Inferred(Calendar(name), stamps, ())
    return None


def _name_of_months(step: int, month: int, edge: str) -> str:
    """Return pandas' name of a step of months that has a stamp at the start (S) or end (E) of a month."""
    if step % 12 == 0:
        return f"{step // 12 if step > 12 else ''}Y{edge}-{NAMES[month][:3].upper()}"
    if step == 3:
        return f"Q{edge}-{NAMES[month % 3 if edge == 'S' else 9 + month % 3][:3].upper()}"
    return f"{step if step > 1 else ''}M{edge}"


def _fixed(stamps: np.ndarray) -> Inferred | None:
    """Return a step of fixed length: of weeks, days, hours or less, with closed hours and days where these repeat."""
    step = np.timedelta64(_commonest(np.diff(stamps).astype(np.int64)), "us")
    notes: tuple[str, ...] = ()
    if ((stamps - stamps[0]) % step).astype(np.int64).any():
        moved = _rounded(stamps)
        if moved is None:
            return None
        far = np.abs(stamps - moved).max() / np.timedelta64(1, "s")
        stamps, step = moved, np.timedelta64(_commonest(np.diff(moved).astype(np.int64)), "us")
        notes = (f"stamps are up to {far:g} s off a regular step: rounded",)
    # before the calendar is listed, which such a stamp would fill with millions of steps
    if (stamps[-1] - stamps[0]) // step > EMPTIEST * len(stamps) + 10_000:  # one stray stamp, a century away
        return None
    calendar = _closed(stamps, step)
    due = calendar.between(stamps[0], stamps[-1]).to_numpy("M8[us]")
    if are_among(stamps, due).sum() < SPARSE * len(due):
        return None
    return Inferred(calendar, stamps, notes)


def _rounded(stamps: np.ndarray) -> np.ndarray | None:
    """Return stamps rounded to a step of seconds to hours from which they stray by a tenth of it, or None."""
    typical = float(np.median(np.diff(stamps).astype(np.int64))) / 1e6
    for step in (86400, 43200, 21600, 14400, 10800, 7200, 3600, 1800, 1200, 900, 600, 300, 120, 60, 30, 15, 10, 5, 1):
        if abs(typical - step) > 0.05 * step:
            continue
        near = np.round(stamps.astype(np.int64) / (step * 1e6)).astype(np.int64) * step * 10**6
        off = np.abs(near - stamps.astype(np.int64)).max()
        return near.astype("M8[us]") if off <= 0.1 * step * 1e6 and (np.diff(near) > 0).all() else None
    return None


def _closed(stamps: np.ndarray, step: np.timedelta64) -> Calendar:
    """Return the calendar of a fixed step, with what is closed every day or every week."""
    if step % WEEK == np.timedelta64(0, "us"):
        day = DAYS[int((stamps[0] - MONDAY) // DAY % 7)]
        weeks = int(step // WEEK)
        return Calendar(f"{weeks if weeks > 1 else ''}W-{day}")
    name = pd.tseries.frequencies.to_offset(pd.Timedelta(step)).freqstr
    name = f"{int(step // DAY) if step > DAY else ''}D" if step % DAY == np.timedelta64(0, "us") else name
    span, origin = stamps[-1] - stamps[0], (stamps[0] - MONDAY) % step
    # A pattern repeats: of a week where two weeks are there, else of a day where two days are.
    period = WEEK if span >= 2 * WEEK - step else DAY if span >= 2 * DAY - step else None
    if (
        period is None
        or step >= period
        or period % step != np.timedelta64(0, "us")
        or origin != np.timedelta64(0, "us")
    ):
        return Calendar(name)
    many, week = int(period // step), int(WEEK // step)
    seen = np.bincount(slots(stamps, step) % many, minlength=many)
    every = listed(stamps[0], stamps[-1], name).to_numpy("M8[us]")
    rate = seen / np.maximum(1, np.bincount(slots(every, step) % many, minlength=many))
    # relative to the hours that are usually there, so that a series with many holes is not taken for closed
    usual = float(np.median(rate[rate > 0]))
    opened = np.flatnonzero(rate > RARE * usual)
    if len(opened) == many:
        return Calendar(name)
    if name == "D" and opened.tolist() == [0, 1, 2, 3, 4]:
        return Calendar("B")
    return Calendar(name, open=tuple(np.flatnonzero(np.isin(np.arange(week) % many, opened)).tolist()))


def _by_period(stamps: np.ndarray) -> Inferred | None:
    """Return days, weeks, months or years of which each has one row, on differing dates; they get their first day."""
    for unit, name, what in (("D", "D", "day"), ("W", "W-MON", "week"), ("M", "MS", "month"), ("Y", "YS", "year")):
        starts = (stamps - (stamps - MONDAY) % WEEK) if unit == "W" else stamps.astype(f"M8[{unit}]").astype("M8[us]")
        if (np.diff(starts) <= np.timedelta64(0, "us")).any():
            continue
        found = _months(starts) if unit in "MY" else _fixed(starts)
        if found is not None and found.calendar.frequency in (name, "B", "YS-JAN", "QS-JAN"):
            return found._replace(notes=(f"one row a {what}, at differing times: dated the first of the {what}",))
    return None


def _refuse(stamps: np.ndarray) -> Inferred:
    # the commonest steps show what most rows are
    steps, counts = np.unique(np.diff(stamps), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    seen = ", ".join(f"{_duration(steps[i])} ({counts[i]} times)" for i in order)
    first = np.flatnonzero(np.diff(stamps) != steps[order[0]])[0]
    raise InputError(
        f"the rows have no common step: {seen}{' and others' if len(steps) > 3 else ''}, the first change after "
        f"{shown(stamps[first])}. Aggregate them to days or hours (pandas: frame.resample('D').mean()), or say "
        "--frequency D to fill the rows in between"
    )


def _duration(step: np.timedelta64) -> str:
    seconds = step / np.timedelta64(1, "s")
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{seconds / size:.4g} {name}{'' if seconds == size else 's'}"
    return f"{seconds:g} s"


def _commonest(steps: np.ndarray) -> int:
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()])


def _seasons(calendar: Calendar) -> tuple[int, ...]:
    """Return the rows of a day, a week and a year, whichever are seasons of a calendar."""
    name = str(calendar.frequency)
    many, base = parts(name)
    year = {"MS": 12, "ME": 12, "BMS": 12, "BME": 12, "QS": 4, "QE": 4, "W": 52, "B": 5}
    if base in year:
        return (year[base] // many,) if year[base] % many == 0 else (1,)
    if base not in ("D", "h", "min", "s", "ms", "us"):  # years, and whatever else pandas knows
        return (1,)
    step = length(name)
    if step > DAY:
        whole = round(365 / (step / DAY)), 365 / (step / DAY)
        return (whole[0],) if math.isclose(*whole, rel_tol=0.01) else (1,)
    week, day = WEEK // step, DAY // step
    if calendar.open is None:
        a_day = int(day) if DAY % step == np.timedelta64(0, "us") else 1
        return (7, 365) if a_day == 1 and step == DAY else (a_day, int(week)) if a_day > 1 else (1,)
    # a day is a season only where every open day has as many rows
    each = np.bincount(np.array(calendar.open) // max(1, int(day)))
    each = each[each > 0]
    return (int(each[0]), len(calendar.open)) if (each == each[0]).all() else (len(calendar.open),)

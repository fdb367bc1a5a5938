"""Steps of a calendar: pandas' names for them, their lengths, and the stamps that they list."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jaxseq.errors import InputError

DAY, WEEK = np.timedelta64(1, "D").astype("m8[us]"), np.timedelta64(7, "D").astype("m8[us]")
# weeks are counted from here, the first Monday of Unix time
MONDAY = np.datetime64("1970-01-05", "us")
MOST_STEPS = 10**7
"""Steps of a fixed length that are listed, at most: 80 MB, and 19 years of minutes."""
MOST_UNEVEN = 30_000
"""Other steps, such as months, of which pandas makes one after the other, at most: 2,500 years of months."""


def listed(first: np.datetime64 | pd.Timestamp, last: np.datetime64 | pd.Timestamp, frequency: str) -> pd.DatetimeIndex:
    """Return the stamps of a frequency from `first` to `last`, both included, in microseconds.

    Raises:
      InputError: if there are more than are listed; checked before they are.
    """
    start, end = (pd.Timestamp(t).as_unit("us") for t in (first, last))
    offset, offsets = pd.tseries.frequencies.to_offset(frequency), pd.offsets
    # weeks and working days have an even grid under them, which is listed in a hundredth of pandas' time
    if type(offset) is offsets.Week and offset.weekday is not None:
        return _even(offset.rollforward(start), end, offset.n * WEEK, frequency)
    if offset == offsets.BusinessDay(offset.n):
        days = _even(start, end, DAY, frequency)
        return days[days.day_of_week < 5][:: offset.n]
    if isinstance(offset, offsets.Tick | offsets.Day):
        return _even(start, end, pd.Timedelta(offset).to_timedelta64().astype("m8[us]"), frequency)
    try:
        most = start + MOST_UNEVEN * offset
    except (OverflowError, ValueError):  # pandas' OutOfBoundsDatetime is a ValueError: beyond all dates
        most = end
    if most < end:
        raise _too_many(start, end, MOST_UNEVEN, frequency)
    return pd.date_range(start, end, freq=offset, unit="us")


def _even(start: pd.Timestamp, end: pd.Timestamp, step: np.timedelta64, frequency: str) -> pd.DatetimeIndex:
    first, last = (t.to_datetime64().astype("M8[us]") for t in (start, end))
    if (last - first) // step > MOST_STEPS:
        raise _too_many(start, end, MOST_STEPS, frequency)
    return pd.DatetimeIndex(np.arange(first, last + np.timedelta64(1, "us"), step))


def _too_many(start: pd.Timestamp, end: pd.Timestamp, most: int, frequency: str) -> InputError:
    return InputError(
        f"from {shown(start)} to {shown(end)} there are more than {most:,} steps of {frequency}; correct the dates, or "
        "give a longer --frequency"
    )


def are_among(stamps: np.ndarray, due: np.ndarray) -> np.ndarray:
    """Return bool ``[T]``, which stamps are among those of ``due [D]``, which rise.

    As `np.isin`, which hashes stamps of even steps to the same places and takes the square of their number.
    """
    if not len(due):
        return np.zeros(len(stamps), bool)
    return due[np.minimum(np.searchsorted(due, stamps), len(due) - 1)] == stamps


def shown(stamp: np.datetime64 | pd.Timestamp) -> str:
    """Return a stamp without the parts that are zero."""
    text = str(pd.Timestamp(stamp).to_datetime64().astype("M8[s]")).replace("T", " ")
    return text.removesuffix(":00").removesuffix(" 00:00")


def slots(stamps: np.ndarray, step: np.timedelta64) -> np.ndarray:
    """Return which step of its week, from Monday 00:00 on, each stamp is in."""
    return ((stamps - MONDAY) % WEEK) // step


def length(frequency: str) -> np.timedelta64:
    """Return the length of a fixed step of days or less."""
    count, base = parts(frequency)
    return np.array([count]).astype(f"m8[{'m' if base == 'min' else base}]").astype("m8[us]")[0]


def parts(frequency: str) -> tuple[int, str]:
    """Return 15 and ``min`` of ``15min``, 1 and ``W`` of ``W-SUN``."""
    base = frequency.lstrip("0123456789")
    return int(frequency[: len(frequency) - len(base)] or 1), base.partition("-")[0]

"""Read a series with its season, split it into a training and a test part, and scale it."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxseq.apps import datasets
from jaxseq.apps.forecast.panel import read
from jaxseq.apps.forecast.tutorial.config import TutorialConfig
from jaxseq.apps.series import Scaler
from jaxseq.errors import InputError


class Series(NamedTuple):
    """A series: column `names`, `dates` (None where the file has none), ``values`` float64 ``[T, D]``, its `season`."""

    names: tuple[str, ...]
    dates: list[datetime.datetime] | None
    values: np.ndarray
    season: int

    def digest(self) -> str:
        """Return a sum of the values; a changed series has another."""
        return hashlib.sha256(np.ascontiguousarray(self.values).tobytes()).hexdigest()


def read_series(data: str, date: str | None = None, columns: Sequence[str] = ()) -> Series:
    """Read columns of a file that `jaxseq forecast` reads, on the same rows.

    Raises:
      InputError: as `panel.read`, or if a value is missing: these forecasters mask nothing.
    """
    panel = read(datasets.find(data), date=date, target=tuple(columns))
    first = panel.series[0]
    for one in panel.series:
        # columns of one file may begin and end in different rows
        here = None if one.stamps is None else (one.stamps[0], len(one.stamps))
        there = None if first.stamps is None else (first.stamps[0], len(first.stamps))
        if here != there or len(one.values) != len(first.values) or np.isnan(one.values).any():
            raise InputError(
                f"{data}: column {one.name!r} has missing values, which the tutorial's forecasters do not know; "
                "leave out --preset, or choose other columns with --columns"
            )
    dates = None if first.stamps is None else list(first.stamps.to_pydatetime())
    # [T, D]: the tutorial's network reads all columns at each step
    values = np.stack([one.values for one in panel.series], axis=1)
    return Series(tuple(one.name for one in panel.series), dates, values, panel.calendar.seasons[0])


class Prepared(NamedTuple):
    """A series ready to train on.

    Fields:
      series: the data.
      split: where the test part begins.
      season: steps in a season.
      scaler: of the training part.
    """

    series: Series
    split: int
    season: int
    scaler: Scaler


def prepare(config: TutorialConfig) -> Prepared:
    """Read the file that config names, find its season, split it and fit the scaler of its training part.

    Raises:
      InputError: if the file cannot be used, or is too short.
    """
    data = read_series(config.data, config.date, config.columns)
    season = config.season or data.season
    split = len(data.values) - round(len(data.values) * config.test)
    lag = season if config.difference and season > 1 else 0
    if split - lag - config.window < 2 or split >= len(data.values) or split <= season:
        raise InputError(
            f"{config.data} has {len(data.values)} rows; a test share of {config.test:g}, a season of {season} and a "
            f"window of {config.window} leave too few to train on. Give more rows or a shorter --window"
        )
    return Prepared(
        data,
        split,
        season,
        Scaler.fit(data.values[:split], data.names, log=config.log, lag=lag, minmax=config.scaling == "minmax"),
    )


def times_of(data: Series) -> list[Any]:
    """Return the dates, or step numbers where the file has none."""
    return list(data.dates) if data.dates else list(range(len(data.values)))

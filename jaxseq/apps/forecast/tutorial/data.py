"""What a forecaster reads: a series with its season, split into a training and a test part, and scaled."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxseq.apps import datasets, series
from jaxseq.apps.forecast.tutorial.config import TutorialConfig
from jaxseq.apps.series import Scaler, Series
from jaxseq.errors import InputError


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
    data = series.read_csv(datasets.find(config.data), date=config.date, columns=config.columns)
    season = config.season or series.season_length(data.dates)
    split = len(data.values) - round(len(data.values) * config.test)
    lag = season if config.difference and season > 1 else 0
    if split - lag - config.window < 2 or split >= len(data.values) or split <= season:
        raise InputError(
            f"{config.data} has {len(data.values)} rows; a test share of {config.test:g}, a season of {season} and a "
            f"window of {config.window} leave too few to train on. Give more rows or a shorter --window"
        )
    return Prepared(data, split, season, Scaler.fit(data.values[:split], data.names, log=config.log, lag=lag))


def times_of(data: Series) -> list[Any]:
    """Return the dates, or step numbers where the file has none."""
    return list(data.dates) if data.dates else list(range(len(data.values)))

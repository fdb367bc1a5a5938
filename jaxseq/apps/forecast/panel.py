"""What a forecaster is trained on: one or many series with their covariates on one calendar."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps.forecast.calendar import Calendar


class Series(NamedTuple):
    """One series of a panel, float64 throughout.

    Fields:
      name: its id, or the name of its column.
      stamps: one for each row and none left out; None where the file has no dates.
      values: ``[T]``, NaN where missing.
      past: ``[T, P]``, covariates known only up to now.
      future: ``[T + known ahead, F]``, covariates known ahead; at least T rows.
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
      notes: what was understood, filled or left out, one line each.
    """

    series: tuple[Series, ...]
    calendar: Calendar
    notes: tuple[str, ...] = ()


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
) -> Panel:
    """Read a CSV, TSV or Parquet file, or a DataFrame."""
    raise NotImplementedError

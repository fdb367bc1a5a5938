"""The settings of `jaxseq forecast`, and their checks."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from jaxseq.apps import datasets
from jaxseq.apps.custom import check_reads_series, find_cell
from jaxseq.apps.forecast.forecaster import probabilities_of
from jaxseq.apps.forecast.panel import Panel, read
from jaxseq.apps.settings import MOST_UNITS, check_seed, require, require_at_least, require_at_most

KIND = "forecaster"
"""The kind of run in config.json; runs of the tutorial's forecasters are forecast runs."""
SHIPPED = "airline"
"""The series that is forecast by default."""


@dataclasses.dataclass(frozen=True)
class ForecastConfig:
    """Settings of a forecast."""

    data: str | None = None
    """A CSV, TSV, other separated or Parquet file with a header; without one, the bundled series (airline)."""
    date: str | None = None
    """Column of dates; found automatically if not named."""
    time: str | None = None
    """Column of times of day that belongs to the dates."""
    date_format: str | None = None
    """How dates are written, such as day-month-year as %d.%m.%Y, where that is ambiguous."""
    target: tuple[str, ...] = ()
    """Columns to forecast, each a series; by default all other columns of numbers."""
    id: str | None = None
    """Column that says to which series a row belongs."""
    id_columns: bool = False
    """Every column except the date is a series: a text column is refused instead of left out."""
    past: tuple[str, ...] = ()
    """Covariates that are known only up to now: columns of numbers or of a few categories."""
    future: tuple[str, ...] = ()
    """Covariates that are known ahead; rows below the last target hold their future values."""
    static: tuple[str, ...] = ()
    """Covariates that have one value for each series."""
    decimal: str | None = None
    """Decimal mark, . or a comma, where that is ambiguous."""
    missing: tuple[float, ...] = ()
    """Numbers that mean a missing value, such as -999 -9999."""
    frequency: str | None = None
    """Step between rows as pandas names it, such as h, D, W-SUN or MS; found automatically if not named."""
    seasons: tuple[int, ...] = ()
    """Rows in each season, such as 24 168; found from the dates if not given."""
    horizon: int | None = None
    """Steps ahead; if not given, one season, at most an eighth of the rows."""
    levels: tuple[float, ...] = (80, 95)
    """Levels of the forecast's intervals, in per cent."""
    origins: int = 20
    """The most origins of the backtest."""
    cell: str = "gru"
    """Recurrent cell: a name that `jaxseq cells` lists, or module:cell or file.py:cell."""
    hidden: int = 24
    """Hidden units."""
    networks: int = 5
    """Number of networks that are trained side by side and averaged; 0 for simple forecasts only."""
    seed: int = 0
    """Seed of the first network."""

    def check(self) -> None:
        """Check every setting that can be checked without the data.

        Raises:
          InputError: naming the setting, its allowed values and its value.
        """
        require_at_least(1, ("origins", "hidden"), self)
        require_at_least(0, ("networks",), self)
        require_at_most(MOST_UNITS, ("hidden", "networks", "horizon"), self)
        require(self.horizon is None or self.horizon >= 1, "horizon", "at least 1 step", self)
        require(self.decimal in (None, ".", ","), "decimal", "a point or a comma", self)
        require(len(self.levels) > 0, "levels", "at least one level", self)
        require(all(math.isfinite(v) for v in self.missing), "missing", "finite numbers", self)
        probabilities_of(self.levels)
        check_seed(self.seed)
        # with one input: how many there are is known only from the data
        check_reads_series(find_cell(self.cell), 1, self.hidden)

    def read(self, **known: Any) -> Panel:
        """Return the panel that is forecast; `known` is a calendar that it must be on.

        Raises:
          InputError: as `panel.read`.
        """
        options = {name: getattr(self, name) for name in READING}
        return read(datasets.find(self.data or SHIPPED), **{**options, **known})

    def resolved(self, panel: Panel, horizon: int) -> ForecastConfig:
        """Return the settings with what was found, so that other data are read in the same way, from any folder."""
        columns, data = panel.columns, self.data and datasets.from_anywhere(self.data)
        assert columns is not None  # it was read from a file
        # dates in several columns are found again by their names
        date = columns.dates[0] if len(columns.dates) == 1 else self.date
        return dataclasses.replace(self, data=data, horizon=horizon, date=date, id=columns.id, target=columns.target)


READING = (
    "date", "time", "date_format", "target", "id", "id_columns", "past", "future", "static", "decimal", "missing",
    "frequency", "seasons",
)  # fmt: skip
"""The settings that say how data are read."""
DEFAULT = ForecastConfig()
"""The default settings."""

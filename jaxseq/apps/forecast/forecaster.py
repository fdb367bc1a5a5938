"""Forecasting from Python: fit once, predict from any later row, save and load.

>>> import numpy as np
>>> t = np.arange(96)
>>> forecaster = fit(50 + t + 10 * np.sin(t * np.pi / 6), horizon=12, season=12, networks=0)
>>> prediction = forecaster.predict(levels=(80, 95))
>>> prediction.mean.shape, prediction.frame().columns.tolist()
((1, 12), ['series', 'time', 'mean', '0.025', '0.1', '0.9', '0.975'])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from jaxseq import checkpoint
from jaxseq.apps import run_folder
from jaxseq.apps.custom import check_reads_series, find_cell, is_code
from jaxseq.apps.forecast import combined, stored
from jaxseq.apps.forecast.calendar import Calendar
from jaxseq.apps.forecast.combined import Model, Options
from jaxseq.apps.forecast.fit import Saving
from jaxseq.apps.forecast.panel import Panel, Series, read
from jaxseq.apps.settings import check_seed
from jaxseq.errors import InputError
from jaxseq.inputs import understood
from jaxseq.memory import check_free

SMALLEST, LARGEST = 1e-100, 1e100
"""The largest value of a series must lie between these."""
FEWEST = 8
"""The fewest rows of a series."""


class Prediction(NamedTuple):
    """What follows the last row of each series.

    Fields:
      names: of the N series.
      times: for each series the stamps of its h steps, or 1 to h where there are no dates.
      mean: ``[N, h]``, the point forecast: the centre of the distribution, which is its median.
      levels: ``[Q]``, probabilities.
      quantiles: ``[N, h, Q]``.
    """

    names: tuple[str, ...]
    times: tuple[Any, ...]
    mean: np.ndarray
    levels: np.ndarray
    quantiles: np.ndarray

    def frame(self) -> pd.DataFrame:
        """Return a row for each step of each series: series, time, mean and the quantiles."""
        h = self.mean.shape[1]
        named = {f"{level:g}": self.quantiles[..., k].ravel() for k, level in enumerate(self.levels)}
        times = [time for times in self.times for time in times]
        return pd.DataFrame({"series": np.repeat(self.names, h), "time": times, "mean": self.mean.ravel(), **named})


class Forecaster(NamedTuple):
    """A fitted model, with the rows that it was fitted to.

    Fields:
      options: settings.
      panel: names, calendar and rows of the training series.
      model: what was fitted.
    """

    options: Options
    panel: Panel
    model: Model

    def predict(self, data: Any = None, horizon: int | None = None, levels: Sequence[float] = (80, 95)) -> Prediction:
        """Forecast what follows the training rows, or later rows in `data`; nothing is fitted again.

        Args:
          data: a Panel, DataFrame or file with the same series; rows up to the end of training are known already, later
            ones are added. Arrays hold only what came after training.
          horizon: steps, at most the fitted ones, which is the default.
          levels: per cent of the intervals.

        Raises:
          InputError: if a series is unknown, the horizon is longer than what was fitted, or a forecast is not finite.
        """
        h = self.options.horizon if horizon is None else horizon
        if not 1 <= h <= self.options.horizon:
            raise InputError(
                f"this forecaster was fitted for 1 to {self.options.horizon} steps; got a horizon of {h}. "
                "Fit it again with that horizon"
            )
        panel = self.panel if data is None else _continued(self.panel, panel_of(data, self.options.seasons))
        known = max(len(series.values) for series in self.panel.series)
        values, covariates, ends = arrays(panel, self.panel, self.options.horizon)
        # series may end in different rows: forecast from each of these, then each series takes its own
        origins = np.unique(ends)
        found = combined.forecast(self.model, self.options, values, covariates, origins, known)
        probabilities = probabilities_of(levels)
        place, each = np.searchsorted(origins, ends), np.arange(len(ends))
        quantiles = combined.quantiles(self.model, found, probabilities)
        times = tuple(_times(series, panel.calendar, h) for series in panel.series)
        names = tuple(series.name for series in panel.series)
        mean, quantiles = found.point[place, each, :h], quantiles[place, each, :h]
        wrong = ~(np.isfinite(mean) & np.isfinite(quantiles).all(-1)).all(-1)
        if wrong.any():
            raise InputError(
                f"the forecast of series {names[int(wrong.argmax())]!r} is infinite or NaN; look for values far from "
                "all others in its last rows"
            )
        return Prediction(names, times, mean, probabilities, quantiles)

    def save(self, path: Path | str) -> None:
        """Write a safetensors file; its settings and the calendar are JSON within it."""
        calendar = self.panel.calendar
        ends = [None if s.stamps is None else s.stamps[-1].isoformat() for s in self.panel.series]
        facts = {
            "options": self.options._asdict(), "calendar": calendar._asdict(), "ends": ends,
            "names": [s.name for s in self.panel.series], "notes": list(self.panel.notes),
            "shapes": [[len(s.values), s.past.shape[1], len(s.future), s.future.shape[1], len(s.static)]
                       for s in self.panel.series],
            "lag": int(self.model.members.seasonal.difference),
            "has_network": bool(np.asarray(self.model.network.line).size),
        }  # fmt: skip
        # the rows too: a forecast looks back at them, and the user's file may change
        rows = [(s.values, s.past, s.future, s.static) for s in self.panel.series]
        checkpoint.save(path, {"model": self.model, "rows": rows}, **facts)


def load(path: Path | str, trusted_cell: str | None = None) -> Forecaster:
    """Load what `Forecaster.save` wrote; `trusted_cell` names the custom cell that it may import.

    Raises:
      InputError: if there is no such file, it is damaged, or it names code that `trusted_cell` does not.
    """
    with understood(path, run_folder.AGAIN):
        return _loaded(path, checkpoint.facts(path), trusted_cell)


def _loaded(path: Path | str, facts: dict[str, Any], trusted_cell: str | None) -> Forecaster:
    """Return the forecaster of a file with these facts."""
    options, calendar = stored.settings_of(facts)
    # before anything looks the cell up, which would import its code
    if is_code(options.cell) and options.cell != trusted_cell:
        raise InputError(
            f"{path} has a custom cell, {options.cell!r}; loading it runs that code. If you trust it, name it as "
            "trusted_cell"
        )
    like = {"model": stored.model_like(options, facts), "rows": [
        tuple(jax.ShapeDtypeStruct(shape, np.dtype(float)) for shape in ((T,), (T, P), (ahead, F), (S,)))
        for T, P, ahead, F, S in facts["shapes"]
    ]}  # fmt: skip
    held = checkpoint.load(path, like, as_numpy=True)
    series = []
    for name, end, (values, past, future, static) in zip(facts["names"], facts["ends"], held["rows"], strict=True):
        stamps = None if end is None else pd.DatetimeIndex([pd.Timestamp(end)])  # of the last row, which alone counts
        series.append(Series(name, stamps, values, past, future, static))
        _times(series[-1], calendar, 1)  # fails here, if pandas has no such frequency
    return Forecaster(options, Panel(tuple(series), calendar, tuple(facts["notes"])), held["model"])


def fit(
    data: Any,
    horizon: int,
    *,
    season: int | Sequence[int] | None = None,
    cell: str = "gru",
    hidden: int = 24,
    networks: int = 5,
    seed: int = 0,
    log: bool | None = None,
    saver: Saving | None = None,
) -> Forecaster:
    """Fit a forecaster of one series or many.

    Args:
      data: values ``[T]`` or ``[T, N]`` (NaN where missing), a list of arrays, a DataFrame or file as `panel.read`
        takes it (Nixtla's ``unique_id, ds, y`` among them), or a Panel.
      horizon: steps ahead that are forecast.
      season: rows in a season, or in each of several; by default those of the dates.
      cell: a name of `jaxseq.cells.CELLS`, or ``module:cell``.
      hidden: its units.
      networks: how many are trained side by side and averaged; 0 for the simple forecasts alone.
      seed: of the networks.
      log: take logarithms where values allow it; None lets a test on the training rows decide.
      saver: is given the state of trainings at each report.

    Raises:
      InputError: if a series is constant, infinite, empty or too short, or a setting is out of range.
    """
    panel = panel_of(data, season)
    options = options_for(panel, horizon, season, cell, hidden, networks, seed, log)
    values, covariates, _ = arrays(panel, panel, horizon)
    return Forecaster(options, panel, combined.fit(values, covariates, options, phases(panel), saver))


def options_for(
    panel: Panel, horizon: int, season: Any, cell: str, hidden: int, networks: int, seed: int, log: bool | None
) -> Options:
    """Return checked options; a season that the shortest series does not hold twice is left out."""
    if horizon < 1 or networks < 0 or hidden < 1:
        raise InputError(
            f"horizon and hidden must be at least 1, networks at least 0; got {horizon}, {hidden}, {networks}"
        )
    check_seed(seed)
    check_reads_series(find_cell(cell), 1, hidden)
    for series in panel.series:
        _check(series)
    shortest = min(int(np.isfinite(series.values).sum()) for series in panel.series)
    asked = panel.calendar.seasons if season is None else tuple(np.atleast_1d(season).tolist())
    seasons = tuple(s for s in sorted(asked) if s > 1 and 2 * s <= shortest) or (1,)
    return Options(horizon, seasons, cell, hidden, networks, seed, log)


def _check(series: Series) -> None:
    values = series.values
    known, name = np.isfinite(values), f"series {series.name!r}" if series.name else "the series"
    if np.isinf(values).any():
        raise InputError(
            f"{name} has an infinite value in row {int(np.isinf(values).argmax()) + 1}; replace or remove it"
        )
    if known.sum() < FEWEST:
        raise InputError(f"{name} has {int(known.sum())} values; a forecast needs {FEWEST} or more")
    if values[known].min() == values[known].max():
        raise InputError(
            f"{name} is constant ({values[known][0]:g}) in the {known.sum()} values that it is fitted to: "
            "there is nothing to forecast"
        )
    largest = float(np.abs(values[known]).max())
    if not SMALLEST <= largest <= LARGEST:
        raise InputError(
            f"{name} has values of at most {largest:.3g}, whose squares leave the range of floating point; divide or "
            f"multiply them, so that the largest is from {SMALLEST:g} to {LARGEST:g}"
        )


def panel_of(data: Any, season: int | Sequence[int] | None = None) -> Panel:
    """Return a Panel of whatever `fit` takes."""
    if isinstance(data, Panel):
        return data
    if isinstance(data, str | Path | pd.DataFrame):
        return read(data)
    if isinstance(data, list | tuple) and len(data) and np.ndim(data[0]) == 1:
        found = [np.asarray(one, float) for one in data]
    else:
        array = np.asarray(data, float)
        if array.ndim not in (1, 2) or not array.size:
            raise InputError(
                f"expected values [T] or [T, N], a list of arrays, or a DataFrame; got shape {array.shape}"
            )
        found = list(array[:, None].T if array.ndim == 1 else array.T)
    names = [str(n) if len(found) > 1 else "" for n in range(len(found))]
    series = tuple(
        Series(name, None, values, np.zeros((len(values), 0)), np.zeros((len(values), 0)), np.zeros(0))
        for name, values in zip(names, found, strict=True)
    )
    return Panel(series, Calendar(None, tuple(np.atleast_1d(1 if season is None else season).tolist())))


def arrays(panel: Panel, trained: Panel, horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values ``[T, N]``, covariates ``[T, N, C]`` and the last row ``[N]`` of each series.

    Series are aligned where the training rows end: those that are shorter have NaN first, those that end earlier
    have NaN last. Covariates are scaled by the training rows; those known ahead are given for each of the h next steps.
    """
    longest = max(len(series.values) for series in trained.series)
    offsets = [longest - len(series.values) for series in trained.series]
    ends = np.array([o + len(s.values) - 1 for o, s in zip(offsets, panel.series, strict=True)])
    T, first = int(ends.max()) + 1, panel.series[0]
    P, F, S = first.past.shape[1], first.future.shape[1], len(first.static)
    # three times: covariates are scaled, and gathered for each step, before they are put in their place
    check_free(
        8 * T * len(ends) * (1 + 3 * (P + F * horizon + S)),
        f"{len(ends):,} series of {T:,} rows, each with {P + F * horizon + S:,} covariates,",
        "forecast fewer steps (--horizon), or use fewer --future columns or series",
    )
    values = np.full((T, len(ends)), np.nan)
    covariates = np.zeros((T, len(ends), P + F * horizon + S))
    statics = np.stack([s.static for s in trained.series])
    for n, (offset, series, known) in enumerate(zip(offsets, panel.series, trained.series, strict=True)):
        rows = slice(offset, int(ends[n]) + 1)
        values[rows, n] = series.values
        if not covariates.shape[-1]:
            continue
        steps = np.arange(len(series.values))[:, None] + 1 + np.arange(horizon)
        # beyond the last row that is known ahead, that row is held
        future = _standard(series.future, known.future)[np.minimum(steps, len(series.future) - 1)]
        covariates[rows, n, :P] = _standard(series.past, known.past)
        covariates[rows, n, P : P + F * horizon] = future.reshape(len(steps), -1)
        covariates[rows, n, P + F * horizon :] = _standard(series.static[None], statics)[0]
    return values, covariates, ends


def phases(panel: Panel) -> np.ndarray:
    """Return int ``[N]``, how many rows of the calendar each series ends after the first one; 0 without dates.

    Rows are counted from the ends of series, which may be different months: this says by how much.
    """
    lasts = [series.stamps[-1] for series in panel.series if series.stamps is not None]
    if len(lasts) < len(panel.series):
        return np.zeros(len(panel.series), int)
    ends = np.array([last.to_datetime64() for last in lasts], "M8[us]")
    # listed once for all: there may be as many ends as series
    places = np.searchsorted(panel.calendar.between(ends.min(), ends.max()).to_numpy("M8[us]"), ends, "right")
    return places - places[0]


def _standard(a: np.ndarray, known: np.ndarray) -> np.ndarray:
    if not known.size:
        return a
    spread = known.std(0)
    return np.nan_to_num((a - known.mean(0)) / np.where(spread > 0, spread, 1.0))


def _continued(known: Panel, new: Panel) -> Panel:
    """Return the known series with the rows of `new` that come later."""
    given = {series.name: series for series in new.series}
    # a single series may have another name in another file
    if len(known.series) == len(new.series) == 1:
        given = {known.series[0].name: new.series[0]}
    missing = [series.name for series in known.series if series.name not in given]
    if missing:
        raise InputError(f"the series {missing[0]!r} is not in the new rows; give rows for all {len(known.series)}")
    return known._replace(series=tuple(_longer(s, given[s.name], known.calendar) for s in known.series))


def _longer(known: Series, new: Series, calendar: Calendar) -> Series:
    for name, a, b in (("past", known.past, new.past), ("future", known.future, new.future)):
        if a.shape[1] != b.shape[1]:
            raise InputError(f"series {known.name!r}: expected {a.shape[1]} {name} covariates, got {b.shape[1]}")
    T, start, gap = len(known.values), 0, 0
    if (known.stamps is None) != (new.stamps is None):
        raise InputError("the new rows must have dates where those of training have them, and only there")
    if known.stamps is not None and new.stamps is not None:
        last = known.stamps[-1]
        start = int((new.stamps <= last).sum())
        if start < len(new.stamps):
            # rows that are due between the two, which `between` counts as well
            gap = len(calendar.between(last.to_datetime64(), new.stamps[start].to_datetime64())) - 2

    def join(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a, np.full((gap, *a.shape[1:]), np.nan), b[start:]])

    stamps = new.stamps if start < len(new.values) else known.stamps
    return known._replace(stamps=stamps, values=join(known.values, new.values), past=join(known.past, new.past),
                          future=join(known.future[:T], new.future))  # fmt: skip


def _times(series: Series, calendar: Calendar, horizon: int) -> Any:
    if series.stamps is None:
        return np.arange(1, horizon + 1)
    return calendar.next_stamps(series.stamps[-1], horizon)


def probabilities_of(levels: Sequence[float]) -> np.ndarray:
    """Return the rising quantile levels of central intervals of so many per cent."""
    for level in levels:
        if not 0 < level < 100:
            raise InputError(f"an interval's level is above 0 and below 100 per cent; got {level}")
    half = np.array(sorted({float(level) for level in levels})) / 200
    # rounded, so that levels that were computed in another way are found among them
    return np.round(np.concatenate([0.5 - half[::-1], 0.5 + half]), 6)

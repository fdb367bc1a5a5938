"""Rolling-origin backtests: one fit, forecasts from many later origins, and simple forecasts to compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps.forecast import (
    autoregression,
    classical as others,
    combined,
    members as simple_members,
    scores,
    simple,
)
from jaxseq.apps.forecast.combined import HARM
from jaxseq.apps.forecast.fit import Saving
from jaxseq.apps.forecast.forecaster import Forecaster, arrays, options_for, panel_of, phases
from jaxseq.apps.forecast.panel import Panel
from jaxseq.apps.forecast.scaling import Scaling
from jaxseq.errors import InputError

OURS = "forecaster"
"""The name of the combination in the tables."""
LEVELS = np.round(np.sort(np.concatenate([np.arange(0.05, 1, 0.05), [0.025, 0.975]])), 3)
"""Quantiles kept of every forecast; CRPS is computed from them."""

CENTRAL = ((0.1, 0.9), (0.025, 0.975))
"""The intervals whose coverage is reported: 80 and 95%."""
FEWEST = 3
"""The fewest origins for a test of the difference."""
TIMES = 3
"""An error this many times as large is reported as a multiple, a smaller one in per cent."""


class Score(NamedTuple):
    """One forecast of one series.

    Fields:
      series: its name.
      forecast: its name.
      mase, smape, rmse: over all origins and steps.
      crps: of the forecaster's distribution; of point forecasts it equals the mean absolute error.
      coverage80, coverage95: of the forecaster's intervals; NaN for others.
      statistic, p_value: of Diebold and Mariano's test; below 0 if the forecaster is better than this forecast.
    """

    series: str
    forecast: str
    mase: float
    smape: float
    rmse: float
    crps: float = math.nan
    coverage80: float = math.nan
    coverage95: float = math.nan
    statistic: float = math.nan
    p_value: float = math.nan


class Backtest(NamedTuple):
    """Forecasts from O origins of N series, made without the values that they forecast.

    Fields:
      forecaster: fitted to the rows before the test part.
      names: of the series.
      origins: int ``[O]``, the last row that each forecast saw, as rows of the longest series.
      origin_times, times: for each series the stamps ``[O]`` of the origins and ``[O, h]`` of the forecasts; row
        numbers where there are no dates.
      actual: ``[O, N, h]``.
      paths: forecasts ``[O, N, h]`` by name.
      quantiles: ``[O, N, h, Q]`` at `LEVELS`.
      table: scores, series by series.
      notes: seasons and forecasts that were left out, one line each.
    """

    forecaster: Forecaster
    names: tuple[str, ...]
    origins: np.ndarray
    origin_times: tuple[np.ndarray, ...]
    times: tuple[np.ndarray, ...]
    actual: np.ndarray
    paths: dict[str, np.ndarray]
    quantiles: np.ndarray
    table: list[Score]
    notes: tuple[str, ...] = ()

    def scores(self) -> pd.DataFrame:
        """Return the table as a DataFrame."""
        return pd.DataFrame([score._asdict() for score in self.table])

    def frame(self) -> pd.DataFrame:
        """Return a row for each series, origin and step: the value, every forecast and the quantiles."""
        count, N, h = self.actual.shape

        def swap(a: np.ndarray) -> np.ndarray:
            return np.moveaxis(a, 1, 0).ravel()

        found = {
            "series": np.repeat(self.names, count * h),
            "origin": np.concatenate([np.repeat(times, h) for times in self.origin_times]),
            "step": np.tile(np.arange(1, h + 1), count * N),
            "time": np.concatenate([times.ravel() for times in self.times]),
            "actual": swap(self.actual),
            **{name: swap(path) for name, path in self.paths.items()},
            **{f"{level:g}": swap(self.quantiles[..., k]) for k, level in enumerate(LEVELS)},
        }
        return pd.DataFrame(found)

    def verdict(self) -> str:
        """Return one sentence: whether the forecaster beats the best simple forecast, and whether its network helps."""
        return " ".join([_against_simple(self), _of_network(self)])


def backtest(
    data: Any,
    horizon: int,
    *,
    season: int | Sequence[int] | None = None,
    origins: int = 20,
    test: float = 0.25,
    cell: str = "gru",
    hidden: int = 24,
    networks: int = 5,
    seed: int = 0,
    log: bool | None = None,
    classical: Sequence[str] = (),
    saver: Saving | None = None,
) -> Backtest:
    """Fit to all but the last rows, and forecast these from rolling origins; nothing is fitted again in between.

    Args:
      data: as `fit` takes it.
      horizon: steps ahead.
      season: as `fit` takes it.
      origins: how many, at most, evenly spread over the test part.
      test: the test part's share of the shortest series; it holds one horizon at least.
      cell: as `fit` takes it.
      hidden: as `fit` takes it.
      networks: as `fit` takes it.
      seed: as `fit` takes it.
      log: as `fit` takes it.
      classical: models of statsforecast to compare with, such as ``AutoETS``.
      saver: as `fit` takes it.

    Raises:
      InputError: as `fit`, or if too few rows are left to fit to.
    """
    panel = panel_of(data, season)
    if not 0 < test < 1 or origins < 1:
        raise InputError(f"test must be above 0 and below 1, origins at least 1; got {test} and {origins}")
    whole = options_for(panel, horizon, season, cell, hidden, networks, seed, log)  # refuses before the series are cut
    shortest = min(len(series.values) for series in panel.series)
    # one origin needs a whole horizon of rows after it
    held = max(horizon, round(test * shortest))
    if shortest - held < 8:
        raise InputError(
            f"the shortest series has {shortest} rows, and a test part of {held} leaves {shortest - held} to fit "
            "to; 8 are needed. Give more rows or a shorter horizon"
        )
    # the panel as training sees it: covariates known ahead are kept beyond the cut, as a user would have them
    early = panel._replace(series=tuple(
        s._replace(values=s.values[:-held], past=s.past[:-held], future=s.future[: len(s.values)],
                   stamps=None if s.stamps is None else s.stamps[:-held]) for s in panel.series))  # fmt: skip
    # checked again, since fewer rows may hold fewer seasons
    options = options_for(early, horizon, season, cell, hidden, networks, seed, log)
    values, covariates, _ = arrays(panel, early, horizon)
    cut = len(values) - held
    lost = [f"season {s}: the backtest leaves it out, since {cut} rows before the test part hold fewer than two"
            for s in whole.seasons if s not in options.seasons]  # fmt: skip
    model = combined.fit(values[:cut], covariates[:cut], options, phases(early), saver)
    # from the last row that was fitted to, up to the last with a whole horizon after it
    at = combined.origins_between(cut - 1, len(values) - horizon - 1, origins)
    found = combined.forecast(model, options, values, covariates, at, cut)
    paths = {OURS: found.point, **dict(zip((*simple_members.NAMES, f"{cell} alone"), found.members, strict=True)),
             **_simple(values, at, cut, options)}  # fmt: skip
    if classical:
        paths |= others.paths(classical, values, at, cut, horizon, options.seasons[0])
    silent = () if model.network.line.size else (f"{cell} alone",)  # without a weight; the verdict says so
    paths, notes = _complete({name: path for name, path in paths.items() if name not in silent})
    actual, quantiles = simple.targets(values, at, horizon), combined.quantiles(model, found, LEVELS)
    names = tuple(series.name for series in panel.series)
    table = _table(names, values[:cut], actual, paths, quantiles, options.seasons[0], at)
    return Backtest(Forecaster(options, early, model), names, at, *_times(panel, values, at, horizon), actual, paths,
                    quantiles, table, (*lost, *notes))  # fmt: skip


def _complete(paths: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the forecasts ``[O, N, h]`` without missing numbers, and a line on each of the others."""
    holes = {name: ~np.isfinite(path) for name, path in paths.items()}
    notes = tuple(f"{name} is left out: it gives no number for {int(hole.any((0, 2)).sum())} of {hole.shape[1]} series"
                  for name, hole in holes.items() if hole.any())  # fmt: skip
    return {name: path for name, path in paths.items() if not holes[name].any()}, notes


def _simple(values: np.ndarray, at: np.ndarray, cut: int, options: combined.Options) -> dict[str, np.ndarray]:
    """Return forecasts for comparison: naive ones, and a plain autoregression of seasonal changes."""
    season, h = options.seasons[0], options.horizon
    scaling = Scaling.fit(values[:cut], season, options.log)
    z = scaling.forward(values)
    lag = simple_members.seasonal_lag(z[:cut], season)
    # on the same scale as ours, without ridge, stabilising or seasonal effects
    linear = autoregression.fit(z[:cut], (season,), lag, plain=True)
    return {
        "naive": simple.seasonal_naive(values, at, h, 1),
        "seasonal naive": simple.seasonal_naive(values, at, h, season),
        "drift": simple.drift(values, at, h),
        "linear autoregression": scaling.inverse(autoregression.paths(linear, z, at, h, (season,))),
    }


def _table(
    names: tuple[str, ...], train: np.ndarray, actual: np.ndarray, paths: dict[str, np.ndarray],
    quantiles: np.ndarray, season: int, at: np.ndarray,
) -> list[Score]:  # fmt: skip
    h = actual.shape[-1]
    # forecasts from origins closer than a horizon share target rows, so that their errors are correlated
    lag = math.ceil(h / max(1, int(at[1] - at[0]))) - 1 if len(at) > 1 else 0
    place = {level: int(np.searchsorted(LEVELS, level)) for level in (0.025, 0.1, 0.9, 0.975)}
    table = []
    for n, name in enumerate(names):
        # a series that begins late is padded in front with NaN, which no scale may count
        truth, known = actual[:, n], train[np.isfinite(train[:, n]).argmax() :, n]
        losses = {k: np.nanmean(np.abs(path[:, n] - truth), axis=1) for k, path in paths.items()}
        for kind, path in paths.items():
            made = path[:, n]
            scaled = scores.mase(truth, made, known, season if season < len(known) else 1)
            row = Score(name, kind, scaled, scores.smape(truth, made), scores.rmse(truth, made))
            if kind == OURS:
                q = quantiles[:, n]
                inside = [scores.coverage(truth, q[..., place[a]], q[..., place[b]]) for a, b in CENTRAL]
                row = row._replace(crps=scores.crps(truth, q, LEVELS), coverage80=inside[0],
                                   coverage95=inside[1])  # fmt: skip
            else:
                # CRPS of a forecast that is a single value is its absolute error
                row = row._replace(crps=scores.mae(truth, made))
                statistic, p = scores.diebold_mariano(losses[OURS], losses[kind], lag)
                row = row._replace(statistic=statistic, p_value=p)
            table.append(row)
    return table


def _times(panel: Panel, values: np.ndarray, at: np.ndarray, horizon: int) -> tuple[tuple, tuple]:
    """Return for each series the stamps of origins ``[O]`` and of the forecasts ``[O, h]``."""
    steps, origins, ahead = at[:, None] + 1 + np.arange(horizon), [], []
    for series in panel.series:
        # series are aligned at their ends
        offset = len(values) - len(series.values)
        rows = np.arange(len(series.values)) if series.stamps is None else series.stamps.to_numpy()
        origins.append(rows[at - offset])
        ahead.append(rows[steps - offset])
    return tuple(origins), tuple(ahead)


def _against_simple(result: Backtest) -> str:
    # comparing with parts of the combination itself would say little
    own = (OURS, *simple_members.NAMES, f"{result.forecaster.options.cell} alone")
    simple_names = [name for name in result.paths if name not in own]  # statsforecast's among them
    error = {name: np.array([s.mase for s in result.table if s.forecast == name]) for name in (OURS, *simple_names)}
    # an infinite MASE of one series would hide all others
    kept = np.isfinite(np.stack(list(error.values()))).all(0)
    if not kept.any():
        return "The training rows repeat exactly, so that MASE has no scale and forecasts cannot be compared."
    mean = {name: float(np.mean(e[kept])) for name, e in error.items()}
    best = min(simple_names, key=lambda name: mean[name])
    text = compared(mean[OURS], mean[best], best)
    if len(result.names) > 1:
        won = 100 * np.mean(error[OURS][kept] < error[best][kept])
        return f"{text}; it is lower on {won:.0f}% of {int(kept.sum())} series."
    count, p = len(result.origins), next(s.p_value for s in result.table if s.forecast == best)
    if count < FEWEST:
        return f"{text}; {count} origin{'s are' if count > 1 else ' is'} too few to test the difference."
    sure = f"p = {p:.3f}" if p >= 0.0005 else "p < 0.001"
    if p > 0.05:
        return f"{text}; {count} origins do not confirm a difference ({sure})."
    return f"{text}; the difference is significant ({sure})."


def compared(ours: float, theirs: float, name: str) -> str:
    """Return a clause on the forecaster's MASE and that of the best simple forecast, which has the given name.

    Example:
      >>> print(compared(0.45, 0.5, "drift"))
      The forecaster's MASE is 0.450, 10% below that of drift (0.500)
      >>> print(compared(3.7, 0.1, "drift"))
      The forecaster's MASE is 3.700, 37 times that of drift (0.100)
    """
    if theirs == 0:
        return f"The forecaster's MASE is {_error(ours)}, and {name} is exact"
    ratio = ours / theirs
    if abs(ratio - 1) < 0.005:
        how = "level with that"
    elif ratio >= TIMES:
        how = f"{ratio:,.{1 if ratio < 10 else 0}f} times that"
    elif ratio < 0.01:
        how = "less than 1% of that"
    else:
        how = f"{100 * abs(ratio - 1):.0f}% {'below' if ratio < 1 else 'above'} that"
    return f"The forecaster's MASE is {_error(ours)}, {how} of {name} ({_error(theirs)})"


def _error(mase: float) -> str:
    """Return a MASE with three decimals, or as many digits as its size needs."""
    if 0 < mase < 0.001 or mase >= 1e6:
        return f"{mase:.1e}"
    return f"{mase:.3f}" if mase < 100 else f"{mase:,.0f}"


def _of_network(result: Backtest) -> str:
    model, cell = result.forecaster.model, result.forecaster.options.cell
    if not result.forecaster.options.networks:
        return "No network was asked for."
    where = "At the validation origins"
    if not np.isfinite(model.gain):
        return f"{where} the {cell} network did not help: its weight went to the simple forecasts."
    share, off = 100 * float(model.weights[-1].mean()), 100 * (1 - float(model.gain))
    what = f"the {cell} network" if model.stopped else f"the network's line alone, before its {cell} had learned,"
    if abs(off) < 0.05:
        how = "did not change the error"
    elif off < 0:
        how = f"makes the error {-off:.1f}% larger; up to {100 * (HARM - 1):.0f}% it stays"
    else:
        how = f"took {off:.1f}% off the error"
    return f"{where} {what} {how}; its weight is {share:.0f}% among {model.rmse.shape[0]} forecasts."

"""Errors of forecasts, and a test whether one is better than another. NumPy only.

Forecasts and truth are ``[O, h]`` (origins, steps of the horizon) of one series, quantiles ``[O, h, Q]``; a truth that
is NaN is not counted.
"""

from __future__ import annotations

import math

import numpy as np

from jaxseq.errors import InputError


def mae(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the mean absolute error."""
    return float(np.nanmean(np.abs(_errors(actual, forecast))))


def rmse(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.nanmean(_errors(actual, forecast) ** 2)))


def mase(actual: np.ndarray, forecast: np.ndarray, train: np.ndarray, season: int) -> float:
    """Return the mean absolute error over that of the seasonal naive forecast within ``train [T]``, one season ahead.

    Infinite where the training rows repeat exactly (0 if the forecast is exact too). Reference: Hyndman & Koehler
    2006, "Another look at measures of forecast accuracy".
    """
    if not 1 <= season < len(train):
        raise InputError(f"a season of {season} steps needs {season + 1} training rows or more; got {len(train)}")
    scale, error = float(np.nanmean(np.abs(train[season:] - train[:-season]))), mae(actual, forecast)
    if scale > 0:
        return error / scale
    return math.inf if error > 0 else 0.0


def smape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the symmetric mean absolute percentage error, ``200 |y - f| / (|y| + |f|)``, as M3 has it; 0 / 0 is 0.

    Reference: Makridakis & Hibon 2000, "The M3-Competition: results, conclusions and implications".
    """
    error = np.abs(_errors(actual, forecast))
    # 0.0 * error stays NaN where the truth is missing
    size = np.abs(actual) + np.abs(forecast)
    return float(200 * np.nanmean(np.where(size > 0, error / np.where(size > 0, size, 1.0), 0.0 * error)))


def pinball(actual: np.ndarray, quantiles: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the mean quantile loss ``[Q]`` of ``quantiles [..., Q]`` at `levels` in (0, 1)."""
    error = actual[..., None] - quantiles
    # Koenker & Bassett 1978: least in expectation at the quantile of that level
    return np.nanmean(np.maximum(levels * error, (levels - 1) * error), axis=tuple(range(actual.ndim)))


def crps(actual: np.ndarray, quantiles: np.ndarray, levels: np.ndarray) -> float:
    """Return the continuous ranked probability score, in units of the values, as twice the mean quantile loss.

    The integral over levels is a sum over the given ones, each weighing as much as lies nearest to it.

    Reference: Gneiting & Raftery 2007, "Strictly proper scoring rules, prediction, and estimation", section 4.2.
    """
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    return float(2 * (pinball(actual, quantiles, levels) * np.diff(edges)).sum())


def coverage(actual: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Return the share of values within their interval, in per cent."""
    known = np.isfinite(actual)
    return float(100 * ((actual >= lower) & (actual <= upper))[known].mean())


def diebold_mariano(ours: np.ndarray, theirs: np.ndarray, lag: int) -> tuple[float, float]:
    """Return the statistic and the two-sided p value that two forecasts are equally good, of losses ``[O]`` by origin.

    Negative where ours is lower. The variance counts autocovariances up to `lag` (Bartlett weights), and the statistic
    has the small-sample factor of Harvey, Leybourne & Newbold 1997 and their t distribution. NaN and 1 where the
    losses do not differ or there are fewer than 3.

    Reference: Diebold & Mariano 1995, "Comparing predictive accuracy".
    """
    from scipy.stats import t as student  # jax needs scipy, and importing it takes a while

    d = ours - theirs
    # at least two more losses than lags
    n, lag = len(d), min(lag, len(d) - 2)
    if n < 3 or not np.isfinite(d).all() or np.ptp(d) == 0:
        return math.nan, 1.0
    centred = d - d.mean()
    covariances = [centred[k:] @ centred[: n - k] / n for k in range(lag + 1)]
    variance = covariances[0] + 2 * sum((1 - k / (lag + 1)) * covariances[k] for k in range(1, lag + 1))
    steps = lag + 1
    # few origins and many steps would make it negative
    factor = max((n + 1 - 2 * steps + steps * (steps - 1) / n) / n, 1 / n)
    statistic = math.sqrt(factor) * d.mean() / math.sqrt(variance / n)
    return float(statistic), float(2 * student.sf(abs(statistic), n - 1))


def _errors(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    if actual.shape != forecast.shape:  # [T] and [T, 1] would broadcast to [T, T]
        raise InputError(f"actual and forecast must be of one shape; got {actual.shape} and {forecast.shape}")
    return actual - forecast

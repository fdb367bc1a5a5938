"""The simple forecasts that a network is combined with, each fitted once and rolled out from any origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq.apps.forecast import autoregression, smoothing
from jaxseq.apps.forecast.autoregression import Autoregression
from jaxseq.apps.forecast.simple import filled, targets
from jaxseq.apps.forecast.smoothing import Smoothing

NAMES = ("theta", "level smoothing", "damped trend", "AR of changes", "AR", "seasonal changes")
"""In the order of the first axis of `paths`."""
BEYOND = 2.0
"""A forecast moves by at most this many times the largest change of the training rows over as many steps."""


class Members(NamedTuple):
    """Fitted simple forecasts, and the largest change ``[N, h]`` over each number of steps in the training rows."""

    smoothing: Smoothing
    changes: Autoregression
    levels: Autoregression
    seasonal: Autoregression
    reach: np.ndarray


def seasonal_lag(z: np.ndarray, season: int) -> int:
    """Return the lag of seasonal changes: a season that every series holds three times, else 1.

    Call it once: the forecasts weighted at validation must be those fitted to all rows.
    """
    return season if 3 * season <= np.isfinite(z).sum(0).min() else 1


def fit(z: np.ndarray, seasons: Sequence[int], horizon: int, lag: int) -> Members:
    """Fit all to the training rows ``z [T, N]``, scaled, NaN where missing; `lag` is that of seasonal changes."""
    season = smoothing.season_for(tuple(seasons), len(z))
    history = filled(z, seasons[0])
    # [T, N, h], the change from each row over each number of steps
    change = np.abs(targets(z, np.arange(len(z)), horizon) - history[..., None])
    floor = np.nanmax(np.abs(np.diff(history, axis=0)), axis=0)[:, None]
    # made to rise: over more steps a series may move at least as far
    reach = np.maximum.accumulate(np.nanmax(np.where(np.isfinite(change), change, 0.0), axis=0), axis=1)
    return Members(
        smoothing.fit(z, season, horizon),
        autoregression.fit(z, seasons, 1),
        autoregression.fit(z, seasons, 0),
        _seasonal(z, seasons[0], lag),
        np.maximum(reach, floor),
    )


def _seasonal(z: np.ndarray, season: int, lag: int) -> Autoregression:
    """Return the autoregression of changes over `lag` rows; of 1, the last value, repeated."""
    fitted = autoregression.fit(z, (season,), lag)
    if lag > 1:
        return fitted
    # without a season, changes of one row are the other autoregression already: the last value takes its place
    return fitted._replace(intercept=0 * fitted.intercept, weights=0 * fitted.weights, seasonal=0 * fitted.seasonal)


def paths(members: Members, z: np.ndarray, origins: np.ndarray, horizon: int, seasons: Sequence[int]) -> np.ndarray:
    """Return forecasts ``[K, O, N, h]`` of `NAMES` from each origin of ``z [T, N]``."""
    linear = [autoregression.paths(model, z, origins, horizon, seasons) for model in (members.changes, members.levels)]
    linear.append(autoregression.paths(members.seasonal, z, origins, horizon, seasons[:1]))
    found = np.concatenate([smoothing.paths(members.smoothing, z, origins, horizon), np.stack(linear)])
    return within_reach(members, found, z, origins, seasons)


def within_reach(
    members: Members, found: np.ndarray, z: np.ndarray, origins: np.ndarray, seasons: Sequence[int]
) -> np.ndarray:
    """Return forecasts ``[..., O, N, h]`` no further from the last value than `BEYOND` times the largest change."""
    # cut at the last origin: nothing after it is read
    last = filled(z[: int(origins.max()) + 1], seasons[0])[origins][..., None]
    return np.clip(found, last - BEYOND * members.reach, last + BEYOND * members.reach)


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the RMSE ``[K, N]`` of forecasts ``[K, O, N, h]`` over the validation origins."""
    error = np.sqrt(np.nanmean((found - truth) ** 2, axis=(1, 3)))
    # a series without a value in the validation part: 1, the unit of its scale, for all forecasts
    return np.where(np.isfinite(error), error, 1.0)


def combine(weight: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the weighted mean ``[O, N, h]`` of forecasts ``[K, O, N, h]``."""
    return (weight[:, None, :, None] * found).sum(0)

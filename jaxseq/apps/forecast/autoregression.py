"""Linear autoregressions with seasonal terms: ridge by leave-one-out, kept stable, rolled out from many origins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq.apps.forecast.simple import filled

RIDGES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties tried, as shares of the rows, over standardised columns."""
DUMMIES, WAVES = 60, 6
"""Seasons up to so many rows have an effect for each row; longer ones so many pairs of sine and cosine."""
GROWTH = 1.001
"""Roots up to this are left alone: those of lines and waves are 1, and rounding moves a double root, as of a trend, by
1e-6 or so; shrinking it would bend the line."""
MOST_ROWS = 20_000
"""The most rows that are fitted to, the latest ones."""


class Autoregression(NamedTuple):
    """``w[t] = intercept + sum over lags of weights w[t - lag] + seasonal . columns(t)``, w = z or its differences.

    Fields:
      lags: int ``[L]``, rising.
      difference: int ``[]``, 0: of z itself; d: of ``z[t] - z[t - d]``.
      intercept: ``[N]``.
      weights: ``[N, L]``.
      seasonal: ``[N, C]``.
    """

    lags: np.ndarray
    difference: np.ndarray
    intercept: np.ndarray
    weights: np.ndarray
    seasonal: np.ndarray


def lags_for(seasons: Sequence[int], rows: int) -> tuple[int, ...]:
    """Return the lags of an autoregression: a short season and one step, or 8 steps; and around each long season."""
    # a season and one more: a seasonal change of the last step is z[t-1] - z[t-1-m]
    found = set(range(1, max([s + 1 for s in seasons if 1 < s <= 31], default=8) + 1))
    found |= {s + k for s in seasons if s > 31 for k in (-1, 0, 1)}
    # at least two thirds of the rows are left as targets
    return tuple(sorted(lag for lag in found if lag <= max(1, rows // 3)))


def columns(phase: np.ndarray, seasons: Sequence[int]) -> np.ndarray:
    """Return ``[..., C]``, the seasonal columns of rows counted by `phase`: effects of rows, or waves."""
    parts = [np.zeros((*phase.shape, 0))]
    for season in seasons:
        if 1 < season <= DUMMIES:
            # centred, so that the intercept stays the mean
            parts.append(np.eye(season)[phase % season] - 1 / season)
        elif season > DUMMIES:
            angle = 2 * np.pi * phase[..., None] / season * np.arange(1, WAVES + 1)
            parts += [np.sin(angle), np.cos(angle)]
    return np.concatenate(parts, axis=-1)


def fit(z: np.ndarray, seasons: Sequence[int], difference: int, *, plain: bool = False) -> Autoregression:
    """Fit one autoregression to each series of ``z [T, N]`` (NaN where missing).

    The ridge penalty is the one of `RIDGES` with the lowest leave-one-out error, which the singular values give for
    all rows at once; 0, plain least squares, is among them. Of z itself the penalty is on what a line adds to the last
    value (Litterman 1986, "Forecasting with Bayesian vector autoregressions"), so a series that has moved away
    from its mean is not pulled back without evidence. If the polynomial has a root above `GROWTH`, all roots are shrunk
    by one factor until the largest is 1: a forecast of many steps cannot explode. `plain` is least squares without
    any of this and without seasonal effects, for comparison.
    """
    lags = lags_for(seasons, len(z) - difference)
    phase, history = np.arange(len(z)), filled(z, seasons[0])
    fits = []
    for n in range(z.shape[1]):
        first = int(np.isfinite(z[:, n]).argmax())
        # three seasons or more: an effect seen once or twice is mostly noise
        used = [s for s in seasons if not plain and 1 < s <= (len(z) - first) / 3]
        seasonal = columns(phase[first:], seasons) * _chosen(seasons, used)
        # columns of unused seasons are 0, so that all series have weights of one shape
        fits.append(_fit_one(history[first:, n], np.isfinite(z[first:, n]), seasonal, lags, difference, plain))
    intercept, weights, effects = (np.stack(part) for part in zip(*fits, strict=True))
    return Autoregression(np.array(lags), np.array(difference), intercept, weights, effects)


def _chosen(seasons: Sequence[int], used: Sequence[int]) -> np.ndarray:
    """Return 1 for each seasonal column that is of a season in use, else 0."""
    zero = np.zeros(1, int)
    widths = [(s, columns(zero, [s]).shape[1]) for s in seasons]
    return np.concatenate([np.zeros(0), *(np.full(width, float(s in used)) for s, width in widths)])


def _fit_one(
    z: np.ndarray, known: np.ndarray, seasonal: np.ndarray, lags: Sequence[int], difference: int, plain: bool
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return intercept, weights ``[L]`` and seasonal effects ``[C]`` of one series ``z [T]``."""
    w = z[difference:] - z[: len(z) - difference] if difference else z
    use = [k for k, lag in enumerate(lags) if lag <= len(w) // 3]
    weights, effects = np.zeros(len(lags)), np.zeros(seasonal.shape[1])
    if not use or len(w) - lags[use[-1]] < 8:
        return (0.0, weights, effects) if difference else (float(z.mean()), weights, effects)
    rows = np.arange(lags[use[-1]], len(w))
    # targets must be known values; missing lags are filled
    rows = rows[known[difference:][rows]][-MOST_ROWS:]
    X = np.concatenate([w[rows[:, None] - np.array(lags)[use]], seasonal[difference:][rows]], axis=1)
    walk = float(not plain and not difference and use[0] == 0)  # shrunk towards the last value, not towards the mean
    y, mean = w[rows] - walk * w[rows - 1], X.mean(0)
    # one scale for all lags, since they are values of one series
    spread = np.concatenate([np.full(len(use), w.std()), X[:, len(use) :].std(0)])
    spread = np.where(spread > 1e-12 * max(1.0, np.abs(z).max()), spread, np.inf)  # a column that is constant gets 0
    beta = _ridge((X - mean) / spread, y - y.mean(), RIDGES[:1] if plain else RIDGES) / spread
    weights[use], effects = beta[: len(use)], beta[len(use) :]
    weights[0] += walk
    weights = weights if plain else _stable(weights, lags)
    kept = np.concatenate([weights[use], effects])
    return float(w[rows].mean() - mean @ kept), weights, effects


def _ridge(A: np.ndarray, y: np.ndarray, ridges: Sequence[float]) -> np.ndarray:
    """Return ridge coefficients, the penalty chosen by leave-one-out."""
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    # directions that the columns lack; ridge 0 would divide by 0
    keep = s > 1e-10 * max(s[0], 1e-300)
    U, s, Vt = U[:, keep], s[keep], Vt[keep]
    along = U.T @ y
    best, found = np.inf, np.zeros(A.shape[1])
    for ridge in ridges:
        shrink = s**2 / (s**2 + ridge * len(y))
        residual = y - U @ (shrink * along)
        # Leave-one-out errors of a linear smoother need no second fit: e / (1 - leverage) (Allen 1974, PRESS). The
        # bound is for a row that alone decides its fit, with an error of 0 / 0.
        leverage = np.minimum(U**2 @ shrink, 0.95)
        error = np.mean((residual / (1 - leverage)) ** 2)
        if error < best:
            best, found = error, Vt.T @ (shrink / s * along)
    return found


def _stable(weights: np.ndarray, lags: Sequence[int]) -> np.ndarray:
    """Return weights whose companion matrix has no eigenvalue beyond 1: each scaled by a power of one factor."""
    # its eigenvalues are the roots; weight k over r**k divides each of them by r
    companion = np.eye(lags[-1], k=-1)
    companion[0, np.array(lags) - 1] = weights
    largest = float(np.abs(np.linalg.eigvals(companion)).max())
    return weights / largest ** np.array(lags) if largest > GROWTH else weights


def paths(
    model: Autoregression, z: np.ndarray, origins: np.ndarray, horizon: int, seasons: Sequence[int], shift: int = 0
) -> np.ndarray:
    """Return forecasts ``[O, N, h]`` from each origin of ``z [T, N]``, every step fed back for the next.

    `shift` is the row number, as counted when the model was fitted, of the first row of z.
    """
    d, lags = int(model.difference), model.lags
    reach = int(lags[-1]) + d
    # origins near the start look back before the first row, where its value is repeated
    history = np.concatenate([np.repeat(filled(z, seasons[0])[:1], reach, axis=0), filled(z, seasons[0])])
    # [O, N, reach + h]: the rows that lags look at, then the forecasts, which are read back as they are made
    buffer = np.empty((len(origins), z.shape[1], reach + horizon))
    buffer[..., :reach] = np.moveaxis(history[origins[:, None] + 1 + np.arange(reach)], 1, 2)
    seasonal = columns(origins[:, None] + shift + 1 + np.arange(horizon), seasons) @ model.seasonal.T  # [O, h, N]
    for step in range(horizon):
        at = reach + step
        past = buffer[..., at - lags]
        # the model is of differences, so that each lag is one of the path as well
        if d:
            past = past - buffer[..., at - lags - d]
        new = model.intercept + (past * model.weights).sum(-1) + seasonal[:, step]
        buffer[..., at] = new + (buffer[..., at - d] if d else 0.0)
    return buffer[..., reach:]

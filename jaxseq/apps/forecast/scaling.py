"""How values become the numbers that models see: a logarithm where a test asks for it, then each series centred."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxseq.apps.forecast import autoregression
from jaxseq.apps.forecast.simple import targets

SEASONLESS = 4
"""Rows ahead over which the two are compared where there is no season."""
FEWEST = 12
"""Rows after a season that are needed to compare values with their logarithms."""


class Scaling(NamedTuple):
    """Of each series of a panel, from its training rows alone.

    Fields:
      log: bool ``[N]``, whether the logarithm is taken.
      centre: ``[N]``, the median.
      scale: ``[N]``, the mean absolute change against one season before; 1 for a constant series.
      positive: bool ``[N]``, whether no training value is below 0: no forecast is then either.
    """

    log: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    positive: np.ndarray

    @staticmethod
    def fit(values: np.ndarray, season: int, log: bool | np.ndarray | None = None) -> Scaling:
        """Return the scaling of training rows ``values [T, N]``, NaN where missing.

        Args:
          values: ``[T, N]``.
          season: rows in a season.
          log: take the logarithm of every series that allows it, of none, or bool ``[N]`` of each; None lets `grows`
            decide.
        """
        allowed = np.nanmin(values, axis=0) > 0
        if log is None:
            log = np.array([may and grows(column, season) for may, column in zip(allowed, values.T, strict=True)])
        # a logarithm of 0 is not a number, whatever was asked for
        chosen = allowed & log
        z = _logged(values, chosen)
        # the median: an outlier does not move it
        centre = np.nanmedian(z, axis=0)
        # the scale of MASE: a forecast that errs by 1 is as good as the seasonal naive one
        lag = season if len(values) > season else 1
        change = np.abs(z[lag:] - z[:-lag])
        counts = np.isfinite(change).sum(0)
        scale = np.where(counts > 0, np.nansum(change, axis=0) / np.maximum(counts, 1), 0.0)
        spread = np.nanmax(z, axis=0) - np.nanmin(z, axis=0)
        # a series that repeats exactly has no change: then its range, or 1 if it is constant
        scale = np.where(scale > 1e-9 * spread, scale, np.where(spread > 0, spread, 1.0))
        return Scaling(chosen, centre, scale, np.nanmin(values, axis=0) >= 0)

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values of ``[T, N]``; a value that has no logarithm becomes NaN, as one that is missing."""
        return (_logged(values, self.log) - self.centre) / self.scale

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Return the values of scaled ones ``[..., N, h]``."""
        z = scaled * self.scale[:, None] + self.centre[:, None]
        values = np.where(self.log[:, None], _exp(z), z)
        # counts, prices and the like are not forecast below 0
        return np.where(self.positive[:, None], np.maximum(values, 0.0), values)


def grows(column: np.ndarray, season: int) -> bool:
    """Return whether a logarithm makes a line forecast better: whether what moves the series grows with its level.

    One autoregression of seasonal changes is fitted to the values and one to their logarithms; the logarithm is taken
    where its forecasts over a season are closer, in mean absolute error of the values themselves. The errors at high
    levels count most, so that a time of tiny values does not decide for all; and a series that is a line or a sum of
    waves, which its values give exactly and its logarithms do not, keeps its values.

    Example:
      >>> t = np.arange(48)
      >>> grows(np.exp(0.05 * t) * (2 + np.sin(t * np.pi / 6)), 12), grows(100 + t + np.sin(t * np.pi / 6), 12)
      (True, False)
    """
    y = column[int(np.isfinite(column).argmax()) :][:, None]
    # three seasons, as `members.seasonal_lag` wants them
    lag = season if 3 * season <= len(y) else 1
    if len(y) < lag + FEWEST:
        return False
    origins = np.arange(max(lag, len(y) // 4), len(y) - 1)
    steps, errors = season if season > 1 else SEASONLESS, []
    truth = targets(y, origins, steps)
    for z, back in ((y, np.asarray), (_logged(y, np.array([True])), _exp)):
        model = autoregression.fit(z, (season,), lag)
        path = autoregression.paths(model, z, origins, steps, (season,))
        # both in units of the values, or they could not be compared
        errors.append(np.nanmean(np.abs(back(path) - truth)))
    return bool(errors[1] < errors[0])


def _exp(z: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(z, 700.0))  # beyond this it is infinite


def _logged(values: np.ndarray, log: np.ndarray) -> np.ndarray:
    positive = np.where(values > 0, values, np.nan)
    return np.where(log, np.log(positive), values)

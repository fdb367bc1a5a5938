"""How values become the numbers that models see: a logarithm where a test asks for it, then each series centred."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LEAST_BLOCKS = 3
"""Fewer blocks than this say nothing about how the spread grows with the level."""


class Scaling(NamedTuple):
    """Of each series of a panel, from its training rows alone.

    Fields:
      log: bool ``[N]``, whether the logarithm is taken.
      centre: ``[N]``, the median.
      scale: ``[N]``, the mean absolute change against one season before; 1 where there is none.
      positive: bool ``[N]``, whether no training value is below 0: no forecast is then either.
    """

    log: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    positive: np.ndarray

    @staticmethod
    def fit(values: np.ndarray, season: int, log: bool | None = None) -> Scaling:
        """Return the scaling of training rows ``values [T, N]``, NaN where missing.

        Args:
          values: ``[T, N]``.
          season: rows in a season.
          log: take the logarithm of every series that allows it, or of none; None lets `grows` decide.
        """
        chosen = np.array([_allows_log(column) and (grows(column, season) if log is None else log)
                           for column in values.T])  # fmt: skip
        z = _logged(values, chosen)
        centre = np.nanmedian(z, axis=0)
        lag = season if len(values) > season else 1
        change = np.abs(z[lag:] - z[:-lag])
        counts = np.isfinite(change).sum(0)
        scale = np.where(counts > 0, np.nansum(change, axis=0) / np.maximum(counts, 1), 0.0)
        spread = np.nanmax(z, axis=0) - np.nanmin(z, axis=0)
        scale = np.where(scale > 1e-9 * spread, scale, np.where(spread > 0, spread, 1.0))
        return Scaling(chosen, centre, scale, np.nanmin(values, axis=0) >= 0)

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values of ``[T, N]``; a value that has no logarithm becomes NaN, as one that is missing."""
        return (_logged(values, self.log) - self.centre) / self.scale

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Return the values of scaled ones ``[..., N, h]``."""
        z = scaled * self.scale[:, None] + self.centre[:, None]
        values = np.where(self.log[:, None], np.exp(np.minimum(z, 700.0)), z)
        return np.where(self.positive[:, None], np.maximum(values, 0.0), values)


def grows(column: np.ndarray, season: int) -> bool:
    """Return whether the spread within a season grows with its level, so that a logarithm evens it out.

    The rows are cut into blocks of a season (of 4 rows at least, from the end). In each, the standard deviation is
    taken; the logarithm is chosen where deviation over mean varies less from block to block than the deviation itself.

    Reference: Guerrero 1993, "Time-series analysis supported by power transformations", with the powers 0 and 1.

    Example:
      >>> t = np.arange(48)
      >>> grows(np.exp(0.05 * t) * (2 + np.sin(t * np.pi / 6)), 12), grows(100 + t + np.sin(t * np.pi / 6), 12)
      (True, False)
    """
    block = max(season, 4)
    if len(column) < LEAST_BLOCKS * block:
        block = max(2, len(column) // 4)
    count = len(column) // block
    if count < LEAST_BLOCKS:
        return False
    cut = column[len(column) - count * block :].reshape(count, block)
    cut = cut[np.isfinite(cut).sum(1) >= max(2, block // 2)]
    spread = np.nanstd(cut if season > 1 else np.diff(cut, axis=1), axis=1) if len(cut) else np.zeros(0)
    if len(cut) < LEAST_BLOCKS or not np.isfinite(spread).all() or not (spread > 0).all():
        return False
    relative = spread / np.nanmean(cut, axis=1)
    return bool(relative.std() / relative.mean() < spread.std() / spread.mean())


def _allows_log(column: np.ndarray) -> bool:
    return bool(np.nanmin(column) > 0)


def _logged(values: np.ndarray, log: np.ndarray) -> np.ndarray:
    positive = np.where(values > 0, values, np.nan)
    return np.where(log, np.log(positive), values)

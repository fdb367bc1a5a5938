"""Forecasts that need no fitting, from many origins at once: naive, seasonal naive and drift. NumPy only."""

from __future__ import annotations

import numpy as np


def filled(values: np.ndarray, season: int = 1) -> np.ndarray:
    """Return ``values [T, N]`` without NaN, filled from the past alone: the value a season before, else the last one.

    Only before a series' first value its first value is put.
    """
    out = values.copy()
    for t in np.flatnonzero(np.isnan(out).any(1)):
        for lag in (season, 1):
            if t >= lag:
                out[t] = np.where(np.isnan(out[t]), out[t - lag], out[t])
    first = out[np.isfinite(out).argmax(0), np.arange(out.shape[1])]
    return np.where(np.isnan(out), first, out)


def seasonal_naive(values: np.ndarray, origins: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Return ``[O, N, h]``: each value repeats the one a season before; season 1 repeats the last value.

    Args:
      values: ``[T, N]``, NaN where missing.
      origins: int ``[O]``, the last row that each forecast may see.
      horizon: h.
      season: rows in a season.

    Example:
      >>> seasonal_naive(np.array([[1.0], [2.0], [3.0]]), np.array([2]), 3, 2).ravel().tolist()
      [2.0, 3.0, 2.0]
    """
    history = filled(values, season)
    rows = origins[:, None] - season + 1 + np.arange(horizon) % season  # [O, h]
    return np.moveaxis(history[np.maximum(rows, 0)], 1, 2)


def drift(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """Return ``[O, N, h]``: the line through a series' first and last value."""
    history, first = filled(values), np.isfinite(values).argmax(0)
    starts = history[first, np.arange(values.shape[1])]
    steps = np.maximum(origins[:, None] - first, 1)
    slope = (history[origins] - starts) / steps
    return history[origins][..., None] + slope[..., None] * np.arange(1, horizon + 1)


def targets(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """Return ``[O, N, h]``, what follows each origin; NaN past the end."""
    padded = np.concatenate([values, np.full((horizon, values.shape[1]), np.nan)])
    return np.moveaxis(padded[origins[:, None] + 1 + np.arange(horizon)], 1, 2)

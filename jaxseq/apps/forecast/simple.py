"""Forecasts that need no fitting, from many origins at once: naive, seasonal naive and drift. NumPy only."""

from __future__ import annotations

import numpy as np


def filled(values: np.ndarray, season: int = 1) -> np.ndarray:
    """Return ``values [T, N]`` without NaN, each hole filled from the rows of its series before it alone.

    A hole gets the value one season before, plus the mean change against the season before over the last season; in a
    series' first season, or without one, the last value. So a straight line with a season is filled exactly, and a
    window that ends in a hole does not depend on later rows: ``filled(values[:t]) == filled(values)[:t]``. Only
    before a series' first value its first value is put. A column without any value stays NaN.

    Example:
      >>> filled(np.array([[1.0], [5.0], [2.0], [6.0], [np.nan], [7.0]]), season=2).ravel().tolist()
      [1.0, 5.0, 2.0, 6.0, 3.0, 7.0]
    """
    out = values.copy()
    first = np.isfinite(out).argmax(0)
    before = np.arange(len(out))[:, None] < first
    out = np.where(before, out[first, np.arange(out.shape[1])], out)
    # in order of rows, so that a hole reads values that are filled already
    for t, n in np.argwhere(np.isnan(out)):
        begin = int(first[n])
        if t == begin:  # a column without any value
            continue
        if season == 1 or t - begin < season:
            out[t, n] = out[t - 1, n]
            continue
        earlier = out[max(begin, t - 2 * season) : t - season, n]
        change = float(np.mean(out[t - len(earlier) : t, n] - earlier)) if len(earlier) else 0.0
        out[t, n] = out[t - season, n] + change
    return out


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
    """Return ``[O, N, h]``, the values after each origin; NaN past the end."""
    padded = np.concatenate([values, np.full((horizon, values.shape[1]), np.nan)])
    return np.moveaxis(padded[origins[:, None] + 1 + np.arange(horizon)], 1, 2)

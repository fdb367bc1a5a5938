"""Weights and interval sizes at an origin, from the errors since training that are known there.

At origin t, forecasts made at earlier rows s, at most `recall` before, have errors at those steps j with s + j <= t.
They are added to the validation errors, which count as `PRIOR` horizons of rows; an error from one horizon ago counts
half. No value after t is used.

References: Bates & Granger 1969, "The combination of forecasts", for weights that follow recent errors; Hoeting et al.
1999, "Bayesian model averaging: a tutorial", for how sharply weights may tell forecasts apart; Gibbs & Candès 2021,
"Adaptive conformal inference under distribution shift", for intervals that follow recent errors.
"""

from __future__ import annotations

import numpy as np

PRIOR = 0.25
"""Horizons of rows that the validation errors count as, next to errors made since; settled as `SHARPEST` is."""
LEAST_RECALL = 63
"""The fewest rows before an origin that are used."""
EVERY_ROW = 50
"""With up to this many series, forecasts from every row are judged."""
SHARPEST = 6.0
"""The most independent errors that weights assume: similar forecasts are averaged, however long validation is.
Settled, with one error for each horizon, on the tables that statsmodels ships and on M1."""


def independent(held: int, horizon: int) -> float:
    """Return how many independent errors validation rows hold: one for each horizon, from 1 to `SHARPEST`."""
    return min(max(held / horizon, 1.0), SHARPEST)


def recall(horizon: int) -> int:
    """Return how many rows before an origin are used."""
    return max(LEAST_RECALL, 2 * horizon)


def stride(series: int, horizon: int) -> int:
    """Return how many rows apart forecasts are judged: of a large panel not every row, at most a horizon apart."""
    return min(-(-series // EVERY_ROW), horizon)


def before(origin: int, rows: int, horizon: int, step: int) -> np.ndarray:
    """Return the rows before an origin, from the last of `rows` training rows on, whose forecasts are judged."""
    first = max(min(rows - 1, origin), origin - recall(horizon))
    late = np.arange(first, origin)
    return late[(late - rows + 1) % step == 0]  # the same rows, whichever origins are asked for


def needed(origins: np.ndarray, rows: int, horizon: int, step: int) -> np.ndarray:
    """Return the rows that forecasts are needed from: `origins`, and those before each."""
    return np.unique(np.concatenate([origins, *(before(o, rows, horizon, step) for o in origins.tolist())]))


def adapted(
    error: np.ndarray, times: np.ndarray, origin: int, rmse: np.ndarray, spread: np.ndarray, typical: float,
    evidence: float, step: int = 1,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return weights ``[K, N]`` and by how much intervals are wider ``[N]`` at one origin.

    Args:
      error: ``[K, R, N, h]``, of forecasts from rows before the origin, scaled; NaN where a value is missing.
      times: int ``[R]``, those rows.
      origin: the row that is known last.
      rmse: ``[K, N]``, at validation, infinite for a forecast that is left out.
      spread: ``[N, h]``, typical size of errors by step.
      typical: mean size of validation errors over `spread`.
      evidence: independent errors, as `weights` takes it.
      step: rows that each of `times` speaks for.
    """
    h = spread.shape[-1]
    age = origin - (times[:, None] + 1 + np.arange(h))  # [R, h]
    counts = step * np.where(age >= 0, 0.5 ** (np.maximum(age, 0) / h), 0.0)[:, None] / h  # [R, 1, h]
    counts = np.where(np.isfinite(error).all(0), counts, 0.0)  # [R, N, h]
    # later steps have larger errors: without the share of each, rows whose late steps are unknown yet would look better
    profile = spread**2 / (spread**2).mean(-1, keepdims=True)
    squares = (counts * np.nan_to_num(error) ** 2).sum((1, 3))
    prior = PRIOR * h
    known = np.isfinite(rmse)
    mean = (prior * np.where(known, rmse, 0.0) ** 2 + squares) / (prior + (counts * profile).sum((0, 2)))
    weight = weights(np.where(known, np.sqrt(mean), np.inf), evidence)
    # absolute errors, as the sizes of intervals are of absolute errors
    mixed = np.abs((weight[:, None, :, None] * np.nan_to_num(error)).sum(0)) / spread
    wider = (prior * typical + (counts * mixed).sum((0, 2))) / (prior + counts.sum((0, 2)))
    return weight, wider / typical if typical > 0 else np.ones(len(wider))


def weights(rmse: np.ndarray, evidence: float) -> np.ndarray:
    """Return weights ``[K, N]`` that fall with root mean squared errors ``[K, N]``; an exact one gets all the weight.

    They are rmse to the power of minus `evidence`, the number n of independent errors: the likelihood of n normal
    errors at their own scale, so that a single error hardly tells forecasts apart and many do. Where an error is
    infinite, the weight is 0.

    Example:
      >>> weights(np.array([[1.0], [3.0]]), 2.0).ravel().round(3).tolist()
      [0.9, 0.1]

    Reference: Hoeting et al. 1999, equation 2, with equal priors.
    """
    inverse = 1 / np.maximum(rmse, 1e-100)
    relative = (inverse / inverse.max(0)) ** evidence  # the best is 1, so that no power overflows
    return relative / relative.sum(0)

"""Windows of a series, scaling, simple forecasts and measures, for the tutorial's forecasters. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq.errors import InputError


def windows(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all windows and what follows each: inputs ``[length, N, D]``, targets ``[N, D]`` of ``values [T, D]``.

    Raises:
      InputError: if there are too few rows for one window and its target.
    """
    if length < 1 or len(values) <= length:
        raise InputError(f"a window of {length} steps and its target need {length + 1} rows or more; got {len(values)}")
    inputs = np.stack([values[t : t + len(values) - length] for t in range(length)])
    return inputs, values[length:]


class Scaler(NamedTuple):
    """Values to the numbers a network sees, and back: optional logarithm, seasonal difference, standardisation.

    Fields, all from the training part alone:
      log: whether the logarithm was taken.
      lag: differences are taken against the value so many steps before; 0 for none.
      mean: ``[D]``.
      std: ``[D]``.
    """

    log: bool
    lag: int
    mean: np.ndarray
    std: np.ndarray

    @staticmethod
    def fit(train: np.ndarray, names: Sequence[str], *, log: bool = False, lag: int = 0) -> Scaler:
        """Return the scaler of the training part ``[T, D]``.

        Raises:
          InputError: for a constant column, too few rows for the lag, or a logarithm of values that are not positive.
        """
        if len(train) <= lag + 1:
            raise InputError(f"a seasonal difference of {lag} steps needs more than {lag + 1} rows; got {len(train)}")
        for name, column in zip(names, train.T, strict=True):
            if (column == column[0]).all():
                raise InputError(
                    f"column {name!r} is constant ({column[0]:g}) in the training part: nothing to forecast"
                )
        changed = Scaler(log, lag, np.zeros(train.shape[1]), np.ones(train.shape[1])).forward(train)
        std = changed.std(0)
        return Scaler(log, lag, changed.mean(0), np.where(std > 0, std, 1.0))

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values ``[T - lag, D]``: the first `lag` have nothing to be compared with.

        Raises:
          InputError: for a logarithm of values that are not positive.
        """
        if self.log and (values <= 0).any():
            row, column = np.argwhere(values <= 0)[0]
            raise InputError(
                f"the logarithm needs values above 0; got {values[row, column]:g} in row {row + 1}, "
                f"column {column + 1} ({int((values <= 0).sum())} such values): use --no-log"
            )
        x = np.log(values) if self.log else values
        x = x[self.lag :] - x[: len(x) - self.lag] if self.lag else x
        return (x - self.mean) / self.std

    def inverse(self, scaled: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return the values ``[N, D]`` of scaled ones, each against the value one lag earlier, ``before [N, D]``."""
        x = scaled * self.std + self.mean
        if self.lag:
            x = x + (np.log(before) if self.log else before)
        return np.exp(x) if self.log else x


def naive(history: np.ndarray, steps: int, season: int = 1) -> np.ndarray:
    """Return ``[steps, D]``: each value repeats the one a season ago (season 1: the last value), free-running.

    Raises:
      InputError: if the history is shorter than a season.

    Example:
      >>> naive(np.array([[1.0], [2.0], [3.0]]), steps=3, season=2).ravel().tolist()
      [2.0, 3.0, 2.0]
    """
    if not 1 <= season <= len(history):
        raise InputError(f"a season of {season} steps needs as many rows to repeat, and 1 or more; got {len(history)}")
    return history[len(history) - season + np.arange(steps) % season]


def fit_autoregression(values: np.ndarray, order: int) -> np.ndarray:
    """Return the least-squares weights ``[1 + order * D, D]`` of a linear autoregression, intercept first."""
    inputs, targets = windows(values, order)
    return np.linalg.lstsq(_design(np.moveaxis(inputs, 0, 1)), targets, rcond=None)[0]


def autoregress(weights: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the next value ``[N, D]`` after each window ``[N, order, D]``."""
    return _design(window) @ weights


def _design(windows: np.ndarray) -> np.ndarray:
    flat = windows.reshape(len(windows), -1)
    return np.concatenate([np.ones((len(flat), 1)), flat], axis=1)


def rmse(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the root of the mean squared error of ``[T, D]`` forecasts.

    Raises:
      InputError: if the shapes differ.
    """
    return float(np.sqrt(np.mean(_errors(actual, forecast) ** 2)))


def mae(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the mean absolute error of ``[T, D]`` forecasts.

    Raises:
      InputError: if the shapes differ.
    """
    return float(np.mean(np.abs(_errors(actual, forecast))))


def mase(actual: np.ndarray, forecast: np.ndarray, train: np.ndarray, season: int) -> float:
    """Return the mean absolute scaled error: 1 is what the seasonal naive forecast comes to on the training part.

    Reference: Hyndman & Koehler 2006, "Another look at measures of forecast accuracy", eq. for q_t. Columns are scaled
    one by one and averaged. Infinite where a column of the training part repeats exactly, season by season: there is
    then no error to compare with (0 if the forecast is exact too).

    Raises:
      InputError: if the shapes of `actual` and `forecast` differ, or `train` is no longer than a season.
    """
    if not 1 <= season < len(train):
        raise InputError(f"a season of {season} steps needs {season + 1} training rows or more; got {len(train)}")
    scale = np.abs(train[season:] - train[:-season]).mean(0)
    error = np.abs(_errors(actual, forecast)).mean(0)
    unscaled = np.where(error > 0, math.inf, 0.0)
    return float(np.mean(np.divide(error, scale, out=unscaled, where=scale > 0)))


def _errors(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    if actual.shape != forecast.shape:  # [T] and [T, 1] would broadcast to [T, T]
        raise InputError(f"actual and forecast must be of one shape; got {actual.shape} and {forecast.shape}")
    return actual - forecast

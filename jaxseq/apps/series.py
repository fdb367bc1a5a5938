"""Windows of a series, scaling and a linear autoregression, for the tutorial's forecasters. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq.errors import InputError


def windows(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all windows and the value after each: inputs ``[length, N, D]``, targets ``[N, D]`` of ``values [T, D]``.

    Raises:
      InputError: if there are too few rows for one window and its target.
    """
    if length < 1 or len(values) <= length:
        raise InputError(f"a window of {length} steps and its target need {length + 1} rows or more; got {len(values)}")
    # slice t holds step t of every window, so that time is the first axis, as cells read it
    inputs = np.stack([values[t : t + len(values) - length] for t in range(length)])
    return inputs, values[length:]


class Scaler(NamedTuple):
    """Scale values for a network, and back: optional logarithm, seasonal difference, shift and scale.

    Fields, all from the training part only:
      log: whether the logarithm was taken.
      lag: differences are taken against the value this many steps before; 0 for none.
      mean: ``[D]``, subtracted: the mean, or the smallest value.
      std: ``[D]``, divided by: the standard deviation, or the range.
    """

    log: bool
    lag: int
    mean: np.ndarray
    std: np.ndarray

    @staticmethod
    def fit(
        train: np.ndarray, names: Sequence[str], *, log: bool = False, lag: int = 0, minmax: bool = False
    ) -> Scaler:
        """Return the scaler of the training part ``[T, D]``; `minmax` maps it to 0 to 1 instead of mean 0, deviation 1.

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
        # mean and scale are those of the values as the network sees them, after logarithm and difference
        changed = Scaler(log, lag, np.zeros(train.shape[1]), np.ones(train.shape[1])).forward(train)
        mean, std = (changed.min(0), np.ptp(changed, axis=0)) if minmax else (changed.mean(0), changed.std(0))
        # a straight line is constant once it is differenced, and is only shifted
        return Scaler(log, lag, mean, np.where(std > 0, std, 1.0))

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values ``[T - lag, D]``: the first `lag` have no earlier value to subtract.

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
            # the difference was taken after the logarithm
            x = x + (np.log(before) if self.log else before)
        return np.exp(x) if self.log else x


def fit_autoregression(values: np.ndarray, order: int) -> np.ndarray:
    """Return the least-squares weights ``[1 + order * D, D]`` of a linear autoregression, intercept first."""
    inputs, targets = windows(values, order)
    # by orthogonal factors: neighbouring lags are nearly collinear, and normal equations square the condition number
    return np.linalg.lstsq(_design(np.moveaxis(inputs, 0, 1)), targets, rcond=None)[0]


def autoregress(weights: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the next value ``[N, D]`` after each window ``[N, order, D]``."""
    return _design(window) @ weights


def _design(windows: np.ndarray) -> np.ndarray:
    flat = windows.reshape(len(windows), -1)
    return np.concatenate([np.ones((len(flat), 1)), flat], axis=1)

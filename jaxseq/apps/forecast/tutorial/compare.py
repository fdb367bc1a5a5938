"""A forecaster and simple forecasts of the same test part, one step ahead and free-running."""

from __future__ import annotations

import csv
import datetime
import io
from typing import NamedTuple

import numpy as np

from jaxseq.apps import series
from jaxseq.apps.forecast import scores, simple
from jaxseq.apps.forecast.tutorial.data import Prepared, Series, times_of
from jaxseq.apps.forecast.tutorial.model import Forecaster, run_on
from jaxseq.texts import csv_cell

ONE_STEP, FREE = "one step", "free-running"
"""Each value forecast from the true ones before it; or every forecast fed back as if it had been seen."""


class Row(NamedTuple):
    """One line of the table: a forecast of the test part, and its errors.

    Where several networks' forecasts are averaged, `rmse_alone` is the mean RMSE of one of them, `rmse_spread` the
    standard deviation of it over the seeds.
    """

    name: str
    mode: str
    rmse: float
    mae: float
    mase: float
    rmse_alone: float | None = None
    rmse_spread: float | None = None


class Comparison(NamedTuple):
    """Forecasts of the test part, and how far off they are.

    Fields:
      table: errors of each forecast, one step ahead and free-running.
      lines: forecasts by name, ``[T - split, D]``.
      test_loss: mean squared error of one-step forecasts on the scaled test part, mean over seeds.
    """

    table: list[Row]
    lines: dict[str, np.ndarray]
    test_loss: float


def compare(model: Forecaster, data: Prepared) -> Comparison:
    """Forecast the test part with every method, one step ahead and free-running."""
    values, split, name = data.series.values, data.split, model.config.cell
    train, actual = values[:split], values[split:]
    # at least three rows of training for each weight of the autoregression
    found = _simple(data, min(model.config.window, (split - data.scaler.lag) // 3))
    ours = {ONE_STEP: model.one_step(values, split), FREE: model.free_running(train, len(actual))}
    table = []
    for mode in (ONE_STEP, FREE):
        for kind, by_mode in found.items():
            table.append(_row(kind, mode, actual, by_mode[mode], train, data.season))
        # the mean of several forecasts is better than one: both are shown
        alone = [scores.rmse(actual, one) for one in ours[mode]]
        row = _row(name, mode, actual, ours[mode].mean(0), train, data.season)
        table.append(row._replace(rmse_alone=float(np.mean(alone)), rmse_spread=float(np.std(alone))))
    lines = {f"{name}, {mode}": ours[mode].mean(0) for mode in ours}
    # one simple forecast in the picture, so that the networks' errors have a size to be seen against
    lines["seasonal naive"] = found["seasonal naive"][FREE]
    return Comparison(table, lines, _test_loss(model, data))


def _simple(data: Prepared, order: int) -> dict[str, dict[str, np.ndarray]]:
    """Return the forecasts that need no network, by name and mode; the autoregression looks back `order` steps."""
    values, split, season, scaler = data.series.values, data.split, data.season, data.scaler
    train, steps, lag = values[:split], len(values) - split, scaler.lag
    weights = series.fit_autoregression(scaler.forward(train), order)
    scaled, _ = series.windows(scaler.forward(values), order)
    ahead = series.autoregress(weights, np.moveaxis(scaled[:, split - lag - order :], 0, 1))
    # one copy, in the loop that rolls out the networks too
    free = run_on(scaler, train, order, steps, lambda w: series.autoregress(weights, w[:, :, 0])[:, None], 1)[0]
    return {
        "naive": {ONE_STEP: values[split - 1 : -1], FREE: _repeated(train, steps, 1)},
        "seasonal naive": {
            ONE_STEP: values[split - season : len(values) - season],
            FREE: _repeated(train, steps, season),
        },
        "linear autoregression": {ONE_STEP: scaler.inverse(ahead, values[split - lag : len(values) - lag]), FREE: free},
    }


def _repeated(train: np.ndarray, steps: int, season: int) -> np.ndarray:
    """Return the naive forecast ``[steps, D]`` after the training part: the value one season before."""
    return simple.seasonal_naive(train, np.array([len(train) - 1]), steps, season)[0].T


def _test_loss(model: Forecaster, data: Prepared) -> float:
    window = model.config.window
    inputs, targets = series.windows(data.scaler.forward(data.series.values), window)
    # the window whose target is the first row of the test part
    first = data.split - data.scaler.lag - window
    return float(np.mean((model.next(inputs[:, first:]) - targets[first:]) ** 2))


def naive_losses(data: Prepared, window: int) -> dict[str, tuple[float, float]]:
    """Return the losses of naive forecasts of one step, in the network's units, by name: training and test part.

    Of the same rows as the network's losses; for a scaler without logarithm and difference.
    """
    scaled, split = data.scaler.forward(data.series.values), data.split
    found = {}
    for name, lag in (("the last value repeated", 1), ("the value a season before", data.season)):
        error = np.square(scaled[lag:] - scaled[:-lag])
        # the network's first target has a whole window before it
        begin = max(window, lag) - lag
        found[name] = (float(error[begin : split - lag].mean()), float(error[split - lag :].mean()))
    return found


def _row(name: str, mode: str, actual: np.ndarray, forecast: np.ndarray, train: np.ndarray, season: int) -> Row:
    # MASE is of one series: each column has its own scale, and these have a mean
    scaled = [scores.mase(*column, season) for column in zip(actual.T, forecast.T, train.T, strict=True)]
    return Row(name, mode, scores.rmse(actual, forecast), scores.mae(actual, forecast), float(np.mean(scaled)))


def predictions_csv(data: Series, split: int, lines: dict[str, np.ndarray]) -> str:
    """Return the test part and its forecasts as CSV: a row a time step, a column for each forecast of each value."""
    names = [f"{line} {name}" for line in lines for name in data.names]
    into = io.StringIO()
    out = csv.writer(into, lineterminator="\n")
    out.writerow(["time", *map(csv_cell, [*data.names, *names])])
    columns = np.concatenate([data.values[split:], *lines.values()], axis=1)
    for at, row in zip(times_of(data)[split:], columns, strict=True):
        out.writerow([at.date().isoformat() if isinstance(at, datetime.datetime) else at, *(f"{v:.6g}" for v in row)])
    return into.getvalue()

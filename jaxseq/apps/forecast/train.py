"""Forecasting a series with a recurrent cell, from a CSV file to a run folder, beside simple forecasts."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint, losses
from jaxseq._unroll import unroll
from jaxseq.affine import Affine
from jaxseq.apps import datasets, run_folder, series
from jaxseq.apps.custom import find_cell, output_size
from jaxseq.apps.series import Scaler, Series
from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.files import write_atomic
from jaxseq.initializers import uniform
from jaxseq.notation import Array, Key, Params
from jaxseq.train import Listener, Metrics, NonFiniteError, TrainState, chunk, optimizer

KIND = "forecast"


@dataclasses.dataclass(frozen=True)
class ForecastConfig:
    """Settings of a forecast."""

    data: str = "airline"
    """A CSV file with a header, or the shipped series (airline)."""
    date: str | None = None
    """Column of dates; found if not named."""
    columns: tuple[str, ...] = ()
    """Columns of numbers to forecast, together; all if none is named."""
    test: float = 0.25
    """Share of rows, the last ones, that is forecast and never trained on."""
    season: int = 0
    """Steps in a season; 0 finds it from the dates (12 for months, 7 for days)."""
    log: bool = True
    """Forecast the logarithm: growth in per cent. Needs values above 0."""
    difference: bool = True
    """Forecast the change against one season before."""
    window: int = 12
    """Steps that the network sees before each forecast."""
    cell: str = "gru"
    """Recurrent cell: a name that `jaxseq cells` lists, or module:cell or file.py:cell."""
    hidden: int = 16
    """Hidden units."""
    torch_init: bool = False
    """Draw weights as torch does, in place of Glorot and orthogonal."""
    epochs: int = 200
    """Passes over the training windows, all in one batch."""
    optimizer: str = "adamw"
    """adam, adamw or sgd."""
    learning_rate: float = 3e-3
    """Learning rate."""
    seeds: int = 5
    """How many networks, alike but for their random start; trained together, forecasts averaged."""
    seed: int = 0
    """The first of the seeds."""

    def check(self) -> None:
        """Check every setting.

        Raises:
          InputError: naming the setting, what it may be and what it is.
        """
        for name in ("window", "hidden", "epochs", "seeds"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1; got {getattr(self, name)}")
        if not 0 < self.test < 1:
            raise InputError(f"--test must be above 0 and below 1, a share of the rows; got {self.test}")
        if self.season < 0:
            raise InputError(f"--season must be at least 0; got {self.season}")
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"--seed must be a number of 64 bits; got {self.seed}")
        output_size(find_cell(self.cell), 1, self.hidden)
        optimizer(self.optimizer, self.learning_rate)


_TUTORIAL = ForecastConfig(
    test=0.3, log=False, difference=False, hidden=3, torch_init=True, epochs=80, optimizer="adam", seeds=5
)
PRESETS: dict[str, ForecastConfig] = {
    "default": ForecastConfig(),
    "tutorial-lstm": dataclasses.replace(_TUTORIAL, cell="lstm", learning_rate=0.3),
    "tutorial-gru": dataclasses.replace(_TUTORIAL, cell="gru", learning_rate=0.1),
}
"""Settings by name."""


class ForecasterParams(NamedTuple):
    """The cell's parameters, and the layer from its last output ``[B, F]`` to the next value ``[B, D]``."""

    cell: Params
    head: Affine


def init(key: Key, config: ForecastConfig, features: int) -> ForecasterParams:
    """Return parameters for D = features. Consumes `key`."""
    cell, (k_cell, k_head, k_bias) = find_cell(config.cell), jax.random.split(key, 3)
    if not config.torch_init:
        head = Affine.init(k_head, output_size(cell, features, config.hidden), features, jnp.float32)
        return ForecasterParams(cell.init(k_cell, features, config.hidden), head)
    draw, options = uniform(config.hidden**-0.5), {"forget_bias": 0.0} if config.cell == "lstm" else {}
    own = cell.init(k_cell, features, config.hidden, kernel=draw, recurrent=draw, bias=draw, **options)
    W, b = draw(k_head, (config.hidden, features), jnp.float32), draw(k_bias, (features,), jnp.float32)
    return ForecasterParams(own, Affine(W, b))


def predict(cell: Cell, params: ForecasterParams, windows: Array) -> Array:
    """Return the value ``[N, D]`` that follows each window of ``windows [length, N, D]``."""
    _, outs = unroll(cell, params.cell, cell.lift(windows))
    return params.head(outs[-1])


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


class Fitted(NamedTuple):
    """Networks trained together, and how that went.

    Fields:
      params: with a leading axis of seeds.
      losses: training loss before each epoch's step, ``[epochs, seeds]``.
      gradient_norms: of the same steps, ``[epochs, seeds]``.
      forecasts: values forecast in an epoch, over all seeds.
      seconds: of training, compilation left out.
      compile_seconds: of compilation.
    """

    params: ForecasterParams
    losses: np.ndarray
    gradient_norms: np.ndarray
    forecasts: int
    seconds: float
    compile_seconds: float


class Forecast(NamedTuple):
    """What a forecast came to.

    Fields:
      path: the run folder.
      series: the data.
      split: where the test part begins.
      season: steps in a season.
      table: errors of each forecast of the test part, one step ahead and free-running.
      lines: forecasts of the test part by name, ``[T - split, D]``.
      fitted: how training went.
      test_loss: mean squared error of one-step forecasts on the scaled test part, mean over seeds.
    """

    path: Path
    series: Series
    split: int
    season: int
    table: list[Row]
    lines: dict[str, np.ndarray]
    fitted: Fitted
    test_loss: float


class Forecaster(NamedTuple):
    """Trained networks (params with a leading axis of seeds), and how values are scaled for them."""

    config: ForecastConfig
    names: tuple[str, ...]
    scaler: Scaler
    params: ForecasterParams

    def next(self, windows: np.ndarray) -> np.ndarray:
        """Return scaled forecasts ``[seeds, N, D]`` of scaled windows ``[length, N, D]``, or one set for each seed."""
        axis = 0 if windows.ndim == 4 else None
        return np.asarray(_predict_all(self.config.cell, axis)(self.params, jnp.asarray(windows, jnp.float32)), float)

    def one_step(self, values: np.ndarray, start: int) -> np.ndarray:
        """Return ``[seeds, T - start, D]``: each value from ``start`` on forecast from the true ones before it."""
        scaled, lag = self.scaler.forward(values), self.scaler.lag
        inputs, _ = series.windows(scaled, self.config.window)
        first = start - lag - self.config.window
        return self.scaler.inverse(self.next(inputs[:, first:]), values[start - lag : len(values) - lag])

    def free_running(self, values: np.ndarray, steps: int) -> np.ndarray:
        """Return ``[seeds, steps, D]``: what follows `values`, each forecast fed back as if it had been seen."""
        return run_on(self.scaler, values, self.config.window, steps, lambda w: self.next(w), self.config.seeds)


def run_on(
    scaler: Scaler, values: np.ndarray, window: int, steps: int, step: Callable[[np.ndarray], np.ndarray], copies: int
) -> np.ndarray:
    """Return `steps` forecasts ``[copies, steps, D]`` after values; `step` maps ``[copies, window, 1, D]`` windows."""
    if len(values) < scaler.lag + window:
        raise InputError(f"{scaler.lag + window} rows are needed to go on from (season and window); got {len(values)}")
    scaled = np.repeat(scaler.forward(values)[None, -window:], copies, axis=0)  # [copies, window, D]
    known = np.repeat(values[None], copies, axis=0)
    for _ in range(steps):
        new = step(scaled[:, -window:, None])  # [copies, 1, D]
        before = known[:, -scaler.lag] if scaler.lag else known[:, -1]
        known = np.concatenate([known, scaler.inverse(new[:, 0], before)[:, None]], axis=1)
        scaled = np.concatenate([scaled, new], axis=1)
    return known[:, len(values) :]


def _predict_all(name: str, axis: int | None) -> Any:
    return jax.jit(jax.vmap(lambda params, windows: predict(find_cell(name), params, windows), in_axes=(0, axis)))


def train(
    config: ForecastConfig, out: Path | str, *, overwrite: bool = False, listener: Listener | None = None
) -> Forecast:
    """Fit networks to a series' training part, forecast its test part, and write a run folder.

    Raises:
      InputError: if settings, data or folder cannot be used.
      NonFiniteError: if the loss stops being a number.
    """
    listener = listener or Listener()
    config.check()
    data = series.read_csv(datasets.find(config.data), date=config.date, columns=config.columns)
    season = config.season or series.season_length(data.dates)
    split = len(data.values) - round(len(data.values) * config.test)
    lag = season if config.difference and season > 1 else 0
    if split - lag - config.window < 2 or split >= len(data.values) or split <= season:
        raise InputError(
            f"{config.data} has {len(data.values)} rows; a test share of {config.test:g}, a season of {season} and a "
            f"window of {config.window} leave too few to train on. Give more rows or a shorter --window"
        )
    scaler = Scaler.fit(data.values[:split], data.names, log=config.log, lag=lag)
    run_folder.check_free(out, overwrite=overwrite)
    fitted = _fit(config, scaler.forward(data.values[:split]), listener)
    path = run_folder.create(out, KIND, config, overwrite=overwrite)  # only now: a fit that fails replaces nothing
    model = Forecaster(config, data.names, scaler, fitted.params)
    facts = {"names": data.names, "season": season, "log": scaler.log, "lag": lag}
    scaling = {"mean": scaler.mean, "std": scaler.std}
    checkpoint.save(path / run_folder.MODEL, {"params": fitted.params, "scaling": scaling}, **facts)
    table, lines, test_loss = _compare(model, data, split, season)
    result = Forecast(path, data, split, season, table, lines, fitted, test_loss)
    write_atomic(path / "predictions.csv", predictions_csv(result))
    for line in reports(fitted):
        run_folder.log(path, line)
    return result


def _fit(config: ForecastConfig, scaled: np.ndarray, listener: Listener) -> Fitted:
    """Train one network a seed, all at once (vmap), one full batch an epoch."""
    inputs, targets = (jnp.asarray(a, jnp.float32) for a in series.windows(scaled, config.window))

    def loss(params: Params, data: Any, rows: Array, key: Key, step: Array) -> tuple[Array, tuple[Array, Array]]:
        value = losses.mean_squared_error(predict(find_cell(config.cell), params, data[0]), data[1])
        return value, (value, jnp.asarray(rows.size))

    step = optimizer(config.optimizer, config.learning_rate)
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    state = jax.vmap(lambda key: TrainState.create(init(key, config, inputs.shape[-1]), step))(keys)
    arguments = (state, (inputs, targets), jnp.zeros((config.epochs, 1), jnp.int32), keys[0])
    listener.compiling(1)
    begun = time.perf_counter()
    run = jax.jit(jax.vmap(chunk(loss, step), in_axes=(0, None, None, None))).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - begun
    listener.compiled(compile_seconds)
    begun = time.perf_counter()
    state, seen = jax.block_until_ready(run(*arguments))
    seconds = time.perf_counter() - begun
    curve, norms = np.asarray(seen.loss).T, np.asarray(seen.gradient_norm).T
    listener.advance(config.epochs, float(curve[-1].mean()))
    if not np.isfinite(curve).all():
        raise NonFiniteError("the training loss became infinite or NaN; try a lower --learning-rate")
    return Fitted(state.params, curve, norms, targets.size * config.seeds, seconds, compile_seconds)


def _compare(
    model: Forecaster, data: Series, split: int, season: int
) -> tuple[list[Row], dict[str, np.ndarray], float]:
    """Forecast the test part by every means, one step ahead and free-running."""
    values, steps, window = data.values, len(data.values) - split, model.config.window
    train, actual, scaler = values[:split], values[split:], model.scaler
    order = min(window, (split - scaler.lag) // 3)
    weights = series.fit_autoregression(scaler.forward(train), order)
    scaled, _ = series.windows(scaler.forward(values), order)
    ahead = series.autoregress(weights, np.moveaxis(scaled[:, split - scaler.lag - order :], 0, 1))
    linear = {
        "one step": scaler.inverse(ahead, values[split - scaler.lag : len(values) - scaler.lag]),
        "free-running": run_on(
            scaler, train, order, steps, lambda w: series.autoregress(weights, w[:, :, 0])[:, None], 1
        )[0],
    }
    found = {
        "naive": {"one step": values[split - 1 : -1], "free-running": series.naive(train, steps)},
        "seasonal naive": {
            "one step": values[split - season : len(values) - season],
            "free-running": series.naive(train, steps, season),
        },
        "linear autoregression": linear,
    }
    ours = {"one step": model.one_step(values, split), "free-running": model.free_running(train, steps)}
    table = []
    for mode in ("one step", "free-running"):
        for name, by_mode in found.items():
            table.append(_row(name, mode, actual, by_mode[mode], train, season))
        alone = [series.rmse(actual, one) for one in ours[mode]]
        row = _row(model.config.cell, mode, actual, ours[mode].mean(0), train, season)
        table.append(row._replace(rmse_alone=float(np.mean(alone)), rmse_spread=float(np.std(alone))))
    lines = {f"{model.config.cell}, {mode}": ours[mode].mean(0) for mode in ours}
    lines["seasonal naive"] = found["seasonal naive"]["free-running"]
    inputs, targets = series.windows(scaler.forward(values), window)
    first = split - scaler.lag - window
    test_loss = float(np.mean((model.next(inputs[:, first:]) - targets[first:]) ** 2))
    return table, lines, test_loss


def _row(name: str, mode: str, actual: np.ndarray, forecast: np.ndarray, train: np.ndarray, season: int) -> Row:
    scaled = series.mase(actual, forecast, train, season)
    return Row(name, mode, series.rmse(actual, forecast), series.mae(actual, forecast), scaled)


def load(path: Path | str, own: str | None = None) -> Forecaster:
    """Load a forecast run; `own` names the cell of your own that it may run.

    Raises:
      InputError: if there is no such run, or a file of it is damaged.
    """
    path = Path(path)
    config = run_folder.read_config(path, KIND, ForecastConfig, own)
    config.check()
    facts = checkpoint.facts(path / run_folder.MODEL)
    features = len(facts["names"])
    keys = jax.random.split(jax.random.key(0), config.seeds)
    like = {
        "params": jax.eval_shape(jax.vmap(lambda key: init(key, config, features)), keys),
        "scaling": {name: jax.ShapeDtypeStruct((features,), np.dtype(float)) for name in ("mean", "std")},
    }
    held = checkpoint.load(path / run_folder.MODEL, like)
    mean, std = (np.asarray(held["scaling"][name], float) for name in ("mean", "std"))
    return Forecaster(config, tuple(facts["names"]), Scaler(facts["log"], facts["lag"], mean, std), held["params"])


def forecast_on(path: Path | str, data: str | None, horizon: int, own: str | None = None) -> tuple[Series, np.ndarray]:
    """Go on from the end of `data` (by default what the run was trained on) with a saved run.

    Returns:
      The series, and ``[horizon, D]`` forecasts, the mean over seeds.

    Raises:
      InputError: if the file lacks a column of the run, or horizon is below 1.
    """
    if horizon < 1:
        raise InputError(f"--horizon must be at least 1 step; got {horizon}")
    model = load(path, own)
    found = series.read_csv(datasets.find(data or model.config.data), date=model.config.date, columns=model.names)
    return found, model.free_running(found.values, horizon).mean(0)


def predictions_csv(result: Forecast) -> str:
    """Return the test part and its forecasts as CSV: a row a time step, a column a forecast and a value."""
    times = times_of(result.series)[result.split :]
    names = [f"{line} {name}" for line in result.lines for name in result.series.names]
    into = io.StringIO()
    out = csv.writer(into, lineterminator="\n")
    out.writerow(["time", *result.series.names, *names])
    columns = np.concatenate([result.series.values[result.split :], *result.lines.values()], axis=1)
    for at, row in zip(times, columns, strict=True):
        out.writerow([at.date().isoformat() if isinstance(at, datetime.datetime) else at, *(f"{v:.6g}" for v in row)])
    return into.getvalue()


def times_of(data: Series) -> list[Any]:
    """Return the dates, or step numbers where the file has none."""
    return list(data.dates) if data.dates else list(range(len(data.values)))


def reports(fitted: Fitted, every: int = 10) -> list[Metrics]:
    """Return every so many epochs' training loss and gradient norm, means over seeds, as lines for metrics.jsonl.

    What is forecast counts as tokens: ``tokens_per_second`` are values a second, all seeds together.
    """
    loss, norm, epochs = fitted.losses.mean(1), fitted.gradient_norms.mean(1), len(fitted.losses)
    rate, pace = fitted.forecasts * epochs / fitted.seconds, fitted.seconds / epochs
    return [Metrics(e, float(loss[e]), None, rate, float(norm[e]), pace * e) for e in range(0, epochs, every)]

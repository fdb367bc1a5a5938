"""Training the tutorial's forecasters, several side by side."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint, losses, order
from jaxseq.apps import run_folder, series
from jaxseq.apps.custom import find_cell
from jaxseq.apps.forecast.tutorial.compare import Comparison, compare, predictions_csv
from jaxseq.apps.forecast.tutorial.config import TutorialConfig
from jaxseq.apps.forecast.tutorial.data import Prepared
from jaxseq.apps.forecast.tutorial.model import Forecaster, ForecasterParams, init, predict
from jaxseq.files import write_atomic
from jaxseq.notation import Array, Key, Params
from jaxseq.train import Interrupted, Listener, Metrics, NonFiniteError, Steps, TrainState, chunk, fit, optimizer

CHUNK = 20
"""Most epochs in one jitted chunk, so that progress moves and Ctrl-C is heard."""
SIDE_BY_SIDE = TrainState(0, 0, None)  # type: ignore[arg-type]  # axes, where a state holds arrays
"""The axes of seeds in the state of several networks: params and the optimizer's state have one, the step has none."""


class Fitted(NamedTuple):
    """Networks trained together, and the record of training.

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
    """The outcome of a forecast: data, record of training, networks, and the forecasts they are compared with."""

    data: Prepared
    fitted: Fitted
    forecaster: Forecaster
    comparison: Comparison


def train(config: TutorialConfig, data: Prepared, listener: Listener | None = None) -> Forecast:
    """Fit networks to a series' training part, and forecast its test part.

    Raises:
      NonFiniteError: if the loss, the parameters or the forecasts stop being finite.
      Interrupted: after Ctrl-C; nothing is saved.
    """
    fitted = fit_all(config, data.scaler.forward(data.series.values[: data.split]), listener or Listener())
    forecaster = Forecaster(config, data.series.names, data.scaler, fitted.params)
    with np.errstate(all="ignore"):  # parameters that are finite may still be absurd
        found = compare(forecaster, data)
    ours = [line for name, line in found.lines.items() if name.startswith(f"{config.cell}, ")]
    if not (np.isfinite(ours).all() and np.isfinite(found.test_loss)):
        raise NonFiniteError("the forecasts became infinite or NaN; try a lower --learning-rate")
    return Forecast(data, fitted, forecaster, found)


def write(result: Forecast, path: Path) -> None:
    """Write the model, its forecasts and the losses of training into a run folder."""
    data, scaler = result.data, result.data.scaler
    facts = {"names": data.series.names, "season": data.season, "log": scaler.log, "lag": scaler.lag,
             "series": data.series.digest(), "rows": len(data.series.values)}  # fmt: skip
    scaling = {"mean": scaler.mean, "std": scaler.std}
    checkpoint.save(path / run_folder.MODEL, {"params": result.fitted.params, "scaling": scaling}, **facts)
    write_atomic(path / "predictions.csv", predictions_csv(data.series, data.split, result.comparison.lines))
    for line in reports(result.fitted):
        run_folder.log(path, line)


def fit_all(config: TutorialConfig, scaled: np.ndarray, listener: Listener) -> Fitted:
    """Train a network for each seed, all side by side (vmap), one full batch an epoch.

    Raises:
      NonFiniteError: if the loss or the parameters stop being finite.
      Interrupted: after Ctrl-C.
    """
    # scaled in float64, trained in float32 whatever JAX's default is
    inputs, targets = (jnp.asarray(a, jnp.float32) for a in series.windows(scaled, config.window))
    data, step = (inputs, targets), optimizer(config.optimizer, config.learning_rate)
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    state = jax.vmap(lambda key: TrainState.create(init(key, config, inputs.shape[-1]), step))(keys)
    # vmap gave each network a step of its own; they take all steps together
    state = state._replace(step=jnp.int32(0))
    rows = np.zeros((order.chunk_length(config.epochs, config.epochs, CHUNK), 1), np.int32)  # a batch is all there is
    together = jax.vmap(chunk(_loss_of(config), step), in_axes=(SIDE_BY_SIDE, None, None, None),
                        out_axes=(SIDE_BY_SIDE, 1))  # fmt: skip
    listener.compiling(1)
    begun = time.perf_counter()
    # compiled before the clock starts, so that seconds are those of training
    program = jax.jit(together).lower(state, data, rows, keys[0]).compile()
    compile_seconds = time.perf_counter() - begun
    listener.compiled(compile_seconds)
    seen: list[Steps] = []

    def run(state: TrainState, bucket: int, rows: np.ndarray) -> tuple[TrainState, Steps]:
        state, steps = program(state, data, rows, keys[0])
        seen.append(jax.device_get(steps))
        return state, steps

    try:
        state, record = fit(
            state, run, itertools.repeat((0, rows)), steps=config.epochs, report_every=config.epochs, listener=listener
        )
    except Interrupted as stopped:
        # None: a traceback of Ctrl-C tells the user nothing
        raise Interrupted(f"{stopped}; nothing is saved") from None
    except NonFiniteError:
        raise NonFiniteError(
            "the training loss or the parameters became infinite or NaN; try a lower --learning-rate"
        ) from None
    # [epochs, seeds]: chunks follow each other in time
    curve, norms = (np.concatenate([getattr(steps, name) for steps in seen]) for name in ("loss", "gradient_norm"))
    return Fitted(state.params, curve, norms, targets.size * config.seeds, record.elapsed, compile_seconds)


def _loss_of(config: TutorialConfig) -> Any:
    cell = find_cell(config.cell)

    def loss(params: Params, data: Any, rows: Array, key: Key, step: Array) -> tuple[Array, tuple[Array, Array]]:
        value = losses.mean_squared_error(predict(cell, params, data[0]), data[1])
        return value, (value, jnp.asarray(rows.size))

    return loss


def reports(fitted: Fitted, every: int = 10) -> list[Metrics]:
    """Return every so many epochs' training loss and gradient norm, means over seeds, as lines for metrics.jsonl.

    Values that are forecast count as tokens: ``tokens_per_second`` are values a second, all seeds together.
    """
    loss, norm, epochs = fitted.losses.mean(1), fitted.gradient_norms.mean(1), len(fitted.losses)
    # the whole training is timed once, and its time is shared out evenly
    rate, pace = fitted.forecasts * epochs / fitted.seconds, fitted.seconds / epochs
    return [Metrics(e, float(loss[e]), None, rate, float(norm[e]), pace * e) for e in range(0, epochs, every)]

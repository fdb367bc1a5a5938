"""The forecaster: a recurrent cell and a layer, several networks side by side, loaded from their run folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint
from jaxseq._unroll import unroll
from jaxseq.affine import Affine
from jaxseq.apps import run_folder, series
from jaxseq.apps.custom import find_cell
from jaxseq.apps.forecast.tutorial.config import KIND, TutorialConfig
from jaxseq.apps.forecast.tutorial.data import Series, read_series
from jaxseq.apps.series import Scaler
from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.initializers import uniform
from jaxseq.inputs import understood
from jaxseq.notation import Array, Key, Params


class ForecasterParams(NamedTuple):
    """The cell's parameters, and the layer from its last output ``[B, F]`` to the next value ``[B, D]``."""

    cell: Params
    head: Affine


def init(key: Key, config: TutorialConfig, features: int) -> ForecasterParams:
    """Return parameters for D = features. Consumes `key`."""
    cell, (k_cell, k_head, k_bias) = find_cell(config.cell), jax.random.split(key, 3)
    if not config.torch_init:
        params = cell.init(k_cell, features, config.hidden)
        return ForecasterParams(params, Affine.init(k_head, cell.output_size(params, features), features, jnp.float32))
    # torch draws all biases alike, without the 1 that our LSTM adds to its forget gate
    draw, options = uniform(config.hidden**-0.5), {"forget_bias": 0.0} if config.cell == "lstm" else {}
    params = cell.init(k_cell, features, config.hidden, kernel=draw, recurrent=draw, bias=draw, **options)
    W, b = draw(k_head, (config.hidden, features), jnp.float32), draw(k_bias, (features,), jnp.float32)
    return ForecasterParams(params, Affine(W, b))


def predict(cell: Cell, params: ForecasterParams, windows: Array) -> Array:
    """Return the value ``[N, D]`` that follows each window of ``windows [length, N, D]``."""
    _, outs = unroll(cell, params.cell, windows)
    # only the last step forecasts; those before it warm the state up
    return params.head(outs[-1])


class Forecaster(NamedTuple):
    """Trained networks (params with a leading axis of seeds), and how values are scaled for them."""

    config: TutorialConfig
    names: tuple[str, ...]
    scaler: Scaler
    params: ForecasterParams

    def next(self, windows: np.ndarray) -> np.ndarray:
        """Return scaled forecasts ``[seeds, N, D]`` of scaled windows ``[length, N, D]``, or one set for each seed."""
        # free-running, each network has its own forecasts in its windows
        axis = 0 if windows.ndim == 4 else None
        return np.asarray(
            _predict_all(find_cell(self.config.cell), axis)(self.params, jnp.asarray(windows, jnp.float32)), float
        )

    def one_step(self, values: np.ndarray, start: int) -> np.ndarray:
        """Return ``[seeds, T - start, D]``: each value from ``start`` on forecast from the true ones before it."""
        scaled, lag = self.scaler.forward(values), self.scaler.lag
        inputs, _ = series.windows(scaled, self.config.window)
        # the window whose target is row `start`
        first = start - lag - self.config.window
        return self.scaler.inverse(self.next(inputs[:, first:]), values[start - lag : len(values) - lag])

    def free_running(self, values: np.ndarray, steps: int) -> np.ndarray:
        """Return ``[seeds, steps, D]``: forecasts after `values`, each fed back as if it had been seen."""
        return run_on(self.scaler, values, self.config.window, steps, self.next, self.config.seeds)


def run_on(
    scaler: Scaler, values: np.ndarray, window: int, steps: int, step: Callable[[np.ndarray], np.ndarray], copies: int
) -> np.ndarray:
    """Return `steps` forecasts ``[copies, steps, D]`` after values; `step` maps ``[copies, window, 1, D]`` windows."""
    if len(values) < scaler.lag + window:
        raise InputError(f"{scaler.lag + window} rows are needed to continue (season and window); got {len(values)}")
    # each network goes its own way from the same rows
    scaled = np.repeat(scaler.forward(values)[None, -window:], copies, axis=0)  # [copies, window, D]
    known = np.repeat(values[None], copies, axis=0)
    for _ in range(steps):
        new = step(scaled[:, -window:, None])  # [copies, 1, D]
        # the value one lag before the one that is forecast, itself perhaps a forecast
        before = known[:, -scaler.lag] if scaler.lag else known[:, -1]
        known = np.concatenate([known, scaler.inverse(new[:, 0], before)[:, None]], axis=1)
        scaled = np.concatenate([scaled, new], axis=1)
    return known[:, len(values) :]


@functools.lru_cache(maxsize=16)
def _predict_all(cell: Cell, axis: int | None) -> Any:
    """Return the jitted `predict` of all networks at once, on the same windows or (axis 0) on windows for each."""
    return jax.jit(jax.vmap(lambda params, windows: predict(cell, params, windows), in_axes=(0, axis)))


def load(path: Path | str, trusted_cell: str | None = None) -> Forecaster:
    """Load a forecast run; `trusted_cell` names the custom cell that it may import.

    Raises:
      InputError: if there is no such run, or a file of it is damaged.
    """
    path = Path(path)
    config = run_folder.read_config(path, KIND, TutorialConfig, trusted_cell)
    config.check()
    with understood(path / run_folder.MODEL, run_folder.AGAIN):
        return _loaded(path, config, checkpoint.facts(path / run_folder.MODEL))


def _loaded(path: Path, config: TutorialConfig, facts: dict[str, Any]) -> Forecaster:
    """Return the forecaster of a run whose model has these facts."""
    if not (all(isinstance(name, str) for name in facts["names"]) and type(facts["lag"]) is int):
        raise TypeError("names that are not text, or a lag that is not a whole number")
    features = len(facts["names"])
    keys = jax.random.split(jax.random.key(0), config.seeds)
    # shapes alone: the file must match them before anything is used
    like = {
        "params": jax.eval_shape(jax.vmap(lambda key: init(key, config, features)), keys),
        "scaling": {name: jax.ShapeDtypeStruct((features,), np.dtype(float)) for name in ("mean", "std")},
    }
    held = checkpoint.load(path / run_folder.MODEL, like)
    mean, std = (np.asarray(held["scaling"][name], float) for name in ("mean", "std"))
    return Forecaster(config, tuple(facts["names"]), Scaler(facts["log"], facts["lag"], mean, std), held["params"])


def forecast_on(
    path: Path | str, data: str | None, horizon: int, trusted_cell: str | None = None
) -> tuple[Series, np.ndarray]:
    """Go on from the end of `data` (by default the run's own data) with a saved run.

    Returns:
      The series, and ``[horizon, D]`` forecasts, the mean over seeds.

    Raises:
      InputError: if the file lacks a column of the run, horizon is below 1, or `data` is None and the file of the run
        has changed.
    """
    if horizon < 1:
        raise InputError(f"--horizon must be at least 1 step; got {horizon}")
    model = load(path, trusted_cell)
    found = read_series(data or model.config.data, model.config.date, model.names)
    facts = checkpoint.facts(Path(path) / run_folder.MODEL)
    # runs of earlier versions have no sum
    if data is None and facts.get("series", found.digest()) != found.digest():
        raise InputError(
            f"{model.config.data} has changed since {path} was trained on it: {facts['rows']} rows then, "
            f"{len(found.values)} now, or other values in them; name it with --data to go on from its end as it is now"
        )
    return found, model.free_running(found.values, horizon).mean(0)

"""Forget gates over training: on the translator and on the series (training replay).

An LSTM translator on the shipped corpus and an LSTM forecaster on the shipped series are trained, and their params kept
at steps spaced evenly in log time. At each, the forget gates of the encoder (forwards; sentences held back) or of the
forecaster (all training windows) are looked at.

Judged on each, seed by seed, from the first step to the last: the share of gates above 0.9 grows, and so does their
mean; and at the end more gates are above 0.9 than below 0.1, which is what Karpathy et al. saw in trained networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import losses
from jaxseq._unroll import trace
from jaxseq.apps import datasets, series
from jaxseq.apps.forecast import model as forecast
from jaxseq.apps.forecast.config import ForecastConfig
from jaxseq.apps.series import Scaler
from jaxseq.apps.text import PAD
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import numbered, prepare
from jaxseq.apps.translate.train import loss_of
from jaxseq.cells import lstm
from jaxseq.experiments.base import Experiment, Found, Row, beside, more
from jaxseq.experiments.training import fit, seeded
from jaxseq.notation import Array, Key, Params
from jaxseq.seq2seq import lookup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPEN, CLOSED = 0.9, 0.1


class Settings(NamedTuple):
    """Numbers of the experiment: units, steps and batch of the translator, units and steps of the forecaster."""

    hidden: int = 64
    steps: int = 800
    batch: int = 64
    max_tokens: int = 40
    forecaster: int = 16
    epochs: int = 1000
    kept: int = 12
    seeds: int = 5


class Replay(NamedTuple):
    """Forget gates at each kept step: their mean, the shares open and closed, ``[seeds, K]``, and a histogram.

    `histogram` is the share of gates in each of 20 bins, ``[seeds, K, 20]``; `steps` are the kept ones, ``[K]``.
    """

    steps: tuple[int, ...]
    mean: np.ndarray
    opened: np.ndarray
    closed: np.ndarray
    histogram: np.ndarray


def spaced(steps: int, count: int) -> tuple[int, ...]:
    """Return about `count` numbers of steps from 0 to `steps`, evenly spaced in log time but for the first.

    Example:
      >>> spaced(100, 4)
      (0, 1, 10, 100)
    """
    return (0, *np.unique(np.geomspace(1, steps, max(2, count - 1)).round().astype(int)).tolist())


def statistics(f: Array, mask: Array) -> tuple[Array, ...]:
    """Return mean, share above 0.9, share below 0.1 and histogram of gates ``[T, B, H]`` at real steps."""
    weight = jnp.broadcast_to(mask[..., None], f.shape).astype(f.dtype)
    weight = weight / weight.sum()
    places = jnp.clip((f * 20).astype(jnp.int32), 0, 19).ravel()
    bins = jnp.zeros(20, f.dtype).at[places].add(weight.ravel())
    return (f * weight).sum(), ((f > OPEN) * weight).sum(), ((f < CLOSED) * weight).sum(), bins


def replayed(
    init: Callable[[Key], Params], loss: Callable[[Params, Key], Array], gates: Callable[[Params], tuple[Array, ...]],
    steps: int, rate: float, settings: Settings,
) -> Replay:  # fmt: skip
    """Train one network a seed, and look at the gates of each at each kept step."""
    keep, keys = spaced(steps, settings.kept), seeded(settings.seeds)
    trained = fit(jax.vmap(init)(keys), keys, loss, steps=steps, rate=rate, keep=keep)
    seen = jax.jit(lambda kept: jax.lax.map(lambda one: jax.lax.map(gates, one), kept))(trained.kept)
    return Replay(keep, *(np.asarray(a, float) for a in seen))


def of_translator(settings: Settings) -> Replay:
    """Train translators on the shipped corpus."""
    config = dataclasses.replace(
        TranslateConfig(), cell="lstm", hidden=settings.hidden, embedding=settings.hidden, batch=settings.batch,
        max_tokens=settings.max_tokens, buckets=1,
    )  # fmt: skip
    model, corpus = config.build(), prepare(config)
    (training,), (held,) = (
        numbered(corpus.source, corpus.target, pairs, 1) for pairs in (corpus.train, corpus.validation)
    )
    data = (jnp.asarray(training.source), jnp.asarray(training.target))
    source, minimised = jnp.asarray(held.source[:, :128]), loss_of(model, config)

    def init(key: Key) -> Params:
        sizes = {"embedding": config.embedding, "hidden": config.hidden}
        return model.init(key, len(corpus.source.vocabulary), len(corpus.target.vocabulary), **sizes)

    def loss(params: Params, key: Key) -> Array:
        k_rows, k_loss = jax.random.split(key)
        rows = jax.random.randint(k_rows, (config.batch,), 0, data[0].shape[1])
        return minimised(params, data, rows, k_loss, jnp.int32(0))[0]

    def gates(params: Any) -> tuple[Array, ...]:
        mask = source != PAD
        _, seen = trace(lstm, params.encoder[0].forward, lookup(params.source, source), mask=mask)
        return statistics(seen.gates.f, mask)

    return replayed(init, loss, gates, settings.steps, config.learning_rate, settings)


def of_series(settings: Settings) -> Replay:
    """Train forecasters on the shipped series."""
    config = ForecastConfig(cell="lstm", hidden=settings.forecaster)
    data = series.read_csv(datasets.find(config.data))
    values = data.values[: len(data.values) - round(len(data.values) * config.test)]
    season = series.season_length(data.dates)
    scaler = Scaler.fit(values, data.names, log=config.log, lag=season)
    inputs, targets = (jnp.asarray(a, jnp.float32) for a in series.windows(scaler.forward(values), config.window))

    def loss(params: Params, key: Key) -> Array:
        return losses.mean_squared_error(forecast.predict(lstm, params, inputs), targets)

    def gates(params: Any) -> tuple[Array, ...]:
        _, seen = trace(lstm, params.cell, inputs)
        return statistics(seen.gates.f, jnp.ones(inputs.shape[:-1], bool))

    def init(key: Key) -> Params:
        return forecast.init(key, config, inputs.shape[-1])

    return replayed(init, loss, gates, settings.epochs, config.learning_rate, settings)


def run(settings: Settings) -> Found:
    """Train both and compare the first kept step with the last."""
    replays = {"translator": of_translator(settings), "series": of_series(settings)}
    rows: list[Row] = []
    for name, seen in replays.items():
        mean, opened, closed = seen.mean, seen.opened, seen.closed
        rows += [
            beside(f"{name}: mean forget gate before training", mean[:, 0]),
            more(f"{name}: mean forget gate after training", mean[:, -1], "that before", mean[:, 0]),
            beside(f"{name}: share of forget gates above {OPEN} before", opened[:, 0]),
            more(f"{name}: share of forget gates above {OPEN} after", opened[:, -1], "that before", opened[:, 0]),
            more(f"{name}: share of forget gates above {OPEN} after", opened[:, -1], f"that below {CLOSED}",
                 closed[:, -1]),
        ]  # fmt: skip
    return Found(tuple(rows), lambda figure: draw(figure, replays))


def draw(figure: Figure, replays: dict[str, Replay]) -> None:
    """Draw the gates' distribution at each kept step, and their mean."""
    for ax, (name, seen) in zip(figure.subplots(1, len(replays)), replays.items(), strict=True):
        K = len(seen.steps)
        image = ax.imshow(
            seen.histogram.mean(0).T, origin="lower", aspect="auto", extent=(-0.5, K - 0.5, 0, 1), cmap="viridis"
        )
        ax.plot(range(K), seen.mean.mean(0), color="white", marker="o", markersize=3, label="mean")
        ax.set_xticks(range(K), [str(step) for step in seen.steps], rotation=45)
        ax.set(xlabel="training step", ylabel="forget gate (1 retains)")
        ax.set_title(name, fontsize="medium")
        ax.legend(fontsize="small", loc="lower left", frameon=False, labelcolor="white")
        figure.colorbar(image, ax=ax, shrink=0.8, label="share of gates")


gates_open = Experiment(
    "gates-open",
    "Training opens forget gates: more of them end above 0.9 than began there, and more are open than closed.",
    'Karpathy, Johnson & Li 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078, section 4.2 '
    "(forget gates of trained networks are often right-saturated)",
    run, Settings(), Settings(hidden=24, steps=150, batch=32, max_tokens=16, forecaster=8, epochs=200, kept=8),
    "jaxseq forecast --cell lstm --out runs/forecast && jaxseq study runs/forecast",
)  # fmt: skip

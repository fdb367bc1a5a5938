"""Forget gates over training: on the translator and on the series (training replay).

An LSTM translator on the shipped corpus and an LSTM forecaster on the shipped series are trained, and their params
stored at steps spaced evenly in log time. At each, the forget gates of the encoder (forwards; held-back sentences) or
of the forecaster (all training windows) are looked at.

Judged on each, seed by seed, from the first step to the last: the share of gates above 0.9 grows, and so does their
mean; and at the end more gates are above 0.9 than below 0.1, as Karpathy et al. saw in trained networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import losses
from jaxseq._unroll import trace, unroll
from jaxseq.affine import Affine
from jaxseq.attention import additive
from jaxseq.cells import lstm
from jaxseq.experiments import data
from jaxseq.experiments.base import Experiment, Found, Row, more, unjudged
from jaxseq.experiments.data import PAD, SOS
from jaxseq.experiments.training import fit, seeded
from jaxseq.notation import Array, Key, Params
from jaxseq.problems import ModelParams
from jaxseq.seq2seq import lookup, translator
from jaxseq.study import CLOSED, OPEN, along, histogram, log_spaced, saturation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DROPOUT, SMOOTHING = 0.3, 0.1
"""Of the translator in training, as the application has them."""
TRANSLATOR_RATE, FORECASTER_RATE = 2e-3, 3e-3
"""Learning rates."""
HELD = 128
"""Most held-back sentences that are looked at."""


class Settings(NamedTuple):
    """Numbers of the experiment: units, steps and batch of the translator, units and steps of the forecaster."""

    hidden: int = 64
    steps: int = 800
    batch: int = 64
    max_tokens: int = 40
    forecaster: int = 16
    epochs: int = 1000
    snapshots: int = 12
    seeds: int = 5


class GatesOverTraining(NamedTuple):
    """Forget gates after some train steps: their mean, the shares open and closed, ``[seeds, K]``, and a histogram.

    `histogram` is the share of gates in each of 20 bins, ``[seeds, K, 20]``; `steps` are those steps, ``[K]``.
    """

    steps: tuple[int, ...]
    mean: np.ndarray
    opened: np.ndarray
    closed: np.ndarray
    histogram: np.ndarray


def statistics(f: Array, mask: Array) -> tuple[Array, ...]:
    """Return mean, share above 0.9, share below 0.1 and histogram of gates ``[T, B, H]`` at real steps."""
    mean = losses.masked_mean(f, jnp.broadcast_to(mask[..., None], f.shape))
    shares, counts = saturation(f, mask), histogram(f, mask).sum(1).astype(f.dtype)
    return mean, shares.open.mean(), shares.closed.mean(), counts / counts.sum()


def replayed(
    init: Callable[[Key], Params], loss: Callable[[Params, Key], Array], gates: Callable[[Params], tuple[Array, ...]],
    steps: int, rate: float, settings: Settings,
) -> GatesOverTraining:  # fmt: skip
    """Train one network for each seed, and look at its gates after some steps, spaced evenly in log time."""
    at, keys = log_spaced(steps, settings.snapshots), seeded(settings.seeds)
    trained = fit(jax.vmap(init)(keys), keys, loss, steps=steps, rate=rate, snapshot_steps=at)
    seen = jax.jit(lambda snapshots: along(lambda one: along(gates, one), snapshots))(trained.snapshots)
    return GatesOverTraining(at, *(np.asarray(a, float) for a in seen))


def of_translator(settings: Settings) -> GatesOverTraining:
    """Train translators on the shipped corpus."""
    model, corpus = translator(lstm, additive, dropout=DROPOUT), data.corpus(settings.max_tokens)
    sources, targets = map(jnp.asarray, corpus.train)
    held = jnp.asarray(corpus.held.source[:, :HELD])
    # the words' frequencies in the bias: learnt through the features, they saturate the gates that are looked at
    counts = jnp.bincount(targets[targets != PAD], length=corpus.target_size)

    def init(key: Key) -> Params:
        sizes = {"embedding": settings.hidden, "hidden": settings.hidden}
        return model.init(key, corpus.source_size, corpus.target_size, **sizes, counts=counts)

    def loss(params: Params, key: Key) -> Array:
        k_rows, k_encode, k_decode = jax.random.split(key, 3)
        rows = jax.random.randint(k_rows, (settings.batch,), 0, sources.shape[1])
        source, target = sources[:, rows], targets[:, rows]
        inputs = jnp.concatenate([jnp.full_like(target[:1], SOS), target[:-1]])
        encoded = model.encode(params, source, source != PAD, k_encode)
        _, (logits, _) = model.decode(params, encoded, inputs, key=k_decode)
        return losses.masked_mean(losses.cross_entropy(logits, target, SMOOTHING), target != PAD)

    def gates(params: Any) -> tuple[Array, ...]:
        mask = held != PAD
        _, seen = trace(lstm, params.encoder[0].forward, lookup(params.source, held), mask=mask)
        return statistics(seen.gates.f, mask)

    return replayed(init, loss, gates, settings.steps, TRANSLATOR_RATE, settings)


def of_series(settings: Settings) -> GatesOverTraining:
    """Train forecasters on the shipped series."""
    inputs, targets = map(jnp.asarray, data.airline())
    features = inputs.shape[-1]

    def init(key: Key) -> ModelParams:
        of_cell, of_readout = jax.random.split(key)
        readout = Affine.init(of_readout, settings.forecaster, features, inputs.dtype)
        return ModelParams(lstm.init(of_cell, features, settings.forecaster), readout)

    def loss(params: ModelParams, key: Key) -> Array:
        _, outs = unroll(lstm, params.cell, inputs)
        return losses.mean_squared_error(params.readout(outs[-1]), targets)

    def gates(params: ModelParams) -> tuple[Array, ...]:
        _, seen = trace(lstm, params.cell, inputs)
        return statistics(seen.gates.f, jnp.ones(inputs.shape[:-1], bool))

    return replayed(init, loss, gates, settings.epochs, FORECASTER_RATE, settings)


def run(settings: Settings) -> Found:
    """Train both and compare the first snapshot with the last."""
    replays = {"translator": of_translator(settings), "series": of_series(settings)}
    rows: list[Row] = []
    for name, seen in replays.items():
        mean, opened, closed = seen.mean, seen.opened, seen.closed
        rows += [
            unjudged(f"{name}: mean forget gate before training", mean[:, 0]),
            more(f"{name}: mean forget gate after training", mean[:, -1], "that before", mean[:, 0]),
            unjudged(f"{name}: share of forget gates above {OPEN} before", opened[:, 0]),
            more(f"{name}: share of forget gates above {OPEN} after", opened[:, -1], "that before", opened[:, 0]),
            more(f"{name}: share of forget gates above {OPEN} after", opened[:, -1], f"that below {CLOSED}",
                 closed[:, -1]),
        ]  # fmt: skip
    return Found(tuple(rows), lambda figure: draw(figure, replays))


def draw(figure: Figure, replays: dict[str, GatesOverTraining]) -> None:
    """Draw the gates' distribution at each snapshot, and their mean."""
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
    run, Settings(), Settings(hidden=24, steps=150, batch=32, max_tokens=16, forecaster=8, epochs=200, snapshots=8),
    "jaxseq forecast --preset tutorial-lstm --out runs/tutorial && jaxseq study runs/tutorial",
)  # fmt: skip

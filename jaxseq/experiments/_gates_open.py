"""Forget gates over training: on the translator and on the series (training replay).

An LSTM translator on the shipped corpus and an LSTM forecaster on the shipped series are trained, and their params
stored at steps spaced evenly in log time. At each, the forget gates of the forward encoder (on held-out sentences) or
of the forecaster (on all training windows) are measured.

Growing weights spread gates to both sides in any task: some gates that start at 0.5 always end above 0.9. So two starts
are compared that tell opening from spreading. Judged on each data set, seed by seed:

    from f = 0.5 (bias 0)         the mean rises, and at the end more gates are above 0.9 than below 0.1: both are
                                  even where gates only spread
    from f = 0.9 (bias log 9)     the share above 0.9 grows: about half are above it at the start, and stay half where
                                  gates only spread

The mean from f = 0.9 is shown as well. Karpathy et al. observed gates above 0.9 in trained networks, without giving the
cause.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import losses
from jaxseq._unroll import trace, unroll
from jaxseq.affine import Affine
from jaxseq.attention import additive
from jaxseq.cells import Cell, lstm
from jaxseq.experiments import data
from jaxseq.experiments.base import Experiment, Found, Row, more, unjudged
from jaxseq.experiments.data import PAD, SOS
from jaxseq.experiments.training import FIRST_SEED, fit, seeded
from jaxseq.notation import Array, Key, Params
from jaxseq.problems import ModelParams
from jaxseq.seq2seq import lookup, translator
from jaxseq.study import CLOSED, OPEN, along, histogram, log_spaced, saturation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DROPOUT, SMOOTHING = 0.3, 0.1
"""Training options of the translator, as in the application."""
TRANSLATOR_RATE, FORECASTER_RATE = 2e-3, 3e-3
"""Learning rates."""
STARTS = (0.0, math.log(9))
"""Biases of the forget gate at the start: f = 0.5 and f = 0.9."""
HELD = 128
"""Largest number of held-out sentences to measure."""


class Settings(NamedTuple):
    """Settings: units, steps and batch of the translator, units and steps of the forecaster."""

    hidden: int = 48
    steps: int = 500
    batch: int = 32
    max_tokens: int = 24
    forecaster: int = 16
    epochs: int = 1000
    snapshots: int = 12
    seeds: int = 10
    first: int = FIRST_SEED


class GatesOverTraining(NamedTuple):
    """Forget gates after some train steps: mean, shares open and closed, ``[seeds, K]``, and a histogram.

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
    """Train one network for each seed, and measure its gates after some steps, spaced evenly in log time."""
    at, keys = log_spaced(steps, settings.snapshots), seeded(settings.seeds, settings.first)
    trained = fit(jax.vmap(init)(keys), keys, loss, steps=steps, rate=rate, snapshot_steps=at)
    seen = jax.jit(lambda snapshots: along(lambda one: along(gates, one), snapshots))(trained.snapshots)
    return GatesOverTraining(at, *(np.asarray(a, float) for a in seen))


def starting(bias: float) -> Cell:
    """Return the LSTM whose forget gate starts with a bias."""
    return lstm.replace(init=functools.partial(lstm.init, forget_bias=bias))


def of_translator(settings: Settings, bias: float) -> GatesOverTraining:
    """Train translators on the shipped corpus."""
    model, corpus = translator(starting(bias), additive, dropout=DROPOUT), data.corpus(settings.max_tokens)
    sources, targets = map(jnp.asarray, corpus.train)
    held = jnp.asarray(corpus.held.source[:, :HELD])
    # start the bias at the words' frequencies: if learnt through the features, they saturate the measured gates
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


def of_series(settings: Settings, bias: float) -> GatesOverTraining:
    """Train forecasters on the shipped series."""
    inputs, targets = map(jnp.asarray, data.airline())
    features = inputs.shape[-1]

    def init(key: Key) -> ModelParams:
        of_cell, of_readout = jax.random.split(key)
        readout = Affine.init(of_readout, settings.forecaster, features, inputs.dtype)
        return ModelParams(starting(bias).init(of_cell, features, settings.forecaster), readout)

    def loss(params: ModelParams, key: Key) -> Array:
        _, outs = unroll(lstm, params.cell, inputs)
        return losses.mean_squared_error(params.readout(outs[-1]), targets)

    def gates(params: ModelParams) -> tuple[Array, ...]:
        _, seen = trace(lstm, params.cell, inputs)
        return statistics(seen.gates.f, jnp.ones(inputs.shape[:-1], bool))

    return replayed(init, loss, gates, settings.epochs, FORECASTER_RATE, settings)


def run(settings: Settings) -> Found:
    """Train both from both starts and compare the first snapshot with the last."""
    replays: dict[str, GatesOverTraining] = {}
    rows: list[Row] = []
    for name, of in (("translator", of_translator), ("series", of_series)):
        even, half_open = (of(settings, bias) for bias in STARTS)
        replays |= {f"{name}, from f = 0.5": even, f"{name}, from f = 0.9": half_open}
        first, mean, opened, closed = even.mean[:, 0], even.mean[:, -1], even.opened[:, -1], even.closed[:, -1]
        before, after = half_open.opened[:, 0], half_open.opened[:, -1]
        at, above = f"{name}, from f =", f"share of forget gates above {OPEN}"
        change = half_open.mean[:, -1] - half_open.mean[:, 0]
        rows += [
            unjudged(f"{at} 0.5: mean forget gate before training", first),
            more(f"{at} 0.5: mean forget gate after", mean, "that before", first),
            unjudged(f"{at} 0.5: share of forget gates below {CLOSED} after", closed),
            more(f"{at} 0.5: {above} after", opened, f"that below {CLOSED}", closed),
            unjudged(f"{at} 0.9: {above} before", before),
            more(f"{at} 0.9: {above} after", after, "that before", before),
            unjudged(f"{at} 0.9: change of the mean forget gate", change),
        ]
    return Found(tuple(rows), lambda figure: draw(figure, replays))


def draw(figure: Figure, replays: dict[str, GatesOverTraining]) -> None:
    """Draw the gates' distribution at each snapshot, and their mean."""
    for ax, (name, seen) in zip(np.ravel(figure.subplots(2, 2)), replays.items(), strict=True):
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
    "Training opens forget gates: from a start at 0.5 their mean rises and more end open than closed; from a start at "
    "0.9 more are open at the end than at the start.",
    'Karpathy, Johnson & Li 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078, section 4.2 '
    "(forget gates of trained networks are often right-saturated)",
    run, Settings(), Settings(hidden=24, steps=250, batch=32, max_tokens=16, forecaster=8, epochs=400, snapshots=8),
    "jaxseq forecast --preset tutorial-lstm --out runs/tutorial && jaxseq study runs/tutorial",
    "the source looks at character models of 3 layers of 128 to 512 units on novels and source code of megabytes; here "
    "one layer of 24 to 48 units, a corpus of 1,300 words and a series of 144 months",
)  # fmt: skip

"""How gradients fade as they propagate back through time, and Pascanu's bound.

``|dL/dh_{T-k}| / |dL/dh_T|`` for a loss that is the last state in a random direction, in untrained networks, on small
inputs (0.1), which keep tanh near its steepest. A tanh network's U is rho times an orthogonal matrix, so its spectral
radius and its largest singular value are both rho, and the bound is ``rho^k`` (tanh' is at most 1).

Tests of the code, since they are theorems: the gradient is below the bound at every lag, for every rho; for rho below 1
it has vanished (below 1e-3) at the longest lag, as has the bound.

Judged: for rho above 1 the gradient grows (by the paper it may grow there, and only there); LSTM and GRU whose gate
starts to retain, with a bias of 1 and with one of 5, carry the gradient further than the tanh network of rho below 1. A
gate of sigmoid(1) = 0.73 alone would leave 0.73^k of a gradient, far less than 0.9^k; paths through h may add to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq._unroll import trace
from jaxseq.cells import Cell, gru, lstm, rnn
from jaxseq.experiments.base import Experiment, Found, Row, above, below, check, more, unjudged
from jaxseq.experiments.training import FIRST_SEED, seeded
from jaxseq.initializers import orthogonal
from jaxseq.notation import Array, Carry, Key, Params
from jaxseq.problems import retaining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GONE = 1e-3


class Settings(NamedTuple):
    """Settings: hidden units, lags, spectral radii (below, at and above 1), input size, seeds."""

    hidden: int = 128
    lags: int = 200
    radii: tuple[float, float, float] = (0.9, 1.0, 1.2)
    inputs: float = 0.1
    seeds: int = 10
    first: int = FIRST_SEED


def fading(cell: Cell, params: Params, xs: Array, key: Key) -> Array:
    """Return the gradient's norm at every lag, ``[T]`` (lag 0 first), over that at lag 0; consumes `key`.

    The loss is the last output in a random direction; the norm is over all leaves of the carry.
    """
    _, seen = trace(cell, params, xs)
    direction = jax.random.normal(key, seen.outs.shape[-1:])
    last = jax.tree.map(lambda a: a[-1], seen.carries)
    start = jax.grad(lambda carry: carry.h @ direction)(last)

    def back(cotangent: Carry, at_t: tuple[Carry, Array]) -> tuple[Carry, Array]:
        old, x = at_t
        _, pull = jax.vjp(lambda old: cell.step(params, old, x)[0], old)
        (before,) = pull(cotangent)
        return before, norm(before)

    olds = jax.tree.map(lambda a: a[:-1], seen.carries)
    _, norms = lax.scan(back, start, (olds, xs[1:]), reverse=True)
    return jnp.concatenate([jnp.ones(1), norms[::-1] / norm(start)])


def norm(tree: Any) -> Array:
    """Return the norm of all leaves together."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def networks(settings: Settings) -> dict[str, tuple[Cell, Any]]:
    """Return every network by name: the cell, and the function that draws its params from a key."""

    def tanh(rho: float) -> tuple[Cell, Any]:
        def scaled(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
            return rho * orthogonal(key, shape, dtype)

        return rnn, lambda key: rnn.init(key, 1, settings.hidden, recurrent=scaled)

    def gated(cell: Cell, bias: float) -> tuple[Cell, Any]:
        init = retaining(cell, bias=bias)
        return cell, lambda key: init(key, 1, settings.hidden)

    named = {f"rnn, radius {rho:g}": tanh(rho) for rho in settings.radii}
    return named | {
        f"{cell.name}, retain bias {bias:g}": gated(cell, bias) for cell in (lstm, gru) for bias in (1.0, 5.0)
    }


def run(settings: Settings) -> Found:
    """Measure every network."""
    curves: dict[str, np.ndarray] = {}
    for name, (cell, init) in networks(settings).items():

        def one(key: Key, cell: Cell = cell, init: Any = init) -> Array:
            k_init, k_inputs, k_loss = jax.random.split(key, 3)
            xs = settings.inputs * jax.random.normal(k_inputs, (settings.lags + 1, 1))
            return fading(cell, init(k_init), xs, k_loss)

        curves[name] = np.asarray(jax.jit(jax.vmap(one))(seeded(settings.seeds, settings.first)), float)
    names = list(curves)
    short, unit, long = names[:3]
    last = {name: np.log10(np.maximum(curve[:, -1], 1e-30)) for name, curve in curves.items()}
    lag = np.arange(settings.lags + 1)
    rows: list[Row] = []
    for name, rho in zip(names, settings.radii, strict=False):
        over = (np.log10(np.maximum(curves[name], 1e-30)) - lag * np.log10(rho))[:, 1:].max(1)
        rows.append(check(below(f"{name}: most that log10 of the gradient is above the bound", over, 1e-3)))
    at = f"log10 of the gradient at lag {settings.lags}"
    rows += [
        check(below(f"{short}: {at}", last[short], np.log10(GONE))),
        unjudged(f"{unit}: {at}", last[unit]),
        above(f"{long}: {at}", last[long], 0.0),
        *[more(f"{name}: {at}", last[name], f"that of the {short}", last[short]) for name in names[3:]],
    ]
    return Found(tuple(rows), lambda figure: draw(figure, curves, settings))


def draw(figure: Figure, curves: dict[str, np.ndarray], settings: Settings) -> None:
    """Draw the gradient against the lag: median over seeds, range as a band, bounds dotted."""
    ax = figure.subplots()
    lag = np.arange(settings.lags + 1)
    for n, (name, curve) in enumerate(curves.items()):
        curve = np.maximum(curve, 1e-30)
        (line,) = ax.plot(lag, np.median(curve, axis=0), label=name, linestyle="-" if n < 3 else "--")
        ax.fill_between(lag, curve.min(0), curve.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
        if n < 3:
            ax.plot(lag, settings.radii[n] ** lag, color=line.get_color(), linestyle=":")
    ax.set(yscale="log", ylim=(1e-9, 1e6), xlabel="lag in steps", ylabel="gradient norm, 1 at lag 0")
    ax.legend(frameon=False, fontsize="small", title="dotted: the bound radius^lag")
    ax.grid(alpha=0.3)


vanishing = Experiment(
    "vanishing",
    "A tanh network's gradient fades at least as fast as its largest singular value to the power of the lag: it "
    "vanishes below 1 and can grow only above 1; gates that start to retain, with a bias of 1 or 5, carry it further "
    "than a tanh network of radius 0.9.",
    'Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", arXiv:1211.5063, '
    "section 2; of the bias Jozefowicz, Zaremba & Sutskever 2015, \"An empirical exploration of recurrent network "
    "architectures\", ICML",
    run, Settings(), Settings(hidden=64, lags=100), "jaxseq study --cell rnn --problem copy",
)  # fmt: skip

"""The eigenvalues of a step's Jacobian, and their region by random-matrix theory (Can et al. 2020).

Networks with random Gaussian recurrent weights of variance ``gain^2 / H``, run on small random inputs. If all blocks of
the weights are independent, the eigenvalue law of the Jacobian follows from the gates' values at that step: lambda is
inside the cloud where ``mean over units of v(lambda) >= 1``, with, in the letters of the cells (a' is an activation's
derivative),

    lstm   v = p^2 s^2 / |lambda - f|^2 + q^2 gain^2 / |lambda|^2
           p = o (1 - tanh(c')^2)   q = tanh(c') o'   s^2 = gain^2 ((c f')^2 + (g i')^2 + (i g')^2)
    gru    v = s^2 / |lambda - z|^2       (the reset gate's part is through the candidate)
           s^2 = gain^2 (((h - n) z')^2 + ((1 - z) n' r)^2 + ((1 - z) n' (h U_n + b_hn) r')^2)

and as H goes to infinity only a few outliers are outside (the law for ``A + L X R`` with X random:
Ahmadian, Fumarola & Miller 2015, arXiv:1311.4672). The gates' values are taken from the run itself.

How far beyond the edge an eigenvalue of a finite network may lie is known for Ginibre matrices (N by N, independent
entries of variance 1 / N, v = 1 / |lambda|^2): the density falls off as ``erfc(sqrt(2 N) (|lambda| - 1)) / 2``, so the
edge is ``1 / sqrt(2 N)`` wide, which is sqrt(2 / N) in v (Khoruzhenko & Sommers 2009, arXiv:0911.5645). Of all N
eigenvalues ``sqrt(N / 2) ierfc(k)`` are expected more than k such widths outside: at k = 2, with
``ierfc(2) = 0.00098``, a hundredth of one eigenvalue for N = 400. If units have different weights in the mean of v,
their effective number is ``N(lambda) = (sum v)^2 / sum v^2``. So with ``width = sqrt(2 / N(lambda))``, lambda lies in
the predicted region if ``mean v >= 1 - 2 width``; the law's outliers, whose number does not grow with H, may be one in
100.

Judged: the share of eigenvalues within 0.1 of 1 is larger for each larger bias of the retaining gate; at the bias where
it is least, the share of eigenvalues in the predicted region is above 0.99; and the region is tight: the rightmost
eigenvalue is within two widths of the edge, ``|1 - mean v| <= 2 width``, at the bias where it is furthest from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxseq._unroll import unroll
from jaxseq.cells import Cell, gru, lstm
from jaxseq.experiments.base import Experiment, Found, Row, above, below, more, unjudged
from jaxseq.experiments.training import FIRST_SEED, seeded
from jaxseq.notation import Array, Key, Params
from jaxseq.problems import retaining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEAR = 0.1
"""Distance from 1 within which an eigenvalue counts as near 1."""
WIDTHS, OUTLIERS = 2.0, 0.01
"""Widths beyond the edge that still count as inside the region; the share that may lie outside."""


class Settings(NamedTuple):
    """Settings: hidden units H, steps before the Jacobian is taken, gain of U, biases, seeds."""

    hidden: int = 400
    steps: int = 100
    gain: float = 1.5
    biases: tuple[float, ...] = (0.0, 2.0, 4.0)
    seeds: int = 10
    first: int = FIRST_SEED


def drawn(cell: Cell, key: Key, hidden: int, gain: float, bias: float) -> Params:
    """Return Gaussian parameters, with `bias` on the gate that retains. Consumes `key`."""

    def gaussian(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        return gain * hidden**-0.5 * jax.random.normal(key, shape, dtype)

    return retaining(cell, bias=bias, recurrent=gaussian)(key, 1, hidden)


def jacobian(cell: Cell, params: Params, key: Key, steps: int) -> tuple[Array, Array, Array]:
    """Return the Jacobian of a step ``[S, S]`` after `steps` of noise, and the parts of its law, each ``[2, H]``.

    The law is ``mean(sum over the 2 of weights / |lambda - centres|^2)``. Consumes `key`.
    """
    k_inputs, k_carry = jax.random.split(key)
    start = cell.initial_carry(params)
    start = jax.tree.map(lambda a: a + 0.5 * jax.random.normal(k_carry, a.shape), start)
    carry, _ = unroll(cell, params, jax.random.normal(k_inputs, (steps, 1)), start)
    x = jnp.zeros(1)
    flat, unflatten = ravel_pytree(carry)

    def step(flat: Array) -> Array:
        return ravel_pytree(cell.step(params, unflatten(flat), x)[0])[0]

    new, _, seen = cell.advance(params, carry, cell.input_terms(params, x))
    weights, centres = LAWS[cell.name](params, carry, new, seen)
    return jax.jacfwd(step)(flat), weights, centres


def lstm_law(params: Params, carry: Any, new: Any, seen: Any) -> tuple[Array, Array]:
    """Return numerators over gain^2 and centres of v for an LSTM, each ``[2, H]``."""
    i, f, g, o = seen
    t = jnp.tanh(new.c)
    s2 = (carry.c * f * (1 - f)) ** 2 + (g * i * (1 - i)) ** 2 + (i * (1 - g**2)) ** 2
    return jnp.stack([(o * (1 - t**2)) ** 2 * s2, (t * o * (1 - o)) ** 2]), jnp.stack([f, jnp.zeros_like(f)])


def gru_law(params: Params, carry: Any, new: Any, seen: Any) -> tuple[Array, Array]:
    """Return numerators over gain^2 and centres of v for a GRU, each ``[2, H]``; the second is empty."""
    r, z, n = seen
    H = z.shape[-1]
    reset_of = carry.h @ params.U[:, 2 * H :] + params.b_hn
    slope = (1 - z) * (1 - n**2)
    s2 = ((carry.h - n) * z * (1 - z)) ** 2 + (slope * r) ** 2 + (slope * reset_of * r * (1 - r)) ** 2
    return jnp.stack([s2, jnp.zeros_like(z)]), jnp.stack([z, jnp.zeros_like(z)])


LAWS: dict[str, Callable[..., tuple[Array, Array]]] = {"lstm": lstm_law, "gru": gru_law}


def density(points: np.ndarray, weights: np.ndarray, centres: np.ndarray, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ``mean over units of v`` at complex points of any shape, at least 1 inside the cloud, and its width."""
    flat = np.asarray(points, complex).reshape(-1, 1, 1)
    distance = np.maximum(np.abs(flat - centres) ** 2, 1e-12)
    v = (gain**2 * weights / distance).sum(1)
    width = np.sqrt(2 * (v**2).sum(-1)) / v.sum(-1)
    return v.mean(-1).reshape(np.shape(points)), width.reshape(np.shape(points))


class Cloud(NamedTuple):
    """One Jacobian's eigenvalues, the law's parts, and the measurements of both.

    `slow` is the share near 1, `inside` the share in the predicted region, and `end` the distance of the rightmost from
    the edge in widths, positive outside.
    """

    eigenvalues: np.ndarray
    weights: np.ndarray
    centres: np.ndarray
    slow: float
    inside: float
    end: float


def cloud(J: np.ndarray, weights: np.ndarray, centres: np.ndarray, gain: float) -> Cloud:
    """Measure a Jacobian against its law."""
    found = np.linalg.eigvals(J.astype(float))
    mean, width = density(found, weights, centres, gain)
    beyond = (1 - mean) / width
    slow, inside = np.mean(np.abs(found - 1) < NEAR), np.mean(beyond <= WIDTHS)
    return Cloud(found, weights, centres, float(slow), float(inside), float(beyond[np.argmax(found.real)]))


def run(settings: Settings) -> Found:
    """Measure LSTM and GRU at each bias."""
    clouds: dict[tuple[str, float], list[Cloud]] = {}
    for cell in (lstm, gru):
        for bias in settings.biases:

            def one(key: Key, cell: Cell = cell, bias: float = bias) -> tuple[Array, Array, Array]:
                k_init, k_run = jax.random.split(key)
                params = drawn(cell, k_init, settings.hidden, settings.gain, bias)
                return jacobian(cell, params, k_run, settings.steps)

            clouds[cell.name, bias] = [
                cloud(np.asarray(J), np.asarray(weights), np.asarray(centres), settings.gain)
                for J, weights, centres in map(jax.jit(one), seeded(settings.seeds, settings.first))
            ]
    rows: list[Row] = []
    for cell in (lstm, gru):
        gate = "forget bias" if cell is lstm else "update (retain) bias"
        slow = [[c.slow for c in clouds[cell.name, bias]] for bias in settings.biases]
        rows.append(unjudged(f"{cell.name}, {gate} {settings.biases[0]:g}: share of eigenvalues near 1", slow[0]))
        for n, bias in enumerate(settings.biases[1:], 1):
            name = f"{cell.name}, {gate} {bias:g}: share of eigenvalues near 1"
            rows.append(more(name, slow[n], f"that at {settings.biases[n - 1]:g}", slow[n - 1]))
        every = [clouds[cell.name, bias] for bias in settings.biases]
        inside = np.min([[c.inside for c in column] for column in every], axis=0)
        rows.append(above(f"{cell.name}: least share of eigenvalues in the predicted region", inside, 1 - OUTLIERS))
        end = np.max([[abs(c.end) for c in column] for column in every], axis=0)
        rows.append(below(f"{cell.name}: most widths from the rightmost eigenvalue to the predicted edge", end, WIDTHS))
    return Found(tuple(rows), lambda figure: draw(figure, clouds, settings))


def draw(figure: Figure, clouds: dict[tuple[str, float], list[Cloud]], settings: Settings) -> None:
    """Draw each first cloud with the boundary that the law predicts."""
    axes = figure.subplots(2, len(settings.biases), sharex=True, sharey=True, squeeze=False)
    every = np.concatenate([found[0].eigenvalues for found in clouds.values()])
    left, right, high = min(every.real.min(), 0) - 0.1, max(every.real.max(), 1) + 0.1, np.abs(every.imag).max() + 0.1
    x, y = np.meshgrid(np.linspace(left, right, 240), np.linspace(-high, high, 200))
    for n, ((name, bias), found) in enumerate(clouds.items()):
        ax, first = axes.flat[n], found[0]
        ax.plot(first.eigenvalues.real, first.eigenvalues.imag, ".", markersize=2, color="#3b528b")
        level, _ = density(x + 1j * y, first.weights, first.centres, settings.gain)
        with np.errstate(divide="ignore"):
            ax.contour(x, y, np.log(level), [0.0], colors="#d1495b", linewidths=1)
        ax.plot([1], [0], "+", color="black")
        ax.set(aspect="equal", xlim=(left, right), ylim=(-high, high))
        ax.set_title(f"{name}, bias {bias:g}: {first.slow:.0%} near 1", fontsize="medium")
    figure.supxlabel("real part (red: where random-matrix theory ends the cloud; +: 1, kept forever)")
    figure.supylabel("imaginary part")


spectrum = Experiment(
    "spectrum",
    "A larger bias of the gate that retains (an LSTM's forget gate, a GRU's update gate) gathers eigenvalues of the "
    "step Jacobian at 1, and the cloud's outline is that of random-matrix theory.",
    'Can, Krishnamurthy & Schwab 2020, "Gating creates slow modes and controls phase-space complexity in GRUs and '
    'LSTMs", arXiv:2002.00025',
    run, Settings(), Settings(hidden=200), "jaxseq study --cell lstm --problem copy",
)  # fmt: skip

"""Parity with linear and gated cells, tested on longer words (Grazzi et al. 2024; Sarrof, Veitsman & Hahn 2024).

Cells learn to tell after each symbol whether the number of ones so far is even, on words of `length` symbols, and are
tested on the second half of words four times as long. A cell that is linear in its state with eigenvalues from 0 to 1
cannot flip its state at a one; with eigenvalues from -1 to 1 it can. Two linear cells have both forms, with the same
parameters:

    min_gru    h' = (1 - z) h + z n           negative: h' = (1 - 2z) h + z n       diagonal, from -1 to 1
    deltanet   S' = S + beta k^T (v - k S)    negative: 2 beta instead of beta      along k, 1 - 2 beta

Grazzi et al. made these changes to Mamba (2 A - I) and to DeltaNet. LSTM and GRU are not linear in their state; the
tanh network is shown too. Chance is 0.5.

Judged, seed by seed, is the share of correct steps on the longer words: with eigenvalues from 0 to 1 it is below
0.6; with negative ones it is above that, and above 0.9; that of LSTM and GRU is above 0.9. Each cell is trained at the
learning rate that suits it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import problems
from jaxseq.cells import Cell, deltanet, gru, lstm, min_gru, rnn
from jaxseq.cells._deltanet import DeltaNetGates
from jaxseq.cells._memory import Memory, outer, read, unit
from jaxseq.cells._min_gru import MinGRUGates
from jaxseq.cells._parts import Hidden
from jaxseq.experiments.base import Experiment, Found, Row, above, below, more, unjudged
from jaxseq.experiments.training import FIRST_SEED, Learnt, at_once, draw_seeds, learn, network
from jaxseq.losses import masked_mean
from jaxseq.notation import Array
from jaxseq.problems import ModelParams, outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANCE, RIGHT = 0.6, 0.9
"""The shares of correct steps below which a cell guesses, and above which it has learnt parity."""
LONGER = 4
"""Ratio of the length of test to training words."""


def signed_min_gru(params: Any, carry: Hidden, wx: Array, uh: Any) -> tuple[Hidden, Array, MinGRUGates]:
    """Return a step of a minGRU that multiplies the state by ``1 - 2z``, from -1 to 1, instead of ``1 - z``."""
    a_z, n = jnp.split(wx, 2, axis=-1)
    z = jax.nn.sigmoid(a_z)
    h = (1 - 2 * z) * carry.h + z * n
    return Hidden(h), h, MinGRUGates(z, n)


def signed_deltanet(params: Any, carry: Memory, wx: Any, uh: Any) -> tuple[Memory, Array, DeltaNetGates]:
    """Return a step of a DeltaNet with a rate from 0 to 2, whose eigenvalue along the key is from 1 to -1."""
    q, k = (unit(part) for part in jnp.split(jax.nn.silu(wx[0]), 2, axis=-1))
    v, beta = wx[1][..., :-1], 2 * jax.nn.sigmoid(wx[1][..., -1:])
    error = v - read(k, carry.S)
    S = carry.S + outer(k, beta * error)
    return Memory(S), read(q, S), DeltaNetGates(q, k, v, beta, error)


LINEAR: dict[str, Cell] = {"min_gru": min_gru, "deltanet": deltanet}
SIGNED: dict[str, Cell] = {
    "min_gru, negative": min_gru.replace(equations=signed_min_gru, name="min_gru_signed"),
    "deltanet, negative": deltanet.replace(equations=signed_deltanet, name="deltanet_signed"),
}
GATED: dict[str, Cell] = {"lstm": lstm, "gru": gru}
CELLS: dict[str, Cell] = {**LINEAR, **SIGNED, **GATED, "rnn": rnn}


class Settings(NamedTuple):
    """Settings: word length in training, and training."""

    length: int = 24
    hidden: int = 24
    steps: int = 3000
    batch: int = 32
    seeds: int = 10
    first: int = FIRST_SEED


def right_at(cell: Cell, params: ModelParams, length: int, start: int) -> Array:
    """Return the share of correct steps from step `start` on, in 256 new words of that length: ``[]``."""
    problem = problems.parity(length)
    batch = problem.draw(jax.random.key(2**31), 256)
    right = problem.right(outputs(cell, params, batch), batch.targets)[start:].astype(jnp.float32)
    return masked_mean(right, jnp.ones(right.shape, bool))


def run(settings: Settings) -> Found:
    """Train every cell, and test it at the length of training and at longer words."""
    problem, longer = problems.parity(settings.length), LONGER * settings.length

    def one(name: str) -> tuple[Learnt, np.ndarray, np.ndarray]:
        cell = CELLS[name]
        learnt = learn(cell, problem, settings)
        near = jax.jit(jax.vmap(lambda p: right_at(cell, p, settings.length, settings.length // 2)))(learnt.params)
        far = jax.jit(jax.vmap(lambda p: right_at(cell, p, longer, longer // 2)))(learnt.params)
        return learnt, np.asarray(near, float), np.asarray(far, float)

    every = dict(zip(CELLS, at_once(one, CELLS), strict=True))
    rows: list[Row] = []
    for name, (_, near, far) in every.items():
        rows.append(unjudged(f"{name}: share right in the second half of {settings.length} symbols", near))
        what = f"{name}: share right in the second half of {longer} symbols"
        if name in LINEAR:
            rows.append(below(what, far, CHANCE))
        elif name == "rnn":
            rows.append(unjudged(what, far))
        else:
            rows.append(above(what, far, RIGHT))
        if name in SIGNED:
            same = name.partition(",")[0]
            rows.append(more(what, far, f"that of the {same} with eigenvalues from 0 to 1", every[same][2]))
    networks = [network(name, CELLS[name], problem, every[name][0]) for name in ("gru", "lstm", "min_gru")]
    shares = {name: (near, far) for name, (_, near, far) in every.items()}
    return Found(tuple(rows), lambda figure: draw(figure, shares, settings), tuple(networks))


def draw(figure: Figure, shares: dict[str, tuple[np.ndarray, np.ndarray]], settings: Settings) -> None:
    """Draw the share of correct steps of each cell, one dot per seed, at both lengths."""
    for n, ax in enumerate(figure.subplots(1, 2, sharey=True)):
        for at, both in enumerate(shares.values()):
            draw_seeds(ax, at, both[n])
        ax.axhline(0.5, color="0.5", linestyle=":", linewidth=1)
        ax.set_xticks(range(len(shares)), list(shares), rotation=45, ha="right")
        length = settings.length * (LONGER if n else 1)
        ax.set_title(f"words of {length} symbols{'' if n else ', as in training'}", fontsize="medium")
        ax.grid(alpha=0.3, axis="y")
        if n == 0:
            ax.set_ylabel("share of correct steps (dotted: chance)")


parity = Experiment(
    "parity",
    "A cell that is linear in its state learns parity beyond the lengths of training where its eigenvalues may be "
    "negative, and not where they are from 0 to 1; gated cells that are not linear learn it.",
    'Grazzi, Siems, Zela, Franke, Hutter & Pontil 2024, "Unlocking state-tracking in linear RNNs through negative '
    'eigenvalues", arXiv:2411.12537, theorem 1 and the experiments on parity',
    run, Settings(), Settings(length=16, hidden=16, steps=1500, batch=32), "jaxseq study --cell gru --problem anbn",
)  # fmt: skip
"""The experiment."""

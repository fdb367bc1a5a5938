"""A line attractor in networks that integrate evidence (Maheswaranathan et al. 2019).

Networks read texts of positive and negative words, and name at the end the side that prevailed (`problems.valence`).
Then they read new texts, each followed by as many neutral words as the longest text has words: the input is held at the
mean of the neutral words, and the state settles. The final states are the slow points; `study.fixed_points` gives their
speed and linear dynamics. A point counts if a step moves it by less than the states' spread divided by the length of a
text. The source minimises the speed instead; on a line that is not exactly still, that slides along the line to a few
points.

    along a line      the share of the points' variance along their first principal component is above 0.9
    not one point     the points' spread along it is more than half that of the states
    not two points    their place on it correlates with the sum of the text above 0.9 (its sign alone would give 0.8)
    one slow mode     at more than half of the points exactly one mode (eigenvalue of the step's Jacobian) has a time
                      constant ``1 / |log |lambda||`` that outlasts the longest text
    it integrates     the states' position on that line correlates with the sum of the words' weights so far, more than
                      in the same network untrained, on Fisher's scale

Each part is judged for LSTM, GRU and tanh network, seed by seed. A seed that has not learnt the task does not count
(`training.told`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import problems, study
from jaxseq._unroll import trace, unroll
from jaxseq.cells import Cell, gru, lstm, rnn
from jaxseq.experiments.base import Experiment, Found, Network, Row, above, fisher, unjudged
from jaxseq.experiments.training import FIRST_SEED, Learnt, at_once, final, learn, network, seeded, told
from jaxseq.notation import Array, Params
from jaxseq.problems import Batch, ModelParams, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS: dict[str, Cell] = {"lstm": lstm, "gru": gru, "rnn": rnn}
ON_A_LINE, EXTENDED, GRADED, MOST = 0.9, 0.5, 0.9, 0.5
"""Bounds: share of variance along the line, share of the states' spread covered, |correlation|, share of points."""


class Settings(NamedTuple):
    """Settings: longest text, texts read to find points, and training."""

    length: int = 40
    rows: int = 128
    hidden: int = 32
    steps: int = 2000
    batch: int = 32
    seeds: int = 10
    first: int = FIRST_SEED


class Line(NamedTuple):
    """The measurements of one network; rows of points that do not count are NaN.

    Fields:
      points: ``[M, 2]``, the points in their first two principal components.
      states: ``[T, B, 2]``, in the same components.
      share: share of the points' variance along the first component.
      extent: standard deviation of the points along it over that of the states.
      graded: |correlation| of their position along it with the sum of the text.
      one_slow: share of the points at which exactly one mode outlasts a text.
      slowest: ``[2]``, median time constants of the two slowest modes.
      tracks: |correlation| of the states' position along the line with the sum so far.
      number: number of points.
    """

    points: Array
    states: Array
    share: Array
    extent: Array
    graded: Array
    one_slow: Array
    slowest: Array
    tracks: Array
    number: Array


def line(cell: Cell, params: Params, batch: Batch, settings: Settings) -> Line:
    """Return the slow points of a network and their measurements; `params` are the cell's."""
    neutral = jnp.asarray([weight == 0 for weight in problems.VALENCES], batch.xs.dtype)
    held = neutral / neutral.sum()
    carry, seen = trace(cell, params, batch.xs, mask=batch.mask)
    settled, _ = unroll(cell, params, jnp.broadcast_to(held, (settings.length, *batch.xs.shape[1:])), carry)
    found = study.fixed_points(
        cell, params, batch.xs[:0], settled, x=held, count=settings.rows, most=settings.rows, descent=0, polish=0
    )
    states = jnp.concatenate(jax.tree.leaves(seen.carries), axis=-1)
    spread = jnp.sqrt(study.principal(states, 2, mask=batch.mask).variances.sum())
    counts = found.real & (jnp.sqrt(2 * found.speed) < spread / settings.length)
    axes = study.principal(found.states, 2, mask=counts)

    def placed(points: Array) -> Array:
        return (points - axes.mean) @ axes.axes.T

    along = placed(states)
    real = batch.mask
    mean = jnp.where(real, along[..., 0], 0).sum() / real.sum()
    deviation = jnp.sqrt((jnp.where(real, along[..., 0] - mean, 0) ** 2).sum() / real.sum())
    constants = 1 / jnp.maximum(jnp.abs(jnp.log(jnp.maximum(jnp.abs(found.eigenvalues), 1e-30))), 1e-6)
    constants = jnp.sort(constants, axis=-1)[:, ::-1]
    one = (constants > settings.length).sum(-1) == 1
    points = jnp.where(counts[:, None], placed(found.states), jnp.nan)
    sums = problems.balanced(batch)
    ends = placed(jnp.concatenate(jax.tree.leaves(settled), axis=-1))[None, :, :1]
    return Line(
        points, along, axes.shares[0], jnp.sqrt(axes.variances[0]) / deviation,
        jnp.abs(study.correlation(ends, sums[-1:])[0]),
        jnp.where(counts, one, 0).sum() / jnp.maximum(counts.sum(), 1),
        jnp.nanmedian(jnp.where(counts[:, None], constants[:, :2], jnp.nan), axis=0),
        jnp.abs(study.correlation(along, sums, batch.mask)[0]), counts.sum(),
    )  # fmt: skip


def untrained(cell: Cell, problem: Problem, settings: Settings) -> ModelParams:
    """Return the untrained networks of the seeds."""
    keys = seeded(settings.seeds, settings.first)
    return jax.vmap(lambda key: problems.init_params(key, cell, problem, settings.hidden))(keys)


def run(settings: Settings) -> Found:
    """Train every cell, and look for the line in trained and in untrained networks."""
    problem = problems.valence(settings.length)
    batch = problem.draw(jax.random.key(2**31), settings.rows)

    trained = dict(zip(CELLS, at_once(lambda name: learn(CELLS[name], problem, settings), CELLS), strict=True))
    every: dict[str, tuple[Learnt, Line, Line]] = {}
    for name, cell in CELLS.items():  # one at a time: see training.DECOMPOSING
        look = jax.jit(jax.vmap(lambda params, cell=cell: line(cell, params, batch, settings)))
        models = trained[name].params, untrained(cell, problem, settings)
        found, fresh = (jax.tree.map(np.asarray, look(model.cell)) for model in models)
        every[name] = trained[name], found, fresh
    rows = [row for name, found in every.items() for row in rows_of(name, *found, problem, settings)]
    networks: list[Network] = [network(name, CELLS[name], problem, found[0]) for name, found in every.items()]
    lines = {name: found for name, (_, found, _) in every.items()}
    return Found(tuple(rows), lambda figure: draw(figure, lines, np.asarray(batch.mask)), tuple(networks))


def rows_of(name: str, learnt: Learnt, found: Line, fresh: Line, problem: Problem, settings: Settings) -> list[Row]:
    """Return the parts of the claim for one cell."""
    losses = final(learnt.losses)
    tells = told(problem.baseline, losses) & (found.number > 2)
    judged = [
        above(f"{name}: share of the points' variance along a line", found.share, ON_A_LINE),
        above(f"{name}: spread of the points along it over that of the states", found.extent, EXTENDED),
        above(f"{name}: |correlation| of their place on it with the sum of the text", found.graded, GRADED),
        above(f"{name}: share of points with one mode slower than {settings.length} steps", found.one_slow, MOST),
        fisher(f"{name}: |correlation| of the place on it with the sum", found.tracks, "untrained", fresh.tracks),
    ]
    return [
        unjudged(f"{name}: final loss (knowing nothing: {problem.baseline:.3f})", losses),
        *[row.where(tells) for row in judged],
        unjudged(f"{name}, untrained: the same correlation", fresh.tracks),
        unjudged(f"{name}, untrained: share of the points' variance along a line", fresh.share),
        unjudged(f"{name}: time constant of the slowest mode", found.slowest[:, 0]),
        unjudged(f"{name}: time constant of the second", found.slowest[:, 1]),
        unjudged(f"{name}, untrained: time constant of the slowest mode", fresh.slowest[:, 0]),
        unjudged(f"{name}: slow points of {settings.rows} texts", found.number),
    ]


def draw(figure: Figure, lines: dict[str, Any], mask: np.ndarray) -> None:
    """Draw states and slow points of the first seed of each cell, in the points' principal components."""
    for ax, (name, found) in zip(figure.subplots(1, len(lines)), lines.items(), strict=True):
        states = found.states[0][mask]
        ax.plot(*states.T, ".", markersize=1, color="0.7", label="states")
        ax.plot(*found.points[0].T, "o", markersize=3, color="#d1495b", label="slow points")
        ax.set(xlabel="along the line", title=name)
        ax.legend(frameon=False, fontsize="small")
    figure.supylabel("across the line")


line_attractor = Experiment(
    "line-attractor",
    "Networks that classify by integrating evidence hold it on a line of slow points, along which one mode is slow: "
    "LSTM, GRU and tanh network alike.",
    'Maheswaranathan, Williams, Golub, Ganguli & Sussillo 2019, "Reverse engineering recurrent networks for sentiment '
    'classification reveals line attractor dynamics", arXiv:1906.10720',
    run, Settings(), Settings(length=20, rows=64, hidden=16, steps=1000, batch=32),
    "jaxseq study --cell gru --problem adding",
    "the source trains on datasets of reviews; here texts are 7 words at random, whose weights add up",
)  # fmt: skip
"""The experiment."""

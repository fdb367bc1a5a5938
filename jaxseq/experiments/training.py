"""Many networks trained at once: the shared code of the experiments that train."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq.cells import Cell
from jaxseq.experiments.base import Network
from jaxseq.notation import Array, Key, Params, Tree
from jaxseq.problems import ModelParams, Problem, Trained, descend, drawn_loss, init_params
from jaxseq.problems.fit import Init
from jaxseq.train import optimizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WORKERS = min(4, os.cpu_count() or 1)
"""Number of concurrent trainings."""
LAST = 0.1
"""Share of training, at the end, over which a final loss is averaged."""


def at_once(run: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return ``run`` of every item, several at a time, since most of a short training is compilation.

    `run` must do matrix decompositions through `one_by_one`.
    """
    if WORKERS == 1:
        return list(map(run, items))
    pool = ThreadPoolExecutor(WORKERS)  # XLA releases the interpreter's lock while it compiles and runs
    try:
        return list(pool.map(run, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C nothing new is started


DECOMPOSING = threading.Lock()
"""Held while a program with matrix decompositions runs.

jaxlib's LAPACK calls (QR, eigenvalues) hand a batch to XLA's thread pool and wait for it. A call that itself runs on a
thread of that pool blocks this thread. With two concurrent programs both threads of a pool of two may be blocked, each
waiting for work that no thread is left to do. A single program leaves a thread free, and programs without
decompositions never wait.
"""


def one_by_one(program: Callable[..., Tree], *args: Any) -> Tree:
    """Return ``program(*args)``, run by one thread at a time: for programs with matrix decompositions."""
    with DECOMPOSING:
        return jax.block_until_ready(program(*args))


def final(losses: Any) -> np.ndarray:
    """Return each network's mean loss over the last tenth of training, from ``losses [N, steps]``."""
    seen = np.asarray(losses, float)
    return seen[:, -max(1, round(LAST * seen.shape[1])) :].mean(1)


def smoothed(losses: Any, points: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Return steps ``[points]`` and the mean losses ``[N, points]`` between consecutive steps, for a curve."""
    seen = np.asarray(losses, float)
    ends = np.unique(np.linspace(0, seen.shape[1], points + 1)[1:].astype(int).clip(1))
    parts = np.split(seen, ends[:-1], axis=1)
    return ends, np.stack([part.mean(1) for part in parts], axis=1)


def draw_losses(ax: Axes, curves: Mapping[str, np.ndarray], baseline: float) -> None:
    """Draw losses ``[N, steps]`` by name: mean and range over the seeds, and the baseline dotted."""
    for name, losses in curves.items():
        steps, seen = smoothed(losses)
        (line,) = ax.plot(steps, seen.mean(0), label=name)
        ax.fill_between(steps, seen.min(0), seen.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
    ax.axhline(baseline, color="0.5", linestyle=":", linewidth=1)
    ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
    ax.legend(frameon=False, fontsize="small")
    ax.grid(alpha=0.3)


def draw_seeds(ax: Axes, at: float, values: np.ndarray, color: str | None = None) -> None:
    """Draw one dot per seed, side by side around position `at`."""
    ax.plot(at + np.linspace(-0.2, 0.2, len(values)), values, "o", markersize=4, color=color, alpha=0.7)


def side_by_side(
    loss: Callable[[Params, Key], Array], *, steps: int, clip: float = 1.0, snapshot_steps: tuple[int, ...] = ()
) -> Callable[[Tree, Array, Array], Trained]:
    """Return ``(starts, keys, rates) -> Trained``, which trains networks of any kind with Adam, all in one program.

    It is compiled once for each number of networks; `starts` are parameters with a leading axis for the networks.

    Args:
      loss: ``(params, key) -> loss`` of one step; it draws its data from the key, which it consumes.
      steps: the number of train steps.
      clip: largest global gradient norm.
      snapshot_steps: increasing numbers of steps after which the params are stored; 0 is before the first.
    """
    adam = optimizer("adam", 1.0, clip=clip)  # Adam's steps are proportional to its rate, which is applied below

    def one(params: Params, key: Key, rate: Array) -> Trained:
        rule = optax.chain(adam, optax.scale(rate))
        return descend(loss, params, key, rule, steps=steps, snapshot_steps=snapshot_steps)

    return jax.jit(jax.vmap(one))


def fit(starts: Tree, keys: Array, loss: Callable[[Params, Key], Array], *, rate: float, **options: Any) -> Trained:
    """Train networks of any kind, all at one learning rate; options are those of `side_by_side`."""
    return side_by_side(loss, **options)(starts, keys, jnp.full(keys.shape[0], rate, jnp.float32))


RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
"""The learning rates tried for every cell and variant."""
APART = 1000
"""Offset from a verdict's first seed to the first seed on which a rate is chosen; no verdict uses these seeds."""
CHOOSING = 3
"""Number of seeds on which a rate is chosen. A single seed's luck would affect all networks of a verdict."""
FIRST_SEED = 100
"""First seed of a verdict. Seeds below, and from 5000 on, were used to design the experiments."""


class Budget(Protocol):
    """The settings that experiments share."""

    @property
    def hidden(self) -> int: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def seeds(self) -> int: ...  # noqa: D102
    @property
    def first(self) -> int: ...  # noqa: D102


class Learnt(NamedTuple):
    """Networks of one cell, trained on one problem.

    Fields:
      params: the params, with a leading axis for the seeds.
      losses: ``[seeds, steps]``.
      rate: the learning rate.
    """

    params: ModelParams
    losses: Array
    rate: float


def learn(
    cell: Cell, problem: Problem, budget: Budget, *, init: Init | None = None, rate: float | None = None
) -> Learnt:
    """Train a cell on a problem, one network for each seed, at the learning rate that suits it.

    Without `rate`, networks of three separate seeds are first trained for as long at each of `RATES`, and the rate with
    the lowest median loss is chosen. Networks with the same seed see the same data, whatever the cell.
    """
    run = side_by_side(drawn_loss(cell, problem, budget.batch), steps=budget.steps)
    draw = jax.jit(jax.vmap(lambda key: init_params(key, cell, problem, budget.hidden, init)))

    def start(keys: Array) -> ModelParams:
        return one_by_one(draw, keys)  # orthogonal weights come from a QR decomposition

    if rate is None:
        tried = []
        for n in range(CHOOSING):
            keys = keys_of([APART + budget.first + n] * len(RATES))
            tried.append(final(run(start(keys), keys, jnp.asarray(RATES, jnp.float32)).losses))
        rate = RATES[int(np.argmin(np.median(np.nan_to_num(tried, nan=np.inf), axis=0)))]
    # as many at a time as there are rates, so one compiled program serves both
    groups = [seeded(min(len(RATES), budget.seeds - n), budget.first + n) for n in range(0, budget.seeds, len(RATES))]
    trained = [run(start(keys), keys, jnp.full(keys.shape[0], rate, jnp.float32)) for keys in groups]
    params, losses = jax.tree.map(lambda *parts: jnp.concatenate(parts), *[(t.params, t.losses) for t in trained])
    return Learnt(params, losses, rate)


def network(name: str, cell: Cell, problem: Problem, learnt: Learnt) -> Network:
    """Return the first network of `learn`, for a study page."""
    return Network(name, cell, problem, jax.tree.map(lambda a: a[0], learnt.params), learnt.losses[0])


SOMETHING = 0.9
"""A network has learnt something if its loss is below this share of the baseline."""


def told(baseline: float, *losses: Any) -> np.ndarray:
    """Return bool ``[seeds]``: whether any of the networks has learnt something, so that they can be compared.

    If none has, the budget was too small to compare them.
    """
    return np.min(np.nan_to_num(np.stack([np.asarray(one, float) for one in losses]), nan=np.inf), axis=0) < (
        SOMETHING * baseline
    )


def seeded(seeds: int, first: int = FIRST_SEED) -> Array:
    """Return a key for each of `seeds` seeds from `first` on, ``[seeds]``."""
    return keys_of(range(first, first + seeds))


def keys_of(seeds: Iterable[int]) -> Array:
    """Return the keys of some seeds."""
    return jax.vmap(jax.random.key)(jnp.asarray(list(seeds)))

"""Many networks trained at once: what the experiments that train have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq.cells import Cell, lstm
from jaxseq.experiments.base import Network
from jaxseq.notation import Array, Key, Params, Tree
from jaxseq.problems.fit import descend, drawn_loss, first_model
from jaxseq.problems.tasks import Task
from jaxseq.train import optimizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WORKERS = min(4, os.cpu_count() or 1)
"""Trainings at a time."""
LAST = 0.1
"""Share of training, at its end, over which a final loss is averaged."""


def at_once(run: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return ``run`` of every item, two or more at a time: most of a short training is compilation."""
    if WORKERS == 1:
        return list(map(run, items))
    pool = ThreadPoolExecutor(WORKERS)  # XLA lets go of the interpreter while it compiles and runs
    try:
        return list(pool.map(run, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C nothing new is begun


def final(losses: Any) -> np.ndarray:
    """Return each network's mean loss over the last tenth of training, of ``losses [N, steps]``."""
    seen = np.asarray(losses, float)
    return seen[:, -max(1, round(LAST * seen.shape[1])) :].mean(1)


def smoothed(losses: Any, points: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Return steps ``[points]`` and the mean loss ``[N, points]`` up to each since the one before, for a curve."""
    seen = np.asarray(losses, float)
    ends = np.unique(np.linspace(0, seen.shape[1], points + 1)[1:].astype(int).clip(1))
    parts = np.split(seen, ends[:-1], axis=1)
    return ends, np.stack([part.mean(1) for part in parts], axis=1)


def draw_losses(ax: Axes, curves: Mapping[str, np.ndarray], baseline: float) -> None:
    """Draw the loss of each network over training: the mean over seeds, all of them as a band, knowing nothing dotted.

    `curves` are ``[N, steps]`` by name.
    """
    for name, losses in curves.items():
        steps, seen = smoothed(losses)
        (line,) = ax.plot(steps, seen.mean(0), label=name)
        ax.fill_between(steps, seen.min(0), seen.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
    ax.axhline(baseline, color="0.5", linestyle=":", linewidth=1)
    ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
    ax.legend(frameon=False, fontsize="small")
    ax.grid(alpha=0.3)


class Fitted(NamedTuple):
    """Networks trained together.

    Fields:
      params: with a leading axis of networks.
      losses: ``[N, steps]``.
      kept: the params after each of the steps that were to be kept, ``[N, K, ...]``.
      rates: the learning rate of each, ``[N]``.
    """

    params: Tree
    losses: Array
    kept: Tree
    rates: Array


def fitter(
    loss: Callable[[Params, Key], Array], *, steps: int, clip: float = 1.0, keep: tuple[int, ...] = ()
) -> Callable[[Tree, Array, Array], Fitted]:
    """Return ``(starts, keys, rates) -> Fitted``, which trains networks of any kind side by side with Adam.

    It is compiled once for each number of networks; `starts` are parameters with a leading axis of them.

    Args:
      loss: ``(params, key) -> loss`` of one step; it draws its data from the key, which it consumes.
      steps: in all.
      clip: largest global gradient norm.
      keep: numbers of steps after which the params are kept, in rising order; 0 is before the first.
    """
    adam = optimizer("adam", 1.0, clip=clip)  # its steps are proportional to its rate, which follows below

    def one(params: Params, key: Key, rate: Array) -> Fitted:
        return Fitted(*descend(loss, params, key, optax.chain(adam, optax.scale(rate)), steps=steps, keep=keep), rate)

    return jax.jit(jax.vmap(one))


def fit(starts: Tree, keys: Array, loss: Callable[[Params, Key], Array], *, rate: float, **options: Any) -> Fitted:
    """Train networks of any kind side by side, all at one learning rate; options are those of `fitter`."""
    return fitter(loss, **options)(starts, keys, jnp.full(keys.shape[0], rate, jnp.float32))


RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
"""The learning rates that every cell and every variant may choose from."""
APART = 1000
"""The seed on which a rate is chosen; no verdict looks at it."""


def learn(
    cell: Cell, task: Task, *, hidden: int, steps: int, seeds: int, batch: int,
    init: Callable[[Key, int, int], Params] | None = None, rate: float | None = None,
) -> Fitted:  # fmt: skip
    """Train a cell on a task, a network a seed, at the learning rate that suits it; params are a `Model`.

    Without `rate`, one network of the seed `APART` is first trained for as long at each of `RATES`; the rate that
    leaves the lowest loss is taken. Networks of one seed see the same data, whatever the cell.
    """
    run = fitter(drawn_loss(cell, task, batch), steps=steps)
    start = jax.jit(jax.vmap(lambda key: first_model(key, cell, task, hidden, init)))
    if rate is None:
        keys = seeded_alike(len(RATES), APART)
        tried = final(run(start(keys), keys, jnp.asarray(RATES, jnp.float32)).losses)
        rate = RATES[int(np.argmin(np.nan_to_num(tried, nan=np.inf)))]
    keys = seeded(seeds)
    return run(start(keys), keys, jnp.full(seeds, rate, jnp.float32))


def network(name: str, cell: Cell, task: Task, trained: Fitted) -> Network:
    """Return the first of the networks of `learn`, to be looked at."""
    return Network(name, cell, task, jax.tree.map(lambda a: a[0], trained.params), trained.losses[0])


SOMETHING = 0.9
"""The share of what knowing nothing costs below which something was learnt."""


def told(baseline: float, *losses: Any) -> np.ndarray:
    """Return bool ``[seeds]``: whether one of the networks has learnt something, so that comparing them tells anything.

    Where none has, the budget was too small to say which comes further.
    """
    return np.min(np.nan_to_num(np.stack([np.asarray(one, float) for one in losses]), nan=np.inf), axis=0) < (
        SOMETHING * baseline
    )


def retaining(cell: Cell, bias: float, **options: Any) -> Callable[[Key, int, int], Params]:
    """Return the init of an LSTM or a GRU whose gate that retains starts with this bias (f of i f g o, z of r z n).

    Options are those of the cell's init.
    """
    options = {"forget_bias": 0.0, **options} if cell is lstm else options

    def init(key: Key, input_size: int, hidden_size: int) -> Params:
        params = cell.init(key, input_size, hidden_size, **options)
        return params._replace(b=params.b.at[hidden_size : 2 * hidden_size].add(bias))

    return init


def seeded(seeds: int, seed: int = 0) -> Array:
    """Return a key for each seed, ``[seeds]``."""
    return jax.vmap(jax.random.key)(jnp.arange(seed, seed + seeds))


def seeded_alike(count: int, seed: int) -> Array:
    """Return the key of one seed, `count` times."""
    return jax.vmap(jax.random.key)(jnp.full(count, seed))

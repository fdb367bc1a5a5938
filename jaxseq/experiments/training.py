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
from jax import lax

from jaxseq.notation import Array, Key, Params, Tree
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


def seeds_of(count: int) -> tuple[int, ...]:
    """Return the seeds 0, 1, 2, ..."""
    return tuple(range(count))


def final(losses: Any) -> np.ndarray:
    """Return each network's mean loss over the last tenth of training, of ``losses [N, steps]``."""
    seen = np.asarray(losses, float)
    return seen[:, -max(1, round(LAST * seen.shape[1])) :].mean(1)


def smoothed(losses: Any, points: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Return steps ``[points]`` and the mean loss ``[N, points]`` up to each since the one before, for a curve."""
    seen = np.asarray(losses, float)
    ends = np.unique(np.linspace(0, seen.shape[1], points + 1).astype(int)[1:])
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
    """

    params: Tree
    losses: Array
    kept: Tree


def fit(
    starts: Tree,
    keys: Array,
    loss: Callable[[Params, Key], Array],
    *,
    steps: int,
    rate: float = 3e-3,
    clip: float = 1.0,
    keep: tuple[int, ...] = (),
) -> Fitted:
    """Train networks of any kind side by side with Adam; `jaxseq.study.compare` does it for a cell and a task.

    Args:
      starts: parameters with a leading axis of networks.
      keys: one a network.
      loss: ``(params, key) -> loss`` of one step; it draws its data from the key, which it consumes.
      steps: in all.
      rate: Adam's learning rate.
      clip: largest global gradient norm.
      keep: numbers of steps after which the params are kept, in rising order; 0 is before the first.
    """
    adam = optimizer("adam", rate, clip=clip)
    after = jnp.asarray(keep, jnp.int32)

    def one(params: Params, key: Key) -> Fitted:
        kept = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(keep), *a.shape)), params)

        def step(state: tuple[Params, Any, Tree], n: Array) -> tuple[tuple[Params, Any, Tree], Array]:
            params, moments, kept = state
            value, grads = jax.value_and_grad(loss)(params, jax.random.fold_in(key, n))
            updates, moments = adam.update(grads, moments, params)
            params = optax.apply_updates(params, updates)
            if keep:  # what is due next is overwritten until it is
                slot = jnp.searchsorted(after, n + 1)
                kept = jax.tree.map(lambda a, p: a.at[slot].set(p, mode="drop"), kept, params)
            return (params, moments, kept), value

        (params, _, kept), losses = lax.scan(step, (params, adam.init(params), kept), jnp.arange(steps))
        return Fitted(params, losses, kept)

    return jax.jit(jax.vmap(one))(starts, keys)


def seeded(seeds: int, seed: int = 0) -> Array:
    """Return a key for each seed, ``[seeds]``."""
    return jax.vmap(jax.random.key)(jnp.arange(seed, seed + seeds))

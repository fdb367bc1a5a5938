"""Replay a training: params stored at steps even on a logarithmic scale, since most happens early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Params, Tree
from jaxseq.problems import Problem, train


def log_spaced(steps: int, count: int) -> tuple[int, ...]:
    """Return about `count` numbers of steps from 0 to `steps`: 0, 1 and on, each further by the same factor.

    Example:
      >>> log_spaced(1000, 8)
      (0, 1, 3, 10, 32, 100, 316, 1000)
    """
    if steps < 1 or count < 2:
        raise InputError(f"log_spaced: steps must be at least 1 and count at least 2; got {steps} and {count}")
    if count == 2:
        return (0, steps)
    places = np.rint(np.geomspace(1, steps, count - 1)).astype(int)
    # early places round to the same step: each is kept once
    return (0, *dict.fromkeys(places.tolist()))


class Replay(NamedTuple):
    """A training that can be replayed.

    Fields:
      steps: ``[K]``, the numbers of steps after which params were stored.
      params: the params then, every array with a leading axis K.
      losses: ``[steps]``, of every step.
    """

    steps: np.ndarray
    params: Params
    losses: Array


def replay(
    cell: Cell, problem: Problem, *, hidden: int, steps: int, count: int = 20, seed: int = 0, **options: Any
) -> Replay:
    """Train as `problems.train` does, and store the params of about `count` steps; memory is that many copies of them.

    Example:
      >>> from jaxseq import problems
      >>> from jaxseq.cells import gru
      >>> seen = replay(gru, problems.reverse(2), hidden=4, steps=10, count=4)
      >>> seen.steps.tolist(), seen.params.cell.U.shape
      ([0, 1, 3, 10], (4, 4, 12))
    """
    at = log_spaced(steps, count)
    trained = train(cell, problem, hidden=hidden, steps=steps, seed=seed, snapshot_steps=at, **options)
    return Replay(np.array(at), trained.snapshots, trained.losses)


def along(look: Callable[[Params], Tree], snapshots: Params) -> Tree:
    """Return ``look(params)`` for each of the stored params, in order; every array gets a leading axis K.

    Example:
      >>> snapshots = {"w": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
      >>> along(lambda params: params["w"].sum(), snapshots).tolist()
      [3.0, 7.0]
    """
    # one snapshot at a time: memory is that of a single run
    return lax.map(look, snapshots)


class Recording(NamedTuple):
    """The snapshots of a `recorder`: numbers of steps, and the params after each, as NumPy arrays."""

    steps: list[int]
    params: list[Params]

    def stacked(self) -> Params:
        """Return the params with a leading axis K, as `along` takes them."""
        return jax.tree.map(lambda *a: jnp.stack(a), *self.params)


def recorder(run: Callable[..., tuple], at: tuple[int, ...]) -> tuple[Callable[..., tuple], Recording]:
    """Return a `run` for `jaxseq.train.fit` that stores params on its way, and the `Recording` that it fills.

    A chunk of steps is one program, so that params are stored at the end of the first chunk that reaches each step of
    `at`; for step 0 they are those of the first call. Give chunks of one step where it must be exact.

    Args:
      run: ``(state, bucket, rows) -> (state, Steps)``, as fit takes it.
      at: numbers of steps, from `log_spaced`.
    """
    recording, due = Recording([], []), sorted(set(at))

    def record(state: Any) -> None:
        step = int(state.step)
        if due and due[0] <= step:
            recording.steps.append(step)
            # copied to the host: the next chunk may be given these buffers to overwrite
            recording.params.append(jax.tree.map(np.array, state.params))
        # one chunk may reach several steps: they share a snapshot
        while due and due[0] <= step:
            due.pop(0)

    def recorded(state: Any, *rest: Any) -> tuple:
        record(state)
        state, *found = run(state, *rest)
        record(state)
        return state, *found

    return recorded, recording

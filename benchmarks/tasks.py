"""Two tasks that need memory, short enough for every cell to learn in seconds, and the training of one cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxseq import unroll
from jaxseq.cells import Cell, affine
from jaxseq.initializers import glorot

CLIP = 1.0
"""The largest global norm of the gradient."""
HELD_OUT = 4096
"""The number of sequences, unseen in training, over which the final loss is the mean."""


class Task(NamedTuple):
    """A task whose sequences are newly drawn at each step.

    Fields:
      name: of the task.
      sample: ``(key, batch) -> (xs [T, B, D], target)``.
      loss: ``(predictions [T, B, outputs], target) -> mean loss``.
      outputs: of the head.
      baseline: the loss without a memory.
    """

    name: str
    sample: Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    outputs: int
    baseline: float


def adding(T: int) -> Task:
    """Return the adding problem: each of T steps brings a number in [0, 1) and a mark; add the two marked numbers.

    One mark is in each half. A third input is always 1, for cells without a bias. The loss is the squared error after
    the last step; an output that is always 1 has the variance as its loss, 1/6.

    Reference: Hochreiter & Schmidhuber 1997, "Long short-term memory", experiment 4, with marks of 0 and 1 as in later
    work.
    """

    def sample(key: jax.Array, batch: int) -> tuple[jax.Array, jax.Array]:
        for_numbers, for_first, for_second = jax.random.split(key, 3)
        numbers = jax.random.uniform(for_numbers, (T, batch), jnp.float32)
        first = jax.random.randint(for_first, (batch,), 0, T // 2)
        second = jax.random.randint(for_second, (batch,), T // 2, T)
        marks = sum(jax.nn.one_hot(at, T, dtype=jnp.float32) for at in (first, second)).T
        return jnp.stack([numbers, marks, jnp.ones_like(marks)], -1), (numbers * marks).sum(0)

    def loss(predictions: jax.Array, target: jax.Array) -> jax.Array:
        return ((predictions[-1, :, 0] - target) ** 2).mean()

    return Task("adding", sample, loss, 1, 1 / 6)


def copying(symbols: int, length: int, wait: int) -> Task:
    """Return the copy problem: see some symbols, wait, and output them in order at a signal.

    The inputs are one-hot: the symbols, a blank, and a mark that asks, for as many steps as there were symbols. The
    loss is the mean cross entropy at these last steps, in nats; that of a guess is ``log(symbols)``.

    Reference: Hochreiter & Schmidhuber 1997, after which Arjovsky, Shah & Bengio 2016, "Unitary evolution recurrent
    neural networks", arXiv:1511.06464, section 5.1.
    """

    def sample(key: jax.Array, batch: int) -> tuple[jax.Array, jax.Array]:
        seen = jax.random.randint(key, (length, batch), 0, symbols)
        blank, asked = jnp.full((wait, batch), symbols), jnp.full((length, batch), symbols + 1)
        return jax.nn.one_hot(jnp.concatenate([seen, blank, asked]), symbols + 2, dtype=jnp.float32), seen

    def loss(predictions: jax.Array, target: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(predictions[-length:], target).mean()

    return Task("copy", sample, loss, symbols, math.log(symbols))


class Head(NamedTuple):
    """An affine map of a cell's outputs: ``W [H, outputs]``, ``b [outputs]``."""

    W: jax.Array
    b: jax.Array


def outputs(cell: Cell, params: Any, xs: jax.Array) -> jax.Array:
    """Return the outputs ``[T, B, H]`` for ``xs [T, B, D]``: time is regular, and a picture has one place."""
    places = (1,) * cell.spatial
    outs = unroll(cell, params, cell.lift(xs.reshape(*xs.shape[:2], *places, xs.shape[2])))[1]
    return outs.reshape(*xs.shape[:2], outs.shape[-1])


def is_affine(cell: Cell) -> bool:
    """Whether a cell's outputs are an affine function of all its inputs: such a cell cannot multiply two of them.

    Tested between two inputs, with params away from `init`, where a nonlinearity may still be linear.
    """
    leaves, tree = jax.tree.flatten(cell.init(jax.random.key(0), 2, 8))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [a + 0.3 * jax.random.normal(k, a.shape, a.dtype) for a, k in zip(leaves, keys, strict=True)]
    a, b = 3 * jax.random.normal(jax.random.key(2), (2, 5, 4, 2), jnp.float32)
    run = jax.jit(lambda xs: outputs(cell, jax.tree.unflatten(tree, moved), xs))
    middle, between = run((a + b) / 2), (run(a) + run(b)) / 2
    return bool(jnp.abs(middle - between).max() <= 1e-4 * jnp.abs(between).max())


def trainer(cell: Cell, task: Task, *, hidden: int, batch: int, steps: int) -> Callable[[float], Any]:
    """Return a jitted function from the learning rate to ``(loss, params)`` after `steps` steps of Adam.

    The loss is that of sequences held out, the params are the cell's.

    The rate falls linearly to 0, and the gradient is clipped. The cell starts as its own `init` says.
    """
    D = task.sample(jax.random.key(0), 1)[0].shape[-1]
    params = cell.init(jax.random.key(1), D, hidden)
    H = jax.eval_shape(lambda: outputs(cell, params, jnp.zeros((1, 1, D), jnp.float32))).shape[-1]
    head = Head(glorot(jax.random.key(2), (H, task.outputs), jnp.float32), jnp.zeros(task.outputs, jnp.float32))
    start = params, head
    optimise = optax.chain(optax.clip_by_global_norm(CLIP), optax.scale_by_adam())

    def loss(both: Any, key: jax.Array, batch: int) -> jax.Array:
        xs, target = task.sample(key, batch)
        params, head = both
        return task.loss(affine(outputs(cell, params, xs), *head), target)

    @jax.jit
    def train(rate: float) -> tuple[jax.Array, Any]:
        def step(state: Any, at: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
            (both, moments), (key, rate) = state, at
            updates, moments = optimise.update(jax.grad(loss)(both, key, batch), moments)
            return (jax.tree.map(lambda a, u: a - rate * u, both, updates), moments), None

        keys = jax.random.split(jax.random.key(3), steps)
        rates = rate * (1 - jnp.arange(steps, dtype=jnp.float32) / steps)
        (both, _), _ = lax.scan(step, (start, optimise.init(start)), (keys, rates))
        return loss(both, jax.random.key(4), HELD_OUT), both[0]

    return train

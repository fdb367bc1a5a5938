"""Cells side by side: trained on the same task, data and seed, with as many parameters each; and the small trainer.

All steps of a training are one jitted loop that draws its data as it goes; several seeds run in it together. A cell's
output is read out by one affine map.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxseq._unroll import unroll
from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Key, Params
from jaxseq.problems.tasks import Batch, Task
from jaxseq.seq2seq import Affine
from jaxseq.train import optimizer


class Model(NamedTuple):
    """Params of a cell and of what reads its output.

    Fields:
      cell: the cell's.
      read: ``outputs = outs W + b``.
    """

    cell: Params
    read: Affine


class Trained(NamedTuple):
    """What a training leaves. Trained with several seeds, every array has a leading axis for them.

    Fields:
      params: a `Model`.
      losses: ``[steps]``, of each step's batch before the step was taken. NaN from where a training broke down.
      kept: the `Model` after each of the steps that were to be kept, ``[K, ...]``.
    """

    params: Model
    losses: Array
    kept: Model


def train(
    cell: Cell,
    task: Task,
    *,
    hidden: int,
    steps: int,
    seed: int | Sequence[int] = 0,
    learning_rate: float = 3e-3,
    batch: int = 32,
    clip: float = 1.0,
    init: Callable[[Key, int, int], Params] | None = None,
    keep: tuple[int, ...] = (),
) -> Trained:
    """Train a cell on a task with Adam, each step on rows drawn anew.

    Args:
      cell: any Cell that works on sequences of arrays ``[T, B, D]``.
      task: from `jaxseq.problems.tasks`.
      hidden: H.
      steps: in all.
      seed: of weights and data; two cells of one seed see the same data. With several, all are trained together and
        every array that is returned has a leading axis for them.
      learning_rate: of Adam.
      batch: rows a step.
      clip: the largest norm of a gradient; longer ones are shortened to it. 0 leaves them.
      init: ``(key, input_size, hidden_size) -> params`` in place of the cell's own.
      keep: numbers of steps after which the params are kept, in rising order; 0 is before the first.

    Example:
      >>> from jaxseq.cells import gru
      >>> from jaxseq.problems import tasks
      >>> trained = train(gru, tasks.reverse(2, symbols=2), hidden=4, steps=3, seed=(0, 1))
      >>> trained.losses.shape, trained.params.cell.U.shape
      ((2, 3), (2, 4, 12))
    """
    if steps < 1 or batch < 1 or hidden < 1:
        raise InputError(f"train: steps, batch and hidden must be at least 1; got {steps}, {batch} and {hidden}")
    if cell.spatial:
        raise InputError(f"train: {cell.name} works on pictures; the tasks are sequences of vectors")
    if list(keep) != sorted(set(keep)) or any(not 0 <= k <= steps for k in keep):
        raise InputError(f"train: keep must be rising numbers of steps from 0 to {steps}; got {keep}")
    step = _optimizer(learning_rate, clip)
    seeds = jnp.asarray(seed, jnp.uint32)
    if seeds.ndim > 1 or seeds.size == 0:
        raise InputError(f"train: seed must be a number or several in a row; got {seed!r}")
    return _train(cell, task, step, hidden, steps, batch, init or cell.init, tuple(keep), seeds)


@functools.cache  # equal settings are the same value, so that what is compiled is found again
def _optimizer(learning_rate: float, clip: float) -> optax.GradientTransformation:
    return optimizer("adam", learning_rate, clip=clip)


@functools.partial(jax.jit, static_argnums=range(8))
def _train(
    cell: Cell,
    task: Task,
    step: optax.GradientTransformation,
    hidden: int,
    steps: int,
    batch: int,
    init: Callable,
    keep: tuple[int, ...],
    seeds: Array,
) -> Trained:
    def one(seed: Array) -> Trained:
        of_params, of_data = jax.random.split(jax.random.key(seed))
        params = first_model(of_params, cell, task, hidden, init)
        return descend(drawn_loss(cell, task, batch), params, of_data, step, steps=steps, keep=keep)

    return jax.vmap(one)(seeds) if seeds.ndim else one(seeds)


def drawn_loss(cell: Cell, task: Task, batch: int) -> Callable[[Model, Key], Array]:
    """Return the loss of a `Model` on rows drawn anew: ``(model, key) -> []``, which consumes the key."""

    def loss(model: Model, key: Key) -> Array:
        data = task.draw(key, batch)
        return task.loss(outputs(cell, model, data), data)

    return loss


def descend(
    loss: Callable[[Params, Key], Array], params: Params, key: Key, step: optax.GradientTransformation, *,
    steps: int, keep: tuple[int, ...] = (),
) -> Trained:  # fmt: skip
    """Train parameters of any kind in one loop, to be compiled by the caller; `Trained` has the params' own structure.

    Args:
      loss: ``(params, key) -> []`` of one step; it draws its data from the key, which it consumes.
      params: to start from.
      key: of the data; consumed.
      step: the optimizer.
      steps: in all.
      keep: numbers of steps after which the params are kept, in rising order; 0 is before the first.
    """
    kept = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(keep), *a.shape)), params)
    after = jnp.asarray(keep, jnp.int32)

    def update(state: tuple, at: Array) -> tuple[tuple, Array]:
        params, opt_state, kept = state
        value, grads = jax.value_and_grad(loss)(params, jax.random.fold_in(key, at))
        updates, opt_state = step.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        if keep:  # what is due next is overwritten until it is
            slot = jnp.searchsorted(after, at + 1)  # past the last one, nothing is written
            kept = jax.tree.map(lambda a, p: a.at[slot].set(p, mode="drop"), kept, params)
        return (params, opt_state, kept), value

    (params, _, kept), losses = lax.scan(update, (params, step.init(params), kept), jnp.arange(steps, dtype=jnp.int32))
    return Trained(params, losses, kept)


def first_model(
    key: Key, cell: Cell, task: Task, hidden: int, init: Callable[[Key, int, int], Params] | None = None
) -> Model:
    """Return the `Model` that training starts from. Consumes `key`."""
    of_cell, of_read = jax.random.split(key)
    params = (init or cell.init)(of_cell, task.input_size, hidden)
    x = jnp.zeros((1, 1, task.input_size), jax.tree.leaves(params)[0].dtype)
    out = jax.eval_shape(lambda: unroll(cell, params, cell.lift(x))[1])
    return Model(params, Affine.init(of_read, out.shape[-1], task.output_size, x.dtype))


def outputs(cell: Cell, params: Model, batch: Batch) -> Array:
    """Return what the model says to a batch, ``[T, B, O]``."""
    return params.read(unroll(cell, params.cell, cell.lift(batch.xs), mask=batch.mask)[1])


def loss_of(task: Task, read: Affine, batch: Batch) -> Callable[[Carry, Array], Array]:
    """Return the loss as a function of what `unroll` returns, ``(carry, outs) -> []``: what the study functions take.

    Example:
      >>> from jaxseq.cells import gru
      >>> from jaxseq.problems import tasks
      >>> task = tasks.adding(6)
      >>> model, batch = first_model(jax.random.key(0), gru, task, 4), task.draw(jax.random.key(1), 2)
      >>> loss = loss_of(task, model.read, batch)
      >>> found = loss(*unroll(gru, model.cell, batch.xs))
      >>> bool(jnp.allclose(found, task.loss(outputs(gru, model, batch), batch)))
      True
    """
    return lambda carry, outs: task.loss(read(outs), batch)


def losses_of(task: Task, read: Affine, batch: Batch) -> Callable[[Carry, Array], Array]:
    """Return the loss of each step, ``(carry, outs) -> [T, B]``, as shares of the whole: they sum to `loss_of`."""

    def shares(carry: Carry, outs: Array) -> Array:
        losses = task.losses(read(outs), batch.targets)
        scored = jnp.where(batch.scored, losses, jnp.zeros_like(losses))
        return scored / jnp.maximum(batch.scored.sum(), 1).astype(losses.dtype)

    return shares


class Scores(NamedTuple):
    """How well a model does on rows that it has not seen.

    Fields:
      loss: mean over the scored steps.
      accuracy: share of the scored steps that are right.
      solved: share of the rows in which every scored step is right.
    """

    loss: Array
    accuracy: Array
    solved: Array


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="rows")
def evaluate(cell: Cell, task: Task, params: Model, *, seed: Any = 0, rows: int = 256) -> Scores:
    """Return the scores of a model; the task may be of other sizes than the one it was trained on.

    Its rows are drawn apart from those of any training. For several seeds: ``jax.vmap(lambda p: evaluate(cell, task,
    p))(trained.params)``.
    """
    batch = task.draw(jax.random.fold_in(jax.random.key(seed), 2**32 - 1), rows)
    said = outputs(cell, params, batch)
    solved = task.solved(said, batch).astype(said.dtype)
    return Scores(task.loss(said, batch), task.accuracy(said, batch), solved.mean())


def parameters(cell: Cell, task: Task, hidden: int) -> int:
    """Return how many numbers are trained in a model of that size, the readout's included."""
    shapes = jax.eval_shape(lambda: first_model(jax.random.key(0), cell, task, hidden))
    return sum(a.size for a in jax.tree.leaves(shapes))


def matched_hidden(cell: Cell, task: Task, count: int) -> int:
    """Return the H with which a model has about `count` parameters, as near as whole units come.

    Example:
      >>> from jaxseq.cells import lstm, rnn
      >>> from jaxseq.problems import tasks
      >>> task = tasks.copy(5)
      >>> H = matched_hidden(rnn, task, parameters(lstm, task, 32))
      >>> H, parameters(lstm, task, 32), parameters(rnn, task, H)
      (67, 5768, 5770)
    """
    low, high = 1, 2  # what H = low has is at most count, or low is 1
    while parameters(cell, task, high) <= count:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(cell, task, middle) <= count else (low, middle)
    return min((low, high), key=lambda H: abs(parameters(cell, task, H) - count))


class Compared(NamedTuple):
    """One cell of a comparison.

    Fields:
      hidden: H.
      parameters: how many numbers were trained.
      trained: of all seeds together, a leading axis for them.
      scores: of each seed, ``[seeds]``.
    """

    hidden: int
    parameters: int
    trained: Trained
    scores: Scores


def compare(
    cells: Mapping[str, Cell],
    task: Task,
    *,
    hidden: int,
    steps: int,
    seed: Sequence[int] = (0,),
    inits: Mapping[str, Callable[[Key, int, int], Params]] | None = None,
    **options: Any,
) -> dict[str, Compared]:
    """Train several cells on the same task, data and seeds, with about as many parameters each.

    Args:
      cells: by the names that the result has.
      task: from `jaxseq.problems.tasks`.
      hidden: H of the first cell; the others get the sizes whose numbers of parameters are nearest to its.
      steps: of each training.
      seed: one or several.
      inits: ``(key, input_size, hidden_size) -> params`` in place of a cell's own, by the cell's name.
      options: of `train`.

    Example:
      >>> from jaxseq.cells import lstm, rnn
      >>> from jaxseq.problems import tasks
      >>> found = compare({"lstm": lstm, "rnn": rnn}, tasks.reverse(2), hidden=8, steps=2)
      >>> {name: (one.hidden, one.parameters) for name, one in found.items()}
      {'lstm': (8, 648), 'rnn': (18, 656)}
    """
    seeds = tuple(seed)
    found: dict[str, Compared] = {}
    count = None
    for name, cell in cells.items():
        H = hidden if count is None else matched_hidden(cell, task, count)
        size = parameters(cell, task, H)
        count = size if count is None else count
        init = (inits or {}).get(name, cell.init)
        trained = train(cell, task, hidden=H, steps=steps, seed=seeds, init=init, **options)
        scores = jax.vmap(lambda p, cell=cell: evaluate(cell, task, p))(trained.params)
        found[name] = Compared(H, size, trained, scores)
    return found

"""The trainer of small problems: all steps in one jitted loop that draws its data as it goes.

`descend` is the loop, for any parameters and loss. `train` runs it for a cell with one affine readout; several seeds
run together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxseq._unroll import unroll
from jaxseq.affine import Affine
from jaxseq.cells import Cell
from jaxseq.cells._checks import params_dtype
from jaxseq.cells._init import check_sizes
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Key, Params
from jaxseq.problems._base import Batch, Problem
from jaxseq.train import optimizer

Init = Callable[[Key, int, int], Params]
"""``(key, input_size, hidden_size) -> params`` of a cell."""


class ModelParams(NamedTuple):
    """Parameters of a cell and of the layer that reads its output.

    Fields:
      cell: the cell's parameters.
      readout: the layer ``outputs = outs W + b``.
    """

    cell: Params
    readout: Affine


class Trained(NamedTuple):
    """The result of a training. With several seeds every array has a leading axis for them.

    Fields:
      params: the params after the last step.
      losses: ``[steps]``, of each step's batch before the step was taken; NaN once training has diverged.
      snapshots: the params after each of the snapshot steps, ``[K, ...]``.
    """

    params: Params
    losses: Array
    snapshots: Params


def train(
    cell: Cell,
    problem: Problem,
    *,
    hidden: int,
    steps: int,
    seed: int | Sequence[int] = 0,
    learning_rate: float = 3e-3,
    batch: int = 32,
    clip: float = 1.0,
    init: Init | None = None,
    snapshot_steps: tuple[int, ...] = (),
) -> Trained:
    """Train a cell on a problem with Adam, drawing new rows at each step; params are `ModelParams`.

    Args:
      cell: any Cell that works on sequences of vectors.
      problem: such as ``copy(30)``.
      hidden: H.
      steps: the number of train steps.
      seed: seed of weights and data; two cells with the same seed see the same data. Several seeds are trained
        together, and every returned array then has a leading axis for them.
      learning_rate: Adam's learning rate.
      batch: rows in a step.
      clip: the largest global gradient norm; 0 for no clipping.
      init: replaces the cell's own.
      snapshot_steps: increasing numbers of steps after which the params are stored; 0 is before the first.

    Raises:
      InputError: if a setting is out of range, or the cell works on pictures.

    Example:
      >>> from jaxseq import problems
      >>> from jaxseq.cells import gru
      >>> trained = problems.train(gru, problems.reverse(2, symbols=2), hidden=4, steps=3, seed=(0, 1))
      >>> trained.losses.shape, trained.params.cell.U.shape
      ((2, 3), (2, 4, 12))
    """
    check_sizes("train", steps=steps, batch=batch, hidden=hidden)
    if cell.spatial:
        raise InputError(f"train: {cell.name} works on pictures; the problems are sequences of vectors")
    if list(snapshot_steps) != sorted(set(snapshot_steps)) or any(not 0 <= k <= steps for k in snapshot_steps):
        raise InputError(
            f"train: snapshot_steps must be rising numbers of steps from 0 to {steps}; got {snapshot_steps}"
        )
    adam = _adam(learning_rate, clip)
    seeds = jnp.asarray(seed, jnp.uint32)
    if seeds.ndim > 1 or seeds.size == 0:
        raise InputError(f"train: seed must be a number or several in a row; got {seed!r}")
    return _train(cell, problem, adam, hidden, steps, batch, init or cell.init, tuple(snapshot_steps), seeds)


@functools.cache  # equal settings give the same value, so its compiled program is found again
def _adam(learning_rate: float, clip: float) -> optax.GradientTransformation:
    return optimizer("adam", learning_rate, clip=clip)


@functools.partial(jax.jit, static_argnums=range(8))
def _train(
    cell: Cell,
    problem: Problem,
    rule: optax.GradientTransformation,
    hidden: int,
    steps: int,
    batch: int,
    init: Init,
    snapshot_steps: tuple[int, ...],
    seeds: Array,
) -> Trained:
    def one(seed: Array) -> Trained:
        # data have a separate key: two cells with one seed draw the same rows
        of_params, of_data = jax.random.split(jax.random.key(seed))
        params = init_params(of_params, cell, problem, hidden, init)
        loss = drawn_loss(cell, problem, batch)
        return descend(loss, params, of_data, rule, steps=steps, snapshot_steps=snapshot_steps)

    # seeds side by side in one program, compiled once
    return jax.vmap(one)(seeds) if seeds.ndim else one(seeds)


def descend(
    loss: Callable[[Params, Key], Array],
    params: Params,
    key: Key,
    rule: optax.GradientTransformation,
    *,
    steps: int,
    snapshot_steps: tuple[int, ...] = (),
) -> Trained:
    """Train any parameters in one loop, to be compiled by the caller.

    Args:
      loss: ``(params, key) -> []`` of one step; it draws its data from the key, which it consumes.
      params: the initial parameters.
      key: key of the data; consumed.
      rule: an optax optimizer.
      steps: the number of train steps.
      snapshot_steps: as in `train`.
    """
    snapshots = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(snapshot_steps), *a.shape)), params)
    after = jnp.asarray(snapshot_steps, jnp.int32)

    def update(state: tuple, at: Array) -> tuple[tuple, Array]:
        params, opt_state, snapshots = state
        # fold_in with the step: the loop's state needs no key
        value, grads = jax.value_and_grad(loss)(params, jax.random.fold_in(key, at))
        updates, opt_state = rule.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        if snapshot_steps:
            # The next slot is overwritten until its step is reached; past the last slot nothing is written.
            slot = jnp.searchsorted(after, at + 1)
            snapshots = jax.tree.map(lambda a, p: a.at[slot].set(p, mode="drop"), snapshots, params)
        return (params, opt_state, snapshots), value

    start = (params, rule.init(params), snapshots)
    (params, _, snapshots), losses = lax.scan(update, start, jnp.arange(steps, dtype=jnp.int32))
    return Trained(params, losses, snapshots)


def init_params(key: Key, cell: Cell, problem: Problem, hidden: int, init: Init | None = None) -> ModelParams:
    """Return the initial parameters of training. Consumes `key`."""
    of_cell, of_readout = jax.random.split(key)
    params = (init or cell.init)(of_cell, problem.input_size, hidden)
    features = cell.output_size(params, problem.input_size)
    return ModelParams(params, Affine.init(of_readout, features, problem.output_size, params_dtype(cell.name, params)))


def outputs(cell: Cell, params: ModelParams, batch: Batch) -> Array:
    """Return the model's outputs for a batch, ``[T, B, O]``."""
    return params.readout(unroll(cell, params.cell, batch.xs, mask=batch.mask)[1])


def drawn_loss(cell: Cell, problem: Problem, batch: int) -> Callable[[ModelParams, Key], Array]:
    """Return the loss on newly drawn rows: ``(params, key) -> []``, which consumes the key."""

    def loss(params: ModelParams, key: Key) -> Array:
        data = problem.draw(key, batch)
        return problem.loss(outputs(cell, params, data), data)

    return loss


def loss_of(problem: Problem, readout: Affine, batch: Batch) -> Callable[[Carry, Array], Array]:
    """Return the loss as a function of the results of `unroll`, ``(carry, outs) -> []``, for the functions of `study`.

    Example:
      >>> from jaxseq import problems
      >>> from jaxseq.cells import gru
      >>> problem = problems.adding(6)
      >>> params, batch = init_params(jax.random.key(0), gru, problem, 4), problem.draw(jax.random.key(1), 2)
      >>> found = loss_of(problem, params.readout, batch)(*unroll(gru, params.cell, batch.xs))
      >>> bool(jnp.allclose(found, problem.loss(outputs(gru, params, batch), batch)))
      True
    """
    return lambda carry, outs: problem.loss(readout(outs), batch)

"""Movement of the state: the states of many sequences in their principal components.

The state of a row is one vector of N numbers, as in `jaxseq.study.jacobian`: the leaves of the carry one after the
other (`parts`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq._unroll import trace
from jaxseq.cells import Cell
from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Carry, Params, Tree, widened
from jaxseq.recurrence import over_features
from jaxseq.study.gradients import is_real, rows_of
from jaxseq.study.whatif import real_of
from jaxseq.trees import named_leaves


class Components(NamedTuple):
    """Principal components of states, the largest variance first.

    Fields:
      mean: ``[N]``.
      axes: ``[k, N]``, orthonormal; of each, the entry with the largest absolute value is positive.
      variances: ``[k]``, along the axes, with n - 1 in the denominator.
      shares: ``[k]``, of the whole variance.
    """

    mean: Array
    axes: Array
    variances: Array
    shares: Array


def principal(states: Array, count: int = 3, *, mask: Array | None = None) -> Components:
    """Return the principal components of ``states [..., N]``, by a singular value decomposition.

    Memory is twice that of the states. Half precision is computed in float32.

    Args:
      states: ``[..., N]``, such as ``[T, B, N]``.
      count: how many axes, k.
      mask: bool ``[...]``, True where a state counts.

    Raises:
      InputError: if count is not from 1 to the smaller of N and the number of states, or the mask does not fit.

    Reference: Jolliffe 2002, "Principal component analysis", section 3.5.

    Example:
      >>> found = principal(jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), 1)
      >>> bool(jnp.allclose(found.axes, 0.5**0.5)), found.variances.round(4).tolist(), found.shares.round(4).tolist()
      (True, [2.0], [1.0])
    """
    states = widened(jnp.asarray(states))
    real = jnp.ones(states.shape[:-1], bool) if mask is None else jnp.asarray(mask)
    if real.dtype != bool or real.shape != states.shape[:-1]:
        raise InputError(
            f"principal: expected a mask bool {states.shape[:-1]} for states {states.shape}; got {real.dtype} of "
            f"shape {real.shape}"
        )
    states, real = states.reshape(real.size, states.shape[-1]), real.reshape(real.size)
    n, N = states.shape
    if not 1 <= count <= min(n, N):
        raise InputError(f"principal: count must be from 1 to {min(n, N)}, for {n} states of {N} numbers; got {count}")
    # padded states become the mean, zero after centring, and add nothing
    there = jnp.broadcast_to(real[:, None], states.shape)
    states = jnp.where(there, states, jnp.zeros_like(states))
    total = real.sum(dtype=states.dtype)
    mean = states.sum(0) / jnp.maximum(total, 1)
    centred = jnp.where(there, states - jnp.broadcast_to(mean, states.shape), jnp.zeros_like(states))
    # R of a QR has the same singular values and right vectors, and is N x N: there are usually many more states than N
    centred = jnp.linalg.qr(centred, mode="r") if n > N else centred
    _, sizes, axes = jnp.linalg.svd(centred, full_matrices=False)
    # the sign of a singular vector is arbitrary: fixed, so that two runs draw the same picture
    largest = jnp.take_along_axis(axes, jnp.abs(axes).argmax(-1, keepdims=True), axis=-1)
    axes = axes * jnp.broadcast_to(jnp.where(largest < 0, -jnp.ones_like(largest), 1), axes.shape)
    # variance along an axis is s^2 / (n - 1)
    squares = sizes**2
    whole = squares.sum()
    return Components(
        mean,
        axes[:count],
        squares[:count] / jnp.maximum(total - 1, 1),
        squares[:count] / jnp.where(whole > 0, whole, jnp.ones_like(whole)),
    )


def project(components: Components, states: Array, *, directions: bool = False) -> Array:
    """Return the coordinates ``[..., k]`` of states ``[..., N]`` on the axes, in the dtype of the components.

    Args:
      components: from `principal`.
      states: such as those of fixed points; complex for eigenvectors.
      directions: whether they are directions, from which no mean is subtracted.

    Raises:
      InputError: if the states have another N.

    Example:
      >>> found = principal(jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), 1)
      >>> bool(jnp.allclose(project(found, jnp.array([4.0, 4.0])), 8**0.5))
      True
    """
    states = jnp.asarray(states)
    if states.shape[-1:] != components.mean.shape:
        raise InputError(
            f"project: expected states [..., {components.mean.shape[0]}] as the components have; got {states.shape}"
        )
    wide = components.axes.dtype
    # eigenvectors are complex; their real and imaginary parts are projected together
    if jnp.issubdtype(states.dtype, jnp.complexfloating):
        wide = jnp.dtype(jnp.complex128 if wide.itemsize == 8 else jnp.complex64)
    moved = states.astype(wide)
    if not directions:
        moved = moved - jnp.broadcast_to(components.mean.astype(wide), moved.shape)
    return moved @ components.axes.T.astype(wide)


class Trajectories(NamedTuple):
    """The path of each row in principal components.

    Fields:
      points: ``[T, B, k]``, the state after each step; 0 at padded steps.
      real: bool ``[T, B]``, the steps that are not padding.
      components: of the states of all real steps, over the whole vector of the state.
    """

    points: Array
    real: Array
    components: Components


def trajectories(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    count: int = 3,
    leaf: str | None = None,
) -> Trajectories:
    """Return the states of all rows and steps in their principal components.

    Memory is about three times the states, ``3 * T * B * N`` numbers with N = 2H for an LSTM.

    Args:
      cell: any Cell.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``, True where a step is real.
      count: how many components.
      leaf: a part of the carry, such as "c"; the whole state by default. The axes are then 0 elsewhere.

    Raises:
      InputError: for an unknown leaf, a carry without floats, and as `principal` and `unroll`.

    Reference: as Sussillo & Barak 2013, Neural Computation 25(3), and Maheswaranathan et al. 2019, arXiv:1906.10720,
    show the states of trained networks.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> xs = jax.random.normal(jax.random.key(1), (7, 2, 3))
      >>> found = trajectories(lstm, params, xs, count=2)
      >>> found.points.shape, found.components.axes.shape
      ((7, 2, 2), (2, 10))
    """
    xs = jax.tree.map(jnp.asarray, xs)
    carries = trace(cell, params, xs, carry, mask=mask)[1].carries
    leaves = {name: a for name, a in named_leaves(carries).items() if is_real(a)}
    rows = rows_of(cell, xs)
    states, real = vectors(cell, carries, rows), real_of(cell, xs, mask)
    if leaf is None:
        components = principal(states, count, mask=real)
    else:
        choose(f"part of the carry of {cell.name}", leaf, leaves)
        sizes = [math.prod(a.shape[rows:]) for a in leaves.values()]
        place = list(leaves).index(leaf)
        before, after = sum(sizes[:place]), sum(sizes[place + 1 :])
        found = principal(states[..., before : before + sizes[place]], count, mask=real)
        # padded to the whole state, so that `project` takes states and fixed points as they are
        components = found._replace(
            mean=jnp.pad(found.mean, (before, after)), axes=jnp.pad(found.axes, ((0, 0), (before, after)))
        )
    points = project(components, states)
    return Trajectories(jnp.where(over_features(real, points), points, jnp.zeros_like(points)), real, components)


def vectors(cell: Cell, carries: Carry, rows: int) -> Array:
    """Return carries, whose leaves have `rows` axes before those of the state, as one vector each: ``[..., N]``.

    Leaves of whole numbers are left out; half precision becomes float32.
    """
    leaves = [widened(a) for a in jax.tree.leaves(carries) if is_real(a)]
    if not leaves:
        raise InputError(f"{cell.name}: its carry has no part of floating point numbers")
    # leaves of two dtypes, float32 and float64, are joined in the wider one
    wide = jnp.result_type(*(a.dtype for a in leaves)) if len({a.dtype for a in leaves}) == 1 else jnp.float64
    return jnp.concatenate(
        [a.reshape(*a.shape[:rows], math.prod(a.shape[rows:])).astype(wide) for a in leaves], axis=-1
    )

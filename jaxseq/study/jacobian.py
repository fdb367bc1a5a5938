"""Step Jacobians: how a small change of the state is carried on, its spectrum, products over spans, Lyapunov exponents.

The state of a row is one vector of N numbers, the leaves of the carry one after the other (`parts`): an LSTM's h and
then c, N = 2H. Leaves of whole numbers, such as a counter of steps, are no part of it. A Jacobian ``J [N, N]`` has
``J[i, j] = d new_i / d old_j``, so that a change v becomes ``J v``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import over_features
from jaxseq.study.gradients import is_real, leaves_by_name
from jaxseq.unroll import unroll

LIMIT = 2**30
"""Bytes that the Jacobians of one call may take: 1 GiB."""


def parts(cell: Cell, params: Params, places: tuple[int, ...] = ()) -> dict[str, slice]:
    """Return where in the state's vector each leaf of the carry is; `places` for a cell that works on pictures.

    Example:
      >>> from jaxseq.cells import lstm
      >>> parts(lstm, lstm.init(jax.random.key(0), 3, 5))
      {'h': slice(0, 5, None), 'c': slice(5, 10, None)}
    """
    row = jax.eval_shape(lambda p: cell.initial_carry(p, places), params)
    found, start = {}, 0
    for name, leaf in leaves_by_name(row).items():
        if not is_real(leaf):
            continue
        found[name] = slice(start, start + leaf.size)
        start += leaf.size
    return found


def step_jacobians(
    cell: Cell,
    params: Params,
    carry: Carry | None,
    xs: Tree,
    mask: Array | None = None,
    *,
    at: Sequence[int] | None = None,
    limit: int = LIMIT,
) -> Array:
    """Return ``d carry_t / d carry_(t-1)`` along the cell's own path, ``[T, B, N, N]``; the identity at padded steps.

    Args:
      cell: as the rest, as in `unroll`.
      params: its parameters.
      carry: the state to start from, or None.
      xs: ``[T, B, D]``.
      mask: bool ``[T, B]``.
      at: the steps to return; all T by default.
      limit: bytes that the result may take.

    Raises:
      InputError: if it would take more; says how much, and what to do. Or if a step of `at` is none of the sequence's.

    Example:
      >>> from jaxseq.cells import rnn
      >>> params = rnn.init(jax.random.key(0), 3, 5)
      >>> step_jacobians(rnn, params, None, jnp.ones((7, 2, 3))).shape
      (7, 2, 5, 5)
    """
    path = _path(cell, params, carry, xs, mask)
    T = path.real.shape[0]
    if at is not None and (wrong := [t for t in at if not 0 <= t < T]):
        raise InputError(f"step_jacobians({cell.name}): at must have steps from 0 to {T - 1}; got {wrong[0]}")
    steps = jnp.arange(T) if at is None else jnp.asarray(np.asarray(at, int))
    size = steps.shape[0] * path.rows * path.size**2 * path.dtype.itemsize
    if size > limit:
        raise InputError(
            f"step_jacobians({cell.name}): {steps.shape[0]} steps of {path.rows} rows with {path.size} x {path.size} "
            f"numbers take {size / 2**30:.3g} GiB, the limit is {limit / 2**30:.3g}; choose steps by at=, give fewer "
            "rows, or use `lyapunov`, which keeps no Jacobian"
        )

    def one(t: Array) -> Array:
        old, given, real = jax.tree.map(lambda a: a[t], (path.old, path.given, path.real))
        J = path.over_rows(jax.jacfwd(path.step))(old, given)
        still = jnp.broadcast_to(jnp.eye(path.size, dtype=J.dtype), J.shape)
        return jnp.where(jnp.broadcast_to(real[..., None, None], J.shape), J, still)

    return lax.map(one, steps)


class Spectrum(NamedTuple):
    """What a matrix does, for each of ``[...]`` matrices.

    Fields:
      eigenvalues: complex ``[..., N]``, the largest modulus first.
      radius: ``[...]``, the largest modulus: what many steps alike would multiply by.
      singular_values: ``[..., N]``, the largest first; that one is the most that one step can stretch a change.
    """

    eigenvalues: Array
    radius: Array
    singular_values: Array


def spectrum(jacobians: Array) -> Spectrum:
    """Return eigenvalues, spectral radius and singular values of ``[..., N, N]``.

    Its work grows with N cubed: N = 512 takes about a second a matrix on one core, so choose steps. NaN gives NaN.

    Example:
      >>> found = spectrum(jnp.array([[0.0, -2.0], [2.0, 0.0]]))
      >>> round(float(found.radius), 5), found.singular_values.round(5).tolist()
      (2.0, [2.0, 2.0])
    """
    jacobians = jacobians.astype(_wide(jacobians.dtype))
    values = jnp.linalg.eigvals(jacobians)
    order = jnp.argsort(-jnp.abs(values), axis=-1)
    values = jnp.take_along_axis(values, order, axis=-1)
    return Spectrum(values, jnp.abs(values[..., 0]), jnp.linalg.svd(jacobians, compute_uv=False))


def products(jacobians: Array, span: int) -> Array:
    """Return the Jacobians over `span` steps, ``J_(t+span-1) ... J_t`` for each t: ``[T - span + 1, B, N, N]``.

    With ``span = T`` that is one, of the whole path. The largest singular value of each is the most by which a change
    of the state can have grown after so many steps, and the bound on a gradient that goes back through them. Memory is
    twice that of the Jacobians.

    Raises:
      InputError: if span is not between 1 and T.
    """
    T = jacobians.shape[0]
    if not 1 <= span <= T:
        raise InputError(f"products: span must be from 1 to the number of steps, {T}; got {span}")
    n = T - span + 1

    def longer(product: Array, k: Array) -> tuple[Array, None]:
        return lax.dynamic_slice_in_dim(jacobians, k, n) @ product, None

    return lax.scan(longer, jacobians[:n], jnp.arange(1, span))[0]


class Lyapunov(NamedTuple):
    """Finite-time Lyapunov exponents.

    Fields:
      exponents: ``[B, count]``, the largest first (up to what so many steps have sorted): the mean growth of ln size
        per real step. Above 0 neighbouring paths part, below 0 they meet; a unit that retains has one near 0. -inf
        where a step loses a direction altogether, as units at rest do.
      growth: ``[T, B, count]``, what each step adds, 0 at padded steps: means over parts of it are the exponents there.
    """

    exponents: Array
    growth: Array


def lyapunov(
    cell: Cell,
    params: Params,
    carry: Carry | None,
    xs: Tree,
    mask: Array | None = None,
    *,
    count: int = 8,
    seed: int = 0,
) -> Lyapunov:
    """Return the largest Lyapunov exponents along the cell's own path, by QR at each step; no Jacobian is formed.

    `count` orthonormal changes, random at first, are carried on by the linearised step and made orthonormal again;
    ``ln abs(R_ii)`` is what they grew by. With ``count = N`` their sum is the exact ``ln abs(det J)`` of every step.
    Memory is ``B * N * count`` numbers beside the path's states and input terms, ``T * B * 6H`` for an LSTM; a step
    costs `count` steps of the cell and a QR: 8 exponents of 256 units over 1,000 steps take about 0.1 s.

    Args:
      cell: as the rest, as in `unroll`.
      params: its parameters.
      carry: the state to start from, or None.
      xs: ``[T, B, D]``.
      mask: bool ``[T, B]``.
      count: how many; all N if there are fewer.
      seed: of the first changes, which a short path does not forget.

    Reference: Benettin et al. 1980, Meccanica 15; for recurrent cells Engelken, Wolf & Abbott 2020, arXiv:2006.02427.

    Example:
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> lyapunov(gru, params, None, jnp.ones((50, 2, 3)), count=3).exponents.shape
      (2, 3)
    """
    if count < 1:
        raise InputError(f"lyapunov({cell.name}): count must be at least 1; got {count}")
    path = _path(cell, params, carry, xs, mask)
    count = min(count, path.size)
    wide = _wide(path.dtype)
    first = jnp.linalg.qr(jax.random.normal(jax.random.key(seed), (path.size, count), wide))[0]

    def push(old: Array, given: Tree, changes: Array) -> Array:
        linear = jax.linearize(lambda old: path.step(old, given), old)[1]
        return jax.vmap(lambda v: linear(v.astype(path.dtype)), 1, 1)(changes).astype(wide)

    def step(changes: Array, at_t: tuple) -> tuple[Array, Array]:
        old, given, real = at_t
        Q, R = jnp.linalg.qr(path.over_rows(push)(old, given, changes))
        grown = jnp.log(jnp.abs(jnp.diagonal(R, axis1=-2, axis2=-1)))
        real = real[..., None]
        changes = jnp.where(jnp.broadcast_to(real[..., None], Q.shape), Q, changes)
        return changes, jnp.where(jnp.broadcast_to(real, grown.shape), grown, jnp.zeros_like(grown))

    start = jnp.broadcast_to(first, (*path.real.shape[1:], *first.shape))
    _, growth = lax.scan(step, start, (path.old, path.given, path.real))
    steps = jnp.maximum(path.real.sum(0), 1).astype(wide)[..., None]
    return Lyapunov(growth.sum(0) / jnp.broadcast_to(steps, growth.shape[1:]), growth)


def _wide(dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype to factor matrices in: there is no half-precision form."""
    return jnp.dtype(dtype) if jnp.dtype(dtype).itemsize >= 4 else jnp.dtype(jnp.float32)


class _Path(NamedTuple):
    """A cell's own path, each row's state as one vector.

    Fields:
      old: ``[T, B, N]``, the state before each step.
      given: what else each step is computed from: the input terms, and leaves of the carry that are whole numbers.
      real: bool ``[T, B]``.
      step: ``(old [N], given) -> new [N]`` of one row.
      over_rows: makes a function of one row one of all.
      rows: how many there are.
      size: N.
      dtype: of the state.
    """

    old: Array
    given: Tree
    real: Array
    step: Callable[[Array, Tree], Array]
    over_rows: Callable[[Callable], Callable]
    rows: int
    size: int
    dtype: jnp.dtype


def _path(cell: Cell, params: Params, carry: Carry | None, xs: Tree, mask: Array | None) -> _Path:
    xs = jax.tree.map(jnp.asarray, xs)
    _, olds = unroll(_remembering(cell), params, carry, xs, mask)
    time_and_batch = jax.tree.leaves(xs)[0].shape[:-1]
    T, *batch = time_and_batch[: len(time_and_batch) - cell.spatial]
    real = jnp.ones((T, *batch), bool) if mask is None else jnp.asarray(mask)
    if mask is not None:  # whatever padding holds, NaN included
        xs = jax.tree.map(lambda x: jnp.where(over_features(real, x), x, jnp.zeros_like(x)), xs)
    leaves, structure = jax.tree.flatten(olds)
    states = [a for a in leaves if is_real(a)]
    vector, unravel = ravel_pytree([jnp.zeros(a.shape[1 + len(batch) :], a.dtype) for a in states])

    def step(old: Array, given: Tree) -> Array:
        wx, whole = given
        states, whole = iter(unravel(old)), iter(whole)
        row = jax.tree.unflatten(structure, [next(states if is_real(a) else whole) for a in leaves])
        new = cell.advance(params, row, wx)[0]
        return ravel_pytree([a for a in jax.tree.leaves(new) if is_real(a)])[0]

    def over_rows(f: Callable) -> Callable:
        return functools.reduce(lambda f, _: jax.vmap(f), batch, f)

    old = jnp.concatenate([a.reshape(T, *batch, math.prod(a.shape[1 + len(batch) :])) for a in states], -1)
    given = cell.input_terms(params, xs), [a for a in leaves if not is_real(a)]
    return _Path(old, given, real, step, over_rows, math.prod(batch), vector.shape[0], jnp.dtype(vector.dtype))


@functools.cache
def _remembering(cell: Cell) -> Cell:
    """Return the cell with the old carry as its output."""

    def gates(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Carry, Tree]:
        new, _, named = cell.gates(params, carry, wx, uh)
        return new, carry, named

    return cell._replace(gates=gates)

"""Step Jacobians: how a small change of the state is carried on, its spectrum, products over spans, Lyapunov exponents.

The state of a row is one vector of N numbers, the leaves of the carry one after the other (`parts`): an LSTM's h and
then c, N = 2H. Leaves of whole numbers, such as a counter of steps, are not part of it. A Jacobian ``J [N, N]`` has
``J[i, j] = d new_i / d old_j``, so that a change v becomes ``J v``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq._unroll import unroll
from jaxseq.cells import Cell, lift_sequence, made
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.study.gradients import is_real
from jaxseq.trees import named_leaves

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
    for name, leaf in named_leaves(row).items():
        # a counter has no derivative, so it has no place in the vector
        if not is_real(leaf):
            continue
        found[name] = slice(start, start + leaf.size)
        start += leaf.size
    return found


def step_jacobians(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    at: Sequence[int] | None = None,
    limit: int = LIMIT,
) -> Array:
    """Return ``d carry_t / d carry_(t-1)`` along the cell's own path, ``[T, B, N, N]``; the identity at padded steps.

    Args:
      cell: as the rest, as in `unroll`.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``.
      at: the steps to return; all T by default.
      limit: bytes that the result may take.

    Raises:
      InputError: if it would take more; says how much, and the cure. Or if a step of `at` is not in the sequence.

    Example:
      >>> from jaxseq.cells import rnn
      >>> params = rnn.init(jax.random.key(0), 3, 5)
      >>> step_jacobians(rnn, params, jnp.ones((7, 2, 3))).shape
      (7, 2, 5, 5)
    """
    path = _path(cell, params, xs, carry, mask)
    T = path.real.shape[0]
    if at is not None and (wrong := [t for t in at if not 0 <= t < T]):
        raise InputError(f"step_jacobians({cell.name}): at must have steps from 0 to {T - 1}; got {wrong[0]}")
    steps = jnp.arange(T) if at is None else jnp.asarray(np.asarray(at, int))
    # T * B matrices of N x N grow fast: refused before anything is computed
    rows, N, dtype = math.prod(path.real.shape[1:]), path.old.shape[-1], path.old.dtype
    size = steps.shape[0] * rows * N**2 * dtype.itemsize
    if size > limit:
        raise InputError(
            f"step_jacobians({cell.name}): {steps.shape[0]} steps of {rows} rows with {N} x {N} "
            f"numbers take {size / 2**30:.3g} GiB, the limit is {limit / 2**30:.3g}; choose steps by at=, give fewer "
            "rows, or use `lyapunov`, which keeps no Jacobian"
        )

    eye = jnp.eye(N, dtype=dtype)

    def one(t: Array) -> Array:
        old, given, real = jax.tree.map(lambda a: a[t], (path.old, path.given, path.real))
        # linearize evaluates the step once; each of the N columns then costs one linear pass
        push = jax.linearize(lambda old: path.step(old, given), old)[1]
        # all rows are pushed in the same direction at once, since no row depends on another: J [B, N, N]
        J = jax.vmap(lambda change: push(jnp.broadcast_to(change, old.shape)), out_axes=-1)(eye)
        still = jnp.broadcast_to(eye, J.shape)
        return jnp.where(jnp.broadcast_to(real[..., None, None], J.shape), J, still)

    # one step at a time: vmap would hold the intermediates of all T
    return lax.map(one, steps)


class Spectrum(NamedTuple):
    """Eigenvalues and singular values of each of ``[...]`` matrices.

    Fields:
      eigenvalues: complex ``[..., N]``, the largest modulus first.
      radius: ``[...]``, the largest modulus: the factor of each of many equal steps.
      singular_values: ``[..., N]``, the largest first; that one is the most that one step can stretch a change.
    """

    eigenvalues: Array
    radius: Array
    singular_values: Array


def spectrum(jacobians: Array) -> Spectrum:
    """Return eigenvalues, spectral radius and singular values of ``[..., N, N]``.

    Its work grows with N cubed: N = 512 takes about 0.1 s a matrix on one core. On a busy machine LAPACK's threads wait
    for each other and it may be ten times that: set ``OPENBLAS_NUM_THREADS=1``. NaN gives NaN.

    Example:
      >>> found = spectrum(jnp.array([[0.0, -2.0], [2.0, 0.0]]))
      >>> round(float(found.radius), 5), found.singular_values.round(5).tolist()
      (2.0, [2.0, 2.0])
    """
    jacobians = jacobians.astype(_wide(jacobians.dtype))
    values = jnp.linalg.eigvals(jacobians)
    # LAPACK returns eigenvalues in no order
    order = jnp.argsort(-jnp.abs(values), axis=-1)
    values = jnp.take_along_axis(values, order, axis=-1)
    return Spectrum(values, jnp.abs(values[..., 0]), jnp.linalg.svd(jacobians, compute_uv=False))


def products(jacobians: Array, span: int) -> Array:
    """Return the Jacobians over `span` steps, ``J_(t+span-1) ... J_t`` for each t: ``[T - span + 1, B, N, N]``.

    With ``span = T`` that is one, of the whole path. The largest singular value of each is the most by which a change
    of the state can have grown after these steps, and the bound on a gradient that goes back through them. Memory is
    twice that of the Jacobians.

    Raises:
      InputError: if span is not between 1 and T.
    """
    T = jacobians.shape[0]
    if not 1 <= span <= T:
        raise InputError(f"products: span must be from 1 to the number of steps, {T}; got {span}")
    # windows that fit into T steps, all extended by one factor at a time
    n = T - span + 1

    def longer(product: Array, k: Array) -> tuple[Array, None]:
        # from the left: a later step acts on the result of the earlier ones
        return lax.dynamic_slice_in_dim(jacobians, k, n) @ product, None

    return lax.scan(longer, jacobians[:n], jnp.arange(1, span))[0]


class Lyapunov(NamedTuple):
    """Finite-time Lyapunov exponents.

    Fields:
      exponents: ``[B, count]``, the largest first: ``ln s_i / T`` for the singular values s of the product of the
        Jacobians of a row's T real steps. Above 0 neighbouring paths part, below 0 they meet; a unit that retains has
        one near 0. -inf where a step loses a direction altogether, as units at rest do. `decimals` says how many
        digits of them to print.
      growth: ``[T, B, count]``, added by each step, 0 at padded steps: means over parts of it are the exponents there.
    """

    exponents: Array
    growth: Array


SPARE = 8
"""Extra directions in the iteration, so that the last requested ones converge too."""


def lyapunov(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    count: int = 8,
    sweeps: int = 3,
) -> Lyapunov:
    """Return the largest Lyapunov exponents along the cell's own path, from the singular values of its whole product.

    Orthonormal changes are carried through the linearised steps and back through their transposes, with a QR at each
    step; no Jacobian and no product is formed. That is subspace iteration for the product's right singular vectors: a
    sweep divides the error of a direction by the square of the ratio of neighbouring singular values, so that the
    result is the product's and depends on no start. ``ln abs(R_ii)`` of a last pass is each step's growth. With
    ``count = N`` their sum is the exact ``ln abs(det J)`` of every step.

    Memory is ``B * N * (count + 8)`` numbers in addition to the path's states and input terms, ``T * B * 6H`` for an
    LSTM. A step of a pass costs `count` + 8 steps of the cell and a QR, and there are ``2 * sweeps + 1`` passes: 8
    exponents of an LSTM of 256 units over 1,000 steps take about 1.3 s on two cores.

    Args:
      cell: as the rest, as in `unroll`.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``.
      count: how many; all N if there are fewer.
      sweeps: there and back, before the last pass. Three are enough for the digits that `decimals` allows.

    Raises:
      InputError: if count or sweeps is out of range; as `unroll`.

    Reference: Benettin et al. 1980, Meccanica 15; for recurrent cells Engelken, Wolf & Abbott 2020, arXiv:2006.02427;
    subspace iteration for singular values, Halko, Martinsson & Tropp 2011, arXiv:0909.4061, algorithm 4.4.

    Example:
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> lyapunov(gru, params, jnp.ones((50, 2, 3)), count=3).exponents.shape
      (2, 3)
    """
    for name, value, least in (("count", count, 1), ("sweeps", sweeps, 0)):
        if value < least:
            raise InputError(f"lyapunov({cell.name}): {name} must be at least {least}; got {value}")
    path = _path(cell, params, xs, carry, mask)
    N, dtype = path.old.shape[-1], path.old.dtype
    wide = _wide(dtype)

    def stretched(moved: Callable[[Array], Array], changes: Array, real: Array) -> tuple[Array, Array]:
        """Return changes moved by a linear map and orthonormal again, and the logarithms of their growth."""
        # changes [B, N, k]: a column is a direction. The step is in the cell's dtype, the QR in `wide`
        Q, R = jnp.linalg.qr(jax.vmap(moved, -1, -1)(changes.astype(dtype)).astype(wide))
        # abs: the sign of R_ii is a convention of LAPACK
        grown = jnp.log(jnp.abs(jnp.diagonal(R, axis1=-2, axis2=-1)))
        there = jnp.broadcast_to(real[..., None], grown.shape)
        # a padded step holds the state: its Jacobian is the identity, and ln 1 = 0
        changes = jnp.where(jnp.broadcast_to(real[..., None, None], Q.shape), Q, changes)
        return changes, jnp.where(there, grown, jnp.zeros_like(grown))

    def ahead(changes: Array, at_t: tuple) -> tuple[Array, Array]:
        old, given, real = at_t
        return stretched(jax.linearize(lambda old: path.step(old, given), old)[1], changes, real)

    def back(changes: Array, at_t: tuple) -> tuple[Array, None]:
        old, given, real = at_t
        pull = jax.vjp(lambda old: path.step(old, given), old)[1]
        return stretched(lambda v: pull(v)[0], changes, real)[0], None

    # one sweep is J^T J applied by forward and backward steps, Halko et al.'s algorithm 4.4 with a QR each time
    steps = path.old, path.given, path.real
    there_and_back = lambda _, changes: lax.scan(back, lax.scan(ahead, changes, steps)[0], steps, reverse=True)[0]  # noqa: E731
    first = _spread(N, min(count + SPARE, N), wide)
    changes = jnp.broadcast_to(first, (*path.real.shape[1:], *first.shape))
    # the last pass starts from converged singular vectors, so its R_ii multiply to the singular values
    growth = lax.scan(ahead, lax.fori_loop(0, sweeps, there_and_back, changes), steps)[1]
    # by total growth; then the spare directions are cut off
    order = jnp.argsort(-growth.sum(0), axis=-1)[..., :count]
    growth = jnp.take_along_axis(growth, jnp.broadcast_to(order, (*growth.shape[:-1], order.shape[-1])), axis=-1)
    # a row of padding alone has exponent 0 and not 0 / 0
    real = jnp.maximum(path.real.sum(0), 1).astype(wide)[..., None]
    return Lyapunov(growth.sum(0) / jnp.broadcast_to(real, growth.shape[1:]), growth)


def decimals(steps: int) -> int:
    """Return the number of decimals of a finite-time Lyapunov exponent that some steps support, at least 1.

    Measuring the state in other units, by a change of basis with condition number e, moves ``ln s_i / T`` by up to 1/T:
    digits below 1/T say more about the basis than about the path.

    Example:
      >>> decimals(8), decimals(60), decimals(1000)
      (1, 1, 3)
    """
    # 1e-9: log10(1000) may be a little below 3
    return max(1, math.floor(math.log10(max(steps, 1)) + 1e-9))


def _spread(N: int, count: int, dtype: jnp.dtype) -> Array:
    """Return `count` orthonormal columns ``[N, count]`` that touch every coordinate, or a basis of the whole space."""
    if count == N:
        return jnp.eye(N, dtype=dtype)
    # sines of all products n k are dense and independent, and need no key
    return jnp.linalg.qr(jnp.sin(jnp.outer(jnp.arange(1, N + 1, dtype=dtype), jnp.arange(1, count + 1, dtype=dtype))))[
        0
    ]


def _wide(dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype to factor matrices in: LAPACK has no half precision."""
    return jnp.dtype(dtype) if jnp.dtype(dtype).itemsize >= 4 else jnp.dtype(jnp.float32)


class _Path(NamedTuple):
    """A cell's own path, each row's state as one vector.

    Fields:
      old: ``[T, B, N]``, the state before each step.
      given: the other inputs of each step: the input terms, and leaves of the carry that are whole numbers.
      real: bool ``[T, B]``.
      step: ``(old [B, N], given) -> new [B, N]``. Rows are independent, so one change of all rows at once is
        as many changes of one row each.
    """

    old: Array
    given: Tree
    real: Array
    step: Callable[[Array, Tree], Array]


def _path(cell: Cell, params: Params, xs: Tree, carry: Carry | None, mask: Array | None) -> _Path:
    xs = jax.tree.map(jnp.asarray, xs)
    _, olds = unroll(_remembering(cell), params, xs, carry, mask=mask)
    time_and_batch = jax.tree.leaves(xs)[0].shape[:-1]
    # without the places of a cell for pictures: these are part of the state
    T, *batch = time_and_batch[: len(time_and_batch) - cell.spatial]
    real = jnp.ones((T, *batch), bool) if mask is None else jnp.asarray(mask)
    leaves, structure = jax.tree.flatten(olds)
    # [B, ...] of each leaf of a step
    shapes = [a.shape[1:] for a in leaves if is_real(a)]
    sizes = [math.prod(shape[len(batch) :]) for shape in shapes]

    def vector(leaves: list[Array], rows: tuple[int, ...]) -> Array:
        real = [a for a in leaves if is_real(a)]
        return jnp.concatenate([a.reshape(*rows, size) for a, size in zip(real, sizes, strict=True)], -1)

    def step(old: Array, given: Tree) -> Array:
        wx, whole = given
        parts = jnp.split(old, np.cumsum(sizes)[:-1], axis=-1)
        states = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        whole = iter(whole)
        # real leaves from the vector, whole numbers as the run had them, in the order of the carry
        before = jax.tree.unflatten(structure, [next(states if is_real(a) else whole) for a in leaves])
        return vector(jax.tree.leaves(cell.advance(params, before, wx)[0]), tuple(batch))

    given = cell.input_terms(params, lift_sequence(cell, xs)), [a for a in leaves if not is_real(a)]
    return _Path(vector(leaves, (T, *batch)), given, real, step)


@made
def _remembering(cell: Cell) -> Cell:
    """Return the cell with the old carry as its output."""

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Carry, Tree]:
        new, _, named = cell.equations(params, carry, wx, uh)
        return new, carry, named

    # the output is the carry before the step: stacked over time, the path that Jacobians are taken along
    return cell.replace(equations=equations)

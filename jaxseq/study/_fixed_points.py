"""Fixed and slow points of a step with a held input, where the state settles, and the linear map around each.

A point is slow where the speed ``q(h) = |F(h) - h|^2 / 2`` is small, F one step of the cell with its input held. From
states that a run visited q is lowered by Adam and then by Levenberg and Marquardt's damped Gauss-Newton steps on
``F(h) - h``, which find stable and unstable points alike. A point found several times is counted once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular

from jaxseq._unroll import trace
from jaxseq.cells import Cell, lift_sequence
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree, widened
from jaxseq.study._trajectories import vectors
from jaxseq.study.gradients import is_real
from jaxseq.study.whatif import real_of
from jaxseq.trees import at

KINDS_OF_POINTS = ("stable", "line attractor", "centre", "saddle", "unstable")
"""Kinds, by `FixedPoints.kind`: no eigenvalue on or outside the unit circle; none outside and some at 1; none outside
and some elsewhere on the circle; some outside; all outside."""


class FixedPoints(NamedTuple):
    """At most M distinct points, the slowest first; M is static, and rows that are not used are 0.

    Fields:
      states: ``[M, N]``, the leaves of the carry one after the other (`parts`).
      speed: ``[M]``, ``q = |F(h) - h|^2 / 2``.
      real: bool ``[M]``, whether the row is used.
      fixed: bool ``[M]``, whether q is at most the tolerance. The others are local minima of q, or not converged.
      found: int ``[M]``, how many starts came to the point.
      jacobians: ``[M, N, N]``, ``d F_i / d h_j`` at the point.
      eigenvalues: complex ``[M, N]`` of the Jacobian, the largest modulus first.
      eigenvectors: complex ``[M, N, N]``, the column j of length 1 for the eigenvalue j, its largest entry positive.
      kind: int ``[M]``, an index of `KINDS_OF_POINTS`; -1 for a row that is not used.
      unstable: int ``[M]``, the number of eigenvalues outside the unit circle: the dimension in which paths leave.
      angle: ``[M]``, of the first eigenvalue, from 0 to pi: above 0 paths rotate, in ``2 pi / angle`` steps.
      total: int, the number of distinct points; those after the first M were left out.
    """

    states: Array
    speed: Array
    real: Array
    fixed: Array
    found: Array
    jacobians: Array
    eigenvalues: Array
    eigenvectors: Array
    kind: Array
    unstable: Array
    angle: Array
    total: Array


def fixed_points(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    x: Tree | None = None,
    count: int = 64,
    noise: float = 0.0,
    seed: int = 0,
    descent: int = 500,
    rate: float = 0.01,
    polish: int = 30,
    tolerance: float | None = None,
    apart: float = 1e-3,
    near: float = 1e-2,
    most: int = 16,
    together: int = 16,
) -> FixedPoints:
    """Return the fixed and slow points of ``h -> step(h, x)`` that are reached from states of a run over xs.

    Memory is the states of the run, ``T * B * N`` numbers, about ``6 * together * N^2`` for the polish and
    ``6 * most * N^2`` for the result. N is 2H for an LSTM. Half precision is computed in float32.

    Args:
      cell: any Cell whose state is floating point numbers and whose input has no places.
      params: its parameters.
      xs: ``[T, B, D]``, whose visited states, that of the start included, are where the search begins; T may be 0.
      carry: the states to start from, or None.
      mask: bool ``[T, B]``; states of padded steps are not used.
      x: the input to hold, ``[D]`` or another input of one step of one row; zeros by default.
      count: how many states to begin at, drawn without replacement.
      noise: standard deviation of normal noise added to them.
      seed: of the draw and the noise.
      descent: steps of Adam, whose rate falls to 0 by a cosine.
      rate: Adam's at first.
      polish: damped Gauss-Newton steps after that.
      tolerance: q up to which a point is fixed; the dtype's epsilon to the power of 1.25 by default, 2e-9 in float32.
      apart: distance up to which two points are the same.
      near: how far from the unit circle an eigenvalue is still on it.
      most: M, how many distinct points to keep and linearise.
      together: how many starts are polished side by side.

    Raises:
      InputError: if the carry holds a counter, the cell works on pictures, it cannot be stepped for one row, x does not
        fit, a number is out of range; and as `unroll`.

    Reference: Sussillo & Barak 2013, "Opening the black box", Neural Computation 25(3), section 2; with Adam and
    the removal of copies Golub & Sussillo 2018, "FixedPointFinder", JOSS 3(31); line attractors of trained networks
    Maheswaranathan et al. 2019, arXiv:1906.10720. The damping is Marquardt 1963, SIAM J. Appl. Math. 11(2).

    Example:
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> xs = jax.random.normal(jax.random.key(1), (9, 2, 3))
      >>> found = jax.jit(lambda params: fixed_points(gru, params, xs, count=8))(params)
      >>> [KINDS_OF_POINTS[kind] for kind in found.kind[found.real].tolist()], bool(found.fixed[0])
      (['stable'], True)
    """
    _check(cell, {"count": count, "most": most, "together": together}, {"descent": descent, "polish": polish})
    # half precision would stop the search at its own rounding, far from a fixed point
    params, xs, carry, x = (jax.tree.map(_wide, tree) for tree in (params, xs, carry, x))
    step = _held(cell, params, xs, x)
    starts, real = _visited(cell, params, xs, carry, mask)
    states, used = _drawn(starts, real, min(count, starts.shape[0]), noise, seed)
    if descent:
        states = _descended(step, states, descent, rate)
    # without a polish the speed alone
    last = (lambda h: _polished(step, h, polish)) if polish else (lambda h: (h, _speed(step, h)))
    states, speed = lax.map(last, states, batch_size=min(together, states.shape[0]))
    # q is a squared length: rounding of a step alone gives about eps^2 N, so eps^1.25 leaves a margin
    limit = float(jnp.finfo(states.dtype).eps) ** 1.25 if tolerance is None else tolerance
    states, speed, real, found, total = _distinct(states, speed, used, apart, min(most, states.shape[0]))
    return _linearised(step, states, speed, real, found, total, limit, near)


def _check(cell: Cell, positive: dict[str, int], whole: dict[str, int]) -> None:
    for name, value in {**positive, **whole}.items():
        least = int(name in positive)
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"fixed_points({cell.name}): {name} must be a whole number from {least}; got {value!r}")
    if cell.spatial:
        raise InputError(
            f"fixed_points({cell.name}): the cell works on pictures, whose state has no fixed size; use a cell whose "
            "input is [T, B, D]"
        )


def _wide(a: Array) -> Array:
    a = jnp.asarray(a)
    return widened(a) if is_real(a) else a


def _visited(cell: Cell, params: Params, xs: Tree, carry: Carry | None, mask: Array | None) -> tuple[Array, Array]:
    """Return the states of a run as vectors ``[(T + 1) * B, N]``, and which of them are not padding."""
    carries = trace(cell, params, xs, carry, mask=mask)[1].carries
    rows = jax.tree.leaves(xs)[0].shape[1:-1]
    start = cell.initial_carry(params, tuple(rows)) if carry is None else carry
    # [1, B, ...]: the start is a visited state too, and with T = 0 the only one
    start = jax.tree.map(lambda a, like: a[None].astype(like.dtype), start, carries)
    states = vectors(cell, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), start, carries), 1 + len(rows))
    real = jnp.concatenate([jnp.ones((1, *rows), bool), real_of(cell, xs, mask)])
    return states.reshape(real.size, states.shape[-1]), real.reshape(real.size)


def _held(cell: Cell, params: Params, xs: Tree, x: Tree | None) -> Callable[[Array], Array]:
    """Return a step with its input held, ``[N] -> [N]``.

    Raises:
      InputError: if x does not fit, or the cell cannot be stepped for one row.
    """
    name = f"fixed_points({cell.name})"
    if x is None:
        if not isinstance(xs, jax.Array):
            raise InputError(f"{name}: give x, the input to hold: the {type(xs).__name__} of one step and one row")
        x = jnp.zeros(xs.shape[-1:], xs.dtype)
    if isinstance(x, jax.Array):
        wanted = jax.tree.leaves(xs)[0].shape[-1:]
        if x.shape != wanted:
            raise InputError(f"{name}: x must be one input {wanted}, without time and batch; got {x.shape}")
        x = at(lift_sequence(cell, x[None]), 0)
    try:
        wx = cell.input_terms(params, x)
        like = jax.eval_shape(lambda: cell.initial_carry(params))
        jax.eval_shape(lambda: cell.advance(params, cell.initial_carry(params), wx))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: the cell cannot be stepped for one row ({error}); x must be one step of one row, and a source "
            "that the cell reads [S, K], of that row alone"
        ) from error
    leaves, structure = jax.tree.flatten(like)
    if counters := [str(a.dtype) for a in leaves if not is_real(a)]:
        raise InputError(
            f"{name}: the carry holds {counters[0]}, such as a counter of steps, so a step is not "
            "the same map each time and has no fixed points; use a cell whose carry is floating point numbers"
        )
    ends = np.cumsum([math.prod(a.shape) for a in leaves])[:-1]

    def step(state: Array) -> Array:
        pieces = [p.reshape(a.shape).astype(a.dtype) for p, a in zip(jnp.split(state, ends), leaves, strict=True)]
        new = cell.advance(params, jax.tree.unflatten(structure, pieces), wx)[0]
        return vectors(cell, new, 0).astype(state.dtype)

    return step


def _drawn(starts: Array, real: Array, count: int, noise: float, seed: int) -> tuple[Array, Array]:
    """Return `count` of the states, and which of them may be used: with fewer real ones than that, some may not."""
    draw, spread = jax.random.split(jax.random.key(seed))
    # the `count` largest of uniform numbers are a draw without replacement; -1 puts padding last
    order = jax.random.uniform(draw, real.shape, starts.dtype)
    chosen = lax.top_k(jnp.where(real, order, -jnp.ones_like(order)), count)[1]
    states, used = starts[chosen], real[chosen]
    states = states + jnp.asarray(noise, starts.dtype) * jax.random.normal(spread, states.shape, states.dtype)
    return jnp.where(used[:, None], states, jnp.zeros_like(states)), used


def _descended(step: Callable[[Array], Array], states: Array, steps: int, rate: float) -> Array:
    """Return the states ``[K, N]`` after Adam on their speeds; it works entry by entry, so that each row is its own.

    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1, with the rate on a cosine. It is written out since optax promotes
    dtypes, which a caller may have forbidden.
    """
    # the sum's gradient is each row's own, since no row depends on another
    slope = jax.grad(lambda states: jax.vmap(lambda h: _speed(step, h))(states).sum())
    mean, square, least = 0.9, 0.999, 1e-8

    def lower(now: tuple[Array, Array, Array], t: Array) -> tuple[tuple[Array, Array, Array], None]:
        states, m, v = now
        g = slope(states)
        m, v = mean * m + (1 - mean) * g, square * v + (1 - square) * g**2
        size = rate * (1 + jnp.cos(jnp.pi * (t - 1) / steps)) / 2
        return (states - size * (m / (1 - mean**t)) / (jnp.sqrt(v / (1 - square**t)) + least), m, v), None

    first = states, jnp.zeros_like(states), jnp.zeros_like(states)
    return lax.scan(lower, first, jnp.arange(1, steps + 1, dtype=states.dtype))[0][0]


def _speed(step: Callable[[Array], Array], state: Array) -> Array:
    return ((step(state) - state) ** 2).sum() / 2


def _polished(step: Callable[[Array], Array], state: Array, steps: int) -> tuple[Array, Array]:
    """Return the state ``[N]`` after damped Gauss-Newton steps that lower its speed, and the speed."""
    eye = jnp.eye(state.shape[0], dtype=state.dtype)
    least = jnp.finfo(state.dtype).eps ** 2

    def lower(_: int, now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        state, speed, damping = now
        # the Jacobian of F(h) - h
        slope = jax.jacfwd(step)(state) - eye
        # least squares of (slope; sqrt(damping)) by QR: the normal equations would square its condition
        Q, R = jnp.linalg.qr(jnp.concatenate([slope, jnp.sqrt(damping) * eye]))
        move = solve_triangular(R, Q[: state.shape[0]].T @ (state - step(state)))
        new = _speed(step, state + move)
        better = new < speed  # False for NaN
        # Marquardt's rule: closer to Newton after a success, to gradient descent after a failure
        damping = jnp.where(better, damping / 10, damping * 10)
        return jnp.where(better, state + move, state), jnp.where(better, new, speed), jnp.maximum(damping, least)

    first = (state, _speed(step, state), jnp.asarray(1e-3, state.dtype))
    return lax.fori_loop(0, steps, lower, first)[:2]


def _distinct(states: Array, speed: Array, used: Array, apart: float, most: int) -> tuple[Array, ...]:
    """Return the distinct points, the slowest first: states, speeds, which rows are used, counts, and how many."""
    usable = used & jnp.isfinite(speed) & jnp.isfinite(states).all(-1)
    # slowest first, so that the slowest of several near points represents them
    order = jnp.argsort(jnp.where(usable, speed, jnp.inf))
    states, speed, usable = states[order], speed[order], usable[order]
    K = states.shape[0]
    rows = jnp.arange(K)

    def assign(j: Array, own: Array) -> Array:
        """Give row j to the first earlier row that represents itself and is near, or else to itself."""
        distance = jnp.sqrt(((states - jnp.broadcast_to(states[j], states.shape)) ** 2).sum(-1))
        same = (distance <= apart) & (own == rows) & (rows < j)
        return own.at[j].set(jnp.where(usable[j], jnp.where(same.any(), jnp.argmax(same), j), -1))

    # own[j]: the row that represents row j, -1 for an unusable one
    own = lax.fori_loop(0, K, assign, jnp.full((K,), -1, rows.dtype))
    first = own == rows
    found = jnp.zeros((K,), rows.dtype).at[jnp.maximum(own, 0)].add((own >= 0).astype(rows.dtype))
    kept = jnp.argsort(~first)[:most]  # stable: the slowest first
    real = first[kept]
    states, speed, found = (
        jnp.where(real if a.ndim == 1 else real[:, None], a[kept], jnp.zeros_like(a[kept]))
        for a in (states, speed, found)
    )
    return states, speed, real, found, first.sum()


def _linearised(
    step: Callable[[Array], Array],
    states: Array,
    speed: Array,
    real: Array,
    found: Array,
    total: Array,
    limit: float,
    near: float,
) -> FixedPoints:
    """Return the points with their Jacobians, eigenvalues and eigenvectors, and the kinds that follow."""
    there = real[:, None, None]
    # one after the other: each is N x N
    jacobians = lax.map(jax.jacfwd(step), states)
    jacobians = jnp.where(there, jacobians, jnp.zeros_like(jacobians))
    values, vectors_of = jnp.linalg.eig(jacobians)
    order = jnp.argsort(-jnp.abs(values), axis=-1)
    values = jnp.take_along_axis(values, order, axis=-1)
    vectors_of = jnp.take_along_axis(vectors_of, order[:, None, :], axis=-1)
    largest = jnp.take_along_axis(vectors_of, jnp.abs(vectors_of).argmax(-2, keepdims=True), axis=-2)
    # an eigenvector's phase is arbitrary: its largest entry is made real and positive, so that pictures repeat
    turned = jnp.exp(-1j * jnp.angle(largest).astype(largest.dtype))
    vectors_of = vectors_of * jnp.broadcast_to(turned, vectors_of.shape)
    vectors_of = jnp.where(there, vectors_of, jnp.zeros_like(vectors_of))
    sizes = jnp.abs(values)
    outside, on = (sizes > 1 + near).sum(-1), (jnp.abs(sizes - 1) <= near).sum(-1)
    at_one = (jnp.abs(values - 1) <= near).sum(-1)
    # in the order of KINDS_OF_POINTS
    kind = jnp.where(outside == values.shape[-1], 4, 3)
    kind = jnp.where(outside == 0, jnp.where(on == 0, 0, jnp.where(on == at_one, 1, 2)), kind)
    return FixedPoints(
        states,
        speed,
        real,
        real & (speed <= limit),
        found,
        jacobians,
        values,
        vectors_of,
        jnp.where(real, kind, -1),
        outside,
        jnp.abs(jnp.angle(values[:, 0])),
        total,
    )

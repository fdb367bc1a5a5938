"""Newton rounds: compute all states of a recurrence at once, and solve the linear recurrence of its tangents."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.notation import Array, Carry, Tree
from jaxseq.placement import any_on_mesh, settled
from jaxseq.recurrence._layout import Layout
from jaxseq.recurrence._linear import affine_scan, apply, smoothed
from jaxseq.recurrence._scan import hold, over_features

UNITS, FEW_UNITS = 16, 2
"""Largest difference of a state from the result of its step, in units in the last place, relative to the larger of 1
and its size; the second number is for 16-bit dtypes, whose unit is 1/128."""


class Limits(NamedTuple):
    """When rounds end, and the damping of their linear system.

    Fields:
      rounds: the largest number of rounds.
      tolerance: the largest difference of a state from the result of its step; None for `UNITS`.
      damping: damping of the linear system while a state is off by 1 or more, reduced once all are closer; 0 for none.
    """

    rounds: int
    tolerance: float | None = None
    damping: float = 0.0


class Round(NamedTuple):
    """The state of the iteration between two rounds.

    Fields:
      states: the guess, ``[T, B, ...]``.
      kept: ``[T, B]``, True for the steps before the first that does not agree.
      rounds: the number of rounds so far.
      grew: ``[B]``, whether the last round made more steps agree.
    """

    states: Carry
    kept: Array
    rounds: Array
    grew: Array


def olds_of(states: Carry, first: Carry, reverse: bool) -> Carry:
    """Return the carry before each step, from the carries after each step and the first one."""

    def moved(after: Array, first: Array) -> Array:
        return jnp.concatenate([after[1:], first[None]] if reverse else [first[None], after[:-1]])

    return jax.tree.map(moved, states, first)


def solved(
    news: Callable[[Carry], Carry],
    step: Callable[[Carry, Array], Carry],
    carry: Carry,
    guess: Carry,
    layout: Layout,
    limits: Limits,
    *,
    reverse: bool,
) -> tuple[Carry, tuple[Array, Array, Array]]:
    """Return the carry after each step, the number of rounds, of steps taken one by one, and the residual.

    Args:
      news: ``(olds [T, B, ...]) -> news``, the carry after every step from the carry before it.
      step: ``(old, place) -> new``, the step at one place.
      carry: before the first step.
      guess: the initial states, ``[T, B, ...]``.
      layout: the blocks of the Jacobian.
      limits: when to stop.
      reverse: run from the last step to the first.
    """
    olds, rows = partial(olds_of, first=carry, reverse=reverse), layout.rows

    def known(states: Carry, kept: Array) -> Array:
        """Return ``[T, B]``: whether this state and all before it equal the results of their steps, now or earlier."""
        within = distance(states, news(olds(states)), rows, limits.tolerance) <= 1
        return _from_the_first(within | kept, reverse)

    def one(state: Round) -> Round:
        new, A = layout.linearised(news, olds(state.states))
        states = _nearer(layout, limits.damping, reverse, state.states, new, A, state.kept)
        kept = known(states, state.kept)
        return Round(states, kept, state.rounds + 1, (kept & ~state.kept).any(axis=0))

    def more(state: Round) -> Array:
        # every row gains a step per round, unless its next state is not finite: then it makes no more progress
        return (state.rounds < limits.rounds) & any_on_mesh(state.grew & ~state.kept.all(axis=0))

    none = distance(guess, guess, rows, None) > 1
    first = Round(guess, known(guess, none), jnp.int32(0), ~none[0])
    found = lax.while_loop(more, one, settled(one, first))
    states, steps = _one_by_one(step, carry, found, reverse)
    residual = distance(states, news(olds(states)), rows, 1.0).max(axis=0)
    return states, (found.rounds, steps, residual)


def distance(states: Carry, new: Carry, rows: int, tolerance: float | None) -> Array:
    """Return ``[T, B]``: the distance of states from the results of their steps, in tolerances; NaN if not finite."""

    def of(a: Array, b: Array) -> Array:
        apart = abs(a - b) / (jnp.maximum(abs(b), 1) * _allowed(a.dtype, tolerance))
        apart = jnp.where(jnp.isfinite(b), apart, jnp.full_like(apart, jnp.nan))
        return apart.max(axis=tuple(range(1 + rows, a.ndim)), initial=0).astype(jnp.float32)

    return functools.reduce(jnp.maximum, jax.tree.leaves(jax.tree.map(of, states, new)))


def _allowed(dtype: jnp.dtype, tolerance: float | None) -> float:
    units = UNITS if jnp.finfo(dtype).bits >= 32 else FEW_UNITS
    return units * float(jnp.finfo(dtype).eps) if tolerance is None else tolerance


def _from_the_first(each: Array, reverse: bool) -> Array:
    """Return ``[T, B]``: whether `each` is True at this step and at all steps before it."""
    return lax.cumprod(each.astype(jnp.int32), axis=0, reverse=reverse) > 0


def _nearer(
    layout: Layout, damping: float, reverse: bool, states: Carry, new: Carry, A: Sequence[Array], kept: Array
) -> Carry:
    """Return the next guess: the solution of the system linearised at this one."""
    still = lambda a: jnp.where(over_features(kept, a), jnp.zeros_like(a), a)  # noqa: E731
    gap = [still(b) for b in layout.pack(jax.tree.map(jnp.subtract, new, states))]
    A = [still(a) for a in A]
    if damping:
        # damping fades near the solution, or convergence would be only linear (Yamashita & Fukushima 2001)
        largest = functools.reduce(jnp.maximum, [abs(b).max(axis=(0, -2, -1), initial=0) for b in gap])
        fading = damping * jnp.where(largest < 1, largest, jnp.ones_like(largest))
        change = layout.unpack(smoothed(A, gap, fading, reverse=reverse), states)
        exact = olds_of(kept, jnp.ones_like(kept[0]), reverse)  # a step from an exact state is exact
        whole = jax.tree.map(lambda n, h, y: jnp.where(over_features(exact, n), n, h + y), new, states, change)
    else:  # F(h) + A y instead of h + y: exact where y is 0, however far off h was
        change = affine_scan(A, gap, reverse=reverse)
        before = olds_of(change, [jnp.zeros_like(c[0]) for c in change], reverse)
        whole = jax.tree.map(jnp.add, new, layout.unpack(apply(A, before), states))

    def chosen(whole: Array, new: Array, old: Array) -> Array:
        return jnp.where(over_features(kept, old), old, jnp.where(jnp.isfinite(whole), whole, new))

    return jax.tree.map(chosen, whole, new, states)


def one_of(tree: Tree, place: Array) -> Tree:
    """Return the entry at a traced index of the first axis."""
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, place, keepdims=False), tree)


def _one_by_one(
    step: Callable[[Carry, Array], Carry], carry: Carry, found: Round, reverse: bool
) -> tuple[Carry, Array]:
    """Compute one by one the states that the rounds did not reach; return all states, and how many those were."""
    T = found.kept.shape[0]
    reached = found.kept.sum(axis=0, dtype=jnp.int32).min(initial=T)

    def take(state: tuple[Array, Carry]) -> tuple[Array, Carry]:
        n, states = state
        place = T - 1 - n if reverse else n
        before = one_of(states, place + 1 if reverse else place - 1)
        old = jax.tree.map(lambda first, b: jnp.where(n == 0, first, b), carry, before)
        new = hold(~one_of(found.kept, place), step(old, place), one_of(states, place))
        return n + 1, jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b, place, 0), states, new)

    more = lambda state: any_on_mesh(state[0] < T)  # noqa: E731
    return lax.while_loop(more, take, settled(take, (reached, found.states)))[1], T - reached


def linear(news: Callable[[Carry], Carry], olds: Carry, added: Carry, layout: Layout, *, reverse: bool) -> Carry:
    """Return ``y_t = A_t y_{t-1} + added_t`` from ``y = 0``, linear in `added`; A is the Jacobian of news at olds."""
    A = layout.linearised(news, olds)[1]
    nearly = lambda b: layout.unpack(affine_scan(A, layout.pack(b), reverse=reverse), b)  # noqa: E731
    if not layout.cut:
        return nearly(added)
    push = jax.linearize(news, olds)[1]

    def gap(y: Carry) -> Carry:
        before = olds_of(y, jax.tree.map(lambda a: jnp.zeros_like(a[0]), y), reverse)
        return jax.tree.map(jnp.subtract, y, push(before))

    def forth(gap: Callable[[Carry], Carry], b: Carry) -> Carry:
        return _refined(gap, nearly, b, layout.rows, reverse)

    def back(gap: Callable[[Carry], Carry], b: Carry) -> Carry:
        return _refined(gap, lambda b: jax.linear_transpose(nearly, b)(b)[0], b, layout.rows, not reverse)

    return lax.custom_linear_solve(gap, added, forth, back)


def _refined(
    gap: Callable[[Carry], Carry], nearly: Callable[[Carry], Carry], b: Carry, rows: int, reverse: bool
) -> Carry:
    """Return y with ``gap(y) = b``, by rounds as in `solved`, given a function that solves it approximately.

    Two rounds for each step are always enough; a row in which a number is not finite is NaN.
    """
    features = lambda a: tuple(range(1 + rows, a.ndim))  # noqa: E731
    largest = lambda tree: functools.reduce(  # noqa: E731, [T, B]
        jnp.maximum, [abs(a).max(axis=features(a), initial=0).astype(jnp.float32) for a in jax.tree.leaves(tree)]
    )
    units = max(_allowed(a.dtype, None) for a in jax.tree.leaves(b))

    def left(y: Carry) -> tuple[Carry, Array]:
        r = jax.tree.map(jnp.subtract, b, gap(y))
        scale = jnp.maximum(largest(y), largest(b)).max(axis=0, keepdims=True)
        return r, largest(r) / jnp.maximum(scale, jnp.finfo(jnp.float32).tiny)

    def one(state: tuple[Array, Carry, Carry, Array, Array]) -> tuple[Array, Carry, Carry, Array, Array]:
        n, y, r, kept, _ = state
        r = jax.tree.map(lambda a: jnp.where(over_features(kept, a), jnp.zeros_like(a), a), r)
        change = jax.tree.map(lambda c, a: jnp.where(jnp.isfinite(c), c, a), nearly(r), r)
        return judged(n + 1, jax.tree.map(jnp.add, y, change), kept)

    def judged(n: Array, y: Carry, kept: Array) -> tuple[Array, Carry, Carry, Array, Array]:
        r, apart = left(y)
        return n, y, r, _from_the_first((apart <= units) | kept, reverse), jnp.isfinite(apart).all(axis=0)

    def more(state: tuple[Array, Carry, Carry, Array, Array]) -> Array:
        n, _, _, kept, finite = state
        return (n < 2 * kept.shape[0]) & any_on_mesh(finite & ~kept.all(axis=0))

    zeros = jax.tree.map(jnp.zeros_like, b)
    first = judged(jnp.int32(0), zeros, largest(zeros) > 0)
    _, y, _, _, finite = lax.while_loop(more, one, settled(one, first))
    return jax.tree.map(lambda a: jnp.where(over_features(finite[None], a), a, jnp.full_like(a, jnp.nan)), y)

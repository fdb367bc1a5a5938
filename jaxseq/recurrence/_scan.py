"""Plain scan: one `jax.lax.scan` over time, derivatives of any order. Every other recurrence must equal it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.cells import Cell
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.placement import beside, settled


class Recurrence(Protocol):
    """A way to run a cell over time, which `unroll` calls after checking and preparing all arguments."""

    def __call__(
        self,
        cell: Cell,
        params: Params,
        xs: Tree,
        carry: Carry,
        *,
        mask: Array | None = None,
        resets: Array | None = None,
        reverse: bool = False,
    ) -> tuple[Carry, Tree]:
        """Return ``(carry, outs)`` of ``xs [T, B, D]``.

        Args:
          cell: a Cell.
          params: its parameters.
          xs: the inputs, zero on padding.
          carry: the state before the first step to run.
          mask: bool ``[T, B]``; a padded step holds the carry and outputs zeros.
          resets: bool ``[T, B]``, True where the carry is ``cell.initial_carry`` before the step, padded or not. With
            `reverse` they refer to the steps in the order in which they run, from the last to the first.
          reverse: run from the last step to the first.
        """


def scan(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]``; the input terms of all T are computed at once, before the loop.

    As a Python loop::

        for t in range(T):                              # from the last to the first if reverse
            carry = where(resets[t], initial, carry)    # a new sequence begins
            new, out = cell.step(params, carry, xs[t])
            carry = where(mask[t], new, carry)          # a padded step holds the carry
            outs[t] = where(mask[t], out, 0)
    """
    # [T, B, G]: one product over T * B rows reads W once; the loop would read it T times
    wx = cell.input_terms(params, xs)
    initial = reset_carry(cell, params, xs, resets)

    def step(carry: Carry, at_t: tuple[Tree, Array | None, Array | None]) -> tuple[Carry, Tree]:
        wx, real, begins = at_t
        # before hidden_terms, so h U already belongs to the new sequence
        carry = restart(begins, initial, carry)
        new, out, _ = cell.advance(params, carry, wx)
        # a select instead of a product with the mask: 0 * nan would let a NaN in padding through
        return hold(real, new, carry), hold(real, out, jax.tree.map(jnp.zeros_like, out))

    return over_time(step, carry, (wx, mask, resets), reverse=reverse)


def over_time(step: Callable[..., Any], carry: Carry, xs: Tree, *, reverse: bool) -> tuple[Carry, Tree]:
    """Return `jax.lax.scan` of a step, from a carry with the type that steps return."""
    # with T = 0 there is no first step to give the type
    if jax.tree.leaves(xs)[0].shape[0]:
        carry = settled(lambda carry, xs: step(carry, jax.tree.map(lambda a: a[0], xs))[0], carry, xs)
    return lax.scan(step, carry, xs, reverse=reverse)


def over_time_ahead(step: Callable[..., Any], carry: Carry, xs: tuple, *, reverse: bool) -> tuple[Carry, Tree]:
    """Run a loop as `over_time` does, with ``xs[0]`` of each step read at the end of the step before.

    XLA for CPU fuses a read from a sequence with the operations on it, and may then not vectorise the result.
    """
    T = jax.tree.leaves(xs)[0].shape[0]
    if isinstance(T, int) and T == 0:
        return over_time(step, carry, xs, reverse=reverse)
    first = jax.tree.map(lambda a: a[-1] if reverse else a[0], xs[0])
    cut = -1 if reverse else 1  # the rolled-in element is read after the last step and never used
    # following[t] is xs[0] of the step after t, in the direction of the loop
    following = jax.tree.map(lambda a: jnp.concatenate([a[cut:], a[:cut]]), xs[0])

    def both(state: tuple[Carry, Tree], at_t: tuple) -> tuple[tuple[Carry, Tree], Tree]:
        (carry, now), (following, *others) = state, at_t
        carry, out = step(carry, (now, *others))
        return (carry, following), out

    # the element read ahead travels in the loop's state, next to the carry
    (carry, _), outs = over_time(both, (carry, first), (following, *xs[1:]), reverse=reverse)
    return carry, outs


def reset_carry(cell: Cell, params: Params, xs: Tree, resets: Array | None) -> Carry | None:
    """Return the carry that a reset goes back to; None without resets."""
    return None if resets is None else fresh_carry(cell, params, xs)


def fresh_carry(cell: Cell, params: Params, xs: Tree) -> Carry:
    """Return the carry before ``xs [T, B, D]``, with rows sharded like those of xs."""
    # all axes between time and features: [B], or none, or [B, X, Y] for a convolutional cell
    batch = jax.tree.leaves(xs)[0].shape[1:-1]
    return beside(cell.initial_carry(params, batch), xs, batch, 1)


def restart(begins: Array | None, initial: Carry | None, carry: Carry) -> Carry:
    """Return `initial` where a new sequence begins and `carry` elsewhere; ``begins [B]``, every leaf ``[B, ...]``."""
    return carry if begins is None else hold(begins, initial, carry)


def hold(real: Array | None, new: Tree, old: Tree) -> Tree:
    """Return `new` where the step is real and `old` where it is padding; ``real [B]``, every leaf ``[B, ...]``."""
    if real is None:
        return new
    return jax.tree.map(lambda n, o: jnp.where(over_features(real, n), n, o), new, old)


def over_features(mask: Array, like: Array) -> Array:
    """Return the mask with trailing axes of length 1, up to the rank of `like`."""
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))


def added(terms: Sequence[Array]) -> Array:
    """Return the sum of one or more arrays of one shape."""
    return functools.reduce(jnp.add, terms)

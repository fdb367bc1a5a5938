"""Plain scan: one `jax.lax.scan` over time, any derivative order. What every other recurrence must equal."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.cells import Cell
from jaxseq.notation import Array, Carry, Params, Tree


def scan(cell: Cell, params: Params, carry: Carry, xs: Tree, mask: Array | None, reverse: bool) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]``; the input terms of all T are computed at once, before the loop.

    As a Python loop::

        for t in range(T):                              # from the last to the first if reverse
            new, out = cell.step(params, carry, xs[t])
            carry = where(mask[t], new, carry)          # a padded step holds the carry
            outs[t] = where(mask[t], out, 0)
    """
    wx = cell.input_terms(params, xs)

    def step(carry: Carry, at_t: tuple[Tree, Array | None]) -> tuple[Carry, Tree]:
        wx, real = at_t
        new, out, _ = cell.advance(params, carry, wx)
        return hold(real, new, carry), hold(real, out, jax.tree.map(jnp.zeros_like, out))

    return lax.scan(step, carry, (wx, mask), reverse=reverse)


def hold(real: Array | None, new: Tree, old: Tree) -> Tree:
    """Return `new` where the step is real and `old` where it is padding; ``real [B]``, every leaf ``[B, ...]``."""
    if real is None:
        return new
    return jax.tree.map(lambda n, o: jnp.where(over_features(real, n), n, o), new, old)


def over_features(mask: Array, like: Array) -> Array:
    """Return the mask with trailing axes of length 1 added, up to the rank of `like`."""
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))

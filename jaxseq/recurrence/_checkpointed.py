"""Checkpointed scan, for sequences whose activations would not fit: keeps one carry a segment, recomputes the rest.

With segments of about sqrt(T) steps the memory of a backward pass grows with sqrt(T), and each step is computed
twice (Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv:1604.06174, section 4).
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence._deferred import deferred
from jaxseq.recurrence._scan import over_time


def checkpointed(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    segment: int | None = None,
) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]`` in checkpointed segments.

    Args:
      segment: steps in one; sqrt(T), rounded up, by default. Another length is given as
        ``recurrence=functools.partial(checkpointed, segment=64)``.

    Raises:
      InputError: if segment is below 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import gru
      >>> from jaxseq.recurrence import checkpointed
      >>> params, xs = gru.init(jax.random.key(0), 3, 5), jnp.ones((1000, 2, 3))
      >>> jax.grad(lambda p: unroll(gru, p, xs, recurrence=checkpointed)[1].sum())(params).U.shape
      (5, 15)
    """
    T = jax.tree.leaves(xs)[0].shape[0]
    length = segment if segment is not None else max(1, math.isqrt(max(T - 1, 0)) + 1)
    if length < 1:
        raise InputError(f"checkpointed: segment must be at least 1 step; got {segment}")
    whole = T - T % length

    @partial(jax.checkpoint, prevent_cse=False)  # inside a scan nothing could be merged across segments
    def run(params: Params, carry: Carry, part: Tree) -> tuple[Carry, Tree]:
        xs, mask, resets = part
        return deferred(cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse)

    def over_segments(carry: Carry) -> tuple[Carry, Tree]:
        parts = jax.tree.map(lambda a: a[:whole].reshape(whole // length, length, *a.shape[1:]), (xs, mask, resets))
        carry, outs = over_time(lambda k, part: run(params, k, part), carry, parts, reverse=reverse)
        return carry, jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), outs)

    def over_rest(carry: Carry) -> tuple[Carry, Tree]:
        return run(params, carry, jax.tree.map(lambda a: a[whole:], (xs, mask, resets)))

    if reverse:
        carry, late = over_rest(carry)
        carry, early = over_segments(carry)
    else:
        carry, early = over_segments(carry)
        carry, late = over_rest(carry)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), early, late)

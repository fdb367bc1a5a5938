"""Checkpointed scan, for sequences whose activations do not fit: keeps one carry per segment, recomputes the rest.

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

SYMBOLIC_LENGTH = 32
"""Steps in a segment if T is symbolic, since jax has no symbolic square root: optimal for T of about 1,000."""


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
      segment: largest number of steps in a segment; by default sqrt(T), rounded up, or 32 in a program exported for any
        T. Set it by ``recurrence=functools.partial(checkpointed, segment=64)``.

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
    length = _length(T) if segment is None else segment
    if length < 1:
        raise InputError(f"checkpointed: segment must be at least 1 step; got {segment}")
    segments = -(-T // length)  # rounded up: at least 1 even for a symbolic T, as a loop requires
    if isinstance(T, int) and T:
        # as even as possible, to pad little: T = 9 by 4 becomes 3 segments of 3
        length = -(-T // segments)
    padding = segments * length - T
    if not isinstance(padding, int) or padding:
        # the added steps are padding, so a mask is needed now; jnp.pad fills it with False
        mask = all_real(cell, xs) if mask is None else mask
        pad = lambda a: jnp.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1))  # noqa: E731
        # at the end even in reverse, where the padded steps run first and hold the carry
        xs, mask, resets = jax.tree.map(pad, (xs, mask, resets))

    @partial(jax.checkpoint, prevent_cse=False)  # in a scan, CSE cannot undo the recomputation
    def run(params: Params, carry: Carry, part: Tree) -> tuple[Carry, Tree]:
        xs, mask, resets = part
        # under jax.checkpoint only the carry into the segment is kept: [B, H] instead of [length, B, ...]
        return deferred(cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse)

    # [segments * length, B, ...] to [segments, length, B, ...]
    parts = jax.tree.map(lambda a: a.reshape(segments, length, *a.shape[1:]), (xs, mask, resets))
    carry, outs = over_time(lambda k, part: run(params, k, part), carry, parts, reverse=reverse)
    return carry, jax.tree.map(lambda a: a.reshape(segments * length, *a.shape[2:])[:T], outs)


def _length(T: int) -> int:
    """Return the default number of steps in a segment: sqrt(T), rounded up."""
    # isqrt(T - 1) + 1 is ceil(sqrt(T)), exact for any T
    return max(1, math.isqrt(max(T - 1, 0)) + 1) if isinstance(T, int) else SYMBOLIC_LENGTH


def all_real(cell: Cell, xs: Tree) -> Array:
    """Return a mask of True, ``[T, B]``, sharded as xs is."""
    first = jax.tree.leaves(xs)[0]
    # made by indexing xs, to have its sharding and its symbolic sizes
    return jnp.ones_like(first[(..., *[0] * (1 + cell.spatial))], bool)

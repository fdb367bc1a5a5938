"""Scan with the carry's gradient clipped in the backward pass, so it cannot explode over a long sequence."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence._deferred import deferred
from jaxseq.recurrence._scan import over_time


def clipped(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    limit: float | Array = 1.0,
    segment: int = 1,
) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]`` as every recurrence does; clip the carry's gradient in the backward pass.

    Args:
      limit: each entry of the gradient with respect to the carry is clipped to ``[-limit, limit]``.
      segment: steps between two clippings; each segment runs by `deferred`. Set both by
        ``recurrence=functools.partial(clipped, limit=0.1, segment=20)``.

    The result is not the gradient of any function, and JAX refuses forward mode. Reference: Graves 2013, "Generating
    sequences with recurrent neural networks", arXiv:1308.0850, section 2.1.

    Raises:
      InputError: if limit is not positive, or T is not a multiple of segment.

    Example:
      >>> from functools import partial
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import lstm
      >>> params, xs = lstm.init(jax.random.key(0), 3, 5), jnp.ones((100, 2, 3))
      >>> run = partial(clipped, limit=0.1)
      >>> jax.grad(lambda p: unroll(lstm, p, xs, recurrence=run)[1].sum())(params).U.shape
      (5, 20)
    """
    # a traced limit cannot be checked
    if not isinstance(limit, jax.core.Tracer) and not float(limit) > 0:
        raise InputError(f"clipped: limit must be above 0, the largest entry of a gradient; got {limit}")
    T = jax.tree.leaves(xs)[0].shape[0]
    if segment < 1 or T % segment:
        raise InputError(f"clipped: T must be a multiple of segment; got T = {T} and segment = {segment}")

    def run(carry: Carry, part: Tree) -> tuple[Carry, Tree]:
        xs, mask, resets = part
        # clipped where the carry enters: there its gradient has passed back through this segment
        return deferred(cell, params, xs, _clip(carry, limit), mask=mask, resets=resets, reverse=reverse)

    # [T, B, ...] to [segments, segment, B, ...]; a missing mask or resets (None) has no leaf
    parts = jax.tree.map(lambda a: a.reshape(T // segment, segment, *a.shape[1:]), (xs, mask, resets))
    carry, outs = over_time(run, carry, parts, reverse=reverse)
    return carry, jax.tree.map(lambda a: a.reshape(T, *a.shape[2:]), outs)


# custom_vjp instead of custom_jvp: clipping a cotangent is not linear, so it has no forward rule
@jax.custom_vjp
# limit is an argument instead of nondiff, so it may be traced
def _clip(carry: Carry, limit: float | Array) -> Carry:
    return carry


def _clip_back(limit: Array, gradient: Carry) -> tuple[Carry, Array]:
    def clip(g: Array) -> Array:
        # the cotangent of an integer leaf, such as a counter, has dtype float0 and cannot be clipped
        bound = jnp.asarray(limit, g.dtype) if g.dtype != jax.dtypes.float0 else None
        return g if bound is None else jnp.clip(g, -bound, bound)

    return jax.tree.map(clip, gradient), jnp.zeros_like(limit)


_clip.defvjp(lambda carry, limit: (carry, jnp.asarray(limit)), _clip_back)

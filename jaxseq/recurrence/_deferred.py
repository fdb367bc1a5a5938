"""Deferred scan: the default. Weight gradients wait until the loop is over, and are then single large matrix products.

JAX's own transpose of a scan adds to the gradient of every weight at each step, and stores what the derivative of each
gate needs. Here nothing of any cell's derivative is written down either, but JAX is told the order of the work, by a
`jax.custom_jvp` whose tangent rule is made of the cell's own three functions:

1. the primal loop keeps the old carry and the terms of each step, and nothing else;
2. tangents of parameters and inputs enter the terms of all T at once: ``olds dU``, ``xs dW``. Transposed, each is one
   product over ``[T * B]`` after the loop: dU, dW, db, dx;
3. what is left is a *linear* scan over the carry's tangent, which JAX transposes by itself into the backward loop.
   Its step is under `jax.checkpoint`: the derivative of `gates` is computed where it is used, and never stored.
   Parameters used inside the gates (attention, the upper layers of a stack) get their gradients there, step by step:
   in bulk they would need every intermediate of the gates for all T, and were slower (14.6 against 24.8 ms for an
   attention cell of T, B, S, H = 12, 64, 14, 192; plain scan 19.8).

So forward mode, reverse mode, second derivatives, `vmap` and `jax.linearize` work as with plain scan.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.cells import Cell
from jaxseq.cells._closed import closes_over_traced
from jaxseq.cells._recipe import join, split
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.placement import on_mesh
from jaxseq.recurrence._scan import hold, over_time, reset_carry, restart, scan

HOIST_BELOW = 32
"""Rows in a batch from which on a CPU computes the input terms in the loop, step by step.

Before the loop they are one large product, which reads the weights once and not T times; but they must be written to
memory and read again, which takes longer once a step's rows keep the weights busy. Value and gradient of an LSTM in
milliseconds on 2 cores, before and in the loop (B, T, D, H): 6.4 and 6.9 (32, 50, 128, 128), 101 and 92 (64, 100, 256,
256), 142 and 137 (64, 50, 512, 512), 291 and 340 (16, 100, 1024, 1024). An accelerator wants the large product.
"""


def deferred(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]`` as `scan` does, with a backward pass that is faster and needs less memory.

    A custom cell whose functions close over traced values, such as a lambda made inside a loss, is run by `scan`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import lstm
      >>> from jaxseq.recurrence import deferred
      >>> params, xs = lstm.init(jax.random.key(0), 3, 5), jnp.ones((100, 2, 3))
      >>> jax.grad(lambda p: unroll(lstm, p, xs, recurrence=deferred)[1].sum())(params).U.shape
      (5, 20)
    """
    if closes_over_traced(cell, params, carry, _of_a_step(xs)):
        return scan(cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse)
    static, arrays = split(cell)  # a custom_jvp must be given what it differentiates: nothing may be closed over
    initial = reset_carry(cell, params, xs, resets)
    return _run(static, reverse, (arrays, params), xs, carry, initial, mask, resets)


class _Kept(NamedTuple):
    """What the primal loop leaves for the derivative, stacked over time.

    Fields:
      old: the carry before each step, after a reset.
      wx: the input terms; None where the gates use them only in the sum wx + uh.
      uh: the hidden terms, or that sum.
    """

    old: Carry
    wx: Tree
    uh: Tree


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _run(
    static: Any,
    reverse: bool,
    bound: tuple[list[Array], Params],
    xs: Tree,
    carry: Carry,
    initial: Carry | None,
    mask: Array | None,
    resets: Array | None,
) -> tuple[Carry, Tree]:
    return _primal(static, reverse, bound, xs, carry, initial, mask, resets)[0]


def _primal(
    static: Any,
    reverse: bool,
    bound: tuple[list[Array], Params],
    xs: Tree,
    carry: Carry,
    initial: Carry | None,
    mask: Array | None,
    resets: Array | None,
    *,
    keep: bool = False,
    summed: bool = False,
) -> tuple[tuple[Carry, Tree], _Kept | None]:
    """Return ``(carry, outs)``, and what `_tangents` needs if asked to keep it; `summed` as `_only_summed` says."""
    arrays, params = bound
    cell = join(static, arrays)
    hoist = _hoists(jax.tree.leaves(xs)[0].shape[1:-1])
    terms = cell.input_terms(params, xs) if hoist else xs

    def step(old: Carry, at_t: tuple[Tree, Array | None, Array | None]) -> tuple[Carry, tuple[Tree, _Kept | None]]:
        wx, real, begins = at_t
        # the carry is reset before its product with U, so that wx + uh are still only summed
        old = restart(begins, initial, old)
        wx = wx if hoist else cell.input_terms(params, wx)
        uh = cell.hidden_terms(params, old)
        if summed:
            wx, uh = None, _add(wx, uh)
        new, out = _gates(static, real, bound, old, wx, uh)
        return new, (out, _Kept(old, None if hoist else wx, uh) if keep else None)

    last, (outs, kept) = over_time(step, carry, (terms, mask, resets), reverse=reverse)
    if kept is not None and hoist and not summed:
        kept = kept._replace(wx=terms)
    return (last, outs), kept


@_run.defjvp
def _tangents(static: Any, reverse: bool, primals: tuple, tangents: tuple) -> tuple:
    bound, xs, carry, _, mask, resets = primals
    dbound, dxs, dcarry, dinitial, _, _ = tangents
    summed = _only_summed(static, bound, xs, carry)
    primal, kept = _primal(static, reverse, *primals, keep=True, summed=summed)
    assert kept is not None

    def input_terms(bound: tuple, xs: Tree) -> Tree:
        return join(static, bound[0]).input_terms(bound[1], xs)

    def hidden_terms(bound: tuple, old: Carry) -> Tree:
        return join(static, bound[0]).hidden_terms(bound[1], old)

    # in bulk, for all T: what tangents of params and inputs add to the terms
    dwx = jax.jvp(input_terms, (bound, _features_first(xs)), (dbound, dxs))[1]
    olds = _features_first(kept.old)
    duh = jax.jvp(lambda bound: hidden_terms(bound, olds), (bound,), (dbound,))[1]
    if summed:
        dwx, duh = None, _add(dwx, duh)

    @partial(jax.checkpoint, prevent_cse=False)  # inside a scan nothing could be merged
    def step(dold: Carry, at_t: tuple) -> tuple[Carry, Tree]:
        (old, wx, uh), real, begins, dwx, duh = at_t
        dold = restart(begins, dinitial, dold)
        duh = _add(duh, jax.jvp(lambda old: hidden_terms(bound, old), (old,), (dold,))[1])
        return jax.jvp(partial(_gates, static, real), (bound, old, wx, uh), (dbound, dold, dwx, duh))[1]

    return primal, over_time(step, dcarry, (kept, mask, resets, dwx, duh), reverse=reverse)


def _gates(static: Any, real: Array | None, bound: tuple, old: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree]:
    """Return ``(carry, out)`` of a step that holds where it is padding; wx None stands for zeros."""
    arrays, params = bound
    wx = jax.tree.map(jnp.zeros_like, uh) if wx is None else wx
    new, out, _ = join(static, arrays).equations(params, old, wx, uh)
    return hold(real, new, old), hold(real, out, jax.tree.map(jnp.zeros_like, out))


def _only_summed(static: Any, bound: tuple, xs: Tree, carry: Carry) -> bool:
    """Return whether the gates use wx and uh only as ``wx + uh``: one array then serves for both, and one cotangent.

    Read off the jaxpr of their transpose: the two cotangents are then one and the same variable.
    """
    cell = join(static, bound[0])
    params = bound[1]
    wx, uh = jax.eval_shape(
        lambda p, k, x: (cell.input_terms(p, x), cell.hidden_terms(p, k)), params, carry, _of_a_step(xs)
    )
    if jax.tree.map(lambda a: (a.shape, a.dtype), wx) != jax.tree.map(lambda a: (a.shape, a.dtype), uh):
        return False

    def pull(params: Params, old: Carry, wx: Tree, uh: Tree) -> Tree:
        value, pull = jax.vjp(lambda wx, uh: cell.equations(params, old, wx, uh)[:2], wx, uh)
        return pull(value)

    cotangents = jax.make_jaxpr(pull)(params, carry, wx, uh).jaxpr.outvars
    half = len(cotangents) // 2
    return all(a is b for a, b in zip(cotangents[:half], cotangents[half:], strict=True))


def _of_a_step(xs: Tree) -> Tree:
    """Return the shapes and dtypes of one step's input."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)


def _features_first(tree: Tree) -> Tree:
    """Return the same arrays, laid out in a CPU's memory as the products after the loop want to read them.

    Left to itself, XLA for CPU transposes the cotangent of the terms instead, which is G times larger (LSTM of 64, 100,
    256, 256: 101 instead of 108 milliseconds).
    """
    if not _on_cpu() or on_mesh():  # sharded axes cannot be merged
        return tree

    def turn(a: Array) -> Array:
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        return lax.optimization_barrier(a.reshape(-1, a.shape[-1]).T).T.reshape(a.shape)

    return jax.tree.map(turn, tree)


def _hoists(batch_shape: tuple[int, ...]) -> bool:
    """Return whether the input terms are computed before the loop: where that is not known to be slower.

    A symbolic batch has no number of rows, and that of a sharded one is not what a device sees.
    """
    known = all(isinstance(n, int) for n in batch_shape)
    return not _on_cpu() or on_mesh() or not known or math.prod(batch_shape) < HOIST_BELOW


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _add(a: Tree, b: Tree) -> Tree:
    return jax.tree.map(jnp.add, a, b)

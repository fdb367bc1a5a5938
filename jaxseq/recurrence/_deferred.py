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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.cells import Cell
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence._scan import hold

HOIST_BELOW = 32
"""Rows in a batch from which on a CPU computes the input terms in the loop, step by step.

Before the loop they are one large product, which reads the weights once and not T times; but they must be written to
memory and read again, which takes longer once a step's rows keep the weights busy. Value and gradient of an LSTM in
milliseconds on 2 cores, before and in the loop (B, T, D, H): 6.4 and 6.9 (32, 50, 128, 128), 101 and 92 (64, 100, 256,
256), 142 and 137 (64, 50, 512, 512), 291 and 340 (16, 100, 1024, 1024). An accelerator wants the large product.
"""


def deferred(
    cell: Cell, params: Params, carry: Carry, xs: Tree, mask: Array | None, reverse: bool
) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]`` as `scan` does, with a backward pass that is faster and needs less memory.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import lstm
      >>> from jaxseq.recurrence import deferred
      >>> params, xs = lstm.init(jax.random.key(0), 3, 5), jnp.ones((100, 2, 3))
      >>> jax.grad(lambda p: unroll(lstm, p, None, xs, recurrence=deferred)[1].sum())(params).U.shape
      (5, 20)
    """
    return _run(cell, reverse, params, carry, xs, mask)


class _Kept(NamedTuple):
    """What the primal loop leaves for the derivative, stacked over time.

    Fields:
      old: the carry before each step.
      wx: the input terms; None where the gates use them only in the sum wx + uh.
      uh: the hidden terms, or that sum.
    """

    old: Carry
    wx: Tree
    uh: Tree


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _run(cell: Cell, reverse: bool, params: Params, carry: Carry, xs: Tree, mask: Array | None) -> tuple[Carry, Tree]:
    return _primal(cell, reverse, params, carry, xs, mask)[0]


def _primal(
    cell: Cell,
    reverse: bool,
    params: Params,
    carry: Carry,
    xs: Tree,
    mask: Array | None,
    *,
    keep: bool = False,
    summed: bool = False,
) -> tuple[tuple[Carry, Tree], _Kept | None]:
    """Return ``(carry, outs)``, and what `_tangents` needs if asked to keep it; `summed` as `_only_summed` says."""
    rows = math.prod(jax.tree.leaves(xs)[0].shape[1:-1])
    hoist = rows < HOIST_BELOW or not _on_cpu()
    terms = cell.input_terms(params, xs) if hoist else xs

    def step(old: Carry, at_t: tuple[Tree, Array | None]) -> tuple[Carry, tuple[Tree, _Kept | None]]:
        wx, real = at_t
        wx = wx if hoist else cell.input_terms(params, wx)
        uh = cell.hidden_terms(params, old)
        if summed:
            wx, uh = None, _add(wx, uh)
        new, out = _gates(cell, real, params, old, wx, uh)
        return new, (out, _Kept(old, None if hoist else wx, uh) if keep else None)

    last, (outs, kept) = lax.scan(step, carry, (terms, mask), reverse=reverse)
    if kept is not None and hoist and not summed:
        kept = kept._replace(wx=terms)
    return (last, outs), kept


@_run.defjvp
def _tangents(cell: Cell, reverse: bool, primals: tuple, tangents: tuple) -> tuple:
    params, carry, xs, mask = primals
    dparams, dcarry, dxs, _ = tangents
    summed = _only_summed(cell, params, carry, xs)
    primal, kept = _primal(cell, reverse, params, carry, xs, mask, keep=True, summed=summed)
    assert kept is not None

    # in bulk, for all T: what tangents of params and inputs add to the terms
    dwx = jax.jvp(cell.input_terms, (params, _features_first(xs)), (dparams, dxs))[1]
    olds = _features_first(kept.old)
    duh = jax.jvp(lambda params: cell.hidden_terms(params, olds), (params,), (dparams,))[1]
    if summed:
        dwx, duh = None, _add(dwx, duh)

    @partial(jax.checkpoint, prevent_cse=False)  # inside a scan nothing could be merged
    def step(dold: Carry, at_t: tuple) -> tuple[Carry, Tree]:
        (old, wx, uh), real, dwx, duh = at_t
        duh = _add(duh, jax.jvp(lambda old: cell.hidden_terms(params, old), (old,), (dold,))[1])
        return jax.jvp(partial(_gates, cell, real), (params, old, wx, uh), (dparams, dold, dwx, duh))[1]

    return primal, lax.scan(step, dcarry, (kept, mask, dwx, duh), reverse=reverse)


def _gates(cell: Cell, real: Array | None, params: Params, old: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree]:
    """Return ``(carry, out)`` of a step that holds where it is padding; wx None stands for zeros."""
    new, out, _ = cell.gates(params, old, jax.tree.map(jnp.zeros_like, uh) if wx is None else wx, uh)
    return hold(real, new, old), hold(real, out, jax.tree.map(jnp.zeros_like, out))


def _only_summed(cell: Cell, params: Params, carry: Carry, xs: Tree) -> bool:
    """Return whether the gates use wx and uh only as ``wx + uh``: one array then serves for both, and one cotangent.

    Read off the jaxpr of their transpose: the two cotangents are then one and the same variable.
    """
    x = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)
    wx, uh = jax.eval_shape(lambda p, k, x: (cell.input_terms(p, x), cell.hidden_terms(p, k)), params, carry, x)
    if jax.tree.map(lambda a: (a.shape, a.dtype), wx) != jax.tree.map(lambda a: (a.shape, a.dtype), uh):
        return False

    def pull(params: Params, old: Carry, wx: Tree, uh: Tree) -> Tree:
        value, pull = jax.vjp(lambda wx, uh: cell.gates(params, old, wx, uh)[:2], wx, uh)
        return pull(value)

    cotangents = jax.make_jaxpr(pull)(params, carry, wx, uh).jaxpr.outvars
    half = len(cotangents) // 2
    return all(a is b for a, b in zip(cotangents[:half], cotangents[half:], strict=True))


def _features_first(tree: Tree) -> Tree:
    """Return the same arrays, laid out in a CPU's memory as the products after the loop want to read them.

    Left to itself, XLA for CPU transposes the cotangent of the terms instead, which is G times larger (LSTM of 64, 100,
    256, 256: 101 in place of 108 milliseconds).
    """
    if not _on_cpu():
        return tree

    def turn(a: Array) -> Array:
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        return lax.optimization_barrier(a.reshape(-1, a.shape[-1]).T).T.reshape(a.shape)

    return jax.tree.map(turn, tree)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _add(a: Tree, b: Tree) -> Tree:
    return jax.tree.map(jnp.add, a, b)

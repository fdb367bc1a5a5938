"""Deferred scan, the default: weight gradients are computed after the loop, as single large matrix products.

JAX's own transpose of a scan adds to the gradient of every weight at each step, and stores the values that the
derivative of each gate needs. Here a `jax.custom_jvp` changes the order of the work. No cell's derivative is written by
hand: the tangent rule is derived from the cell's three functions:

1. the primal loop stores the old carry and the values that `_cuts` chooses: for an LSTM the sum ``x W + b + h U``;
2. tangents of parameters and inputs enter these values for all T at once: ``olds dU``, ``xs dW``, and likewise for
   every product with a weight inside the equations. Transposed, each is one product over ``[T * B]`` after the loop;
3. the rest is a *linear* scan over the carry's tangent, which JAX transposes into the backward loop.
   Its step is under `jax.checkpoint`: the derivative of the equations is computed where it is used, and never stored.
   Only a parameter that is used in other ways, such as a peephole, gets its gradient there, step by step.

So forward mode, reverse mode, second derivatives, `vmap` and `jax.linearize` work as with plain scan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.cells._closed import closes_over_traced
from jaxseq.cells._recipe import join, split
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.placement import on_mesh, settled, varying_as
from jaxseq.recurrence._scan import added, hold, over_time, over_time_ahead, reset_carry, restart, scan
from jaxseq.trees import step_shapes

if TYPE_CHECKING:
    from jaxseq.recurrence._cuts import Cut, Cuts

HOIST_BELOW = 32
"""Batch rows from which a CPU computes the input terms in the loop, step by step.

Before the loop they are one large product, which reads the weights once instead of T times; but they must be written to
memory and read again, which takes longer once a step has enough rows to reuse the weights. Value and gradient of an
LSTM in milliseconds on 2 cores, before and in the loop (B, T, D, H): 6.4 and 6.9 (32, 50, 128, 128), 101 and 92 (64,
100, 256, 256), 142 and 137 (64, 50, 512, 512), 291 and 340 (16, 100, 1024, 1024). Accelerators always use the large
product.
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
    # custom_jvp has no derivative with respect to closed-over values: they would be leaked tracers
    if closes_over_traced(cell, params, carry, step_shapes(xs)):
        return scan(cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse)
    # arrays in a cell's recipe, such as a clamp's value, become arguments, so they are differentiated too
    static, arrays = split(cell)
    initial = reset_carry(cell, params, xs, resets)
    if jax.tree.leaves(xs)[0].shape[0]:
        # outside _run, so that the carry's tangent has the same type too
        carry = settled(partial(_next, static), carry, (arrays, params), initial, (xs, mask, resets))
    return _run(static, reverse, (arrays, params), xs, carry, initial, mask, resets)


class _Kept(NamedTuple):
    """The values of the primal loop that the derivative needs, stacked over time.

    Fields:
      old: the carry before each step, after a reset.
      values: the values where the equations are cut.
      operands: the operands of deferred products.
    """

    old: Carry
    values: list[Array | None]
    operands: list[Array]


# a jvp rule instead of a vjp rule: JAX transposes it, so forward mode and higher orders work too
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
    return _primal(static, reverse, None, bound, xs, carry, initial, mask, resets)[0]


def _primal(
    static: Any,
    reverse: bool,
    cuts: Cuts | None,
    bound: tuple[list[Array], Params],
    xs: Tree,
    carry: Carry,
    initial: Carry | None,
    mask: Array | None,
    resets: Array | None,
) -> tuple[tuple[Carry, Tree], _Kept | None]:
    """Return ``(carry, outs)``, and with `cuts` the values that `_tangents` needs."""
    cell, params = join(static, bound[0]), bound[1]
    hoist = _hoists(jax.tree.leaves(xs)[0].shape[1:-1])
    terms = cell.input_terms(params, xs) if hoist else xs
    early = cuts.before(bound) if cuts else ([], [])
    # hoisted terms already exist for all T, [T, B, G]: the loop need not write them again
    ready = dict(enumerate(jax.tree.leaves(terms))) if hoist else {}

    def step(old: Carry, at_t: tuple[Tree, Array | None, Array | None]) -> tuple[Carry, tuple[Tree, _Kept | None]]:
        wx, real, begins = at_t
        # the carry is reset before its product with U, so that wx + uh are still only summed
        old = restart(begins, initial, old)
        wx = wx if hoist else cell.input_terms(params, wx)
        both, kept = (wx, cell.hidden_terms(params, old)), None
        if cuts:
            stepped, operands, values = cuts.observed(*early, old, both)
            # None has no leaf, so scan stacks nothing for it
            waiting = [None if _term(c) in ready else v for c, v in zip(cuts.cuts, values, strict=True)]
            kept = _Kept(old, waiting, operands)
        else:
            stepped = _advance(static, bound, old, both)
        new, out = _held(real, stepped, old)
        return new, (out, kept)

    alone = cuts is None and mask is None  # the loop has few operations
    ahead = _on_cpu() and not on_mesh() and (hoist or alone) and _reads_ahead(static, bound, carry, xs, hoist)
    loop = over_time_ahead if ahead else over_time
    last, (outs, kept) = loop(step, carry, (terms, mask, resets), reverse=reverse)
    if cuts and kept is not None:
        # put the hoisted terms back where the loop left None
        whole = [ready.get(_term(c), v) for c, v in zip(cuts.cuts, kept.values, strict=True)]
        kept = kept._replace(values=whole)
    return (last, outs), kept


def _term(cut: Cut) -> int:
    """Return the index of the term that a cut is, -1 if it is another value."""
    # a cut with one term and no product has no constant either: `_cuts` guarantees it
    return cut.terms[0] if len(cut.terms) == 1 and not cut.products else -1


@_run.defjvp
def _tangents(static: Any, reverse: bool, primals: tuple, tangents: tuple) -> tuple:
    bound, xs, carry, _, mask, resets = primals
    dbound, dxs, dcarry, dinitial, _, _ = tangents
    input_terms, hidden_terms = partial(_input_terms, static), partial(_hidden_terms, static)
    cuts, (before, after) = _program(static, bound, carry, xs)
    primal, kept = _primal(static, reverse, cuts, *primals)
    assert kept is not None

    # step 2 of the module's docstring, for all T at once. dwx and duh are [T, B, G]: x dW + dx W + db, and old dU. The
    # part
    # dold U of the hidden terms' tangent must wait for the loop, so duh differentiates bound only
    dwx = jax.jvp(in_bulk(input_terms, bound, xs), (bound, xs), (dbound, dxs))[1]
    hidden = in_bulk(hidden_terms, bound, kept.old)
    duh = jax.jvp(lambda bound: hidden(bound, kept.old), (bound,), (dbound,))[1]
    dterms = jax.tree.leaves((dwx, duh))
    product = before(bound)  # U, or functions of params such as U - U^T: once, before the loop
    (weights, others), (dweights, dothers) = jax.jvp(cuts.before, (bound,), (dbound,))
    # a dw of each product that waits: [T, B, K] by [K, N]
    dproducts = [jax.vmap(p.apply, (0, None))(kept.operands[p.operand], dweights[p.weight]) for p in cuts.products]
    # the tangent of each stored value except the carry's part, [T, B, G]: one addition per step is left
    taps = [
        _total(
            [dterms[t] for t in c.terms] + [dproducts[k] for k in c.products],
            [dweights[n] for n in c.constants],
        )
        for c in cuts.cuts
    ]
    # leaves of (wx, uh) are indexed together: those from `first` on are uh's
    first = len(jax.tree.leaves(dwx))

    # step 3. In the backward pass the checkpoint recomputes the gates' derivatives, which are not stored
    @partial(jax.checkpoint, prevent_cse=False)  # in a scan, CSE cannot undo the recomputation
    def step(dold: Carry, at_t: tuple) -> tuple[Carry, Tree]:
        (old, values), real, begins, taps = at_t
        dold = varying_as(restart(begins, dinitial, dold), old)  # starts as zeros, the same on all devices
        # dold U, for an LSTM [B, H] by [H, 4H]: the only product with U that a step must do
        duh = jax.tree.leaves(jax.jvp(partial(after, product), (old,), (dold,))[1])
        taps = [
            _total([tap, *(duh[t - first] for t in c.terms if t >= first)])
            for c, tap in zip(cuts.cuts, taps, strict=True)
        ]

        def gates(others: Tree, old: Carry, taps: list[Array]) -> tuple[Carry, Tree]:
            return _held(real, cuts.known(weights, others, values, taps, old), old)

        # taps have primals of zeros: only their tangents matter, which `_known` adds to the stored values
        return jax.jvp(gates, (others, old, jax.tree.map(jnp.zeros_like, taps)), (dothers, dold, taps))[1]

    # the same direction as the primal: the transpose runs the other way
    return primal, over_time(step, dcarry, ((kept.old, kept.values), mask, resets, taps), reverse=reverse)


def _program(static: Any, bound: tuple, carry: Carry, xs: Tree) -> tuple[Cuts, tuple[Callable, Callable]]:
    """Return the cut equations of a step, and its staged hidden terms."""
    from jaxseq.recurrence._cuts import cut, staged  # imported here: slow, and only derivatives need it

    found: list[Any] = []

    def look(bound: tuple, old: Carry, xs: Tree) -> None:  # traced, since tracers' types carry the sharding
        # one step of xs, by a sum: it is sharded like a step, and a[0] fails for T = 0
        x = jax.tree.map(lambda a: a.sum(axis=0, dtype=a.dtype), xs)
        terms = _input_terms(static, bound, x), _hidden_terms(static, bound, old)
        found.append(cut(partial(_advance, static), bound, old, terms))
        found.append(staged(partial(_hidden_terms, static), bound, old))

    # eval_shape traces and computes nothing; `found` is filled on the way
    jax.eval_shape(look, bound, carry, xs)
    return found[0], found[1]


def in_bulk(function: Callable[..., Tree], bound: tuple, data: Tree) -> Callable[..., Tree]:
    """Return ``function(bound, data)``; products of data and weights from bound have the form of `_products`."""
    from jaxseq.recurrence._cuts import staged

    before, after = staged(function, bound, data)
    return lambda bound, data: after(before(bound), data)


def _input_terms(static: Any, bound: tuple, x: Tree) -> Tree:
    return join(static, bound[0]).input_terms(bound[1], x)


def _hidden_terms(static: Any, bound: tuple, old: Carry) -> Tree:
    return join(static, bound[0]).hidden_terms(bound[1], old)


def _advance(static: Any, bound: tuple, old: Carry, terms: tuple[Tree, Tree]) -> tuple[Carry, Tree]:
    """Return ``(carry, out)`` of a step."""
    arrays, params = bound
    return join(static, arrays).equations(params, old, *terms)[:2]


def _held(real: Array | None, stepped: tuple[Carry, Tree], old: Carry) -> tuple[Carry, Tree]:
    """Return ``(carry, out)`` of a step that holds the carry on padding."""
    new, out = stepped
    return hold(real, new, old), hold(real, out, jax.tree.map(jnp.zeros_like, out))


def _next(static: Any, old: Carry, bound: tuple, initial: Carry | None, sequence: tuple) -> Carry:
    """Return the carry after the first step of ``(xs, mask, resets)``."""
    x, real, begins = _first(sequence)
    old = restart(begins, initial, old)
    terms = _input_terms(static, bound, x), _hidden_terms(static, bound, old)
    return _held(real, _advance(static, bound, old, terms), old)[0]


def _first(sequence: Tree) -> Tree:
    return jax.tree.map(lambda a: a[0], sequence)


def _total(parts: list[Array], constants: Sequence[Array] = ()) -> Array:
    """Return the sum of parts, all of one shape, and of constants, which lack the leading axes."""
    total = added(parts)
    for constant in constants:
        total = total + jnp.broadcast_to(constant, total.shape)
    return total


def _hoists(batch_shape: tuple[int, ...]) -> bool:
    """Return whether the input terms are computed before the loop: unless that is known to be slower.

    The rows of a symbolic batch are unknown, and a sharded batch has more rows than each device sees.
    """
    known = all(isinstance(n, int) for n in batch_shape)
    return not _on_cpu() or on_mesh() or not known or math.prod(batch_shape) < HOIST_BELOW


def _reads_ahead(static: Any, bound: tuple, carry: Carry, xs: Tree, hoist: bool) -> bool:
    """Return whether a step's terms or inputs are better read at the end of the previous step.

    On a CPU they are if the equations are one loop. *A slice of the terms* that is read inside that loop prevents its
    vectorisation. If there are several loops, only simple ones read the terms, and reading ahead costs more than it
    gains. Forward with the read inside and ahead, in microseconds on 2 cores at (B, T, D, H): GRU 1149 and 600 (16, 30,
    128, 128), 2412 and 1746 (16, 20, 256, 256), 7953 and 7343 (16, 10, 1024, 1024); LSTM 628 and 705, 1392 and 1757 at
    the first two.

    *If the terms are computed in the step*, the loop has at most eight operations, and XLA runs so few one after the
    other, including its two products. The two copies for reading ahead make it more, and the products run concurrently.
    Forward in milliseconds without and with reading ahead: GRU 21.1 and 14.3 (64, 100, 256, 256), 6.4 and 3.8 (32, 50,
    256, 256), 15.9 and 15.4 (64, 30, 512, 512). It does not pay off with small weights, 1.52 and 1.63 (64, 20, 128,
    128), nor if the inputs are as large as the terms: RNN 4.0 and 4.6 (64, 20, 512, 512).
    """
    # imported here, so that `import jaxseq` loads no more of jax than it needs
    from jaxseq.jaxprs import equations
    from jaxseq.recurrence._cuts import PRODUCTS
    from jaxseq.recurrence._products import LARGE

    x = step_shapes(xs)
    terms = jax.eval_shape(partial(_input_terms, static), bound, x)
    hidden = jax.eval_shape(partial(_hidden_terms, static), bound, carry)
    step = jax.make_jaxpr(partial(_advance, static))(bound, carry, (terms, hidden)).jaxpr
    # several results become several loops after fusion, and a product ends a loop
    if len(set(map(id, step.outvars))) > 1 or any(eqn.primitive.name in PRODUCTS for eqn in equations(step)):
        return False
    return hoist or (any(w.nbytes >= LARGE for w in jax.tree.leaves(bound[1])) and _values(terms) > _values(x))


def _values(shapes: Tree) -> int:
    return sum(math.prod(a.shape) for a in jax.tree.leaves(shapes))


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"

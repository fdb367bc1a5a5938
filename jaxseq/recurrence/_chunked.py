"""Cells whose memory is a matrix, C steps at once as matrix products: the loop is over chunks only.

A step of such a cell makes three passes over a matrix ``[K, V]`` that is larger than everything else, and the
derivative of a loop over T steps stores T of them. Keys, values, decays and queries of a step do not depend on the
memory. The cell states them once (`jaxseq.cells.MemoryEquations`), and its step follows from that. C steps become
products of ``[C, K]``, ``[C, V]`` and ``[C, C]`` (see `_chunks`). These take about as many operations if C is near K
and V, run faster, and store only T / C memories.

Value and gradient with respect to params and inputs at T = 1024, H = 64, B = 1, in milliseconds of processor time on 2
busy cores, by `deferred` and by `chunked`: deltanet 35.5 and 5.2, GLA 46.0 and 3.9, mLSTM 41.9 and 3.9, retention 15.2
and 5.0, Mamba-2 37.9 and 3.7, RWKV-7 87.6 and 28.6; with B = 8 deltanet 132 and 55, GLA 144 and 64, mLSTM 364 and 57,
retention 208 and 72. Memory planned with B = 8: deltanet 145 and 52 MiB, GLA 152 and 65.
(`python -m benchmarks chunked` measures elapsed time, alternating between the two.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.cells import CELLS, Cell
from jaxseq.cells._memory import Access, Larger, Latest, MemoryEquations, Rest, Update, Window, Write
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree, widened
from jaxseq.recurrence._checkpointed import all_real
from jaxseq.recurrence._chunks import pieces, recall
from jaxseq.recurrence._deferred import deferred, in_bulk
from jaxseq.recurrence._momentum import recall_with_momentum
from jaxseq.recurrence._scan import hold, over_features, over_time, reset_carry, scan

SIZE = 64
"""Default steps in a chunk: for the usual heads of 64, products of C x C and C x K then cost the same."""


def chunked(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    size: int = SIZE,
) -> tuple[Carry, Tree]:
    """Run `cell`, whose memory is a matrix, over ``xs [T, B, D]`` as `scan` does, C steps at a time.

    A trace, which needs the memory of every step, runs by `deferred`.

    Args:
      size: C, a power of two; set it by ``recurrence=functools.partial(chunked, size=32)``.

    Raises:
      InputError: if the cell does not state its memory, or size is not a power of two.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import deltanet
      >>> from jaxseq.recurrence import chunked
      >>> params, xs = deltanet.init(jax.random.key(0), 3, 5), jnp.ones((1000, 2, 3))
      >>> jax.grad(lambda p: unroll(deltanet, p, xs, recurrence=chunked)[1].sum())(params).W.shape
      (3, 10)
    """
    options: dict[str, Any] = {"mask": mask, "resets": resets, "reverse": reverse}
    if getattr(cell.equations, "shows", None) is not None:
        return deferred(cell, params, xs, carry, **options)
    equations = _stated(cell)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1 or size & (size - 1):
        raise InputError(f"chunked: size must be a power of two, the steps in a chunk; got {size!r}")
    T = jax.tree.leaves(xs)[0].shape[0]
    if isinstance(T, int):
        if not T:
            return scan(cell, params, xs, carry, **options)
        size = min(size, 1 << (T - 1).bit_length())
    if reverse:
        xs, mask, resets = jax.tree.map(lambda a: a[::-1], (xs, mask, resets))
    if not isinstance(T, int) or T % size:
        mask = all_real(cell, xs) if mask is None else mask  # the last chunk is padded
    end, outs = _run(cell, equations, params, xs, carry, reset_carry(cell, params, xs, resets), mask, resets, size)
    outs = hold(mask, outs, jax.tree.map(jnp.zeros_like, outs))
    return end, jax.tree.map(lambda a: a[::-1], outs) if reverse else outs


def _run(
    cell: Cell,
    equations: MemoryEquations,
    params: Params,
    xs: Tree,
    carry: Carry,
    initial: Carry | None,
    mask: Array | None,
    resets: Array | None,
    size: int,
) -> tuple[Carry, Tree]:
    """Return ``(carry, outs)``; all arrays in between are ``[G, B, C, ...]``, G chunks of C steps."""
    T, *batch = jax.tree.leaves(xs)[0].shape[:-1]
    cut = partial(jax.tree.map, partial(_cut, size=size, batch=len(batch)))
    whole = partial(jax.tree.map, partial(_whole, T=T, batch=len(batch)))
    inputs = cut(xs)

    def each(function: Callable[..., Tree], *given: Tree) -> Tree:
        return in_bulk(lambda params, given: function(params, *given), params, given)(params, given)

    def followed(updates: Mapping[str, Update]) -> tuple[Rest, dict[str, Array]]:
        old, last = _rest(whole(updates), carry, initial, mask, resets)
        old = cut(old)
        return Rest(old, {name: update.of(old[name]) for name, update in updates.items()}), last

    terms = each(cell.input_terms, inputs)
    past, passed = followed(equations.past(params, terms))
    terms = each(equations.mixed, terms, past) if passed else terms
    rest, last = followed(equations.rest(params, terms))
    rest = past | rest
    access, gates = each(equations.access, terms, rest)
    memory, found = _recalled(equations, access, carry, initial, cut(mask), cut(resets), len(batch))
    return equations.unpack(memory, passed | last), whole(each(equations.out, found, gates, terms, rest))


def _stated(cell: Cell) -> MemoryEquations:
    """Return the `MemoryEquations` of a cell."""
    if isinstance(cell.equations, MemoryEquations):
        return cell.equations
    names = [name for name, other in CELLS.items() if isinstance(other.equations, MemoryEquations)]
    raise InputError(
        f"chunked({cell.name}): needs a cell whose memory is a matrix (jaxseq.cells.MemoryEquations), without a "
        f"wrapper that changes it; expected one of {', '.join(names)}. Use deferred"
    )


def _rest(
    updates: Mapping[str, Update], carry: Carry, initial: Carry | None, mask: Array | None, resets: Array | None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the carry's other fields: before each step, ``[T, B, ...]``, and after the last."""
    old, last = {}, {}
    for name, update in updates.items():
        first, begin = getattr(carry, name), None if initial is None else getattr(initial, name)
        old[name], last[name] = _states(update, first, begin, mask, resets)
    return old, last


def _states(
    update: Update, first: Array, begin: Array | None, mask: Array | None, resets: Array | None
) -> tuple[Array, Array]:
    """Return a state before each step and after the last; steps that take a maximum compose to one."""
    if isinstance(update, Window):
        return _windows(update, first, begin, mask, resets)
    if isinstance(update, Latest) and mask is None and begin is None:  # nothing to skip: the values themselves
        return jnp.concatenate([first[None], update.value[:-1]]), update.value[-1]
    shift, floor = update if isinstance(update, Larger) else (jnp.full_like(update.value, -jnp.inf), update.value)
    never = jnp.full_like(floor, -jnp.inf)
    if mask is not None:
        real = over_features(mask, floor)
        shift, floor = jnp.where(real, shift, jnp.zeros_like(shift)), jnp.where(real, floor, never)
    if begin is not None:
        assert resets is not None  # an initial carry is given only with resets
        begins, begin = over_features(resets, floor), jnp.broadcast_to(begin[None], floor.shape)
        floor, shift = jnp.where(begins, jnp.maximum(shift + begin, floor), floor), jnp.where(begins, never, shift)
    if isinstance(shift.shape[0], int):
        shift, floor = lax.associative_scan(_join, (shift, floor))
        new = jnp.maximum(shift + first[None], floor)
    else:  # in a program exported for any T, since the depth of a tree would depend on T
        new = over_time(lambda state, at: 2 * (Larger(*at).of(state),), first, (shift, floor), reverse=False)[1]
    old = jnp.concatenate([first[None], new[:-1]])
    return old if begin is None else jnp.where(begins, begin, old), new[-1]


def _windows(
    update: Window, first: Array, begin: Array | None, mask: Array | None, resets: Array | None
) -> tuple[Array, Array]:
    """Return the windows before each step and after the last; each row is the next row, one step earlier."""
    value, olds, lasts = update.value, list[Array](), list[Array]()
    for n in reversed(range(first.shape[-2])):
        value, last = _states(
            Latest(value), first[..., n, :], None if begin is None else begin[..., n, :], mask, resets
        )
        olds.append(value)
        lasts.append(last)
    return jnp.stack(olds[::-1], axis=-2), jnp.stack(lasts[::-1], axis=-2)


def _join(early: tuple[Array, Array], late: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return shift and floor of the composition of two steps."""
    return early[0] + late[0], jnp.maximum(early[1] + late[0], late[1])


def _recalled(
    equations: MemoryEquations,
    access: Access,
    carry: Carry,
    initial: Carry | None,
    mask: Array | None,
    resets: Array | None,
    batch: int,
) -> tuple[Tree, Tree]:
    """Return the memory after all chunks, and the value that each step reads, ``[G, B, C, V]``."""
    pair = access.turn is not None or access.momentum is not None
    parts = equations.pack(carry) if pair else (equations.pack(carry),)
    memory = _one(equations, access, carry)
    begin = memory if initial is None else _one(equations, access, initial)
    access = access if mask is None else _idle(access, mask)
    writes = tuple(w._replace(value=None if w.value is None else _joined(w.value)) for w in access.writes)
    steps, heads = (access.query.shape[0], access.query.shape[1 + batch]), access.query.ndim - batch - 3
    same_heads = lambda a: a.reshape(*a.shape[:-1], *[1] * heads, steps[1])  # noqa: E731, [G, B, C]: for all heads

    def rows_first(a: Array) -> Array:
        """Return ``[G, B, C, N, K]`` as ``[G, B, N, C, K]``; constants are repeated for all steps."""
        a = jnp.moveaxis(widened(a), 1 + batch, -2)
        return jnp.broadcast_to(a, (steps[0], *a.shape[1:-2], steps[1], a.shape[-1]))

    begun = None
    if resets is not None:
        begun = pieces(same_heads(resets), widened(memory).dtype)
    chunks = jax.tree.map(rows_first, access._replace(writes=writes))
    given = chunks, widened(memory), widened(begin), begun
    if access.momentum is None:
        memory, found = recall(*given, early=equations.early)
    else:
        real = None if mask is None else same_heads(mask).astype(given[1].dtype)
        memory, found = recall_with_momentum(*given, real, early=equations.early)
    found = jnp.moveaxis(found, -2, 1 + batch)
    if mask is not None:  # a padded step writes nothing, so its read may divide by a sum of keys of 0
        found = jnp.where(over_features(mask, found), found, jnp.ones_like(found))
    rows = jnp.split(memory, 2, axis=-2) if pair else [memory]
    ends = tuple(_apart(row, part) for row, part in zip(rows, parts, strict=True))
    return ends if pair else ends[0], _apart(found, parts[0])


def _one(equations: MemoryEquations, access: Access, carry: Carry) -> Array:
    """Return the memory in a carry as one array ``[B, K, V]``."""
    memory = equations.pack(carry)
    halves = (memory,) if access.turn is None and access.momentum is None else memory
    return jnp.concatenate([_joined(half) for half in halves], axis=-2)


def _apart(a: Array, like: Tree) -> Tree:
    """Split the concatenated values of a memory, or of a read, each into its own dtype."""
    leaves, structure = jax.tree.flatten(like)
    ends = [sum(leaf.shape[-1] for leaf in leaves[:n]) for n in range(1, len(leaves))]
    return jax.tree.unflatten(structure, jnp.split(a.astype(leaves[0].dtype), ends, axis=-1))


def _joined(value: Tree) -> Array:
    """Return the values for all parts of a memory, concatenated."""
    return jnp.concatenate(jax.tree.leaves(value), axis=-1)


def _idle(access: Access, mask: Array) -> Access:
    """Return the access changed so that padded steps do nothing."""

    def held(a: Array) -> Array:
        return jnp.where(over_features(mask, a), a, jnp.zeros_like(a))

    def held_if(a: Array | None) -> Array | None:
        return None if a is None else held(a)

    writes = tuple(Write(held(w.key), w.value, held_if(w.erase)) for w in access.writes)
    return Access(access.query, writes, *map(held_if, (access.log_decay, access.turn, access.momentum)))


def _cut(a: Array, *, size: int, batch: int) -> Array:
    """Return ``[T, B, ...]`` as chunks ``[G, B, C, ...]``, the last one padded with zeros."""
    chunks = -(-a.shape[0] // size)
    a = jnp.pad(a, [(0, chunks * size - a.shape[0])] + [(0, 0)] * (a.ndim - 1))
    return jnp.moveaxis(a.reshape(chunks, size, *a.shape[1:]), 1, 1 + batch)


def _whole(a: Array, *, T: int, batch: int) -> Array:
    """Return chunks ``[G, B, C, ...]`` as ``[T, B, ...]``."""
    a = jnp.moveaxis(a, 1 + batch, 1)
    return a.reshape(-1, *a.shape[2:])[:T]

"""Cells with attention: a Cell that reads a source at each step.

    s, (c, a) = attend(memory, s, h)      the old h is the query, s the attention's state
    z = x W + c C + b                     the context enters as more input

The source is data and not a parameter: `reading` binds it to the cell, so a gradient with respect to params contains
weights alone. The attention's state, if it has one, is part of the carry, so everything that drives a cell
(recurrences, greedy decoding, sampling) passes it on.

Reference: Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, appendix A.2.2 (C, C_z, C_r, here packed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.attention._base import Attention
from jaxseq.cells import Cell, made
from jaxseq.cells._base import Sourced, unsourced
from jaxseq.cells._checks import check_has_h, check_is_cell
from jaxseq.cells._init import passing_on, takes
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Carry, Key, Params, Tree
from jaxseq.placement import wherever


class AttentionCellParams(NamedTuple):
    """Parameters of `with_attention`.

    Fields:
      cell: the wrapped cell's parameters.
      attention: the attention's parameters.
      C: ``[K, G*H]``, the matrix that adds the context to the input terms.
    """

    cell: Params
    attention: Params
    C: Array


class AttentionCarry(NamedTuple):
    """The carry if the attention has a state: the ``cell``'s carry and the ``attention``'s state; `h` is the cell's."""

    cell: Carry
    attention: Tree

    @property
    def h(self) -> Array:
        """The cell's ``h [B, H]``."""
        return self.cell.h


class Attended(NamedTuple):
    """Output of a cell with attention: the cell's ``h [B, H]``, the ``context [B, K]`` and the ``weights [B, S]``."""

    h: Array
    context: Array
    weights: Array


def first_carry(attention: Attention, params: Params, memory: Any, carry: Carry) -> Carry:
    """Return the initial carry of a cell with attention, given the wrapped cell's.

    If the attention has no state it is the wrapped cell's carry, otherwise an `AttentionCarry`. Every row reads a
    source without batch axes.

    Args:
      attention: the attention.
      params: the attention's.
      memory: the prepared source.
      carry: the wrapped cell's carry.

    Raises:
      InputError: if the source is for another batch than the carry.
    """
    state = attention.initial_state(params, memory)
    batch, own = carry.h.shape[:-1], memory.mask.shape[:-1]
    spread = len(own) <= len(batch) and all(n in (1, m) for n, m in zip(own[::-1], batch[::-1], strict=False))
    if not spread or (jax.tree.leaves(state) and own not in ((), batch)):
        raise InputError(f"{attention.name} attention: the source has the batch axes {own}, the carry has {batch}")
    return _joined(carry, jax.tree.map(lambda a: jnp.broadcast_to(a, (*batch, *a.shape[len(own) :])), state))


def _joined(carry: Carry, state: Tree) -> Carry:
    return AttentionCarry(carry, state) if jax.tree.leaves(state) else carry


def _parted(carry: Carry) -> tuple[Carry, Tree]:
    return (carry.cell, carry.attention) if isinstance(carry, AttentionCarry) else (carry, ())


def _upwards(out: Attended) -> Array:
    """Return ``[h; context]`` for the layer above, as in GNMT (Wu et al. 2016, arXiv:1609.08144, section 3)."""
    return jnp.concatenate([out.h, out.context], axis=-1)


@made
def with_attention(cell: Cell, attention: Attention) -> Cell:
    """Return the Cell that reads a source at each step, with its old h as the query; the context enters as ``z + c C``.

    ``init(key, input_size, hidden_size, value_size=K, units=A)`` builds the parameters.
    ``remember(params, source, mask)`` prepares a source ``[S, B, K]``, and `reading` binds it to the cell. In a stack
    the layer above reads ``[h; context]``. Reference: Bahdanau et al. 2015, appendix A.2.2 (C, C_z, C_r, here packed).

    Raises:
      InputError: for a stack (make the cell with attention one of its layers) or a cell that already has attention;
        from init, for a cell whose input or input terms are more than an array, or whose carry has no h; when run
        without a source.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.attention import additive, reading, with_attention
      >>> from jaxseq.cells import gru
      >>> cell = with_attention(gru, additive)
      >>> params = cell.init(jax.random.key(0), 3, 5, value_size=4, units=6)
      >>> source = jnp.ones((9, 2, 4))  # [S, B, K]
      >>> memory = cell.remember(params, source)
      >>> carry, outs = unroll(reading(cell, memory), params, jnp.ones((7, 2, 3)))
      >>> outs.h.shape, outs.context.shape, outs.weights.shape
      ((7, 2, 5), (7, 2, 4), (7, 2, 9))
    """
    check_is_cell("with_attention", cell)
    if not isinstance(attention, Attention):
        raise InputError(
            "with_attention: attention must be an Attention, such as jaxseq.attention.additive; got "
            f"{attention!r}. By name: jaxseq.ATTENTIONS['additive']"
        )
    name = f"{attention.name} {cell.name}"
    if cell.layers or cell.remember is not None:
        wanted = "one layer, whose h is the query" if cell.layers else "a cell that does not read a source yet"
        raise InputError(f"with_attention: expected {wanted}; got {cell.name}")

    def init(
        key: Key,
        input_size: int,
        hidden_size: int,
        *,
        value_size: int,
        units: int,
        kernel: Initializer = glorot,
        **options: Any,
    ) -> AttentionCellParams:
        kcell, katt, kC = jax.random.split(key, 3)

        def by(init: Callable[..., Any]) -> dict[str, Any]:  # a user's init may have its own drawing rule
            return {"kernel": kernel} if takes(init, "kernel") else {}

        own = cell.init(kcell, input_size, hidden_size, **by(cell.init), **options)
        # only for shapes: h has the query's size, the input terms have C's columns
        carry = jax.eval_shape(cell.initial_carry, own)
        check_has_h("with_attention", cell, carry)
        dtype = jax.tree.leaves(own)[0].dtype
        x = jax.ShapeDtypeStruct((input_size,), dtype)
        plain = cell.takes_array and not cell.spatial
        wx = jax.eval_shape(cell.input_terms, own, x) if plain else None
        if not isinstance(wx, jax.ShapeDtypeStruct):
            raise InputError(
                f"with_attention: the context enters the input terms, which must be one array; those of {cell.name} "
                "are not, or its input is more than an array"
            )
        return AttentionCellParams(
            own,
            attention.init(katt, carry.h.shape[-1], value_size, units, dtype=dtype, **by(attention.init)),
            kernel(kC, (value_size, wx.shape[-1]), dtype),
        )

    def initial_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        params, memory = with_source(name, params)
        carry = cell.initial_carry(params.cell, batch_shape)
        check_has_h("with_attention", cell, carry)
        return first_carry(attention, params.attention, memory, carry)

    def input_terms(params: Params, x: Array) -> Tree:
        return cell.input_terms(unsourced(params).cell, x)

    def hidden_terms(params: Params, carry: Carry) -> Tree:
        return cell.hidden_terms(unsourced(params).cell, _parted(carry)[0])

    def equations(params: Params, carry: Carry, wx: Array, uh: Tree) -> tuple[Carry, Attended, Tree]:
        params, memory = with_source(name, params)
        own, state = _parted(carry)
        # the old h is the query, since the new h depends on the context
        state, (context, weights) = attention.attend(params.attention, memory, state, own.h)
        # the context enters where the input does: the cell's own equations need no change
        own, out, named = cell.equations(params.cell, own, wx + context @ params.C, uh)
        return _joined(own, state), Attended(out, context, weights), named

    def remember(params: AttentionCellParams, values: Array | None, mask: Array | None = None) -> Any:
        if values is None:
            # without a source one masked position is read: weights and context are zeros
            values, mask = jnp.zeros((1, params.C.shape[0]), params.C.dtype), jnp.zeros(1, bool)
        if jnp.ndim(values) < 2 or jnp.shape(values)[-1] != params.C.shape[0]:
            raise InputError(
                f"{name}: the source must be [S, B, K] with K = {params.C.shape[0]}, the value_size of init; got the "
                f"shape {jnp.shape(values)}"
            )
        batch = jnp.shape(values)[1:-1]
        return wherever(attention.remember, params.attention, values, mask, first=(1, 1), batch=batch)

    init.__signature__ = passing_on(init, cell.init)  # type: ignore[attr-defined]
    return Cell(
        init, initial_carry, input_terms, hidden_terms, equations, name, AttentionCellParams,
        features=_upwards, remember=remember,
    )  # fmt: skip


@made
def reading(cell: Cell, memory: Any) -> Cell:
    """Return a cell bound to a source: one made by `with_attention`, a stack with such layers, or a wrapper of these.

    The memory is data of the cell, not a parameter. It may be traced: gradients with respect to the source, `vmap` over
    sources and every recurrence work through it. Call it inside the compiled function, and ``cell.remember`` inside the
    differentiated one, since an attention may have parameters for the source.

    Args:
      cell: a Cell with attention.
      memory: from ``cell.remember(params, source, mask)``; for a stack a tuple with a memory for each layer, None for
        those without attention.

    Raises:
      InputError: if the cell has no attention, or `memory` is not a memory.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import stack, unroll
      >>> from jaxseq.attention import additive
      >>> from jaxseq.cells import gru, lstm
      >>> cell = stack(gru, with_attention(lstm, additive))
      >>> params = cell.init(jax.random.key(0), 3, 5, value_size=4, units=6)
      >>> xs, source = jnp.ones((7, 2, 3)), jnp.ones((9, 2, 4))
      >>> def loss(params, source):
      ...     memory = cell.remember(params, source)
      ...     return unroll(reading(cell, memory), params, xs)[1].h.sum()
      >>> jax.grad(loss, argnums=1)(params, source).shape
      (9, 2, 4)
    """
    check_is_cell("reading(cell, memory)", cell)
    if cell.remember is None:
        raise InputError(
            f"reading: {cell.name} reads no source; make it one that does: with_attention(cell, attention)"
        )
    _check_memory(cell, memory)

    def initial_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        return cell.initial_carry(Sourced(params, memory), batch_shape)

    def input_terms(params: Params, x: Tree) -> Tree:
        return cell.input_terms(Sourced(params, memory), x)

    def hidden_terms(params: Params, carry: Carry) -> Tree:
        return cell.hidden_terms(Sourced(params, memory), carry)

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        return cell.equations(Sourced(params, memory), carry, wx, uh)

    return cell.replace(
        initial_carry=initial_carry,
        input_terms=input_terms,
        hidden_terms=hidden_terms,
        equations=equations,
        remember=None,
    )


def _check_memory(cell: Cell, memory: Any) -> None:
    """Check that a memory has the form that ``cell.remember`` returns."""
    if cell.layers:
        wanted = [layer.remember is not None for layer in cell.layers]
        if type(memory) is not tuple or [one is not None for one in memory] != wanted:
            raise InputError(
                f"reading: the memory of {cell.name} must be a tuple with one for each layer that reads and None for "
                f"the others, as cell.remember(params, source, mask) returns it; got {type(memory).__name__}"
            )
        for layer, one in zip(cell.layers, memory, strict=True):
            if one is not None:
                _check_memory(layer, one)
    elif not hasattr(memory, "mask"):
        raise InputError(
            f"reading: expected the memory of a source, cell.remember(params, source, mask); got "
            f"{type(memory).__name__}"
        )


def with_source(name: str, params: Params) -> Sourced:
    """Return params with the memory that a step needs.

    Raises:
      InputError: if there is no source.
    """
    if not isinstance(params, Sourced):
        raise InputError(
            f"{name}: there is no source to read; give it to the cell: "
            "unroll(reading(cell, cell.remember(params, source, mask)), params, xs)"
        )
    return params

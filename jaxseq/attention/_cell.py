"""A cell that reads a source at each step, as a Cell like any other.

    c, a, s = attend(memory, h, s)      the old h is the query, s the attention's state
    z = x W + c C + b                   the context enters as more input

The source is put into the params of each batch. The attention's state, where it has one, is part of the carry, so that
everything which drives a cell (recurrences, greedy decoding, sampling) passes it on.

Reference: Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, appendix A.2.2 (C, C_z, C_r, here packed).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.attention._base import Attention
from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Carry, Key, Params, Tree


class AttentionCellParams(NamedTuple):
    """Parameters of `with_attention`.

    Fields:
      cell: the cell's own.
      attention: the attention's own.
      C: ``[K, G*H]``, through which the context enters the input terms.
      memory: the source being read; ``params._replace(memory=attention.remember(params.attention, values, mask))``.
    """

    cell: Params
    attention: Params
    C: Array
    memory: Any = None


class AttentionCarry(NamedTuple):
    """The carry where the attention has a state: the ``cell``'s own, and the ``attention``'s; `h` is the cell's."""

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


def first_carry(attention: Attention, params: AttentionCellParams, carry: Carry) -> Carry:
    """Return the carry of a cell with attention before its first step, given the cell's own and a memory in params.

    It is the cell's own where the attention has no state, an `AttentionCarry` where it has one. A source without batch
    axes is read by every row.

    Raises:
      InputError: if the source is for another batch than the carry.
    """
    if params.memory is None:
        return carry  # there is nothing to look at yet, and a step says so
    state = attention.initial_state(params.attention, params.memory)
    batch, own = carry.h.shape[:-1], params.memory.mask.shape[:-1]
    if jax.tree.leaves(state) and own not in ((), batch):
        raise InputError(f"{attention.name} attention: the source has the batch axes {own}, the carry has {batch}")
    return _joined(carry, jax.tree.map(lambda a: jnp.broadcast_to(a, (*batch, *a.shape[len(own) :])), state))


def _joined(carry: Carry, state: Tree) -> Carry:
    return AttentionCarry(carry, state) if jax.tree.leaves(state) else carry


def _plain(cell: Cell) -> bool:
    return cell.takes_array and not cell.spatial


def with_attention(cell: Cell, attention: Attention) -> Cell:
    """Return the Cell that reads a memory at each step: its old h is the query, the context enters as ``z + c C``.

    ``init(key, input_size, hidden_size, value_size=K, units=A)`` builds the parameters; the memory is put into them
    for each batch, before the first carry is made. Reference: Bahdanau et al. 2015, appendix A.2.2 (C, C_z, C_r, here
    packed).

    Raises:
      InputError: for a stack (let the attention cell be one of its layers); from init, for a cell whose input or
        input terms are more than an array.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.attention import additive, with_attention
      >>> from jaxseq.cells import gru
      >>> cell = with_attention(gru, additive)
      >>> params = cell.init(jax.random.key(0), 3, 5, value_size=4, units=6)
      >>> source = jnp.ones((9, 2, 4))  # [S, B, K]
      >>> params = params._replace(memory=additive.remember(params.attention, source, None))
      >>> carry, outs = unroll(cell, params, jnp.ones((7, 2, 3)))
      >>> outs.h.shape, outs.context.shape, outs.weights.shape
      ((7, 2, 5), (7, 2, 4), (7, 2, 9))
    """
    if isinstance(cell.params_type, tuple):
        raise InputError(f"with_attention: expected a cell of one layer, whose h is the query; got {cell.name}")

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
        own = cell.init(kcell, input_size, hidden_size, kernel=kernel, **options)
        dtype = jax.tree.leaves(own)[0].dtype
        x = jax.ShapeDtypeStruct((input_size,), dtype)
        wx = jax.eval_shape(cell.input_terms, own, x) if _plain(cell) else None
        if not isinstance(wx, jax.ShapeDtypeStruct):
            raise InputError(
                f"with_attention: the context enters the input terms, which must be one array; those of {cell.name} "
                "are not, or its input is more than an array"
            )
        return AttentionCellParams(
            own,
            attention.init(katt, hidden_size, value_size, units, dtype=dtype, kernel=kernel),
            kernel(kC, (value_size, wx.shape[-1]), dtype),
        )

    def initial_carry(params: AttentionCellParams, batch_shape: tuple[int, ...] = ()) -> Carry:
        return first_carry(attention, params, cell.initial_carry(params.cell, batch_shape))

    def input_terms(params: AttentionCellParams, x: Array) -> Tree:
        return cell.input_terms(params.cell, x)

    def hidden_terms(params: AttentionCellParams, carry: Carry) -> Tree:
        return cell.hidden_terms(params.cell, carry.cell if isinstance(carry, AttentionCarry) else carry)

    def equations(params: AttentionCellParams, carry: Carry, wx: Array, uh: Tree) -> tuple[Carry, Attended, Tree]:
        if params.memory is None:
            raise InputError(
                f"{name}: there is no source to read; put one into the params of each batch: "
                "params._replace(memory=attention.remember(params.attention, values, mask))"
            )
        own, state = carry if isinstance(carry, AttentionCarry) else (carry, ())
        context, weights, state = attention.attend(params.attention, params.memory, own.h, state)
        own, out, named = cell.equations(params.cell, own, wx + context @ params.C, uh)
        return _joined(own, state), Attended(out, context, weights), named

    name = f"{attention.name} {cell.name}"
    return Cell(init, initial_carry, input_terms, hidden_terms, equations, name, AttentionCellParams)

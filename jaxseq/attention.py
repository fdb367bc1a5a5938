"""Attention: where in a source to look, given a query. Every attention returns its weights.

An `Attention` is a value of pure functions. What depends on the source alone is computed once a sentence and returned
as a `Memory`; each query then reads it. Weights are ``[B, S]``, sum to 1 over the real source positions, and are
exactly 0 on padding; a source without any real position gives weights and context of zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell, affine
from jaxseq.cells.checks import check_mask
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, glorot, zeros
from jaxseq.notation import Array, Carry, Key, Params, Tree


class Memory(NamedTuple):
    """A source, made ready for reading.

    Fields:
      keys: what queries are compared with, ``[B, S, A]`` (an attention without keys has ``[B, S, 0]``).
      values: what is read, ``[B, S, K]``, zero on padding.
      mask: bool ``[B, S]``.
    """

    keys: Array
    values: Array
    mask: Array


class Attention(NamedTuple):
    """An attention as a value of pure functions.

    Fields:
      init: ``(key, query_size, value_size, units, *, dtype=float32, ...) -> params``; consumes `key`.
      remember: ``(params, values [S, B, K], mask [S, B] or None) -> Memory``.
      attend: ``(params, memory, query [B, Q]) -> (context [B, K], weights [B, S])``.
      name: what error messages call it.
    """

    init: Callable[..., Params]
    remember: Callable[[Params, Array, Array | None], Memory]
    attend: Callable[[Params, Memory, Array], tuple[Array, Array]]
    name: str = "attention"


def masked_softmax(scores: Array, mask: Array) -> Array:
    """Return softmax over the last axis of ``scores [..., S]``: exactly 0 where the mask is False, never NaN.

    Example:
      >>> masked_softmax(jnp.zeros(3), jnp.array([True, True, False])).tolist()
      [0.5, 0.5, 0.0]
    """
    lowest = jnp.full_like(scores, jnp.finfo(scores.dtype).min)  # finite: -inf would turn an all-padding row into NaN
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, scores, lowest)), jnp.zeros_like(scores))


def batch_first(values: Array, mask: Array | None) -> tuple[Array, Array]:
    """Return ``values [B, S, K]``, zero on padding, and ``mask [B, S]`` of a time-major source."""
    if mask is None:
        mask = jnp.ones(values.shape[:-1], bool)
    check_mask("attention", mask, values.shape[:-1])
    values = jnp.where(mask[..., None], values, jnp.zeros_like(values))
    return jnp.moveaxis(values, 0, -2), jnp.moveaxis(mask, 0, -1)


def read(weights: Array, values: Array) -> Array:
    """Return the weighted sum over the source, ``[B, K]`` of ``weights [B, S]`` and ``values [B, S, K]``."""
    return jnp.einsum("...s,...sk->...k", weights, values)


class AdditiveParams(NamedTuple):
    """``W [Q, A]`` for the query, ``U [K, A]`` for the source, ``v [A]``."""

    W: Array
    U: Array
    v: Array


def _additive_init(
    key: Key, query_size: int, value_size: int, units: int, *, dtype: Any = jnp.float32, kernel: Initializer = glorot
) -> AdditiveParams:
    kW, kU, kv = jax.random.split(key, 3)
    v = kernel(kv, (units, 1), dtype)[:, 0]
    return AdditiveParams(kernel(kW, (query_size, units), dtype), kernel(kU, (value_size, units), dtype), v)


def _additive_remember(params: AdditiveParams, values: Array, mask: Array | None) -> Memory:
    values, mask = batch_first(values, mask)
    return Memory(values @ params.U, values, mask)


def _additive_attend(params: AdditiveParams, memory: Memory, query: Array) -> tuple[Array, Array]:
    wq = (query @ params.W)[..., None, :]  # [B, 1, A]
    scores = jnp.tanh(wq + memory.keys) @ params.v  # e_j = v tanh(query W + h_j U)   [B, S]
    weights = masked_softmax(scores, memory.mask)
    return read(weights, memory.values), weights


additive = Attention(_additive_init, _additive_remember, _additive_attend, "additive")
"""Additive attention: ``e_j = v . tanh(s W + h_j U)``, weights softmax(e) over the source, context their mean of h.

Reference: Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate",
arXiv:1409.0473, section 3.1 and appendix A.1.2. The projections ``h_j U`` are computed once a sentence.
"""


class PositionalParams(NamedTuple):
    """``W [Q, S]`` and ``b [S]``, S being the one source length that it was built for."""

    W: Array
    b: Array


def _positional_init(
    key: Key,
    query_size: int,
    value_size: int,
    units: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    bias: Initializer = zeros,
) -> PositionalParams:
    kW, kb = jax.random.split(key)
    return PositionalParams(kernel(kW, (query_size, units), dtype), bias(kb, (units,), dtype))


def _positional_remember(params: PositionalParams, values: Array, mask: Array | None) -> Memory:
    length, S = params.b.shape[0], values.shape[0]
    if length < S:
        raise InputError(
            f"positional attention: built for sources of at most {length} positions, got {S}; "
            f"build it with units={S} or more, or cut the source"
        )
    values, mask = batch_first(values, mask)
    rest = [(0, 0)] * (values.ndim - 2) + [(0, length - S)]
    values, mask = jnp.pad(values, [*rest, (0, 0)]), jnp.pad(mask, rest)
    return Memory(values[..., :0], values, mask)


def _positional_attend(params: PositionalParams, memory: Memory, query: Array) -> tuple[Array, Array]:
    weights = jax.nn.softmax(affine(query, params.W, params.b))  # no mask: padding gets weight, and is zero
    return read(weights, memory.values), weights


positional = Attention(_positional_init, _positional_remember, _positional_attend, "positional")
"""Attention over positions, blind to the source: ``weights = softmax(query W + b)``, `units` positions in all.

It never looks at the encoder outputs and does not mask padding; it is here because a well-known tutorial uses it,
as something to compare `additive` with.
"""

ATTENTIONS: dict[str, Attention] = {a.name: a for a in (additive, positional)}
"""Every attention by name."""


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
    memory: Memory | None = None


class Attended(NamedTuple):
    """Output of a cell with attention: the cell's ``h [B, H]``, the ``context [B, K]`` and the ``weights [B, S]``."""

    h: Array
    context: Array
    weights: Array


def with_attention(cell: Cell, attention: Attention) -> Cell:
    """Return the Cell that reads a memory at each step: its old h is the query, the context enters as ``z + c C``.

    ``init(key, input_size, hidden_size, value_size=K, units=A)`` builds the parameters; the memory is put into them
    for each batch. Reference: Bahdanau et al. 2015, appendix A.2.2 (C, C_z, C_r, here packed).

    Raises:
      InputError: for a stack; let the attention cell be one of its layers.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.attention import additive, with_attention
      >>> from jaxseq.cells import gru
      >>> cell = with_attention(gru, additive)
      >>> params = cell.init(jax.random.key(0), 3, 5, value_size=4, units=6)
      >>> source = jnp.ones((9, 2, 4))  # [S, B, K]
      >>> params = params._replace(memory=additive.remember(params.attention, source, None))
      >>> carry, outs = unroll(cell, params, None, jnp.ones((7, 2, 3)))
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
        dtype = own.W.dtype
        return AttentionCellParams(
            own,
            attention.init(katt, hidden_size, value_size, units, dtype=dtype, kernel=kernel),
            kernel(kC, (value_size, own.W.shape[1]), dtype),
        )

    def initial_carry(params: AttentionCellParams, batch_shape: tuple[int, ...] = ()) -> Carry:
        return cell.initial_carry(params.cell, batch_shape)

    def input_terms(params: AttentionCellParams, x: Array) -> Tree:
        return cell.input_terms(params.cell, x)

    def hidden_terms(params: AttentionCellParams, carry: Carry) -> Tree:
        return cell.hidden_terms(params.cell, carry)

    def gates(params: AttentionCellParams, carry: Carry, wx: Array, uh: Tree) -> tuple[Carry, Attended, Tree]:
        if params.memory is None:
            raise InputError(
                f"{name}: there is no source to read; put one into the params of each batch: "
                "params._replace(memory=attention.remember(params.attention, values, mask))"
            )
        context, weights = attention.attend(params.attention, params.memory, carry.h)
        carry, out, named = cell.gates(params.cell, carry, wx + context @ params.C, uh)
        return carry, Attended(out, context, weights), named

    name = f"{attention.name} {cell.name}"
    return Cell(init, initial_carry, input_terms, hidden_terms, gates, name, AttentionCellParams)

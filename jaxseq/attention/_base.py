"""What an attention is: where in a source to look, given a query. Every attention returns its weights.

An `Attention` is a value of pure functions. What depends on the source alone is computed once a sentence and returned
as a `Memory`; each query then reads it. Weights are ``[B, S]``, exactly 0 on padding, and sum to 1 over the real source
positions (to less where an attention says so); a source without any real position gives weights and context of zeros.

Most attentions look at the query and the source and nothing else. Those that want to know where they looked before have
a state, a tree of arrays ``[B, ...]``, passed from query to query; the others pass on an empty tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._checks import check_mask
from jaxseq.notation import Array, Params, Tree


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


def no_state(params: Params, memory: Any) -> Tree:
    """Return an empty tuple: the state of an attention that looks at nothing but query and source."""
    return ()


class Attention(NamedTuple):
    """An attention as a value of pure functions.

    Fields:
      init: ``(key, query_size, value_size, units, *, dtype=float32, ...) -> params``; consumes `key`.
      remember: ``(params, values [S, B, K], mask [S, B] or None) -> Memory`` (or a tuple of its own with these fields).
      attend: ``(params, memory, query [B, Q], state) -> (context [B, K], weights [B, S], state)``.
      name: what error messages and the command line call it.
      initial_state: ``(params, memory) -> state`` before the first query; every leaf is ``[B, ...]``.
      reference: who published the equations, when and where.
    """

    init: Callable[..., Params]
    remember: Callable[[Params, Array, Array | None], Any]
    attend: Callable[..., tuple[Array, Array, Tree]]
    name: str = "attention"
    initial_state: Callable[[Params, Any], Tree] = no_state
    reference: str = ""


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


def projected(params: Any, values: Array, mask: Array | None) -> Memory:
    """Return the memory whose keys are ``h_j U``: the `remember` of an attention with a matrix ``U [K, A]``."""
    values, mask = batch_first(values, mask)
    return Memory(values @ params.U, values, mask)


def read(weights: Array, values: Array) -> Array:
    """Return the weighted sum over the source, ``[B, K]`` of ``weights [B, S]`` and ``values [B, S, K]``."""
    return jnp.einsum("...s,...sk->...k", weights, values)


def softmax_of(score: Callable[[Any, Any, Array], Array]) -> Callable[..., tuple[Array, Array, Tree]]:
    """Return the `attend` of an attention without state, given its ``score(params, memory, query) -> [B, S]``."""

    def attend(params: Any, memory: Any, query: Array, state: Tree = ()) -> tuple[Array, Array, Tree]:
        weights = masked_softmax(score(params, memory, query), memory.mask)
        return read(weights, memory.values), weights, state

    return attend


def over_source(a: Array) -> Array:
    """Return ``[B, 1, A]`` of ``[B, A]``: the same for every source position."""
    return a[..., None, :]

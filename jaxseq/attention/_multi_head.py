"""Multi-head attention, one query a step: several scaled dot products, each in a projection of its own.

    a_i = softmax(s W_i . h_j U_i / sqrt(d)) over the source       for heads i = 1 ... N
    head_i = sum_j a_ij h_j V_i                                    (1)
    context = [head_1; ...; head_N] O                              section 3.2.2

A = N d (`units`) is the width of all heads together. The context has the size K of the source's features, as with
every other attention. Projections of the source are computed once a sentence; there are no biases, as in the paper
(torch has them by default). The weights shown are the mean over heads.

Reference: Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser & Polosukhin 2017, "Attention is all you need",
arXiv:1706.03762, eq. 1 and section 3.2.2 (our W, U, V, O are its W^Q, W^K, W^V, W^O).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.attention._base import Attention, Memory, batch_first, masked_softmax
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Key, Tree

HEADS = 8
"""Heads, as in the paper; with `units` that 8 does not divide, the largest of 4, 2 and 1 that does."""


class MultiHeadParams(NamedTuple):
    """``W [Q, N, d]`` for the query, ``U [K, N, d]`` for the keys, ``V [K, N, d]`` for the values, ``O [N, d, K]``."""

    W: Array
    U: Array
    V: Array
    O: Array  # noqa: E741


def remember(params: MultiHeadParams, values: Array, mask: Array | None) -> Memory:
    """Return the memory with keys and values of every head, each ``[B, S, N, d]``."""
    values, mask = batch_first(values, mask)
    keys, values = (jnp.einsum("...sk,knd->...snd", values, M) for M in (params.U, params.V))
    return Memory(keys, values, mask)


def attend(params: MultiHeadParams, memory: Memory, query: Array, state: Tree = ()) -> tuple[Array, Array, Tree]:
    """Return context, weights averaged over heads, and the empty state."""
    queries = jnp.einsum("...q,qnd->...nd", query, params.W) * params.W.shape[-1] ** -0.5
    weights = masked_softmax(jnp.einsum("...snd,...nd->...ns", memory.keys, queries), memory.mask[..., None, :])
    heads = jnp.einsum("...ns,...snd->...nd", weights, memory.values)
    return jnp.einsum("...nd,ndk->...k", heads, params.O), weights.mean(-2), state


@functools.cache
def multi_headed(heads: int | None = None) -> Attention:
    """Return multi-head attention with N = `heads`, which must divide `units`; None for 8, 4, 2 or 1.

    Raises:
      InputError: if heads is below 1; and, from init, if it does not divide `units`.

    Example:
      >>> multi_headed(3).init(jax.random.key(0), 4, 5, units=6).O.shape
      (3, 2, 5)
    """
    if heads is not None and heads < 1:
        raise InputError(f"multi-head attention: expected at least 1 head, got {heads}")

    def init(
        key: Key,
        query_size: int,
        value_size: int,
        units: int,
        *,
        dtype: Any = jnp.float32,
        kernel: Initializer = glorot,
    ) -> MultiHeadParams:
        N = math.gcd(units, HEADS) if heads is None else heads
        if units % N:
            raise InputError(f"multi-head attention: units must be a multiple of the {N} heads; got {units}")
        kW, kU, kV, kO = jax.random.split(key, 4)
        W, U, V = (
            kernel(k, (size, units), dtype).reshape(size, N, units // N)
            for k, size in ((kW, query_size), (kU, value_size), (kV, value_size))
        )
        return MultiHeadParams(W, U, V, kernel(kO, (units, value_size), dtype).reshape(N, units // N, value_size))

    return Attention(
        init, remember, attend, "multi-head", reference="Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2"
    )


multi_head = multi_headed()
"""Scaled dot products in 8 projections (4, 2 or 1 for `units` that 8 does not divide; `multi_headed` for others)."""

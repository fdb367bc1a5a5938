"""Multi-head attention, one query at each step: several scaled dot products, each with its own projections.

    a_i = softmax(s W_i . h_j U_i / sqrt(d)) over the source       for heads i = 1 ... N
    head_i = sum_j a_ij h_j V_i                                    (1)
    context = [head_1; ...; head_N] O                              section 3.2.2

A = N d (`units`) is the total width of all heads. The context has the size K of the source's features, as with
every other attention. Projections of the source are computed once for each sentence; there are no biases, as in the
paper (torch has them by default). The weights shown are the mean over heads.

Reference: Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser & Polosukhin 2017, "Attention is all you need",
arXiv:1706.03762, eq. 1 and section 3.2.2 (our W, U, V, O are its W^Q, W^K, W^V, W^O).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.attention._base import Attention, Memory, batch_first, init_of, masked_softmax
from jaxseq.cells import made
from jaxseq.errors import InputError
from jaxseq.notation import Array, Tree

HEADS = 8
"""Number of heads, as in the paper; if it does not divide `units`, the largest of 4, 2 and 1 that does."""


class MultiHeadParams(NamedTuple):
    """``W [Q, N, d]`` for the query, ``U [K, N, d]`` for the keys, ``V [K, N, d]`` for the values, ``O [N, d, K]``."""

    W: Array
    U: Array
    V: Array
    O: Array  # noqa: E741


def remember(params: MultiHeadParams, values: Array, mask: Array | None = None) -> Memory:
    """Return the memory with keys and values of every head, each ``[B, S, N, d]``."""
    values, mask = batch_first(values, mask)
    keys, values = (jnp.einsum("...sk,knd->...snd", values, M) for M in (params.U, params.V))
    return Memory(keys, values, mask)


def attend(params: MultiHeadParams, memory: Memory, state: Tree, query: Array) -> tuple[Tree, tuple[Array, Array]]:
    """Return the empty state, the context, and the weights averaged over heads."""
    # scale the query instead of the scores: [B, N, d] is smaller than [B, N, S]
    queries = jnp.einsum("...q,qnd->...nd", query, params.W) * params.W.shape[-1] ** -0.5
    weights = masked_softmax(jnp.einsum("...snd,...nd->...ns", memory.keys, queries), memory.mask[..., None, :])
    heads = jnp.einsum("...ns,...snd->...nd", weights, memory.values)
    return state, (jnp.einsum("...nd,ndk->...k", heads, params.O), weights.mean(-2))


@made
def multi_head_of(heads: int | None = None) -> Attention:
    """Return multi-head attention with N = `heads`, which must divide `units`; None for 8, 4, 2 or 1.

    Raises:
      InputError: if heads is below 1; and, from init, if it does not divide `units`.

    Example:
      >>> import jax
      >>> multi_head.with_(heads=3).init(jax.random.key(0), 4, 5, units=6).O.shape
      (3, 2, 5)
    """
    if heads is not None and heads < 1:
        raise InputError(f"multi_head attention: expected at least 1 head, got {heads}")

    def in_heads(W: Array, U: Array, V: Array, O: Array) -> MultiHeadParams:  # noqa: E741
        units = W.shape[-1]
        N = math.gcd(units, HEADS) if heads is None else heads
        if units % N:
            raise InputError(f"multi_head attention: units must be a multiple of the {N} heads; got {units}")
        W, U, V = (matrix.reshape(-1, N, units // N) for matrix in (W, U, V))
        return MultiHeadParams(W, U, V, O.reshape(N, units // N, -1))

    init = init_of(in_heads, W="Q A", U="K A", V="K A", O="A K")
    return Attention(
        init, remember, attend, "multi_head", reference="Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2"
    )


multi_head = multi_head_of()
"""Scaled dot products in 8 projections (4, 2 or 1 for `units` that 8 does not divide; ``with_(heads=)`` for others)."""

"""Coverage attention: additive attention that also sees each source position's total weight in earlier steps.

    c_j = sum of the weights a_j of all steps before           (10), zeros at first
    e_j = v . tanh(s W + h_j U + c_j w + b)                    (11) weights = softmax(e) over the source
    loss = sum_j min(a_j, c_j)                                 (12) of a step, `coverage_loss`

Our W, U, w are the paper's W_s, W_h, w_c. The paper attends with the new hidden state, `with_attention` with the old
one.

Reference: See, Liu & Manning 2017, "Get to the point: summarization with pointer-generator networks", arXiv:1704.04368,
section 2.3, eqs. 10-12.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.attention._base import Attention, Memory, init_of, masked_softmax, over_source, projected, read
from jaxseq.cells import affine
from jaxseq.notation import Array


class CoverageParams(NamedTuple):
    """``W [Q, A]`` for the query, ``U [K, A]`` for the source, ``w [A]`` for the coverage, ``b [A]``, ``v [A]``."""

    W: Array
    U: Array
    w: Array
    b: Array
    v: Array


init = init_of(CoverageParams, W="Q A", U="K A", w="_ A", b="A", v="A _")


def uncovered(params: CoverageParams, memory: Memory) -> Array:
    """Return the coverage before the first step: zeros ``[B, S]``."""
    return jnp.zeros(memory.mask.shape, memory.values.dtype)


def attend(params: CoverageParams, memory: Memory, state: Array, query: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return the coverage including this step's weights, the context and the weights."""
    hidden = over_source(affine(query, params.W, params.b)) + memory.keys + state[..., None] @ params.w[None]
    weights = masked_softmax(jnp.tanh(hidden) @ params.v, memory.mask)
    return state + weights, (read(weights, memory.values), weights)


coverage = Attention(init, projected, attend, "coverage", uncovered, "See, Liu & Manning 2017, arXiv:1704.04368")
"""Additive attention that also sees, for each position, the sum of its weights so far."""


def coverage_loss(weights: Array) -> Array:
    """Return the cost ``[T, B]`` of attending to the same positions again, from ``weights [T, B, S]``.

    Add it to the loss with a weight (1 in the paper); the translator's training does not.

    Example:
      >>> coverage_loss(jnp.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])).tolist()
      [0.0, 0.5, 0.5]
    """
    # c of eq. 10: the sum over earlier steps, without this one
    before = jnp.cumsum(weights, axis=0) - weights
    return jnp.minimum(weights, before).sum(-1)

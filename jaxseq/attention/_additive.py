"""Additive attention, the default: a query and a source position are added up in a hidden layer.

    e_j = v . tanh(s W + h_j U)        weights = softmax(e) over the source

The projections ``h_j U`` are computed once a sentence.

Reference: Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate",
arXiv:1409.0473, section 3.1 and appendix A.1.2 (W_a, U_a, v_a).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.attention._base import Attention, Memory, over_source, projected, softmax_of
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Key


class AdditiveParams(NamedTuple):
    """``W [Q, A]`` for the query, ``U [K, A]`` for the source, ``v [A]``."""

    W: Array
    U: Array
    v: Array


def init(
    key: Key, query_size: int, value_size: int, units: int, *, dtype: Any = jnp.float32, kernel: Initializer = glorot
) -> AdditiveParams:
    """Return parameters with A = units. Consumes `key`."""
    kW, kU, kv = jax.random.split(key, 3)
    v = kernel(kv, (units, 1), dtype)[:, 0]
    return AdditiveParams(kernel(kW, (query_size, units), dtype), kernel(kU, (value_size, units), dtype), v)


def score(params: AdditiveParams, memory: Memory, query: Array) -> Array:
    """Return ``e [B, S]``."""
    return jnp.tanh(over_source(query @ params.W) + memory.keys) @ params.v


additive = Attention(
    init, projected, softmax_of(score), "additive", reference="Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, A.1.2"
)
"""Additive attention: ``e_j = v . tanh(s W + h_j U)``, weights softmax(e) over the source, context their mean of h."""

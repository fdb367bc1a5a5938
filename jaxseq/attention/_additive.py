"""Additive attention, the default: a hidden layer adds projections of the query and of a source position.

    e_j = v . tanh(s W + h_j U)        weights = softmax(e) over the source

The projections ``h_j U`` are computed once for each sentence.

Reference: Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate",
arXiv:1409.0473, section 3.1 and appendix A.1.2 (W_a, U_a, v_a).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.attention._base import Attention, Memory, init_of, over_source, projected, softmax_of
from jaxseq.notation import Array


class AdditiveParams(NamedTuple):
    """``W [Q, A]`` for the query, ``U [K, A]`` for the source, ``v [A]``."""

    W: Array
    U: Array
    v: Array


init = init_of(AdditiveParams, W="Q A", U="K A", v="A _")


def score(params: AdditiveParams, memory: Memory, query: Array) -> Array:
    """Return ``e [B, S]``."""
    return jnp.tanh(over_source(query @ params.W) + memory.keys) @ params.v


additive = Attention(
    init, projected, softmax_of(score), "additive", reference="Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, A.1.2"
)
"""Additive attention: ``e_j = v . tanh(s W + h_j U)``, weights softmax(e) over the source, context their mean of h."""

"""Attention over positions that ignores the source: a well-known tutorial's, as a baseline for `additive`.

    weights = softmax(s W + b)        over `units` positions in all

It never looks at the encoder outputs, and does not mask padding, which gets weight but contributes zeros.

Reference: Robertson, "NLP from scratch: translation with a sequence to sequence network and attention", pytorch.org.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.attention._base import Attention, Memory, batch_first, init_of, read
from jaxseq.cells import affine
from jaxseq.errors import InputError
from jaxseq.notation import Array, Tree


class PositionalParams(NamedTuple):
    """``W [Q, A]`` and ``b [A]``: a source has at most A positions."""

    W: Array
    b: Array


init = init_of(PositionalParams, W="Q A", b="A")


def remember(params: PositionalParams, values: Array, mask: Array | None = None) -> Memory:
    """Return the memory, padded to the A positions of the parameters."""
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


def attend(params: PositionalParams, memory: Memory, state: Tree, query: Array) -> tuple[Tree, tuple[Array, Array]]:
    """Return the empty state, the context and the weights."""
    weights = jax.nn.softmax(affine(query, params.W, params.b))  # no mask: padding gets weight, and is zero
    return state, (read(weights, memory.values), weights)


positional = Attention(init, remember, attend, "positional", reference="Robertson, pytorch.org/tutorials")
"""Attention over positions that ignores the source: ``weights = softmax(query W + b)`` over `units` positions."""

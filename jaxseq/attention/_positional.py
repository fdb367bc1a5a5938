"""Attention over positions, blind to the source: a well-known tutorial's, as something to compare `additive` with.

    weights = softmax(s W + b)        over `units` positions in all

It never looks at the encoder outputs and does not mask padding, which gets weight, and reads as zeros.

Reference: Robertson, "NLP from scratch: translation with a sequence to sequence network and attention", pytorch.org.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.attention._base import Attention, Memory, batch_first, read
from jaxseq.cells import affine
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, glorot, zeros
from jaxseq.notation import Array, Key, Tree


class PositionalParams(NamedTuple):
    """``W [Q, S]`` and ``b [S]``, S being the one source length that it was built for."""

    W: Array
    b: Array


def init(
    key: Key,
    query_size: int,
    value_size: int,
    units: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    bias: Initializer = zeros,
) -> PositionalParams:
    """Return parameters for sources of at most `units` positions. Consumes `key`."""
    kW, kb = jax.random.split(key)
    return PositionalParams(kernel(kW, (query_size, units), dtype), bias(kb, (units,), dtype))


def remember(params: PositionalParams, values: Array, mask: Array | None) -> Memory:
    """Return the memory, padded to the length that the parameters are for."""
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


def attend(params: PositionalParams, memory: Memory, query: Array, state: Tree = ()) -> tuple[Array, Array, Tree]:
    """Return context, weights and the empty state."""
    weights = jax.nn.softmax(affine(query, params.W, params.b))  # no mask: padding gets weight, and is zero
    return read(weights, memory.values), weights, state


positional = Attention(init, remember, attend, "positional", reference="Robertson, pytorch.org/tutorials")
"""Attention over positions, blind to the source: ``weights = softmax(query W + b)``, `units` positions in all."""

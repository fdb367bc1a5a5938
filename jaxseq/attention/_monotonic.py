"""Monotonic attention: at each step walk on from where the last one stopped, and stop at j with probability p_j.

    e_j = g (v / |v|) . tanh(s W + h_j U + b) + r              section 2.4
    p_j = sigmoid(e_j)                                         (12)

Expected form, for training: a_j = the probability of stopping at j, given the a of the step before

    q_j = (1 - p_{j-1}) q_{j-1} + a_j(before)                  (13) the probability of coming to j
    a_j = p_j q_j                                              (14)

Hard decoding (`monotonic_hard`): stop at the first j, from the last one stopped at, with p_j > 1/2: equations 13 and 14
with p of 0 and 1, so that the same parameters serve both. The walk begins at the first real position. It may run off
the end: the weights then sum to less than 1, by what is lost, for good (hard: zeros from there on).

The recurrence over j is run as an associative scan: exact, without the quotient of the paper's appendix C.1. The
paper's noise on e in training, which drives p towards 0 and 1 and so both forms together, is left out.

Reference: Raffel, Luong, Liu, Weiss & Eck 2017, "Online and linear-time attention by enforcing monotonic alignments",
arXiv:1704.00784, sections 2.2 to 2.4, eqs. 11-14 and algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.attention._base import Attention, Memory, over_source, projected, read
from jaxseq.cells import affine
from jaxseq.initializers import Initializer, glorot, zeros
from jaxseq.notation import Array, Key


class MonotonicParams(NamedTuple):
    """``W [Q, A]`` for the query, ``U [K, A]`` for the source, ``b [A]``, ``v [A]``; scalars ``g`` and ``r``."""

    W: Array
    U: Array
    b: Array
    v: Array
    g: Array
    r: Array


def init(
    key: Key,
    query_size: int,
    value_size: int,
    units: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    bias: Initializer = zeros,
    r: float = -1.0,
) -> MonotonicParams:
    """Return parameters with A = units, g = 1 / sqrt(A). Consumes `key`.

    `r` makes the first steps of training look further (sigmoid(-1) = 0.27: some four positions); lower it for long
    sources.
    """
    kW, kU, kb, kv = jax.random.split(key, 4)
    W, U = kernel(kW, (query_size, units), dtype), kernel(kU, (value_size, units), dtype)
    b, v = bias(kb, (units,), dtype), kernel(kv, (units, 1), dtype)[:, 0]
    return MonotonicParams(W, U, b, v, jnp.asarray(units**-0.5, dtype), jnp.asarray(r, dtype))


def energy(params: MonotonicParams, memory: Memory, query: Array) -> Array:
    """Return ``e [B, S]``."""
    hidden = jnp.tanh(over_source(affine(query, params.W, params.b)) + memory.keys)
    return hidden @ (params.v * (params.g / jnp.linalg.norm(params.v))) + params.r


def expected(p: Array, before: Array) -> Array:
    """Return the probability of stopping at each position, ``[B, S]``, given p and the same of the step before.

    Example:
      >>> expected(jnp.array([0.5, 0.5, 0.5]), jnp.array([1.0, 0.0, 0.0])).tolist()
      [0.5, 0.25, 0.125]
    """
    on = jnp.concatenate([jnp.zeros_like(p[..., :1]), 1 - p[..., :-1]], axis=-1)  # from j - 1 to j
    _, q = lax.associative_scan(lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), (on, before), axis=p.ndim - 1)
    return p * q


def at_the_start(params: MonotonicParams, memory: Memory) -> Array:
    """Return the weights before the first step, ``[B, S]``: 1 at the first real position."""
    first = memory.mask & (jnp.cumsum(memory.mask, axis=-1) == 1)
    return first.astype(memory.values.dtype)


def _attend(stop: Callable[[Array], Array]) -> Callable[..., tuple[Array, Array, Array]]:
    def attend(params: MonotonicParams, memory: Memory, query: Array, state: Array) -> tuple[Array, Array, Array]:
        p = stop(energy(params, memory, query))
        weights = expected(jnp.where(memory.mask, p, jnp.zeros_like(p)), state)
        return read(weights, memory.values), weights, weights

    return attend


RAFFEL = "Raffel et al. 2017, arXiv:1704.00784"

monotonic = Attention(init, projected, _attend(jax.nn.sigmoid), "monotonic", at_the_start, RAFFEL)
"""Monotonic attention in its expected form: the probability of stopping at each position."""

_hard = _attend(lambda e: (e > 0).astype(e.dtype))

monotonic_hard = Attention(init, projected, _hard, "monotonic-hard", at_the_start, RAFFEL)
"""Monotonic attention as it decodes: one position, or none. It takes the parameters that `monotonic` was trained with:
``translator(cell, monotonic_hard)`` those of ``translator(cell, monotonic)``. Its own gradients do not say where to
stop."""

"""Monotonic attention: each step walks on from where the last one stopped, and stops at j with probability p_j.

    e_j = g (v / |v|) . tanh(s W + h_j U + b) + r              section 2.4
    p_j = sigmoid(e_j)                                         (12)

Expected form, for training: a_j = the probability of stopping at j, given the a of the step before

    q_j = (1 - p_{j-1}) q_{j-1} + a_j(before)                  (13) the probability of coming to j
    a_j = p_j q_j                                              (14)

Hard decoding, ``monotonic.with_(hard=True)``: stop at the first j, from the last one stopped at, with p_j > 1/2:
equations 13 and 14 with p of 0 or 1, so both forms share their parameters. The walk begins at the first real
position. It may run off the end: the weights then sum to less than 1 from there on (hard: they are zeros).

The recurrence over j runs as an associative scan: exact, without the quotient of the paper's appendix C.1. The paper
adds noise to e in training, which drives p towards 0 and 1 and so makes the two forms agree; it is left out.

Reference: Raffel, Luong, Liu, Weiss & Eck 2017, "Online and linear-time attention by enforcing monotonic alignments",
arXiv:1704.00784, sections 2.2 to 2.4, eqs. 11-14 and algorithm 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.attention._base import Attention, Memory, init_of, over_source, projected, read
from jaxseq.cells import affine, made
from jaxseq.notation import Array


class MonotonicParams(NamedTuple):
    """``W [Q, A]`` for the query, ``U [K, A]`` for the source, ``b [A]``, ``v [A]``; scalars ``g`` and ``r``."""

    W: Array
    U: Array
    b: Array
    v: Array
    g: Array
    r: Array


def _with_scalars(W: Array, U: Array, b: Array, v: Array) -> MonotonicParams:
    """Return parameters with g = 1 / sqrt(A) and r = -1.

    This r makes the walk go further early in training (sigmoid(-1) = 0.27: about four positions); lower it for long
    sources: ``params._replace(r=...)``.
    """
    return MonotonicParams(W, U, b, v, jnp.asarray(v.shape[0] ** -0.5, v.dtype), jnp.asarray(-1, v.dtype))


init = init_of(_with_scalars, W="Q A", U="K A", b="A", v="A _")


def energy(params: MonotonicParams, memory: Memory, query: Array) -> Array:
    """Return ``e [B, S]``."""
    hidden = jnp.tanh(over_source(affine(query, params.W, params.b)) + memory.keys)
    # the length of v is the separate parameter g: weight normalisation, section 2.4
    return hidden @ (params.v * (params.g / jnp.linalg.norm(params.v))) + params.r


def expected(p: Array, before: Array) -> Array:
    """Return the probability of stopping at each position, ``[B, S]``, given p and the previous step's result.

    Example:
      >>> expected(jnp.array([0.5, 0.5, 0.5]), jnp.array([1.0, 0.0, 0.0])).tolist()
      [0.5, 0.25, 0.125]
    """
    on = jnp.concatenate([jnp.zeros_like(p[..., :1]), 1 - p[..., :-1]], axis=-1)  # from j - 1 to j
    # eq. 13 is q_j = on_j q_(j-1) + before_j, affine: two neighbours (on, before) join into one
    _, q = lax.associative_scan(lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), (on, before), axis=p.ndim - 1)
    return p * q


def at_the_start(params: MonotonicParams, memory: Memory) -> Array:
    """Return the weights before the first step, ``[B, S]``: 1 at the first real position."""
    first = memory.mask & (jnp.cumsum(memory.mask, axis=-1) == 1)
    return first.astype(memory.values.dtype)


@made
def monotonic_of(hard: bool = False) -> Attention:
    """Return monotonic attention in its expected form, or, if `hard`, in its decoding form."""

    def attend(params: MonotonicParams, memory: Memory, state: Array, query: Array) -> tuple[Array, tuple]:
        e = energy(params, memory, query)
        p = (e > 0).astype(e.dtype) if hard else jax.nn.sigmoid(e)
        # p = 0 on padding: the walk passes over it
        weights = expected(jnp.where(memory.mask, p, jnp.zeros_like(p)), state)
        return weights, (read(weights, memory.values), weights)

    return Attention(init, projected, attend, "monotonic", at_the_start, "Raffel et al. 2017, arXiv:1704.00784")


monotonic = monotonic_of()
"""Monotonic attention in its expected form: the probability of stopping at each position.

``monotonic.with_(hard=True)``, for decoding, stops at one position or at none. It takes the parameters trained with the
expected form; its own gradients do not teach where to stop."""

"""Filters of logits: which tokens may be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq.errors import InputError
from jaxseq.notation import Array, widened
from jaxseq.tokens import check_tokens

Filter = Callable[[Array], Array]
"""``logits [..., V] -> logits [..., V]``, with -inf for a token that may not be chosen."""


def forbid(*ids: int) -> Filter:
    """Return a filter that excludes these tokens, for example the id of ``<unk>``.

    Raises:
      InputError: when called with logits, if an id is not from 0 to V - 1.

    Example:
      >>> forbid(2)(jnp.array([0.5, 1.0, 3.0])).tolist()
      [0.5, 1.0, -inf]
    """

    def keep(logits: Array) -> Array:
        check_tokens("forbid", ids, logits.shape[-1])
        bias = np.where(np.isin(np.arange(logits.shape[-1]), ids), -np.inf, 0.0)
        return logits + jnp.asarray(bias.reshape((1,) * (logits.ndim - 1) + (-1,)), logits.dtype)

    return keep


def top_k(k: int) -> Filter:
    """Return a filter that keeps the k likeliest tokens, and ties with the kth.

    Raises:
      InputError: if k is below 1.

    Reference: Fan, Lewis & Dauphin 2018, arXiv:1805.04833, section 5.2.

    Example:
      >>> top_k(2)(jnp.array([0.5, 1.0, 3.0])).tolist()
      [-inf, 1.0, 3.0]
    """
    if k < 1:
        raise InputError(f"top_k: k must be at least 1, got {k}")

    def keep(logits: Array) -> Array:
        best, _ = lax.top_k(logits, min(k, logits.shape[-1]))
        return jnp.where(logits >= best[..., -1:], logits, -jnp.inf)

    return keep


def top_p(p: float) -> Filter:
    """Return a filter that keeps the nucleus: the smallest set of likeliest tokens with total probability at least p.

    Ties with the last of them are kept too.

    Raises:
      InputError: if p is not above 0 and at most 1.

    Reference: Holtzman, Buys, Du, Forbes & Choi 2020, arXiv:1904.09751, section 3.1.

    Example:
      >>> jnp.isfinite(top_p(0.8)(jnp.log(jnp.array([0.1, 0.6, 0.3])))).tolist()
      [False, True, True]
    """
    if not isinstance(p, jax.core.Tracer) and not 0 < p <= 1:
        raise InputError(f"top_p: p must be above 0 and at most 1, got {p}")

    def keep(logits: Array) -> Array:
        ordered = -jnp.sort(-logits, axis=-1)
        probs = jax.nn.softmax(widened(ordered))
        above = jnp.cumsum(probs, axis=-1) - probs  # the total probability of likelier tokens
        least = jnp.where(above < jnp.asarray(p, probs.dtype), ordered, jnp.inf).min(-1, keepdims=True)
        return jnp.where(logits >= least, logits, -jnp.inf)

    return keep


def filtered(filters: Sequence[Filter], logits: Array) -> Array:
    """Return the logits after every filter, in the order given."""
    for keep in filters:
        logits = keep(logits)
    return logits

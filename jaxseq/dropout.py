"""Dropout as data: masks are drawn outside the loop and multiplied inside, so steps draw no random numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.errors import InputError
from jaxseq.notation import Array, Key


def keep_mask(key: Key, rate: float, shape: Any, dtype: Any) -> Array:
    """Return an array of 0 (dropped, with probability `rate`) and 1 / (1 - rate) (kept). Consumes `key`.

    Raises:
      InputError: if rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise InputError(f"dropout: the rate must be at least 0 and below 1, the probability of dropping; got {rate}")
    keep = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(keep, jnp.asarray(1 / (1 - rate), dtype), jnp.asarray(0, dtype))


def drop(key: Key | None, rate: float, x: Array) -> Array:
    """Return x with units dropped, or x itself if the key is None (evaluation) or the rate 0. Consumes `key`."""
    return x if key is None or rate == 0 else x * keep_mask(key, rate, x.shape, x.dtype)

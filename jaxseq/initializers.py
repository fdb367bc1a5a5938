"""Initial values of weights. Each is a function ``(key, shape, dtype) -> array``, as in `jax.nn.initializers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.notation import Array, Key

Initializer = Callable[[Key, tuple[int, ...], Any], Array]

glorot: Initializer = jax.nn.initializers.glorot_uniform()
"""Uniform with variance 2 / (fan in + fan out) (Glorot & Bengio 2010, eq. 16)."""

zeros: Initializer = jax.nn.initializers.zeros


def orthogonal(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return a matrix with orthonormal rows or columns (Saxe et al. 2014), drawn in float32 for bfloat16."""
    wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32  # QR has no half-precision form
    return jax.nn.initializers.orthogonal()(key, shape, wide).astype(dtype)


def uniform(bound: float) -> Initializer:
    """Return the initializer that draws from ``[-bound, bound)``; torch's recurrent layers use 1 / sqrt(H)."""

    def init(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def normal(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw from the standard normal distribution, as torch does for embeddings."""
    return jax.random.normal(key, shape, dtype)


def packed(init: Initializer, key: Key, shape: tuple[int, int], gates: int, dtype: Any) -> Array:
    """Return ``[rows, gates * columns]``: each gate's block drawn by itself, with fans and orthogonality of its own.

    Consumes `key`. `shape` is one block's ``(rows, columns)``.
    """
    keys = jax.random.split(key, gates)
    return jnp.concatenate([init(k, shape, dtype) for k in keys], axis=-1)

"""Inputs for a comparison of two layers, without a zero in them."""

import jax
import jax.numpy as jnp

from jaxseq.testing import noisy

T, B, D, H = 5, 4, 3, 6


def random(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def start(cell, params, batch: int = B):
    """A carry of ours that is not zero."""
    return noisy(jax.random.key(7), cell.initial_carry(params, (batch,)))

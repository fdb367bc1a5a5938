"""Adding: remember two marked numbers of a long sequence, and output their sum."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.errors import InputError
from jaxseq.notation import Array, Key
from jaxseq.problems._base import Batch, Problem, step_numbers


@functools.cache
def adding(length: int) -> Problem:
    """Return the adding problem: of `length` numbers in [0, 1] two are marked; output their sum at the last step.

    One mark is in the first half and one in the second. Always answering 1 costs a squared error of 1/6.

    Reference: Hochreiter & Schmidhuber 1997, section 5.4; in this form Le, Jaitly & Hinton 2015, arXiv:1504.00941,
    section 4.1. An answer within 0.04 counts as right, as in Hochreiter & Schmidhuber.

    Example:
      >>> batch = adding(6).draw(jax.random.key(0), 2)
      >>> batch.xs[..., 1].sum(0).tolist(), bool(jnp.allclose(batch.xs.prod(-1).sum(0), batch.targets[-1]))
      ([2.0, 2.0], True)
    """
    if length < 2:
        raise InputError(f"adding: length must be at least 2, one number for each mark; got {length}")

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        of_numbers, first, second = jax.random.split(key, 3)
        half = length // 2
        numbers = jax.random.uniform(of_numbers, (length, batch), dtype)
        # [B] is broadcast to [T, B] explicitly, since users may forbid rank promotion
        steps = step_numbers(length, batch)
        early = jnp.broadcast_to(jax.random.randint(first, (batch,), 0, half, steps.dtype), steps.shape)
        late = jnp.broadcast_to(jax.random.randint(second, (batch,), half, length, steps.dtype), steps.shape)
        marks = ((steps == early) | (steps == late)).astype(dtype)
        last = steps == length - 1
        total = jnp.broadcast_to((numbers * marks).sum(0), marks.shape)
        targets = jnp.where(last, total, jnp.zeros_like(total))
        return Batch(jnp.stack([numbers, marks], -1), targets, jnp.ones_like(last), last)

    def errors(outputs: Array, targets: Array) -> Array:
        return (outputs[..., 0] - targets) ** 2

    return Problem(
        f"adding(length={length})", 2, 1, length, draw, errors, _near, 1 / 6,
        reference="Hochreiter & Schmidhuber 1997, section 5.4; Le, Jaitly & Hinton 2015, arXiv:1504.00941",
    )  # fmt: skip


def _near(outputs: Array, targets: Array) -> Array:
    return jnp.abs(outputs[..., 0] - targets) < 0.04

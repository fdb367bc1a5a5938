"""Counting: predict the next letter of ``a^n b^n``."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.cells._init import check_sizes
from jaxseq.errors import InputError
from jaxseq.notation import Array, Key
from jaxseq.problems._base import Batch, Problem, batch_of_symbols, characters, of_symbols, step_numbers


@functools.cache
def anbn(largest: int, smallest: int = 1, letters: int = 2) -> Problem:
    """Return the counting problem: read ``a^n b^n`` with n from smallest to largest, and predict each next letter.

    From the first b on, the next letter or the end follows from the letters before; only those steps are scored. With
    ``letters=3`` the words are ``a^n b^n c^n``. `words` draws words of given n, `balance` counts a minus b.

    Reference: Gers & Schmidhuber 2001, "LSTM recurrent networks learn simple context-free and context-sensitive
    languages"; Weiss, Goldberg & Yahav 2018, arXiv:1805.04908.

    Example:
      >>> problem = anbn(9)
      >>> batch = problem.draw(jax.random.key(0), 4)
      >>> problem.symbols, batch.xs.shape, bool((batch.xs[..., 0].sum(0) == batch.xs[..., 1].sum(0)).all())
      ('ab', (18, 4, 2), True)
    """
    check_sizes("anbn", largest=largest, smallest=smallest)
    if letters < 2:
        raise InputError(f"anbn: letters must be at least 2, a and b; got {letters}")
    if smallest > largest:
        raise InputError(f"anbn: smallest must be at most largest, {largest}; got {smallest}")

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        n = jax.random.randint(key, (batch,), smallest, largest + 1)
        return words(n, largest, letters, dtype)

    change = 2 / (smallest + largest)  # the share of scored steps at which the next letter differs
    guess = -change * math.log(change) - ((1 - change) * math.log(1 - change) if change < 1 else 0)
    name = f"anbn(largest={largest}, smallest={smallest}, letters={letters})"
    return of_symbols(
        name, letters * largest, draw, characters(letters), letters + 1, guess,
        "Gers & Schmidhuber 2001; Weiss, Goldberg & Yahav 2018, arXiv:1805.04908",
    )  # fmt: skip


def words(n: Array, largest: int, letters: int = 2, dtype: Any = jnp.float32) -> Batch:
    """Return the words ``a^n b^n ...`` of given ``n [B]``, padded to the length for `largest`; targets as in `anbn`.

    Example:
      >>> batch = words(jnp.array([1, 2]), 2)
      >>> batch.xs.argmax(-1)[:, 1].tolist(), batch.targets[:, 1].tolist(), batch.scored[:, 1].tolist()
      ([0, 0, 1, 1], [0, 0, 1, 2], [False, False, True, True])
    """
    n = jnp.asarray(n)
    t = step_numbers(letters * largest, n.shape[0]).astype(n.dtype)
    n = jnp.broadcast_to(n, t.shape)
    real = t < letters * n
    return batch_of_symbols(jnp.minimum(t // n, letters - 1), letters, (t + 1) // n, (t >= n) & real, dtype, real)


def balance(batch: Batch) -> Array:
    """Return the number of a minus the number of b after each step, ``[T, B]``: the count that a cell must hold.

    Example:
      >>> balance(words(jnp.array([2]), 2))[:, 0].tolist()
      [1.0, 2.0, 1.0, 0.0]
    """
    real = jnp.where(batch.mask, batch.xs[..., 0] - batch.xs[..., 1], jnp.zeros_like(batch.xs[..., 0]))
    return jnp.cumsum(real, axis=0)

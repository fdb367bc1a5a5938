"""Integration of evidence, as in sentiment: words count for or against; tell at the end which side prevailed."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._init import check_sizes
from jaxseq.errors import InputError
from jaxseq.notation import Array, Key
from jaxseq.problems._base import Batch, Problem, batch_of_symbols, of_symbols, step_numbers

SYMBOLS = "PpNnabc"
"""Strongly and weakly positive, strongly and weakly negative words, and three neutral ones."""
VALENCES = (2, 1, -2, -1, 0, 0, 0)
"""The weight of each symbol."""


@functools.cache
def valence(length: int) -> Problem:
    """Return the problem of a text of uniform words weighted by `VALENCES`: is their sum above 0 at the end?

    Texts have from `length` / 2 to `length` words. Only the last step is scored, and only if the sum is not 0.

    Reference: a toy of sentiment classification, after Maheswaranathan et al. 2019, arXiv:1906.10720.

    Raises:
      InputError: if the length is below 2.

    Example:
      >>> batch = valence(8).draw(jax.random.key(0), 5)
      >>> total = balanced(batch)[-1]
      >>> last = batch.targets.sum(0)
      >>> bool(((total > 0) == (last == 1)).all()), bool((batch.scored.sum(0) == (total != 0)).all())
      (True, True)
    """
    check_sizes("valence", length=length)
    if length < 2:
        raise InputError(f"valence: length must be at least 2; got {length}")
    shortest = length // 2

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        of_words, of_lengths = jax.random.split(key)
        seen = jax.random.randint(of_words, (length, batch), 0, len(SYMBOLS))
        ends = jax.random.randint(of_lengths, (batch,), shortest, length + 1)
        t = step_numbers(length, batch)
        real = t < jnp.broadcast_to(ends, t.shape)
        weights = jnp.asarray(VALENCES, jnp.int32)[seen]
        total = jnp.cumsum(jnp.where(real, weights, jnp.zeros_like(weights)), axis=0)
        scored = (t == jnp.broadcast_to(ends - 1, t.shape)) & (total != 0)
        return batch_of_symbols(seen, len(SYMBOLS), (total > 0).astype(jnp.int32), scored, dtype, real)

    return of_symbols(
        f"valence(length={length})", length, draw, SYMBOLS, 2, _guess(shortest, length),
        "after Maheswaranathan et al. 2019, arXiv:1906.10720",
    )  # fmt: skip


def balanced(batch: Batch) -> Array:
    """Return the sum of the weights of the words so far, ``[T, B]``: the number that a network must keep."""
    return jnp.cumsum(batch.xs @ jnp.asarray(VALENCES, batch.xs.dtype), axis=0)  # padding is zeros


def _guess(shortest: int, longest: int) -> float:
    """Return the entropy of the target given only the last word: the mean loss without memory."""
    most = max(VALENCES)
    one = np.bincount(np.asarray(VALENCES) + most, minlength=2 * most + 1) / len(VALENCES)
    sums, counts = np.ones(1), np.zeros((len(VALENCES), 2))  # for empty texts; negative and positive sums
    for n in range(1, longest + 1):
        if n >= shortest:
            at = np.arange(len(sums)) - most * (n - 1)  # the sums of all words but the last
            for word, weight in enumerate(VALENCES):
                counts[word] += sums[at + weight < 0].sum(), sums[at + weight > 0].sum()
        sums = np.convolve(sums, one)
    shares = counts / counts.sum(1, keepdims=True)
    entropies = [-sum(p * math.log(p) for p in row if p > 0) for row in shares]
    return float(np.average(entropies, weights=counts.sum(1)))

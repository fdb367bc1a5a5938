"""Letters: predict each next letter of a text."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._init import check_sizes
from jaxseq.errors import InputError
from jaxseq.losses import cross_entropy
from jaxseq.notation import Key
from jaxseq.problems._base import Batch, Problem, likeliest

LETTERS = "abcdefghijklmnopqrstuvwxyz ."
"""The symbols: lower-case characters; all others become spaces."""


@functools.cache
def letters(length: int, text: str) -> Problem:
    """Return the problem of a text: windows of `length` letters from anywhere in it, each followed by the next letter.

    The baseline is the entropy of single letters: the loss of the best memoryless output.

    Raises:
      InputError: if the text has no window of that length with a letter after it.

    Example:
      >>> problem = letters(4, "To be, or not to be.")
      >>> batch = problem.draw(jax.random.key(0), 2)
      >>> batch.xs.shape, bool((batch.xs[1:].argmax(-1) == batch.targets[:-1]).all())
      ((4, 2, 28), True)
    """
    check_sizes("letters", length=length)
    clean = " ".join("".join(c if c in LETTERS else " " for c in text.lower()).split())
    if len(clean) <= length:
        raise InputError(f"letters: the text needs more than {length} letters, one window; it has {len(clean)}")
    numbers = np.array([LETTERS.index(c) for c in clean], np.int32)
    share = np.array(list(Counter(clean).values())) / len(clean)

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        start = jax.random.randint(key, (batch,), 0, len(numbers) - length)
        at = jnp.arange(length + 1)[:, None] + jnp.broadcast_to(start, (length + 1, batch))
        seen = jnp.asarray(numbers)[at]
        always = jnp.ones((length, batch), bool)
        return Batch(jax.nn.one_hot(seen[:-1], len(LETTERS), dtype=dtype), seen[1:], always, always)

    size = len(LETTERS)
    baseline = float(-(share * np.log(share)).sum())
    return Problem(f"letters(length={length})", size, size, length, draw, cross_entropy, likeliest, baseline, LETTERS)

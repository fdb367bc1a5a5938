"""A stream of real text as a task: foretell each next letter of the English sentences that are shipped."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.apps import datasets
from jaxseq.apps.pairs import read_pairs
from jaxseq.losses import cross_entropy
from jaxseq.notation import Array, Key
from jaxseq.problems.tasks import Batch, Task

LETTERS = "abcdefghijklmnopqrstuvwxyz ."
"""What is told apart; case is not, and all other characters are spaces."""


@functools.cache
def letters(length: int, data: str = "zh-en") -> Task:
    """Return the task: windows of `length` letters from anywhere in the text, each asked for the letter after it.

    The baseline is the entropy of single letters: what the best output costs that looks at nothing.
    """
    said = " ".join(pair[1] for pair in read_pairs(datasets.shipped(data))).lower()
    text = " ".join("".join(c if c in LETTERS else " " for c in said).split())
    numbers = np.array([LETTERS.index(c) for c in text], np.int32)
    share = np.array(list(Counter(text).values())) / len(text)

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        start = jax.random.randint(key, (batch,), 0, len(numbers) - length)
        at = jnp.arange(length + 1)[:, None] + jnp.broadcast_to(start, (length + 1, batch))
        seen = jnp.asarray(numbers)[at]
        always = jnp.ones((length, batch), bool)
        return Batch(jax.nn.one_hot(seen[:-1], len(LETTERS), dtype=dtype), seen[1:], always, always)

    def right(outputs: Array, targets: Array) -> Array:
        return outputs.argmax(-1).astype(targets.dtype) == targets

    size = len(LETTERS)
    baseline = float(-(share * np.log(share)).sum())
    return Task(f"letters(length={length})", size, size, length, draw, cross_entropy, right, baseline, LETTERS)

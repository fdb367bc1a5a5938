"""Warped time: symbols that last for several steps; output at each step the previous symbol."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.cells._init import check_sizes
from jaxseq.notation import Key
from jaxseq.problems._base import Batch, Problem, batch_of_symbols, characters, of_symbols


@functools.cache
def warped(length: int, longest: int, symbols: int = 10, uniform: bool = False) -> Problem:
    """Return the problem of warped time: each symbol lasts for 1 to `longest` steps; output the symbol before it.

    With `uniform` each lasts for `longest` steps. The next symbol may be the same. T is `length`.

    Reference: Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", arXiv:1804.11188, section 3.

    Example:
      >>> batch = warped(6, 2, uniform=True).draw(jax.random.key(0), 1)
      >>> seen = batch.xs[:, 0].argmax(-1)
      >>> bool((batch.targets[2:, 0] == seen[:-2]).all()), batch.scored[:, 0].tolist()
      (True, [False, False, True, True, True, True])
    """
    check_sizes("warped", length=length, longest=longest, symbols=symbols)

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        of_symbols, of_times = jax.random.split(key)
        text = jax.random.randint(of_symbols, (length, batch), 0, symbols)
        lasts = jax.random.randint(of_times, (length, batch), longest if uniform else 1, longest + 1)
        ends = jnp.cumsum(lasts, axis=0)
        now = jax.vmap(lambda ends: jnp.searchsorted(ends, jnp.arange(length), side="right"), 1, 1)(ends)
        seen = jnp.take_along_axis(text, now, 0)
        before = jnp.take_along_axis(text, jnp.maximum(now - 1, 0), 0)
        return batch_of_symbols(seen, symbols, before, now > 0, dtype)

    name = f"warped(length={length}, longest={longest}, symbols={symbols}, uniform={uniform})"
    return of_symbols(
        name, length, draw, characters(symbols), symbols, math.log(symbols), "Tallec & Ollivier 2018, arXiv:1804.11188"
    )

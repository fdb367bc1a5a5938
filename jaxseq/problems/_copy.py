"""Copy and reverse: read symbols, then repeat them in order or in reverse."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.cells._init import check_sizes
from jaxseq.notation import Key
from jaxseq.problems._base import Batch, Problem, batch_of_symbols, characters, of_symbols, step_numbers


@functools.cache
def copy(lag: int, length: int = 10, symbols: int = 8) -> Problem:
    """Return the copy problem: read `length` symbols, wait for `lag` steps, then repeat them in order.

    The last waiting step shows a mark; T is ``lag + 2 * length``. Only the steps after the mark are scored, and a guess
    costs ``ln(symbols)`` there. (Arjovsky et al. average over all T steps, including the blanks before, and get
    ``10 ln(8) / (lag + 20)``.)

    Reference: Hochreiter & Schmidhuber 1997; in this form Arjovsky, Shah & Bengio 2016, arXiv:1511.06464, section 4.1.

    Example:
      >>> problem = copy(5, length=3)
      >>> batch = problem.draw(jax.random.key(0), 2)
      >>> batch.xs.shape, bool((batch.xs[:3].argmax(-1) == batch.targets[-3:]).all())
      ((11, 2, 10), True)
    """
    check_sizes("copy", lag=lag, length=length, symbols=symbols)
    blank, mark = symbols, symbols + 1
    T = lag + 2 * length

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        word = jax.random.randint(key, (length, batch), 0, symbols)
        seen = jnp.full((T, batch), blank, word.dtype).at[:length].set(word).at[length + lag - 1].set(mark)
        wanted = jnp.zeros_like(seen).at[length + lag :].set(word)
        return batch_of_symbols(seen, symbols + 2, wanted, step_numbers(T, batch) >= length + lag, dtype)

    name = f"copy(lag={lag}, length={length}, symbols={symbols})"
    return of_symbols(
        name, T, draw, characters(symbols) + "_|", symbols, math.log(symbols),
        "Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016, arXiv:1511.06464",
    )  # fmt: skip


@functools.cache
def reverse(length: int, symbols: int = 8) -> Problem:
    """Return the reversal problem: read `length` symbols, then repeat them in reverse.

    T is ``2 * length``; the second half shows blanks and is scored. The last symbol must be kept for one step, the
    first for ``2 * length - 1``.

    Example:
      >>> batch = reverse(3).draw(jax.random.key(0), 2)
      >>> bool((batch.xs[:3].argmax(-1)[::-1] == batch.targets[3:]).all())
      True
    """
    check_sizes("reverse", length=length, symbols=symbols)
    T = 2 * length

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        word = jax.random.randint(key, (length, batch), 0, symbols)
        seen = jnp.full((T, batch), symbols, word.dtype).at[:length].set(word)
        wanted = jnp.zeros_like(seen).at[length:].set(word[::-1])
        return batch_of_symbols(seen, symbols + 1, wanted, step_numbers(T, batch) >= length, dtype)

    name = f"reverse(length={length}, symbols={symbols})"
    return of_symbols(name, T, draw, characters(symbols) + "_", symbols, math.log(symbols))

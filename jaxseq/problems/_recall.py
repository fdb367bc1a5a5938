"""Selective copy and associative recall: the input, not the step, decides which symbols to store."""

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
def selective_copy(lag: int, length: int = 10, symbols: int = 8) -> Problem:
    """Return the selective copy problem: symbols come at random steps among blanks, and are repeated in order.

    The first ``lag + length`` steps contain `length` symbols at positions that differ from row to row; the others are
    blank. Then a mark is shown for `length` steps, which are scored; T is ``lag + 2 * length``, as in `copy`. Counting
    steps does not solve it: a cell must skip blanks, which a linear recurrence with fixed weights cannot.

    Reference: Gu & Dao 2023, "Mamba", arXiv:2312.00752, section 3.1; Jing et al. 2019, Neural Computation 31(4).

    Example:
      >>> batch = selective_copy(5, length=3).draw(jax.random.key(0), 2)
      >>> seen = batch.xs[:8, 0].argmax(-1)
      >>> seen[seen < 8].tolist() == batch.targets[-3:, 0].tolist()
      True
    """
    check_sizes("selective_copy", lag=lag, length=length, symbols=symbols)
    T, read = lag + 2 * length, lag + length
    blank, mark = symbols, symbols + 1

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        kwords, kplaces = jax.random.split(key)
        word = jax.random.randint(kwords, (length, batch), 0, symbols)
        places = jnp.sort(_shuffled(kplaces, read, batch)[:length], axis=0)
        seen = jnp.full((T, batch), blank, word.dtype).at[places, jnp.arange(batch)].set(word).at[read:].set(mark)
        wanted = jnp.zeros_like(seen).at[read:].set(word)
        return batch_of_symbols(seen, symbols + 2, wanted, step_numbers(T, batch) >= read, dtype)

    name = f"selective_copy(lag={lag}, length={length}, symbols={symbols})"
    return of_symbols(
        name, T, draw, characters(symbols) + "_|", symbols, math.log(symbols),
        "Gu & Dao 2023, arXiv:2312.00752, section 3.1",
    )  # fmt: skip


@functools.cache
def recall(pairs: int, keys: int = 16, values: int = 16, lag: int = 0) -> Problem:
    """Return associative recall: read pairs of a key and a value, then answer each key with its value.

    T is ``4 * pairs + lag``: the pairs, `lag` blanks, then the keys in a new order, each followed by a blank at which
    the value is due. The keys of a row are distinct. A guess costs ``ln(values)``. Keys and values are different
    symbols. A state of H numbers holds few pairs; a matrix of H x H holds about H.

    Reference: Graves, Wayne & Danihelka 2014, arXiv:1410.5401, section 4.3; with several queries Arora et al. 2023,
    arXiv:2312.04927, section 3.

    Raises:
      InputError: if there are more pairs than keys.

    Example:
      >>> batch = recall(3).draw(jax.random.key(0), 2)
      >>> seen, wanted = batch.xs[:, 0].argmax(-1).tolist(), batch.targets[:, 0].tolist()
      >>> written = dict(zip(seen[:6:2], seen[1:6:2]))
      >>> [written[key] for key in seen[6::2]] == [value + 16 for value in wanted[7::2]]
      True
    """
    check_sizes("recall", pairs=pairs, keys=keys, values=values)
    if pairs > keys or lag < 0:
        raise InputError(
            "recall: expected at most as many pairs as keys, and a lag of 0 or more; "
            f"got {pairs} pairs, {keys} keys, lag {lag}"
        )
    read, blank = 2 * pairs, keys + values
    T = 2 * read + lag

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        kkeys, kvalues, korder = jax.random.split(key, 3)
        chosen = _shuffled(kkeys, keys, batch)[:pairs]
        value = jax.random.randint(kvalues, (pairs, batch), 0, values)
        order = _shuffled(korder, pairs, batch)
        asked, answer = (jnp.take_along_axis(a, order, axis=0) for a in (chosen, value))
        seen = jnp.full((T, batch), blank, value.dtype)
        seen = seen.at[0:read:2].set(chosen).at[1:read:2].set(keys + value).at[read + lag :: 2].set(asked)
        wanted = jnp.zeros_like(seen).at[read + lag + 1 :: 2].set(answer)
        after = step_numbers(T, batch) - (read + lag)
        return batch_of_symbols(seen, keys + values + 1, wanted, (after >= 0) & (after % 2 == 1), dtype)

    name = f"recall(pairs={pairs}, keys={keys}, values={values}, lag={lag})"
    return of_symbols(
        name, T, draw, characters(keys + values) + "_", values, math.log(values),
        "Graves, Wayne & Danihelka 2014, arXiv:1410.5401; Arora et al. 2023, arXiv:2312.04927",
    )  # fmt: skip


def _shuffled(key: Key, count: int, batch: int) -> Array:
    """Return an independent permutation of the numbers below `count` for each row, int ``[count, B]``."""
    numbers = jnp.broadcast_to(jnp.arange(count)[:, None], (count, batch))
    return jax.random.permutation(key, numbers, 0, independent=True)

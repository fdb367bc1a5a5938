"""Inits with gates that retain: one bias for all units, or biases spread over time scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxseq.cells import Cell, gru, lstm
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, chrono, zeros
from jaxseq.notation import Array, Key, Params
from jaxseq.problems.fit import Init

RETAINING: dict[Cell, str] = {lstm: "i f g o", gru: "r z n"}
"""The bias blocks of each supported cell, among them the gate that retains, f or z."""


def retaining(cell: Cell, *, bias: float | None = None, longest: float | None = None, **options: Any) -> Init:
    """Return the init of an LSTM or a GRU with a bias on the gate that retains.

    Args:
      cell: `lstm` or `gru`.
      bias: bias of every unit's gate, such as 1 or 2 (Gers et al. 2000; Jozefowicz et al. 2015).
      longest: the longest expected dependency; biases are then spread over the time scales up to it (`chrono`).
      options: passed to the cell's init.

    Raises:
      InputError: for another cell, or unless one of bias and longest is given.

    Example:
      >>> import jax
      >>> params = retaining(gru, bias=2.0)(jax.random.key(0), 3, 2)
      >>> params.b.tolist()
      [0.0, 0.0, 2.0, 2.0, 0.0, 0.0]
    """
    if cell not in RETAINING:
        known = " and ".join(known.name for known in RETAINING)
        raise InputError(f"retaining: only {known} have a bias known to retain; got {cell.name}")
    names = RETAINING[cell].split()
    if bias is not None and longest is None:
        draw = _constant(names, bias)
    elif longest is not None and bias is None:
        draw = chrono(longest, RETAINING[cell])
    else:
        raise InputError(f"retaining: give either bias or longest; got bias={bias}, longest={longest}")
    if cell is lstm:
        options = {"forget_bias": 0.0, **options}  # otherwise forget_bias would be added to the bias

    def init(key: Key, input_size: int, hidden_size: int) -> Params:
        def packed_alone(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
            packed = shape[-1] == len(names) * hidden_size  # a GRU's b_hn is one block, and stays zero
            return (draw if packed else zeros)(key, shape, dtype)

        return cell.init(key, input_size, hidden_size, bias=packed_alone, **options)

    return init


def _constant(names: Sequence[str], bias: float) -> Initializer:
    def init(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        retains = jnp.asarray([bias * (name in "fz") for name in names], dtype)
        return jnp.repeat(retains, shape[-1] // len(names))

    return init

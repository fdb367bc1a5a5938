"""Minion recurrent unit: a GRU (reset before the product) whose gates are replaced by constants.

    h' = retain * h + (1 - retain) * n               1 keeps, 0 takes the candidate

    miru1:  r = sigmoid(x W_r + h U_r + b_r)         reset gate
            n = tanh   (x W_n + (r * h) U_n + b_n)   candidate

    miru:   n = tanh(x W + (reset * h) U + b)        with a constant for a reset gate

`miru` is MiRU-2, the smallest; `miru1` is MiRU-1. The constants are chosen by hand, not learned (retain is lambda in
the paper, reset is beta). ``.with_`` takes retain (0.5 by default; 0 to 1), and for `miru` also reset (0.5; 0 to 1).
With reset = 1, MiRU-2 is a leaky Elman network.

Reference: Zyarah & Kudithipudi 2025, "Minion gated recurrent unit for continual learning", arXiv:2503.06175;
Neurocomputing 673 (2026), 132847.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, blocks
from jaxseq.cells._init import check_range, init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.notation import Array

REFERENCE = 'Zyarah & Kudithipudi 2025, "Minion gated recurrent unit for continual learning", arXiv:2503.06175'


class MiRUParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``."""

    W: Array
    U: Array
    b: Array


class MiRU1Params(NamedTuple):
    """``W [D, 2H]`` and ``b [2H]``, blocks in the order r n; ``U [H, H]`` (r), ``U_n [H, H]``."""

    W: Array
    U: Array
    U_n: Array
    b: Array


class MiRUGates(NamedTuple):
    """The candidate ``[B, H]``."""

    n: Array


class MiRU1Gates(NamedTuple):
    """Reset gate and candidate, each ``[B, H]``."""

    r: Array
    n: Array


init = init_of(MiRUParams, W="D H", U="H H", b="H")
init1 = init_of(MiRU1Params, W="D 2H", U="H H", U_n="H H", b="2H")
initial_carry = zeros_carry(Hidden)


@made
def _miru(retain: float = 0.5, reset: float = 0.5) -> Cell[MiRUParams, Hidden, Array, MiRUGates]:
    """Return the MiRU-2 with ``lambda = retain`` and ``beta = reset``."""
    check_range("miru.with_: retain", retain, 0, 1)
    check_range("miru.with_: reset", reset, 0, 1)

    def equations(params: MiRUParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, MiRUGates]:
        n = jnp.tanh(wx + reset * uh)
        h = retain * carry.h + (1 - retain) * n
        return Hidden(h), h, MiRUGates(n)

    return Cell(init, initial_carry, input_affine, hidden_product, equations, "miru", MiRUParams, REFERENCE)


@made
def _miru1(retain: float = 0.5) -> Cell[MiRU1Params, Hidden, Array, MiRU1Gates]:
    """Return the MiRU-1 with ``lambda = retain``."""
    check_range("miru1.with_: retain", retain, 0, 1)

    def equations(params: MiRU1Params, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, MiRU1Gates]:
        wx_r, wx_n = blocks(wx, 2)
        (r,) = activate(wx_r + uh, "sigmoid")
        n = jnp.tanh(wx_n + (r * carry.h) @ params.U_n)
        h = retain * carry.h + (1 - retain) * n
        return Hidden(h), h, MiRU1Gates(r, n)

    return Cell(init1, initial_carry, input_affine, hidden_product, equations, "miru1", MiRU1Params, REFERENCE)


miru = _miru()
"""The minion recurrent unit without any gate (MiRU-2) as a Cell."""

miru1 = _miru1()
"""The minion recurrent unit with a reset gate (MiRU-1) as a Cell."""

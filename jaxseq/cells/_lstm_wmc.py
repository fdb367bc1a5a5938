"""LSTM with working memory connections: gates see the cell through a matrix and a tanh.

    memory_i = tanh(c  U_ic)                            what the cell adds to each gate
    memory_f = tanh(c  U_fc)
    memory_o = tanh(c' U_oc)                            the output gate sees the new cell
    i = sigmoid(x W_i + h U_i + memory_i + b_i)         input gate: write
    f = sigmoid(x W_f + h U_f + memory_f + b_f)         forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x W_g + h U_g + b_g)                    candidate
    c' = f * c + i * g
    o = sigmoid(x W_o + h U_o + memory_o + b_o)         output gate: show
    h' = o * tanh(c')

Blocks are packed in the order i f g o, those of the old cell (``U_c``) in the order i f. torchrecurrent has a bias
inside each tanh. (Its docstring leaves tanh out, and h out of the candidate; its code has both.)

Reference: Landi, Baraldi, Cornia & Cucchiara 2021, "Working memory connections for LSTM", Neural Networks 144,
arXiv:2109.00020, the equations of LSTM-WM.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry, initial_carry
from jaxseq.cells._parts import input_affine
from jaxseq.notation import Array


class WMCLSTMParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]`` (i f g o); ``U_c [H, 2H]`` packs U_ic U_fc, ``U_oc [H, H]``."""

    W: Array
    U: Array
    b: Array
    U_c: Array
    U_oc: Array


class WMCLSTMGates(NamedTuple):
    """Input (write), forget (retain), candidate, output gate, and what c adds to i, f, o, each ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array
    memory_i: Array
    memory_f: Array
    memory_o: Array


init = init_of(WMCLSTMParams, forget=1, W="D 4H", U="H 4H", b="4H", U_c="H 2H", U_oc="H H")


def hidden_terms(params: WMCLSTMParams, carry: LSTMCarry) -> tuple[Array, Array]:
    """Return ``h U [B, 4H]`` and ``c U_c [B, 2H]``."""
    return carry.h @ params.U, carry.c @ params.U_c


def equations(
    params: WMCLSTMParams, carry: LSTMCarry, wx: Array, uh: tuple[Array, Array]
) -> tuple[LSTMCarry, Array, WMCLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    H = carry.c.shape[-1]
    of_h, of_c = uh
    memory = jnp.tanh(of_c)
    memory_i, memory_f = jnp.split(memory, 2, axis=-1)
    a_if, a_g, a_o = jnp.split(wx + of_h, [2 * H, 3 * H], axis=-1)
    i, f, g = activate(jnp.concatenate([a_if + memory, a_g], axis=-1), "sigmoid sigmoid tanh")
    c = f * carry.c + i * g
    memory_o = jnp.tanh(c @ params.U_oc)
    (o,) = activate(a_o + memory_o, "sigmoid")
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, WMCLSTMGates(i, f, g, o, memory_i, memory_f, memory_o)


lstm_wmc = Cell(
    init, initial_carry, input_affine, hidden_terms, equations, "lstm_wmc", WMCLSTMParams,
    'Landi, Baraldi, Cornia & Cucchiara 2021, "Working memory connections for LSTM", arXiv:2109.00020',
)  # fmt: skip
"""The LSTM with working memory connections as a Cell."""

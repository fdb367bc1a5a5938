"""Multiplicative LSTM: the input selects the recurrent matrix, through a product of projections of x and h.

    m = (x W_m) * (h U)                     intermediate state
    i = sigmoid(x W_i + m U_i + b_i)        input gate: write
    f = sigmoid(x W_f + m U_f + b_f)        forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x W_g + m U_g + b_g)        candidate (tanh of the paper's h hat)
    o = sigmoid(x W_o + m U_o + b_o)        output gate: show
    c' = f * c + i * g
    h' = o * tanh(c')

Input blocks are packed in the order m i f g o, those of m (``U_m``) and of b in the order i f g o: m has no bias.
torchrecurrent adds biases to both factors of m. The authors' first code (MATLAB) has no tanh on the candidate, and
outputs ``tanh(c' * o + b)``; their second, with weight normalisation, has the equations above.

Reference: Krause, Lu, Murray & Renals 2016, "Multiplicative LSTM for sequence modelling", arXiv:1609.07959.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import hidden_product, zeros_carry
from jaxseq.notation import Array


class MultiplicativeLSTMParams(NamedTuple):
    """``W [D, 5H]`` (m i f g o), ``U [H, H]``, ``U_m [H, 4H]`` and ``b [4H]`` (i f g o)."""

    W: Array
    U: Array
    U_m: Array
    b: Array


class MultiplicativeLSTMGates(NamedTuple):
    """Intermediate state, input (write), forget (retain), candidate and output gate, each ``[B, H]``."""

    m: Array
    i: Array
    f: Array
    g: Array
    o: Array


init = init_of(MultiplicativeLSTMParams, forget=1, W="D 5H", U="H H", U_m="H 4H", b="4H")
initial_carry = zeros_carry(LSTMCarry)


def input_terms(params: MultiplicativeLSTMParams, x: Array) -> Array:
    """Return ``x W``, ``[B, 5H]``, with b added to the blocks of i f g o."""
    return affine(x, params.W, jnp.pad(params.b, (params.U.shape[0], 0)))


def equations(
    params: MultiplicativeLSTMParams, carry: LSTMCarry, wx: Array, uh: Array
) -> tuple[LSTMCarry, Array, MultiplicativeLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    wx_m, wx = jnp.split(wx, [uh.shape[-1]], axis=-1)
    m = wx_m * uh
    i, f, g, o = activate(wx + m @ params.U_m, "sigmoid sigmoid tanh sigmoid")
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, MultiplicativeLSTMGates(m, i, f, g, o)


lstm_multiplicative = Cell(
    init, initial_carry, input_terms, hidden_product, equations, "lstm_multiplicative", MultiplicativeLSTMParams,
    'Krause, Lu, Murray & Renals 2016, "Multiplicative LSTM for sequence modelling", arXiv:1609.07959',
)  # fmt: skip
"""The multiplicative LSTM as a Cell."""

"""LSTM with a projected output: wide cells and a narrower recurrent state.

    i = sigmoid(x W_i + h U_i + b_i)        input gate: write
    f = sigmoid(x W_f + h U_f + b_f)        forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x W_g + h U_g + b_g)        candidate
    o = sigmoid(x W_o + h U_o + b_o)        output gate: show
    c' = f * c + i * g
    m  = o * tanh(c')
    h' = m W_r                              recurrent projection (r in the paper), [B, P]

Blocks are packed in the order i f g o. As in torch.nn.LSTM(proj_size=P), there are no peepholes (the paper has them:
`lstm_peephole`), and there is no second, non-recurrent projection p = m W_pm. `init` takes ``projection`` (P, half of H
by default).

Reference: Sak, Senior & Beaufays 2014, "Long short-term memory based recurrent neural network architectures for large
vocabulary speech recognition", arXiv:1402.1128, section 2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import hidden_product, input_affine
from jaxseq.notation import Array


class LSTMPParams(NamedTuple):
    """``W [D, 4H]``, ``U [P, 4H]``, ``b [4H]``, blocks in the order i f g o; projection ``W_r [H, P]``."""

    W: Array
    U: Array
    b: Array
    W_r: Array


class LSTMPGates(NamedTuple):
    """Input (write), forget (retain), candidate and output gate, and m before it is projected, each ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array
    m: Array


init = init_of(
    LSTMPParams, forget=1, sizes={"P": Size("projection", part=2)}, whole="W_r", W="D 4H", U="P 4H", b="4H", W_r="H P"
)


def initial_carry(params: LSTMPParams, batch_shape: tuple[int, ...] = ()) -> LSTMCarry:
    """Return the state before the first step: zeros, ``h [*batch_shape, P]`` and ``c [*batch_shape, H]``."""
    H, P = params.W_r.shape
    return LSTMCarry(zeros_for(params.b, batch_shape, P), zeros_for(params.b, batch_shape, H))


def equations(params: LSTMPParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, LSTMPGates]:
    """Return ``(carry, h [B, P], gates)`` of one step: the equations."""
    i, f, g, o = activate(wx + uh, "sigmoid sigmoid tanh sigmoid")
    c = f * carry.c + i * g
    m = o * jnp.tanh(c)
    h = m @ params.W_r
    return LSTMCarry(h, c), h, LSTMPGates(i, f, g, o, m)


lstmp = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "lstmp", LSTMPParams,
    "Sak, Senior & Beaufays 2014, arXiv:1402.1128, section 2; without peepholes, as torch.nn.LSTM(proj_size)",
)  # fmt: skip
"""The LSTM with a projected output as a Cell."""

"""Convolutional LSTM: the state is a picture, and every matrix product a convolution (**) with the same padding.

    i = sigmoid(x ** W_i + h ** U_i + p_i * c + b_i)     input gate: write
    f = sigmoid(x ** W_f + h ** U_f + p_f * c + b_f)     forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x ** W_g + h ** U_g + b_g)               candidate
    c' = f * c + i * g
    o = sigmoid(x ** W_o + h ** U_o + p_o * c' + b_o)    output gate: show
    h' = o * tanh(c')

x is ``[B, rows, columns, D]``, h and c ``[B, rows, columns, H]``; the filters are `window` by `window` (an option of
`init`, 3 by default). The paper's peepholes have a weight for each pixel and channel, which ties the parameters to one
picture size; here all pixels share one per channel. keras's ConvLSTM2D has none: p = 0, as after `init`. The blocks are
packed in the order i f g o, the peepholes i f o.

Reference: Shi, Chen, Wang, Yeung, Wong & Woo 2015, "Convolutional LSTM network: a machine learning approach for
precipitation nowcasting", NeurIPS, arXiv:1506.04214, eq. 3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, blocks, zeros_for
from jaxseq.cells._conv_gru import hidden_terms, input_terms
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._lstm import LSTMCarry, LSTMGates
from jaxseq.initializers import zeros
from jaxseq.notation import Array


class ConvLSTMParams(NamedTuple):
    """Filters ``W [w, w, D, 4H]``, ``U [w, w, H, 4H]``, ``b [4H]`` (i f g o); peepholes ``p [3H]`` (i f o)."""

    W: Array
    U: Array
    b: Array
    p: Array


init = init_of(
    ConvLSTMParams, forget=1, sizes={"w": Size("window", 3)},
    W="w w D 4H", U="w w H 4H", b="4H", p=("3H", zeros),
)  # fmt: skip


def initial_carry(params: ConvLSTMParams, batch_shape: tuple[int, ...] = ()) -> LSTMCarry:
    """Return zeros ``[*batch_shape, H]``, where batch_shape ends in rows and columns."""
    return LSTMCarry(*(zeros_for(params.b, batch_shape, params.U.shape[-2]) for _ in LSTMCarry._fields))


def equations(params: ConvLSTMParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, LSTMGates]:
    """Return ``(carry, h [B, rows, columns, H], gates)`` of one step: the equations."""
    p_i, p_f, p_o = (jnp.broadcast_to(p, carry.c.shape) for p in blocks(params.p, 3))
    a_i, a_f, a_g, a_o = blocks(wx + uh, 4)
    a = jnp.concatenate([a_i + p_i * carry.c, a_f + p_f * carry.c, a_g], axis=-1)
    i, f, g = activate(a, "sigmoid sigmoid tanh")
    c = f * carry.c + i * g
    (o,) = activate(a_o + p_o * c, "sigmoid")
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, o)


conv_lstm = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "conv_lstm", ConvLSTMParams,
    'Shi et al. 2015, "Convolutional LSTM network", arXiv:1506.04214, eq. 3', spatial=2,
)  # fmt: skip
"""The convolutional LSTM as a Cell."""

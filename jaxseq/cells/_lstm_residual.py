"""Residual LSTM: a shortcut from the layer's input to its output, under the same output gate.

    i = sigmoid(x W_i + h U_i + p_i * c  + b_i)     input gate: write
    f = sigmoid(x W_f + h U_f + p_f * c  + b_f)     forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x W_g + h U_g + b_g)                candidate
    c' = f * c + i * g
    o = sigmoid(x W_o + h U_o + p_o * c' + b_o)     output gate: show
    m = tanh(c') W_p                                projection
    r = x W_r                                       shortcut, r for residual; W_h in the paper
    h' = o * (m + r)

Input blocks are packed in the order i f g o r; the shortcut has no bias. If x has H features, the paper also allows the
identity instead of W_r. Peepholes are vectors, as in `lstm_peephole` and in torchrecurrent.

Reference: Kim, El-Khamy & Lee 2017, "Residual LSTM: design of a deep recurrent architecture for distant speech
recognition", Interspeech, arXiv:1701.03360, the section on the residual LSTM.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry, initial_carry
from jaxseq.cells._lstm_peephole import hidden_terms, output_gate
from jaxseq.initializers import uniform
from jaxseq.notation import Array


class ResidualLSTMParams(NamedTuple):
    """``W [D, 5H]`` (i f g o r); ``U [H, 4H]``, ``b [4H]`` (i f g o); peepholes ``p [2H]`` (i f), ``p_o [H]``.

    The projection is ``W_p [H, H]``.
    """

    W: Array
    U: Array
    b: Array
    p: Array
    p_o: Array
    W_p: Array


class ResidualLSTMGates(NamedTuple):
    """Input (write), forget (retain), candidate, output gate, projection and shortcut, each ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array
    m: Array
    r: Array


init = init_of(
    ResidualLSTMParams, forget=1,
    W="D 5H", U="H 4H", b="4H", p=("2H", uniform(0.1)), p_o=("H", uniform(0.1)), W_p="H H",
)  # fmt: skip


def input_terms(params: ResidualLSTMParams, x: Array) -> Array:
    """Return ``x W``, ``[B, 5H]``, with b added to all blocks but the last, the shortcut."""
    return affine(x, params.W, jnp.pad(params.b, (0, params.U.shape[0])))


def equations(
    params: ResidualLSTMParams, carry: LSTMCarry, wx: Array, uh: Array
) -> tuple[LSTMCarry, Array, ResidualLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    H = carry.c.shape[-1]
    wx, r = jnp.split(wx, [4 * H], axis=-1)
    a, a_o = jnp.split(wx + uh, [3 * H], axis=-1)
    i, f, g = activate(a, "sigmoid sigmoid tanh")
    c = f * carry.c + i * g
    o = output_gate(a_o, c, params.p_o)
    m = jnp.tanh(c) @ params.W_p
    h = o * (m + r)
    return LSTMCarry(h, c), h, ResidualLSTMGates(i, f, g, o, m, r)


lstm_residual = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "lstm_residual", ResidualLSTMParams,
    'Kim, El-Khamy & Lee 2017, "Residual LSTM", arXiv:1701.03360',
)  # fmt: skip
"""The residual LSTM as a Cell."""

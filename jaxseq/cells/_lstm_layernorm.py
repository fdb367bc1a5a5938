"""LSTM with layer normalisation of the input terms, of the hidden terms and of the cell.

    a  = LN(h U; gain_h, shift_h) + LN(x W; gain_x, shift_x) + b       one LN over all 4H, the gates together
    i  = sigmoid(a_i)                                                  input gate: write
    f  = sigmoid(a_f)                                                  forget gate: retain (1 keeps, 0 erases)
    g  = tanh   (a_g)                                                  candidate
    o  = sigmoid(a_o)                                                  output gate: show
    c' = f * c + i * g
    h' = o * tanh(LN(c'; gain_c, shift_c))

    LN(z; gain, shift) = (z - mean(z)) / sqrt(var(z) + 1e-5) * gain + shift

Blocks are packed in the order i f g o (the paper's: f i o g). The paper's formula has no epsilon; the 1e-5 under the
root is torch's, and allows H = 1. The definition of LN calls the gain alpha and the shift beta, while the text on
initialisation swaps them: here gains start at 1 and shifts at 0. TensorFlow's LayerNormBasicLSTMCell is a different
cell: it normalises each gate separately, after the sum.

Reference: Ba, Kiros & Hinton 2016, "Layer normalization", arXiv:1607.06450, supplementary material (the equations of
the layer-normalised LSTM).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry, LSTMGates, initial_carry
from jaxseq.cells._parts import hidden_product, scaled, standardised
from jaxseq.initializers import constant, zeros
from jaxseq.notation import Array

EPSILON = 1e-5
"""Added to the variance."""


class LayerNormLSTMParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]`` (i f g o); gains and shifts ``[4H]`` of x and h, ``[H]`` of c."""

    W: Array
    U: Array
    b: Array
    gain_x: Array
    shift_x: Array
    gain_h: Array
    shift_h: Array
    gain_c: Array
    shift_c: Array


_ones = constant(1.0)
init = init_of(
    LayerNormLSTMParams, forget=1, W="D 4H", U="H 4H", b="4H", gain_x=("4H", _ones), shift_x=("4H", zeros),
    gain_h=("4H", _ones), shift_h=("4H", zeros), gain_c=("H", _ones), shift_c=("H", zeros),
)  # fmt: skip


def layer_norm(z: Array, gain: Array, shift: Array) -> Array:
    """Return z with mean 0 and variance 1 over its last axis, times gain, plus shift."""
    z = standardised(z, EPSILON)
    return scaled(z, gain) + jnp.broadcast_to(shift, z.shape)


def input_terms(params: LayerNormLSTMParams, x: Array) -> Array:
    """Return ``LN(x W) + b``, ``[B, 4H]``: a function of x only, but not affine in x."""
    a = layer_norm(x @ params.W, params.gain_x, params.shift_x)
    return a + jnp.broadcast_to(params.b, a.shape)


def equations(
    params: LayerNormLSTMParams, carry: LSTMCarry, wx: Array, uh: Array
) -> tuple[LSTMCarry, Array, LSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a = layer_norm(uh, params.gain_h, params.shift_h) + wx
    i, f, g, o = activate(a, "sigmoid sigmoid tanh sigmoid")
    c = f * carry.c + i * g
    h = o * jnp.tanh(layer_norm(c, params.gain_c, params.shift_c))
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, o)


lstm_layernorm = Cell(
    init, initial_carry, input_terms, hidden_product, equations, "lstm_layernorm", LayerNormLSTMParams,
    'Ba, Kiros & Hinton 2016, "Layer normalization", arXiv:1607.06450, supplementary material',
)  # fmt: skip
"""The layer-normalised LSTM as a Cell."""

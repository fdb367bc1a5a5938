"""Recurrent additive network: a state that is a sum of inputs weighted by gates.

    i = sigmoid(x W_i + h U_i + b_i)          input gate: write
    f = sigmoid(x W_f + h U_f + b_f)          forget gate: retain (1 keeps, 0 erases)
    g = x W_g                                 content: affine in the input, no bias, no nonlinearity
    c' = i * g + f * c
    h' = tanh(c')

W is packed in the order i f g, U and b in the order i f. The paper also has a form without tanh, h' = c'. `init` adds
``forget_bias=1.0`` to b_f. torchrecurrent packs W in the order g i f, adds two biases, and documents a content bias
that it does not have.

Reference: Lee, Levy & Zettlemoyer 2017, "Recurrent additive networks", arXiv:1705.07393, section 2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import hidden_product, zeros_carry
from jaxseq.notation import Array


class RANParams(NamedTuple):
    """``W [D, 3H]`` (i f g), ``U [H, 2H]`` (i f), ``b [2H]`` (i f)."""

    W: Array
    U: Array
    b: Array


class RANGates(NamedTuple):
    """Input (write) and forget (retain) gate and content, each ``[B, H]``."""

    i: Array
    f: Array
    g: Array


init = init_of(RANParams, forget=1, W="D 3H", U="H 2H", b="2H")
initial_carry = zeros_carry(LSTMCarry)


def input_terms(params: RANParams, x: Array) -> Array:
    """Return ``x W``, ``[B, 3H]``, with b added to the blocks of the gates."""
    return affine(x, params.W, jnp.pad(params.b, (0, params.U.shape[0])))


def equations(params: RANParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, RANGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    wx_if, g = jnp.split(wx, [uh.shape[-1]], axis=-1)
    i, f = activate(wx_if + uh, "sigmoid sigmoid")
    c = i * g + f * carry.c
    h = jnp.tanh(c)
    return LSTMCarry(h, c), h, RANGates(i, f, g)


ran = Cell(
    init, initial_carry, input_terms, hidden_product, equations, "ran", RANParams,
    'Lee, Levy & Zettlemoyer 2017, "Recurrent additive networks", arXiv:1705.07393, section 2',
)  # fmt: skip
"""The recurrent additive network with tanh."""

"""Long short-term memory with a forget gate.

    i = sigmoid(x W_i + h U_i + b_i)        input gate: write
    f = sigmoid(x W_f + h U_f + b_f)        forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x W_g + h U_g + b_g)        candidate
    o = sigmoid(x W_o + h U_o + b_o)        output gate: show
    c' = f * c + i * g
    h' = o * tanh(c')

The four blocks are packed side by side in the order i f g o. There is one bias; torch adds two.
`init` adds ``forget_bias=1.0`` to the forget gate's block of b (Jozefowicz et al. 2015; torch has 0): the equations
contain no hidden constant.

Reference: Hochreiter & Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8); the forget gate is
Gers, Schmidhuber & Cummins 2000, "Learning to forget", Neural Computation 12(10). No peepholes, as in
Zaremba, Sutskever & Vinyals 2014, arXiv:1409.2329, section 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class LSTMParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]``, blocks in the order i f g o."""

    W: Array
    U: Array
    b: Array


class LSTMCarry(NamedTuple):
    """Hidden state ``h [B, H]`` and cell state ``c [B, H]``."""

    h: Array
    c: Array


class LSTMGates(NamedTuple):
    """Input (write), forget (retain), candidate and output gate, each ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array


init = init_of(LSTMParams, forget=1, W="D 4H", U="H 4H", b="4H")
initial_carry = zeros_carry(LSTMCarry)


def equations(params: LSTMParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, LSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    i, f, g, o = activate(wx + uh, "sigmoid sigmoid tanh sigmoid")
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, o)


lstm = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "lstm", LSTMParams,
    "Hochreiter & Schmidhuber 1997, Neural Computation 9(8); forget gate: Gers, Schmidhuber & Cummins 2000",
)  # fmt: skip
"""The LSTM as a Cell."""

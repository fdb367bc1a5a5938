"""Long short-term memory as first published: no forget gate; a cell only accumulates its inputs.

    i = sigmoid(x W_i + h U_i + b_i)            input gate, y^in: write
    g = 4 sigmoid(x W_g + h U_g + b_g) - 2      squashed input, in [-2, 2]
    o = sigmoid(x W_o + h U_o + b_o)            output gate, y^out: show
    c' = c + i * g                              the constant error carousel, s_c
    h' = o * (2 sigmoid(c') - 1)                y^c, in [-1, 1]

The two squashing functions are the paper's (g and h of its appendix A.1): ``4 sigmoid(a) - 2 = 2 tanh(a / 2)`` and
``2 sigmoid(c) - 1 = tanh(c / 2)``. torchrecurrent's OriginalLSTM has tanh for both; it is this cell with W_g, U_g, b_g
and c of twice the size. Blocks are packed in the order i g o. In the paper any unit, even a gate, may feed any other,
and a block of cells may share its gates; here, as in later LSTMs, cells feed everything and each has its own gates. The
paper's learning rule cuts the gradient at the gates; ours is the full gradient.

Reference: Hochreiter & Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8), section 4 and appendix A.1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class LSTM1997Params(NamedTuple):
    """``W [D, 3H]``, ``U [H, 3H]``, ``b [3H]``, blocks in the order i g o."""

    W: Array
    U: Array
    b: Array


class LSTM1997Gates(NamedTuple):
    """Input gate (write), squashed input and output gate, each ``[B, H]``."""

    i: Array
    g: Array
    o: Array


init = init_of(LSTM1997Params, W="D 3H", U="H 3H", b="3H")
initial_carry = zeros_carry(LSTMCarry)


def equations(params: LSTM1997Params, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, LSTM1997Gates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    i, s, o = activate(wx + uh, "sigmoid sigmoid sigmoid")
    g = 4 * s - 2
    c = carry.c + i * g
    h = o * jnp.tanh(c / 2)  # 2 sigmoid(c) - 1
    return LSTMCarry(h, c), h, LSTM1997Gates(i, g, o)


lstm_1997 = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "lstm_1997", LSTM1997Params,
    'Hochreiter & Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8), section 4, appendix A.1',
)  # fmt: skip
"""The LSTM of 1997, without a forget gate, as a Cell."""

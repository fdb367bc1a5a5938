"""JANET, "just another network": an LSTM with only its forget gate.

    s = x W_f + h U_f + b_f
    f = sigmoid(s)                          forget gate: retain (1 keeps, 0 erases)
    w = 1 - sigmoid(s - beta),  beta = 1    write; more than 1 - f
    g = tanh(x W_g + h U_g + b_g)           candidate (c tilde in the paper)
    h' = f * h + w * g                      (c_t, and h_t = c_t)

Blocks are packed in the order f g. `init` adds ``forget_bias=1.0`` to the forget gate's block; the paper draws it by
the chrono initialisation, ``log(U[1, T - 1])``. beta is a constant in the paper; in torchrecurrent it is learned, and
the state is two arrays, h and c, equal from the first step on.

Reference: van der Westhuizen & Lasenby 2018, "The unreasonable effectiveness of the forget gate", arXiv:1804.04849,
the equations of JANET.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxseq.cells._base import Cell, activate, blocks
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array

BETA = 1.0
"""beta: how far the forget gate must close before the write does."""


class JANETParams(NamedTuple):
    """``W [D, 2H]``, ``U [H, 2H]``, ``b [2H]``, blocks in the order f g."""

    W: Array
    U: Array
    b: Array


class JANETGates(NamedTuple):
    """Forget gate (f = 1 retains), write and candidate, each ``[B, H]``."""

    f: Array
    w: Array
    g: Array


init = init_of(JANETParams, forget=0, W="D 2H", U="H 2H", b="2H")
initial_carry = zeros_carry(Hidden)


def equations(params: JANETParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, JANETGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a = wx + uh
    s, _ = blocks(a, 2)
    f, g = activate(a, "sigmoid tanh")
    (w,) = activate(BETA - s, "sigmoid")  # 1 - sigmoid(s - BETA)
    h = f * carry.h + w * g
    return Hidden(h), h, JANETGates(f, w, g)


janet = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "janet", JANETParams,
    'van der Westhuizen & Lasenby 2018, "The unreasonable effectiveness of the forget gate", arXiv:1804.04849',
)  # fmt: skip
"""JANET, the LSTM with only a forget gate, as a Cell."""

"""Addition-subtraction twin-gated recurrent network: both gates from one sum and one difference.

    p = x W + b
    q = h U
    i = sigmoid(p + q)                        input gate: write
    f = sigmoid(p - q)                        forget gate: retain (1 keeps, 0 erases)
    h' = i * p + f * h

W and U have one block each. The paper has no b; torchrecurrent has a second bias, on q.

Reference: Zhang, Xiong, Su, Lin & Zhang 2018, "Simplifying neural machine translation with addition-subtraction
twin-gated recurrent networks", EMNLP 2018, arXiv:1810.12546, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class ATRParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``."""

    W: Array
    U: Array
    b: Array


class ATRGates(NamedTuple):
    """Input and hidden transformation, input (write) and forget (retain) gate, each ``[B, H]``."""

    p: Array
    q: Array
    i: Array
    f: Array


init = init_of(ATRParams, W="D H", U="H H", b="H")
initial_carry = zeros_carry(Hidden)


def equations(params: ATRParams, carry: Hidden, p: Array, q: Array) -> tuple[Hidden, Array, ATRGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    i, f = activate(jnp.concatenate([p + q, p - q], axis=-1), "sigmoid sigmoid")
    h = i * p + f * carry.h
    return Hidden(h), h, ATRGates(p, q, i, f)


atr = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "atr", ATRParams,
    "Zhang et al. 2018, \"Simplifying neural machine translation with addition-subtraction twin-gated recurrent "
    "networks\", arXiv:1810.12546, section 3",
)  # fmt: skip
"""The addition-subtraction twin-gated recurrent network."""

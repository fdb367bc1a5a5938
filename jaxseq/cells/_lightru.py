"""Light recurrent unit: one gate, and a candidate that never sees the state.

    n = tanh   (x W_n + b_n)                candidate, of the input alone
    f = sigmoid(x W_f + h U_f + b_f)        gate: write (1 takes the candidate, 0 keeps the state)
    h' = (1 - f) * h + f * n

The paper calls f a forget gate; 1 forgets. The input blocks are packed in the order n f, as in torchrecurrent, which
adds a second bias in f.

Reference: Ye, Zhang, Liu, Li, Chang & Zheng 2024, "Light recurrent unit: towards an interpretable recurrent neural
network for modeling long-range dependency", Electronics 13(16), 3204.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, blocks
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class LightRUParams(NamedTuple):
    """``W [D, 2H]`` and ``b [2H]``, blocks in the order n f; ``U [H, H]`` (f)."""

    W: Array
    U: Array
    b: Array


class LightRUGates(NamedTuple):
    """Candidate and gate (f = 1 writes), each ``[B, H]``."""

    n: Array
    f: Array


init = init_of(LightRUParams, W="D 2H", U="H H", b="2H")
initial_carry = zeros_carry(Hidden)


def equations(params: LightRUParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, LightRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    wx_n, wx_f = blocks(wx, 2)
    n, (f,) = jnp.tanh(wx_n), activate(wx_f + uh, "sigmoid")
    h = (1 - f) * carry.h + f * n
    return Hidden(h), h, LightRUGates(n, f)


lightru = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "lightru", LightRUParams,
    "Ye et al. 2024, \"Light recurrent unit\", Electronics 13(16), 3204",
)  # fmt: skip
"""The light recurrent unit as a Cell."""

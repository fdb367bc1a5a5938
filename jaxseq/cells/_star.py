"""Stackable recurrent cell: one gate, a candidate of the input alone, and a tanh over the new state.

    z = tanh   (x W_z + b_z)                candidate
    k = sigmoid(x W_k + h U_k + b_k)        gate: write (1 takes the candidate, 0 keeps the state)
    h' = tanh(h + k * (z - h))

Designed so that gradients neither vanish nor explode across layers, as they do in deep stacks of LSTMs. The input
blocks are packed in the order z k, as in torchrecurrent, which adds a second bias in k.

Reference: Turkoglu, D'Aronco, Wegner & Schindler 2019, "Gating revisited: deep multi-layer RNNs that can be trained",
arXiv:1911.11033, the section on the STAR cell.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, blocks
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class STARParams(NamedTuple):
    """``W [D, 2H]`` and ``b [2H]``, blocks in the order z k; ``U [H, H]`` (k)."""

    W: Array
    U: Array
    b: Array


class STARGates(NamedTuple):
    """Candidate and gate (k = 1 writes), each ``[B, H]``."""

    z: Array
    k: Array


init = init_of(STARParams, W="D 2H", U="H H", b="2H")
initial_carry = zeros_carry(Hidden)


def equations(params: STARParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, STARGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    wx_z, wx_k = blocks(wx, 2)
    z, (k,) = jnp.tanh(wx_z), activate(wx_k + uh, "sigmoid")
    h = jnp.tanh(carry.h + k * (z - carry.h))
    return Hidden(h), h, STARGates(z, k)


star = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "star", STARParams,
    "Turkoglu et al. 2019, \"Gating revisited\", arXiv:1911.11033",
)  # fmt: skip
"""The stackable recurrent cell as a Cell."""

"""Light gated recurrent unit: a GRU without a reset gate, whose candidate is rectified.

    z = sigmoid(x W_z + h U_z + b_z)          update gate: retain (1 keeps the old state, 0 writes the new)
    n = relu   (x W_n + h U_n + b_n)          candidate
    h' = z * h + (1 - z) * n

The blocks are packed in the order z n. The paper normalises ``x W_z`` and ``x W_n`` over the batch before it adds the
hidden terms, and so needs no b. Batch normalisation is left out here, since a Cell's step treats rows independently. It
keeps the rectified state bounded; without it, scale the inputs and U. torchrecurrent leaves it out too, and adds two
biases.

Reference: Ravanelli, Brakel, Omologo & Bengio 2018, "Light gated recurrent units for speech recognition", IEEE
Transactions on Emerging Topics in Computational Intelligence 2(2), arXiv:1803.10225, section III.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

from jaxseq.cells._base import Cell, activate, blocks
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class LiGRUParams(NamedTuple):
    """``W [D, 2H]``, ``U [H, 2H]``, ``b [2H]``, blocks in the order z n."""

    W: Array
    U: Array
    b: Array


class LiGRUGates(NamedTuple):
    """Update gate (z = 1 retains) and candidate, each ``[B, H]``."""

    z: Array
    n: Array


init = init_of(LiGRUParams, W="D 2H", U="H 2H", b="2H")
initial_carry = zeros_carry(Hidden)


def equations(params: LiGRUParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, LiGRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a_z, a_n = blocks(wx + uh, 2)
    (z,) = activate(a_z, "sigmoid")
    n = jax.nn.relu(a_n)
    h = z * carry.h + (1 - z) * n
    return Hidden(h), h, LiGRUGates(z, n)


ligru = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "ligru", LiGRUParams,
    'Ravanelli et al. 2018, "Light gated recurrent units for speech recognition", arXiv:1803.10225, section III',
)  # fmt: skip
"""The light GRU, without batch normalisation."""

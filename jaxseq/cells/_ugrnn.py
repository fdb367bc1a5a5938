"""Update gate RNN: an Elman network with one gate between the old state and the new.

    z = sigmoid(x W_z + h U_z + b_z)          update gate: retain (1 keeps the old state, 0 writes the new)
    n = tanh   (x W_n + h U_n + b_n)          candidate
    h' = z * h + (1 - z) * n

The blocks are packed in the order z n; the paper's letters are g and c. The paper adds a constant b^fg to b_z, here
``forget_bias=1.0`` of `init`: the equations contain no hidden constant. It is a `gru` whose reset gate is 1.
torchrecurrent packs the candidate first, adds two biases, and has no constant.

Reference: Collins, Sohl-Dickstein & Sussillo 2017, "Capacity and trainability in recurrent neural networks", ICLR 2017,
arXiv:1611.09913 (UGRNN).
"""

from __future__ import annotations

from typing import NamedTuple

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class UGRNNParams(NamedTuple):
    """``W [D, 2H]``, ``U [H, 2H]``, ``b [2H]``, blocks in the order z n."""

    W: Array
    U: Array
    b: Array


class UGRNNGates(NamedTuple):
    """Update gate (z = 1 retains) and candidate, each ``[B, H]``."""

    z: Array
    n: Array


init = init_of(UGRNNParams, forget=0, W="D 2H", U="H 2H", b="2H")
initial_carry = zeros_carry(Hidden)


def equations(params: UGRNNParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, UGRNNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    z, n = activate(wx + uh, "sigmoid tanh")
    h = z * carry.h + (1 - z) * n
    return Hidden(h), h, UGRNNGates(z, n)


ugrnn = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "ugrnn", UGRNNParams,
    'Collins et al. 2017, "Capacity and trainability in recurrent neural networks", arXiv:1611.09913',
)  # fmt: skip
"""The update gate RNN."""

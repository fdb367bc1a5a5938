"""minGRU: a GRU whose gate and candidate see only the input, so it is affine in its state and can be scanned.

    z = sigmoid(x W_z + b_z)                  update gate: write (1 takes the candidate, 0 keeps the old state)
    n = x W_n + b_n                           candidate
    h' = (1 - z) * h + z * n

The blocks are packed in the order z n. There is no U, so no matrix product in the loop. The paper's appendix has a form
trained in log space, with a positive candidate; this is the plain form of its main text.

Reference: Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, "Were RNNs all we needed?", arXiv:2410.01201: its
minGRU.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxseq.cells._base import Cell, activate, blocks, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, input_affine, no_hidden_terms
from jaxseq.notation import Array


class MinGRUParams(NamedTuple):
    """``W [D, 2H]``, ``b [2H]``, blocks in the order z n."""

    W: Array
    b: Array


class MinGRUGates(NamedTuple):
    """Update gate (z = 1 writes) and candidate, each ``[B, H]``."""

    z: Array
    n: Array


init = init_of(MinGRUParams, W="D 2H", b="2H")


def initial_carry(params: MinGRUParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return the state before the first step: zeros ``[*batch_shape, H]``."""
    return Hidden(zeros_for(params.b, batch_shape, params.b.shape[0] // 2))


def equations(params: MinGRUParams, carry: Hidden, wx: Array, uh: tuple[()]) -> tuple[Hidden, Array, MinGRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a_z, n = blocks(wx, 2)
    (z,) = activate(a_z, "sigmoid")
    h = (1 - z) * carry.h + z * n
    return Hidden(h), h, MinGRUGates(z, n)


min_gru = Cell(
    init, initial_carry, input_affine, no_hidden_terms, equations, "min_gru", MinGRUParams,
    'Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201', linear="elementwise",
)  # fmt: skip
"""The minGRU."""

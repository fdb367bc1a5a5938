"""Gated recurrent unit as first published, reset applied before the matrix product.

    r = sigmoid(x W_r + h U_r + b_r)          reset gate (eq. 5)
    z = sigmoid(x W_z + h U_z + b_z)          update gate: retain (eq. 6)
    n = tanh   (x W_n + (r * h) U_n + b_n)    candidate (eq. 8)
    h' = z * h + (1 - z) * n                  (eq. 7)

The input blocks are packed in the order r z n. Only U_r and U_z act on h itself; U_n acts on r * h, inside the
equations, so it is a separate parameter. The paper leaves out biases; b adds one per gate.

Reference: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine
translation", arXiv:1406.1078v3, section 2.3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._gru import GRUCarry, GRUGates, initial_carry
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import hidden_product, input_affine
from jaxseq.notation import Array


class GRUChoParams(NamedTuple):
    """``W [D, 3H]`` (r z n), ``U [H, 2H]`` (r z), ``U_n [H, H]``, ``b [3H]`` (r z n)."""

    W: Array
    U: Array
    U_n: Array
    b: Array


init = init_of(GRUChoParams, W="D 3H", U="H 2H", U_n="H H", b="3H")


def equations(params: GRUChoParams, carry: GRUCarry, wx: Array, uh: Array) -> tuple[GRUCarry, Array, GRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    H = carry.h.shape[-1]
    wx_rz, wx_n = jnp.split(wx, [2 * H], axis=-1)
    r, z = activate(wx_rz + uh, "sigmoid sigmoid")
    n = jnp.tanh(wx_n + (r * carry.h) @ params.U_n)
    h = z * carry.h + (1 - z) * n
    return GRUCarry(h), h, GRUGates(r, z, n)


gru_cho = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "gru_cho", GRUChoParams,
    "Cho et al. 2014, arXiv:1406.1078v3, section 2.3",
)  # fmt: skip
"""The GRU of Cho et al. 2014 (reset before) as a Cell."""

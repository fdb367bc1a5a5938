"""Gated recurrent unit, reset applied after the matrix product (torch, cuDNN and keras' reset_after).

    r = sigmoid(x W_r + h U_r + b_r)               reset gate
    z = sigmoid(x W_z + h U_z + b_z)               update gate: retain (1 keeps the old state, 0 writes the new)
    n = tanh   (x W_n + b_n + r * (h U_n + b_hn))  candidate
    h' = (1 - z) * n + z * h

The three blocks are packed side by side in the order r z n. The candidate has a second bias, b_hn, since the reset gate
scales it; torch's two biases of each other gate are summed into one.

Reference: the form of Cho et al. 2014 is `gru_cho`; resetting after the product is variant "v1" of the first
preprint, arXiv:1406.1078v1, and what cuDNN computes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import input_affine, zeros_carry
from jaxseq.notation import Array


class GRUParams(NamedTuple):
    """``W [D, 3H]``, ``U [H, 3H]``, ``b [3H]``, blocks in the order r z n; ``b_hn [H]``."""

    W: Array
    U: Array
    b: Array
    b_hn: Array


class GRUCarry(NamedTuple):
    """The state ``h [B, H]``, which is also the output."""

    h: Array


class GRUGates(NamedTuple):
    """Reset gate, update gate (z = 1 retains) and candidate, each ``[B, H]``."""

    r: Array
    z: Array
    n: Array


init = init_of(GRUParams, W="D 3H", U="H 3H", b="3H", b_hn="H")
initial_carry = zeros_carry(GRUCarry)


def hidden_terms(params: GRUParams, carry: GRUCarry) -> Array:
    """Return ``h U``, ``[B, 3H]``, with b_hn added to the block of n."""
    H = params.b_hn.shape[0]
    return affine(carry.h, params.U, jnp.pad(params.b_hn, (2 * H, 0)))


def equations(params: GRUParams, carry: GRUCarry, wx: Array, uh: Array) -> tuple[GRUCarry, Array, GRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    H = carry.h.shape[-1]
    (wx_rz, wx_n), (uh_rz, uh_n) = jnp.split(wx, [2 * H], axis=-1), jnp.split(uh, [2 * H], axis=-1)
    r, z = activate(wx_rz + uh_rz, "sigmoid sigmoid")
    n = jnp.tanh(wx_n + r * uh_n)
    h = (1 - z) * n + z * carry.h
    return GRUCarry(h), h, GRUGates(r, z, n)


gru = Cell(
    init, initial_carry, input_affine, hidden_terms, equations, "gru", GRUParams,
    "Cho et al. 2014, arXiv:1406.1078v1, reset after the product as in cuDNN",
)  # fmt: skip
"""The GRU (reset after) as a Cell."""

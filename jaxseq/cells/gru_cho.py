"""Gated recurrent unit as first published, reset applied before the matrix product.

    r = sigmoid(x W_r + h U_r + b_r)          reset gate (eq. 5)
    z = sigmoid(x W_z + h U_z + b_z)          update gate: retain (eq. 6)
    n = tanh   (x W_n + (r * h) U_n + b_n)    candidate (eq. 8)
    h' = z * h + (1 - z) * n                  (eq. 7)

The input blocks are packed in the order r z n. Only U_r and U_z act on h itself; U_n acts on r * h, inside the
equations, and so is a parameter of its own. The paper leaves biases out; b adds one per gate.

Reference: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine
translation", arXiv:1406.1078v3, section 2.3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells.base import Cell, activate, affine
from jaxseq.cells.gru import GRUCarry, GRUGates, initial_carry
from jaxseq.initializers import Initializer, glorot, orthogonal, packed, zeros
from jaxseq.notation import Array, Key


class GRUChoParams(NamedTuple):
    """``W [D, 3H]`` (r z n), ``U [H, 2H]`` (r z), ``U_n [H, H]``, ``b [3H]`` (r z n)."""

    W: Array
    U: Array
    U_n: Array
    b: Array


def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    recurrent: Initializer = orthogonal,
    bias: Initializer = zeros,
) -> GRUChoParams:
    """Return parameters for D = input_size, H = hidden_size. Consumes `key`."""
    kW, kU, kn, kb = jax.random.split(key, 4)
    D, H = input_size, hidden_size
    W = packed(kernel, kW, (D, H), 3, dtype)
    U = packed(recurrent, kU, (H, H), 2, dtype)
    return GRUChoParams(W, U, recurrent(kn, (H, H), dtype), bias(kb, (3 * H,), dtype))


def input_terms(params: GRUChoParams, x: Array) -> Array:
    """Return ``x W + b``, ``[B, 3H]``."""
    return affine(x, params.W, params.b)


def hidden_terms(params: GRUChoParams, carry: GRUCarry) -> Array:
    """Return ``h [U_r U_z]``, ``[B, 2H]``."""
    return carry.h @ params.U


def gates(params: GRUChoParams, carry: GRUCarry, wx: Array, uh: Array) -> tuple[GRUCarry, Array, GRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    H = carry.h.shape[-1]
    wx_rz, wx_n = jnp.split(wx, [2 * H], axis=-1)
    r, z = activate(wx_rz + uh, "sigmoid sigmoid")
    n = jnp.tanh(wx_n + (r * carry.h) @ params.U_n)
    h = z * carry.h + (1 - z) * n
    return GRUCarry(h), h, GRUGates(r, z, n)


gru_cho = Cell(init, initial_carry, input_terms, hidden_terms, gates, "gru_cho", GRUChoParams)
"""The GRU of Cho et al. 2014 (reset before) as a Cell."""

"""Three reductions of the gates of a GRU (reset before the matrix product), which keep its candidate.

    n = tanh(x W_n + (r * h) U_n + b_n)       candidate
    h' = (1 - z) * h + z * n                  z writes: 1 takes the candidate, 0 keeps the old state

    gru1:  r = sigmoid(h U_r + b_r)    z = sigmoid(h U_z + b_z)    no input
    gru2:  r = sigmoid(h U_r)          z = sigmoid(h U_z)          no input, no bias
    gru3:  r = sigmoid(b_r)            z = sigmoid(b_z)            the same at every step

U and b_rz are packed in the order r z. Here z writes, as in the paper; the z of `gru` and `gru_cho` retains.

Reference: Dey & Salem 2017, "Gate-variants of gated recurrent unit (GRU) neural networks", arXiv:1701.05923.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine, blocks
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class GRU1Params(NamedTuple):
    """``W [D, H]`` (n), ``U [H, 2H]`` (r z), ``U_n [H, H]``, ``b [H]`` (n), ``b_rz [2H]`` (r z)."""

    W: Array
    U: Array
    U_n: Array
    b: Array
    b_rz: Array


class GRU2Params(NamedTuple):
    """``W [D, H]`` (n), ``U [H, 2H]`` (r z), ``U_n [H, H]``, ``b [H]`` (n)."""

    W: Array
    U: Array
    U_n: Array
    b: Array


class GRU3Params(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]`` (n): all of the candidate; ``b_rz [2H]`` (r z)."""

    W: Array
    U: Array
    b: Array
    b_rz: Array


class GRUReducedGates(NamedTuple):
    """Reset gate, update gate (z = 1 writes) and candidate, each ``[B, H]``."""

    r: Array
    z: Array
    n: Array


initial_carry = zeros_carry(Hidden)


def hidden_affine(params: GRU1Params, carry: Hidden) -> Array:
    """Return ``h U + b_rz``, ``[B, 2H]``."""
    return affine(carry.h, params.U, params.b_rz)


def equations(
    params: GRU1Params | GRU2Params, carry: Hidden, wx: Array, uh: Array
) -> tuple[Hidden, Array, GRUReducedGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of gru1 or gru2."""
    r, z = activate(uh, "sigmoid sigmoid")
    n = jnp.tanh(wx + (r * carry.h) @ params.U_n)
    h = (1 - z) * carry.h + z * n
    return Hidden(h), h, GRUReducedGates(r, z, n)


def constant_gates(params: GRU3Params, carry: Hidden) -> list[Array]:
    """Return r and z of gru3, ``[B, H]`` each."""
    return [jnp.broadcast_to(jax.nn.sigmoid(b), carry.h.shape) for b in blocks(params.b_rz, 2)]


def hidden_reset(params: GRU3Params, carry: Hidden) -> Array:
    """Return ``(r * h) U``: a gate that is the same at every step can be applied before the product."""
    r, _ = constant_gates(params, carry)
    return (r * carry.h) @ params.U


def gates_constant(params: GRU3Params, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, GRUReducedGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of gru3."""
    r, z = constant_gates(params, carry)
    n = jnp.tanh(wx + uh)
    h = (1 - z) * carry.h + z * n
    return Hidden(h), h, GRUReducedGates(r, z, n)


REFERENCE = 'Dey & Salem 2017, "Gate-variants of gated recurrent unit (GRU) neural networks", arXiv:1701.05923'

gru1 = Cell(
    init_of(GRU1Params, W="D H", U="H 2H", U_n="H H", b="H", b_rz="2H"),
    initial_carry, input_affine, hidden_affine, equations, "gru1", GRU1Params, REFERENCE,
)  # fmt: skip
"""GRU whose gates do not see the input."""

gru2 = Cell(
    init_of(GRU2Params, W="D H", U="H 2H", U_n="H H", b="H"),
    initial_carry, input_affine, hidden_product, equations, "gru2", GRU2Params, REFERENCE,
)  # fmt: skip
"""GRU whose gates see only the old state, without a bias."""

gru3 = Cell(
    init_of(GRU3Params, W="D H", U="H H", b="H", b_rz="2H"),
    initial_carry, input_affine, hidden_reset, gates_constant, "gru3", GRU3Params, REFERENCE,
)  # fmt: skip
"""GRU whose gates are learned and the same at every step."""

"""Simple gated unit, plain and deep: the input acts on the state by multiplication only.

    x_g   = x W_g + b_g                             the input, as a factor
    z_g   = tanh((x_g * h) U_g)
    z     = hard(x W_z + h U_z + b_z)               gate: write (1 takes the candidate, 0 keeps the state)
    h'    = (1 - z) * h + z * z_out
    hard(a) = max(0, min(1, a / 5 + 1 / 2))

    sgu:   z_out = softplus(z_g * h)                candidate
    dsgu:  z_out = sigmoid((z_g * h) U_o)           candidate, one more matrix deep

hard is Theano's hard sigmoid, common at the time of the paper; torch's, and so torchrecurrent's, has the slope 1/6.
torchrecurrent also adds a bias inside the tanh, unlike the paper. The input blocks are packed in the order g z. The
candidate is positive: at h = 0 it is 0.69 in sgu, 0.5 in dsgu.

Reference: Gao & Glowacka 2016, "Deep gate recurrent neural network", arXiv:1604.02910.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array

REFERENCE = 'Gao & Glowacka 2016, "Deep gate recurrent neural network", arXiv:1604.02910'


class SGUParams(NamedTuple):
    """``W [D, 2H]`` and ``b [2H]``, blocks in the order g z; ``U [H, H]`` (z); ``U_g [H, H]``."""

    W: Array
    U: Array
    U_g: Array
    b: Array


class DSGUParams(NamedTuple):
    """``W [D, 2H]`` and ``b [2H]``, blocks in the order g z; ``U [H, H]`` (z); ``U_g [H, H]``, ``U_o [H, H]``."""

    W: Array
    U: Array
    U_g: Array
    U_o: Array
    b: Array


class SGUGates(NamedTuple):
    """The input as a factor, its product with the state, the candidate, the gate (z = 1 writes), each ``[B, H]``."""

    x_g: Array
    z_g: Array
    z_out: Array
    z: Array


initial_carry = zeros_carry(Hidden)


def equations(params: SGUParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, SGUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of `sgu`: the equations."""
    x_g, wx_z = blocks(wx, 2)
    z_g = jnp.tanh((x_g * carry.h) @ params.U_g)
    return _mixed(carry, x_g, z_g, jax.nn.softplus(z_g * carry.h), wx_z + uh)


def deep_gates(params: DSGUParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, SGUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of `dsgu`: the equations."""
    x_g, wx_z = blocks(wx, 2)
    z_g = jnp.tanh((x_g * carry.h) @ params.U_g)
    return _mixed(carry, x_g, z_g, jax.nn.sigmoid((z_g * carry.h) @ params.U_o), wx_z + uh)


def _mixed(carry: Hidden, x_g: Array, z_g: Array, z_out: Array, a: Array) -> tuple[Hidden, Array, SGUGates]:
    z = jnp.clip(a / 5 + 0.5, 0, 1)
    h = (1 - z) * carry.h + z * z_out
    return Hidden(h), h, SGUGates(x_g, z_g, z_out, z)


sgu = Cell(
    init_of(SGUParams, W="D 2H", U="H H", U_g="H H", b="2H"),
    initial_carry, input_affine, hidden_product, equations, "sgu", SGUParams, REFERENCE,
)  # fmt: skip
"""The simple gated unit as a Cell."""

dsgu = Cell(
    init_of(DSGUParams, W="D 2H", U="H H", U_g="H H", U_o="H H", b="2H"),
    initial_carry, input_affine, hidden_product, deep_gates, "dsgu", DSGUParams, REFERENCE,
)  # fmt: skip
"""The deep simple gated unit as a Cell."""

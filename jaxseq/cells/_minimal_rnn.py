"""Minimal recurrent network: a latent input, and one gate between it and the state.

    z = tanh(x W + b)                        latent input, of x only
    u = sigmoid(h U + z U_z + b_u)           update gate: retain (1 keeps the old state, 0 writes z)
    h' = u * h + (1 - u) * z

z and ``z U_z`` depend on x alone, so they are input terms: ``h U`` is the only product in the loop.

The paper leaves open the network Phi that computes z from x, and uses a fully connected layer with tanh.

Reference: Chen 2017, "MinimalRNN: toward more interpretable and trainable recurrent neural networks",
arXiv:1711.06788, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class MinimalRNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``U_z [H, H]``, ``b [H]``, ``b_u [H]``."""

    W: Array
    U: Array
    U_z: Array
    b: Array
    b_u: Array


class MinimalRNNGates(NamedTuple):
    """Latent input and update gate (u = 1 retains), each ``[B, H]``."""

    z: Array
    u: Array


init = init_of(MinimalRNNParams, W="D H", U="H H", U_z="H H", b="H", b_u="H")
initial_carry = zeros_carry(Hidden)


def input_terms(params: MinimalRNNParams, x: Array) -> tuple[Array, Array]:
    """Return ``(z, z U_z + b_u)``, each ``[B, H]``."""
    z = jnp.tanh(input_affine(params, x))
    return z, affine(z, params.U_z, params.b_u)


def equations(
    params: MinimalRNNParams, carry: Hidden, wx: tuple[Array, Array], uh: Array
) -> tuple[Hidden, Array, MinimalRNNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    z, wz = wx
    u = jax.nn.sigmoid(wz + uh)
    h = u * carry.h + (1 - u) * z
    return Hidden(h), h, MinimalRNNGates(z, u)


minimal_rnn = Cell(
    init, initial_carry, input_terms, hidden_product, equations, "minimal_rnn", MinimalRNNParams,
    'Chen 2017, "MinimalRNN: toward more interpretable and trainable RNNs", arXiv:1711.06788, section 3',
)  # fmt: skip
"""The MinimalRNN as a Cell."""

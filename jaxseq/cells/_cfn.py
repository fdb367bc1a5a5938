"""Chaos-free network: a gated cell whose state goes to zero without input, whatever its parameters.

    h' = f * tanh(h) + i * g
    f = sigmoid(x W_f + h U_f + b_f)          forget gate: retain (1 keeps, 0 erases)
    i = sigmoid(x W_i + h U_i + b_i)          input gate: write
    g = tanh(x W_g)                           content: the input alone

W is packed in the order f i g, U and b in the order f i; the paper calls the gates theta and eta. There is no bias
inside the tanh of the input: with x = 0 every unit shrinks at every step, ``|h'| < |tanh h|``, and zero is the only
attractor. torchrecurrent has such a bias, and so lacks this property. `init` adds ``forget_bias=1.0`` to b_f.

Reference: Laurent & von Brecht 2016, "A recurrent neural network without chaos", ICLR 2017, arXiv:1612.06212.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, zeros_carry
from jaxseq.notation import Array


class CFNParams(NamedTuple):
    """``W [D, 3H]`` (f i g), ``U [H, 2H]`` (f i), ``b [2H]`` (f i)."""

    W: Array
    U: Array
    b: Array


class CFNGates(NamedTuple):
    """Forget (retain) and input (write) gate, and the written content, each ``[B, H]``."""

    f: Array
    i: Array
    g: Array


init = init_of(CFNParams, forget=0, W="D 3H", U="H 2H", b="2H")
initial_carry = zeros_carry(Hidden)


def input_terms(params: CFNParams, x: Array) -> Array:
    """Return ``x W``, ``[B, 3H]``, with b added to the blocks of the gates."""
    return affine(x, params.W, jnp.pad(params.b, (0, params.U.shape[0])))


def equations(params: CFNParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, CFNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    wx_fi, wx_g = jnp.split(wx, [uh.shape[-1]], axis=-1)
    f, i = activate(wx_fi + uh, "sigmoid sigmoid")
    g = jnp.tanh(wx_g)
    h = f * jnp.tanh(carry.h) + i * g
    return Hidden(h), h, CFNGates(f, i, g)


cfn = Cell(
    init, initial_carry, input_terms, hidden_product, equations, "cfn", CFNParams,
    'Laurent & von Brecht 2016, "A recurrent neural network without chaos", arXiv:1612.06212',
)  # fmt: skip
"""The chaos-free network."""

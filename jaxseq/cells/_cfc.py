"""Closed-form continuous-time network: the time since the last step decides between two states.

    f = x W_f + h U_f + b_f                 how fast, and which way
    g = tanh(x W_g + h U_g + b_g)           state at long times after, where f < 0; before, where f > 0
    k = tanh(x W_k + h U_k + b_k)           the other one
    s = sigmoid(-f * dt)                    gate: 1 shows g, 0 shows k; 1/2 at dt = 0
    h' = s * g + (1 - s) * k

dt is the time since the last step, t in the paper: the input is `Spaced`, and a plain array has dt = 1. In the paper's
letters the state h is x, the input x is I, and k is h. There f, g and k are networks that may share their first layers
(a backbone); here each is one layer, as in the authors' code with ``backbone_layers=0``, so a step is one matrix
product. That code has ``sigmoid(t * f_1 + f_2)`` with two layers instead of ``-f``. W, U and b are packed in the order
f g k.

Reference: Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl & Rus 2022, "Closed-form continuous-time neural
networks", Nature Machine Intelligence 4, arXiv:2106.13898.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._inputs import Spaced, spaced
from jaxseq.cells._parts import Hidden, hidden_product, zeros_carry
from jaxseq.notation import Array


class CfCParams(NamedTuple):
    """``W [D, 3H]``, ``U [H, 3H]``, ``b [3H]``, blocks in the order f g k."""

    W: Array
    U: Array
    b: Array


class CfCGates(NamedTuple):
    """Rate f, the two states g and k, and the gate s (1 shows g), each ``[B, H]``."""

    f: Array
    g: Array
    k: Array
    s: Array


init = init_of(CfCParams, W="D 3H", U="H 3H", b="3H")
initial_carry = zeros_carry(Hidden)


def input_terms(params: CfCParams, x: Spaced) -> Spaced:
    """Return ``x W + b``, ``[B, 3H]``, and the times."""
    return Spaced(affine(x.x, params.W, params.b), x.dt)


def equations(params: CfCParams, carry: Hidden, wx: Spaced, uh: Array) -> tuple[Hidden, Array, CfCGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    f, gk = jnp.split(wx.x + uh, [carry.h.shape[-1]], axis=-1)
    g, k = activate(gk, "tanh tanh")
    s = jax.nn.sigmoid(-f * wx.dt)
    h = s * g + (1 - s) * k
    return Hidden(h), h, CfCGates(f, g, k, s)


cfc = Cell(
    init, initial_carry, input_terms, hidden_product, equations, "cfc", CfCParams,
    'Hasani et al. 2022, "Closed-form continuous-time neural networks", arXiv:2106.13898', lift=spaced,
)  # fmt: skip
"""The CfC as a Cell; its input is `Spaced`."""

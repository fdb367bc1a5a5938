"""GRU with an attentional update gate: a given score scales how much each step writes.

    r = sigmoid(x W_r + h U_r + b_r)               reset gate
    u = a * sigmoid(x W_u + h U_u + b_u)           update gate, scaled by the score: write (1 writes, 0 keeps)
    n = tanh   (x W_n + r * (h U_n) + b_n)         candidate
    h' = (1 - u) * h + u * n

The score a, usually an attention weight between 0 and 1, is part of the input, `Scored`; a plain array has a = 1. A
step of score 0 keeps the state; with all scores 1 this is the GRU, whose z is 1 - u. The blocks are packed in the order
r u n. This follows the paper's text; the authors' code resets before the product, and has 1 - (1 - a) u~ instead of a
(1 - u~), for a gate u~ that retains.

Reference: Zhou et al. 2019, "Deep interest evolution network for click-through rate prediction", arXiv:1809.03672,
section "Interest evolving layer".
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._inputs import Scored, scored
from jaxseq.cells._parts import Hidden, hidden_product, zeros_carry
from jaxseq.notation import Array


class AUGRUParams(NamedTuple):
    """``W [D, 3H]``, ``U [H, 3H]``, ``b [3H]``, blocks in the order r u n."""

    W: Array
    U: Array
    b: Array


class AUGRUGates(NamedTuple):
    """Reset gate, update gate (u = 1 writes) after the score, and candidate, each ``[B, H]``."""

    r: Array
    u: Array
    n: Array


init = init_of(AUGRUParams, W="D 3H", U="H 3H", b="3H")
initial_carry = zeros_carry(Hidden)


def input_terms(params: AUGRUParams, x: Scored) -> Scored:
    """Return ``x W + b``, ``[B, 3H]``, and the score."""
    return Scored(affine(x.x, params.W, params.b), x.a)


def equations(params: AUGRUParams, carry: Hidden, wx: Scored, uh: Array) -> tuple[Hidden, Array, AUGRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    H = carry.h.shape[-1]
    (wx_ru, wx_n), (uh_ru, uh_n) = jnp.split(wx.x, [2 * H], axis=-1), jnp.split(uh, [2 * H], axis=-1)
    r, u = activate(wx_ru + uh_ru, "sigmoid sigmoid")
    u = wx.a * u
    n = jnp.tanh(wx_n + r * uh_n)
    h = (1 - u) * carry.h + u * n
    return Hidden(h), h, AUGRUGates(r, u, n)


augru = Cell(
    init, initial_carry, input_terms, hidden_product, equations, "augru", AUGRUParams,
    "Zhou et al. 2019, \"Deep interest evolution network\", arXiv:1809.03672", lift=scored,
)  # fmt: skip
"""The GRU with an attentional update gate as a Cell."""

"""Bistable recurrent cell and its neuromodulated form: units that can hold a value forever through their own feedback.

    n = tanh(x W_n + a * h + b_n)                 candidate
    h' = c * h + (1 - c) * n

    brc:   a = 1 + tanh(x W_a + u_a * h + b_a)    feedback, between 0 and 2
           c = sigmoid (x W_c + u_c * h + b_c)    update gate: retain (1 keeps, 0 writes)

    nbrc:  a = 1 + tanh(x W_a + h U_a + b_a)
           c = sigmoid (x W_c + h U_c + b_c)

Without input a unit with a <= 1 relaxes to 0; with a > 1 it has two stable states, +-h* with h* = tanh(a h*), and stays
in the one with its sign. In `brc` u_a and u_c are vectors: a unit sees only itself, and the loop has no matrix product.
In `nbrc` U_a and U_c are matrices: units modulate each other's feedback.

The paper writes U for the input's matrices and w or W for the recurrent ones, and has no biases. Blocks are packed in
the order a c n, as in torchrecurrent, which adds second biases to the first. init draws u_a and u_c of `brc` from [-1,
1).

Reference: Vecoven, Ernst & Drion 2021, "A bio-inspired bistable recurrent cell allows for long-lasting memory",
PLOS ONE 16(6), e0252676; arXiv:2006.05252.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.initializers import uniform
from jaxseq.notation import Array

REFERENCE = 'Vecoven, Ernst & Drion 2021, "A bio-inspired bistable recurrent cell", arXiv:2006.05252'


class BRCParams(NamedTuple):
    """``W [D, 3H]`` and ``b [3H]``, blocks in the order a c n; ``u [2H]`` (a c), one number for each unit."""

    W: Array
    u: Array
    b: Array


class NBRCParams(NamedTuple):
    """``W [D, 3H]`` and ``b [3H]``, blocks in the order a c n; ``U [H, 2H]`` (a c)."""

    W: Array
    U: Array
    b: Array


class BRCGates(NamedTuple):
    """Feedback (bistable above 1), update gate (c = 1 retains) and candidate, each ``[B, H]``."""

    a: Array
    c: Array
    n: Array


def initial_carry(params: BRCParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return the state before the first step: zeros ``[*batch_shape, H]``."""
    return Hidden(zeros_for(params.b, batch_shape, params.b.shape[0] // 3))


def hidden_terms(params: BRCParams, carry: Hidden) -> Array:
    """Return ``h u_a`` and ``h u_c`` side by side, ``[B, 2H]``: each unit sees only its own state."""
    h = jnp.concatenate([carry.h, carry.h], axis=-1)
    return h * jnp.broadcast_to(params.u, h.shape)


def equations(params: BRCParams | NBRCParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, BRCGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    wx_ac, wx_n = jnp.split(wx, [2 * carry.h.shape[-1]], axis=-1)
    t, c = activate(wx_ac + uh, "tanh sigmoid")
    a = 1 + t
    n = jnp.tanh(wx_n + a * carry.h)
    h = c * carry.h + (1 - c) * n
    return Hidden(h), h, BRCGates(a, c, n)


brc = Cell(
    init_of(BRCParams, W="D 3H", u=("2H", uniform(1.0)), b="3H"),
    initial_carry, input_affine, hidden_terms, equations, "brc", BRCParams, REFERENCE,
)  # fmt: skip
"""The bistable recurrent cell as a Cell."""

nbrc = Cell(
    init_of(NBRCParams, W="D 3H", U="H 2H", b="3H"),
    zeros_carry(Hidden), input_affine, hidden_product, equations, "nbrc", NBRCParams, REFERENCE,
)  # fmt: skip
"""The neuromodulated bistable recurrent cell as a Cell."""

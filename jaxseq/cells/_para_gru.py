"""Gated recurrent unit of ParaRNN: each unit's gates see only its own state, which makes Newton's method cheap.

    r = sigmoid(x W_r + u_r * h + b_r)          reset gate
    z = sigmoid(x W_z + u_z * h + b_z)          update gate: write (1 writes the candidate, 0 keeps the old state)
    n = tanh(x W_n + u_n * (r * h) + b_n)       candidate
    h' = (1 - z) * h + z * n

The vector u replaces the matrix U of a GRU; units are mixed by the next layer's W. The Jacobian of a step is then
diagonal, and `jaxseq.recurrence.newton` computes all steps at once. As in the paper z writes; the z of `gru` retains.
The paper also cuts W into heads, which is left out. Blocks are packed in the order r z n.

Reference: Danieli et al. 2026, "ParaRNN: unlocking parallel training of nonlinear RNNs for large language models",
ICLR, arXiv:2510.21450.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, input_affine
from jaxseq.initializers import uniform
from jaxseq.notation import Array


class ParaGRUParams(NamedTuple):
    """``W [D, 3H]``, ``u [3H]``, ``b [3H]``, blocks in the order r z n."""

    W: Array
    u: Array
    b: Array


class ParaGRUGates(NamedTuple):
    """Reset gate, update gate (z = 1 writes) and candidate, each ``[B, H]``."""

    r: Array
    z: Array
    n: Array


init = init_of(ParaGRUParams, W="D 3H", u=("3H", uniform(0.5)), b="3H")


def initial_carry(params: ParaGRUParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return the state before the first step: zeros ``[*batch_shape, H]``."""
    return Hidden(zeros_for(params.b, batch_shape, params.b.shape[0] // 3))


def hidden_terms(params: ParaGRUParams, carry: Hidden) -> Array:
    """Return ``u_r * h``, ``u_z * h`` and ``u_n * h`` side by side, ``[B, 3H]``."""
    h = jnp.concatenate([carry.h] * 3, axis=-1)
    return jnp.broadcast_to(params.u, h.shape) * h


def equations(params: ParaGRUParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, ParaGRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    H = carry.h.shape[-1]
    (wx_rz, wx_n), (uh_rz, uh_n) = jnp.split(wx, [2 * H], axis=-1), jnp.split(uh, [2 * H], axis=-1)
    r, z = activate(wx_rz + uh_rz, "sigmoid sigmoid")
    n = jnp.tanh(wx_n + r * uh_n)
    h = (1 - z) * carry.h + z * n
    return Hidden(h), h, ParaGRUGates(r, z, n)


para_gru = Cell(
    init, initial_carry, input_affine, hidden_terms, equations, "para_gru", ParaGRUParams,
    'Danieli et al. 2026, "ParaRNN: unlocking parallel training of nonlinear RNNs", ICLR, arXiv:2510.21450',
)  # fmt: skip
"""The GRU of ParaRNN as a Cell."""

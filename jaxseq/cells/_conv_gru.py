"""Convolutional GRU: the state is a picture, and every matrix product a convolution (**) with the same padding.

    r = sigmoid(x ** W_r + h ** U_r + b_r)         reset gate; eq. 6
    z = sigmoid(x ** W_z + h ** U_z + b_z)         update gate: retain (1 keeps the old state, 0 writes the new); eq. 5
    n = tanh   (x ** W_n + (r * h) ** U_n + b_n)   candidate; eq. 7
    h' = z * h + (1 - z) * n                       eq. 8

x is ``[B, rows, columns, D]``, h ``[B, rows, columns, H]``, and the filters are `window` by `window` (an option of
`init`, 3 by default). The paper's z is 1 minus ours, which only negates W_z, U_z and b_z: here z retains, as in the
other cells. The paper omits biases; b adds one per gate. The input blocks are packed in the order r z n.

Reference: Ballas, Yao, Pal & Courville 2016, "Delving deeper into convolutional networks for learning video
representations", ICLR, arXiv:1511.06432, section 3.1, eqs. 5-8.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._parts import Hidden
from jaxseq.notation import Array


class ConvGRUParams(NamedTuple):
    """Filters ``W [w, w, D, 3H]`` (r z n), ``U [w, w, H, 2H]`` (r z), ``U_n [w, w, H, H]``; ``b [3H]`` (r z n)."""

    W: Array
    U: Array
    U_n: Array
    b: Array


class ConvGRUGates(NamedTuple):
    """Reset gate, update gate (z = 1 retains) and candidate, each ``[B, rows, columns, H]``."""

    r: Array
    z: Array
    n: Array


init = init_of(
    ConvGRUParams, sizes={"w": Size("window", 3)}, whole="U_n", W="w w D 3H", U="w w H 2H", U_n="w w H H", b="3H"
)


def convolve(x: Array, W: Array) -> Array:
    """Return ``[..., rows, columns, N]`` for ``x [..., rows, columns, D]`` and filters ``W [w, w, D, N]``.

    The picture is zero-padded and keeps its size; as usual in deep learning, this is a cross-correlation.
    """
    rows_first = jnp.moveaxis(x, -4, 0) if x.ndim > 4 else x  # sharded rows can be merged with time only in this order
    out = jax.lax.conv_general_dilated(
        rows_first.reshape(-1, *x.shape[-3:]), W, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    out = out.reshape(*rows_first.shape[:-1], W.shape[-1])
    return jnp.moveaxis(out, 0, -4) if x.ndim > 4 else out


def initial_carry(params: ConvGRUParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return zeros ``[*batch_shape, H]``, where batch_shape ends in rows and columns."""
    return Hidden(zeros_for(params.b, batch_shape, params.U_n.shape[-1]))


def input_terms(params: Any, x: Array) -> Array:
    """Return ``x ** W + b``, ``[B, rows, columns, G*H]``."""
    a = convolve(x, params.W)
    return a + jnp.broadcast_to(params.b, a.shape)


def hidden_terms(params: Any, carry: Any) -> Array:
    """Return ``h ** U``, ``[B, rows, columns, ...]``."""
    return convolve(carry.h, params.U)


def equations(params: ConvGRUParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, ConvGRUGates]:
    """Return ``(carry, h [B, rows, columns, H], gates)`` of one step: the equations."""
    H = carry.h.shape[-1]
    wx_rz, wx_n = jnp.split(wx, [2 * H], axis=-1)
    r, z = activate(wx_rz + uh, "sigmoid sigmoid")
    n = jnp.tanh(wx_n + convolve(r * carry.h, params.U_n))
    h = z * carry.h + (1 - z) * n
    return Hidden(h), h, ConvGRUGates(r, z, n)


conv_gru = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "conv_gru", ConvGRUParams,
    'Ballas et al. 2016, "Delving deeper into convolutional networks", arXiv:1511.06432, eqs. 5-8', spatial=2,
)  # fmt: skip
"""The convolutional GRU as a Cell."""

"""Mass-conserving LSTM: mass is stored, moved between cells or let out; it is conserved at every step.

With the mass (a number) and the auxiliary input x of this step, which are the input `Inflow`:

    c~ = c / sum(|c|)                                 shares of the stored mass
    i = softmax(x W_i + c~ U_i + b_i)                 input gate: share of the new mass for each cell; eq. 5
    o = sigmoid(x W_o + c~ U_o + b_o)                 output gate: share that leaves (1 empties the cell); eq. 6
    R = softmax(rows(x W_R + c~ U_R + b_R))           redistribution: row k says where the mass of cell k goes
    m = c R + mass * i                                eq. 2
    c' = (1 - o) * m                                  eq. 3
    h = o * m                                         the outgoing mass; eq. 4

Every i and every row of R add up to 1, so sum(c') + sum(h) = sum(c) + mass at every step. (The paper's R is the
transpose, with columns adding up to 1; this is its most general form, in which redistribution depends on time.) The
blocks are packed in the order i o R, R as H blocks, row after row. If a state is empty, c~ is 0; the authors add a
small constant to the norm. `init` adds ``output_bias=-3.0`` to the output gate's block of b, so cells initially retain
their mass.

torchrecurrent's MCLSTM is a different cell, a "memory controller" LSTM. For a plain array x, the first feature is also
the mass.

Reference: Hoedt, Kratzert, Klotz, Halmich, Holzleitner, Nearing, Hochreiter & Klambauer 2021, "MC-LSTM:
mass-conserving LSTM", ICML, arXiv:2101.05186, section 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine
from jaxseq.cells._init import checked_init
from jaxseq.cells._inputs import Inflow, inflow
from jaxseq.cells._parts import zeros_carry
from jaxseq.initializers import Initializer, glorot, orthogonal, packed, zeros
from jaxseq.notation import Array, Key, Tree


class MCLSTMParams(NamedTuple):
    """``W [D, 2H + H^2]``, ``U [H, 2H + H^2]``, ``b [2H + H^2]``, blocks in the order i o R: R has H of H numbers."""

    W: Array
    U: Array
    b: Array


class MCLSTMCarry(NamedTuple):
    """The stored mass ``c [B, H]``."""

    c: Array


class MCLSTMGates(NamedTuple):
    """Input gate and output gate ``[B, H]``, redistribution ``R [B, H, H]`` (from, to), mass before the outflow m."""

    i: Array
    o: Array
    R: Array
    m: Array


@checked_init("lstm_mc")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    recurrent: Initializer = orthogonal,
    bias: Initializer = zeros,
    output_bias: float = -3.0,
) -> MCLSTMParams:
    """Return parameters for D = input_size auxiliary inputs and H = hidden_size cells. Consumes `key`."""
    D, H = input_size, hidden_size
    keys = jax.random.split(key, 3)
    W = packed(kernel, keys[0], (D, H), 2 + H, dtype)
    U = packed(recurrent, keys[1], (H, H), 2 + H, dtype)
    b = bias(keys[2], ((2 + H) * H,), dtype).at[H : 2 * H].add(output_bias)
    return MCLSTMParams(W, U, b)


initial_carry = zeros_carry(MCLSTMCarry)


def input_terms(params: MCLSTMParams, x: Inflow) -> tuple[Array, Array]:
    """Return ``x W + b``, ``[B, (2+H)H]``, and the mass."""
    return affine(x.x, params.W, params.b), x.mass


def hidden_terms(params: MCLSTMParams, carry: MCLSTMCarry) -> Array:
    """Return ``c / |c|_1 U``, ``[B, (2+H)H]``."""
    total = jnp.sum(jnp.abs(carry.c), axis=-1, keepdims=True)
    return (carry.c / jnp.where(total == 0, jnp.ones_like(total), total)) @ params.U


def equations(params: MCLSTMParams, carry: MCLSTMCarry, wx: Tree, uh: Array) -> tuple[MCLSTMCarry, Array, MCLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a, mass = wx[0] + uh, wx[1]
    H = carry.c.shape[-1]
    i, o = jax.nn.softmax(a[..., :H]), jax.nn.sigmoid(a[..., H : 2 * H])
    R = jax.nn.softmax(a[..., 2 * H :].reshape(*a.shape[:-1], H, H))
    m = jnp.einsum("...k,...kj->...j", carry.c, R) + mass * i
    return MCLSTMCarry((1 - o) * m), o * m, MCLSTMGates(i, o, R, m)


lstm_mc = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "lstm_mc", MCLSTMParams,
    'Hoedt et al. 2021, "MC-LSTM: mass-conserving LSTM", arXiv:2101.05186, section 2', lift=inflow,
)  # fmt: skip
"""The mass-conserving LSTM as a Cell."""

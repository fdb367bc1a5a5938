"""Nested LSTM, depth two: the cell of the outer LSTM is computed by an inner LSTM with its own cell.

Outer, with input x and state h:

    i = sigmoid(x W_i + h U_i + b_i)        input gate: write
    f = sigmoid(x W_f + h U_f + b_f)        forget gate: retain (1 keeps, 0 erases)
    g =         x W_g + h U_g + b_g         candidate, its activation the identity
    o = sigmoid(x W_o + h U_o + b_o)        output gate: show

Inner, with input ``i * g`` and state ``f * c`` (x tilde and h tilde in the paper) and cell n:

    i_in = sigmoid((i * g) W_in_i + (f * c) U_in_i + b_in_i)
    f_in = sigmoid((i * g) W_in_f + (f * c) U_in_f + b_in_f)
    g_in = tanh   ((i * g) W_in_g + (f * c) U_in_g + b_in_g)
    o_in = sigmoid((i * g) W_in_o + (f * c) U_in_o + b_in_o)
    n' = f_in * n + i_in * g_in
    c' = o_in * tanh(n')

And outside again:

    h' = o * tanh(c')

Blocks are packed in the order i f g o, inside too. The paper leaves the activations open; in its experiments, and in a
later TensorFlow implementation, only the outer candidate has the identity. With the inner LSTM replaced by addition, c'
= i * g + f * c, this is an LSTM.

`init` adds ``forget_bias=1.0`` to the outer forget gate and to the inner one.

Reference: Moniz & Krueger 2017, "Nested LSTMs", ACML (PMLR 77), arXiv:1801.10308, the section on the architecture.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class NestedLSTMParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]`` (i f g o); inside ``W_in, U_in [H, 4H]``, ``b_in [4H]`` (i f g o)."""

    W: Array
    U: Array
    b: Array
    W_in: Array
    U_in: Array
    b_in: Array


class NestedLSTMCarry(NamedTuple):
    """Hidden state ``h [B, H]``, outer cell ``c [B, H]``, inner cell ``n [B, H]``."""

    h: Array
    c: Array
    n: Array


class NestedLSTMGates(NamedTuple):
    """Input (write), forget (retain), candidate and output gate, outer and inner, each ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array
    i_in: Array
    f_in: Array
    g_in: Array
    o_in: Array


init = init_of(
    NestedLSTMParams, added={"forget_bias": (1.0, "b[1] b_in[1]")},
    W="D 4H", U="H 4H", b="4H", W_in="H 4H", U_in="H 4H", b_in="4H",
)  # fmt: skip
initial_carry = zeros_carry(NestedLSTMCarry)


def equations(
    params: NestedLSTMParams, carry: NestedLSTMCarry, wx: Array, uh: Array
) -> tuple[NestedLSTMCarry, Array, NestedLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    i, f, g, o = activate(wx + uh, "sigmoid sigmoid none sigmoid")
    a = affine(i * g, params.W_in, params.b_in) + (f * carry.c) @ params.U_in
    inner = i_in, f_in, g_in, o_in = activate(a, "sigmoid sigmoid tanh sigmoid")
    n = f_in * carry.n + i_in * g_in
    c = o_in * jnp.tanh(n)
    h = o * jnp.tanh(c)
    return NestedLSTMCarry(h, c, n), h, NestedLSTMGates(i, f, g, o, *inner)


lstm_nested = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "lstm_nested", NestedLSTMParams,
    'Moniz & Krueger 2017, "Nested LSTMs", ACML, arXiv:1801.10308',
)  # fmt: skip
"""The nested LSTM, two deep, as a Cell."""

"""Ordered-neurons LSTM: monotonic master gates make some units keep their values longer than others.

    i = sigmoid(x W_i + h U_i + b_i)                     input gate: write; eq. 2
    f = sigmoid(x W_f + h U_f + b_f)                     forget gate: retain; eq. 1
    g = tanh   (x W_g + h U_g + b_g)                     candidate; eq. 4
    o = sigmoid(x W_o + h U_o + b_o)                     output gate: show; eq. 3
    h' = o * tanh(c')                                    eq. 5
    f~ = cumax(x W_f~ + h U_f~ + b_f~)                   master forget gate: 0 below, then 1: retain; eq. 9
    i~ = 1 - cumax(x W_i~ + h U_i~ + b_i~)               master input gate: 1 below, then 0: write; eq. 10
    w = f~ * i~                                          open where both are; eq. 11
    f^ = f * w + (f~ - w)                                eq. 12
    i^ = i * w + (i~ - w)                                eq. 13
    c' = f^ * c + i^ * g                                 eq. 14
    cumax(a) = cumsum(softmax(a))                        running sum: rises from near 0 to 1; eqs. 6-8

A master gate has H / chunk units, each for `chunk` neighbours in the state (an option of `init`, 1 by default, and a
divisor of H; the paper uses 10). The paper's candidate c^ is our g. The trace calls f~ and i~ f_master and i_master, f^
and i^ f_hat and i_hat. The blocks are packed in the order i f g o f~ i~, the last two narrower where chunk > 1.

Reference: Shen, Tan, Sordoni & Courville 2019, "Ordered neurons: integrating tree structures into recurrent neural
networks", ICLR, arXiv:1810.09536, eqs. 1-14.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class ONLSTMParams(NamedTuple):
    """``W [D, 4H + 2M]``, ``U [H, 4H + 2M]``, ``b [4H + 2M]`` (i f g o f~ i~), with M = H / chunk."""

    W: Array
    U: Array
    b: Array


class ONLSTMGates(NamedTuple):
    """Input (write), forget (retain), candidate, output and the two master gates; then the effective gates.

    Each ``[B, H]``, except the master gates, ``[B, H / chunk]``.
    """

    i: Array
    f: Array
    g: Array
    o: Array
    f_master: Array
    i_master: Array
    f_hat: Array
    i_hat: Array


init = init_of(
    ONLSTMParams, forget=1, sizes={"M": Size("chunk", 1, divides="into")}, W="D 4H+2M", U="H 4H+2M", b="4H+2M"
)
initial_carry = zeros_carry(LSTMCarry)


def cumax(a: Array) -> Array:
    """Return the running sum of the softmax over the last axis: rises from near 0 to 1 (eqs. 6-8)."""
    return jnp.cumsum(jax.nn.softmax(a), axis=-1)


def equations(params: ONLSTMParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, ONLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a, H = wx + uh, carry.c.shape[-1]
    i, f, g, o = activate(a[..., : 4 * H], "sigmoid sigmoid tanh sigmoid")
    a_f, a_i = jnp.split(a[..., 4 * H :], 2, axis=-1)
    f_master, i_master = cumax(a_f), 1 - cumax(a_i)
    f_each, i_each = (jnp.repeat(gate, H // gate.shape[-1], axis=-1) for gate in (f_master, i_master))
    w = f_each * i_each
    f_hat, i_hat = f * w + (f_each - w), i * w + (i_each - w)
    c = f_hat * carry.c + i_hat * g
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, ONLSTMGates(i, f, g, o, f_master, i_master, f_hat, i_hat)


on_lstm = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "on_lstm", ONLSTMParams,
    'Shen et al. 2019, "Ordered neurons", arXiv:1810.09536, eqs. 1-14',
)  # fmt: skip
"""The ordered-neurons LSTM as a Cell."""

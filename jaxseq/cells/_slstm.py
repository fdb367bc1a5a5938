"""sLSTM, the xLSTM with scalar memory: an exponential input gate, a state that is normalised, and a stabiliser.

    log_i = x W_i + h U_i + b_i                    input gate: write, not bounded; eq. 12
    log_f = log(sigmoid(x W_f + h U_f + b_f))      forget gate: retain; eq. 13, the first of its two forms
    g = tanh   (x W_g + h U_g + b_g)               candidate (the paper's z); eq. 11
    o = sigmoid(x W_o + h U_o + b_o)               output gate: show; eq. 14
    m' = max(log_f + m, log_i)                     stabiliser; eq. 15
    i = exp(log_i - m')                            eq. 16
    f = exp(log_f + m - m')                        eq. 17
    c' = f * c + i * g                             eq. 8
    n' = f * n + i                                 normaliser; eq. 9
    h' = o * c' / n'                               eq. 10

exp(log_i) can overflow, so c and n are kept divided by exp(m), which cancels in c' / n' and leaves i and f at most 1
(the paper's i' and f'). Before anything is stored, n = 0, m is undefined and m' = log_i (as in the authors' code), so n
is never near 0. The blocks are packed in the order i f g o. U has one full matrix for each gate: a single head. Several
heads are block-diagonal zeros in U, or `jax.vmap` over params with a leading axis.

Reference: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter 2024, "xLSTM: extended
long short-term memory", NeurIPS, arXiv:2405.04517, section 2.2, eqs. 8-17.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class SLSTMParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]``, blocks in the order i f g o."""

    W: Array
    U: Array
    b: Array


class SLSTMCarry(NamedTuple):
    """Hidden state h; cell state c and normaliser n, both divided by exp(m); stabiliser m; each ``[B, H]``."""

    h: Array
    c: Array
    n: Array
    m: Array


class SLSTMGates(NamedTuple):
    """Input (write) and forget gate (retain), stabilised; candidate and output gate; log f and log i; ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array
    log_f: Array
    log_i: Array


init = init_of(SLSTMParams, forget=1, W="D 4H", U="H 4H", b="4H")
initial_carry = zeros_carry(SLSTMCarry)


def stepped(carry: SLSTMCarry, a: Array) -> tuple[SLSTMCarry, Array, SLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step, given ``a [B, 4H]`` (i f g o): the equations."""
    H = carry.c.shape[-1]
    log_i, log_f = a[..., :H], jax.nn.log_sigmoid(a[..., H : 2 * H])
    g, o = activate(a[..., 2 * H :], "tanh sigmoid")
    m = jnp.where(carry.n == 0, log_i, jnp.maximum(log_f + carry.m, log_i))
    i, f = jnp.exp(log_i - m), jnp.exp(jnp.minimum(log_f + carry.m - m, 0))
    c = f * carry.c + i * g
    n = f * carry.n + i
    h = o * (c / n)
    return SLSTMCarry(h, c, n, m), h, SLSTMGates(i, f, g, o, log_f, log_i)


def equations(params: SLSTMParams, carry: SLSTMCarry, wx: Array, uh: Array) -> tuple[SLSTMCarry, Array, SLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step."""
    return stepped(carry, wx + uh)


slstm = Cell(
    init, initial_carry, input_affine, hidden_product, equations, "slstm", SLSTMParams,
    'Beck et al. 2024, "xLSTM: extended long short-term memory", arXiv:2405.04517, eqs. 8-17',
)  # fmt: skip
"""The sLSTM as a Cell."""

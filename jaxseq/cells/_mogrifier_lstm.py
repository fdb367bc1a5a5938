"""Mogrifier LSTM: before each step the input and the state gate each other, in turn, for several rounds.

With 5 rounds, where odd rounds update the input and even ones the state:

    x_1 = 2 sigmoid(h Q_1) * x
    h_2 = 2 sigmoid(x_1 R_2) * h
    x_3 = 2 sigmoid(h_2 Q_3) * x_1
    h^ = 2 sigmoid(x_3 R_4) * h_2
    x^ = 2 sigmoid(h^ Q_5) * x_3
    i = sigmoid(x^ W_i + h^ U_i + b_i)        input gate: write
    f = sigmoid(x^ W_f + h^ U_f + b_f)        forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x^ W_g + h^ U_g + b_g)        candidate
    o = sigmoid(x^ W_o + h^ U_o + b_o)        output gate: show
    c' = f * c + i * g
    h' = o * tanh(c')

The factor 2 leaves x and h unchanged on average if Q and R are near 0. An LSTM on x^ and h^ follows. No product can be
taken before the loop, since x^ depends on h. `init` takes ``rounds=5``, as in the paper's best models; fewer rounds
drop the later lines, and 1 keeps only x_1. The paper also factors Q and R into low-rank products, and the authors' code
adds a bias in each round; both are left out. Blocks are packed in the order i f g o.

Reference: Melis, Kocisky & Blunsom 2020, "Mogrifier LSTM", ICLR, arXiv:1909.01792.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells import _lstm
from jaxseq.cells._base import Cell, affine
from jaxseq.cells._init import check_sizes, checked_init
from jaxseq.cells._lstm import LSTMCarry, LSTMParams
from jaxseq.cells._parts import no_hidden_terms, zeros_carry
from jaxseq.initializers import Initializer, glorot, packed
from jaxseq.notation import Array, Key, Tree


class MogrifierLSTMParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]`` (i f g o); ``Q [H, 3D]`` (1 3 5), ``R [D, 2H]`` (2 4) for 5 rounds."""

    W: Array
    U: Array
    b: Array
    Q: Array
    R: Array


class MogrifierLSTMGates(NamedTuple):
    """Gated input ``x_hat [B, D]`` and state ``h_hat``; write, retain, candidate and output gate, each ``[B, H]``."""

    x_hat: Array
    h_hat: Array
    i: Array
    f: Array
    g: Array
    o: Array


@checked_init("mogrifier_lstm", _lstm.init)
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    rounds: int = 5,
    **options: Any,
) -> MogrifierLSTMParams:
    """Return parameters for D = input_size, H = hidden_size. Consumes `key`."""
    check_sizes("mogrifier_lstm", rounds=rounds)
    D, H = input_size, hidden_size
    k_lstm, k_Q, k_R = jax.random.split(key, 3)
    plain = _lstm.init(k_lstm, D, H, dtype=dtype, kernel=kernel, **options)
    Q = packed(kernel, k_Q, (H, D), (rounds + 1) // 2, dtype)
    R = packed(kernel, k_R, (D, H), rounds // 2, dtype) if rounds > 1 else jnp.zeros((D, 0), dtype)
    return MogrifierLSTMParams(*plain, Q, R)


initial_carry = zeros_carry(LSTMCarry)


def input_terms(params: MogrifierLSTMParams, x: Array) -> Array:
    """Return x ``[B, D]``: every product with it needs the state first."""
    return x


def mogrified(params: MogrifierLSTMParams, x: Array, h: Array) -> tuple[Array, Array]:
    """Return x and h after all rounds."""
    D, H = x.shape[-1], h.shape[-1]
    for k in range(params.Q.shape[-1] // D + params.R.shape[-1] // H):
        at = k // 2
        if k % 2:
            h = 2 * jax.nn.sigmoid(x @ params.R[:, at * H : (at + 1) * H]) * h
        else:
            x = 2 * jax.nn.sigmoid(h @ params.Q[:, at * D : (at + 1) * D]) * x
    return x, h


def equations(
    params: MogrifierLSTMParams, carry: LSTMCarry, wx: Array, uh: Tree
) -> tuple[LSTMCarry, Array, MogrifierLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    x, h = mogrified(params, wx, carry.h)
    plain = LSTMParams(params.W, params.U, params.b)
    new, out, gates = _lstm.equations(plain, carry, affine(x, params.W, params.b), h @ params.U)
    return new, out, MogrifierLSTMGates(x, h, *gates)


mogrifier_lstm = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "mogrifier_lstm", MogrifierLSTMParams,
    'Melis, Kocisky & Blunsom 2020, "Mogrifier LSTM", ICLR, arXiv:1909.01792',
)  # fmt: skip
"""The Mogrifier LSTM as a Cell."""

"""Long short-term memory with a forget gate.

    i = sigmoid(x W_i + h U_i + b_i)        input gate: write
    f = sigmoid(x W_f + h U_f + b_f)        forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x W_g + h U_g + b_g)        candidate
    o = sigmoid(x W_o + h U_o + b_o)        output gate: show
    c' = f * c + i * g
    h' = o * tanh(c')

The four blocks are packed side by side in the order i f g o. There is one bias, where torch has two that are added.

Reference: Hochreiter & Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8); the forget gate is
Gers, Schmidhuber & Cummins 2000, "Learning to forget", Neural Computation 12(10). No peepholes, as in
Zaremba, Sutskever & Vinyals 2014, arXiv:1409.2329, section 3.1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells.base import Cell, activate, affine, zeros_for
from jaxseq.initializers import Initializer, glorot, orthogonal, packed, zeros
from jaxseq.notation import Array, Key


class LSTMParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]``, blocks in the order i f g o."""

    W: Array
    U: Array
    b: Array


class LSTMCarry(NamedTuple):
    """Hidden state ``h [B, H]`` and cell state ``c [B, H]``."""

    h: Array
    c: Array


class LSTMGates(NamedTuple):
    """Input (write), forget (retain), candidate and output gate, each ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array


def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    forget_bias: float = 1.0,
    kernel: Initializer = glorot,
    recurrent: Initializer = orthogonal,
    bias: Initializer = zeros,
) -> LSTMParams:
    """Return parameters for D = input_size, H = hidden_size. Consumes `key`.

    `forget_bias` is added to the forget gate's block of b (1 after Jozefowicz et al. 2015; torch has 0); the
    equations themselves hold no hidden constant.
    """
    kW, kU, kb = jax.random.split(key, 3)
    D, H = input_size, hidden_size
    b = bias(kb, (4 * H,), dtype).at[H : 2 * H].add(forget_bias)
    return LSTMParams(packed(kernel, kW, (D, H), 4, dtype), packed(recurrent, kU, (H, H), 4, dtype), b)


def initial_carry(params: LSTMParams, batch_shape: tuple[int, ...] = ()) -> LSTMCarry:
    """Return ``h = c = 0``, each ``[*batch_shape, H]``."""
    zero = zeros_for(params.b, batch_shape, params.U.shape[0])
    return LSTMCarry(h=zero, c=zero)


def input_terms(params: LSTMParams, x: Array) -> Array:
    """Return ``x W + b``, ``[B, 4H]``."""
    return affine(x, params.W, params.b)


def hidden_terms(params: LSTMParams, carry: LSTMCarry) -> Array:
    """Return ``h U``, ``[B, 4H]``."""
    return carry.h @ params.U


def gates(params: LSTMParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, LSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    i, f, g, o = activate(wx + uh, "sigmoid sigmoid tanh sigmoid")
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, o)


lstm = Cell(init, initial_carry, input_terms, hidden_terms, gates, "lstm", LSTMParams)
"""The LSTM as a Cell."""

"""LSTM with peepholes: each gate also sees its cell. Greff et al. call it the vanilla LSTM.

    i = sigmoid(x W_i + h U_i + p_i * c  + b_i)     input gate: write
    f = sigmoid(x W_f + h U_f + p_f * c  + b_f)     forget gate: retain (1 keeps, 0 erases)
    g = tanh   (x W_g + h U_g + b_g)                block input (z in the paper)
    c' = f * c + i * g
    o = sigmoid(x W_o + h U_o + p_o * c' + b_o)     output gate: show; it sees the new cell
    h' = o * tanh(c')                               (y in the paper)

Blocks are packed in the order i f g o, peepholes of the old cell in the order i f. A peephole is a vector: a gate sees
only its own cell. Without peepholes (NP) this is `lstm`.

Reference: Gers & Schmidhuber 2000, "Recurrent nets that time and count", IJCNN; written as in Greff et al. 2015,
"LSTM: a search space odyssey", arXiv:1503.04069, section II.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry, LSTMGates, initial_carry
from jaxseq.cells._parts import input_affine
from jaxseq.initializers import uniform
from jaxseq.notation import Array, Params


class PeepholeParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]`` (i f g o); peepholes ``p [2H]`` of the old c (i f), ``p_o [H]``."""

    W: Array
    U: Array
    b: Array
    p: Array
    p_o: Array


init = init_of(
    PeepholeParams, forget=1, W="D 4H", U="H 4H", b="4H", p=("2H", uniform(0.1)), p_o=("H", uniform(0.1))
)  # fmt: skip


def hidden_terms(params: Params, carry: LSTMCarry) -> Array:
    """Return ``h U``, ``[B, G*H]``, with ``p * c`` added to the leading gates, which have peepholes to the old c."""
    uh = carry.h @ params.U
    H, seen = carry.c.shape[-1], params.p.shape[0]
    pc = jnp.concatenate([carry.c] * (seen // H), axis=-1)
    pc = pc * jnp.broadcast_to(params.p, pc.shape)
    return uh + jnp.pad(pc, [(0, 0)] * (uh.ndim - 1) + [(0, uh.shape[-1] - seen)])


def output_gate(a: Array, c: Array, p_o: Array) -> Array:
    """Return ``sigmoid(a + p_o * c)``, where c is the new cell."""
    return activate(a + c * jnp.broadcast_to(p_o, c.shape), "sigmoid")[0]


def equations(params: PeepholeParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, LSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a, a_o = jnp.split(wx + uh, [3 * carry.c.shape[-1]], axis=-1)
    i, f, g = activate(a, "sigmoid sigmoid tanh")
    c = f * carry.c + i * g
    o = output_gate(a_o, c, params.p_o)
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, o)


lstm_peephole = Cell(
    init, initial_carry, input_affine, hidden_terms, equations, "lstm_peephole", PeepholeParams,
    'Gers & Schmidhuber 2000, "Recurrent nets that time and count", IJCNN; as in Greff et al. 2015, arXiv:1503.04069',
)  # fmt: skip
"""The LSTM with peepholes (Greff's vanilla LSTM) as a Cell."""

"""LSTM of ParaRNN: each unit's gates see only its own state and cell, which makes Newton's method cheap.

    f = sigmoid(x W_f + u_f * h + p_f * c + b_f)      forget gate: retain (1 keeps, 0 erases)
    g = tanh(x W_g + u_g * h + b_g)                   candidate
    c' = f * c + (1 - f) * g
    o = sigmoid(x W_o + u_o * h + p_o * c' + b_o)     output gate: show; it sees the new cell
    h' = o * tanh(c')

One gate forgets and writes, as in `lstm_cifg`, and the vector u replaces its matrix U; units are mixed by the
next layer's W. The Jacobian of a step then has one 2 x 2 block for each unit, and `jaxseq.recurrence.newton`
computes all steps at once. The paper also cuts W into heads, which is left out. Blocks are packed in the order f g o.

Reference: Danieli et al. 2026, "ParaRNN: unlocking parallel training of nonlinear RNNs for large language models",
ICLR, arXiv:2510.21450; the coupled gate is that of Greff et al. 2015, arXiv:1503.04069.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._lstm_peephole import output_gate
from jaxseq.cells._parts import input_affine, zeros_carry
from jaxseq.initializers import uniform
from jaxseq.notation import Array


class ParaLSTMParams(NamedTuple):
    """``W [D, 3H]``, ``u [3H]``, ``b [3H]`` (f g o); peepholes ``p_f [H]`` of the old c, ``p_o [H]`` of the new one."""

    W: Array
    u: Array
    b: Array
    p_f: Array
    p_o: Array


class ParaLSTMGates(NamedTuple):
    """Forget gate (1 retains), candidate and output gate (1 shows), each ``[B, H]``."""

    f: Array
    g: Array
    o: Array


_small = uniform(0.1)
init = init_of(
    ParaLSTMParams, forget=0, W="D 3H", u=("3H", uniform(0.5)), b="3H", p_f=("H", _small), p_o=("H", _small)
)  # fmt: skip
initial_carry = zeros_carry(LSTMCarry, "p_f")


def hidden_terms(params: ParaLSTMParams, carry: LSTMCarry) -> Array:
    """Return ``u_f * h + p_f * c``, ``u_g * h`` and ``u_o * h`` side by side, ``[B, 3H]``."""
    h = jnp.concatenate([carry.h] * 3, axis=-1)
    pc = jnp.broadcast_to(params.p_f, carry.c.shape) * carry.c
    nothing = jnp.zeros_like(pc)
    return jnp.broadcast_to(params.u, h.shape) * h + jnp.concatenate([pc, nothing, nothing], axis=-1)


def equations(params: ParaLSTMParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, ParaLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a, a_o = jnp.split(wx + uh, [2 * carry.c.shape[-1]], axis=-1)
    f, g = activate(a, "sigmoid tanh")
    c = f * carry.c + (1 - f) * g
    o = output_gate(a_o, c, params.p_o)
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, ParaLSTMGates(f, g, o)


para_lstm = Cell(
    init, initial_carry, input_affine, hidden_terms, equations, "para_lstm", ParaLSTMParams,
    'Danieli et al. 2026, "ParaRNN: unlocking parallel training of nonlinear RNNs", ICLR, arXiv:2510.21450',
)  # fmt: skip
"""The LSTM of ParaRNN as a Cell."""

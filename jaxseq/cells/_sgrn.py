"""Simple gated recurrent network: one gate, and one projection of the input for gate and candidate.

    v = x W + b                             the input, projected
    f = sigmoid(v + h U + b_f)              forget gate: retain (1 keeps, 0 erases)
    h' = tanh((1 - f) * v + f * h)

Implementations disagree on whether b is in both the candidate and the gate; here, as in torchrecurrent, it is, and the
gate has a second bias of its own.

Reference: Zu & Wei 2020, "A simple gated recurrent network for detection of power quality disturbances", IET
Generation, Transmission & Distribution 15(4), doi:10.1049/gtd2.12056.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, input_affine, zeros_carry
from jaxseq.notation import Array


class SGRNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]`` of the projected input, ``b_f [H]`` of the gate alone."""

    W: Array
    U: Array
    b: Array
    b_f: Array


class SGRNGates(NamedTuple):
    """The projected input and the forget gate (f = 1 retains), each ``[B, H]``."""

    v: Array
    f: Array


init = init_of(SGRNParams, W="D H", U="H H", b="H", b_f="H")
initial_carry = zeros_carry(Hidden)


def hidden_terms(params: SGRNParams, carry: Hidden) -> Array:
    """Return ``h U + b_f``, ``[B, H]``."""
    return affine(carry.h, params.U, params.b_f)


def equations(params: SGRNParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, SGRNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    (f,) = activate(wx + uh, "sigmoid")
    h = jnp.tanh((1 - f) * wx + f * carry.h)
    return Hidden(h), h, SGRNGates(wx, f)


sgrn = Cell(
    init, initial_carry, input_affine, hidden_terms, equations, "sgrn", SGRNParams,
    "Zu & Wei 2020, \"A simple gated recurrent network\", IET GTD 15(4), doi:10.1049/gtd2.12056",
)  # fmt: skip
"""The simple gated recurrent network as a Cell."""

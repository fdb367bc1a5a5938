"""Liquid time constant network: leaky units whose time constant depends on input and state.

    dh/dt = -(1 / tau + f) * h + f * A,    f = sigmoid(x W + h U + b)

over the time dt since the last step, by the paper's fused solver: N steps, each half explicit and half implicit, of

    h <- (h + d * f * A) / (1 + d * (1 / tau + f)),    d = dt / N

f opens a conductance towards A: it both drives a unit and shortens its time constant, which stays between
``tau / (1 + tau)`` and tau, and h never leaves the range of its start, 0 and A (theorems 1 and 2; both hold exactly for
the solver). ``1 / tau`` is softplus of the parameter `leak`, and so stays positive during training; the paper has tau
itself. `init` starts with tau = 20, in the unit of dt: with a shorter one the past is forgotten before it can be
learnt. ``h U`` is computed in each of the N steps: the first is the cell's hidden term, the others are inside the
equations. The input is `Spaced`; an array has dt = 1. ``.with_`` takes unfolds (N, 6 by default; at least 1).

The paper writes one f for each unit, as here; the authors' later code has one sigmoid and one A for each pair of units.

Reference: Hasani, Lechner, Amini, Rus & Grosu 2021, "Liquid time-constant networks", arXiv:2006.04439, eqs. 1-3 and
algorithm 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine
from jaxseq.cells._init import check_sizes, init_of
from jaxseq.cells._inputs import Spaced, spaced
from jaxseq.cells._parts import Hidden, hidden_product, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.initializers import constant, uniform
from jaxseq.notation import Array


class LTCParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``, ``A [H]`` (f drives h to it), ``leak [H]`` (softplus: 1 / tau)."""

    W: Array
    U: Array
    b: Array
    A: Array
    leak: Array


class LTCGates(NamedTuple):
    """At the last of the N steps: conductance f and time constant ``1 / (1 / tau + f)``, each ``[B, H]``."""

    f: Array
    tau: Array


init = init_of(
    LTCParams, W="D H", U="H H", b="H", A=("H", uniform(1.0)), leak=("H", constant(-3.0))
)  # fmt: skip
initial_carry = zeros_carry(Hidden)


def input_terms(params: LTCParams, x: Spaced) -> Spaced:
    """Return ``x W + b``, ``[B, H]``, and the times."""
    return Spaced(affine(x.x, params.W, params.b), x.dt)


@made
def _ltc(unfolds: int = 6) -> Cell[LTCParams, Hidden, Array, LTCGates]:
    """Return the cell whose solver takes `unfolds` steps within the time of one."""
    check_sizes("ltc.with_", unfolds=unfolds)

    def equations(params: LTCParams, carry: Hidden, wx: Spaced, uh: Array) -> tuple[Hidden, Array, LTCGates]:
        h, d = carry.h, wx.dt * (1 / unfolds)
        A = jnp.broadcast_to(params.A, h.shape)
        leak = jnp.broadcast_to(jax.nn.softplus(params.leak), h.shape)
        for n in range(unfolds):
            f = jax.nn.sigmoid(wx.x + (hidden_product(params, Hidden(h)) if n else uh))
            h = (h + d * f * A) / (1 + d * (leak + f))
        return Hidden(h), h, LTCGates(f, 1 / (leak + f))

    return Cell(
        init, initial_carry, input_terms, hidden_product, equations, "ltc", LTCParams,
        'Hasani et al. 2021, "Liquid time-constant networks", arXiv:2006.04439, eqs. 1-3', lift=spaced,
    )  # fmt: skip


ltc = _ltc()
"""The LTC as a Cell, with 6 steps of the solver; its input is `Spaced`."""

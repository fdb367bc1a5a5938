"""Coupled oscillatory network: a step of driven and damped oscillators, one for each unit.

    n = tanh(x W + h U + z U_z + b)                     driving force
    acceleration = n - gamma * h - epsilon * z
    z' = z + dt * acceleration                          velocity
    h' = h + dt * z'                                    position, the paper's y

This is the ODE ``h'' = tanh(h U + h' U_z + x W + b) - gamma h - epsilon h'``, with the new velocity in the second line
(an implicit-explicit step). gamma is the frequency, epsilon the damping: without the tanh and without damping the step
is symplectic, and ``gamma h^2 + z^2 - gamma dt h z`` never changes. The paper has two forms of the damping; this is the
explicit one (its n-bar = n - 1), as in the authors' code and torchrecurrent.

``.with_`` takes dt (0.3 by default; above 0), gamma (1) and epsilon (1), both at least 0. The paper tunes them for each
task, and uses a smaller dt than ours for sequences of many hundred steps.

    >>> from jaxseq.cells import cornn
    >>> cell = cornn.with_(dt=0.05, gamma=2.7)

Reference: Rusch & Mishra 2021, "Coupled oscillatory recurrent neural network (coRNN): an accurate and (gradient)
stable architecture for learning long time dependencies", arXiv:2010.00951, eqs. 1-3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import check_range, init_of
from jaxseq.cells._parts import input_affine, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.notation import Array


class CoRNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]`` (on the position), ``U_z [H, H]`` (on the velocity), ``b [H]``."""

    W: Array
    U: Array
    U_z: Array
    b: Array


class CoRNNCarry(NamedTuple):
    """Position ``h [B, H]``, which is the output, and velocity ``z [B, H]``."""

    h: Array
    z: Array


class CoRNNGates(NamedTuple):
    """The driving force ``n = tanh(...)`` and the total acceleration, each ``[B, H]``."""

    n: Array
    acceleration: Array


init = init_of(CoRNNParams, W="D H", U="H H", U_z="H H", b="H")
initial_carry = zeros_carry(CoRNNCarry)


def hidden_terms(params: CoRNNParams, carry: CoRNNCarry) -> Array:
    """Return ``h U + z U_z``, ``[B, H]``."""
    return carry.h @ params.U + carry.z @ params.U_z


@made
def _cornn(
    dt: float = 0.3, gamma: float = 1.0, epsilon: float = 1.0
) -> Cell[CoRNNParams, CoRNNCarry, Array, CoRNNGates]:
    """Return the cell with the time step `dt`, the frequency `gamma` and the damping `epsilon`."""
    check_range("cornn.with_: dt", dt, 0, above=True)
    check_range("cornn.with_: gamma", gamma, 0)
    check_range("cornn.with_: epsilon", epsilon, 0)

    def equations(params: CoRNNParams, carry: CoRNNCarry, wx: Array, uh: Array) -> tuple[CoRNNCarry, Array, CoRNNGates]:
        n = jnp.tanh(wx + uh)
        acceleration = n - gamma * carry.h - epsilon * carry.z
        z = carry.z + dt * acceleration
        h = carry.h + dt * z
        return CoRNNCarry(h, z), h, CoRNNGates(n, acceleration)

    reference = 'Rusch & Mishra 2021, "Coupled oscillatory recurrent neural network", arXiv:2010.00951, eqs. 1-3'
    return Cell(init, initial_carry, input_affine, hidden_terms, equations, "cornn", CoRNNParams, reference)


cornn = _cornn()
"""The coRNN as a Cell, with dt = 0.3, gamma = 1, epsilon = 1."""

"""Undamped independent controlled oscillators: a symplectic step of a Hamiltonian system, unit by unit.

    step = dt * sigmoid(c)                                   how far each unit goes at a step
    n = tanh(u * h + x W + b)                                force
    z' = z - step * (n + alpha * h)                          velocity
    h' = h + step * z'                                       position, the paper's y

For a constant input the energy ``(alpha h^2 + z^2) / 2 + log(cosh(u * h + x W + b)) / u`` is conserved up to the step
size, and every step is invertible and preserves volume: neither damping nor blow-up. u and c have one number for each
unit; units are mixed by the next layer's W. The residual connections between the paper's layers (its section on deep
networks) are left out. ``.with_`` takes dt (0.5 by default; above 0) and alpha (0; at least 0).

`init` draws u from [0, 1) and c from [-0.1, 0.1), as the authors' code does.

Reference: Rusch & Mishra 2021, "UnICORNN: a recurrent model for learning very long time dependencies",
arXiv:2103.05487, section 2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import check_range, init_of
from jaxseq.cells._parts import input_affine, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.initializers import uniform
from jaxseq.notation import Array


class UnICORNNParams(NamedTuple):
    """``W [D, H]``, ``u [H]`` (recurrent), ``c [H]`` (control of the step), ``b [H]``."""

    W: Array
    u: Array
    c: Array
    b: Array


class UnICORNNCarry(NamedTuple):
    """Position ``h [B, H]``, which is the output, and velocity ``z [B, H]``."""

    h: Array
    z: Array


class UnICORNNGates(NamedTuple):
    """The force ``n = tanh(...)`` and the step of each unit, each ``[B, H]``."""

    n: Array
    step: Array


init = init_of(UnICORNNParams, W="D H", u=("H", uniform(1.0, low=0.0)), c=("H", uniform(0.1)), b="H")
initial_carry = zeros_carry(UnICORNNCarry, "u")


def hidden_terms(params: UnICORNNParams, carry: UnICORNNCarry) -> Array:
    """Return ``u * h``, ``[B, H]``."""
    return jnp.broadcast_to(params.u, carry.h.shape) * carry.h


@made
def _unicornn(dt: float = 0.5, alpha: float = 0.0) -> Cell[UnICORNNParams, UnICORNNCarry, Array, UnICORNNGates]:
    """Return the cell with the time step `dt` and the stiffness `alpha`."""
    check_range("unicornn.with_: dt", dt, 0, above=True)
    check_range("unicornn.with_: alpha", alpha, 0)

    def equations(
        params: UnICORNNParams, carry: UnICORNNCarry, wx: Array, uh: Array
    ) -> tuple[UnICORNNCarry, Array, UnICORNNGates]:
        step = jnp.broadcast_to(dt * jax.nn.sigmoid(params.c), carry.h.shape)
        n = jnp.tanh(wx + uh)
        z = carry.z - step * (n + alpha * carry.h)
        h = carry.h + step * z
        return UnICORNNCarry(h, z), h, UnICORNNGates(n, step)

    reference = 'Rusch & Mishra 2021, "UnICORNN", arXiv:2103.05487, section 2'
    return Cell(init, initial_carry, input_affine, hidden_terms, equations, "unicornn", UnICORNNParams, reference)


unicornn = _unicornn()
"""The UnICORNN as a Cell, with dt = 0.5, alpha = 0."""

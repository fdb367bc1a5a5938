"""Linear oscillatory state space: forced harmonic oscillators without damping, one for each state.

    A = relu(A_hat)                                                      stiffness, the square of a frequency
    Delta = sigmoid(Delta_hat)                                           step
    linoss_im:    z' = (z + Delta * (x B - A * h)) / (1 + Delta^2 * A)   velocity, implicit: the force is at h'
    linoss_imex:  z' = z + Delta * (x B - A * h)                         velocity, with the force at h
    h' = h + Delta * z'                                                  position (the paper's y)
    y = h' C + x D                                                       output (the paper's x)

This is the system ``h'' = -A h + x B``. `linoss_im` takes implicit steps, which dissipate energy: a step's eigenvalues
have modulus ``1 / sqrt(1 + Delta^2 A)``. `linoss_imex` takes implicit-explicit steps, which are symplectic: with
``Delta^2 A < 4`` the modulus is 1, and ``A h^2 + z^2 - Delta A h z`` never changes without input.

``W [D, N + H]`` packs B and D, which act on x. The paper's D is a vector, since its layers are as wide as their
input; the authors' code has complex B and C, two such systems that share A. The activation and gated linear unit after
y belong to the block.

`init` takes ``state_size`` (N, H by default). A starts uniform between 0 and 1, Delta as the sigmoid of such numbers, B
and C uniform within 1 / sqrt(rows).

With bfloat16 params the state is float32.

Reference: Rusch & Rus 2024, "Oscillatory state-space models", arXiv:2410.03943, sections 2 and 2.3, eqs. 1-6.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, wide_zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import uniform
from jaxseq.notation import Array, Key, Tree, widened


class LinOSSParams(NamedTuple):
    """``W [D, N + H]`` packs B D; ``C [N, H]``; ``A_hat, Delta_hat [N]``."""

    W: Array
    C: Array
    A_hat: Array
    Delta_hat: Array


class LinOSSCarry(NamedTuple):
    """Position ``h [B, N]`` and velocity ``z [B, N]``."""

    h: Array
    z: Array


class LinOSSTerms(NamedTuple):
    """The force of the input, ``[B, N]``, and what it adds to the output, ``skip [B, H]``."""

    force: Array
    skip: Array


def by_rows(key: Key, shape: tuple[int, ...], dtype: object) -> Array:
    """Draw uniformly from -1 / sqrt(rows) to 1 / sqrt(rows). Consumes `key`."""
    return uniform(shape[0] ** -0.5)(key, shape, dtype)


init = init_of(
    LinOSSParams, sizes={"N": Size("state_size")},
    W=("D N+H", by_rows), C=("N H", by_rows), A_hat=("N", uniform(1.0, 0.0)), Delta_hat=("N", uniform(1.0, 0.0)),
)  # fmt: skip


def initial_carry(params: LinOSSParams, batch_shape: tuple[int, ...] = ()) -> LinOSSCarry:
    """Return the state before the first step: zeros, both ``[*batch_shape, N]``, in float32 at least."""
    return LinOSSCarry(*(wide_zeros_for(params.C, batch_shape, params.C.shape[0]) for _ in range(2)))


def input_terms(params: LinOSSParams, x: Array) -> LinOSSTerms:
    """Return ``x B`` and ``x D``."""
    return LinOSSTerms(*jnp.split(x @ params.W, [params.C.shape[0]], axis=-1))


def system(params: LinOSSParams, carry: LinOSSCarry) -> tuple[Array, Array]:
    """Return the stiffness A and the step Delta, each in the shape of the carry."""
    A, Delta = jax.nn.relu(widened(params.A_hat)), jax.nn.sigmoid(widened(params.Delta_hat))
    return jnp.broadcast_to(A, carry.h.shape), jnp.broadcast_to(Delta, carry.h.shape)


def shown(params: LinOSSParams, new: LinOSSCarry, wx: LinOSSTerms) -> tuple[LinOSSCarry, Array, LinOSSTerms]:
    """Return ``(carry, y [B, H], terms)`` with the output of a new carry."""
    return new, new.h.astype(params.C.dtype) @ params.C + wx.skip, wx


def equations_im(
    params: LinOSSParams, carry: LinOSSCarry, wx: LinOSSTerms, uh: Tree
) -> tuple[LinOSSCarry, Array, LinOSSTerms]:
    """Return ``(carry, y [B, H], terms)`` of one implicit step: the equations."""
    A, Delta = system(params, carry)
    z = (carry.z + Delta * (widened(wx.force) - A * carry.h)) / (1 + Delta**2 * A)
    return shown(params, LinOSSCarry(carry.h + Delta * z, z), wx)


def equations_imex(
    params: LinOSSParams, carry: LinOSSCarry, wx: LinOSSTerms, uh: Tree
) -> tuple[LinOSSCarry, Array, LinOSSTerms]:
    """Return ``(carry, y [B, H], terms)`` of one implicit-explicit step: the equations."""
    A, Delta = system(params, carry)
    z = carry.z + Delta * (widened(wx.force) - A * carry.h)
    return shown(params, LinOSSCarry(carry.h + Delta * z, z), wx)


_REFERENCE = 'Rusch & Rus 2024, "Oscillatory state-space models", arXiv:2410.03943, section 2'

linoss_im = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations_im, "linoss_im", LinOSSParams, _REFERENCE,
    linear="elementwise",
)  # fmt: skip
"""The LinOSS with implicit steps as a Cell."""

linoss_imex = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations_imex, "linoss_imex", LinOSSParams, _REFERENCE,
    linear="elementwise",
)  # fmt: skip
"""The LinOSS with implicit-explicit steps as a Cell."""

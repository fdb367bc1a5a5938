"""GRU with trainable decays, for series with missing values: the last observation decays to the mean, the state to 0.

    gamma_x = exp(-max(0, delta * w_x + b_x))                            W_gamma_x of the paper is diagonal: w_x
    gamma_h = exp(-max(0, delta W_h + b_h))
    x^ = m * x + (1 - m) * (gamma_x * last + (1 - gamma_x) * mean)
    h^ = gamma_h * h
    r  = sigmoid(x^ W_r + h^ U_r + m V_r + b_r)                          reset gate
    z  = sigmoid(x^ W_z + h^ U_z + m V_z + b_z)                          update gate: write (1 writes, 0 keeps)
    n  = tanh   (x^ W_n + (r * h^) U_n + m V_n + b_n)                    candidate
    h' = (1 - z) * h^ + z * n
    last' = m * x + (1 - m) * last

The input is `Observed`: x, the mask m (1 where x was observed, 0 where it is missing) and delta, the time since each
feature was last observed (0 at the first step). x may be anything where m is 0, even NaN; a plain array x has m = 1 and
delta = 1. `last`, the last observed value, is in the carry; before the first observation it is the mean. `mean` is a
parameter that init sets to 0: set it to the training data's mean, ``params._replace(mean=...)``. The paper does not
train it. z is as in the paper: 1 minus the z of `gru`. Blocks are packed in the order r z n; init sets w_x = 0.1.

Reference: Che, Purushotham, Cho, Sontag & Liu 2018, "Recurrent neural networks for multivariate time series with
missing values", Scientific Reports 8, 6085; arXiv:1606.01865, section 2.3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._inputs import Observed, complete
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import constant, zeros
from jaxseq.notation import Array


class GRUDParams(NamedTuple):
    """``W, V [D, 3H]`` and ``b [3H]`` (r z n), ``U [H, 2H]`` (r z), ``U_n [H, H]``; decays and the mean.

    ``w_x [D]``, ``b_x [D]`` of the decay of inputs, ``W_h [D, H]``, ``b_h [H]`` of the state's, ``mean [D]``.
    """

    W: Array
    U: Array
    U_n: Array
    V: Array
    b: Array
    w_x: Array
    b_x: Array
    W_h: Array
    b_h: Array
    mean: Array


class GRUDCarry(NamedTuple):
    """The state ``h [B, H]``, which is also the output, and the last values observed, ``last [B, D]``."""

    h: Array
    last: Array


class GRUDGates(NamedTuple):
    """Reset gate, update gate (z = 1 writes), candidate, both decays (1 keeps) and the completed input."""

    r: Array
    z: Array
    n: Array
    gamma_x: Array
    gamma_h: Array
    x_hat: Array


init = init_of(
    GRUDParams, W="D 3H", U="H 2H", U_n="H H", V="D 3H", b="3H",
    w_x=("D", constant(0.1)), b_x="D", W_h="D H", b_h="H", mean=("D", zeros),
)  # fmt: skip


def initial_carry(params: GRUDParams, batch_shape: tuple[int, ...] = ()) -> GRUDCarry:
    """Return the state before the first step: zeros, and the mean for the last value observed."""
    last = jnp.broadcast_to(params.mean, (*batch_shape, *params.mean.shape))
    return GRUDCarry(zeros_for(params.U, batch_shape, params.U.shape[0]), last)


def input_terms(params: GRUDParams, x: Observed) -> tuple[Array, ...]:
    """Return values (0 where missing), mask, both decays, and ``m V + b [B, 3H]``: what depends on x only."""
    delta = x.delta
    a_x = delta * jnp.broadcast_to(params.w_x, delta.shape) + jnp.broadcast_to(params.b_x, delta.shape)
    a_h = affine(delta, params.W_h, params.b_h)
    gamma_x, gamma_h = jnp.exp(-jnp.maximum(a_x, 0)), jnp.exp(-jnp.maximum(a_h, 0))
    seen = jnp.where(x.m == 0, jnp.zeros_like(x.x), x.x)  # a missing value may be NaN
    return seen, x.m, gamma_x, gamma_h, affine(x.m, params.V, params.b)


def equations(params: GRUDParams, carry: GRUDCarry, wx: tuple, uh: tuple) -> tuple[GRUDCarry, Array, GRUDGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    x, m, gamma_x, gamma_h, mv = wx
    mean = jnp.broadcast_to(params.mean, x.shape)
    x_hat = m * x + (1 - m) * (gamma_x * carry.last + (1 - gamma_x) * mean)
    old = gamma_h * carry.h
    a_rz, a_n = jnp.split(x_hat @ params.W + mv, [2 * old.shape[-1]], axis=-1)
    r, z = activate(a_rz + old @ params.U, "sigmoid sigmoid")
    n = jnp.tanh(a_n + (r * old) @ params.U_n)
    h = (1 - z) * old + z * n
    last = m * x + (1 - m) * carry.last
    return GRUDCarry(h, last), h, GRUDGates(r, z, n, gamma_x, gamma_h, x_hat)


gru_d = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "gru_d", GRUDParams,
    "Che et al. 2018, Scientific Reports 8, 6085; arXiv:1606.01865, section 2.3", lift=complete,
)  # fmt: skip
"""The GRU with trainable decays as a Cell."""

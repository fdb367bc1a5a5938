"""FastRNN and FastGRNN: an Elman network with a weighted residual connection, and one with a gated one.

    fast_rnn:   n = tanh(x W + h U + b)               candidate
                h' = sigmoid(alpha) * n + sigmoid(beta) * h

    fast_grnn:  z = sigmoid(x W + h U + b_z)          gate: retain (1 keeps the old state)
                n = tanh   (x W + h U + b_n)          candidate, which shares both matrices
                h' = (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * n + z * h

alpha, beta, zeta and nu are trained scalars; the sigmoid keeps their effect in (0, 1), as the paper requires. `init`
starts them as the authors' library does: alpha -3, beta 3 (little is written at first), zeta 1, nu -4. The low-rank,
sparse and quantised forms of W and U are left out. FastGRNN's b is packed in the order z n.

torchrecurrent follows the equations, but starts alpha and beta at 3 and -3 (almost nothing is retained), and its
FastGRNN has a tanh for the gate by default.

Reference: Kusupati, Singh, Bhatia, Kumar, Jain & Varma 2018, "FastGRNN: a fast, accurate, stable and tiny kilobyte
sized gated recurrent neural network", arXiv:1901.02358, sections 3.1 and 3.2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.initializers import constant
from jaxseq.notation import Array


class FastRNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``, ``alpha [1]``, ``beta [1]``."""

    W: Array
    U: Array
    b: Array
    alpha: Array
    beta: Array


class FastGRNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [2H]`` (z n), ``zeta [1]``, ``nu [1]``."""

    W: Array
    U: Array
    b: Array
    zeta: Array
    nu: Array


class FastRNNGates(NamedTuple):
    """The candidate, ``[B, H]``; the weights of the two paths are the same at each step."""

    n: Array


class FastGRNNGates(NamedTuple):
    """Gate (z = 1 retains) and candidate, each ``[B, H]``."""

    z: Array
    n: Array


_init_fast = init_of(FastRNNParams, W="D H", U="H H", b="H", alpha=("1", constant(-3.0)), beta=("1", constant(3.0)))
_init_gated = init_of(FastGRNNParams, W="D H", U="H H", b="2H", zeta=("1", constant(1.0)), nu=("1", constant(-4.0)))
initial_carry = zeros_carry(Hidden)


def _weight(a: Array, like: Array) -> Array:
    return jnp.broadcast_to(jax.nn.sigmoid(a), like.shape)


def fast_rnn_gates(params: FastRNNParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, FastRNNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of FastRNN: the equations."""
    n = jnp.tanh(wx + uh)
    h = _weight(params.alpha, n) * n + _weight(params.beta, n) * carry.h
    return Hidden(h), h, FastRNNGates(n)


def fast_grnn_input_terms(params: FastGRNNParams, x: Array) -> Array:
    """Return ``x W + b`` for gate and candidate, ``[B, 2H]``: one product for both."""
    xW = x @ params.W
    a = jnp.concatenate([xW, xW], axis=-1)
    return a + jnp.broadcast_to(params.b, a.shape)


def fast_grnn_hidden_terms(params: FastGRNNParams, carry: Hidden) -> Array:
    """Return ``h U`` for gate and candidate, ``[B, 2H]``: one product for both."""
    hU = hidden_product(params, carry)
    return jnp.concatenate([hU, hU], axis=-1)


def fast_grnn_gates(params: FastGRNNParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, FastGRNNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of FastGRNN: the equations."""
    z, n = activate(wx + uh, "sigmoid tanh")
    h = (_weight(params.zeta, z) * (1 - z) + _weight(params.nu, z)) * n + z * carry.h
    return Hidden(h), h, FastGRNNGates(z, n)


_REFERENCE = 'Kusupati et al. 2018, "FastGRNN", arXiv:1901.02358, section '
fast_rnn = Cell(
    _init_fast, initial_carry, input_affine, hidden_product, fast_rnn_gates, "fast_rnn", FastRNNParams,
    _REFERENCE + "3.1",
)  # fmt: skip
"""FastRNN as a Cell."""

fast_grnn = Cell(
    _init_gated, initial_carry, fast_grnn_input_terms, fast_grnn_hidden_terms, fast_grnn_gates, "fast_grnn",
    FastGRNNParams, _REFERENCE + "3.2",
)  # fmt: skip
"""FastGRNN as a Cell."""

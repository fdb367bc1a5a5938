"""Intersection RNN (+RNN): one gate over time, as in `ugrnn`, and one over depth, which lets the input pass through.

    z_y = sigmoid(x W_z_y + h U_z_y + b_z_y)  gate over depth: pass (1 shows the input, 0 the candidate)
    z   = sigmoid(x W_z + h U_z + b_z)        gate over time: retain (1 keeps the old state, 0 writes the new)
    n_y = relu   (x W_n_y + h U_n_y + b_n_y)  candidate of the output
    n   = tanh   (x W_n + h U_n + b_n)        candidate of the state
    y  = z_y * (x P) + (1 - z_y) * n_y        the output
    h' = z * h + (1 - z) * n                  the state

The blocks are packed in the order z_y z n_y n; the paper's letters are g^y, g^h, y^in and h^in. The paper adds
constants to the biases of both gates, here ``forget_bias=1.0`` of `init`. It has x itself instead of ``x P``, which
requires D = H; P starts as the identity (its first rows or columns if D is not H), which gives the paper's equations.
The cell is meant for stacks: a single layer has no use for a gate over depth. torchrecurrent takes D = H only, packs
n_y n z_y z, adds two biases, and has no constants.

Reference: Collins, Sohl-Dickstein & Sussillo 2017, "Capacity and trainability in recurrent neural networks", ICLR 2017,
arXiv:1611.09913 (+RNN).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, zeros_carry
from jaxseq.notation import Array, Key


class IntersectionRNNParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]``, blocks in the order z_y z n_y n; ``P [D, H]``."""

    W: Array
    U: Array
    b: Array
    P: Array


class IntersectionRNNGates(NamedTuple):
    """Gates over depth (1 shows the input) and time (1 retains), candidates of output and state, each ``[B, H]``."""

    z_y: Array
    z: Array
    n_y: Array
    n: Array


def straight(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an identity matrix that need not be square. `key` is not used."""
    rows, columns = shape
    return jnp.eye(rows, columns, dtype=dtype)


init = init_of(
    IntersectionRNNParams, added={"forget_bias": (1.0, "b[0] b[1]")}, W="D 4H", U="H 4H", b="4H", P=("D H", straight)
)
initial_carry = zeros_carry(Hidden)


def input_terms(params: IntersectionRNNParams, x: Array) -> tuple[Array, Array]:
    """Return ``x W + b``, ``[B, 4H]``, and ``x P``, ``[B, H]``."""
    return affine(x, params.W, params.b), x @ params.P


def equations(
    params: IntersectionRNNParams, carry: Hidden, wx: tuple[Array, Array], uh: Array
) -> tuple[Hidden, Array, IntersectionRNNGates]:
    """Return ``(carry, y [B, H], gates)`` of one step: the equations."""
    (into, through), H = wx, carry.h.shape[-1]
    a_z, a_y, a_h = jnp.split(into + uh, [2 * H, 3 * H], axis=-1)
    z_y, z = activate(a_z, "sigmoid sigmoid")
    n_y, n = jax.nn.relu(a_y), jnp.tanh(a_h)
    y = z_y * through + (1 - z_y) * n_y
    h = z * carry.h + (1 - z) * n
    return Hidden(h), y, IntersectionRNNGates(z_y, z, n_y, n)


intersection_rnn = Cell(
    init, initial_carry, input_terms, hidden_product, equations, "intersection_rnn", IntersectionRNNParams,
    'Collins et al. 2017, "Capacity and trainability in recurrent neural networks", arXiv:1611.09913',
)  # fmt: skip
"""The intersection RNN; its output is not its state."""

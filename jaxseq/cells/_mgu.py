"""Minimal gated unit, a GRU whose one gate both resets and writes, and three simplifications of that gate.

    f = sigmoid(x W_f + h U_f + b_f)          the gate: write (1 takes the candidate, 0 keeps the old state)
    n = tanh   (x W_n + (f * h) U_n + b_n)    candidate
    h' = (1 - f) * h + f * n

mgu packs W and b in the order f n. The simplifications reduce the gate only:

    mgu1:  f = sigmoid(h U_f + b_f)           no input
    mgu2:  f = sigmoid(h U_f)                 no input, no bias
    mgu3:  f = sigmoid(b_f)                   the same at every step

Zhou et al. call f a forget gate; here 1 forgets, while in an LSTM 1 retains. mgu is `gru_cho` with the reset gate r = f
and the update gate z = 1 - f. torchrecurrent has mgu, and adds two biases.

Reference: Zhou, Wu, Zhang & Zhou 2016, "Minimal gated unit for recurrent neural networks", arXiv:1603.09420, section 3
(mgu); Heck & Salem 2017, "Simplified minimal gated unit variations for recurrent neural networks", arXiv:1701.03452
(mgu1, mgu2, mgu3).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine, blocks
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class MGUParams(NamedTuple):
    """``W [D, 2H]`` (f n), ``U [H, H]`` (f), ``U_n [H, H]``, ``b [2H]`` (f n)."""

    W: Array
    U: Array
    U_n: Array
    b: Array


class MGU1Params(NamedTuple):
    """``W [D, H]`` (n), ``U [H, H]`` (f), ``U_n [H, H]``, ``b [H]`` (n), ``b_f [H]``."""

    W: Array
    U: Array
    U_n: Array
    b: Array
    b_f: Array


class MGU2Params(NamedTuple):
    """``W [D, H]`` (n), ``U [H, H]`` (f), ``U_n [H, H]``, ``b [H]`` (n)."""

    W: Array
    U: Array
    U_n: Array
    b: Array


class MGU3Params(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]`` (n): all of the candidate; ``b_f [H]``."""

    W: Array
    U: Array
    b: Array
    b_f: Array


class MGUGates(NamedTuple):
    """The gate (f = 1 writes) and the candidate, each ``[B, H]``."""

    f: Array
    n: Array


initial_carry = zeros_carry(Hidden)


def equations(params: MGUParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, MGUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of mgu."""
    wx_f, wx_n = blocks(wx, 2)
    return gates_without_input(params, carry, wx_n, wx_f + uh)


def gates_without_input(
    params: MGUParams | MGU1Params | MGU2Params, carry: Hidden, wx_n: Array, a_f: Array
) -> tuple[Hidden, Array, MGUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step, given the gate's pre-activation."""
    (f,) = activate(a_f, "sigmoid")
    n = jnp.tanh(wx_n + (f * carry.h) @ params.U_n)
    h = (1 - f) * carry.h + f * n
    return Hidden(h), h, MGUGates(f, n)


def hidden_affine(params: MGU1Params, carry: Hidden) -> Array:
    """Return ``h U_f + b_f``."""
    return affine(carry.h, params.U, params.b_f)


def hidden_gated(params: MGU3Params, carry: Hidden) -> Array:
    """Return ``(f * h) U``: a gate that is the same at every step can be applied before the product."""
    return (jnp.broadcast_to(jax.nn.sigmoid(params.b_f), carry.h.shape) * carry.h) @ params.U


def gates_constant(params: MGU3Params, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, MGUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of mgu3."""
    f = jnp.broadcast_to(jax.nn.sigmoid(params.b_f), carry.h.shape)
    n = jnp.tanh(wx + uh)
    h = (1 - f) * carry.h + f * n
    return Hidden(h), h, MGUGates(f, n)


HECK = 'Heck & Salem 2017, "Simplified minimal gated unit variations for recurrent neural networks", arXiv:1701.03452'

mgu = Cell(
    init_of(MGUParams, W="D 2H", U="H H", U_n="H H", b="2H"),
    initial_carry, input_affine, hidden_product, equations, "mgu", MGUParams,
    'Zhou et al. 2016, "Minimal gated unit for recurrent neural networks", arXiv:1603.09420, section 3',
)  # fmt: skip
"""The minimal gated unit."""

mgu1 = Cell(
    init_of(MGU1Params, W="D H", U="H H", U_n="H H", b="H", b_f="H"),
    initial_carry, input_affine, hidden_affine, gates_without_input, "mgu1", MGU1Params, HECK,
)  # fmt: skip
"""Minimal gated unit whose gate does not see the input."""

mgu2 = Cell(
    init_of(MGU2Params, W="D H", U="H H", U_n="H H", b="H"),
    initial_carry, input_affine, hidden_product, gates_without_input, "mgu2", MGU2Params, HECK,
)  # fmt: skip
"""Minimal gated unit whose gate sees only the old state, without a bias."""

mgu3 = Cell(
    init_of(MGU3Params, W="D H", U="H H", b="H", b_f="H"),
    initial_carry, input_affine, hidden_gated, gates_constant, "mgu3", MGU3Params, HECK,
)  # fmt: skip
"""Minimal gated unit whose gate is learned and the same at every step."""

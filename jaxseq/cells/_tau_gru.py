"""GRU with weighted delayed feedback: an older state enters next to the last one.

    h_d = first(past)                              the state d steps before h
    u = tanh   (x W_u + h U_u + b_u)               candidate of the last state
    z = tanh   (x W_z + h_d U_z + b_z)             candidate of h_d
    a = sigmoid(x W_a + h U_a + b_a)               weight of the delayed candidate
    g = sigmoid(x W_g + h U_g + b_g)               update gate: write (1 writes, 0 keeps)
    h' = (1 - g) * h + g * (u + a * z)
    past' = queue(past, h)                         without its first, and with h as its last

The delay d is a fixed number of steps: ``.with_`` takes delay (2 by default; at least 1). In the paper it is tuned for
each task, up to the length of the memory needed. The carry contains the last d states, initially zeros; each step
copies d * H numbers per row. The blocks are packed in the order u g a z.

Reference: Erichson, Lim & Mahoney 2022, "Gated recurrent neural networks with weighted time-delay feedback",
arXiv:2212.00228.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import check_sizes, init_of
from jaxseq.cells._parts import input_affine
from jaxseq.cells._recipe import made
from jaxseq.notation import Array


class TauGRUParams(NamedTuple):
    """``W [D, 4H]`` and ``b [4H]``, blocks in the order u g a z; ``U [H, 3H]`` (u g a), ``U_z [H, H]``."""

    W: Array
    U: Array
    U_z: Array
    b: Array


class TauGRUCarry(NamedTuple):
    """The state and output ``h [B, H]``, and the d states before it, oldest first, ``past [B, d, H]``."""

    h: Array
    past: Array


class TauGRUGates(NamedTuple):
    """Candidate, update gate (g = 1 writes), weight of the delayed candidate, and that candidate, each ``[B, H]``."""

    u: Array
    g: Array
    a: Array
    z: Array


init = init_of(TauGRUParams, W="D 4H", U="H 3H", U_z="H H", b="4H")


def hidden_terms(params: TauGRUParams, carry: TauGRUCarry) -> Array:
    """Return ``h U`` and ``h_d U_z`` side by side, ``[B, 4H]``."""
    return jnp.concatenate([carry.h @ params.U, carry.past[..., 0, :] @ params.U_z], axis=-1)


def equations(params: TauGRUParams, carry: TauGRUCarry, wx: Array, uh: Array) -> tuple[TauGRUCarry, Array, TauGRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    u, g, a, z = activate(wx + uh, "tanh sigmoid sigmoid tanh")
    h = (1 - g) * carry.h + g * (u + a * z)
    past = jnp.concatenate([carry.past[..., 1:, :], carry.h[..., None, :]], axis=-2)
    return TauGRUCarry(h, past), h, TauGRUGates(u, g, a, z)


@made
def _tau_gru(delay: int = 2) -> Cell[TauGRUParams, TauGRUCarry, Array, TauGRUGates]:
    """Return the cell with ``d = delay`` steps, 1 or more."""
    check_sizes("tau_gru.with_", delay=delay)

    def initial_carry(params: TauGRUParams, batch_shape: tuple[int, ...] = ()) -> TauGRUCarry:
        H, dtype = params.U.shape[0], params.U.dtype
        return TauGRUCarry(jnp.zeros((*batch_shape, H), dtype), jnp.zeros((*batch_shape, delay, H), dtype))

    reference = 'Erichson, Lim & Mahoney 2022, "Gated RNNs with weighted time-delay feedback", arXiv:2212.00228'
    return Cell(init, initial_carry, input_affine, hidden_terms, equations, "tau_gru", TauGRUParams, reference)


tau_gru = _tau_gru()
"""The GRU with feedback delayed by 2 steps as a Cell."""

"""Legendre memory unit: a linear memory of the last theta steps of a signal, and a nonlinear state that reads it.

    u  = x e_x + h e_h + m e_m                 written to memory, one number
    m' = m A + u B                             memory: d Legendre coefficients of u's last theta steps
    h' = tanh(x W_x + h W_h + m' W_m)          state

A and B discretise the system ``theta dm/dt = A m + B u`` (`jaxseq.initializers.legendre_window`) by zero-order hold
over one step. Here states are rows, so ``A [d, d]`` is the transpose of the paper's. Both are parameters; the
paper keeps them fixed in its experiments: to follow it, leave A and B out of the optimizer. ``W [D, H + 1]`` packs W_x
and e_x, ``U [H, H + 1]`` packs W_h and e_h. There are no biases.

`init` takes ``order`` (d, H by default) and ``theta=100.0``, the length of the window in steps. Encoders e_x and e_h
start LeCun uniform, e_m at zero, W_x and W_m by Glorot; W_h is orthogonal.

Reference: Voelker, Kajic & Eliasmith 2019, "Legendre memory units: continuous-time representation in recurrent neural
networks", NeurIPS 2019, section 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, zeros_for
from jaxseq.cells._init import check_range, check_sizes, checked_init
from jaxseq.initializers import glorot, legendre_window, orthogonal, zero_order_hold
from jaxseq.notation import Array, Key


class LMUParams(NamedTuple):
    """``W [D, H + 1]`` packs W_x e_x, ``U [H, H + 1]`` packs W_h e_h; the memory's ``W_m [d, H]``, ``e_m [d, 1]``.

    Its system: ``A [d, d]``, ``B [d]``.
    """

    W: Array
    U: Array
    W_m: Array
    e_m: Array
    A: Array
    B: Array


class LMUCarry(NamedTuple):
    """State ``h [B, H]`` and memory ``m [B, d]``."""

    h: Array
    m: Array


class LMUGates(NamedTuple):
    """The number written, ``u [B, 1]``, and the new memory ``m [B, d]``."""

    u: Array
    m: Array


@checked_init("lmu")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    order: int | None = None,
    theta: float = 100.0,
) -> LMUParams:
    """Return parameters for D = input_size, H = hidden_size, d = order (H by default). Consumes `key`."""
    D, H, d = input_size, hidden_size, hidden_size if order is None else order
    check_sizes("lmu", order=d)
    check_range("lmu: theta", theta, 0, above=True)
    k = jax.random.split(key, 5)
    lecun = jax.nn.initializers.lecun_uniform()
    A, B = zero_order_hold(*legendre_window(d), 1 / theta)
    return LMUParams(
        W=jnp.concatenate([glorot(k[0], (D, H), dtype), lecun(k[1], (D, 1), dtype)], axis=-1),
        U=jnp.concatenate([orthogonal(k[2], (H, H), dtype), lecun(k[3], (H, 1), dtype)], axis=-1),
        W_m=glorot(k[4], (d, H), dtype),
        e_m=jnp.zeros((d, 1), dtype),
        A=jnp.asarray(A.T, dtype),
        B=jnp.asarray(B, dtype),
    )


def initial_carry(params: LMUParams, batch_shape: tuple[int, ...] = ()) -> LMUCarry:
    """Return the state before the first step: zeros ``[*batch_shape, H]`` and ``[*batch_shape, d]``."""
    return LMUCarry(*(zeros_for(params.B, batch_shape, a.shape[0]) for a in (params.U, params.B)))


def input_terms(params: LMUParams, x: Array) -> Array:
    """Return ``x W_x`` and ``x e_x``, ``[B, H + 1]``."""
    return x @ params.W


def hidden_terms(params: LMUParams, carry: LMUCarry) -> tuple[Array, Array]:
    """Return the old state's products for h' and u, ``[B, H + 1]``, and the old memory's for m' and u."""
    return carry.h @ params.U, carry.m @ jnp.concatenate([params.A, params.e_m], axis=-1)


def equations(
    params: LMUParams, carry: LMUCarry, wx: Array, uh: tuple[Array, Array]
) -> tuple[LMUCarry, Array, LMUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    H, d = carry.h.shape[-1], carry.m.shape[-1]
    a, a_u = jnp.split(wx + uh[0], [H], axis=-1)
    m, m_u = jnp.split(uh[1], [d], axis=-1)
    u = a_u + m_u
    m = m + u * jnp.broadcast_to(params.B, m.shape)
    h = jnp.tanh(a + m @ params.W_m)
    return LMUCarry(h, m), h, LMUGates(u, m)


lmu = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "lmu", LMUParams,
    'Voelker, Kajic & Eliasmith 2019, "Legendre memory units", NeurIPS 2019, section 2',
)  # fmt: skip
"""The Legendre memory unit as a Cell."""

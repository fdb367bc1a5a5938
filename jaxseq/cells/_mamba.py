"""Selective state space (S6), the recurrence of Mamba: the input sets the step's length and what is written and read.

    u = x W_u                                 input, one number for each unit
    Delta = softplus(x W_r W_Delta + b)       step: 0 retains, a long one forgets and writes; through a low rank R
    B = x W_B                                 what the input writes, N numbers that all units share
    C = x W_C                                 what is read, likewise
    A = -exp(log_decay)                       [H, N]
    A_bar = exp(Delta^T * A)                  retain: zero-order hold (eq. 4)
    h' = A_bar * h + (Delta * u)^T B          state [B, H, N] (eq. 2a)
    y = (h' C^T)^T + skip * u                 output (eq. 2b)

B is discretised by Euler's rule, ``Delta B``, as in the authors' code; a zero-order hold, the paper's eq. 4, would have
``(A_bar - 1) / A * B``. Each unit is its own state-space model with N states. The skip is the paper's D. In the
paper the input is as wide as the state and u = x: W_u is the linear layer before the recurrence in its block, and the
other matrices act on x directly (with D = H and W_u the identity the equations are those of its algorithm 2). The
block's short convolution and silu before the cell, and its gate after it, are not part of it.

``W [D, H + R + 2N]`` packs u, r (the paper's low-rank projection for Delta), B and C. `init` takes ``state_size=16``
(N), ``rank=1`` (R, as in algorithm 2; the authors' code takes D / 16) and ``step_min=0.001, step_max=0.1``, between
which Delta starts log-uniform. A starts as -1, -2, ... -N for each unit (S4D-Real, section 3.6).

With bfloat16 params the state is float32.

Reference: Gu & Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces", arXiv:2312.00752,
section 3.2, algorithm 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import Cell, affine, wide_zeros_for
from jaxseq.cells._init import check_range, check_sizes, checked_init
from jaxseq.cells._memory import outer
from jaxseq.cells._parts import Hidden, no_hidden_terms
from jaxseq.initializers import Initializer, glorot, uniform
from jaxseq.notation import Array, Key, Tree, wide, widened


class MambaParams(NamedTuple):
    """``W [D, H + R + 2N]`` (u r B C); ``W_Delta [R, H]``, its bias ``b [H]``; ``log_decay [H, N]``, ``skip [H]``."""

    W: Array
    W_Delta: Array
    b: Array
    log_decay: Array
    skip: Array


class MambaTerms(NamedTuple):
    """Input and the logits of Delta, each ``[B, H]``; B and C, each ``[B, N]``."""

    u: Array
    a: Array
    B: Array
    C: Array


class MambaGates(NamedTuple):
    """Input and step ``[B, H]``, what is written and read ``[B, N]``, and ``A_bar [B, H, N]`` (retain)."""

    u: Array
    Delta: Array
    B: Array
    C: Array
    A_bar: Array


@checked_init("mamba")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    state_size: int = 16,
    rank: int = 1,
    step_min: float = 0.001,
    step_max: float = 0.1,
) -> MambaParams:
    """Return parameters for D = input_size, H = hidden_size, N = state_size, R = rank. Consumes `key`."""
    D, H, N, R = input_size, hidden_size, state_size, rank
    check_sizes("mamba", state_size=N, rank=R)
    check_range("mamba: step_min", step_min, 0, above=True)
    check_range("mamba: step_max", step_max, step_min)
    *keys, k_Delta, k_b = jax.random.split(key, 6)
    W = [kernel(k, (D, n), dtype) for k, n in zip(keys, (H, R, N, N), strict=True)]
    low, high = float(np.log(step_min)), float(np.log(step_max))
    Delta = jnp.exp(jax.random.uniform(k_b, (H,), wide(dtype), low, high))
    return MambaParams(
        W=jnp.concatenate(W, axis=-1),
        W_Delta=uniform(R**-0.5)(k_Delta, (R, H), dtype),
        b=(Delta + jnp.log(-jnp.expm1(-Delta))).astype(dtype),  # softplus^-1
        log_decay=jnp.broadcast_to(jnp.log(jnp.arange(1, N + 1, dtype=wide(dtype))), (H, N)).astype(dtype),
        skip=jnp.ones((H,), dtype),
    )


def initial_carry(params: MambaParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return the state before the first step: zeros ``[*batch_shape, H, N]``, in float32 at least."""
    H, N = params.log_decay.shape
    return Hidden(wide_zeros_for(params.log_decay, (*batch_shape, H), N))


def input_terms(params: MambaParams, x: Array) -> MambaTerms:
    """Return u, the logits of Delta, B and C: all the matrix products of x."""
    H, N = params.log_decay.shape
    u, r, B, C = jnp.split(x @ params.W, [H, params.W.shape[-1] - 2 * N, params.W.shape[-1] - N], axis=-1)
    return MambaTerms(u, affine(r, params.W_Delta, params.b), B, C)


def equations(params: MambaParams, carry: Hidden, wx: MambaTerms, uh: Tree) -> tuple[Hidden, Array, MambaGates]:
    """Return ``(carry, y [B, H], gates)`` of one step: the equations."""
    u, a, B, C = map(widened, wx)
    Delta = jax.nn.softplus(a)
    A = jnp.broadcast_to(-jnp.exp(widened(params.log_decay)), carry.h.shape)
    retain = jnp.exp(Delta[..., None] * A)
    h = retain * carry.h + outer(Delta * u, B)
    y = jnp.einsum("...hn,...n->...h", h, C) + jnp.broadcast_to(widened(params.skip), u.shape) * u
    return Hidden(h), y.astype(wx.u.dtype), MambaGates(u, Delta, B, C, retain)


mamba = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "mamba", MambaParams,
    'Gu & Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces", arXiv:2312.00752, algorithm 2',
    linear="elementwise",
)  # fmt: skip
"""The selective state space of Mamba as a Cell."""

"""Diagonal state-space layer S4D: each unit is its own linear system, complex, diagonal and discretised.

    u = x W                                     input, one number for each unit
    A = -exp(log_decay) + i frequency           complex eigenvalues [H, N]
    Delta = exp(log_step)                       [H]
    A_bar = exp(Delta^T * A)                    zero-order hold over a step Delta: retain
    s' = A_bar * s + u^T * (A_bar - 1) / A      state, complex [B, H, N]
    y = 2 Re(across(C * s')) + skip * u         output; across sums each unit's N numbers, 2 is for the conjugates

The system of a unit is ``ds/dt = A s + B u`` with B = 1, since only the product B C matters for the output. Its real
form has 2N states, whose eigenvalues come in conjugate pairs: one of each pair is kept, and its real part counts twice.
The skip is the paper's D. All arrays are real: the carry has s as its real and imaginary part, ``C [H, 2N]`` has C's
real part left of its imaginary part. In the paper the input is as wide as the state and u = x; W is the linear layer
that mixes features between two of its layers. The activation after y is left to the caller.

`init` takes ``state_size=32`` (N), ``spectrum="lin"``, and ``step_min=0.001, step_max=0.1``, between which log Delta is
uniform. A starts with the real part -1/2 and, for n = 0 ... N - 1, the frequencies ``pi n`` with "lin" (S4D-Lin) or
``M / pi (M / (2n + 1) - 1)``, where M = 2N, with "inv" (S4D-Inv). C is complex normal with variance 1.

With bfloat16 params the state is float32.

Reference: Gu, Gupta, Goel & Re 2022, "On the parameterization and initialization of diagonal state space models",
NeurIPS, arXiv:2206.11893: its parameterization, and section 4 (S4D-Inv and S4D-Lin).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import Cell, wide_zeros_for
from jaxseq.cells._init import check_range, check_sizes, checked_init
from jaxseq.cells._lru import ComplexCarry, times
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.cells._s5 import hold
from jaxseq.errors import choose
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Key, Tree, widened


class S4DParams(NamedTuple):
    """``W [D, H]``; ``C [H, 2N]`` packs C_re C_im; ``log_decay, frequency [H, N]``; ``log_step, skip [H]``."""

    W: Array
    C: Array
    log_decay: Array
    frequency: Array
    log_step: Array
    skip: Array


class S4DGates(NamedTuple):
    """The input ``u [B, H]``."""

    u: Array


SPECTRA = {
    "lin": lambda N: np.pi * np.arange(N),
    "inv": lambda N: 2 * N / np.pi * (2 * N / (2 * np.arange(N) + 1) - 1),
}
"""The initial imaginary parts ``[N]`` of A."""


@checked_init("s4d")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    state_size: int = 32,
    spectrum: Literal["lin", "inv"] = "lin",
    step_min: float = 0.001,
    step_max: float = 0.1,
) -> S4DParams:
    """Return parameters for D = input_size, H = hidden_size, N = state_size. Consumes `key`."""
    D, H, N = input_size, hidden_size, state_size
    check_sizes("s4d", state_size=N)
    check_range("s4d: step_min", step_min, 0, above=True)
    check_range("s4d: step_max", step_max, step_min)
    frequency = choose("spectrum", spectrum, SPECTRA)(N)
    k_W, k_C, k_step = jax.random.split(key, 3)
    return S4DParams(
        W=kernel(k_W, (D, H), dtype),
        C=jax.random.normal(k_C, (H, 2 * N), dtype) * 0.5**0.5,
        log_decay=jnp.full((H, N), np.log(0.5), dtype),
        frequency=jnp.broadcast_to(jnp.asarray(frequency, dtype), (H, N)),
        log_step=jax.random.uniform(k_step, (H,), dtype, float(np.log(step_min)), float(np.log(step_max))),
        skip=jnp.ones((H,), dtype),
    )


def initial_carry(params: S4DParams, batch_shape: tuple[int, ...] = ()) -> ComplexCarry:
    """Return the state before the first step: zeros, both ``[*batch_shape, H, N]``, in float32 at least."""
    H, N = params.frequency.shape
    zero = wide_zeros_for(params.C, (*batch_shape, H), N)
    return ComplexCarry(zero, jnp.zeros_like(zero))  # two buffers, so that both can be donated


def input_terms(params: S4DParams, x: Array) -> Array:
    """Return ``u = x W``, ``[B, H]``."""
    return x @ params.W


def equations(params: S4DParams, carry: ComplexCarry, wx: Array, uh: Tree) -> tuple[ComplexCarry, Array, S4DGates]:
    """Return ``(carry, y [B, H], gates)`` of one step: the equations."""
    u = widened(wx)
    step = jnp.broadcast_to(params.log_step[:, None], params.frequency.shape)
    A_re, A_im, B_re, B_im = hold(params.log_decay, params.frequency, step)
    re, im = times(carry.re, carry.im, A_re, A_im)
    driven = jnp.broadcast_to(u[..., None], re.shape)
    new = ComplexCarry(re + jnp.broadcast_to(B_re, re.shape) * driven, im + jnp.broadcast_to(B_im, im.shape) * driven)
    C_re, C_im = jnp.split(widened(params.C), 2, axis=-1)
    y = 2 * jnp.sum(times(new.re, new.im, C_re, C_im)[0], axis=-1) + jnp.broadcast_to(widened(params.skip), u.shape) * u
    return new, y.astype(wx.dtype), S4DGates(wx)


s4d = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "s4d", S4DParams,
    'Gu et al. 2022, "On the parameterization and initialization of diagonal state space models", arXiv:2206.11893',
    linear="elementwise",
)  # fmt: skip
"""The diagonal state-space layer S4D as a Cell."""

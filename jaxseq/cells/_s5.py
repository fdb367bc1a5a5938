"""Simplified state-space layer with a diagonal: a continuous linear system, discretised with a learned step.

    Lambda = -exp(log_decay) + i frequency          complex eigenvalues
    Delta = exp(log_step)
    Lambda~ = exp(Lambda * Delta)                   zero-order hold over a step Delta: retain
    u = (Lambda~ - 1) / Lambda * (x B)              what the input adds over Delta
    s' = Lambda~ * s + u                            state, complex [B, N]
    y  = 2 Re(s' C) + x D                           output; the 2 accounts for the conjugates

The system is ``ds/dt = Lambda s + x B``. Lambda, B and C are those of a real system of 2N units whose eigenvalues come
in conjugate pairs: one of each pair is kept, and its real part counts twice. All arrays are real: the carry has s as
its real and imaginary part, ``W [D, 2N + H]`` packs B's real part, B's imaginary part and D, ``C [2N, H]`` has C's real
part above its imaginary part (of Lambda, the paper's code keeps the real part itself, and may clip it to be negative).
The paper's D is a vector, since its layers are as wide as their input; here it is a matrix. Its activation after y is
left to the caller.

`init` takes ``state_size`` (N, H by default) and ``step_min=0.001, step_max=0.1``, between which log Delta is uniform,
one for each unit. Lambda starts at the eigenvalues of HiPPO-N, the normal part of HiPPO-LegS of 2N units (real parts
-1/2), and B and C as random matrices (variances 1 / D and 1 / 2N) in the basis of its eigenvectors, as one block
(the paper may have several).

With bfloat16 params the state is float32: over steps 900 to 1,000 of random input it differs from the float64 state by
0.3% (root mean square); kept in bfloat16, by 33%.

Reference: Smith, Warrington & Linderman 2023, "Simplified state space layers for sequence modeling",
arXiv:2208.04933.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import Cell
from jaxseq.cells._init import check_range, check_sizes, checked_init
from jaxseq.cells._lru import ComplexCarry, Drive, initial_carry, real_part, times
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import legendre_scaled
from jaxseq.notation import Array, Key, Tree, widened


class S5Params(NamedTuple):
    """``W [D, 2N + H]`` packs B_re B_im D, ``C [2N, H]`` packs C_re C_im.

    ``log_decay``, ``frequency``, ``log_step``: ``[N]``.
    """

    W: Array
    C: Array
    log_decay: Array
    frequency: Array
    log_step: Array


@checked_init("s5")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    state_size: int | None = None,
    step_min: float = 0.001,
    step_max: float = 0.1,
) -> S5Params:
    """Return parameters for D = input_size, H = hidden_size, N = state_size (H by default). Consumes `key`."""
    D, H, N = input_size, hidden_size, hidden_size if state_size is None else state_size
    check_sizes("s5", state_size=N)
    check_range("s5: step_min", step_min, 0, above=True)
    check_range("s5: step_max", step_max, step_min)
    frequency, V = _normal_hippo(N)
    k_B, k_C, k_D, k_step = jax.random.split(key, 4)
    B = jax.random.normal(k_B, (D, 2 * N), dtype) * D**-0.5
    C = jax.random.normal(k_C, (2 * N, H), dtype) * (2 * N) ** -0.5
    skip = jax.random.normal(k_D, (D, H), dtype) * D**-0.5
    re, im = jnp.asarray(V.real, dtype), jnp.asarray(V.imag, dtype)
    low, high = np.log(step_min), np.log(step_max)
    return S5Params(
        W=jnp.concatenate([B @ re, -(B @ im), skip], axis=-1),  # the inverse of V is its conjugate transpose
        C=jnp.concatenate([re.T @ C, im.T @ C]),
        log_decay=jnp.full((N,), np.log(0.5), dtype),
        frequency=jnp.asarray(frequency, dtype),
        log_step=jax.random.uniform(k_step, (N,), dtype, float(low), float(high)),
    )


def _normal_hippo(N: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the N positive imaginary parts of HiPPO-N's eigenvalues, and its eigenvectors ``[2N, N]`` of norm 1."""
    A, root = legendre_scaled(2 * N)
    S = A + np.outer(root, root) / 2 + np.eye(2 * N) / 2  # skew-symmetric: -1/2 is on all of the diagonal
    frequency, V = np.linalg.eigh(-1j * S)
    return frequency[N:], V[:, N:]


def hold(log_decay: Array, frequency: Array, log_step: Array) -> tuple[Array, Array, Array, Array]:
    """Return the real and imaginary parts of Lambda' and of ``(Lambda' - 1) / Lambda``, in float32 at least.

    The three arrays have the same shape, ``[N]`` or with more axes.
    """
    decay, step, frequency = jnp.exp(widened(log_decay)), jnp.exp(widened(log_step)), widened(frequency)
    modulus, phase = jnp.exp(-decay * step), frequency * step
    re, im = modulus * jnp.cos(phase), modulus * jnp.sin(phase)
    below = decay**2 + frequency**2  # |Lambda|^2; 1 / Lambda is the conjugate of Lambda over this
    up, side = times(re - 1, im, -decay, -frequency)
    return re, im, up / below, side / below


def input_terms(params: S5Params, x: Array) -> Drive:
    """Return ``x B'`` and ``x D``."""
    N = params.log_step.shape[-1]
    re, im, skip = jnp.split(x @ params.W, [N, 2 * N], axis=-1)
    return Drive(
        *times(re, im, *(a.astype(re.dtype) for a in hold(params.log_decay, params.frequency, params.log_step)[2:])),
        skip,
    )


def equations(params: S5Params, carry: ComplexCarry, wx: Drive, uh: Tree) -> tuple[ComplexCarry, Array, Drive]:
    """Return ``(carry, y [B, H], drive)`` of one step: the equations."""
    re, im = times(carry.re, carry.im, *hold(params.log_decay, params.frequency, params.log_step)[:2])
    new = ComplexCarry(re + widened(wx.re), im + widened(wx.im))
    return new, 2 * real_part(new, params.C) + wx.skip, wx


s5 = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "s5", S5Params,
    'Smith, Warrington & Linderman 2023, "Simplified state space layers for sequence modeling", arXiv:2208.04933',
    linear="elementwise",
)  # fmt: skip
"""The diagonal state-space layer S5 as a Cell."""

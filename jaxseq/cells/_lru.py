"""Linear recurrent unit: a complex diagonal recurrence, inside the unit disk by its parametrisation.

    lambda = exp(-exp(log_nu) + i exp(log_theta))      eigenvalues, |lambda| < 1
    gamma = exp(log_gamma)                             input's scale, learned
    s' = lambda * s + gamma * (x B)                    state, complex [B, N]; |lambda| retains
    y  = Re(s' C) + x D                                output

The carry has s as its real and imaginary part, and B, C are stored as pairs of real matrices, so every array is real.
``W [D, 2N + H]`` packs B's real part, B's imaginary part and D, which act on x; ``C [2N, H]`` has C's real part above
its imaginary part. There is no bias and no activation: the paper puts them between layers.

`init` takes ``state_size`` (N, H by default) and draws lambda on a ring (`jaxseq.initializers.ring`) between the moduli
``r_min=0`` and ``r_max=1``; gamma starts at sqrt(1 - |lambda|^2), which keeps the state's variance equal to its
input's. B is drawn with variance 1 / (2 D), C with 1 / N. The paper's D is a vector, since its layers are as wide as
their input; here it is a matrix with variance 1 / D.

With bfloat16 params the state is float32: over steps 900 to 1,000 of random input it differs from the float64 state by
0.3% (root mean square); kept in bfloat16, by 4%.

Reference: Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu & De 2023, "Resurrecting recurrent neural networks for long
sequences", arXiv:2303.06349, section 3: its stable exponential parametrization and its normalization.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import Cell, wide_zeros_for
from jaxseq.cells._init import check_range, check_sizes, checked_init
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import ring
from jaxseq.notation import Array, Key, Tree, widened


class LRUParams(NamedTuple):
    """``W [D, 2N + H]`` packs B_re B_im D, ``C [2N, H]`` packs C_re C_im.

    ``log_nu``, ``log_theta``, ``log_gamma``: ``[N]``.
    """

    W: Array
    C: Array
    log_nu: Array
    log_theta: Array
    log_gamma: Array


class ComplexCarry(NamedTuple):
    """A complex state as its real part ``re [B, N]`` and its imaginary part ``im [B, N]``."""

    re: Array
    im: Array


class Drive(NamedTuple):
    """What the input adds to the state, ``re [B, N]`` and ``im [B, N]``, and to the output, ``skip [B, H]``."""

    re: Array
    im: Array
    skip: Array


@checked_init("lru")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    state_size: int | None = None,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * np.pi,
) -> LRUParams:
    """Return parameters for D = input_size, H = hidden_size, N = state_size (H by default). Consumes `key`."""
    D, H, N = input_size, hidden_size, hidden_size if state_size is None else state_size
    check_sizes("lru", state_size=N)
    check_range("lru: r_min", r_min, 0, 1)
    check_range("lru: r_max", r_max, r_min, 1)
    k_B, k_D, k_C, k_ring = jax.random.split(key, 4)
    B = jax.random.normal(k_B, (D, 2 * N), dtype) * (2 * D) ** -0.5
    skip = jax.random.normal(k_D, (D, H), dtype) * D**-0.5
    C = jax.random.normal(k_C, (2 * N, H), dtype) * N**-0.5
    log_nu, log_theta = ring(r_min, r_max, max_phase)(k_ring, (2, N), dtype)
    log_gamma = 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(log_nu)))
    return LRUParams(jnp.concatenate([B, skip], axis=-1), C, log_nu, log_theta, log_gamma)


def initial_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> ComplexCarry:
    """Return the state before the first step: zeros, both ``[*batch_shape, N]``, in float32 at least."""
    zero = wide_zeros_for(params.C, batch_shape, params.C.shape[0] // 2)
    return ComplexCarry(zero, jnp.zeros_like(zero))  # two buffers, so that both can be donated


def times(re: Array, im: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Return the real and imaginary part of ``(re + i im) (a + i b)``, a and b without re's leading axes."""
    a, b = jnp.broadcast_to(a, re.shape), jnp.broadcast_to(b, re.shape)
    return a * re - b * im, b * re + a * im


def real_part(carry: ComplexCarry, C: Array) -> Array:
    """Return ``Re(s C)`` for ``C [2N, H]``, its real part above its imaginary part; in the dtype of C."""
    return jnp.concatenate([carry.re, -carry.im], axis=-1).astype(C.dtype) @ C


def input_terms(params: LRUParams, x: Array) -> Drive:
    """Return ``gamma * (x B)`` and ``x D``."""
    N = params.log_nu.shape[-1]
    re, im, skip = jnp.split(x @ params.W, [N, 2 * N], axis=-1)
    gamma = jnp.broadcast_to(jnp.exp(params.log_gamma), re.shape)
    return Drive(gamma * re, gamma * im, skip)


def equations(params: LRUParams, carry: ComplexCarry, wx: Drive, uh: Tree) -> tuple[ComplexCarry, Array, Drive]:
    """Return ``(carry, y [B, H], drive)`` of one step: the equations."""
    modulus, phase = jnp.exp(-jnp.exp(widened(params.log_nu))), jnp.exp(widened(params.log_theta))
    re, im = times(carry.re, carry.im, modulus * jnp.cos(phase), modulus * jnp.sin(phase))
    new = ComplexCarry(re + widened(wx.re), im + widened(wx.im))
    return new, real_part(new, params.C) + wx.skip, wx


lru = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "lru", LRUParams,
    'Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences", arXiv:2303.06349, section 3',
    linear="elementwise",
)  # fmt: skip
"""The linear recurrent unit as a Cell."""

"""Fast and forgetful memory (FFM): traces of the input, each decaying at its own rate, seen at several frequencies.

    v = x W_v + b_v                                input of the traces, M numbers
    w = sigmoid(x W_w + b_w)                       input gate: write, M numbers
    gamma = exp(0 - |alpha|)^T exp(i omega)        retain and turn, complex [M, N]: rates by traces, angles by contexts
    s' = (w * v)^T + gamma * s                     state, complex [B, M, N]
    z = Re(flat(s') C) + b_z                       what is read, H numbers; flat puts the rows of a matrix in one
    o = sigmoid(x W_o + b_o)                       output gate: show
    r = x W_r + b_r                                the input past the memory
    h = o * norm(z) + (1 - o) * r                  output
    norm(a) = (a - mean(a)) / sqrt(var(a) + 1e-5)

Each trace is written to all of its N contexts, which rotate with different periods: the phases show how long ago
something happened, the magnitudes how far it has faded. The output follows the authors' torch code; their JAX code has
``norm(o * z)``. The carry has s as its real and imaginary part, and ``C [2S, H]``, with S = M N, has C's real part
above its imaginary part (the authors' code reads the imaginary part with another sign). Blocks of W and b are packed in
the order v w o r.

`init` takes ``memory_size=32`` (M), ``context_size=4`` (N) and ``max_period=1024``. As in the authors' code, alpha is
evenly spaced from log(100) / max_period, which leaves 1/100 after max_period steps, to 0.67; the periods
``2 pi / omega`` are evenly spaced from 1 to max_period.

With bfloat16 params the state is float32.

Reference: Morad, Kortvelesy, Liwicki & Prorok 2023, "Reinforcement learning with fast and forgetful memory", NeurIPS,
arXiv:2310.04128.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import Cell, wide_zeros_for
from jaxseq.cells._init import check_range, check_sizes, checked_init
from jaxseq.cells._lru import ComplexCarry, real_part, times
from jaxseq.cells._memory import merged, outer
from jaxseq.cells._parts import input_affine, no_hidden_terms, standardised
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Key, Tree, widened

FASTEST = 0.67
"""The largest initial alpha: such a trace is halved at each step."""


class FFMParams(NamedTuple):
    """``W [D, 2M + 2H]``, ``b [2M + 2H]`` (v w o r); ``C [2S, H]`` packs C_re C_im, ``b_z [H]``.

    ``alpha [M]``, ``omega [N]``; S = M N.
    """

    W: Array
    b: Array
    C: Array
    b_z: Array
    alpha: Array
    omega: Array


class FFMGates(NamedTuple):
    """Input of the traces and input gate (write), ``[B, M]``; read value, output gate, passed input, ``[B, H]``."""

    v: Array
    w: Array
    z: Array
    o: Array
    r: Array


@checked_init("ffm")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    memory_size: int = 32,
    context_size: int = 4,
    max_period: float = 1024.0,
) -> FFMParams:
    """Return parameters for D = input_size, H = hidden_size, M = memory_size, N = context_size. Consumes `key`."""
    D, H, M, N = input_size, hidden_size, memory_size, context_size
    check_sizes("ffm", memory_size=M, context_size=N)
    check_range("ffm: max_period", max_period, 1.0)
    *keys, last = jax.random.split(key, 5)
    W = [kernel(k, (D, size), dtype) for k, size in zip(keys, (M, M, H, H), strict=True)]
    return FFMParams(
        W=jnp.concatenate(W, axis=-1),
        b=jnp.zeros((2 * M + 2 * H,), dtype),
        C=kernel(last, (2 * M * N, H), dtype),
        b_z=jnp.zeros((H,), dtype),
        alpha=jnp.linspace(FASTEST, np.log(100) / max_period, M, dtype=dtype),
        omega=2 * np.pi / jnp.linspace(1.0, max_period, N, dtype=dtype),
    )


def initial_carry(params: FFMParams, batch_shape: tuple[int, ...] = ()) -> ComplexCarry:
    """Return the state before the first step: zeros, both ``[*batch_shape, M, N]``, in float32 at least."""
    zero = wide_zeros_for(params.alpha, (*batch_shape, params.alpha.shape[0]), params.omega.shape[0])
    return ComplexCarry(zero, jnp.zeros_like(zero))  # two buffers, so that both can be donated


def equations(params: FFMParams, carry: ComplexCarry, wx: Array, uh: Tree) -> tuple[ComplexCarry, Array, FFMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    M, H = params.alpha.shape[0], params.b_z.shape[0]
    v, a_w, a_o, r = jnp.split(wx, [M, 2 * M, 2 * M + H], axis=-1)
    w, o = jax.nn.sigmoid(widened(a_w)), jax.nn.sigmoid(a_o)
    left, angle = jnp.exp(-jnp.abs(widened(params.alpha))), widened(params.omega)
    re, im = times(carry.re, carry.im, outer(left, jnp.cos(angle)), outer(left, jnp.sin(angle)))
    new = ComplexCarry(jnp.broadcast_to((w * widened(v))[..., None], re.shape) + re, im)
    z = real_part(ComplexCarry(merged(new.re), merged(new.im)), params.C)
    z = z + jnp.broadcast_to(params.b_z, z.shape)
    h = o * standardised(z, 1e-5) + (1 - o) * r
    return new, h, FFMGates(v, w, z, o, r)


ffm = Cell(
    init, initial_carry, input_affine, no_hidden_terms, equations, "ffm", FFMParams,
    'Morad et al. 2023, "Reinforcement learning with fast and forgetful memory", NeurIPS, arXiv:2310.04128',
    linear="elementwise",
)  # fmt: skip
"""The fast and forgetful memory as a Cell."""

"""Retention, one head: linear attention with a decaying and rotating memory, as a recurrence.

    q = x W_q                        query,  complex [B, K]
    k = x W_k                        key,    complex [B, K]
    v = x W_v                        value,  [B, H]
    S' = (gamma e^(i theta))^T * S + conj(k)^T v     memory, complex [B, K, H]; gamma retains
    o  = Re(q S')                    output

Over a sequence this is ``o_n = sum_(m <= n) gamma^(n - m) Re(q_n e^(i n theta) conj(k_m e^(i m theta))^T) v_m``,
attention without a softmax. K complex features are the paper's 2 K real ones, which it rotates in pairs (xPos). The
carry has S as its real and imaginary part, ``W [D, 4K + H]`` packs q re, q im, k re, k im, v; there are no biases.
``gamma [1]`` and ``theta [K]`` are parameters; to keep both fixed, as the paper does, leave them out of the optimizer.
Many heads, their group norm, the gate after them and the scale of scores belong to the paper's layer, not to the
recurrence; several heads are `jax.vmap` over params with a leading axis.

`init` takes ``key_size`` (K, H / 2 by default, which makes a query about as wide as a value) and ``gamma=31/32``, the
paper's first head (1 - 2^-5); theta starts at 10000^(-k / K) for k from 0 to K - 1.

With bfloat16 params the state is float32: over steps 900 to 1,000 of random input it differs from the float64 state by
0.1% (root mean square); kept in bfloat16, by 2.6%.

Reference: Sun, Dong, Huang, Ma, Xia, Xue, Wang & Wei 2023, "Retentive network: a successor to transformer for large
language models", arXiv:2307.08621, section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import check_range, check_sizes, checked_init
from jaxseq.cells._memory import Access, MemoryEquations, Rest, Write, empty
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Key, widened


class RetentionParams(NamedTuple):
    """``W [D, 4K + H]`` packs W_q_re W_q_im W_k_re W_k_im W_v, ``gamma [1]``, ``theta [K]``."""

    W: Array
    gamma: Array
    theta: Array


class RetentionCarry(NamedTuple):
    """The memory as its real part ``re [B, K, H]`` and its imaginary part ``im [B, K, H]``."""

    re: Array
    im: Array


class RetentionGates(NamedTuple):
    """Query and key, real and imaginary parts, each ``[B, K]``, and value ``v [B, H]``."""

    q_re: Array
    q_im: Array
    k_re: Array
    k_im: Array
    v: Array


@checked_init("retention")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    key_size: int | None = None,
    gamma: float = 31 / 32,
) -> RetentionParams:
    """Return parameters for D = input_size, H = hidden_size, K = key_size (H / 2 by default). Consumes `key`."""
    K = max(1, hidden_size // 2) if key_size is None else key_size
    check_sizes("retention", key_size=K)
    check_range("retention: gamma", gamma, 0, 1)
    widths = (K, K, K, K, hidden_size)
    W = [kernel(k, (input_size, n), dtype) for k, n in zip(jax.random.split(key, 5), widths, strict=True)]
    theta = 10000.0 ** -(jnp.arange(K) / K)
    return RetentionParams(jnp.concatenate(W, axis=-1), jnp.full((1,), gamma, dtype), theta.astype(dtype))


def initial_carry(params: RetentionParams, batch_shape: tuple[int, ...] = ()) -> RetentionCarry:
    """Return the memory before the first step: zeros ``[*batch_shape, K, H]``, in float32 at least."""
    K = params.theta.shape[-1]
    zero = empty(params.W, batch_shape, K, params.W.shape[-1] - 4 * K)
    return RetentionCarry(zero, jnp.zeros_like(zero))  # two buffers, so that both can be donated


def input_terms(params: RetentionParams, x: Array) -> RetentionGates:
    """Return q, k and v."""
    K = params.theta.shape[-1]
    return RetentionGates(*jnp.split(x @ params.W, [K, 2 * K, 3 * K, 4 * K], axis=-1))


def access(params: RetentionParams, wx: RetentionGates, rest: Rest) -> tuple[Access, RetentionGates]:
    """Return a step's access to the memory ``[B, 2K, H]``, and q, k and v: the equations."""
    named = RetentionGates(*map(widened, wx))
    q, k = jnp.concatenate([named.q_re, -named.q_im], axis=-1), jnp.concatenate([named.k_re, -named.k_im], axis=-1)
    gamma, theta = (widened(a).reshape(*(1,) * (q.ndim - 1), -1) for a in (params.gamma, params.theta))
    size = jnp.maximum(jnp.abs(gamma), jnp.finfo(gamma.dtype).tiny)  # a negative gamma is a rotation by pi
    turn = theta + jnp.where(gamma < 0, jnp.full_like(gamma, math.pi), jnp.zeros_like(gamma))
    return Access(q, (Write(k, named.v),), jnp.log(size), turn), named


def pack(carry: RetentionCarry) -> tuple[Array, Array]:
    """Return the two halves of the memory ``[B, 2K, H]``."""
    return carry.re, carry.im


def unpack(halves: tuple[Array, Array], rest: Mapping[str, Array]) -> RetentionCarry:
    """Return the carry of such halves."""
    return RetentionCarry(*halves)


retention = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, pack=pack, unpack=unpack),
    "retention", RetentionParams,
    'Sun et al. 2023, "Retentive network: a successor to transformer", arXiv:2307.08621, section 2.1',
    linear="elementwise",
)  # fmt: skip
"""Retention with one head as a Cell."""

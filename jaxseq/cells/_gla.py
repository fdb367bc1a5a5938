"""Gated linear attention, one head: a memory whose key features decay at rates that depend on the input.

    q = x W_q                                    query [B, K]
    k = x W_k                                    key [B, K]
    v = x W_v                                    value [B, H]
    alpha = sigmoid(x W_r W_a + b)^(1 / 16)      gate: retain, one number for each key feature
    S' = alpha^T * S + k^T v                     memory [B, K, H]
    o  = q S'                                    output

Over a sequence this is ``o_n = sum_(m <= n) (q_n * a_n) (k_m / a_m)^T v_m`` with a_n the product of alpha up to n. A
matrix of low rank R produces alpha; the root keeps it close to 1. W packs W_q, W_k, W_v and W_r; W_r and W_a are the
paper's W^1 and W^2. The other gate of the paper's layer (on the output, after a norm), its many heads and the scale of
its scores are not part of the recurrence. Several heads are `jax.vmap` over params with a leading axis.

`init` takes ``key_size`` (K, by default H / 2, as in the paper) and ``rank=16`` (R).

With bfloat16 params the state is float32: over steps 900 to 1,000 of random input it differs from the float64 state by
0.1% (root mean square); kept in bfloat16, by 0.9%.

Reference: Yang, Wang, Shen, Panda & Kim 2024, "Gated linear attention transformers with hardware-efficient training",
arXiv:2312.06635, section 4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine
from jaxseq.cells._init import check_sizes, checked_init
from jaxseq.cells._memory import Access, Memory, MemoryEquations, Rest, Write, empty
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Key, widened

ROOT = 16
"""The paper's tau: alpha is the 16th root of a sigmoid."""


class GLAParams(NamedTuple):
    """``W [D, 2K + H + R]`` (q k v r); ``W_a [R, K]`` after the gate's first matrix r, ``b [K]`` its bias."""

    W: Array
    W_a: Array
    b: Array


class GLATerms(NamedTuple):
    """Query and key ``[B, K]``, value ``[B, H]``, and the logits of alpha, ``[B, K]``."""

    q: Array
    k: Array
    v: Array
    a: Array


class GLAGates(NamedTuple):
    """Query and key ``[B, K]``, value ``v [B, H]``, gate ``alpha [B, K]`` (retain)."""

    q: Array
    k: Array
    v: Array
    alpha: Array


@checked_init("gla")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    key_size: int | None = None,
    rank: int = 16,
) -> GLAParams:
    """Return parameters for D = input_size, H = hidden_size, K = key_size (H / 2 by default). Consumes `key`."""
    K = max(1, hidden_size // 2) if key_size is None else key_size
    check_sizes("gla", key_size=K, rank=rank)
    *keys, last = jax.random.split(key, 5)
    W = [kernel(k, (input_size, n), dtype) for k, n in zip(keys, (K, K, hidden_size, rank), strict=True)]
    return GLAParams(jnp.concatenate(W, axis=-1), kernel(last, (rank, K), dtype), jnp.zeros((K,), dtype))


def initial_carry(params: GLAParams, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Return the memory before the first step: zeros ``[*batch_shape, K, H]``, in float32 at least."""
    R, K = params.W_a.shape
    return Memory(empty(params.b, batch_shape, K, params.W.shape[-1] - 2 * K - R))


def input_terms(params: GLAParams, x: Array) -> GLATerms:
    """Return q, k, v and the logits of alpha: all the matrix products."""
    R, K = params.W_a.shape
    q, k, v, low = jnp.split(x @ params.W, [K, 2 * K, params.W.shape[-1] - R], axis=-1)
    return GLATerms(q, k, v, affine(low, params.W_a, params.b))


def access(params: GLAParams, wx: GLATerms, rest: Rest) -> tuple[Access, GLAGates]:
    """Return a step's access to the memory, and the gates: the equations."""
    q, k, v, a = map(widened, wx)
    log_alpha = jax.nn.log_sigmoid(a) / ROOT
    return Access(q, (Write(k, v),), log_alpha), GLAGates(q, k, v, jnp.exp(log_alpha))


gla = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access), "gla", GLAParams,
    'Yang et al. 2024, "Gated linear attention transformers", arXiv:2312.06635, section 4',
    linear="elementwise",
)  # fmt: skip
"""Gated linear attention with one head as a Cell."""

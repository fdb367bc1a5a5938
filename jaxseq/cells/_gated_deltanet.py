"""Gated DeltaNet: the delta rule on a memory that decays, so it can be cleared at once or key by key.

In each of N heads, with K = H / N units:

    q = unit(silu(x W_q))                                      query
    k = unit(silu(x W_k))                                      key
    v = x W_v                                                  value
    alpha = exp(-exp(log_rate) * softplus(x W_alpha + b))      gate: retain, one number for each head
    beta = sigmoid(x W_beta)                                   rate: write, one number for each head
    error = v - alpha * (k S)                                  of what the memory still has for k
    S' = alpha * S + beta * k^T error                          memory
    o = q S'                                                   output
    unit(a) = a / sqrt(a a^T + 1e-6)                           of length 1

``S' = alpha (1 - beta k^T k) S + beta k^T v``, where S is the transpose of the paper's. With alpha = 1 this is the
delta rule; with v alone as the error, Mamba-2. The gate has Mamba-2's form. The short convolutions, the silu of v, the
output gate, the norm and the queries' scale 1 / sqrt(K) belong to the paper's layer, not to this cell. W packs q k,
``W_v`` v alpha beta; one head by default (``heads=1``, a divisor of H).

Reference: Yang, Kautz & Hatamizadeh 2024, "Gated delta networks: improving Mamba2 with delta rule", ICLR 2025,
arXiv:2412.06464, section 3.1, eq. 10.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._mamba2 import log_rates, step_biases
from jaxseq.cells._memory import Access, Memory, MemoryEquations, Rest, Write, empty, heads, merged, read, unit
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.notation import Array, Tree, widened


class GatedDeltaNetParams(NamedTuple):
    """``W [D, 2H]`` (q k), ``W_v [D, H + 2N]`` (v alpha beta); ``b [N]``, ``log_rate [N]`` for N heads."""

    W: Array
    W_v: Array
    b: Array
    log_rate: Array


class GatedDeltaNetGates(NamedTuple):
    """Query, key, value and error, ``[B, N, K]``; alpha (retain) and beta (write), ``[B, N, 1]``."""

    q: Array
    k: Array
    v: Array
    alpha: Array
    beta: Array
    error: Array


init = init_of(
    GatedDeltaNetParams, W="D 2H", W_v="D H+2N", b=("N", step_biases), log_rate=("N", log_rates),
    sizes={"N": Size("heads", 1, divides="H")},
)  # fmt: skip


def initial_carry(params: GatedDeltaNetParams, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Return the memory before the first step: zeros ``[*batch_shape, N, K, K]``, in float32 at least."""
    N = params.b.shape[0]
    K = params.W.shape[-1] // 2 // N
    return Memory(empty(params.b, batch_shape, N, K, K))


def input_terms(params: GatedDeltaNetParams, x: Array) -> tuple[Array, Array]:
    """Return the products for q and k, ``[B, 2H]``, and for v, alpha and beta, ``[B, H + 2N]``."""
    return x @ params.W, x @ params.W_v


def access(params: GatedDeltaNetParams, wx: tuple[Array, Array], rest: Rest) -> tuple[Access, GatedDeltaNetGates]:
    """Return a step's access to the memory, and the gates: the equations."""
    a, c = map(widened, wx)
    N = params.b.shape[0]
    q, k = (unit(heads(part, N)) for part in jnp.split(jax.nn.silu(a), 2, axis=-1))
    v, a_alpha, a_beta = jnp.split(c, [c.shape[-1] - 2 * N, c.shape[-1] - N], axis=-1)
    v, beta = heads(v, N), jax.nn.sigmoid(a_beta)[..., None]
    step = jax.nn.softplus(a_alpha + jnp.broadcast_to(widened(params.b), a_alpha.shape))
    log_alpha = (-jnp.broadcast_to(jnp.exp(widened(params.log_rate)), step.shape) * step)[..., None]
    gates = GatedDeltaNetGates(q, k, v, jnp.exp(log_alpha), beta, jnp.zeros_like(v))
    return Access(q, (Write(k, beta * v, erase=beta * k),), log_alpha), gates


def with_error(gates: GatedDeltaNetGates, S: Array) -> GatedDeltaNetGates:
    """Return the gates, including the error of the memory before the step."""
    return gates._replace(error=gates.v - gates.alpha * read(gates.k, S))


def out(params: GatedDeltaNetParams, read: Array, gates: Tree, wx: Tree, rest: Rest) -> Array:
    """Return the read values, ``[B, H]``."""
    return merged(read).astype(wx[0].dtype)


gated_deltanet = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, out, seen=with_error),
    "gated_deltanet", GatedDeltaNetParams, 'Yang, Kautz & Hatamizadeh 2024, "Gated delta networks", arXiv:2412.06464',
    linear="matrix",
)  # fmt: skip
"""The gated DeltaNet as a Cell."""

"""DeltaNet: a memory corrected by its own error, by the delta rule with a learned rate.

    q = unit(silu(x W_q))                        query [B, K]
    k = unit(silu(x W_k))                        key [B, K]
    v = x W_v                                    value [B, H]
    beta = sigmoid(x W_beta)                     rate, one number: write (0 keeps the memory)
    error = v - k S                              of what the memory has for k
    S' = S + beta * k^T error                    memory [B, K, H]
    o  = q S'                                    output
    unit(a) = a / sqrt(a a^T + 1e-6)             of length 1

With beta = 1 the value stored for k is replaced by v, and nothing else changes:
``S' = (1 - beta k^T k) S + beta k^T v`` is affine in S, and mixes its rows. 1e-6 is added to |a|^2 since padded inputs
are zero. S is the transpose of the papers', whose states are columns. ``W [D, 2K]`` packs q and k, ``W_v [D, H + 1]``
packs v and beta; there are no biases.

The rule is Schlag's, whose keys are made positive by a feature map and sum to 1; silu and the Euclidean norm, which
keeps the transition's eigenvalues from 0 to 1, are Yang's. The short convolutions, the silu of v, the many heads and
the norm of Yang's layer are not part of the recurrence; several heads are `jax.vmap` over params with a leading axis.
`init` takes ``key_size`` (K, H by default).

With bfloat16 params the state is float32: over steps 900 to 1,000 of random input it differs from the float64 state by
0.3% (root mean square); kept in bfloat16, by 3%.

Reference: Schlag, Irie & Schmidhuber 2021, "Linear transformers are secretly fast weight programmers",
arXiv:2102.11174; Yang, Wang, Zhang, Shen & Kim 2024, "Parallelizing linear transformers with the delta rule over
sequence length", arXiv:2406.06484.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import check_sizes, checked_init
from jaxseq.cells._memory import Access, Memory, MemoryEquations, Rest, Write, empty, read, unit
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import Initializer, glorot
from jaxseq.notation import Array, Key, widened


class DeltaNetParams(NamedTuple):
    """``W [D, 2K]`` (q k), ``W_v [D, H + 1]`` (v beta)."""

    W: Array
    W_v: Array


class DeltaNetGates(NamedTuple):
    """Query and key ``[B, K]``, value ``v [B, H]``, rate ``beta [B, 1]`` (write) and ``error [B, H]``."""

    q: Array
    k: Array
    v: Array
    beta: Array
    error: Array


@checked_init("deltanet")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    key_size: int | None = None,
) -> DeltaNetParams:
    """Return parameters for D = input_size, H = hidden_size, K = key_size (H by default). Consumes `key`."""
    K = hidden_size if key_size is None else key_size
    check_sizes("deltanet", key_size=K)
    q, k, v, beta = (
        kernel(one, (input_size, n), dtype)
        for one, n in zip(jax.random.split(key, 4), (K, K, hidden_size, 1), strict=True)
    )
    return DeltaNetParams(jnp.concatenate([q, k], axis=-1), jnp.concatenate([v, beta], axis=-1))


def initial_carry(params: DeltaNetParams, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Return the memory before the first step: zeros ``[*batch_shape, K, H]``, in float32 at least."""
    return Memory(empty(params.W, batch_shape, params.W.shape[-1] // 2, params.W_v.shape[-1] - 1))


def input_terms(params: DeltaNetParams, x: Array) -> tuple[Array, Array]:
    """Return the products for q and k, ``[B, 2K]``, and for v and beta, ``[B, H + 1]``."""
    return x @ params.W, x @ params.W_v


def access(params: DeltaNetParams, wx: tuple[Array, Array], rest: Rest) -> tuple[Access, DeltaNetGates]:
    """Return a step's access to the memory, and q, k, v and beta: the equations."""
    a, b = map(widened, wx)
    q, k = (unit(part) for part in jnp.split(jax.nn.silu(a), 2, axis=-1))
    v, beta = b[..., :-1], jax.nn.sigmoid(b[..., -1:])
    return Access(q, (Write(k, beta * v, erase=beta * k),)), DeltaNetGates(q, k, v, beta, jnp.zeros_like(v))


def with_error(gates: DeltaNetGates, S: Array) -> DeltaNetGates:
    """Return the gates, including the error of the memory before the step."""
    return gates._replace(error=gates.v - read(gates.k, S))


deltanet = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, seen=with_error),
    "deltanet", DeltaNetParams,
    "Schlag, Irie & Schmidhuber 2021, arXiv:2102.11174; keys and queries as in Yang et al. 2024, arXiv:2406.06484",
    linear="matrix",
)  # fmt: skip
"""The DeltaNet as a Cell."""

"""DeltaProduct: several steps of the delta rule for each input, whose transitions multiply.

In each of N heads, with K = H / N units, for n = 2 writes in a step:

    q = unit(silu(x W_q))                            query
    k_1 = unit(silu(x W_k_1))                        keys
    k_2 = unit(silu(x W_k_2))
    v_1 = x W_v_1                                    values
    v_2 = x W_v_2
    beta_1 = 2 sigmoid(x W_beta_1)                   rates: write, one number for each head
    beta_2 = 2 sigmoid(x W_beta_2)
    S_1 = S + beta_1 * k_1^T (v_1 - k_1 S)           memory after the first write
    S' = S_1 + beta_2 * k_2^T (v_2 - k_2 S_1)        memory
    o = q S'                                         output
    unit(a) = a / sqrt(a a^T + 1e-6)                 of length 1

More writes continue in the same way. A factor ``1 - beta k^T k`` of the transition is a reflection where beta is 2, and
a product of two reflections is a rotation: n = 1 can count modulo 2, as its eigenvalues are from -1 to 1, and n = 2
modulo any number. The gated form, in which S decays before the first write, is not this cell. S is the transpose of the
paper's. The short convolutions, the silu of v and the norm belong to the paper's layer, not to this cell.

`init` takes ``heads=1`` (N, a divisor of H) and ``writes=2`` (n).

Reference: Siems, Carstensen, Zela, Hutter, Pontil & Grazzi 2025, "DeltaProduct: improving state-tracking in linear RNNs
via Householder products", NeurIPS, arXiv:2502.10297.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks
from jaxseq.cells._init import check_sizes, checked_init
from jaxseq.cells._memory import Access, Memory, MemoryEquations, Rest, Write, empty, heads as by_head, merged, unit
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, glorot, packed
from jaxseq.notation import Array, Key, Tree, widened


class DeltaProductParams(NamedTuple):
    """``W [D, H]`` (q), ``W_k [D, 2H]`` (k_1 k_2), ``W_v [D, 2H]`` (v_1 v_2), ``W_beta [D, 2N]`` (beta_1 beta_2)."""

    W: Array
    W_k: Array
    W_v: Array
    W_beta: Array


class DeltaProductGates(NamedTuple):
    """Query ``[B, N, K]``; keys and values ``[B, n, N, K]`` and rates ``[B, n, N, 1]`` (write) of n writes."""

    q: Array
    k: Array
    v: Array
    beta: Array


@checked_init("deltaproduct")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    heads: int = 1,
    writes: int = 2,
) -> DeltaProductParams:
    """Return parameters for D = input_size, H = hidden_size, N heads and n writes. Consumes `key`."""
    check_sizes("deltaproduct", heads=heads, writes=writes)
    if hidden_size % heads:
        raise InputError(f"deltaproduct: heads must divide the hidden size {hidden_size}; got {heads}")
    sizes = [(hidden_size, 1), (hidden_size, writes), (hidden_size, writes), (heads, writes)]
    keys = jax.random.split(key, 4)
    return DeltaProductParams(
        *(packed(kernel, k, (input_size, size), n, dtype) for k, (size, n) in zip(keys, sizes, strict=True))
    )


def writes_of(params: DeltaProductParams) -> int:
    """Return n, the number of writes in a step."""
    return params.W_k.shape[-1] // params.W.shape[-1]


def initial_carry(params: DeltaProductParams, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Return the memory before the first step: zeros ``[*batch_shape, N, K, K]``, in float32 at least."""
    N = params.W_beta.shape[-1] // writes_of(params)
    K = params.W.shape[-1] // N
    return Memory(empty(params.W, batch_shape, N, K, K))


def input_terms(params: DeltaProductParams, x: Array) -> tuple[Array, ...]:
    """Return the products for q ``[B, H]``, k and v ``[B, n H]``, and beta ``[B, n N]``."""
    return tuple(x @ W for W in params)


def access(params: DeltaProductParams, wx: tuple[Array, ...], rest: Rest) -> tuple[Access, DeltaProductGates]:
    """Return a step's access to the memory, and the gates: the equations."""
    n = writes_of(params)
    N = params.W_beta.shape[-1] // n
    a_q, *others = map(widened, wx)
    a_k, a_v, a_beta = ([by_head(block, N) for block in blocks(a, n)] for a in others)
    q, k = unit(by_head(jax.nn.silu(a_q), N)), [unit(jax.nn.silu(a)) for a in a_k]
    beta = [2 * jax.nn.sigmoid(a) for a in a_beta]
    writes = tuple(Write(k, b * v, erase=b * k) for k, v, b in zip(k, a_v, beta, strict=True))
    # side by side; not by jnp.stack, an operation that `jaxseq.program` lacks
    every = (jnp.concatenate([jnp.expand_dims(a, -3) for a in part], axis=-3) for part in (k, a_v, beta))
    return Access(q, writes), DeltaProductGates(q, *every)


def out(params: DeltaProductParams, read: Array, gates: Tree, wx: Tree, rest: Rest) -> Array:
    """Return the read values, ``[B, H]``."""
    return merged(read).astype(wx[0].dtype)


deltaproduct = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, out), "deltaproduct",
    DeltaProductParams, 'Siems et al. 2025, "DeltaProduct", arXiv:2502.10297',
    linear="matrix",
)  # fmt: skip
"""The DeltaProduct as a Cell."""

"""Fast weight programmer: a slow network writes the weights of a fast one, by the delta rule, with keys above 0.

In each of N heads, with K = H / N units:

    r(a) = (relu(a), relu(0 - a))          2 K numbers, not below 0
    dpfp(a) = r(a) * roll(r(a))            each with the one before it: sparse, nearly orthogonal keys
    phi(a) = dpfp(a) / (sum(dpfp(a)) + 1e-6)
    q = phi(x W_q)                         query
    k = phi(x W_k)                         key: the fast network's input
    v = x W_v                              value: its wanted output
    beta = sigmoid(x W_beta)               rate: write, one number for each head
    error = v - k S                        of the fast network
    S' = S + beta * k^T error              fast weights, 2 K x K
    o = q S'                               output

Schmidhuber's programmer adds outer products to the fast weights; this cell with beta = 1 and v instead of the error
does the same (as Schlag shows). Since a key sums to 1, the output is an average of what was written. 1e-6 is added
since padded inputs are zero. S is the transpose of the papers'. W packs q k, ``W_v`` v beta; one head by default
(``heads=1``, a divisor of H); nu of the DPFP is 1.

Reference: Schlag, Irie & Schmidhuber 2021, "Linear transformers are secretly fast weight programmers", ICML,
arXiv:2102.11174: its delta rule, and the feature map DPFP; Schmidhuber 1992, "Learning to control fast-weight memories:
an alternative to dynamic recurrent networks", Neural Computation 4(1).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Access, Memory, MemoryEquations, Rest, Write, empty, heads, merged, read
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.notation import Array, Tree, widened


class FastWeightParams(NamedTuple):
    """``W [D, 2H]`` (q k), ``W_v [D, H + N]`` (v beta) for N heads."""

    W: Array
    W_v: Array


class FastWeightGates(NamedTuple):
    """Query and key ``[B, N, 2K]``, value and error ``[B, N, K]``, rate ``beta [B, N, 1]`` (write)."""

    q: Array
    k: Array
    v: Array
    beta: Array
    error: Array


init = init_of(FastWeightParams, W="D 2H", W_v="D H+N", sizes={"N": Size("heads", 1, divides="H")})


def shape(params: FastWeightParams) -> tuple[int, int]:
    """Return N, the number of heads, and K, the size of a key."""
    H = params.W.shape[-1] // 2
    return params.W_v.shape[-1] - H, H // (params.W_v.shape[-1] - H)


def initial_carry(params: FastWeightParams, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Return the fast weights before the first step: zeros ``[*batch_shape, N, 2K, K]``, in float32 at least."""
    N, K = shape(params)
    return Memory(empty(params.W, batch_shape, N, 2 * K, K))


def input_terms(params: FastWeightParams, x: Array) -> tuple[Array, Array]:
    """Return the products for q and k, ``[B, 2H]``, and for v and beta, ``[B, H + N]``."""
    return x @ params.W, x @ params.W_v


def features(a: Array) -> Array:
    """Return phi, ``[B, N, 2K]`` for ``a [B, N, K]``."""
    r = jnp.concatenate([jax.nn.relu(a), jax.nn.relu(-a)], axis=-1)
    products = r * jnp.concatenate([r[..., -1:], r[..., :-1]], axis=-1)
    return products / (jnp.sum(products, axis=-1, keepdims=True) + 1e-6)


def access(params: FastWeightParams, wx: tuple[Array, Array], rest: Rest) -> tuple[Access, FastWeightGates]:
    """Return a step's access to the fast weights, and the gates: the equations."""
    a, c = map(widened, wx)
    N, _ = shape(params)
    q, k = (features(heads(part, N)) for part in jnp.split(a, 2, axis=-1))
    v, beta = heads(c[..., :-N], N), jax.nn.sigmoid(c[..., -N:])[..., None]
    gates = FastWeightGates(q, k, v, beta, jnp.zeros_like(v))
    return Access(q, (Write(k, beta * v, erase=beta * k),)), gates


def with_error(gates: FastWeightGates, S: Array) -> FastWeightGates:
    """Return the gates, including the error of the fast weights before the step."""
    return gates._replace(error=gates.v - read(gates.k, S))


def out(params: FastWeightParams, read: Array, gates: Tree, wx: Tree, rest: Rest) -> Array:
    """Return the read values, ``[B, H]``."""
    return merged(read).astype(wx[0].dtype)


fast_weight = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, out, seen=with_error), "fast_weight",
    FastWeightParams, "Schlag, Irie & Schmidhuber 2021, arXiv:2102.11174; Schmidhuber 1992, Neural Computation 4(1)",
    linear="matrix",
)  # fmt: skip
"""The fast weight programmer as a Cell."""

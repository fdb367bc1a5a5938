"""Titans' neural memory in its linear form: a matrix that learns by gradient descent with momentum, and forgets.

In each of N heads, with K = H / N units:

    q = unit(silu(x W_q))                                query
    k = unit(silu(x W_k))                                key
    v = silu(x W_v)                                      value
    alpha = sigmoid(x W_alpha + b_alpha)                 forgetting (1 clears the memory), one number for each head
    eta = sigmoid(x W_eta + b_eta)                       momentum: how much of past surprise goes on
    theta = sigmoid(x W_theta + b_theta)                 step of the surprise of now: write
    error = v - k M                                      of the memory
    S' = eta * S + 2 theta * k^T error                   surprise; eq. 14
    M' = (1 - alpha) * M + S'                            memory; eq. 13
    o = q M'                                             output
    unit(a) = a / sqrt(a a^T + 1e-6)                     of length 1

``2 k^T error`` is the negative gradient of the loss ``|k M - v|^2``: with eta = 0 the cell is a delta rule that
forgets; with theta = 0 nothing is ever written. The paper's memory may be a network of several layers, whose gradient
is not linear in its weights; the matrix is the one-layer case, in which (M, S) is affine in its past. M and S are the
transposes of the paper's. The short convolutions, the norm and the gate after o, and the paper's persistent memory and
attention belong to its blocks.

W packs q k v; ``W_gates`` and b are packed in the order alpha eta theta. `init` takes ``heads=1`` (N, a divisor of H)
and ``alpha_bias=-4.0``, so each step initially forgets 2%; the other biases are 0.

Reference: Behrouz, Zhong & Mirrokni 2024, "Titans: learning to memorize at test time", arXiv:2501.00663, section 3.1,
eqs. 13 and 14; queries, keys and values as in section 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine, blocks
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Access, MemoryEquations, Rest, Write, empty, heads, merged, read, unit
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.notation import Array, Tree, widened


class TitansParams(NamedTuple):
    """``W [D, 3H]`` (q k v); ``W_gates [D, 3N]``, ``b [3N]`` (alpha eta theta) for N heads."""

    W: Array
    W_gates: Array
    b: Array


class TitansCarry(NamedTuple):
    """Memory M and surprise S, each ``[B, N, K, K]`` (key, value)."""

    M: Array
    S: Array


class TitansGates(NamedTuple):
    """Query, key, value and error, ``[B, N, K]``; alpha (1 forgets), eta (momentum), theta (write), ``[B, N, 1]``."""

    q: Array
    k: Array
    v: Array
    alpha: Array
    eta: Array
    theta: Array
    error: Array


init = init_of(
    TitansParams, added={"alpha_bias": (-4.0, "b[0]")}, W="D 3H", W_gates="D 3N", b="3N",
    sizes={"N": Size("heads", 1, divides="H")},
)  # fmt: skip


def initial_carry(params: TitansParams, batch_shape: tuple[int, ...] = ()) -> TitansCarry:
    """Return memory and surprise before the first step: zeros ``[*batch_shape, N, K, K]``, in float32 at least."""
    N = params.b.shape[0] // 3
    K = params.W.shape[-1] // 3 // N
    return TitansCarry(*(empty(params.b, batch_shape, N, K, K) for _ in range(2)))


def input_terms(params: TitansParams, x: Array) -> tuple[Array, Array]:
    """Return the products for q, k and v, ``[B, 3H]``, and the logits of the gates, ``[B, 3N]``."""
    return x @ params.W, affine(x, params.W_gates, params.b)


def access(params: TitansParams, wx: tuple[Array, Array], rest: Rest) -> tuple[Access, TitansGates]:
    """Return a step's access to memory and surprise, and the gates: the equations."""
    q, k, v = (heads(jax.nn.silu(a), params.b.shape[0] // 3) for a in blocks(widened(wx[0]), 3))
    a_alpha, a_eta, a_theta = (a[..., None] for a in blocks(widened(wx[1]), 3))
    q, k, theta = unit(q), unit(k), jax.nn.sigmoid(a_theta)
    gates = TitansGates(q, k, v, jax.nn.sigmoid(a_alpha), jax.nn.sigmoid(a_eta), theta, jnp.zeros_like(v))
    write = Write(k, 2 * theta * v, erase=2 * theta * k)
    # log(1 - sigmoid(a)) is log_sigmoid(-a), accurate where almost nothing is forgotten
    return Access(q, (write,), jax.nn.log_sigmoid(-a_alpha), momentum=jax.nn.log_sigmoid(a_eta)), gates


def with_error(gates: TitansGates, memory: tuple[Array, Array]) -> TitansGates:
    """Return the gates, including the error of the memory before the step."""
    return gates._replace(error=gates.v - read(gates.k, memory[0]))


def out(params: TitansParams, read: Array, gates: Tree, wx: Tree, rest: Rest) -> Array:
    """Return the read values, ``[B, H]``."""
    return merged(read).astype(wx[0].dtype)


def pack(carry: TitansCarry) -> tuple[Array, Array]:
    """Return the memory and its momentum."""
    return carry.M, carry.S


def unpack(memory: tuple[Array, Array], rest: Mapping[str, Array]) -> TitansCarry:
    """Return the carry."""
    return TitansCarry(*memory)


titans = Cell(
    init, initial_carry, input_terms, no_hidden_terms,
    MemoryEquations(access, out, pack=pack, unpack=unpack, seen=with_error), "titans", TitansParams,
    'Behrouz, Zhong & Mirrokni 2024, "Titans: learning to memorize at test time", arXiv:2501.00663, section 3.1',
    linear="matrix",
)  # fmt: skip
"""The linear memory of Titans as a Cell."""

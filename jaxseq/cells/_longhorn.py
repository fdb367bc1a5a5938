"""Longhorn: at every step the state solves a regression of the value on the key, while staying close to its old value.

    q = x W_q                                      query [B, K]
    k = x W_k                                      key [B, K]
    v = x W_v                                      value [B, H]
    beta = sigmoid(x W_beta)                       how much the new value counts, one number for each unit: write
    delta = beta / (1 + beta * (k k^T))            the step of the exact solution
    S' = (1 - (k^2)^T delta) * S + k^T (delta * v)     state [B, K, H]
    o = q S'                                       output

S' minimises ``|S' - S|^2 + sum_h beta_h (k S'_h - v_h)^2``, in which the matrix ``k^T k`` of the solution is
replaced by its diagonal, so each entry of the state decays separately, by a factor between 0 and 1. The decay differs
for every key feature and unit: steps are not matrix products, so the cell has no chunked form, but it has the
associative one. The short convolution, the gate, and the multiple of v that the authors' code adds to o belong to the
paper's layer, not to this cell; that code's W_beta has low rank and a bias. W packs q k, ``W_v`` v beta. S is the
transpose of the paper's. `init` takes ``state_size=16`` (K).

Reference: Liu, Wang, Wu, Feng, Stone & Liu 2024, "Longhorn: state space models are amortized online learners",
arXiv:2407.14207.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Memory, empty, outer, read
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.notation import Array, Tree, widened


class LonghornParams(NamedTuple):
    """``W [D, 2K]`` (q k), ``W_v [D, 2H]`` (v beta)."""

    W: Array
    W_v: Array


class LonghornGates(NamedTuple):
    """Query and key ``[B, K]``; value, rate beta (write) and step delta, ``[B, H]``."""

    q: Array
    k: Array
    v: Array
    beta: Array
    delta: Array


init = init_of(LonghornParams, W="D 2K", W_v="D 2H", sizes={"K": Size("state_size", 16)})


def initial_carry(params: LonghornParams, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Return the state before the first step: zeros ``[*batch_shape, K, H]``, in float32 at least."""
    return Memory(empty(params.W, batch_shape, params.W.shape[-1] // 2, params.W_v.shape[-1] // 2))


def input_terms(params: LonghornParams, x: Array) -> tuple[Array, Array]:
    """Return the products for q and k, ``[B, 2K]``, and for v and beta, ``[B, 2H]``."""
    return x @ params.W, x @ params.W_v


def equations(
    params: LonghornParams, carry: Memory, wx: tuple[Array, Array], uh: Tree
) -> tuple[Memory, Array, LonghornGates]:
    """Return ``(carry, o [B, H], gates)`` of one step: the equations."""
    (q, k), (v, a) = (jnp.split(widened(part), 2, axis=-1) for part in wx)
    beta = jax.nn.sigmoid(a)
    delta = beta / (1 + beta * jnp.sum(k * k, axis=-1, keepdims=True))
    S = (1 - outer(k * k, delta)) * carry.S + outer(k, delta * v)
    return Memory(S), read(q, S).astype(wx[0].dtype), LonghornGates(q, k, v, beta, delta)


longhorn = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "longhorn", LonghornParams,
    'Liu et al. 2024, "Longhorn: state space models are amortized online learners", arXiv:2407.14207',
    linear="elementwise",
)  # fmt: skip
"""The Longhorn as a Cell."""

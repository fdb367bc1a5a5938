"""HGRN2: a gated linear recurrence whose forget gate expands the state to a matrix without extra parameters.

In each of N heads, with K = H / N units:

    l = sigmoid(gamma)                     least that is retained
    f = l + (1 - l) * sigmoid(x W_f)       forget gate: retain, one number for each key feature
    v = silu(x W_v)                        value (the paper's i)
    q = silu(x W_q)                        output gate, as a query: show (the paper's o)
    S' = f^T * S + (1 - f)^T v             state; the key is what the gate forgets
    o = q S'                               output

The product ``(1 - f) * i`` of the HGRN is an outer product here. In the paper l is learnt jointly for all layers,
growing from 0 in the first; here each cell learns its own. The norm and the matrix after o belong to the paper's layer,
not to this cell. The activations are the defaults of the authors' code; its language models have no silu of v. W packs
f v q.

`init` takes ``heads=1`` (N, a divisor of H) and ``least=0.1``, from which gamma starts.

Reference: Qin, Yang, Sun, Shen, Li, Sun & Zhong 2024, "HGRN2: gated linear RNNs with state expansion", COLM,
arXiv:2404.07904.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks
from jaxseq.cells._init import check_range, check_sizes, checked_init
from jaxseq.cells._memory import Access, Memory, MemoryEquations, Rest, Write, empty, heads as by_head, merged
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, glorot, packed
from jaxseq.notation import Array, Key, Tree, widened


class HGRN2Params(NamedTuple):
    """``W [D, 3H]`` (f v q), ``gamma [N, K]`` for N heads."""

    W: Array
    gamma: Array


class HGRN2Gates(NamedTuple):
    """Forget gate (retain), value and query (show), each ``[B, N, K]``."""

    f: Array
    v: Array
    q: Array


@checked_init("hgrn2")
def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    heads: int = 1,
    least: float = 0.1,
) -> HGRN2Params:
    """Return parameters for D = input_size, H = hidden_size and N heads. Consumes `key`."""
    check_sizes("hgrn2", heads=heads)
    check_range("hgrn2: least", least, 0.0, 1 - 1e-6, above=True)
    if hidden_size % heads:
        raise InputError(f"hgrn2: heads must divide the hidden size {hidden_size}; got {heads}")
    gamma = jnp.full((heads, hidden_size // heads), math.log(least / (1 - least)), dtype)
    return HGRN2Params(packed(kernel, key, (input_size, hidden_size), 3, dtype), gamma)


def initial_carry(params: HGRN2Params, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Return the state before the first step: zeros ``[*batch_shape, N, K, K]``, in float32 at least."""
    N, K = params.gamma.shape
    return Memory(empty(params.W, batch_shape, N, K, K))


def input_terms(params: HGRN2Params, x: Array) -> Array:
    """Return the products for f, v and q, ``[B, 3H]``."""
    return x @ params.W


def access(params: HGRN2Params, wx: Array, rest: Rest) -> tuple[Access, HGRN2Gates]:
    """Return a step's access to the state, and the gates: the equations."""
    a_f, a_v, a_q = (by_head(a, params.gamma.shape[0]) for a in blocks(widened(wx), 3))
    least = jnp.broadcast_to(jax.nn.sigmoid(widened(params.gamma)), a_f.shape)
    f, v, q = least + (1 - least) * jax.nn.sigmoid(a_f), jax.nn.silu(a_v), jax.nn.silu(a_q)
    return Access(q, (Write(1 - f, v),), jnp.log(f)), HGRN2Gates(f, v, q)


def out(params: HGRN2Params, read: Array, gates: Tree, wx: Array, rest: Rest) -> Array:
    """Return the read values, ``[B, H]``."""
    return merged(read).astype(wx.dtype)


hgrn2 = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, out), "hgrn2", HGRN2Params,
    'Qin et al. 2024, "HGRN2: gated linear RNNs with state expansion", arXiv:2404.07904',
    linear="elementwise",
)  # fmt: skip
"""The HGRN2 as a Cell."""

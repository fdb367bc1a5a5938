"""Linear transformer: attention whose scores are products of feature maps, as a recurrence with a normaliser.

In each of N heads, with K = H / N units:

    phi(a) = max(a, 0) + exp(min(a, 0))    the feature map, elu(a) + 1: above 0
    q = phi(x W_q + b_q)                   query
    k = phi(x W_k + b_k)                   key
    v = x W_v + b_v                        value
    S' = S + k^T v                         memory; eq. 18
    z' = z + k                             normaliser; eq. 19
    o = q S' / (q z'^T)                    output; eq. 20

Over a sequence this is ``o_n = sum_(m <= n) (q_n k_m^T) v_m / sum_(m <= n) (q_n k_m^T)``, an average of the values.
Nothing is ever forgotten: both sums grow with time, and are float32 if params are bfloat16. The biases are those of the
authors' code; the residual and the network around eq. 20 belong to the paper's layer, not to this cell. The blocks of W
and b are packed in the order q k v; one head by default (``heads=1``, a divisor of H).

Reference: Katharopoulos, Vyas, Pappas & Fleuret 2020, "Transformers are RNNs: fast autoregressive transformers with
linear attention", ICML, arXiv:2006.16236, section 3.4, eqs. 16-20, with the feature map of eq. 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Access, MemoryEquations, Rest, Write, empty, heads, merged
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.notation import Array, widened


class LinearTransformerParams(NamedTuple):
    """``W [D, 3H]`` (q k v), ``b [3N, K]`` (q k v) for N heads."""

    W: Array
    b: Array


class NormalisedMemory(NamedTuple):
    """Memory ``S [B, N, K, K]`` (key, value) and the sum of all keys, ``z [B, N, K]``."""

    S: Array
    z: Array


class AttentionGates(NamedTuple):
    """Query, key and value, each ``[B, N, K]``."""

    q: Array
    k: Array
    v: Array


init = init_of(
    LinearTransformerParams, W="D 3H", b="3N K",
    sizes={"N": Size("heads", 1, divides="H"), "K": Size("heads", 1, divides="into")},
)  # fmt: skip


def initial_carry(params: LinearTransformerParams, batch_shape: tuple[int, ...] = ()) -> NormalisedMemory:
    """Return the memory before the first step: zeros, in float32 at least."""
    N, K = params.b.shape[0] // 3, params.b.shape[1]
    return NormalisedMemory(empty(params.b, batch_shape, N, K, K), empty(params.b, batch_shape, N, K))


def input_terms(params: LinearTransformerParams, x: Array) -> Array:
    """Return the affine parts, ``[B, 3H]``."""
    a = x @ params.W
    return a + jnp.broadcast_to(params.b.reshape(-1), a.shape)


def positive(a: Array) -> Array:
    """Return elu(a) + 1."""
    return jax.nn.elu(a) + 1


def access(params: LinearTransformerParams, wx: Array, rest: Rest) -> tuple[Access, AttentionGates]:
    """Return a step's access to S and z, ``[B, N, K, K + 1]``, and q, k and v: the equations."""
    q, k, v = (heads(widened(a), params.b.shape[0] // 3) for a in blocks(wx, 3))
    q, k = positive(q), positive(k)
    return Access(q, (Write(k, (v, jnp.ones_like(v[..., :1]))),)), AttentionGates(q, k, v)


def out(
    params: LinearTransformerParams, read: tuple[Array, Array], gates: AttentionGates, wx: Array, rest: Rest
) -> Array:
    """Return ``o [B, H]``: the average of the values."""
    return merged(read[0] / read[1]).astype(wx.dtype)


def pack(carry: NormalisedMemory) -> tuple[Array, Array]:
    """Return S and z as matrices that share their keys."""
    return carry.S, carry.z[..., None]


def unpack(memory: tuple[Array, Array], rest: Mapping[str, Array]) -> NormalisedMemory:
    """Return the carry."""
    return NormalisedMemory(memory[0], memory[1][..., 0])


linear_transformer = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, out, pack=pack, unpack=unpack),
    "linear_transformer", LinearTransformerParams,
    'Katharopoulos et al. 2020, "Transformers are RNNs", arXiv:2006.16236, section 3.4',
    linear="elementwise",
)  # fmt: skip
"""The linear transformer's attention as a Cell."""

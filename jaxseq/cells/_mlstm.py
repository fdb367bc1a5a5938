"""mLSTM, the xLSTM with matrix memory: it stores keys and values, queries read them, and gates see only the input.

In each of N heads, with K = H / N units, and gates that are one number for each head:

    q = x W_q + b_q                                    query; eq. 22
    k = (x W_k + b_k) / sqrt(K),  K = H / N            key; eq. 23
    v = x W_v + b_v                                    value; eq. 24
    log_i = x W_i + b_i                                input gate: write, not bounded; eq. 25
    log_f = log(sigmoid(x W_f + b_f))                  forget gate: retain; eq. 26, the first form
    o = sigmoid(x W_o + b_o)                           output gate, H units: show; eq. 27
    m' = max(log_f + m, log_i)                         stabiliser; eq. 15
    i = exp(log_i - m')                                eq. 16
    f = exp(log_f + m - m')                            eq. 17
    C' = f * C + i * k^T v                             memory; eq. 19
    n' = f * n + i * k                                 normaliser; eq. 20
    h = o * (q C') / max(|q n'^T|, exp(-m'))           eq. 21

Vectors are rows here, columns in the paper, and C is the transpose of the paper's. C and n are stored divided by
exp(m), as in the sLSTM. Without m, i would be exp(log_i), f exp(log_f) and the divisor max(|q n'^T|, 1): only the range
of the numbers differs. h is an output and not part of the carry. Without m, C and n would be affine in their past; with
it they are not. The blocks of W are packed in the order q k v o, those of ``W_if`` are i f; one head by default
(``heads=1``, a divisor of H). As in the authors' code, the root also divides b_k, unlike in eq. 23, and `init` adds
``forget_bias=3.0`` to the forget gates' biases (there 3 to 6 over the heads).

Reference: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter 2024, "xLSTM: extended
long short-term memory", NeurIPS, arXiv:2405.04517, section 2.3, eqs. 19-27.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine, blocks, zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Access, Larger, MemoryEquations, Rest, Write, heads, merged
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.notation import Array, Tree


class MLSTMParams(NamedTuple):
    """``W [D, 4H]``, ``b [4H]`` (q k v o); ``W_if [D, 2N]``, ``b_if [2N]`` (i f) for N heads."""

    W: Array
    b: Array
    W_if: Array
    b_if: Array


class MLSTMCarry(NamedTuple):
    """Memory ``C [B, N, K, K]`` (key, value) and normaliser ``n [B, N, K]``, divided by exp(m); ``m [B, N]``."""

    C: Array
    n: Array
    m: Array


class MLSTMGates(NamedTuple):
    """Input (write) and forget gate (retain), stabilised, and their logs, ``[B, N]``; o ``[B, H]``; q k v."""

    i: Array
    f: Array
    o: Array
    q: Array
    k: Array
    v: Array
    log_f: Array
    log_i: Array


init = init_of(
    MLSTMParams, added={"forget_bias": (3.0, "b_if[1]")}, sizes={"N": Size("heads", 1, divides="H")},
    W="D 4H", W_if="D 2N", b="4H", b_if="2N",
)  # fmt: skip


def initial_carry(params: MLSTMParams, batch_shape: tuple[int, ...] = ()) -> MLSTMCarry:
    """Return an empty memory ``[*batch_shape, N, K, K]``, its normaliser and stabiliser: zeros."""
    N = params.b_if.shape[0] // 2
    K = params.b.shape[0] // 4 // N
    C, n = (zeros_for(params.b, (*batch_shape, N, *more), K) for more in ((K,), ()))
    return MLSTMCarry(C, n, zeros_for(params.b, batch_shape, N))


def input_terms(params: MLSTMParams, x: Array) -> tuple[Array, Array]:
    """Return the affine parts, q k v o ``[B, 4H]`` and i f ``[B, 2N]``."""
    return affine(x, params.W, params.b), affine(x, params.W_if, params.b_if)


def stabiliser(a_if: Array) -> dict[str, Larger]:
    """Return the stabiliser's update, given the gates' logits ``[B, 2N]``."""
    log_i, a_f = blocks(a_if, 2)
    return {"m": Larger(jax.nn.log_sigmoid(a_f), log_i)}


def stored(qkv: Sequence[Array], a_if: Array, rest: Rest) -> tuple[Access, dict[str, Array]]:
    """Return a step's access to C and n ``[B, N, K, K + 1]``, and its gates by name: the equations.

    Args:
      qkv: query, key before its root, and value, each ``[B, H]``.
      a_if: the gates' logits, ``[B, 2N]``.
      rest: the stabiliser.
    """
    log_i, a_f = blocks(a_if, 2)
    q, k, v = (heads(a, log_i.shape[-1]) for a in qkv)
    k = k / math.sqrt(k.shape[-1])
    log_f = jax.nn.log_sigmoid(a_f)
    stable = log_f + rest.old["m"] - rest.new["m"]
    i, f = jnp.exp(log_i - rest.new["m"]), jnp.exp(stable)
    write = Write(i[..., None] * k, (v, jnp.ones_like(v[..., :1])))
    return Access(q, (write,), stable[..., None]), {
        "i": i, "f": f, "q": q, "k": k, "v": v, "log_f": log_f, "log_i": log_i
    }  # fmt: skip


def retrieved(read: tuple[Array, Array], rest: Rest) -> Array:
    """Return the read values divided by the normaliser, ``[B, N, K]``."""
    return read[0] / jnp.maximum(jnp.abs(read[1]), jnp.exp(-rest.new["m"])[..., None])


def rest(params: MLSTMParams, wx: Tree) -> dict[str, Larger]:
    """Return the update of m."""
    return stabiliser(wx[1])


def access(params: MLSTMParams, wx: Tree, rest: Rest) -> tuple[Access, MLSTMGates]:
    """Return a step's access to C and n, and the gates."""
    *qkv, a_o = blocks(wx[0], 4)
    access, gates = stored(qkv, wx[1], rest)
    return access, MLSTMGates(o=jax.nn.sigmoid(a_o), **gates)


def out(params: MLSTMParams, read: tuple[Array, Array], gates: MLSTMGates, wx: Tree, rest: Rest) -> Array:
    """Return ``h [B, H]``: the retrieved values times the output gate."""
    return gates.o * merged(retrieved(read, rest))


def pack(carry: MLSTMCarry) -> tuple[Array, Array]:
    """Return C and n as matrices that share their keys."""
    return carry.C, carry.n[..., None]


def unpack(memory: tuple[Array, Array], rest: Mapping[str, Array]) -> MLSTMCarry:
    """Return the carry."""
    return MLSTMCarry(memory[0], memory[1][..., 0], rest["m"])


mlstm = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, out, rest, pack, unpack),
    "mlstm", MLSTMParams,
    'Beck et al. 2024, "xLSTM: extended long short-term memory", arXiv:2405.04517, eqs. 19-27',
)  # fmt: skip
"""The mLSTM as a Cell."""

"""RWKV-7 time mixing ("Goose"): a generalised delta rule, whose removal, writing and decay are vectors.

Each of r, w, k, v, a and g is computed from a mix of this input and the last one, x-. In each of N heads, with K = H /
N units:

    x_r = x + (x- - x) * mu_r                                    of the receptance
    x_w = x + (x- - x) * mu_w                                    of the decay
    x_k = x + (x- - x) * mu_k                                    of the key
    x_v = x + (x- - x) * mu_v                                    of the value
    x_a = x + (x- - x) * mu_a                                    of the rate
    x_g = x + (x- - x) * mu_g                                    of the output gate
    r = x_r W_r                                                  receptance: query
    k = x_k W_k                                                  key
    v = x_v W_v                                                  value
    w = exp(-exp(-0.5) * sigmoid(lambda_w + tanh(x_w A_w) B_w))  gate: retain, from 0.545 to 1
    a = sigmoid(lambda_a + x_a A_a B_a)                          in-context learning rate: write
    g = sigmoid(x_g A_g) B_g                                     output gate: show
    e = unit(k * xi)                                             removal key
    c = k * (1 + (a - 1) * alpha)                                replacement key
    S' = w^T * S - (a * e)^T (e S) + c^T v                       memory
    o = g * (norm(r S') + sum(r * u * c) * v)                    output
    unit(y) = y / sqrt(y y^T + 1e-6)                             of length 1
    norm(y) = (y - mean(y)) / sqrt(var(y) + 0.00064) * s + b     head by head

S is the transpose of the paper's. The W_o that follows, and the first layer's value, which higher layers reuse, belong
to the paper's layers. The blocks of W are packed in the order r k v, of mu r w k v a g, of lambda w a, of A and B w a
g. The carry holds S and the last input, zeros before the first step.

`init` takes ``heads=1`` (N, a divisor of H) and ``rank=32`` (R) of the products A B. xi starts at 0.85 and alpha at 1;
lambda_w grows from -6 to -1 over the units, and mu is uniform from 0 to 1. The authors' code varies all of them
slightly over units and layers; its xi is about 0.71.

Reference: Peng, Zhang, Goldstein, Alcaide, Du, Hou, Lin, Liu et al. 2025, "RWKV-7 Goose with expressive dynamic state
evolution", COLM, arXiv:2503.14456: its time mixing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Access, MemoryEquations, Rest, Write, heads, merged, unit
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.cells._rwkv6 import (
    decay_speeds,
    initial_carry,
    last_input,
    mixed_with_last,
    normalised,
    pack,
    the_input,
    unpack,
)
from jaxseq.initializers import constant, uniform
from jaxseq.notation import Array, Key, widened


class RWKV7Params(NamedTuple):
    """The weights; R is a rank.

    Fields: ``W [D, 3H]`` (r k v), ``mu [6D]`` (r w k v a g), ``lambda_ [2H]`` (w a), ``A [D, 3R]`` (w a g),
    ``B [R, 3H]`` (w a g); ``xi [H]``, ``alpha [H]``, ``u [N, K]``, ``s [H]``, ``b [H]``.
    """

    W: Array
    mu: Array
    lambda_: Array
    A: Array
    B: Array
    xi: Array
    alpha: Array
    u: Array
    s: Array
    b: Array


class RWKV7Gates(NamedTuple):
    """Receptance, key, value, decay w (retain), rate a (write), keys e and c, ``[B, N, K]``; g ``[B, H]`` (show)."""

    r: Array
    k: Array
    v: Array
    w: Array
    a: Array
    e: Array
    c: Array
    g: Array


def rates(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the initial decay logits, and zeros for the rate. `key` is not used."""
    return jnp.concatenate([decay_speeds(key, (shape[0] // 2,), dtype), jnp.zeros((shape[0] // 2,), dtype)])


init = init_of(
    RWKV7Params, W="D 3H", mu=("6D", uniform(1.0, low=0.0)), lambda_=("2H", rates), A=("D 3R", uniform(1e-2)),
    B=("R 3H", uniform(1e-1)), xi=("H", constant(0.85)), alpha=("H", constant(1.0)), u=("N K", uniform(0.1)),
    s=("H", constant(1.0)), b="H",
    sizes={"N": Size("heads", 1, divides="H"), "K": Size("heads", 1, divides="into"), "R": Size("rank", 32)},
)  # fmt: skip


def access(params: RWKV7Params, wx: Array, rest: Rest) -> tuple[Access, RWKV7Gates]:
    """Return a step's access to the memory, and the gates: the equations."""
    x_r, x_w, x_k, x_v, x_a, x_g = (mixed_with_last(wx, rest.old["x"], share) for share in blocks(params.mu, 6))
    r, k, v = (mix @ W for mix, W in zip((x_r, x_k, x_v), blocks(params.W, 3), strict=True))
    low_w, low_a, low_g = (mix @ A for mix, A in zip((x_w, x_a, x_g), blocks(params.A, 3), strict=True))
    B_w, B_a, B_g = blocks(params.B, 3)
    a_w, a_a, g = jnp.tanh(low_w) @ B_w, low_a @ B_a, jax.nn.sigmoid(low_g) @ B_g
    lambda_w, lambda_a, xi, alpha = (
        jnp.broadcast_to(a, k.shape) for a in (*blocks(params.lambda_, 2), params.xi, params.alpha)
    )
    a = jax.nn.sigmoid(lambda_a + a_a)
    e, c, log_w = k * xi, k * (1 + (a - 1) * alpha), -math.exp(-0.5) * jax.nn.sigmoid(widened(lambda_w + a_w))
    r, k, v, a, e, c, log_w = (heads(widened(b), params.u.shape[0]) for b in (r, k, v, a, e, c, log_w))
    e, w = unit(e), jnp.exp(log_w)
    # the memory is read for removal before it decays: after it, by a key that is divided by w, which is never below 0.5
    writes = (Write(a * e, None, erase=e / w), Write(c, v))
    return Access(r, writes, log_w), RWKV7Gates(r, k, v, w, a, e, c, g)


def out(params: RWKV7Params, read: Array, gates: RWKV7Gates, wx: Array, rest: Rest) -> Array:
    """Return ``o [B, H]``: the normalised read values plus the new value's bonus, gated."""
    bonus = jnp.sum(gates.r * jnp.broadcast_to(widened(params.u), gates.c.shape) * gates.c, axis=-1, keepdims=True)
    p = normalised(read, widened(params.s), widened(params.b)) + merged(bonus * gates.v)
    return gates.g * p.astype(wx.dtype)


rwkv7 = Cell(
    init, initial_carry, the_input, no_hidden_terms, MemoryEquations(access, out, last_input, pack, unpack), "rwkv7",
    RWKV7Params,
    'Peng et al. 2025, "RWKV-7 Goose with expressive dynamic state evolution", arXiv:2503.14456, time mixing',
)  # fmt: skip
"""The time mixing of RWKV-7 as a Cell."""

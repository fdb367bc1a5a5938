"""RWKV-6 time mixing ("Finch"): a memory whose key features decay as the input determines, read before it is written.

Each of r, k, v, g and w is computed from a mix of this input and the last one, x-, in shares that depend on both. In
each of N heads, with K = H / N units:

    m = x + (x- - x) * mu                                        of the shares themselves
    x_r = x + (x- - x) * (lambda_r + tanh(m A_r) B_r)            of the receptance
    x_k = x + (x- - x) * (lambda_k + tanh(m A_k) B_k)            of the key
    x_v = x + (x- - x) * (lambda_v + tanh(m A_v) B_v)            of the value
    x_g = x + (x- - x) * (lambda_g + tanh(m A_g) B_g)            of the output gate
    x_w = x + (x- - x) * (lambda_w + tanh(m A_w) B_w)            of the decay
    r = x_r W_r                                                  receptance: query
    k = x_k W_k                                                  key
    v = x_v W_v                                                  value
    g = silu(x_g W_g)                                            output gate: show
    w = exp(-exp(lambda_d + tanh(x_w A_d) B_d))                  gate: retain, one number for each key feature
    p = r S + sum(r * u * k) * v                                 what is read, and the new value with a bonus
    S' = w^T * S + k^T v                                         memory
    o = g * norm(p)                                              output
    norm(a) = (a - mean(a)) / sqrt(var(a) + 0.00064) * s + b     head by head

The W_o that follows belongs to the paper's layer. The blocks of lambda, A and B are packed in the order r k v g w,
those of W in the order r k v g. The carry holds S and the last input, zeros before the first step.

`init` takes ``heads=1`` (N, a divisor of H) and the ranks of the products, ``rank=32`` for the shares (R) and
``decay_rank=64`` (M). As in the authors' code, the shares initially hardly depend on the inputs; here they are uniform
from 0 to 1. lambda_d grows from -6 to -1 over the units, which thus forget at different rates.

Reference: Peng, Goldstein, Anthony, Albalak, Alcaide, Biderman, Cheah, Du et al. 2024, "Eagle and Finch: RWKV with
matrix-valued states and dynamic recurrence", COLM, arXiv:2404.05892, section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks, zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Access, Latest, MemoryEquations, Rest, Write, empty, heads, merged
from jaxseq.cells._parts import no_hidden_terms, standardised
from jaxseq.initializers import constant, uniform
from jaxseq.notation import Array, Key, widened


class RWKV6Params(NamedTuple):
    """The weights; R and M are ranks.

    Fields: ``W [D, 4H]`` (r k v g), ``mu [D]``, ``lambda_ [5D]`` (r k v g w), ``A [D, 5R]`` (r k v g w), ``B [R, 5D]``
    (r k v g w); ``lambda_d [H]``, ``A_d [D, M]``, ``B_d [M, H]``; ``u [N, K]``, ``s [H]``, ``b [H]``.
    """

    W: Array
    mu: Array
    lambda_: Array
    A: Array
    B: Array
    lambda_d: Array
    A_d: Array
    B_d: Array
    u: Array
    s: Array
    b: Array


class RWKVCarry(NamedTuple):
    """Memory ``S [B, N, K, K]`` (key, value) and the input of the last step, ``x [B, D]``."""

    S: Array
    x: Array


class RWKV6Gates(NamedTuple):
    """Receptance, key, value and decay w (retain), ``[B, N, K]``; output gate g ``[B, H]``."""

    r: Array
    k: Array
    v: Array
    w: Array
    g: Array


def decay_speeds(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return numbers that grow from -6 to -1, as in the authors' code. `key` is not used."""
    share = jnp.arange(shape[0], dtype=jnp.float32) / max(1, shape[0] - 1)
    return (-6 + 5 * share**0.7).astype(dtype)


_SMALL, _SHARE = uniform(1e-4), uniform(1.0, low=0.0)

init = init_of(
    RWKV6Params, W="D 4H", mu=("D", _SHARE), lambda_=("5D", _SHARE), A=("D 5R", _SMALL), B=("R 5D", _SMALL),
    lambda_d=("H", decay_speeds), A_d=("D M", _SMALL), B_d=("M H", _SMALL), u=("N K", uniform(0.5)),
    s=("H", constant(1.0)), b="H",
    sizes={"N": Size("heads", 1, divides="H"), "K": Size("heads", 1, divides="into"),
           "R": Size("rank", 32), "M": Size("decay_rank", 64)},
)  # fmt: skip


def initial_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> RWKVCarry:
    """Return an empty memory ``[*batch_shape, N, K, K]``, in float32 at least, and a last input of zeros."""
    N, K = params.u.shape
    return RWKVCarry(empty(params.W, batch_shape, N, K, K), zeros_for(params.W, batch_shape, params.W.shape[0]))


def the_input(params: Any, x: Array) -> Array:
    """Return x unchanged: every product needs a mix of it and the last input."""
    return x


def last_input(params: Any, wx: Array) -> dict[str, Latest]:
    """Return the update of the last input."""
    return {"x": Latest(wx)}


def mixed_with_last(x: Array, last: Array, share: Array) -> Array:
    """Return a mix of two inputs; a share of 0 gives x."""
    return x + (last - x) * jnp.broadcast_to(share, x.shape)


def normalised(a: Array, scale: Array, shift: Array) -> Array:
    """Return ``a [B, N, K]`` as ``[B, H]``, head by head with mean 0 and variance 1, scaled and shifted."""
    a = merged(standardised(a, 6.4e-4))
    return a * jnp.broadcast_to(scale, a.shape) + jnp.broadcast_to(shift, a.shape)


def access(params: RWKV6Params, wx: Array, rest: Rest) -> tuple[Access, RWKV6Gates]:
    """Return a step's access to the memory, and the gates: the equations."""
    x, last, N = wx, rest.old["x"], params.u.shape[0]
    low = blocks(jnp.tanh(mixed_with_last(x, last, params.mu) @ params.A), 5)
    ups = zip(blocks(params.lambda_, 5), low, blocks(params.B, 5), strict=True)
    shares = [(a := y @ up) + jnp.broadcast_to(lam, a.shape) for lam, y, up in ups]
    *mixes, x_w = (mixed_with_last(x, last, share) for share in shares)
    r, k, v, a_g = (mix @ W for mix, W in zip(mixes, blocks(params.W, 4), strict=True))
    d = jnp.tanh(x_w @ params.A_d) @ params.B_d
    log_w = -jnp.exp(heads(widened(d + jnp.broadcast_to(params.lambda_d, d.shape)), N))
    r, k, v = (heads(widened(a), N) for a in (r, k, v))
    return Access(r, (Write(k, v),), log_w), RWKV6Gates(r, k, v, jnp.exp(log_w), jax.nn.silu(a_g))


def out(params: RWKV6Params, read: Array, gates: RWKV6Gates, wx: Array, rest: Rest) -> Array:
    """Return ``o [B, H]``: the read values and the new value's bonus, normalised and gated."""
    bonus = jnp.sum(gates.r * jnp.broadcast_to(widened(params.u), gates.k.shape) * gates.k, axis=-1, keepdims=True)
    p = normalised(read + bonus * gates.v, widened(params.s), widened(params.b))
    return gates.g * p.astype(wx.dtype)


def pack(carry: RWKVCarry) -> Array:
    """Return the memory."""
    return carry.S


def unpack(S: Array, rest: Mapping[str, Array]) -> RWKVCarry:
    """Return the carry."""
    return RWKVCarry(S, rest["x"])


rwkv6 = Cell(
    init, initial_carry, the_input, no_hidden_terms,
    MemoryEquations(access, out, last_input, pack, unpack, early=True), "rwkv6", RWKV6Params,
    'Peng et al. 2024, "Eagle and Finch: RWKV with matrix-valued states", arXiv:2404.05892, section 4.2',
)  # fmt: skip
"""The time mixing of RWKV-6 as a Cell."""

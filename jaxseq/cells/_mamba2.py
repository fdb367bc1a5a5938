"""Mamba-2's state space (SSD): each head's memory decays at a single rate, which the input controls by its step size.

In each of N heads, with P = H / N units; keys and queries of K features are shared by all heads:

    v = x W_v                                  input of the state space (the paper's x)
    k = x W_k                                  key (the paper's B)
    q = x W_q                                  query (the paper's C)
    delta = softplus(x W_delta + b)            step size, one number for each head
    a = exp(-exp(log_rate) * delta)            retain
    S' = a * S + delta * k^T v                 state
    o = q S' + d * v                           output

Over a sequence this is ``o_n = sum_(m <= n) (q_n k_m^T) a_n ... a_(m+1) delta_m v_m + d v_n``: attention without a
softmax, with a mask of decays. The short convolution and the activation before v, k and q, and the gate and the norm
after o belong to the paper's layer, not to this cell. The blocks of W are packed in the order v delta, those of
``W_kq`` k q.

`init` takes ``heads=1`` (N, a divisor of H) and ``state_size`` (K, H by default). As in the authors' code the rate
starts uniform from 1 to 16, the step size for x = 0 log-uniform from 0.001 to 0.1, and d at 1.

Reference: Dao & Gu 2024, "Transformers are SSMs: generalized models and efficient algorithms through structured state
space duality", ICML, arXiv:2405.21060: its state space with one decay for each head (SSD).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Access, Memory, MemoryEquations, Rest, Write, empty, heads, merged
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import constant
from jaxseq.notation import Array, Key, Tree, widened


class Mamba2Params(NamedTuple):
    """``W [D, H + N]`` (v delta), ``W_kq [D, 2K]`` (k q); ``b [N]``, ``log_rate [N]``, ``d [N]`` for N heads."""

    W: Array
    W_kq: Array
    b: Array
    log_rate: Array
    d: Array


class Mamba2Gates(NamedTuple):
    """Query and key ``[B, K]``, value ``v [B, N, P]``, step size delta and retention a, ``[B, N]``."""

    q: Array
    k: Array
    v: Array
    delta: Array
    a: Array


def log_rates(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw logarithms of uniform numbers from 1 to 16."""
    return jnp.log(jax.random.uniform(key, shape, jnp.float32, 1.0, 16.0)).astype(dtype)


def step_biases(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw numbers whose softplus is log-uniform from 0.001 to 0.1."""
    step = jnp.exp(jax.random.uniform(key, shape, jnp.float32, math.log(1e-3), math.log(0.1)))
    return jnp.log(jnp.expm1(step)).astype(dtype)


init = init_of(
    Mamba2Params, W="D H+N", W_kq="D 2K", b=("N", step_biases), log_rate=("N", log_rates), d=("N", constant(1.0)),
    sizes={"N": Size("heads", 1, divides="H"), "K": Size("state_size")},
)  # fmt: skip


def initial_carry(params: Mamba2Params, batch_shape: tuple[int, ...] = ()) -> Memory:
    """Return the state before the first step: zeros ``[*batch_shape, N, K, P]``, in float32 at least."""
    N, K = params.b.shape[0], params.W_kq.shape[-1] // 2
    return Memory(empty(params.b, batch_shape, N, K, (params.W.shape[-1] - N) // N))


def input_terms(params: Mamba2Params, x: Array) -> tuple[Array, Array]:
    """Return the products for v and delta, ``[B, H + N]``, and for k and q, ``[B, 2K]``."""
    return x @ params.W, x @ params.W_kq


def access(params: Mamba2Params, wx: tuple[Array, Array], rest: Rest) -> tuple[Access, Mamba2Gates]:
    """Return a step's access to the state, and the gates: the equations."""
    a, kq = map(widened, wx)
    N = params.b.shape[0]
    v, (k, q) = heads(a[..., :-N], N), jnp.split(kq, 2, axis=-1)
    delta = jax.nn.softplus(a[..., -N:] + jnp.broadcast_to(widened(params.b), a[..., -N:].shape))
    log_a = -jnp.broadcast_to(jnp.exp(widened(params.log_rate)), delta.shape) * delta
    shared = [jnp.broadcast_to(one[..., None, :], (*v.shape[:-1], one.shape[-1])) for one in (q, k)]
    write = Write(shared[1], delta[..., None] * v)
    return Access(shared[0], (write,), log_a[..., None]), Mamba2Gates(q, k, v, delta, jnp.exp(log_a))


def out(params: Mamba2Params, read: Array, gates: Mamba2Gates, wx: Tree, rest: Rest) -> Array:
    """Return the read values plus the skipped input, ``[B, H]``."""
    past = jnp.broadcast_to(widened(params.d)[:, None], gates.v.shape) * gates.v
    return merged(read + past).astype(wx[0].dtype)


mamba2 = Cell(
    init, initial_carry, input_terms, no_hidden_terms, MemoryEquations(access, out), "mamba2", Mamba2Params,
    'Dao & Gu 2024, "Transformers are SSMs", arXiv:2405.21060',
    linear="elementwise",
)  # fmt: skip
"""Mamba-2's state space as a Cell."""

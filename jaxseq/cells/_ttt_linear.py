"""TTT-Linear: the state is the weights of a linear model, which each step trains on its own loss.

In each of N heads, with K = H / N units:

    q = x W_q                                                    query: what the model is asked
    k = x W_k                                                    key: what the model is given
    v = x W_v                                                    value: what it should have answered
    eta = sigmoid(x W_eta + b_eta) / K,  K = H / N               rate: write, one number for each head
    y~ = k S + c                                                 the model
    n = norm(y~)
    error = k + g * n + b - v                                    of its answer
    e = g * error
    slope = (e - mean(e) - n * mean(n * e)) / sqrt(var(y~) + 1e-6)    of half the squared error, by y~
    S' = S - eta * k^T slope                                     weights, after a step of gradient descent
    c' = c - eta * slope                                         biases
    o = q + g * norm(q S' + c') + b                              output
    norm(a) = (a - mean(a)) / sqrt(var(a) + 1e-6)

The model is ``f(a) = a + g * norm(a S + c) + b`` with the loss ``|f(k) - v|^2 / 2``, of which steps train only S and c,
starting from the parameters ``S_0`` and ``c_0``, the carry before the first step. With mini-batches of 1, as here, each
gradient is taken at the latest weights; since norm is not linear, the new weights are not affine in the old ones, so
the cell has neither an associative nor a chunked form. The authors' mini-batches of 16 tokens, whose gradients are all
taken at the weights before the first token, are a different recurrence, with rotary positions within a batch. The gate,
the norm after o and the short convolutions belong to the paper's layer, not to this cell.

W packs q k v. `init` takes ``heads=1`` (N, a divisor of H); S_0 is drawn with standard deviation 0.02, g is 1, and the
biases are 0. With bfloat16 params the state is float32.

Reference: Sun, Li, Dalal, Xu et al. 2024, "Learning to (learn at test time): RNNs with expressive hidden states",
arXiv:2407.04620, eqs. 4 and 5, section 2.7.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import empty, heads, merged, outer, read
from jaxseq.cells._parts import no_hidden_terms, standardised
from jaxseq.initializers import constant
from jaxseq.notation import Array, Key, Tree, widened

EPSILON = 1e-6
"""Added to variances."""


class TTTLinearParams(NamedTuple):
    """``W [D, 3H]`` (q k v); ``W_eta [D, N]``, ``b_eta [N]``; ``g, b, c_0 [N, K]``, ``S_0 [N, K, K]`` for N heads."""

    W: Array
    W_eta: Array
    b_eta: Array
    g: Array
    b: Array
    S_0: Array
    c_0: Array


class TTTLinearCarry(NamedTuple):
    """Weights ``S [B, N, K, K]`` and biases ``c [B, N, K]`` of the model."""

    S: Array
    c: Array


class TTTLinearGates(NamedTuple):
    """Query, key, value, error and slope, ``[B, N, K]``; rate eta (write) ``[B, N, 1]``."""

    q: Array
    k: Array
    v: Array
    eta: Array
    error: Array
    slope: Array


def small(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw from a normal with standard deviation 0.02. Consumes `key`."""
    return 0.02 * jax.random.normal(key, shape, dtype)


init = init_of(
    TTTLinearParams, W="D 3H", W_eta="D N", b_eta="N", g=("N K", constant(1.0)), b="N K", S_0=("N K K", small),
    c_0=("N K", constant(0.0)),
    sizes={"N": Size("heads", 1, divides="H"), "K": Size("heads", 1, divides="into")},
)  # fmt: skip


def initial_carry(params: TTTLinearParams, batch_shape: tuple[int, ...] = ()) -> TTTLinearCarry:
    """Return ``S_0 [*batch_shape, N, K, K]`` and ``c_0 [*batch_shape, N, K]``, in float32 at least."""
    # added to zeros: separate buffers, which can be donated
    starts = (empty(a, batch_shape, *a.shape) for a in (params.S_0, params.c_0))
    pairs = zip(starts, (params.S_0, params.c_0), strict=True)
    return TTTLinearCarry(*(zero + jnp.broadcast_to(widened(a), zero.shape) for zero, a in pairs))


def input_terms(params: TTTLinearParams, x: Array) -> tuple[Array, Array]:
    """Return the products for q, k and v, ``[B, 3H]``, and the logits of eta, ``[B, N]``."""
    a = x @ params.W_eta
    return x @ params.W, a + jnp.broadcast_to(params.b_eta, a.shape)


def equations(
    params: TTTLinearParams, carry: TTTLinearCarry, wx: tuple[Array, Array], uh: Tree
) -> tuple[TTTLinearCarry, Array, TTTLinearGates]:
    """Return ``(carry, o [B, H], gates)`` of one step: the equations."""
    N, K = params.g.shape
    q, k, v = (heads(widened(a), N) for a in jnp.split(wx[0], 3, axis=-1))
    g, b = (jnp.broadcast_to(widened(a), k.shape) for a in (params.g, params.b))
    eta = jax.nn.sigmoid(widened(wx[1]))[..., None] / K
    y = read(k, carry.S) + carry.c
    n = standardised(y, EPSILON)
    error = k + g * n + b - v
    slope = standardised_slope(y, n, g * error)
    S, c = carry.S - outer(eta * k, slope), carry.c - eta * slope
    o = q + g * standardised(read(q, S) + c, EPSILON) + b
    return TTTLinearCarry(S, c), merged(o).astype(wx[0].dtype), TTTLinearGates(q, k, v, eta, error, slope)


def standardised_slope(y: Array, n: Array, e: Array) -> Array:
    """Return the gradient of a loss in y, given ``n = standardised(y)`` and the gradient e in n."""
    centred = e - jnp.mean(e, axis=-1, keepdims=True) - n * jnp.mean(n * e, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.var(y, axis=-1, keepdims=True) + EPSILON)


ttt_linear = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "ttt_linear", TTTLinearParams,
    'Sun et al. 2024, "Learning to (learn at test time)", arXiv:2407.04620, section 2.7',
)  # fmt: skip
"""TTT-Linear as a Cell."""

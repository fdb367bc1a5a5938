"""RWKV-4's time mixing: an average of all past values whose weights decay with time, unit by unit, as a recurrence.

    r = (mu_r * x + (1 - mu_r) * x-) W_r                 receptance; x- is the input of the step before
    k = (mu_k * x + (1 - mu_k) * x-) W_k                 key: the logarithm of how much is written
    v = (mu_v * x + (1 - mu_v) * x-) W_v                 value
    w = exp(log_w)                                       decay of a weight in one step
    q = max(p, u + k)                                    the larger exponent
    now = exp(u + k - q)                                 weight of this step
    wkv = (exp(p - q) * a + now * v) / (exp(p - q) * b + now)
    p' = max(p - w, k)                                   the larger exponent, after a step of decay
    f = exp(p - w - p')                                  retain
    i = exp(k - p')                                      write
    a' = f * a + i * v                                   weighted sum of values
    b' = f * b + i                                       sum of weights
    h = sigmoid(r) * wkv                                 output

wkv is a weighted average of all values so far: the value of s steps ago has the weight ``exp(k - (s - 1) w)``, this
step's ``exp(u + k)``. a and b are stored divided by exp(p), so no exponential overflows; without it they would be
affine in their past. Before anything is stored, b = 0 and p is undefined: then q = u + k and p' = k. The output matrix
W_o, the layer norms and the channel mixing of the paper's block are not part of the cell.

``W [D, 3H]`` and ``mu [3D]`` are packed in the order r k v. The carry holds x-, zeros before the first step as in the
paper; a masked step leaves it unchanged. `init` draws mu between 0 and 1, log_w between -5 and 3, and starts at u =
log(0.3); the authors' code is similar, but spreads mu and log_w evenly over units and layers.

With bfloat16 params a, b and p are float32.

Reference: Peng, Alcaide, Anthony et al. 2023, "RWKV: reinventing RNNs for the transformer era", arXiv:2305.13048,
sections 3.1.1 to 3.1.3 (time mixing, eqs. 11-13, 16, 17) and appendix D (the recurrent form, which does not overflow).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import Cell, blocks, wide_zeros_for, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.initializers import constant, uniform
from jaxseq.notation import Array, widened


class RWKV4Params(NamedTuple):
    """``W [D, 3H]``, ``mu [3D]``, blocks in the order r k v; ``log_w [H]``, ``u [H]``."""

    W: Array
    mu: Array
    log_w: Array
    u: Array


class RWKV4Carry(NamedTuple):
    """Sums of values and of weights, ``a, b [B, H]``, divided by exp(p); ``p [B, H]``; the last input ``x [B, D]``."""

    a: Array
    b: Array
    p: Array
    x: Array


class RWKV4Gates(NamedTuple):
    """Receptance, key, value, retain, write, and the average, each ``[B, H]``."""

    r: Array
    k: Array
    v: Array
    f: Array
    i: Array
    wkv: Array


init = init_of(
    RWKV4Params, W="D 3H", mu=("3D", uniform(1.0, 0.0)), log_w=("H", uniform(3.0, -5.0)),
    u=("H", constant(float(np.log(0.3)))),
)  # fmt: skip


def initial_carry(params: RWKV4Params, batch_shape: tuple[int, ...] = ()) -> RWKV4Carry:
    """Return zeros: a, b and p ``[*batch_shape, H]``, in float32 at least, and x ``[*batch_shape, D]``."""
    a, b, p = (wide_zeros_for(params.u, batch_shape, params.u.shape[0]) for _ in range(3))
    return RWKV4Carry(a, b, p, zeros_for(params.u, batch_shape, params.W.shape[0]))


def _mixed(params: RWKV4Params, x: Array, mu: Array) -> Array:
    """Return ``(mu * x) W`` for the three mixtures of mu ``[3D]``, side by side ``[B, 3H]``."""
    pairs = zip(blocks(mu, 3), blocks(params.W, 3), strict=True)
    return jnp.concatenate([(jnp.broadcast_to(part, x.shape) * x) @ W for part, W in pairs], axis=-1)


def input_terms(params: RWKV4Params, x: Array) -> tuple[Array, Array]:
    """Return this step's part of r k v, ``[B, 3H]``, and x, which the next step needs."""
    return _mixed(params, x, params.mu), x


def hidden_terms(params: RWKV4Params, carry: RWKV4Carry) -> Array:
    """Return the last input's part of r k v, ``[B, 3H]``."""
    return _mixed(params, carry.x, 1 - params.mu)


def equations(
    params: RWKV4Params, carry: RWKV4Carry, wx: tuple[Array, Array], uh: Array
) -> tuple[RWKV4Carry, Array, RWKV4Gates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    r, k, v = jnp.split(widened(wx[0] + uh), 3, axis=-1)
    u, w = (jnp.broadcast_to(a, k.shape) for a in (widened(params.u), jnp.exp(widened(params.log_w))))
    empty = carry.b == 0  # nothing is stored yet: p is undefined
    q = jnp.where(empty, u + k, jnp.maximum(carry.p, u + k))
    past, now = jnp.exp(jnp.minimum(carry.p - q, 0)), jnp.exp(u + k - q)
    wkv = (past * carry.a + now * v) / (past * carry.b + now)
    p = jnp.where(empty, k, jnp.maximum(carry.p - w, k))
    f, i = jnp.exp(jnp.minimum(carry.p - w - p, 0)), jnp.exp(k - p)
    h = jax.nn.sigmoid(r) * wkv
    new = RWKV4Carry(f * carry.a + i * v, f * carry.b + i, p, wx[1])
    return new, h.astype(wx[0].dtype), RWKV4Gates(r, k, v, f, i, wkv)


rwkv4 = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "rwkv4", RWKV4Params,
    'Peng et al. 2023, "RWKV: reinventing RNNs for the transformer era", arXiv:2305.13048, time mixing of RWKV-4',
)  # fmt: skip
"""The time mixing of RWKV-4 as a Cell."""

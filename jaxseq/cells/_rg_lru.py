"""Real-gated linear recurrent unit, the recurrence of Griffin and Hawk.

    r = sigmoid(x W_r + b_r)                           recurrence gate: 0 retains, 1 forgets as fast as a allows (eq. 1)
    i = sigmoid(x W_i + b_i)                           input gate: write (eq. 2)
    u = x W_u + b_u                                    input
    a = sigmoid(Lambda)^(c r),  c = 8                  retain (eq. 3)
    h' = a * h + sqrt(1 - a^2) * (i * u)               (eq. 4)

W and b are packed in the order r i u. In the paper the input is as wide as the state and u = x: W_u is the linear layer
before the recurrence in its block, and the gates' matrices act on x directly (with D = H, W_u the identity and b_u = 0
the equations are the paper's). The convolution of width 4 in between is not part of the cell.
a is computed as exp(c r log sigmoid(Lambda)), as in the paper's appendix A.

`init` draws Lambda such that sigmoid(Lambda)^c is uniform between 0.9 and 0.999 (section 2.4).

With bfloat16 params the state is float32: over steps 900 to 1,000 of random input it differs from the float64 state by
0.1% (root mean square); kept in bfloat16, by 11%.

Reference: De, Smith, Fernando, Botev et al. 2024, "Griffin: mixing gated linear recurrences with local attention for
efficient language models", arXiv:2402.19427, section 2.4, eqs. 1-4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, wide_zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, input_affine, no_hidden_terms
from jaxseq.notation import Array, Key, Tree, wide, widened

SHARPNESS = 8
"""The paper's c."""


class RGLRUParams(NamedTuple):
    """``W [D, 3H]``, ``b [3H]``, blocks in the order r i u; ``Lambda [H]``."""

    W: Array
    b: Array
    Lambda: Array


class RGLRUGates(NamedTuple):
    """Recurrence gate, input gate (write), input, and a (retain); each ``[B, H]``."""

    r: Array
    i: Array
    u: Array
    a: Array


def decays(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw Lambda with ``sigmoid(Lambda)^c`` uniform between 0.9 and 0.999. Consumes `key`."""
    log_a = jnp.log(jax.random.uniform(key, shape, wide(dtype), 0.9, 0.999)) / SHARPNESS
    return (log_a - jnp.log(-jnp.expm1(log_a))).astype(dtype)


init = init_of(RGLRUParams, W="D 3H", b="3H", Lambda=("H", decays))


def initial_carry(params: RGLRUParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return the state before the first step: zeros ``[*batch_shape, H]``, in float32 at least."""
    return Hidden(wide_zeros_for(params.Lambda, batch_shape, params.Lambda.shape[-1]))


def equations(params: RGLRUParams, carry: Hidden, wx: Array, uh: Tree) -> tuple[Hidden, Array, RGLRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    r, i, u = activate(widened(wx), "sigmoid sigmoid none")
    log_a = SHARPNESS * r * jnp.broadcast_to(jax.nn.log_sigmoid(widened(params.Lambda)), r.shape)
    a, rest = jnp.exp(log_a), -jnp.expm1(2 * log_a)
    tiny = jnp.asarray(jnp.finfo(rest.dtype).tiny, rest.dtype)  # kept above 0, where the derivative of sqrt is infinite
    h = a * carry.h + jnp.sqrt(jnp.maximum(rest, jnp.broadcast_to(tiny, rest.shape))) * (i * u)
    return Hidden(h), h.astype(wx.dtype), RGLRUGates(r, i, u, a)


rg_lru = Cell(
    init, initial_carry, input_affine, no_hidden_terms, equations, "rg_lru", RGLRUParams,
    "De et al. 2024, \"Griffin: mixing gated linear recurrences with local attention\", arXiv:2402.19427, eqs. 1-4",
    linear="elementwise",
)  # fmt: skip
"""The RG-LRU as a Cell."""

"""Damped exponential moving average of Mega: each unit averages its input at several speeds.

    u = x W                                                 input, one number for each unit
    alpha = sigmoid(alpha_hat)                              how much is written [H, N]
    delta = sigmoid(delta_hat)                              damping: how much of that is forgotten [H, N]
    h' = u^T * alpha * beta + (1 - alpha * delta) * h       state [B, H, N]
    y = across(eta * h')                                    output: across sums each unit's N numbers

With delta = 1 and beta = 1 a unit's states are plain exponential moving averages of u, ``alpha u + (1 - alpha) h``. In
the paper the input is as wide as the state and u = x: W is the linear layer between two of its layers. The authors'
code also adds a multiple of x to y and applies silu; that is left to the caller, as is the paper's attention on top of
it.

`init` takes ``state_size=16`` (N, the paper's h). As in the authors' code alpha_hat and delta_hat are drawn with
standard deviation 0.2, beta alternates between 1 and -1 with standard deviation 0.02, and eta has standard deviation 1
/ sqrt(N).

With bfloat16 params the state is float32.

Reference: Ma, Zhou, Kong, He, Gui, Neubig, May & Zettlemoyer 2022, "Mega: moving average equipped gated attention",
arXiv:2209.10655, section 3.1 (multi-dimensional damped EMA).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, wide_zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._parts import Hidden, no_hidden_terms
from jaxseq.notation import Array, Key, Tree, widened


class MegaEMAParams(NamedTuple):
    """``W [D, H]``; ``alpha_hat, delta_hat, beta, eta [H, N]``."""

    W: Array
    alpha_hat: Array
    delta_hat: Array
    beta: Array
    eta: Array


class MegaEMAGates(NamedTuple):
    """The input ``u [B, H]``."""

    u: Array


@dataclasses.dataclass(frozen=True)
class deviating:  # noqa: N801
    """Draw from a normal with this standard deviation, divided by sqrt(N) for N columns if `by_columns`."""

    deviation: float
    by_columns: bool = False

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of this shape. Consumes `key`."""
        scale = self.deviation * (shape[-1] ** -0.5 if self.by_columns else 1)
        return scale * jax.random.normal(key, shape, dtype)


def in_turn(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return alternating 1 and -1 along each row, with standard deviation 0.02. Consumes `key`."""
    signs = 1 - 2 * (jnp.arange(shape[-1]) % 2).astype(dtype)
    return jnp.broadcast_to(signs, shape) + 0.02 * jax.random.normal(key, shape, dtype)


init = init_of(
    MegaEMAParams, sizes={"N": Size("state_size", 16)},
    W="D H", alpha_hat=("H N", deviating(0.2)), delta_hat=("H N", deviating(0.2)), beta=("H N", in_turn),
    eta=("H N", deviating(1.0, by_columns=True)),
)  # fmt: skip


def initial_carry(params: MegaEMAParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return the state before the first step: zeros ``[*batch_shape, H, N]``, in float32 at least."""
    H, N = params.eta.shape
    return Hidden(wide_zeros_for(params.eta, (*batch_shape, H), N))


def input_terms(params: MegaEMAParams, x: Array) -> Array:
    """Return ``u = x W``, ``[B, H]``."""
    return x @ params.W


def equations(params: MegaEMAParams, carry: Hidden, wx: Array, uh: Tree) -> tuple[Hidden, Array, MegaEMAGates]:
    """Return ``(carry, y [B, H], gates)`` of one step: the equations."""
    alpha, delta = jax.nn.sigmoid(widened(params.alpha_hat)), jax.nn.sigmoid(widened(params.delta_hat))
    write, retain, eta = (
        jnp.broadcast_to(a, carry.h.shape)
        for a in (alpha * widened(params.beta), 1 - alpha * delta, widened(params.eta))
    )
    h = widened(wx)[..., None] * write + retain * carry.h
    return Hidden(h), jnp.sum(eta * h, axis=-1).astype(wx.dtype), MegaEMAGates(wx)


mega_ema = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "mega_ema", MegaEMAParams,
    'Ma et al. 2022, "Mega: moving average equipped gated attention", arXiv:2209.10655, section 3.1',
    linear="elementwise",
)  # fmt: skip
"""The damped moving average of Mega as a Cell."""

"""Parts shared by most cells, so that a cell's own file is its equations and little else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from jaxseq.cells._base import affine, zeros_for
from jaxseq.notation import Array

K = TypeVar("K")


class Hidden(NamedTuple):
    """The state ``h [B, H]``, which is also the output."""

    h: Array


def zeros_carry(carry_type: Callable[..., K], like: str = "U") -> ZerosCarry[K]:
    """Return an `initial_carry` of zeros: each leaf ``[*batch_shape, H]``, with H the rows of ``params.U``.

    For a cell without U, `like` names another parameter with H rows.
    """
    return ZerosCarry(carry_type, like)


@dataclasses.dataclass(frozen=True)
class ZerosCarry(Generic[K]):
    """An initial carry made by `zeros_carry`: a function that can be pickled and compared."""

    carry_type: Callable[..., K]
    like: str

    def __call__(self, params: object, batch_shape: tuple[int, ...] = ()) -> K:
        """Return the state before the first step: zeros, each ``[*batch_shape, H]``."""
        rows = getattr(params, self.like)
        fields = self.carry_type._fields  # type: ignore[attr-defined]
        return self.carry_type(*(zeros_for(rows, batch_shape, rows.shape[0]) for _ in fields))


class HasAffine(Protocol):
    """Params with ``W [D, G*H]`` and ``b [G*H]``."""

    @property
    def W(self) -> Array:  # noqa: N802, the letter of the papers
        """The matrix of the input."""

    @property
    def b(self) -> Array:
        """The bias."""


class HasRecurrent(Protocol):
    """Params with ``U [H, G*H]``."""

    @property
    def U(self) -> Array:  # noqa: N802, the letter of the papers
        """The matrix of the hidden state."""


class HasHidden(Protocol):
    """A carry with ``h [B, H]``."""

    @property
    def h(self) -> Array:
        """The hidden state."""


def input_affine(params: HasAffine, x: Array) -> Array:
    """Return ``x W + b``, ``[B, G*H]``: the `input_terms` of most cells."""
    return affine(x, params.W, params.b)


def hidden_product(params: HasRecurrent, carry: HasHidden) -> Array:
    """Return ``h U``, ``[B, G*H]``: the `hidden_terms` of most cells."""
    return carry.h @ params.U


def standardised(a: Array, epsilon: float) -> Array:
    """Return a with mean 0 and variance 1 over its last axis; `epsilon` is added to the variance."""
    a = a - jnp.mean(a, axis=-1, keepdims=True)
    return a * jax.lax.rsqrt(jnp.mean(a**2, axis=-1, keepdims=True) + epsilon)


def no_hidden_terms(params: object, carry: object) -> tuple[()]:
    """Return nothing: the `hidden_terms` of a cell without a matrix product in its loop."""
    return ()


def scaled(a: Array, gain: Array) -> Array:
    """Return ``a [..., H]`` times a gain ``[H]``."""
    return a * jnp.broadcast_to(gain, a.shape)


def over_window(V: Array, b: Array, past: Array, now: Array) -> Array:
    """Return the causal depthwise convolution of window W over ``past [B, W - 1, H]`` and ``now [B, H]``.

    Args:
      V: ``[W, H]``, with this step's weights last.
      b: ``[H]``.
      past: the previous steps, latest last.
      now: this step.
    """
    earlier = jnp.sum(jnp.broadcast_to(V[:-1], past.shape) * past, axis=-2)
    return earlier + scaled(now, V[-1]) + jnp.broadcast_to(b, now.shape)


def blockwise(a: Array, W: Array) -> Array:
    """Return ``a [B, P * Q]`` times the block-diagonal matrix of P blocks ``W [P, Q, R]``: ``[B, P, R]``."""
    if W.shape[0] == 1:  # as one matrix: its deferred gradient is then in the layout that is fastest on a CPU
        return (a @ W[0])[..., None, :]
    return jnp.einsum("...pq,pqr->...pr", a.reshape(*a.shape[:-1], *W.shape[:2]), W)

"""The Elman network, the recurrent cell without gates: h' = tanh(x W + h U + b), or relu in place of tanh.

Reference: Elman 1990, "Finding structure in time", Cognitive Science 14; the relu form with U = 1 is the IRNN of
Le, Jaitly & Hinton 2015, arXiv:1504.00941.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells.base import Cell, activate, affine, zeros_for
from jaxseq.initializers import Initializer, glorot, orthogonal, zeros
from jaxseq.notation import Array, Key


class RNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``."""

    W: Array
    U: Array
    b: Array


class RNNCarry(NamedTuple):
    """The state ``h [B, H]``, which is also the output."""

    h: Array


class RNNGates(NamedTuple):
    """No gates at all: only the pre-activation ``a [B, H]``."""

    a: Array


def init(
    key: Key,
    input_size: int,
    hidden_size: int,
    *,
    dtype: Any = jnp.float32,
    kernel: Initializer = glorot,
    recurrent: Initializer = orthogonal,
    bias: Initializer = zeros,
) -> RNNParams:
    """Return parameters for D = input_size, H = hidden_size. Consumes `key`."""
    kW, kU, kb = jax.random.split(key, 3)
    D, H = input_size, hidden_size
    return RNNParams(kernel(kW, (D, H), dtype), recurrent(kU, (H, H), dtype), bias(kb, (H,), dtype))


def initial_carry(params: RNNParams, batch_shape: tuple[int, ...] = ()) -> RNNCarry:
    """Return ``h = 0``, ``[*batch_shape, H]``."""
    return RNNCarry(zeros_for(params.b, batch_shape, params.U.shape[0]))


def input_terms(params: RNNParams, x: Array) -> Array:
    """Return ``x W + b``, ``[B, H]``."""
    return affine(x, params.W, params.b)


def hidden_terms(params: RNNParams, carry: RNNCarry) -> Array:
    """Return ``h U``, ``[B, H]``."""
    return carry.h @ params.U


def _elman(activation: str, name: str) -> Cell:
    def gates(params: RNNParams, carry: RNNCarry, wx: Array, uh: Array) -> tuple[RNNCarry, Array, RNNGates]:
        a = wx + uh
        (h,) = activate(a, activation)
        return RNNCarry(h), h, RNNGates(a)

    return Cell(init, initial_carry, input_terms, hidden_terms, gates, name, RNNParams)


rnn = _elman("tanh", "rnn")
"""Elman network with tanh."""

rnn_relu = _elman("relu", "rnn_relu")
"""Elman network with relu."""

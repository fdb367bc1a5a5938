"""Hierarchically gated recurrent unit (HGRN): a rotating complex state, with a lower bound on the forget gate.

    c = silu(x W_re + b_re) + i silu(x W_im + b_im)         input, complex
    gamma = sigmoid(Gamma)                                  lower bound of the forget gate
    f = gamma + (1 - gamma) * sigmoid(x W_f + b_f)          forget gate: retain (the paper's lambda)
    g = sigmoid(x W_g + b_g)                                output gate, 2H units: show
    s' = f * exp(i theta) * s + (1 - f) * c                 state, complex [B, H]
    y = g * (Re(s'), Im(s'))                                output [B, 2H]

The input gate is 1 - f. In the paper gamma grows from layer to layer, from 0 in the lowest, as a cumulative sum of a
softmax over layers, so each layer forgets more slowly than the one below. A cell is one layer with its own bound:
`init` takes gamma's initial value, ``lower_bound=0.5``, above 0 and below 1; give a higher layer a higher one. The norm
and the linear layer after y belong to the block. In the authors' language-model code W_g and W_f have low rank.

``W [D, 3H]`` and ``b [3H]`` pack re, im and f. The carry has s as its real and imaginary part. theta starts at
``10000^(-2 j / H)`` for unit j, as in the authors' code.

With bfloat16 params the state is float32.

Reference: Qin, Yang & Zhong 2023, "Hierarchically gated recurrent neural network for sequence modeling", NeurIPS,
arXiv:2311.04823.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine, wide_zeros_for
from jaxseq.cells._init import check_range, checked_init, init_of
from jaxseq.cells._lru import ComplexCarry, times
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import zeros
from jaxseq.notation import Array, Key, Tree, widened


class HGRNParams(NamedTuple):
    """``W [D, 3H]``, ``b [3H]`` (re im f); ``W_g [D, 2H]``, ``b_g [2H]``; ``Gamma, theta [H]``."""

    W: Array
    b: Array
    W_g: Array
    b_g: Array
    Gamma: Array
    theta: Array


class HGRNGates(NamedTuple):
    """The input c as ``c_re, c_im [B, H]``, forget gate (retain) ``f [B, H]`` and output gate ``g [B, 2H]``."""

    c_re: Array
    c_im: Array
    f: Array
    g: Array


def turns(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return theta ``[H]``: ``10000^(-2 j / H)``. `key` is not used."""
    return 10000.0 ** (-2 / shape[0] * jnp.arange(shape[0], dtype=dtype))


_init = init_of(
    HGRNParams, W="D 3H", b="3H", W_g="D 2H", b_g="2H", Gamma=("H", zeros), theta=("H", turns)
)  # fmt: skip


@checked_init("hgrn", _init)
def init(key: Key, input_size: int, hidden_size: int, *, lower_bound: float = 0.5, **options: Any) -> HGRNParams:
    """Return parameters for D = input_size, H = hidden_size; gamma is `lower_bound`. Consumes `key`."""
    check_range("hgrn: lower_bound", lower_bound, 0, 1, above=True)
    params = _init(key, input_size, hidden_size, **options)
    return params._replace(Gamma=jnp.full_like(params.Gamma, jnp.log(lower_bound) - jnp.log1p(-lower_bound)))


def initial_carry(params: HGRNParams, batch_shape: tuple[int, ...] = ()) -> ComplexCarry:
    """Return the state before the first step: zeros, both ``[*batch_shape, H]``, in float32 at least."""
    zero = wide_zeros_for(params.theta, batch_shape, params.theta.shape[0])
    return ComplexCarry(zero, jnp.zeros_like(zero))  # two buffers, so that both can be donated


def input_terms(params: HGRNParams, x: Array) -> tuple[Array, Array]:
    """Return the affine parts of re im f, ``[B, 3H]``, and of g, ``[B, 2H]``."""
    return affine(x, params.W, params.b), affine(x, params.W_g, params.b_g)


def equations(
    params: HGRNParams, carry: ComplexCarry, wx: tuple[Array, Array], uh: Tree
) -> tuple[ComplexCarry, Array, HGRNGates]:
    """Return ``(carry, y [B, 2H], gates)`` of one step: the equations."""
    a_re, a_im, a_f = jnp.split(widened(wx[0]), 3, axis=-1)
    c_re, c_im, g = jax.nn.silu(a_re), jax.nn.silu(a_im), jax.nn.sigmoid(widened(wx[1]))
    gamma = jnp.broadcast_to(jax.nn.sigmoid(widened(params.Gamma)), a_f.shape)
    f = gamma + (1 - gamma) * jax.nn.sigmoid(a_f)
    theta = widened(params.theta)
    re, im = times(carry.re, carry.im, jnp.cos(theta), jnp.sin(theta))
    new = ComplexCarry(f * re + (1 - f) * c_re, f * im + (1 - f) * c_im)
    y = g * jnp.concatenate(new, axis=-1)
    return new, y.astype(wx[0].dtype), HGRNGates(c_re, c_im, f, g)


hgrn = Cell(
    init, initial_carry, input_terms, no_hidden_terms, equations, "hgrn", HGRNParams,
    'Qin, Yang & Zhong 2023, "Hierarchically gated recurrent neural network", arXiv:2311.04823',
    linear="elementwise",
)  # fmt: skip
"""The recurrence of HGRN as a Cell."""

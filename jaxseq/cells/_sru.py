"""Simple recurrent unit: gates see the cell state unit by unit, without a matrix product in the loop.

    g = x W_g                                       candidate
    s = x W_s                                       skipped input; x itself where D is H
    c' = f * c + (1 - f) * g                        eq. 2

    sru:       f = sigmoid(x W_f + v_f * c + b_f)   forget gate: retain (1 keeps the old state, 0 writes the new); eq. 1
               r = sigmoid(x W_r + v_r * c + b_r)   reset gate: 1 shows the state, 0 passes the input on; eq. 3
               h = r * c' + (1 - r) * s             eq. 4

    sru_2017:  f = sigmoid(x W_f + b_f)
               r = sigmoid(x W_r + b_r)
               h = r * tanh(c') + (1 - r) * s

Both gates see the old c. The state is c alone: h is only an output. Using W_s if D is not H follows the authors' code.
The scaling of s that section 3.2 of the paper proposes for deep stacks, sqrt(1 + 2 exp(b)), is left out. Blocks are
packed in the order g f r (s).

`sru_2017` is the unit of the first preprint. Only its new state is affine in the old one.

Reference: Lei, Zhang, Wang, Dai & Artzi 2018, "Simple recurrent units for highly parallelizable recurrence",
EMNLP, arXiv:1709.02755v5, eqs. 1-4; the first preprint is Lei & Zhang 2017, "Training RNNs as fast as CNNs",
arXiv:1709.02755v1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, blocks, zeros_for
from jaxseq.cells._init import checked_init, init_of
from jaxseq.cells._parts import no_hidden_terms
from jaxseq.initializers import uniform
from jaxseq.notation import Array, Key, Tree


class SRUParams(NamedTuple):
    """``W [D, 3H]`` (g f r), or ``W [D, 4H]`` (g f r s) where D is not H; ``v [2H]`` (f r), ``b [2H]`` (f r)."""

    W: Array
    v: Array
    b: Array


class SRU2017Params(NamedTuple):
    """``W [D, 3H]`` (g f r), or ``W [D, 4H]`` (g f r s) where D is not H; ``b [2H]`` (f r)."""

    W: Array
    b: Array


class SRUCarry(NamedTuple):
    """The state ``c [B, H]``."""

    c: Array


class SRUGates(NamedTuple):
    """Forget (retain) and reset gate (1 shows the state), candidate and skipped input, each ``[B, H]``."""

    f: Array
    r: Array
    g: Array
    s: Array


def _init_of(name: str, params_type: Any, **others: Any) -> Any:
    skips = init_of(params_type, W="D 3H", **others, b="2H")
    projects = init_of(params_type, W="D 4H", **others, b="2H")

    @checked_init(name, skips)
    def init(key: Key, input_size: int, hidden_size: int, **options: Any) -> Any:
        """Return parameters; W has a fourth block where D is not H. Consumes `key`; options as in `init_of`."""
        return (skips if input_size == hidden_size else projects)(key, input_size, hidden_size, **options)

    return init


def initial_carry(params: SRUParams | SRU2017Params, batch_shape: tuple[int, ...] = ()) -> SRUCarry:
    """Return a state of zeros, ``[*batch_shape, H]``."""
    return SRUCarry(zeros_for(params.b, batch_shape, params.b.shape[0] // 2))


def input_terms(params: SRUParams | SRU2017Params, x: Array) -> tuple[Array, Array, Array]:
    """Return g, the input's part of both gates with their biases, and s."""
    H = params.b.shape[0] // 2
    wx = x @ params.W
    g, fr = wx[..., :H], wx[..., H : 3 * H]
    return g, fr + jnp.broadcast_to(params.b, fr.shape), x if wx.shape[-1] == 3 * H else wx[..., 3 * H :]


def equations(params: SRUParams, carry: SRUCarry, wx: Tree, uh: Tree) -> tuple[SRUCarry, Array, SRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    g, fr, s = wx
    vc = [jnp.broadcast_to(v, g.shape) * carry.c for v in blocks(params.v, 2)]
    f, r = activate(fr + jnp.concatenate(vc, axis=-1), "sigmoid sigmoid")
    c = f * carry.c + (1 - f) * g
    return SRUCarry(c), r * c + (1 - r) * s, SRUGates(f, r, g, s)


def gates_2017(params: SRU2017Params, carry: SRUCarry, wx: Tree, uh: Tree) -> tuple[SRUCarry, Array, SRUGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of the first preprint."""
    g, fr, s = wx
    f, r = activate(fr, "sigmoid sigmoid")
    c = f * carry.c + (1 - f) * g
    return SRUCarry(c), r * jnp.tanh(c) + (1 - r) * s, SRUGates(f, r, g, s)


sru = Cell(
    _init_of("sru", SRUParams, v=("2H", uniform(0.1))), initial_carry, input_terms, no_hidden_terms, equations,
    "sru", SRUParams,
    "Lei et al. 2018, \"Simple recurrent units for highly parallelizable recurrence\", arXiv:1709.02755v5, eqs. 1-4",
)  # fmt: skip
"""The SRU as a Cell."""

sru_2017 = Cell(
    _init_of("sru_2017", SRU2017Params), initial_carry, input_terms, no_hidden_terms, gates_2017,
    "sru_2017", SRU2017Params,
    "Lei & Zhang 2017, \"Training RNNs as fast as CNNs\", arXiv:1709.02755v1",
    linear="elementwise",
)  # fmt: skip
"""The SRU of the first preprint, linear in its state, as a Cell."""

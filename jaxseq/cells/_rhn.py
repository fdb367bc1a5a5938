"""Recurrent highway network: several highway layers within each step; the input enters the first.

For layers l = 1 ... L, from s_0 = h:

    h_l = tanh   ([x W_h if l = 1] + s_{l-1} U_h,l + b_h,l)     candidate
    t_l = sigmoid([x W_t if l = 1] + s_{l-1} U_t,l + b_t,l)     transform gate: write
    c_l = sigmoid([x W_c if l = 1] + s_{l-1} U_c,l + b_c,l)     carry gate: retain; c_l = 1 - t_l if coupled
    s_l = h_l * t_l + s_{l-1} * c_l

and h' = s_L. `rhn` has both gates; `rhn_coupled` couples them, as in the paper's experiments. L is
``init(..., depth=3)``; ``transform_bias=-2.0`` is added to the transform gates' biases, so coupled layers initially
pass the state on. Blocks are packed in the order h t c.

Reference: Zilly, Srivastava, Koutnik & Schmidhuber 2017, "Recurrent highway networks", arXiv:1607.03474, section 4;
coupling: section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import check_sizes, checked_init, init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array, Key


class Layer(NamedTuple):
    """``U [H, GH]`` and ``b [GH]`` of a layer above the first."""

    U: Array
    b: Array


class RHNParams(NamedTuple):
    """``W [D, GH]``, ``U [H, GH]``, ``b [GH]`` of the first layer, blocks h t c or h t; the L - 1 layers above it."""

    W: Array
    U: Array
    b: Array
    above: tuple[Layer, ...]


class RHNGates(NamedTuple):
    """For each layer: candidate, transform gate (t = 1 writes), carry gate (c = 1 retains), new state, ``[B, H]``."""

    h: tuple[Array, ...]
    t: tuple[Array, ...]
    c: tuple[Array, ...]
    s: tuple[Array, ...]


class _One(NamedTuple):
    W: Array
    U: Array
    b: Array


initial_carry = zeros_carry(Hidden)


def _init(name: str, blocks: int) -> Callable[..., RHNParams]:
    draw = init_of(_One, W=f"D {blocks}H", U=f"H {blocks}H", b=f"{blocks}H")

    @checked_init(name, draw)
    def init(
        key: Key, input_size: int, hidden_size: int, *, depth: int = 3, transform_bias: float = -2.0, **options: Any
    ) -> RHNParams:
        """Return parameters for D = input_size, H = hidden_size and L = depth. Consumes `key`."""
        check_sizes(name, depth=depth)
        first, *above = [draw(k, input_size, hidden_size, **options) for k in jax.random.split(key, depth)]
        biased = lambda b: b.at[hidden_size : 2 * hidden_size].add(transform_bias)  # noqa: E731
        return RHNParams(first.W, first.U, biased(first.b), tuple(Layer(one.U, biased(one.b)) for one in above))

    return init


def both(a: Array) -> list[Array]:
    """Return h, t and c of one layer, with its own carry gate."""
    return activate(a, "tanh sigmoid sigmoid")


def coupled(a: Array) -> list[Array]:
    """Return h, t and c of one layer, with c = 1 - t."""
    h, t = activate(a, "tanh sigmoid")
    return [h, t, 1 - t]


def _highway(layer: Callable[[Array], list[Array]], blocks: int, name: str) -> Cell[RHNParams, Hidden, Array, RHNGates]:
    def equations(params: RHNParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, RHNGates]:
        s, layers = carry.h, []
        for l in range(1 + len(params.above)):  # noqa: E741 - the paper's letter
            h, t, c = layer(affine(s, *params.above[l - 1]) if l else wx + uh)
            s = h * t + s * c
            layers.append((h, t, c, s))
        return Hidden(s), s, RHNGates(*zip(*layers, strict=True))

    reference = 'Zilly et al. 2017, "Recurrent highway networks", arXiv:1607.03474, section 4'
    return Cell(_init(name, blocks), initial_carry, input_affine, hidden_product, equations, name, RHNParams, reference)


rhn = _highway(both, 3, "rhn")
"""The recurrent highway network with both gates as a Cell."""

rhn_coupled = _highway(coupled, 2, "rhn_coupled")
"""The recurrent highway network with coupled gates as a Cell."""

"""Long expressive memory: two states, each with its own learned time step.

    s = dt * sigmoid(x W_s + h U_s + b_s)          time step of c: write
    r = dt * sigmoid(x W_r + h U_r + b_r)          time step of h: write
    n_c = tanh(x W_c + h U_c + b_c)                candidate of c
    c' = (1 - s) * c + s * n_c
    n_h = tanh(x W_h + c' U_h + b_h)               candidate of h, which sees the new c
    h' = (1 - r) * h + r * n_h

In the paper's letters c is z, h is y, s is Delta t_n and r is Delta t_n with a bar. For dt at most 1 the new states lie
between the old ones and [-1, 1]. W and b are packed in the order s r c h, U in the order s r c; U_h acts on the new c,
inside the equations. ``.with_`` takes dt (1 by default; above 0), the largest time step.

torchrecurrent's LEMCell uses the old c in n_h; the paper and the authors' code use the new one.

Reference: Rusch, Mishra, Erichson & Mahoney 2022, "Long expressive memory for sequence modeling", arXiv:2110.04744,
section 2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import check_range, init_of
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import hidden_product, input_affine, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.notation import Array


class LEMParams(NamedTuple):
    """``W [D, 4H]`` (s r c h), ``U [H, 3H]`` (s r c), ``U_h [H, H]``, ``b [4H]`` (s r c h)."""

    W: Array
    U: Array
    U_h: Array
    b: Array


class LEMGates(NamedTuple):
    """Time steps of c and of h (both write), and the two candidates, each ``[B, H]``."""

    s: Array
    r: Array
    n_c: Array
    n_h: Array


init = init_of(LEMParams, W="D 4H", U="H 3H", U_h="H H", b="4H")
initial_carry = zeros_carry(LSTMCarry)


@made
def _lem(dt: float = 1.0) -> Cell[LEMParams, LSTMCarry, Array, LEMGates]:
    """Return the cell whose time steps lie between 0 and `dt`."""
    check_range("lem.with_: dt", dt, 0, above=True)

    def equations(params: LEMParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, LEMGates]:
        wx_src, wx_h = jnp.split(wx, [uh.shape[-1]], axis=-1)
        s, r, n_c = activate(wx_src + uh, "sigmoid sigmoid tanh")
        s, r = dt * s, dt * r
        c = (1 - s) * carry.c + s * n_c
        n_h = jnp.tanh(wx_h + c @ params.U_h)
        h = (1 - r) * carry.h + r * n_h
        return LSTMCarry(h, c), h, LEMGates(s, r, n_c, n_h)

    reference = 'Rusch et al. 2022, "Long expressive memory for sequence modeling", arXiv:2110.04744, section 2'
    return Cell(init, initial_carry, input_affine, hidden_product, equations, "lem", LEMParams, reference)


lem = _lem()
"""The LEM as a Cell, with dt = 1."""

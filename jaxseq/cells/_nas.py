"""The cell found by neural architecture search: eight branches, joined in pairs.

    a = x W + h U + b                    in eight blocks, 0 ... 7
    l_0 = sigmoid(a_0)    l_1 = relu(a_1)      l_2 = sigmoid(a_2)    l_3 = relu(x W_3 * (h U_3 + b_3))
    l_4 = tanh(a_4)       l_5 = sigmoid(a_5)   l_6 = tanh(a_6)       l_7 = sigmoid(a_7)
    m_0 = tanh(l_0 * l_1)                m_1 = tanh(l_2 + l_3)
    m_2 = tanh(l_4 * l_5)                m_3 = sigmoid(l_6 + l_7)
    c'  = tanh(m_0 + c) * m_1
    h'  = tanh(c' * tanh(m_2 + m_3))

The paper gives the cell as a drawing; these are the equations of the authors' NASCell in TensorFlow, without its
optional projection. l_3 multiplies its two parts, where the others add; torchrecurrent adds there too, so its cell
differs. The blocks are packed in the order 0 ... 7, as in both.

Reference: Zoph & Le 2017, "Neural architecture search with reinforcement learning", arXiv:1611.01578, the figure of the
cells found, in the appendix.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine, blocks
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import zeros_carry
from jaxseq.notation import Array


class NASParams(NamedTuple):
    """``W [D, 8H]``, ``U [H, 8H]``, ``b [8H]``, blocks in the order 0 1 2 3 4 5 6 7."""

    W: Array
    U: Array
    b: Array


class NASGates(NamedTuple):
    """The eight branches, and the four results of joining pairs, each ``[B, H]``."""

    l_0: Array
    l_1: Array
    l_2: Array
    l_3: Array
    l_4: Array
    l_5: Array
    l_6: Array
    l_7: Array
    m_0: Array
    m_1: Array
    m_2: Array
    m_3: Array


init = init_of(NASParams, W="D 8H", U="H 8H", b="8H")
initial_carry = zeros_carry(LSTMCarry)


def input_terms(params: NASParams, x: Array) -> Array:
    """Return ``x W``, ``[B, 8H]``."""
    return x @ params.W


def hidden_terms(params: NASParams, carry: LSTMCarry) -> Array:
    """Return ``h U + b``, ``[B, 8H]``."""
    return affine(carry.h, params.U, params.b)


def equations(params: NASParams, carry: LSTMCarry, wx: Array, uh: Array) -> tuple[LSTMCarry, Array, NASGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    sigmoid, relu, tanh = jax.nn.sigmoid, jax.nn.relu, jnp.tanh
    a, x_3, h_3 = blocks(wx + uh, 8), blocks(wx, 8)[3], blocks(uh, 8)[3]
    a[3] = x_3 * h_3
    branches = (sigmoid, relu, sigmoid, relu, tanh, sigmoid, tanh, sigmoid)
    l = [f(a_k) for f, a_k in zip(branches, a, strict=True)]  # noqa: E741 - a layer
    m = [tanh(l[0] * l[1]), tanh(l[2] + l[3]), tanh(l[4] * l[5]), sigmoid(l[6] + l[7])]
    c = tanh(m[0] + carry.c) * m[1]
    h = tanh(c * tanh(m[2] + m[3]))
    return LSTMCarry(h, c), h, NASGates(*l, *m)


nas = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "nas", NASParams,
    "Zoph & Le 2017, \"Neural architecture search with reinforcement learning\", arXiv:1611.01578",
)  # fmt: skip
"""The NAS cell as a Cell."""

"""minLSTM: an LSTM whose gates see only the input and are normalised to add up to 1.

    f = sigmoid(x W_f + b_f)    forget gate: retain
    i = sigmoid(x W_i + b_i)    input gate: write
    g = x W_g + b_g             candidate, without a nonlinearity
    f_share = f / (f + i)
    i_share = i / (f + i)
    h' = f_share * h + i_share * g

The shares add up to 1. We compute the equal ``f_share = sigmoid(log f - log i)``, which stays accurate if both gates
are near zero. The blocks are packed in the order f i g. The paper's parallel version in log space makes its candidate
positive; this is the sequential version, which does not need that.

Reference: Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, "Were RNNs all we needed?", arXiv:2410.01201: its
minLSTM.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

from jaxseq.cells._base import Cell, blocks, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, input_affine, no_hidden_terms
from jaxseq.notation import Array, Tree


class MinLSTMParams(NamedTuple):
    """``W [D, 3H]``, ``b [3H]``, blocks in the order f i g."""

    W: Array
    b: Array


class MinLSTMGates(NamedTuple):
    """Forget (retain) and input gate (write), their shares f / (f + i) and i / (f + i), and candidate, ``[B, H]``."""

    f: Array
    i: Array
    f_share: Array
    i_share: Array
    g: Array


init = init_of(MinLSTMParams, forget=0, W="D 3H", b="3H")


def initial_carry(params: MinLSTMParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return a state of zeros, ``[*batch_shape, H]``."""
    return Hidden(zeros_for(params.b, batch_shape, params.b.shape[0] // 3))


def equations(params: MinLSTMParams, carry: Hidden, wx: Array, uh: Tree) -> tuple[Hidden, Array, MinLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a_f, a_i, g = blocks(wx, 3)
    f_share = jax.nn.sigmoid(jax.nn.log_sigmoid(a_f) - jax.nn.log_sigmoid(a_i))
    i_share = 1 - f_share
    h = f_share * carry.h + i_share * g
    return Hidden(h), h, MinLSTMGates(jax.nn.sigmoid(a_f), jax.nn.sigmoid(a_i), f_share, i_share, g)


min_lstm = Cell(
    init, initial_carry, input_affine, no_hidden_terms, equations, "min_lstm", MinLSTMParams,
    'Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201',
    linear="elementwise",
)  # fmt: skip
"""The minLSTM as a Cell."""

"""Strongly typed RNN, GRU and LSTM: no matrix acts on the state, so each unit keeps its meaning over time.

    t_rnn:          z = x W_z + b_z
                    f = sigmoid(x W_f + b_f)    forget gate: retain (1 keeps the old state, 0 writes the new)
                    h' = f * h + (1 - f) * z

The T-GRU and the T-LSTM also see the previous step's input, x-:

    t_gru, t_lstm:  z = x- V_z + x W_z + b_z
                    f = sigmoid(x- V_f + x W_f + b_f)
                    o = tanh   (x- V_o + x W_o + b_o)

    t_gru:          h' = f * h + z * o
    t_lstm:         c' = f * c + (1 - f) * z
                    h = c' * o

The paper's nonlinearity tau is tanh here. Blocks are packed in the order z f o. The carry of the T-GRU and the T-LSTM
contains x-, zeros before the first step; their gates depend on it, so only the T-RNN's carry is affine in the old one.
The paper leaves out b_z of the T-RNN; here it starts at 0. torchrecurrent's TRNN, TGRU and TLSTM are the same cells.

Reference: Balduzzi & Ghifary 2016, "Strongly-typed recurrent neural networks", ICML, arXiv:1602.02218, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxseq.cells._base import Cell, activate, blocks, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, input_affine, no_hidden_terms
from jaxseq.cells._qrnn import affine_and_input, last_input_product, zeros_and_input
from jaxseq.notation import Array, Tree


class TRNNParams(NamedTuple):
    """``W [D, 2H]``, ``b [2H]``, blocks in the order z f."""

    W: Array
    b: Array


class TypedParams(NamedTuple):
    """``W [D, 3H]`` for the input of this step, ``V [D, 3H]`` for the last step's, ``b [3H]``, in the order z f o."""

    W: Array
    V: Array
    b: Array


class TGRUCarry(NamedTuple):
    """The state ``h [B, H]``, which is also the output, and the input of the last step, ``x [B, D]``."""

    h: Array
    x: Array


class TLSTMCarry(NamedTuple):
    """The state ``c [B, H]`` and the input of the last step, ``x [B, D]``."""

    c: Array
    x: Array


class TRNNGates(NamedTuple):
    """Candidate and forget gate (retain), each ``[B, H]``."""

    z: Array
    f: Array


class TypedGates(NamedTuple):
    """Candidate, forget gate (retain) and output factor in -1..1, each ``[B, H]``."""

    z: Array
    f: Array
    o: Array


def initial_carry(params: TRNNParams, batch_shape: tuple[int, ...] = ()) -> Hidden:
    """Return a state of zeros, ``[*batch_shape, H]``."""
    return Hidden(zeros_for(params.b, batch_shape, params.b.shape[0] // 2))


def t_rnn_gates(params: TRNNParams, carry: Hidden, wx: Array, uh: Tree) -> tuple[Hidden, Array, TRNNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of the T-RNN."""
    z, a_f = blocks(wx, 2)
    (f,) = activate(a_f, "sigmoid")
    h = f * carry.h + (1 - f) * z
    return Hidden(h), h, TRNNGates(z, f)


def _typed(wx: Tree, uh: Array) -> TypedGates:
    H = uh.shape[-1] // 3
    a = wx[0] + uh
    return TypedGates(a[..., :H], *activate(a[..., H:], "sigmoid tanh"))


def t_gru_gates(params: TypedParams, carry: TGRUCarry, wx: Tree, uh: Array) -> tuple[TGRUCarry, Array, TypedGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of the T-GRU."""
    z, f, o = named = _typed(wx, uh)
    h = f * carry.h + z * o
    return TGRUCarry(h, wx[1]), h, named


def t_lstm_gates(params: TypedParams, carry: TLSTMCarry, wx: Tree, uh: Array) -> tuple[TLSTMCarry, Array, TypedGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of the T-LSTM."""
    z, f, o = named = _typed(wx, uh)
    c = f * carry.c + (1 - f) * z
    return TLSTMCarry(c, wx[1]), c * o, named


_REFERENCE = 'Balduzzi & Ghifary 2016, "Strongly-typed recurrent neural networks", arXiv:1602.02218, section 3'

t_rnn = Cell(
    init_of(TRNNParams, W="D 2H", b="2H"), initial_carry, input_affine, no_hidden_terms, t_rnn_gates, "t_rnn",
    TRNNParams, _REFERENCE, linear="elementwise",
)  # fmt: skip
"""The strongly typed RNN as a Cell."""

init = init_of(TypedParams, W="D 3H", V="D 3H", b="3H")

t_gru = Cell(
    init, zeros_and_input(TGRUCarry), affine_and_input, last_input_product, t_gru_gates, "t_gru", TypedParams,
    _REFERENCE,
)  # fmt: skip
"""The strongly typed GRU as a Cell."""

t_lstm = Cell(
    init, zeros_and_input(TLSTMCarry), affine_and_input, last_input_product, t_lstm_gates, "t_lstm", TypedParams,
    _REFERENCE,
)  # fmt: skip
"""The strongly typed LSTM as a Cell."""

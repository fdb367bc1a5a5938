"""Quasi-recurrent network: gates are a convolution of the inputs over time, and the recurrence is pooling only.

With a window of 2, where x is the input of this step and x- that of the step before:

    qrnn:    g = tanh   (x- V_g + x W_g + b_g)    candidate
             f = sigmoid(x- V_f + x W_f + b_f)    forget gate: retain (1 keeps the old state, 0 writes the new)
             o = sigmoid(x- V_o + x W_o + b_o)    output gate: show

    qrnn_1:  g = tanh   (x W_g + b_g)
             f = sigmoid(x W_f + b_f)
             o = sigmoid(x W_o + b_o)

    c' = f * c + (1 - f) * g                      fo-pooling
    h = o * c'

The paper's z is our g; the paper omits biases, b adds one per gate. The blocks are packed in the order g f o.
The carry holds c and x-, zeros before the first step like the paper's padding; a masked step leaves both unchanged.
Since the gates depend on x-, the whole carry is not affine in the old one, though c' is affine in c.

`qrnn_1` is the same with a window of 1, without x- and V: linear in its state, with only c in the carry.

Reference: Bradbury, Merity, Xiong & Socher 2017, "Quasi-recurrent neural networks", ICLR, arXiv:1611.01576,
section 2 (convolutions of window 2) and section 2.1 (fo-pooling).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxseq.cells._base import Cell, activate, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import input_affine, no_hidden_terms
from jaxseq.notation import Array, Carry, Params, Tree


class QRNNParams(NamedTuple):
    """``W [D, 3H]`` for the input of this step, ``V [D, 3H]`` for the last step's, ``b [3H]``, in the order g f o."""

    W: Array
    V: Array
    b: Array


class QRNN1Params(NamedTuple):
    """``W [D, 3H]``, ``b [3H]``, blocks in the order g f o."""

    W: Array
    b: Array


class QRNNCarry(NamedTuple):
    """The state ``c [B, H]`` and the input of the last step, ``x [B, D]``."""

    c: Array
    x: Array


class QRNN1Carry(NamedTuple):
    """The state ``c [B, H]``."""

    c: Array


class QRNNGates(NamedTuple):
    """Candidate, forget (retain) and output gate, each ``[B, H]``."""

    g: Array
    f: Array
    o: Array


def zeros_and_input(carry_type: Any) -> Callable[..., Carry]:
    """Return an `initial_carry` of zeros for a state ``[*batch_shape, H]`` and a last input ``[*batch_shape, D]``."""

    def initial_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        """Return zeros."""
        H, D = params.b.shape[0] // 3, params.W.shape[0]
        return carry_type(zeros_for(params.b, batch_shape, H), zeros_for(params.b, batch_shape, D))

    return initial_carry


def initial_carry_1(params: QRNN1Params, batch_shape: tuple[int, ...] = ()) -> QRNN1Carry:
    """Return a state of zeros, ``[*batch_shape, H]``."""
    return QRNN1Carry(zeros_for(params.b, batch_shape, params.b.shape[0] // 3))


def affine_and_input(params: Params, x: Array) -> tuple[Array, Array]:
    """Return ``x W + b``, ``[B, 3H]``, and x, which the next step needs."""
    return input_affine(params, x), x


def last_input_product(params: Params, carry: Carry) -> Array:
    """Return the last input's product ``x V``, ``[B, 3H]``."""
    return carry.x @ params.V


def equations(params: QRNNParams, carry: QRNNCarry, wx: Tree, uh: Array) -> tuple[QRNNCarry, Array, QRNNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    g, f, o = activate(wx[0] + uh, "tanh sigmoid sigmoid")
    c = f * carry.c + (1 - f) * g
    return QRNNCarry(c, wx[1]), o * c, QRNNGates(g, f, o)


def gates_1(params: QRNN1Params, carry: QRNN1Carry, wx: Array, uh: Tree) -> tuple[QRNN1Carry, Array, QRNNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step with a window of 1."""
    g, f, o = activate(wx, "tanh sigmoid sigmoid")
    c = f * carry.c + (1 - f) * g
    return QRNN1Carry(c), o * c, QRNNGates(g, f, o)


_REFERENCE = 'Bradbury et al. 2017, "Quasi-recurrent neural networks", arXiv:1611.01576, sections 2 and 2.1, fo-pooling'

qrnn = Cell(
    init_of(QRNNParams, W="D 3H", V="D 3H", b="3H"),
    zeros_and_input(QRNNCarry), affine_and_input, last_input_product, equations, "qrnn", QRNNParams, _REFERENCE,
)  # fmt: skip
"""The QRNN with a window of 2 and fo-pooling as a Cell."""

qrnn_1 = Cell(
    init_of(QRNN1Params, W="D 3H", b="3H"),
    initial_carry_1, input_affine, no_hidden_terms, gates_1, "qrnn_1", QRNN1Params, _REFERENCE,
    linear="elementwise",
)  # fmt: skip
"""The QRNN with a window of 1 and fo-pooling, linear in its state, as a Cell."""

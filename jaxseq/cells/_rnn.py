"""The Elman network, the recurrent cell without gates, with tanh or with relu.

    a = x W + h U + b

    rnn:       h' = tanh(a)
    rnn_relu:  h' = relu(a)

Reference: Elman 1990, "Finding structure in time", Cognitive Science 14; the relu form with U = 1 is the IRNN of
Le, Jaitly & Hinton 2015, arXiv:1504.00941.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array


class RNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``."""

    W: Array
    U: Array
    b: Array


class RNNCarry(NamedTuple):
    """The state ``h [B, H]``, which is also the output."""

    h: Array


class RNNGates(NamedTuple):
    """Only the pre-activation ``a [B, H]``."""

    a: Array


init = init_of(RNNParams, W="D H", U="H H", b="H")
initial_carry = zeros_carry(RNNCarry)


def _elman(activation: str, name: str) -> Cell[RNNParams, RNNCarry, Array, RNNGates]:
    def equations(params: RNNParams, carry: RNNCarry, wx: Array, uh: Array) -> tuple[RNNCarry, Array, RNNGates]:
        a = wx + uh
        (h,) = activate(a, activation)
        return RNNCarry(h), h, RNNGates(a)

    reference = 'Elman 1990, "Finding structure in time", Cognitive Science 14(2)'
    return Cell(init, initial_carry, input_affine, hidden_product, equations, name, RNNParams, reference)


rnn = _elman("tanh", "rnn")
"""Elman network with tanh."""

rnn_relu = _elman("relu", "rnn_relu")
"""Elman network with relu."""

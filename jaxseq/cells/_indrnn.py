"""Independently recurrent network: each unit sees only its own past.

    a = x W + u * h + b

    indrnn:       h' = relu(a)
    indrnn_tanh:  h' = tanh(a)

u is one weight for each unit instead of a matrix U; units are mixed by the next layer's W. `indrnn` has the paper's
relu, `indrnn_tanh` has tanh (the default of torchrecurrent, which adds a second bias to b).

`init` draws u uniformly from [0, 1) as the paper does for short memories; for a memory of T steps the paper's last
layer starts within ``[eps^(1/T), 2^(1/T)]``. The paper also clips ``|u| <= 2^(1/T)`` while training, which is left to
the training loop.

Reference: Li, Li, Cook, Zhu & Gao 2018, "Independently recurrent neural network (IndRNN): building a longer and deeper
RNN", arXiv:1803.04831, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, input_affine, zeros_carry
from jaxseq.initializers import uniform
from jaxseq.notation import Array


class IndRNNParams(NamedTuple):
    """``W [D, H]``, ``u [H]``, ``b [H]``."""

    W: Array
    u: Array
    b: Array


class IndRNNGates(NamedTuple):
    """Only the pre-activation ``a [B, H]``."""

    a: Array


init = init_of(IndRNNParams, W="D H", u=("H", uniform(1.0, low=0.0)), b="H")
initial_carry = zeros_carry(Hidden, "u")


def hidden_terms(params: IndRNNParams, carry: Hidden) -> Array:
    """Return ``u * h``, ``[B, H]``."""
    return jnp.broadcast_to(params.u, carry.h.shape) * carry.h


def _independent(activation: str, name: str) -> Cell[IndRNNParams, Hidden, Array, IndRNNGates]:
    def equations(params: IndRNNParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, IndRNNGates]:
        a = wx + uh
        (h,) = activate(a, activation)
        return Hidden(h), h, IndRNNGates(a)

    reference = 'Li et al. 2018, "Independently recurrent neural network (IndRNN)", arXiv:1803.04831, section 3'
    return Cell(init, initial_carry, input_affine, hidden_terms, equations, name, IndRNNParams, reference)


indrnn = _independent("relu", "indrnn")
"""IndRNN with relu, as in the paper."""

indrnn_tanh = _independent("tanh", "indrnn_tanh")
"""IndRNN with tanh."""

"""Antisymmetric network: an Euler step of an ODE whose Jacobian has eigenvalues on the imaginary axis, less a damping.

    M = U - U^T - gamma I

    antisymmetric_rnn:        n = tanh(x W + h M + b)
                              h' = h + epsilon * n

    antisymmetric_rnn_gated:  z = sigmoid(x W_z + h M + b_z)     input gate: write
                              n = tanh(x W_h + h M + b_h)
                              h' = h + epsilon * z * n

Every eigenvalue of M has the real part -gamma; gamma keeps the discrete step stable. The gate shares M with the
candidate, so this holds for the gated form too. W and b of the gated form are packed in the order z h. Only the
antisymmetric part of U matters.

``.with_`` takes epsilon (0.3 by default; above 0) and gamma (0.01; at least 0). The paper searches both between 0.001
and 1:

    >>> from jaxseq.cells import antisymmetric_rnn
    >>> cell = antisymmetric_rnn.with_(epsilon=0.1, gamma=0.001)

torchrecurrent follows the equations; its defaults are epsilon 1 and gamma 0.

Reference: Chang, Chen, Haber & Chi 2019, "AntisymmetricRNN: a dynamical system view on recurrent neural networks",
arXiv:1902.09689, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks
from jaxseq.cells._init import check_range, init_of
from jaxseq.cells._parts import Hidden, input_affine, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.notation import Array


class AntisymmetricRNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``; gated: ``W [D, 2H]``, ``b [2H]`` (z h)."""

    W: Array
    U: Array
    b: Array


class AntisymmetricRNNGates(NamedTuple):
    """The candidate change, ``n [B, H]``."""

    n: Array


class GatedAntisymmetricRNNGates(NamedTuple):
    """Input gate (z = 1 writes) and candidate change, each ``[B, H]``."""

    z: Array
    n: Array


_init_plain = init_of(AntisymmetricRNNParams, W="D H", U="H H", b="H")
_init_gated = init_of(AntisymmetricRNNParams, W="D 2H", U="H H", b="2H")
initial_carry = zeros_carry(Hidden)
_REFERENCE = 'Chang et al. 2019, "AntisymmetricRNN: a dynamical system view on RNNs", arXiv:1902.09689, section 3'


@made
def _antisymmetric_rnn(
    epsilon: float = 0.3, gamma: float = 0.01
) -> Cell[AntisymmetricRNNParams, Hidden, Array, AntisymmetricRNNGates]:
    """Return the cell with the step size `epsilon` and the damping `gamma`."""
    check_range("antisymmetric_rnn.with_: epsilon", epsilon, 0, above=True)
    check_range("antisymmetric_rnn.with_: gamma", gamma, 0)

    def hidden_terms(params: AntisymmetricRNNParams, carry: Hidden) -> Array:
        return carry.h @ (params.U - params.U.T) - gamma * carry.h

    def equations(
        params: AntisymmetricRNNParams, carry: Hidden, wx: Array, uh: Array
    ) -> tuple[Hidden, Array, AntisymmetricRNNGates]:
        n = jnp.tanh(wx + uh)
        h = carry.h + epsilon * n
        return Hidden(h), h, AntisymmetricRNNGates(n)

    return Cell(
        _init_plain, initial_carry, input_affine, hidden_terms, equations, "antisymmetric_rnn", AntisymmetricRNNParams,
        _REFERENCE,
    )  # fmt: skip


@made
def _antisymmetric_rnn_gated(
    epsilon: float = 0.3, gamma: float = 0.01
) -> Cell[AntisymmetricRNNParams, Hidden, Array, GatedAntisymmetricRNNGates]:
    """Return the gated cell with the step size `epsilon` and the damping `gamma`."""

    def equations(
        params: AntisymmetricRNNParams, carry: Hidden, wx: Array, uh: Array
    ) -> tuple[Hidden, Array, GatedAntisymmetricRNNGates]:
        wx_z, wx_h = blocks(wx, 2)
        z, n = jax.nn.sigmoid(wx_z + uh), jnp.tanh(wx_h + uh)
        h = carry.h + epsilon * z * n
        return Hidden(h), h, GatedAntisymmetricRNNGates(z, n)

    plain = _antisymmetric_rnn(epsilon, gamma)
    return plain.replace(init=_init_gated, equations=equations, name="antisymmetric_rnn_gated")


antisymmetric_rnn = _antisymmetric_rnn()
"""The antisymmetric network as a Cell, with epsilon = 0.3, gamma = 0.01."""

antisymmetric_rnn_gated = _antisymmetric_rnn_gated()
"""The antisymmetric network with an input gate as a Cell, with epsilon = 0.3, gamma = 0.01."""

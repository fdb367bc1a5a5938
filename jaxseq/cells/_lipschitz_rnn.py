"""Lipschitz network: an Euler step of an ODE, linear plus tanh, whose matrices have a prescribed symmetry.

    S(M; beta, gamma) = (1 - beta) (M + M^T) + beta (M - M^T) - gamma I
    A = S(U_A; beta_A, gamma_A)
    B = S(U_B; beta_B, gamma_B)
    linear = h A
    n = tanh(x W + h B + b)
    h' = h + epsilon * (linear + n)

beta takes each matrix from symmetric (0) to antisymmetric (1), and gamma is its damping: together they bound the
Lipschitz constant and keep the system stable. U is packed in the order A B (the paper's M_A and M_W): one matrix
product at each step.

``.with_`` takes epsilon (0.3 by default; above 0), beta_A and beta_B (0.75; 0 to 1), gamma_A and gamma_B (0.01; at
least 0).

The paper gives the ODE, and integrates by forward Euler, as here, or by a second-order Runge-Kutta method; its readout
D belongs to the model. `init` draws U orthogonal, as for other cells; the paper draws it from a narrow normal.

Reference: Erichson, Azencot, Queiruga, Hodgkinson & Mahoney 2021, "Lipschitz recurrent neural networks",
arXiv:2006.12070, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks
from jaxseq.cells._init import check_range, init_of
from jaxseq.cells._parts import Hidden, input_affine, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.notation import Array


class LipschitzRNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, 2H]`` (A B), ``b [H]``."""

    W: Array
    U: Array
    b: Array


class LipschitzRNNGates(NamedTuple):
    """The linear change ``h A`` and the nonlinear one, ``tanh(...)``, each ``[B, H]``."""

    linear: Array
    n: Array


init = init_of(LipschitzRNNParams, W="D H", U="H 2H", b="H")
initial_carry = zeros_carry(Hidden)


def symmetrised(M: Array, beta: float, gamma: float) -> Array:
    """Return ``(1 - beta) (M + M^T) + beta (M - M^T) - gamma I``, for ``M [H, H]``."""
    return M + (1 - 2 * beta) * M.T - gamma * jnp.eye(M.shape[0], dtype=M.dtype)


@made
def _lipschitz_rnn(
    epsilon: float = 0.3,
    beta_A: float = 0.75,
    beta_B: float = 0.75,
    gamma_A: float = 0.01,
    gamma_B: float = 0.01,
) -> Cell[LipschitzRNNParams, Hidden, Array, LipschitzRNNGates]:
    """Return the cell with the step size `epsilon`, the symmetries `beta` and the dampings `gamma` of A and B."""
    check_range("lipschitz_rnn.with_: epsilon", epsilon, 0, above=True)
    for letter, beta, gamma in (("A", beta_A, gamma_A), ("B", beta_B, gamma_B)):
        check_range(f"lipschitz_rnn.with_: beta_{letter}", beta, 0, 1)
        check_range(f"lipschitz_rnn.with_: gamma_{letter}", gamma, 0)

    def hidden_terms(params: LipschitzRNNParams, carry: Hidden) -> Array:
        U_A, U_B = blocks(params.U, 2)
        both = [symmetrised(U_A, beta_A, gamma_A), symmetrised(U_B, beta_B, gamma_B)]
        return carry.h @ jnp.concatenate(both, axis=-1)

    def equations(
        params: LipschitzRNNParams, carry: Hidden, wx: Array, uh: Array
    ) -> tuple[Hidden, Array, LipschitzRNNGates]:
        hA, hB = blocks(uh, 2)
        n = jnp.tanh(wx + hB)
        h = carry.h + epsilon * (hA + n)
        return Hidden(h), h, LipschitzRNNGates(hA, n)

    reference = 'Erichson et al. 2021, "Lipschitz recurrent neural networks", arXiv:2006.12070, section 3'
    return Cell(
        init, initial_carry, input_affine, hidden_terms, equations, "lipschitz_rnn", LipschitzRNNParams, reference
    )  # fmt: skip


lipschitz_rnn = _lipschitz_rnn()
"""The Lipschitz network as a Cell, with epsilon = 0.3, beta = 0.75, gamma = 0.01."""

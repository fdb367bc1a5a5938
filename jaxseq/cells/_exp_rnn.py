"""Orthogonal network by the exponential of a skew-symmetric matrix, with modReLU.

    a = x W + h U
    h' = sign(a) * relu(|a| + b)             modReLU
    passes = |a| + b > 0                     whether it lets a through

    exp_rnn:  S = above(A)                   A above its diagonal, zeros elsewhere
              U = expm(S - S^T)              matrix exponential: orthogonal for any A

U preserves norms, and for b = 0 modReLU is the identity. Only the entries of A above the diagonal matter, so any
optimizer may train A.

The exponential is the same at every step. `unroll` under jit computes it once: the compiler moves it out of the loop,
and the default recurrence computes its gradient after the loop (value and gradient of T, B, H = 100, 32, 128 take 5 ms
on a CPU; one exponential takes 0.3 ms and its gradient 1 ms). The gradient of plain `scan` computes it at every step,
as does each call of ``step``: use `modrelu_rnn` there, the same equations with a given U, with ``materialise(params)``.

`init` draws A as in Henaff, Szlam & LeCun 2016 (arXiv:1602.06662): rotations of pairs of units by angles uniform in
[-pi, pi).

Reference: Lezcano-Casado & Martinez-Rubio 2019, "Cheap orthogonal constraints in neural networks: a simple
parametrization of the orthogonal and unitary group", arXiv:1901.08428, section 3; modReLU: Arjovsky, Shah & Bengio
2016, "Unitary evolution recurrent neural networks", arXiv:1511.06464, eq. 8.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import init_of
from jaxseq.cells._parts import Hidden, hidden_product, zeros_carry
from jaxseq.notation import Array, Key


class ExpRNNParams(NamedTuple):
    """``W [D, H]``, ``A [H, H]`` (above the diagonal), ``b [H]`` (of modReLU)."""

    W: Array
    A: Array
    b: Array


class ModReLURNNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]`` (of modReLU)."""

    W: Array
    U: Array
    b: Array


class ExpRNNGates(NamedTuple):
    """The pre-activation ``a [B, H]``, and whether modReLU lets it through (1) or not (0)."""

    a: Array
    passes: Array


def rotations(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return ``A [H, H]``, zeros except ``A[0, 1]``, ``A[2, 3]``, ...: uniform angles in [-pi, pi)."""
    H = shape[0]
    angles = jax.random.uniform(key, (H // 2,), dtype, -math.pi, math.pi)
    first = 2 * jnp.arange(H // 2)
    return jnp.zeros(shape, dtype).at[first, first + 1].set(angles)


def orthogonal_matrix(A: Array) -> Array:
    """Return ``exp(S - S^T)``, with S the part of ``A [H, H]`` above the diagonal; in float32 for bfloat16."""
    from jax.scipy.linalg import expm  # imported here: slow, and no other cell needs it

    S = jnp.triu(A, 1).astype(A.dtype if jnp.finfo(A.dtype).bits >= 32 else jnp.float32)
    return expm(S - S.T).astype(A.dtype)


def materialise(params: ExpRNNParams) -> ModReLURNNParams:
    """Return the params with which `modrelu_rnn` computes what `exp_rnn` does with `params`, without the exponential.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells._exp_rnn import exp_rnn, materialise, modrelu_rnn
      >>> params = exp_rnn.init(jax.random.key(0), 3, 5)
      >>> loss = lambda p: unroll(modrelu_rnn, materialise(p), jnp.ones((7, 2, 3)))[1].sum()
      >>> jax.grad(loss)(params).A.shape
      (5, 5)
    """
    return ModReLURNNParams(params.W, orthogonal_matrix(params.A), params.b)


def input_terms(params: ExpRNNParams | ModReLURNNParams, x: Array) -> Array:
    """Return ``x W``, ``[B, H]``."""
    return x @ params.W


def hidden_terms(params: ExpRNNParams, carry: Hidden) -> Array:
    """Return ``h exp(S - S^T)``, ``[B, H]``."""
    return carry.h @ orthogonal_matrix(params.A)


def equations(
    params: ExpRNNParams | ModReLURNNParams, carry: Hidden, wx: Array, uh: Array
) -> tuple[Hidden, Array, ExpRNNGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    a = wx + uh
    size = jax.nn.relu(jnp.abs(a) + jnp.broadcast_to(params.b, a.shape))
    h = jnp.sign(a) * size
    return Hidden(h), h, ExpRNNGates(a, (size > 0).astype(a.dtype))


exp_rnn = Cell(
    init_of(ExpRNNParams, W="D H", A=("H H", rotations), b="H"), zeros_carry(Hidden, "A"),
    input_terms, hidden_terms, equations, "exp_rnn", ExpRNNParams,
    "Lezcano-Casado & Martinez-Rubio 2019, arXiv:1901.08428, section 3; modReLU: arXiv:1511.06464, eq. 8",
)  # fmt: skip
"""The orthogonal network by the exponential as a Cell."""

modrelu_rnn = Cell(
    init_of(ModReLURNNParams, W="D H", U="H H", b="H"), zeros_carry(Hidden),
    input_terms, hidden_product, equations, "modrelu_rnn", ModReLURNNParams,
    'Arjovsky, Shah & Bengio 2016, "Unitary evolution recurrent neural networks", arXiv:1511.06464, eq. 8',
)  # fmt: skip
"""The real network with modReLU as a Cell; `init` and `materialise` both return an orthogonal U."""

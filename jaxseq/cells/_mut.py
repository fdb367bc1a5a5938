"""MUT1, MUT2 and MUT3, the three best cells that an evolutionary search found by mutating a GRU.

    h' = z * n + (1 - z) * h                  z writes: 1 takes the candidate, 0 keeps the old state

    mut1:  r = sigmoid(x W_r + h U_r + b_r)
           z = sigmoid(x W_z + b_z)
           n = tanh(tanh(x W_n) + (r * h) U_n + b_n)

    mut2:  r = sigmoid(x W_r + h U_r + b_r)
           z = sigmoid(x W_z + h U_z + b_z)
           n = tanh(x W_n + (r * h) U_n + b_n)

    mut3:  r = sigmoid(x W_r + h U_r + b_r)
           z = sigmoid(x W_z + tanh(h) U_z + b_z)
           n = tanh(x W_n + (r * h) U_n + b_n)

Blocks are packed in the order r z n. In two places the paper has the input itself, without a matrix, which requires D =
H: ``tanh(x)`` in MUT1's candidate and ``x + h U_r`` in MUT2's reset gate. Here these have the matrices W_n (mut1) and
W_r (mut2), which start as the identity (its first rows or columns if D is not H); the identity gives the paper's
equations. Otherwise mut2 is the GRU of Cho et al. with a z that writes.

torchrecurrent has a matrix in the same places. Its MUT1 has a second bias inside the inner tanh, which the paper does
not have; its MUT3 computes these equations, while its documentation gives others.

Reference: Jozefowicz, Zaremba & Sutskever 2015, "An empirical exploration of recurrent network architectures",
ICML 2015, PMLR 37 (MUT1, MUT2, MUT3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine
from jaxseq.cells._init import InitOf, checked_init, init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.notation import Array, Key

P = TypeVar("P")


class MUT1Params(NamedTuple):
    """``W [D, 3H]`` (r z n), ``U [H, H]`` (r), ``U_n [H, H]``, ``b [3H]`` (r z n)."""

    W: Array
    U: Array
    U_n: Array
    b: Array


class MUTParams(NamedTuple):
    """``W [D, 3H]`` (r z n), ``U [H, 2H]`` (r z), ``U_n [H, H]``, ``b [3H]`` (r z n); of mut2 and mut3."""

    W: Array
    U: Array
    U_n: Array
    b: Array


class MUTGates(NamedTuple):
    """Reset gate, update gate (z = 1 writes) and candidate, each ``[B, H]``."""

    r: Array
    z: Array
    n: Array


def beginning_with_identity(name: str, init: InitOf[P], block: int) -> Callable[..., P]:
    """Return `init` with the identity as a block of W."""

    @checked_init(name, init)
    def with_identity(key: Key, input_size: int, hidden_size: int, **options: Any) -> Any:
        """Return parameters for D = input_size, H = hidden_size. Consumes `key`."""
        params: Any = init(key, input_size, hidden_size, **options)
        eye = jnp.eye(input_size, hidden_size, dtype=params.W.dtype)
        return params._replace(W=params.W.at[:, block * hidden_size : (block + 1) * hidden_size].set(eye))

    return with_identity


def input_terms_mut1(params: MUT1Params, x: Array) -> Array:
    """Return ``x W_r + b_r``, ``x W_z + b_z`` and ``tanh(x W_n) + b_n``, packed, ``[B, 3H]``."""
    H = params.U.shape[0]
    (W_rz, W_n), (b_rz, b_n) = jnp.split(params.W, [2 * H], axis=-1), jnp.split(params.b, [2 * H])
    inner = jnp.tanh(x @ W_n)
    return jnp.concatenate([affine(x, W_rz, b_rz), inner + jnp.broadcast_to(b_n, inner.shape)], axis=-1)


def hidden_terms_mut3(params: MUTParams, carry: Hidden) -> Array:
    """Return ``h U_r`` and ``tanh(h) U_z``, packed, ``[B, 2H]``."""
    U_r, U_z = jnp.split(params.U, 2, axis=-1)
    return jnp.concatenate([carry.h @ U_r, jnp.tanh(carry.h) @ U_z], axis=-1)


def gates_mut1(params: MUT1Params, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, MUTGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of mut1, whose update gate does not see h."""
    return equations(params, carry, wx, jnp.concatenate([uh, jnp.zeros_like(uh)], axis=-1))


def equations(params: MUT1Params | MUTParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, MUTGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of mut2 or mut3."""
    H = carry.h.shape[-1]
    wx_rz, wx_n = jnp.split(wx, [2 * H], axis=-1)
    r, z = activate(wx_rz + uh, "sigmoid sigmoid")
    n = jnp.tanh(wx_n + (r * carry.h) @ params.U_n)
    h = z * n + (1 - z) * carry.h
    return Hidden(h), h, MUTGates(r, z, n)


REFERENCE = (
    'Jozefowicz, Zaremba & Sutskever 2015, "An empirical exploration of recurrent network architectures", PMLR 37'
)
initial_carry = zeros_carry(Hidden)
init_mut1 = init_of(MUT1Params, W="D 3H", U="H H", U_n="H H", b="3H")
init = init_of(MUTParams, W="D 3H", U="H 2H", U_n="H H", b="3H")

mut1 = Cell(
    beginning_with_identity("mut1", init_mut1, 2), initial_carry, input_terms_mut1, hidden_product, gates_mut1,
    "mut1", MUT1Params, REFERENCE,
)  # fmt: skip
"""MUT1."""

mut2 = Cell(
    beginning_with_identity("mut2", init, 0), initial_carry, input_affine, hidden_product, equations,
    "mut2", MUTParams, REFERENCE,
)  # fmt: skip
"""MUT2."""

mut3 = Cell(init, initial_carry, input_affine, hidden_terms_mut3, equations, "mut3", MUTParams, REFERENCE)
"""MUT3."""

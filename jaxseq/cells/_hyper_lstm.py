"""HyperLSTM: a small LSTM (^) scales the rows of the main LSTM's matrices at each step.

The small one, of M units, is an LSTM whose input is (h, x): with y in i f g o

    a^_y = x W^_y + h V^_y + h^ U^_y + b^_y, then c^' and h^' as in the LSTM

For each gate y of the main one, three short vectors of N numbers, and from them vectors of H numbers:

    z_hy = h^ Z_hy + e_hy,   z_xy = h^ Z_xy + e_xy,   z_by = h^ Z_by      embeddings of the small state
    a_y = (z_hy S_hy) * (h U_y) + (z_xy S_xy) * (x W_y) + z_by S_by + b_y
    i, f, o = sigmoid(a_i, a_f, a_o),  g = tanh(a_g)                      write, retain, show; candidate
    c' = f * c + i * g,   h' = o * tanh(c')

As printed in the paper, the embeddings come from the small state of the previous step, h^; the authors' code, and
others after it, use h^' of the same step. The layer norms that the paper puts on each a^_y, on each a_y and on c' are
left out. `init` takes ``hyper`` (M; a quarter of H by default) and ``embedding`` (N; 4), and draws Z near 0 with e = 1,
S_h = S_x = 1 / N and S_b = 0, so the cell starts close to an LSTM (the paper, with layer norm, has 0.1 / N). The
blocks are packed in the order i f g o, those of Z and S first by h x b.

Reference: Ha, Dai & Le 2016, "HyperNetworks", arXiv:1609.09106, appendix A.2.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine, zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.initializers import constant, normal
from jaxseq.notation import Array, Key, Tree


class HyperLSTMParams(NamedTuple):
    """Main ``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]``; small ``W_hat [D, 4M]``, ``V_hat [H, 4M]``, ``U_hat [M, 4M]``.

    ``b_hat [4M]``; embeddings ``Z [M, 3*4*N]`` and ``e [2*4*N]``; scales ``S [3, 4, N, H]``.
    """

    W: Array
    U: Array
    b: Array
    W_hat: Array
    V_hat: Array
    U_hat: Array
    b_hat: Array
    Z: Array
    e: Array
    S: Array


class HyperLSTMCarry(NamedTuple):
    """Main state ``h, c [B, H]`` and small state ``h_hat, c_hat [B, M]``."""

    h: Array
    c: Array
    h_hat: Array
    c_hat: Array


class HyperLSTMGates(NamedTuple):
    """Main gates ``[B, H]``; small gates ``[B, M]``; scales of ``h U`` and ``x W``, and what is added, ``[B, 4H]``."""

    i: Array
    f: Array
    g: Array
    o: Array
    i_hat: Array
    f_hat: Array
    g_hat: Array
    o_hat: Array
    scale_h: Array
    scale_x: Array
    shift: Array


def near_zero(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw from a normal with standard deviation 0.01."""
    return 0.01 * normal(key, shape, dtype)


def scales(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return ``S [3, 4, N, H]``: 1 / N for h and x, 0 for b. `key` is not used."""
    return jnp.full(shape, 1 / shape[2], dtype).at[2].set(0)


init = init_of(
    HyperLSTMParams, added={"forget_bias": (1.0, "b[1] b_hat[1]")},
    sizes={"M": Size("hyper", part=4), "N": Size("embedding", 4)}, whole="Z",
    W="D 4H", U="H 4H", b="4H", W_hat="D 4M", V_hat="H 4M", U_hat="M 4M", b_hat="4M",
    Z=("M 12N", near_zero), e=("8N", constant(1.0)), S=("3 4 N H", scales),
)  # fmt: skip


def initial_carry(params: HyperLSTMParams, batch_shape: tuple[int, ...] = ()) -> HyperLSTMCarry:
    """Return zeros, ``[*batch_shape, H]`` and ``[*batch_shape, M]``."""
    H, M = params.U.shape[0], params.U_hat.shape[0]
    return HyperLSTMCarry(*(zeros_for(params.b, batch_shape, size) for size in (H, H, M, M)))


def input_terms(params: HyperLSTMParams, x: Array) -> tuple[Array, Array]:
    """Return ``x W``, ``[B, 4H]``, and ``x W^ + b^``, ``[B, 4M]``."""
    return x @ params.W, affine(x, params.W_hat, params.b_hat)


def hidden_terms(params: HyperLSTMParams, carry: HyperLSTMCarry) -> tuple[Array, Array, Array]:
    """Return ``h U [B, 4H]``, ``h V^ + h^ U^ [B, 4M]``, and both scales and the shift, ``[B, 3, 4H]``."""
    H, M = carry.h.shape[-1], carry.h_hat.shape[-1]
    uh = carry.h @ jnp.concatenate([params.U, params.V_hat], axis=-1)
    small = carry.h_hat @ jnp.concatenate([params.U_hat, params.Z], axis=-1)
    z = small[..., 4 * M :]
    z = z + jnp.broadcast_to(jnp.pad(params.e, (0, z.shape[-1] - params.e.shape[0])), z.shape)
    z = z.reshape(*z.shape[:-1], *params.S.shape[:3])
    d = jnp.einsum("...ryn,rynh->...ryh", z, params.S).reshape(*z.shape[:-3], 3, 4 * H)
    return uh[..., : 4 * H], uh[..., 4 * H :] + small[..., : 4 * M], d


def equations(
    params: HyperLSTMParams, carry: HyperLSTMCarry, wx: Tree, uh: Tree
) -> tuple[HyperLSTMCarry, Array, HyperLSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step: the equations."""
    (main_x, small_x), (main_h, small_h, d) = wx, uh
    i_hat, f_hat, g_hat, o_hat = activate(small_x + small_h, "sigmoid sigmoid tanh sigmoid")
    c_hat = f_hat * carry.c_hat + i_hat * g_hat
    h_hat = o_hat * jnp.tanh(c_hat)
    scale_h, scale_x, shift = (d[..., role, :] for role in range(3))
    a = scale_h * main_h + scale_x * main_x + shift + jnp.broadcast_to(params.b, shift.shape)
    i, f, g, o = activate(a, "sigmoid sigmoid tanh sigmoid")
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    named = HyperLSTMGates(i, f, g, o, i_hat, f_hat, g_hat, o_hat, scale_h, scale_x, shift)
    return HyperLSTMCarry(h, c, h_hat, c_hat), h, named


hyper_lstm = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "hyper_lstm", HyperLSTMParams,
    'Ha, Dai & Le 2016, "HyperNetworks", arXiv:1609.09106, appendix A.2.2',
)  # fmt: skip
"""The HyperLSTM, without layer norm, as a Cell."""

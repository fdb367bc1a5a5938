"""The mLSTM block of xLSTM: an mLSTM in a residual block that projects its input up before the memory.

With D features of the input and of the output, and H units in between, in N heads of K = H / N units:

    x^ = norm(x) * gain_x                                  layer norm
    u = x^ W_u                                             up-projection, input of the memory
    z = silu(x^ W_z)                                       up-projection, output gate: show
    w = silu(across((V_past * past)^T) + V_now * u + b_w)  causal convolution of window 4, unit by unit
    q = w W_q                                              query
    kappa = w W_k                                          key before its root
    v = u W_v                                              value, past the convolution
    log_i = (q, kappa, v) W_i + b_i                        input gate: write, not bounded
    log_f = log(sigmoid((q, kappa, v) W_f + b_f))          forget gate: retain
    k = kappa / sqrt(K),  K = H / N                        key; eq. 23
    m' = max(log_f + m, log_i)                             stabiliser; eq. 15
    i = exp(log_i - m')                                    eq. 16
    f = exp(log_f + m - m')                                eq. 17
    C' = f * C + i * k^T v                                 memory; eq. 19
    n' = f * n + i * k                                     normaliser; eq. 20
    r = q C' / max(|q n'^T|, exp(-m'))                     eq. 21, without its output gate
    y = x + ((norm(r) * gain_h + skip * w) * z) W_down     norm of each head, skip, down-projection, residual
    past' = queue(past, u)                                 the last three u
    norm(a) = (a - mean(a)) / sqrt(var(a) + 1e-5)

The memory is that of `mlstm`. x is a network's residual stream, and y has its D features, so blocks are stacked with
nothing between them; an embedding comes before the first block, a norm after the last. H is 2 D in the paper
(projection factor 2): ``mlstm_block.init(key, D, 2 * D)``.

The paper draws the block (figure 10) and gives equations for its memory only. As in the authors' code, gains have no
shifts, only the convolution and the gates have biases, the gates see (q, kappa, v), and W_q, W_k, W_v are
block-diagonal. `init` takes ``heads=1`` (N, a divisor of H; 4 in the paper) and ``blocks=1`` (P, a divisor of H; in the
paper blocks have 4 units, ``blocks=H // 4``). It adds ``forget_bias=3.0`` to the forget gates' biases (there 3 to 6
over the heads); as there, ``W_if`` starts at zeros, gains and skip at ones. The code also adds 1e-6 to the divisor.

Reference: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter 2024, "xLSTM: extended
long short-term memory", NeurIPS, arXiv:2405.04517, section 2.4 and figure 10 of the appendix; the memory section 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, affine, blocks, zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Access, Larger, MemoryEquations, Rest, Window, merged
from jaxseq.cells._mlstm import pack, retrieved, stabiliser, stored
from jaxseq.cells._parts import blockwise, no_hidden_terms, over_window, scaled, standardised
from jaxseq.initializers import constant, uniform, zeros
from jaxseq.notation import Array

EPSILON = 1e-5
"""Added to variances, as in torch."""


class MLSTMBlockParams(NamedTuple):
    """The weights, for N heads and P blocks of Q units.

    Fields: ``W [D, 2H]`` (u z), ``V [3+1, H]`` (past now), ``b_w [H]``; ``W_qk [P, Q, 2Q]`` (q k), ``W_v [P, Q, Q]``;
    ``W_if [3H, 2N]`` (i f), ``b_if [2N]`` (i f); ``W_down [H, D]``, ``gain_x [D]``, ``gain_h [H]``, ``skip [H]``.
    """

    W: Array
    V: Array
    b_w: Array
    W_qk: Array
    W_v: Array
    W_if: Array
    b_if: Array
    W_down: Array
    gain_x: Array
    gain_h: Array
    skip: Array


class MLSTMBlockCarry(NamedTuple):
    """C, n and m of the mLSTM, ``[B, N, K, K]``, ``[B, N, K]``, ``[B, N]``; the last three u, ``past [B, 3, H]``."""

    C: Array
    n: Array
    m: Array
    past: Array


class MLSTMBlockGates(NamedTuple):
    """Input (write) and forget gate (retain), stabilised, and their logs, ``[B, N]``; z (show), w ``[B, H]``; q k v."""

    i: Array
    f: Array
    z: Array
    q: Array
    k: Array
    v: Array
    log_f: Array
    log_i: Array
    w: Array


class Projected(NamedTuple):
    """The input, and its up-projections u and z; z is after its silu."""

    x: Array
    u: Array
    z: Array


class Mixed(NamedTuple):
    """x, z and w; query, key before its root, and value, each ``[B, H]``; logits of the gates, ``[B, 2N]``."""

    x: Array
    z: Array
    w: Array
    qkv: tuple[Array, ...]
    a_if: Array


_ONES = constant(1.0)

init = init_of(
    MLSTMBlockParams, added={"forget_bias": (3.0, "b_if[1]")},
    W="D 2H", V=("4 H", uniform(0.5)), b_w="H", W_qk="P Q 2Q", W_v="P Q Q", W_if=("3H 2N", zeros), b_if="2N",
    W_down="H D", gain_x=("D", _ONES), gain_h=("H", _ONES), skip=("H", _ONES),
    sizes={"N": Size("heads", 1, divides="H"), "P": Size("blocks", 1, divides="H"),
           "Q": Size("blocks", 1, divides="into")},
)  # fmt: skip


def initial_carry(params: MLSTMBlockParams, batch_shape: tuple[int, ...] = ()) -> MLSTMBlockCarry:
    """Return an empty memory ``[*batch_shape, N, K, K]``, its normaliser and stabiliser, no inputs: zeros."""
    b, H, N = params.b_w, params.b_w.shape[0], params.b_if.shape[0] // 2
    K = H // N
    C, n = (zeros_for(b, (*batch_shape, N, *more), K) for more in ((K,), ()))
    past = zeros_for(b, (*batch_shape, params.V.shape[0] - 1), H)
    return MLSTMBlockCarry(C, n, zeros_for(b, batch_shape, N), past)


def input_terms(params: MLSTMBlockParams, x: Array) -> Projected:
    """Return x and its up-projections."""
    u, a_z = blocks(scaled(standardised(x, EPSILON), params.gain_x) @ params.W, 2)
    return Projected(x, u, jax.nn.silu(a_z))


def past(params: MLSTMBlockParams, wx: Projected) -> dict[str, Window]:
    """Return the update of the last inputs."""
    return {"past": Window(wx.u)}


def mixed(params: MLSTMBlockParams, wx: Projected, past: Rest) -> Mixed:
    """Return the memory's input terms, from the inputs in the window."""
    w = jax.nn.silu(over_window(params.V, params.b_w, past.old["past"], wx.u))
    q, k = (merged(a) for a in blocks(blockwise(w, params.W_qk), 2))
    qkv = q, k, merged(blockwise(wx.u, params.W_v))
    return Mixed(wx.x, wx.z, w, qkv, affine(jnp.concatenate(qkv, axis=-1), params.W_if, params.b_if))


def rest(params: MLSTMBlockParams, wx: Mixed) -> dict[str, Larger]:
    """Return the update of m."""
    return stabiliser(wx.a_if)


def access(params: MLSTMBlockParams, wx: Mixed, rest: Rest) -> tuple[Access, MLSTMBlockGates]:
    """Return a step's access to C and n, and the gates."""
    access, gates = stored(wx.qkv, wx.a_if, rest)
    return access, MLSTMBlockGates(z=wx.z, w=wx.w, **gates)


def out(params: MLSTMBlockParams, read: tuple[Array, Array], gates: MLSTMBlockGates, wx: Mixed, rest: Rest) -> Array:
    """Return ``y [B, D]``: x plus the down-projection of the gated sum of the head-normed retrieval and the skip."""
    h = scaled(merged(standardised(retrieved(read, rest), EPSILON)), params.gain_h)
    return wx.x + ((h + scaled(wx.w, params.skip)) * wx.z) @ params.W_down


def unpack(memory: tuple[Array, Array], rest: Mapping[str, Array]) -> MLSTMBlockCarry:
    """Return the carry."""
    return MLSTMBlockCarry(memory[0], memory[1][..., 0], rest["m"], rest["past"])


mlstm_block = Cell(
    init, initial_carry, input_terms, no_hidden_terms,
    MemoryEquations(access, out, rest, pack, unpack, past=past, mixed=mixed), "mlstm_block", MLSTMBlockParams,
    'Beck et al. 2024, "xLSTM: extended long short-term memory", arXiv:2405.04517, section 2.4, figure 10',
)  # fmt: skip
"""The mLSTM block as a Cell."""

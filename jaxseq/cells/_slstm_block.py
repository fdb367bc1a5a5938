"""The sLSTM block of xLSTM: an sLSTM in a residual block, followed by a gated network that projects up.

With D features of the input, the output and the sLSTM (in N heads), and H units of the network that follows:

    x^ = norm(x) * gain_x                                   layer norm
    w = silu(across((V_past * past)^T) + V_now * x^ + b_w)  causal convolution of window 4, unit by unit
    log_i = w W_i + h U_i + b_i                             input gate: write, not bounded; eq. 12
    log_f = log(sigmoid(w W_f + h U_f + b_f))               forget gate: retain; eq. 13
    g = tanh   (x^ W_g + h U_g + b_g)                       candidate (the paper's z); eq. 11
    o = sigmoid(x^ W_o + h U_o + b_o)                       output gate: show; eq. 14
    m' = max(log_f + m, log_i)                              stabiliser; eq. 15
    i = exp(log_i - m')                                     eq. 16
    f = exp(log_f + m - m')                                 eq. 17
    c' = f * c + i * g                                      eq. 8
    n' = f * n + i                                          normaliser; eq. 9
    h' = o * c' / n'                                        eq. 10
    r = x + norm(h') * gain_h                               each head normed; residual
    r^ = norm(r) * gain_r                                   layer norm
    z = gelu(r^ W_z)                                        gate of the network
    y = r + (z * (r^ W_u)) W_down                           up- and down-projection; residual
    past' = queue(past, x^)                                 the last three x^
    norm(a) = (a - mean(a)) / sqrt(var(a) + 1e-5)
    gelu(a) = a * (1 + erf(a / sqrt(2))) / 2

The step from i to h' is that of `slstm`, head by head. x is a network's residual stream, and y has its D features, so
blocks are stacked with nothing between them; an embedding comes before the first block, a norm after the last. H is 4/3
D in the paper (projection factor 4/3): ``slstm_block.init(key, D, 4 * D // 3)``.

The paper draws the block (figure 9) and gives equations only for its sLSTM. The rest is as in the authors' code: gains
without shifts, the convolution for i and f only and with a bias, W and U block-diagonal in the heads, the exact gelu.
`init` takes ``heads=1`` (N, a divisor of D; 4 in the paper) and adds ``forget_bias=1.0`` to the forget gate's biases;
gains start at ones. The authors' code sets these biases by a power law over units and blocks, and starts U at zeros.

Reference: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter 2024, "xLSTM: extended
long short-term memory", NeurIPS, arXiv:2405.04517, section 2.4 and figure 9 of the appendix; the sLSTM section 2.2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, blocks, zeros_for
from jaxseq.cells._init import Size, init_of
from jaxseq.cells._memory import Window, heads, merged
from jaxseq.cells._mlstm_block import EPSILON
from jaxseq.cells._parts import blockwise, over_window, scaled, standardised
from jaxseq.cells._slstm import SLSTMCarry, stepped
from jaxseq.initializers import constant, uniform
from jaxseq.notation import Array


class SLSTMBlockParams(NamedTuple):
    """The weights, for N heads of K features.

    Fields: ``W [D, 2H]`` (z u), ``W_down [H, D]``; ``V [3+1, D]`` (past now), ``b_w [D]``; ``W_if [N, K, 2K]`` (i f),
    ``W_go [N, K, 2K]`` (g o), ``U [N, K, 4K]`` (i f g o), ``b [4D]`` (i f g o); ``gain_x [D]``, ``gain_h [D]``,
    ``gain_r [D]``.
    """

    W: Array
    W_down: Array
    V: Array
    b_w: Array
    W_if: Array
    W_go: Array
    U: Array
    b: Array
    gain_x: Array
    gain_h: Array
    gain_r: Array


class SLSTMBlockCarry(NamedTuple):
    """h, c, n and m of the sLSTM, each ``[B, N, K]``; the last three normed inputs, ``past [B, 3, D]``."""

    h: Array
    c: Array
    n: Array
    m: Array
    past: Array


class SLSTMBlockGates(NamedTuple):
    """i (write), f (retain), g, o (show), log f and log i, ``[B, N, K]``; convolution w ``[B, D]``; z ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array
    log_f: Array
    log_i: Array
    w: Array
    z: Array


class Normed(NamedTuple):
    """The input, raw and normed, ``[B, D]``, and its parts of g and o, ``[B, N, 2K]``."""

    x: Array
    normed: Array
    a_go: Array


_ONES = constant(1.0)

init = init_of(
    SLSTMBlockParams, forget=1, W="D 2H", W_down="H D", V=("4 D", uniform(0.5)), b_w="D",
    W_if="N K 2K", W_go="N K 2K", U="N K 4K", b="4D",
    gain_x=("D", _ONES), gain_h=("D", _ONES), gain_r=("D", _ONES),
    sizes={"N": Size("heads", 1, divides="D"), "K": Size("heads", 1, divides="into D")},
)  # fmt: skip


def initial_carry(params: SLSTMBlockParams, batch_shape: tuple[int, ...] = ()) -> SLSTMBlockCarry:
    """Return a state of zeros, each ``[*batch_shape, N, K]``, and no inputs, zeros ``[*batch_shape, 3, D]``."""
    N, K, _ = params.U.shape
    h, c, n, m = (zeros_for(params.b, (*batch_shape, N), K) for _ in range(4))
    return SLSTMBlockCarry(h, c, n, m, zeros_for(params.b, (*batch_shape, params.V.shape[0] - 1), N * K))


def input_terms(params: SLSTMBlockParams, x: Array) -> Normed:
    """Return x, raw and normed, and the parts of g and o."""
    normed = scaled(standardised(x, EPSILON), params.gain_x)
    return Normed(x, normed, blockwise(normed, params.W_go))


def hidden_terms(params: SLSTMBlockParams, carry: SLSTMBlockCarry) -> Array:
    """Return ``h U`` of each head, ``[B, N, 4K]``."""
    return blockwise(merged(carry.h), params.U)


def equations(
    params: SLSTMBlockParams, carry: SLSTMBlockCarry, wx: Normed, uh: Array
) -> tuple[SLSTMBlockCarry, Array, SLSTMBlockGates]:
    """Return ``(carry, y [B, D], gates)`` of one step: the equations."""
    *state, past = carry
    w = jax.nn.silu(over_window(params.V, params.b_w, past, wx.normed))
    b = jnp.concatenate([heads(b, params.U.shape[0]) for b in blocks(params.b, 4)], axis=-1)
    a = jnp.concatenate([blockwise(w, params.W_if), wx.a_go], axis=-1)
    a = a + jnp.broadcast_to(b, a.shape)
    new, h, gates = stepped(SLSTMCarry(*state), a + uh)
    r = wx.x + scaled(merged(standardised(h, EPSILON)), params.gain_h)
    a_z, u = blocks(scaled(standardised(r, EPSILON), params.gain_r) @ params.W, 2)
    z = jax.nn.gelu(a_z, approximate=False)
    y = r + (z * u) @ params.W_down
    return SLSTMBlockCarry(*new, Window(wx.normed).of(past)), y, SLSTMBlockGates(*gates, w, z)


slstm_block = Cell(
    init, initial_carry, input_terms, hidden_terms, equations, "slstm_block", SLSTMBlockParams,
    'Beck et al. 2024, "xLSTM: extended long short-term memory", arXiv:2405.04517, section 2.4, figure 9',
)  # fmt: skip
"""The sLSTM block as a Cell."""

"""Structurally constrained recurrent network: a hidden layer next to a context that changes slowly.

    write = (1 - alpha) * (x W_s + b_s)                  what enters the context
    s' = write + alpha * s                               context: an alpha of 1 retains, of 0 writes
    a = s' P + x W_h + h U + b_h
    h' = sigmoid(a)                                      hidden layer
    y  = h' V_h + s' V_s                                 output

alpha is a constant: ``.with_`` takes alpha (0.95 by default, as in the paper's experiments; 0 to 1). The output is the
input of the paper's softmax; that softmax and its bias belong to the model. W and b are packed in the order s h. The
paper has no biases; b adds one for each layer. Its context may have another size than the hidden layer; here both have
H units.

torchrecurrent's SCRNCell feeds y, through a tanh, back to the next step instead of h; the paper feeds h back.

Reference: Mikolov, Joulin, Chopra, Mathieu & Ranzato 2014, "Learning longer memory in recurrent neural networks",
arXiv:1412.7753, section 3.2, in their letters x = x, W_s = B, W_h = A, U = R, V_h = U, V_s = V.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

from jaxseq.cells._base import Cell, blocks
from jaxseq.cells._init import check_range, init_of
from jaxseq.cells._parts import hidden_product, input_affine, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.initializers import glorot
from jaxseq.notation import Array


class SCRNParams(NamedTuple):
    """``W [D, 2H]`` (s h), ``U [H, H]``, ``P [H, H]``, ``V_h [H, H]``, ``V_s [H, H]``, ``b [2H]`` (s h)."""

    W: Array
    U: Array
    P: Array
    V_h: Array
    V_s: Array
    b: Array


class SCRNCarry(NamedTuple):
    """Hidden layer ``h [B, H]`` and slow context ``s [B, H]``."""

    h: Array
    s: Array


class SCRNGates(NamedTuple):
    """What enters the context, ``write [B, H]``, and the pre-activation of the hidden layer, ``a [B, H]``."""

    write: Array
    a: Array


init = init_of(
    SCRNParams, W="D 2H", U="H H", P=("H H", glorot), V_h="H H", V_s="H H", b="2H"
)  # fmt: skip
initial_carry = zeros_carry(SCRNCarry)


@made
def _scrn(alpha: float = 0.95) -> Cell[SCRNParams, SCRNCarry, Array, SCRNGates]:
    """Return the cell whose context retains `alpha` of itself at each step."""
    check_range("scrn.with_: alpha", alpha, 0, 1)

    def equations(params: SCRNParams, carry: SCRNCarry, wx: Array, uh: Array) -> tuple[SCRNCarry, Array, SCRNGates]:
        wx_s, wx_h = blocks(wx, 2)
        write = (1 - alpha) * wx_s
        s = write + alpha * carry.s
        a = s @ params.P + wx_h + uh
        h = jax.nn.sigmoid(a)
        y = h @ params.V_h + s @ params.V_s
        return SCRNCarry(h, s), y, SCRNGates(write, a)

    reference = 'Mikolov et al. 2014, "Learning longer memory in recurrent neural networks", arXiv:1412.7753, sect. 3.2'
    return Cell(init, initial_carry, input_affine, hidden_product, equations, "scrn", SCRNParams, reference)


scrn = _scrn()
"""The SCRN as a Cell, with alpha = 0.95."""

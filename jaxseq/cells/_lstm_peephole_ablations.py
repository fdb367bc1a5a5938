"""The eight variants of Greff et al. 2015, each the vanilla LSTM with one change, which show what each part is for.

The vanilla LSTM, which is `lstm_peephole`:

    i = sigmoid(x W_i + h U_i + p_i * c  + b_i)
    f = sigmoid(x W_f + h U_f + p_f * c  + b_f)
    g = tanh   (x W_g + h U_g + b_g)
    c' = f * c + i * g
    o = sigmoid(x W_o + h U_o + p_o * c' + b_o)
    h' = o * tanh(c')

The change of each variant, and the order of its blocks:

    lstm_nig:   i = 1                     no input gate; blocks f g o
    lstm_nfg:   f = 1                     no forget gate: c only adds up; blocks i g o
    lstm_nog:   o = 1                     no output gate; blocks i f g
    lstm_niaf:  g = x W_g + h U_g + b_g   no input activation function; blocks i f g o
    lstm_noaf:  h' = o * c'               no output activation function; blocks i f g o
    lstm_cifg:  f = 1 - i                 coupled input and forget gate; blocks i g o
    lstm_fgr:   i = sigmoid(x W_i + h U_i + p_i * c  + ifo R_i + b_i)
                f = sigmoid(x W_f + h U_f + p_f * c  + ifo R_f + b_f)
                o = sigmoid(x W_o + h U_o + p_o * c' + ifo R_o + b_o)
                ifo' = (i, f, o)          full gate recurrence: each is fed all three; blocks i f g o

The eighth, NP (no peepholes), is `lstm` itself. As there, i writes, f retains (1 keeps, 0 erases), o shows. A gate that
is left out has no parameters; its trace shows its value, 1 or 1 - i. In lstm_fgr the gates before the first step are 0;
the paper does not specify them.

Reference: Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber 2015, "LSTM: a search space odyssey",
arXiv:1503.04069, the list of variants; full gate recurrence comes from the LSTM of 1997.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, zeros_for
from jaxseq.cells._init import init_of
from jaxseq.cells._lstm import LSTMCarry, LSTMGates, initial_carry
from jaxseq.cells._lstm_peephole import PeepholeParams, hidden_terms, output_gate
from jaxseq.cells._parts import input_affine
from jaxseq.initializers import uniform
from jaxseq.notation import Array, Params, Tree

Step = tuple[LSTMCarry, Array, LSTMGates]
_small = uniform(0.1)


class NoOutputGateParams(NamedTuple):
    """``W [D, 3H]``, ``U [H, 3H]``, ``b [3H]`` (i f g); peepholes ``p [2H]`` of the old c (i f)."""

    W: Array
    U: Array
    b: Array
    p: Array


class FullGateRecurrenceParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]`` (i f g o); peepholes ``p [2H]`` of the old c (i f), ``p_o [H]``.

    ``R [3H, 3H]`` (i f o) maps the last step's gates, in the same order.
    """

    W: Array
    U: Array
    b: Array
    p: Array
    p_o: Array
    R: Array


class FullGateRecurrenceCarry(NamedTuple):
    """Hidden state ``h [B, H]``, cell state ``c [B, H]`` and the last gates ``ifo [B, 3H]``."""

    h: Array
    c: Array
    ifo: Array


def _opened(a: Array, names: str) -> list[Array]:
    """Return the gates with the given activations, and the output gate's block without one."""
    count = len(names.split())
    front, a_o = jnp.split(a, [a.shape[-1] // (count + 1) * count], axis=-1)
    return [*activate(front, names), a_o]


def no_input_gate(params: PeepholeParams, carry: LSTMCarry, wx: Array, uh: Array) -> Step:
    """Return ``(carry, h [B, H], gates)`` of one step of lstm_nig."""
    f, g, a_o = _opened(wx + uh, "sigmoid tanh")
    c = f * carry.c + g
    o = output_gate(a_o, c, params.p_o)
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(jnp.ones_like(f), f, g, o)


def no_forget_gate(params: PeepholeParams, carry: LSTMCarry, wx: Array, uh: Array) -> Step:
    """Return ``(carry, h [B, H], gates)`` of one step of lstm_nfg."""
    i, g, a_o = _opened(wx + uh, "sigmoid tanh")
    c = carry.c + i * g
    o = output_gate(a_o, c, params.p_o)
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(i, jnp.ones_like(i), g, o)


def no_output_gate(params: NoOutputGateParams, carry: LSTMCarry, wx: Array, uh: Array) -> Step:
    """Return ``(carry, h [B, H], gates)`` of one step of lstm_nog."""
    i, f, g = activate(wx + uh, "sigmoid sigmoid tanh")
    c = f * carry.c + i * g
    h = jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, jnp.ones_like(i))


def no_input_activation(params: PeepholeParams, carry: LSTMCarry, wx: Array, uh: Array) -> Step:
    """Return ``(carry, h [B, H], gates)`` of one step of lstm_niaf."""
    i, f, g, a_o = _opened(wx + uh, "sigmoid sigmoid none")
    c = f * carry.c + i * g
    o = output_gate(a_o, c, params.p_o)
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, o)


def no_output_activation(params: PeepholeParams, carry: LSTMCarry, wx: Array, uh: Array) -> Step:
    """Return ``(carry, h [B, H], gates)`` of one step of lstm_noaf."""
    i, f, g, a_o = _opened(wx + uh, "sigmoid sigmoid tanh")
    c = f * carry.c + i * g
    o = output_gate(a_o, c, params.p_o)
    h = o * c
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, o)


def coupled_gates(params: PeepholeParams, carry: LSTMCarry, wx: Array, uh: Array) -> Step:
    """Return ``(carry, h [B, H], gates)`` of one step of lstm_cifg."""
    i, g, a_o = _opened(wx + uh, "sigmoid tanh")
    f = 1 - i
    c = f * carry.c + i * g
    o = output_gate(a_o, c, params.p_o)
    h = o * jnp.tanh(c)
    return LSTMCarry(h, c), h, LSTMGates(i, f, g, o)


def full_gate_recurrence(
    params: FullGateRecurrenceParams, carry: FullGateRecurrenceCarry, wx: Array, uh: Array
) -> tuple[FullGateRecurrenceCarry, Array, LSTMGates]:
    """Return ``(carry, h [B, H], gates)`` of one step of lstm_fgr."""
    i, f, g, a_o = _opened(wx + uh, "sigmoid sigmoid tanh")
    c = f * carry.c + i * g
    o = output_gate(a_o, c, params.p_o)
    h = o * jnp.tanh(c)
    return FullGateRecurrenceCarry(h, c, jnp.concatenate([i, f, o], axis=-1)), h, LSTMGates(i, f, g, o)


def gates_before(params: FullGateRecurrenceParams, carry: FullGateRecurrenceCarry) -> Array:
    """Return ``h U + p * c + (i, f, o) R``, ``[B, 4H]``: the hidden terms of lstm_fgr."""
    to_if, to_o = jnp.split(carry.ifo @ params.R, [2 * carry.c.shape[-1]], axis=-1)
    to_ifgo = jnp.concatenate([to_if, jnp.zeros_like(to_o), to_o], axis=-1)
    return hidden_terms(params, LSTMCarry(carry.h, carry.c)) + to_ifgo


def no_gates_before(params: FullGateRecurrenceParams, batch_shape: tuple[int, ...] = ()) -> FullGateRecurrenceCarry:
    """Return the state of lstm_fgr before the first step: zeros."""
    H = params.U.shape[0]
    return FullGateRecurrenceCarry(*(zeros_for(params.U, batch_shape, size) for size in (H, H, 3 * H)))


def _variant(
    name: str,
    equations: Callable[..., tuple[Tree, Tree, Tree]],
    order: str,
    params_type: Any = PeepholeParams,
    start: Callable[..., Tree] = initial_carry,
    terms: Callable[[Params, Tree], Tree] = hidden_terms,
    **more: Any,  # shapes
) -> Cell:
    """Return the Cell whose blocks are in this order, with peepholes for those among i, f and o."""
    names = order.split()
    G, old = len(names), sum(n in "if" for n in names)
    if "o" in names:
        more = {"p_o": ("H", _small), **more}
    init = init_of(
        params_type, forget=names.index("f") if "f" in names else None,
        W=f"D {G}H", U=f"H {G}H", b=f"{G}H", p=(f"{old}H", _small), **more,
    )  # fmt: skip
    reference = 'Greff et al. 2015, "LSTM: a search space odyssey", arXiv:1503.04069'
    return Cell(init, start, input_affine, terms, equations, name, params_type, reference)


lstm_nig = _variant("lstm_nig", no_input_gate, "f g o")
"""Greff's LSTM without an input gate."""

lstm_nfg = _variant("lstm_nfg", no_forget_gate, "i g o")
"""Greff's LSTM without a forget gate."""

lstm_nog = _variant("lstm_nog", no_output_gate, "i f g", NoOutputGateParams)
"""Greff's LSTM without an output gate."""

lstm_niaf = _variant("lstm_niaf", no_input_activation, "i f g o")
"""Greff's LSTM without an input activation function."""

lstm_noaf = _variant("lstm_noaf", no_output_activation, "i f g o")
"""Greff's LSTM without an output activation function."""

lstm_cifg = _variant("lstm_cifg", coupled_gates, "i g o")
"""Greff's LSTM with a coupled input and forget gate."""

lstm_fgr = _variant(
    "lstm_fgr", full_gate_recurrence, "i f g o", FullGateRecurrenceParams, no_gates_before, gates_before,
    R=("3H 3H", uniform(0.1)),
)  # fmt: skip
"""Greff's LSTM with full gate recurrence."""

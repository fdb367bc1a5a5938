"""Phased LSTM: each unit has a clock and changes only in the open phase of its period.

With the time t of this step, and for each unit a period tau, a shift s and a share r_on of the period that is open:

    phi = ((t - s) mod tau) / tau                                phase in 0..1
    k = 2 phi / r_on        where phi < r_on / 2                 openness: rises,
        2 - 2 phi / r_on    where phi < r_on                     falls,
        leak * phi          otherwise                            and is shut except for a leak
    i = sigmoid(x W_i + h U_i + p_i * c + b_i)                   input gate: write
    f = sigmoid(x W_f + h U_f + p_f * c + b_f)                   forget gate: retain
    g = tanh   (x W_g + h U_g + b_g)                             candidate
    c~ = f * c + i * g
    o = sigmoid(x W_o + h U_o + p_o * c~ + b_o)                  output gate: show
    h~ = o * tanh(c~)
    c' = k * c~ + (1 - k) * c                                    0 keeps the old state
    h' = k * h~ + (1 - k) * h

The blocks are packed in the order i f g o, the peepholes in the order i f o. The input is `Stamped`, in the unit of tau
and s; a plain array is stamped 0, 1, 2, ... The phase is computed in at least float32, and stamps must be
distinguishable in its precision. `init` draws tau log-uniformly between 1 and 20 (``periods``, about the paper's exp
U(0, 3)) and s uniformly in the period; r_on is 0.05.

The leak is a constant: ``.with_`` takes leak (0.001 by default, as in the paper's training; 0 to 1). The paper
evaluates with 0:

    >>> from jaxseq.cells import phased_lstm
    >>> evaluated = phased_lstm.with_(leak=0.0)

Reference: Neil, Pfeiffer & Liu 2016, "Phased LSTM: accelerating recurrent network training for long or event-based
sequences", NeurIPS, arXiv:1610.09513, section 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import Cell, activate, affine, blocks
from jaxseq.cells._init import check_range, checked_init, init_of
from jaxseq.cells._inputs import Stamped, stamped
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import hidden_product, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.errors import InputError
from jaxseq.initializers import zeros
from jaxseq.notation import Array, Key, Tree


class PhasedLSTMParams(NamedTuple):
    """``W [D, 4H]``, ``U [H, 4H]``, ``b [4H]`` (i f g o), peepholes ``p [3H]`` (i f o), the clock's three ``[H]``."""

    W: Array
    U: Array
    b: Array
    p: Array
    tau: Array
    s: Array
    r_on: Array


class PhasedLSTMGates(NamedTuple):
    """Input (write), forget (retain), candidate, output gate; openness k (1 writes), phase phi; each ``[B, H]``."""

    i: Array
    f: Array
    g: Array
    o: Array
    k: Array
    phi: Array


_init = init_of(
    PhasedLSTMParams, forget=1, W="D 4H", U="H 4H", b="4H", p=("3H", zeros), tau=("H", zeros), s=("H", zeros),
    r_on=("H", zeros),
)  # fmt: skip


@checked_init("phased_lstm", _init)
def init(
    key: Key, input_size: int, hidden_size: int, *, periods: tuple[float, float] = (1.0, 20.0), **options: Any
) -> PhasedLSTMParams:
    """Return parameters, with periods log-uniform between the two given; other options as in `init_of`.

    Consumes `key`.

    Raises:
      InputError: if the periods are not two numbers above 0, the shorter first.
    """
    if len(periods) != 2 or not 0 < periods[0] <= periods[1]:
        raise InputError(f"phased_lstm: periods must be two numbers above 0, the shorter first; got {periods}")
    key, k_tau, k_s = jax.random.split(key, 3)
    params = _init(key, input_size, hidden_size, **options)
    uniform = lambda k: jax.random.uniform(k, params.tau.shape, params.tau.dtype)  # noqa: E731
    shortest, longest = periods
    tau = shortest * (longest / shortest) ** uniform(k_tau)
    return params._replace(tau=tau, s=tau * uniform(k_s), r_on=jnp.full_like(tau, 0.05))


initial_carry = zeros_carry(LSTMCarry)


def input_terms(params: PhasedLSTMParams, x: Stamped) -> tuple[Array, Array]:
    """Return ``x W + b``, ``[B, 4H]``, and the phase of each unit, ``[B, H]``, in float32 at least."""
    a = affine(x.x, params.W, params.b)
    shape = (*a.shape[:-1], params.tau.shape[0])
    wide = jnp.float64 if a.dtype == jnp.float64 else jnp.float32
    t, tau, s = (jnp.broadcast_to(v.astype(wide), shape) for v in (x.t, params.tau, params.s))
    return a, jnp.mod(t - s, tau) / tau


@made
def _phased_lstm(leak: float = 0.001) -> Cell[PhasedLSTMParams, LSTMCarry, Array, PhasedLSTMGates]:
    """Return the phased LSTM whose closed units leak at this rate."""
    check_range("phased_lstm.with_: leak", leak, 0, 1)

    def equations(
        params: PhasedLSTMParams, carry: LSTMCarry, wx: Tree, uh: Array
    ) -> tuple[LSTMCarry, Array, PhasedLSTMGates]:
        a, phi = wx[0] + uh, wx[1]
        r_on = jnp.broadcast_to(params.r_on.astype(phi.dtype), phi.shape)
        k = jnp.where(phi < r_on / 2, 2 * phi / r_on, jnp.where(phi < r_on, 2 - 2 * phi / r_on, leak * phi))
        k = k.astype(a.dtype)
        p_i, p_f, p_o = (jnp.broadcast_to(p, k.shape) for p in blocks(params.p, 3))
        a_i, a_f, a_g, a_o = blocks(a, 4)
        i, f, g = activate(
            jnp.concatenate([a_i + p_i * carry.c, a_f + p_f * carry.c, a_g], axis=-1), "sigmoid sigmoid tanh"
        )
        c = f * carry.c + i * g
        (o,) = activate(a_o + p_o * c, "sigmoid")
        h = k * (o * jnp.tanh(c)) + (1 - k) * carry.h
        return LSTMCarry(h, k * c + (1 - k) * carry.c), h, PhasedLSTMGates(i, f, g, o, k, phi)

    return Cell(
        init, initial_carry, input_terms, hidden_product, equations, "phased_lstm", PhasedLSTMParams,
        'Neil, Pfeiffer & Liu 2016, "Phased LSTM", arXiv:1610.09513, section 2', lift=stamped,
    )  # fmt: skip


phased_lstm = _phased_lstm()
"""The phased LSTM as a Cell."""

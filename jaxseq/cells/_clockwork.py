"""Clockwork network: each module of units runs at its own period and holds its state in between.

    n  = tanh(x W + h U + b)                  with no weights from fast modules to slower ones
    h' = n where round(t) mod P = 0, else h   P: the period of the unit's module

t is the number of the step. Modules are in the order of their periods; a unit sees units of its own period and of
longer ones: the blocks of U from a shorter to a longer period are held at zero. H need not be a multiple of the number
of modules: units are split among them in order, as evenly as possible. The paper skips the products of modules that
hold; the dense product here does not. Whole numbers above 256 are inexact in bfloat16: take t modulo the longest
period. The input is `Stamped`; a plain array is stamped 0, 1, 2, ...

``.with_`` takes periods ((1, 2, 4, 8) by default), one for each module: whole numbers of steps, in increasing order.

    >>> from jaxseq.cells import clockwork
    >>> cell = clockwork.with_(periods=(1, 3))

Reference: Koutnik, Greff, Gomez & Schmidhuber 2014, "A clockwork RNN", arXiv:1402.3511, section 3, eq. 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import Cell, affine
from jaxseq.cells._init import check_sizes, init_of
from jaxseq.cells._inputs import Stamped, stamped
from jaxseq.cells._parts import Hidden, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.errors import InputError
from jaxseq.notation import Array


class ClockworkParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``."""

    W: Array
    U: Array
    b: Array


class ClockworkGates(NamedTuple):
    """Whether a unit runs at this step (1) or holds (0), and the candidate, each ``[B, H]``."""

    runs: Array
    n: Array


init = init_of(ClockworkParams, W="D H", U="H H", b="H")
initial_carry = zeros_carry(Hidden)


def input_terms(params: ClockworkParams, x: Stamped) -> Stamped:
    """Return ``x W + b``, ``[B, H]``, and the times."""
    return Stamped(affine(x.x, params.W, params.b), x.t)


@made
def _clockwork(periods: Sequence[int] = (1, 2, 4, 8)) -> Cell[ClockworkParams, Hidden, Array, ClockworkGates]:
    """Return the cell with one module for each of `periods`, increasing whole numbers of steps."""
    periods = tuple(periods) if isinstance(periods, Sequence | np.ndarray) else (periods,)
    check_sizes("clockwork.with_", **{f"periods[{k}]": period for k, period in enumerate(periods)})
    if not periods or any(b <= a for a, b in itertools.pairwise(periods)):
        raise InputError(f"clockwork.with_: periods must rise, such as (1, 2, 4, 8); got {periods}")

    def of_units(H: int) -> np.ndarray:
        return np.asarray(periods)[np.arange(H) * len(periods) // H]

    def hidden_terms(params: ClockworkParams, carry: Hidden) -> Array:
        period = of_units(params.U.shape[0])
        seen = period[:, None] >= period[None, :]  # from a unit (row) to another (column)
        return carry.h @ (params.U * jnp.asarray(seen, params.U.dtype))

    def equations(
        params: ClockworkParams, carry: Hidden, wx: Stamped, uh: Array
    ) -> tuple[Hidden, Array, ClockworkGates]:
        n = jnp.tanh(wx.x + uh)
        period = jnp.asarray(of_units(n.shape[-1]), n.dtype)
        runs = jnp.round(jnp.broadcast_to(wx.t, n.shape)) % jnp.broadcast_to(period, n.shape) == 0
        h = jnp.where(runs, n, carry.h)
        return Hidden(h), h, ClockworkGates(runs.astype(n.dtype), n)

    return Cell(
        init, initial_carry, input_terms, hidden_terms, equations, "clockwork", ClockworkParams,
        'Koutnik et al. 2014, "A clockwork RNN", arXiv:1402.3511, section 3, eq. 1', lift=stamped,
    )  # fmt: skip


clockwork = _clockwork()
"""The clockwork network as a Cell, with the periods 1, 2, 4, 8; its input is `Stamped`."""

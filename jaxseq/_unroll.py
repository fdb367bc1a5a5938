"""Cells over time: `unroll`, `trace` (with every gate of every step), `bidirectional` and `layers`."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.cells._checks import check_carry, check_inputs, check_is_cell, check_mask, check_params
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import Recurrence, deferred, over_features


def unroll(
    cell: Cell,
    params: Params,
    carry: Carry | None,
    xs: Tree,
    mask: Array | None = None,
    *,
    reverse: bool = False,
    recurrence: Recurrence = deferred,
) -> tuple[Carry, Tree]:
    """Run a cell over a sequence.

    Args:
      cell: a Cell.
      params: its parameters; outputs have their dtype.
      carry: the state to start from, or None for ``cell.initial_carry``.
      xs: ``[T, B, D]`` with any number of batch axes, none included (``[T, D]``).
      mask: bool ``[T, B]`` (without the places of a cell that works on pictures), True where a step is real. A padded
        step holds the carry and outputs zeros, whatever xs has there, NaN included; a row without any real step
        returns its initial carry.
      reverse: run from the last step to the first; ``outs[t]`` still belongs to ``xs[t]``. Since padding holds, a
        padded batch needs no flipping.
      recurrence: how to run it: `jaxseq.recurrence.deferred`, `scan`, `checkpointed`, and `associative` for cells that
        are linear in their state; all give the same.

    Returns:
      ``(carry, outs)``: the state after the last step, and the outputs ``[T, B, H]``. Feeding a sequence in pieces
      and passing the carry on equals feeding it whole.

    Raises:
      InputError: if features, axes, dtypes, mask or carry do not fit.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> carry, outs = unroll(gru, params, None, jnp.ones((7, 2, 3)))
      >>> outs.shape, bool((outs[-1] == carry.h).all())
      ((7, 2, 5), True)
    """
    check_is_cell("unroll", cell)
    if not callable(recurrence):
        raise InputError(
            f"unroll({cell.name}): recurrence must be a function, such as jaxseq.recurrence.scan; got {recurrence!r}. "
            "By name: jaxseq.recurrence.RECURRENCES['scan']"
        )
    check_params(f"unroll({cell.name})", cell.params_type, params)
    xs = jax.tree.map(jnp.asarray, xs)
    check_inputs(f"unroll({cell.name})", params, xs, "[T, B, D]")
    time_and_batch = jax.tree.leaves(xs)[0].shape[:-1]
    if carry is None:
        carry = cell.initial_carry(params, time_and_batch[1:])
    check_carry(cell, params, carry, time_and_batch[1:])
    if mask is not None:
        mask = jnp.asarray(mask)
        check_mask(f"unroll({cell.name})", mask, time_and_batch[: len(time_and_batch) - cell.spatial])
        # Zeroed here, not only held later: the gradient of a discarded NaN would still be NaN.
        xs = jax.tree.map(lambda x: jnp.where(over_features(mask, x), x, jnp.zeros_like(x)), xs)
    return recurrence(cell, params, carry, xs, mask, reverse)


class Trace(NamedTuple):
    """What a cell did at every step.

    Fields:
      outs: ``[T, B, H]``, as `unroll` returns them.
      gates: the cell's gates, each ``[T, B, H]`` (for a stack a tuple, one entry a layer).
      carries: the carry after each step, each leaf ``[T, B, H]``: every ``c_t`` of an LSTM.

    All of them are zero at padded steps.
    """

    outs: Tree
    gates: Tree
    carries: Carry


def trace(
    cell: Cell,
    params: Params,
    carry: Carry | None,
    xs: Tree,
    mask: Array | None = None,
    *,
    reverse: bool = False,
    recurrence: Recurrence = deferred,
) -> tuple[Carry, Trace]:
    """Run a cell over a sequence as `unroll` does, and return every gate and every carry as well.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import trace
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> carry, seen = trace(lstm, params, None, jnp.ones((7, 2, 3)))
      >>> seen.gates.f.shape, seen.carries.c.shape
      ((7, 2, 5), (7, 2, 5))
    """
    check_is_cell("trace", cell)
    return unroll(_showing(cell), params, carry, xs, mask, reverse=reverse, recurrence=recurrence)


@functools.cache
def _showing(cell: Cell) -> Cell:
    """Return the cell with its gates and its carry moved into the output: the same equations, seen."""

    def gates(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Trace, Tree]:
        carry, out, named = cell.gates(params, carry, wx, uh)
        return carry, Trace(out, named, carry), named

    return cell._replace(gates=gates)


class Bidirectional(NamedTuple):
    """Params, or carries, of the two directions."""

    forward: Tree
    backward: Tree


def bidirectional(
    cell: Cell,
    params: Bidirectional,
    carry: Bidirectional | None,
    xs: Tree,
    mask: Array | None = None,
    *,
    recurrence: Recurrence = deferred,
) -> tuple[Bidirectional, Tree]:
    """Run a cell forwards and, with other parameters, backwards.

    Returns:
      ``(carry, outs)``: both final carries (the backward one has seen the whole sequence when it reaches the first
      step), and outputs ``[T, B, 2H]``, forward half first. Arguments as `unroll`.

    Reference: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import Bidirectional, bidirectional
      >>> from jaxseq.cells import gru
      >>> k1, k2 = jax.random.split(jax.random.key(0))
      >>> params = Bidirectional(gru.init(k1, 3, 5), gru.init(k2, 3, 5))
      >>> bidirectional(gru, params, None, jnp.ones((7, 2, 3)))[1].shape
      (7, 2, 10)
    """
    start = carry if carry is not None else Bidirectional(None, None)
    for name, given in (("params", params), ("carry", start)):
        if not isinstance(given, Bidirectional):
            raise InputError(
                f"bidirectional: {name} must be Bidirectional(forward, backward), one for each direction; got "
                f"{type(given).__name__}"
            )
    there, ahead = unroll(cell, params.forward, start.forward, xs, mask, recurrence=recurrence)
    back, behind = unroll(cell, params.backward, start.backward, xs, mask, reverse=True, recurrence=recurrence)
    outs = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), ahead, behind)
    return Bidirectional(there, back), outs


def layers(
    cells: tuple[Cell, ...],
    params: tuple[Params, ...],
    carry: tuple[Carry, ...] | None,
    xs: Tree,
    mask: Array | None = None,
    *,
    recurrence: Recurrence = deferred,
) -> tuple[tuple[Carry, ...], Tree]:
    """Run layers one after the other, each over the whole sequence: those whose params are `Bidirectional` both ways.

    What a bidirectional layer puts out at a step depends on all steps, so that such layers cannot be a `stack`. Params
    and carry are tuples, the lowest layer first; arguments otherwise as `unroll`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import Bidirectional, layers
      >>> from jaxseq.cells import gru, lstm
      >>> k1, k2, k3 = jax.random.split(jax.random.key(0), 3)
      >>> params = (Bidirectional(gru.init(k1, 3, 5), gru.init(k2, 3, 5)), lstm.init(k3, 10, 4))
      >>> carry, outs = layers((gru, lstm), params, None, jnp.ones((7, 2, 3)))
      >>> outs.shape, carry[0].backward.h.shape
      ((7, 2, 4), (2, 5))
    """
    starts = (None,) * len(cells) if carry is None else carry
    for name, given in (("params", params), ("carry", starts)):
        if type(given) is not tuple or len(given) != len(cells):
            raise InputError(f"layers: {name} must be a tuple of {len(cells)}, one for each cell; got {type(given)}")
    last = []
    for cell, own, start in zip(cells, params, starts, strict=True):
        run = bidirectional if isinstance(own, Bidirectional) else unroll
        end, xs = run(cell, own, start, xs, mask, recurrence=recurrence)
        last.append(end)
    return tuple(last), xs

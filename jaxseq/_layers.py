"""Whole-sequence layers: a bidirectional layer, and stacks whose layers run one after the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq._unroll import unroll
from jaxseq.cells import Cell
from jaxseq.cells._checks import check_is_cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Key, Params, Tree
from jaxseq.recurrence import Recurrence, deferred


class Bidirectional(NamedTuple):
    """The params or the carries of both directions."""

    forward: Tree
    backward: Tree


def init_bidirectional(key: Key, cell: Cell, input_size: int, hidden_size: Any, **options: Any) -> Bidirectional:
    """Return params for `bidirectional`: H = hidden_size in each direction. Consumes `key`.

    Args:
      key: consumed; each direction is drawn by itself.
      cell: the cell of both directions.
      input_size: D.
      hidden_size: H, as the cell's init takes it.
      options: passed to the cell's init.
    """
    check_is_cell("init_bidirectional(key, cell, ...)", cell)
    ahead, behind = jax.random.split(key)
    return Bidirectional(
        cell.init(ahead, input_size, hidden_size, **options), cell.init(behind, input_size, hidden_size, **options)
    )


def bidirectional(
    cell: Cell,
    params: Bidirectional,
    xs: Tree,
    carry: Bidirectional | None = None,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    recurrence: Recurrence = deferred,
) -> tuple[Bidirectional, Tree]:
    """Run a cell forwards and, with separate parameters, backwards.

    Returns:
      ``(carry, outs)``: both final carries (the backward one has seen the whole sequence when it reaches the first
      step), and outputs ``[T, B, 2H]``, forward half first. Arguments as for `unroll`.

    Reference: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import bidirectional, init_bidirectional
      >>> from jaxseq.cells import gru
      >>> params = init_bidirectional(jax.random.key(0), gru, 3, 5)
      >>> bidirectional(gru, params, jnp.ones((7, 2, 3)))[1].shape
      (7, 2, 10)
    """
    check_is_cell("bidirectional", cell)
    start = carry if carry is not None else Bidirectional(None, None)
    for name, given in (("params", params), ("carry", start)):
        if not isinstance(given, Bidirectional):
            raise InputError(
                f"bidirectional: {name} must be Bidirectional(forward, backward), one for each direction; got "
                f"{type(given).__name__}. The order is (cell, params, xs, carry=None); init_bidirectional makes params"
            )
    options: dict[str, Any] = {"mask": mask, "resets": resets, "recurrence": recurrence}
    there, ahead = unroll(cell, params.forward, xs, start.forward, **options)
    back, behind = unroll(cell, params.backward, xs, start.backward, reverse=True, **options)
    # reverse=True leaves outs[t] at t, so no flip is needed: [T, B, 2H]
    outs = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), ahead, behind)
    return Bidirectional(there, back), outs


def init_layers(
    key: Key,
    cells: tuple[Cell, ...],
    input_size: int,
    hidden_size: Any,
    *,
    both_ways: bool | tuple[bool, ...] = True,
    **options: Any,
) -> tuple[Params, ...]:
    """Return params for `layers`; a bidirectional layer's are a `Bidirectional`. Consumes `key`.

    Args:
      key: consumed.
      cells: the layers, the lowest first.
      input_size: D of the lowest layer; every other layer reads the outputs of the one below.
      hidden_size: H of each direction, one for all layers or a tuple with one for each.
      both_ways: whether a layer runs in both directions, one for all layers or a tuple with one for each.
      options: passed to every cell's init.

    Raises:
      InputError: if a tuple does not have one entry for each cell.

    Example:
      >>> from jaxseq.cells import gru, lstm
      >>> below, above = init_layers(jax.random.key(0), (gru, lstm), 3, 5)
      >>> below.forward.W.shape, above.backward.W.shape
      ((3, 15), (10, 20))
    """
    _check_are_cells("init_layers(key, cells, ...)", cells)
    sizes = hidden_size if isinstance(hidden_size, tuple) else (hidden_size,) * len(cells)
    ways = both_ways if isinstance(both_ways, tuple) else (both_ways,) * len(cells)
    for name, given in (("hidden_size", sizes), ("both_ways", ways)):
        if len(given) != len(cells):
            raise InputError(f"init_layers: {name} must have {len(cells)} entries, one for each cell; got {given}")
    params, D = [], input_size
    for cell, size, both, k in zip(cells, sizes, ways, jax.random.split(key, len(cells)), strict=True):
        params.append(init_bidirectional(k, cell, D, size, **options) if both else cell.init(k, D, size, **options))
        D = 2 * cell.output_size(params[-1].forward, D) if both else cell.output_size(params[-1], D)
    return tuple(params)


def layers(
    cells: tuple[Cell, ...],
    params: tuple[Params, ...],
    xs: Tree,
    carry: tuple[Carry, ...] | None = None,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    recurrence: Recurrence = deferred,
) -> tuple[tuple[Carry, ...], Tree]:
    """Run layers one after the other, each over the whole sequence; `Bidirectional` params run a layer both ways.

    A bidirectional layer's output at a step depends on all steps, so such layers cannot form a `stack`. Params
    and carry are tuples, the lowest layer first; other arguments are as for `unroll`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import init_layers, layers
      >>> from jaxseq.cells import gru, lstm
      >>> params = init_layers(jax.random.key(0), (gru, lstm), 3, (5, 4), both_ways=(True, False))
      >>> carry, outs = layers((gru, lstm), params, jnp.ones((7, 2, 3)))
      >>> outs.shape, carry[0].backward.h.shape
      ((7, 2, 4), (2, 5))
    """
    _check_are_cells("layers", cells)
    starts = (None,) * len(cells) if carry is None else carry
    for name, given in (("params", params), ("carry", starts)):
        if type(given) is not tuple or len(given) != len(cells):
            got = f"{type(given).__name__} of {len(given)}" if isinstance(given, tuple | list) else type(given).__name__
            raise InputError(
                f"layers: {name} must be a tuple of {len(cells)}, one for each cell; got {got}. The order is (cells, "
                "params, xs, carry=None); init_layers makes params"
            )
    last = []
    for cell, own, start in zip(cells, params, starts, strict=True):
        run = bidirectional if isinstance(own, Bidirectional) else unroll
        end, xs = run(cell, own, xs, start, mask=mask, resets=resets, recurrence=recurrence)
        last.append(end)
    return tuple(last), xs


def _check_are_cells(name: str, cells: Any) -> None:
    if not isinstance(cells, tuple | list):
        raise InputError(f"{name}: cells must be a tuple of Cells, such as (lstm, gru); got {type(cells).__name__}")
    for cell in cells:
        check_is_cell(name, cell)

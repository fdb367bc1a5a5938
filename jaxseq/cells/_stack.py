"""Cells on top of one another, as one Cell: the output of each is the input of the next, within the step.

Params and carry are tuples, the lowest layer first. Dropout between the layers is drawn for all T before the loop
(`drop_between`) and travels with x, so a step draws no random numbers and stays a pure function of its input.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from jaxseq.cells._base import Cell, Sourced
from jaxseq.cells._checks import check_is_cell, input_size_of
from jaxseq.cells._init import passing_on, takes
from jaxseq.cells._inputs import Spaced, Stamped, input_type, lift_step
from jaxseq.cells._recipe import made
from jaxseq.dropout import keep_mask
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Key, Params, Tree


class Dropped(NamedTuple):
    """The input of a stack with the dropout masks of its layers; see `drop_between`.

    Fields:
      x: ``[..., D]``.
      keep: one array ``[..., H_k]`` for each layer k except the last: 0 drops a unit of its output, 1 / (1 - rate)
        keeps it.
    """

    x: Tree
    keep: tuple[Array, ...]


class StackTerms(NamedTuple):
    """Input terms of a stack: those of its lowest layer, and the parts of the input that the layers above need.

    Fields:
      lowest: the lowest layer's ``wx``.
      keep: as in `Dropped`; None without dropout.
      times: the input's times, if a higher layer takes them.
    """

    lowest: Tree
    keep: tuple[Array, ...] | None
    times: Tree


@made
def stack(*cells: Cell, every: bool = False) -> Cell:
    """Return the Cell that runs `cells` as layers, the first one lowest.

    ``init(key, input_size, hidden_size)`` takes one size for all layers or a tuple with one for each. Its options go to
    every layer whose init takes them. The output is the top layer's, or with `every` a tuple of all layers' outputs,
    which shows what an attention in a lower layer did; the gates are a tuple, one entry for each layer. The input is
    that of the lowest layer, or `Dropped` for dropout between layers. Every other layer reads the ``features`` of the
    one below: its output, or ``[h; context]`` for a layer with attention.

    If a layer takes more than an array, the features get the times of the stack's input if both are `Stamped` or both
    `Spaced`; otherwise ``cell.lift`` lifts them.

    If layers attend to a source, ``remember`` returns a tuple with a memory for each layer, None for the others.

    Raises:
      InputError: if no cell is given, or a higher layer takes time stamps and the lowest does not.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import gru, lstm, stack
      >>> cell = stack(lstm, gru)
      >>> params = cell.init(jax.random.key(0), 3, (5, 4))
      >>> carry, out = cell.step(params, cell.initial_carry(params), jnp.ones(3))
      >>> out.shape, carry[0].c.shape
      ((4,), (5,))
    """
    if not cells:
        raise InputError("stack: expected at least one cell, got none; for example stack(lstm, lstm)")
    for layer, cell in enumerate(cells):
        check_is_cell("stack", cell)
        if layer and Stamped is input_type(cell.lift) is not input_type(cells[0].lift):
            raise InputError(
                f"stack: {cell.name}, layer {layer}, takes time stamps, and the lowest layer, {cells[0].name}, has "
                f"none for it. Put a cell that takes Stamped lowest, such as {cell.name}"
            )

    timed = any(input_type(cell.lift) is input_type(cells[0].lift) for cell in cells[1:])

    def init(key: Key, input_size: int, hidden_size: int | tuple[int, ...], **options: Any) -> Params:
        # an option that no layer takes goes to all of them, whose own check raises the error
        unknown = [name for name in options if not any(takes(c.init, name) for c in cells)]
        sizes = hidden_size if isinstance(hidden_size, tuple) else (hidden_size,) * len(cells)
        if len(sizes) != len(cells):
            raise InputError(f"stack: expected {len(cells)} hidden sizes, one for each cell; got {sizes}")
        params, D = [], input_size
        for layer, (cell, k) in enumerate(zip(cells, jax.random.split(key, len(cells)), strict=True)):
            own = {name: value for name, value in options.items() if name in unknown or takes(cell.init, name)}
            params.append(cell.init(k, D, sizes[layer], **own))
            if layer + 1 < len(cells):
                D = cell.output_size(params[-1], D)
        return tuple(params)

    def initial_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        return tuple(c.initial_carry(p, batch_shape) for c, p in zip(cells, _of_layers(params), strict=True))

    def input_terms(params: Params, x: Tree) -> Tree:
        x, keep = x if isinstance(x, Dropped) else (x, None)
        times: Tree = x if isinstance(x, Stamped | Spaced) and timed else None
        times = None if times is None else times._replace(x=None)  # the layers above get their own x
        return StackTerms(cells[0].input_terms(_of_layers(params)[0], x), keep, times)

    def hidden_terms(params: Params, carry: Carry) -> Tree:
        return tuple(c.hidden_terms(p, k) for c, p, k in zip(cells, _of_layers(params), carry, strict=True))

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        params = _of_layers(params)
        wx, keep, times = wx
        new, out, named = cells[0].equations(params[0], carry[0], wx, uh[0])
        carries, outs, all_gates = [new], [out], [named]
        for layer in range(1, len(cells)):
            below = cells[layer - 1].features(out)
            below = below if keep is None else below * keep[layer - 1]
            same = times is not None and type(times) is input_type(cells[layer].lift)
            x = times._replace(x=below) if same else lift_step(cells[layer], below)
            wx = cells[layer].input_terms(params[layer], x)
            new, out, named = cells[layer].equations(params[layer], carry[layer], wx, uh[layer])
            carries.append(new)
            outs.append(out)
            all_gates.append(named)
        return tuple(carries), tuple(outs) if every else out, tuple(all_gates)

    def remember(params: Params, values: Array | None, mask: Array | None = None) -> Tree:
        pairs = zip(cells, params, strict=True)
        return tuple(None if c.remember is None else c.remember(p, values, mask) for c, p in pairs)

    init.__signature__ = passing_on(init, *(cell.init for cell in cells))  # type: ignore[attr-defined]
    return Cell(
        init,
        initial_carry,
        input_terms,
        hidden_terms,
        equations,
        name=f"stack({', '.join(c.name for c in cells)})",
        params_type=tuple(c.params_type for c in cells),
        spatial=max(c.spatial for c in cells),
        lift=cells[0].lift,
        layers=cells,
        features=(lambda outs: cells[-1].features(outs[-1])) if every else cells[-1].features,
        remember=remember if any(c.remember for c in cells) else None,
    )


def _of_layers(params: Params) -> Params:
    """Return the params of each layer, with its memory if it attends to a source."""
    if not isinstance(params, Sourced):
        return params
    pairs = zip(params.params, params.memory, strict=True)
    return tuple(own if memory is None else Sourced(own, memory) for own, memory in pairs)


def drop_between(key: Key, rate: float, params: Params, xs: Array) -> Dropped:
    """Return xs with dropout masks for the outputs of every layer of a stack except the last, drawn anew at each step.

    Args:
      key: consumed.
      rate: the probability of dropping a unit, in [0, 1); kept units are scaled by 1 / (1 - rate).
      params: the stack's parameters.
      xs: ``[T, B, D]`` for `unroll`, or ``[B, D]`` for one step.

    For evaluation, pass xs itself. Reference: Zaremba, Sutskever & Vinyals 2014, arXiv:1409.2329 (dropout on the
    non-recurrent connections only).

    Raises:
      InputError: if rate is not in [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import drop_between, gru, stack
      >>> cell, xs = stack(gru, gru), jnp.ones((7, 2, 3))
      >>> params = cell.init(jax.random.key(0), 3, 5)
      >>> carry, outs = unroll(cell, params, drop_between(jax.random.key(1), 0.2, params, xs))
      >>> outs.shape
      (7, 2, 5)
    """
    if not 0 <= rate < 1:
        raise InputError(f"drop_between: rate must be at least 0 and below 1, the probability of dropping; got {rate}")
    keys = jax.random.split(key, len(params))[1:]
    shapes = [(*xs.shape[:-1], input_size_of(above)) for above in params[1:]]
    return Dropped(xs, tuple(keep_mask(k, rate, shape, xs.dtype) for k, shape in zip(keys, shapes, strict=True)))

"""Shared parts of all libraries' layers: the initial carry, one step, and parameters by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.cells._checks import check_is_cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Key, Params, Tree
from jaxseq.trees import named_leaves

Options = tuple[tuple[str, Any], ...]
"""Keyword arguments of a cell's init in hashable form, as libraries require of a layer's fields."""


class Counted(NamedTuple):
    """A carry, and the number of steps taken, ``[B, 1]``, which is the next step's time.

    A library's loop passes one array at each step, so a layer whose cell needs a time stamp must count steps. In a loop
    over flipped inputs, counting starts at the last input.
    """

    carry: Carry
    steps: Array


def checked(what: str, cell: Cell, options: Mapping[str, Any]) -> Options:
    """Return the options of a cell's init for a layer.

    Raises:
      InputError: if `cell` is not a Cell, or the options include the dtype.
    """
    check_is_cell(what, cell)
    if "dtype" in options:
        raise InputError(f"{what}: give the dtype when the layer is built, as to the library's own layers")
    # sorted, so that the order of options does not matter
    return tuple(sorted(options.items()))


def identifier(cell: Cell) -> str:
    """Return a cell's name as a Python identifier: ``stack_lstm_gru``."""
    return re.sub(r"\W+", "_", cell.name).strip("_")


def draw(cell: Cell, options: Options, key: Key, input_size: int, hidden_size: Any, dtype: Any) -> Params:
    """Return new parameters of a layer. Consumes `key`."""
    return cell.init(key, input_size, hidden_size, dtype=dtype, **dict(options))


def outline(cell: Cell, options: Options, input_size: int, hidden_size: Any, dtype: Any) -> Params:
    """Return the shapes and dtypes of the params of `draw`."""
    # any key: only shapes are used
    return jax.eval_shape(lambda: draw(cell, options, jax.random.key(0), input_size, hidden_size, dtype))


def by_name(params: Params) -> dict[str, Any]:
    """Return the leaves of params by name: ``W``, or in a stack ``0/W``.

    Example:
      >>> from jaxseq.cells import rnn, stack
      >>> list(by_name(stack(rnn, rnn).init(jax.random.key(0), 3, 5)))
      ['0/W', '0/U', '0/b', '1/W', '1/U', '1/b']
    """
    return named_leaves(params, separator="/")


def from_names(like: Params, arrays: Mapping[str, Any]) -> Params:
    """Return params from their leaves by name, with the structure of `like`: the inverse of `by_name`."""
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in by_name(like)])


def cast(tree: Tree, dtype: Any) -> Tree:
    """Return the tree cast to this dtype, or unchanged if it is None."""
    return tree if dtype is None else jax.tree.map(lambda a: jnp.asarray(a).astype(dtype), tree)


def input_size(x: Tree) -> int:
    """Return the features D of an input, or of its first leaf if it has several."""
    return jnp.shape(jax.tree.leaves(x)[0])[-1]


def start(cell: Cell, params: Params, batch_shape: tuple[int, ...]) -> Carry:
    """Return the initial carry: the cell's own, as a `Counted` if it needs the time."""
    carry = cell.initial_carry(params, batch_shape)
    if not _needs_time(cell):
        return carry
    # float32 whatever the params' dtype: bfloat16 has 8 bits of precision, where 256 + 1 is 256
    return Counted(carry, jnp.zeros((*batch_shape, 1), jnp.float32))


def step(cell: Cell, params: Params, carry: Carry, x: Tree) -> tuple[Carry, Tree]:
    """Return ``(carry, out)`` after one step from the carry of `start`.

    An array is lifted to the cell's input: one unit of time after the last step, with nothing missing.

    Raises:
      InputError: if an input or a carry does not fit, as for `Cell.step`.
    """
    own, steps = carry if isinstance(carry, Counted) else (carry, None)
    # an input with several leaves has its own times, and is used unchanged
    if jax.tree_util.all_leaves([x]):
        if steps is None and _needs_time(cell):
            raise InputError(f"{cell.name}: this layer counts its steps; start from the layer's own initial carry")
        x = _lifted(cell, jnp.asarray(x), steps)
    own, out = cell.step(params, own, x)
    return own if steps is None else Counted(own, steps + 1), out


def _ticks(cell: Cell, features: int, dtype: Any) -> Tree:
    """Return the increase of each entry of a cell's input per step of time, ``[features]`` for each leaf."""
    # on concrete values even under a trace, so that `_needs_time` can branch on them
    with jax.ensure_compile_time_eval():
        # two steps of zeros: an entry that differs between them is a time
        two = cell.lift(jnp.zeros((2, 1, features), dtype))
        return jax.tree.map(lambda a: np.asarray(a[1, 0] - a[0, 0]), two)


def _needs_time(cell: Cell) -> bool:
    return any(tick.any() for tick in jax.tree.leaves(_ticks(cell, 1, jnp.float32)))


def _lifted(cell: Cell, x: Array, steps: Array | None) -> Tree:
    # lift takes [T, B, D]: a sequence of one step
    first = jax.tree.map(lambda a: a[0], cell.lift(x[None]))
    if steps is None:
        return first

    def later(a: Array, tick: Array) -> Array:
        # lift began at time 0; this step is `steps` ticks later. steps [B, 1], tick [features], a [B, features]
        return a + jnp.broadcast_to(steps.astype(a.dtype), a.shape) * jnp.broadcast_to(tick, a.shape)

    return jax.tree.map(later, first, _ticks(cell, x.shape[-1], x.dtype))

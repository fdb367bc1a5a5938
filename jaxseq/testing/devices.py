"""The laws of arrays spread over devices: the same numbers as on one device, values and gradients.

Rows are spread over some devices, hidden units over others: of every parameter the last axis, wherever it divides. The
devices are at most 8, a power of two; where there is one device, it has everything, and only types are tested. On a CPU
``jax.config.update("jax_num_cpu_devices", 8)`` makes eight, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxseq._unroll import unroll
from jaxseq.notation import Array, Tree
from jaxseq.recurrence import Recurrence
from jaxseq.testing.compare import Subject, assert_close, cotangent, draw
from jaxseq.testing.laws import holes

MOST = 8
"""Devices that the laws use, if there are as many."""

LAYOUTS: dict[str, Callable[[int], tuple[int, int]]] = {
    "rows": lambda n: (n, 1),
    "units": lambda n: (1, n),
    "both": lambda n: (max(n // 2, 1), min(n, 2)),
}
"""By name: over how many devices the rows are spread, and over how many the units, of n devices."""

KINDS = ("Auto", "Explicit", "shard_map")
"""The meshes: XLA places arrays, their types say where they are, or each device runs the function for its own rows."""


class Problem(NamedTuple):
    """A function whose arguments can be spread over devices.

    Fields:
      function: ``(params, *data, *rest) -> results``, all trees of arrays.
      params: what has no rows.
      data: what has, and is differentiated.
      rest: what has, and is not: masks, tokens.
      rows: for each of data and rest, which axis the rows are.
      result_rows: the same of the results, a tree or the beginning of one.
      differentiable: whether gradients are compared as well, with respect to params and data.
    """

    function: Callable[..., Tree]
    params: Tree
    data: tuple[Tree, ...]
    rest: tuple[Tree, ...]
    rows: tuple[int, ...]
    result_rows: Any
    differentiable: bool = True


def devices() -> int:
    """Return how many devices the laws use: the largest power of two up to 8 and up to those there are."""
    return 1 << (min(MOST, jax.device_count()).bit_length() - 1)


def assert_same_on_devices(case: str, problem: Problem, kind: str, layout: str, want: Tree | None = None) -> Tree:
    """Assert that values and gradients on a mesh equal those on one device, and return the latter.

    Args:
      case: what an error names first.
      problem: the function and its arguments.
      kind: one of `KINDS`.
      layout: a key of `LAYOUTS`.
      want: what was returned before for the same problem, to save computing it again.
    """
    shape = LAYOUTS[layout](devices())
    types = (AxisType.Explicit if kind == "Explicit" else AxisType.Auto,) * 2
    mesh = jax.make_mesh(shape, ("rows", "units"), axis_types=types, devices=jax.devices()[: devices()])
    where = tuple(map(_by_row, problem.rows))
    results = jax.tree.map(_by_row, problem.result_rows)
    value = jax.eval_shape(problem.function, problem.params, *problem.data, *problem.rest)
    of_leaves = jax.tree.broadcast(results, value, is_leaf=_is_spec)
    along = [cotangent(jnp.zeros(a.shape, a.dtype)) for a in _floating(value, value)]
    args = (problem.params, problem.data, problem.rest, along)
    both = partial(_both, problem.function, problem.differentiable)
    if want is None:
        want = jax.device_get(jax.jit(both)(*args))

    split = len(problem.data)
    places = (
        jax.tree.map(partial(_by_column, shape[1]), problem.params),
        where[:split],
        where[split:],
        _floating(of_leaves, value),
    )
    spread = jax.tree.map(
        lambda spec, tree: jax.device_put(tree, NamedSharding(mesh, spec)), places, args, is_leaf=_is_spec
    )
    if kind == "shard_map":  # columns stay with XLA: the params of a function that runs for its rows are whole
        whole = PartitionSpec()
        both = jax.shard_map(
            both,
            mesh=mesh,
            in_specs=(whole, *places[1:]),
            out_specs=(results, (whole, *where[:split]) if problem.differentiable else ()),
            axis_names={"rows"} if shape[1] > 1 else {"rows", "units"},
        )
    if kind == "Explicit":
        with jax.set_mesh(mesh):
            got = jax.device_get(jax.jit(both)(*spread))
    else:
        got = jax.device_get(jax.jit(both)(*spread))
    for what, mine, its in zip(("values", "gradients"), got, want, strict=True):
        assert_close(f"{case}, {kind}, {layout} on {shape[0]} x {shape[1]} devices, {what}", mine, its)
    return want


def _both(
    function: Callable[..., Tree], differentiable: bool, params: Tree, data: tuple, rest: tuple, along: list[Array]
) -> tuple[Tree, Tree]:
    """Return the results and, where there are, the gradients of what in them is no whole number."""
    if not differentiable:
        return function(params, *data, *rest), ()

    def run(params: Tree, *data: Tree) -> tuple[list[Array], Tree]:
        value = function(params, *data, *rest)
        return _floating(value, value), value

    _, pull, value = jax.vjp(run, params, *data, has_aux=True)
    return value, pull(along)


def _floating(tree: Tree, value: Tree) -> list[Any]:
    """Return those leaves of a tree for which `value` has a floating array."""
    pairs = zip(jax.tree.leaves(tree, is_leaf=_is_spec), jax.tree.leaves(value), strict=True)
    return [leaf for leaf, a in pairs if jnp.issubdtype(a.dtype, jnp.floating)]


def _by_row(axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, "rows")


def _by_column(count: int, a: Array) -> PartitionSpec:
    spread = a.ndim > 0 and count > 1 and a.shape[-1] % count == 0
    return PartitionSpec(*[None] * (a.ndim - 1), "units") if spread else PartitionSpec()


def _is_spec(value: Any) -> bool:
    return isinstance(value, PartitionSpec)


def unrolled(subject: Subject, recurrence: Recurrence, layout: str) -> Problem:
    """Return `unroll` of a cell as a problem: the carry given, mask and resets too, but for hidden units alone."""
    n, (_, columns) = devices(), LAYOUTS[layout](devices())
    wide = subject._replace(hidden_size=jax.tree.map(lambda H: H * columns, subject.hidden_size))
    params, xs, carry = draw(wide, 2, (n,))
    if layout == "units":
        run = lambda params, xs: unroll(subject.cell, params, xs, recurrence=recurrence)  # noqa: E731
        return Problem(run, params, (xs,), (), (1,), (0, 1))

    def marked(params: Tree, xs: Tree, carry: Tree, mask: Array, resets: Array) -> Tree:
        return unroll(subject.cell, params, xs, carry, mask=mask, resets=resets, recurrence=recurrence)

    mask = holes(2, (n,))
    return Problem(marked, params, (xs, carry), (mask, jnp.roll(mask, 1, 1)), (1, 0, 1, 1), (0, 1))


def _spread(s: Subject, kind: str) -> None:
    for layout in LAYOUTS:
        for name, recurrence in s.recurrences.items():
            assert_same_on_devices(name, unrolled(s, recurrence, layout), kind, layout)


def law_auto_mesh(s: Subject) -> None:
    """rows, hidden units or both spread over an Auto mesh change no value and no gradient."""
    _spread(s, "Auto")


def law_explicit_mesh(s: Subject) -> None:
    """rows, hidden units or both spread over an Explicit mesh change no value and no gradient."""
    _spread(s, "Explicit")


def law_shard_map(s: Subject) -> None:
    """run for its own rows on each device, by shard_map, a cell has the same values and gradients, of params too."""
    _spread(s, "shard_map")


LAWS_OF_DEVICES: dict[str, Callable[[Subject], None]] = {
    "auto mesh": law_auto_mesh,
    "explicit mesh": law_explicit_mesh,
    "shard_map": law_shard_map,
}
"""Laws of arrays spread over devices, by name."""

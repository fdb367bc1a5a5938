"""The device laws: sharded arrays give the same values and gradients as on one device.

Rows are sharded over one mesh axis, hidden units (the last axis of every parameter that divides) over another. At most
8 devices are used, a power of two; with one device only array types are tested. On a CPU
``jax.config.update("jax_num_cpu_devices", 8)`` makes 8, if called before any computation.
"""

from __future__ import annotations

import contextlib
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
"""Largest number of devices that the laws use."""

KINDS = ("Auto", "Explicit", "shard_map")
"""Kinds of sharding: XLA decides it (Auto), types carry it (Explicit), or each device runs its own rows (shard_map)."""

LAYOUTS: dict[str, Callable[[int], tuple[int, int]]] = {
    "rows": lambda n: (n, 1),
    "units": lambda n: (1, n),
    "both": lambda n: (max(n // 2, 1), min(n, 2)),
}
"""Layouts: for n devices, the numbers of devices over which rows and hidden units are sharded."""


class Problem(NamedTuple):
    """A function whose arguments can be sharded over devices.

    Fields:
      function: ``(params, *data, *rest) -> results``, all trees of arrays.
      params: arrays without rows.
      data: arrays with rows that are differentiated.
      rest: arrays with rows that are not differentiated: masks, tokens.
      rows: the axis of the rows in each of data and rest.
      result_rows: the axis of the rows in the results, a tree of numbers or a prefix of one.
      differentiable: whether gradients with respect to params and data are compared too.
    """

    function: Callable[..., Tree]
    params: Tree
    data: tuple[Tree, ...]
    rest: tuple[Tree, ...]
    rows: tuple[int, ...]
    result_rows: Any
    differentiable: bool = True


def device_count() -> int:
    """Return the number of devices for the laws: the largest power of two of those available, at most 8."""
    return 1 << (min(MOST, jax.device_count()).bit_length() - 1)


def kinds(layout: str) -> tuple[str, ...]:
    """Return the `KINDS` that a layout allows: `jax.shard_map` only if rows are sharded, or nothing is."""
    rows, columns = LAYOUTS[layout](device_count())
    return KINDS if rows > 1 or columns == 1 else KINDS[:2]  # XLA fails on a manual axis of size 1 among others


def assert_same_on_devices(case: str, problem: Problem, kind: str, layout: str, want: Tree | None = None) -> Tree:
    """Return values and gradients on one device, after asserting that those on a mesh are equal.

    Args:
      case: the beginning of the error message.
      problem: the function and its arguments.
      kind: one of `KINDS`.
      layout: a key of `LAYOUTS`.
      want: the result of an earlier call for the same problem, to avoid recomputing it.
    """
    value = jax.eval_shape(problem.function, problem.params, *problem.data, *problem.rest)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), value)
    # integer results, such as tokens, have no cotangent
    along = jax.tree.map(lambda a: cotangent(a) if _floats(a) else a, zeros)
    args = (problem.params, problem.data, problem.rest, along)
    run = partial(_run, problem.function, problem.differentiable)
    # on one device, before anything is sharded
    want = jax.device_get(jax.jit(run)(*args)) if want is None else want

    shape, whole = LAYOUTS[layout](device_count()), PartitionSpec()
    types = (AxisType.Explicit if kind == "Explicit" else AxisType.Auto,) * 2
    mesh = jax.make_mesh(shape, ("rows", "units"), axis_types=types, devices=jax.devices()[: device_count()])
    where = tuple(map(_by_row, problem.rows))
    data, rest = where[: len(problem.data)], where[len(problem.data) :]
    results = jax.tree.map(_by_row, problem.result_rows)
    columns = jax.tree.map(partial(_by_column, shape[1]), problem.params)
    put = lambda spec, tree: jax.device_put(tree, NamedSharding(mesh, spec))  # noqa: E731
    spread = jax.tree.map(put, (columns, data, rest, results), args, is_leaf=lambda a: isinstance(a, PartitionSpec))
    if kind == "shard_map":
        run = jax.shard_map(
            run,
            mesh=mesh,
            in_specs=(whole, data, rest, results),
            out_specs=(results, (whole, *data) if problem.differentiable else ()),
            axis_names={"rows"} if shape[1] > 1 else {"rows", "units"},  # XLA may still shard the units
        )
    with jax.set_mesh(mesh) if kind == "Explicit" else contextlib.nullcontext():
        got = jax.device_get(jax.jit(run)(*spread))
    for what, mine, its in zip(("values", "gradients"), got, want, strict=True):
        assert_close(f"{case}, {kind}, {layout} on {shape[0]} x {shape[1]} devices, {what}", mine, its)
    return want


def _run(
    function: Callable[..., Tree], differentiable: bool, params: Tree, data: tuple, rest: tuple, along: Tree
) -> tuple[Tree, Tree]:
    """Return the results, and the gradients of the floating ones."""
    if not differentiable:
        return function(params, *data, *rest), ()
    floating = lambda tree: [a for a in jax.tree.leaves(tree) if _floats(a)]  # noqa: E731

    def run(params: Tree, *data: Tree) -> tuple[list[Array], Tree]:
        value = function(params, *data, *rest)
        return floating(value), value

    _, pull, value = jax.vjp(run, params, *data, has_aux=True)
    return value, pull(floating(along))


def _floats(a: Any) -> bool:
    return jnp.issubdtype(a.dtype, jnp.floating)


def _by_row(axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, "rows")


def _by_column(count: int, a: Array) -> PartitionSpec:
    divides = a.ndim > 0 and count > 1 and a.shape[-1] % count == 0
    return PartitionSpec(*[None] * (a.ndim - 1), "units") if divides else PartitionSpec()


def unrolled(subject: Subject, recurrence: Recurrence, layout: str) -> Problem:
    """Return `unroll` of a cell as a problem, with a carry for "both", and mask and resets if rows are sharded."""
    # a row for each device at least, and hidden units that divide; of one row, JAX forgets that it is sharded
    rows, (_, columns) = max(2, device_count()), LAYOUTS[layout](device_count())
    wide = subject._replace(hidden_size=jax.tree.map(lambda H: H * columns, subject.hidden_size))
    params, xs, carry = draw(wide, 2, (rows,))
    run = partial(unroll, subject.cell, recurrence=recurrence)
    if layout == "units":
        return Problem(run, params, (xs,), (), (1,), (0, 1))
    marks = holes(2, (rows,)), jnp.roll(holes(2, (rows,)), 1, 1)
    if layout == "rows":
        marked = lambda params, xs, mask, resets: run(params, xs, mask=mask, resets=resets)  # noqa: E731
        return Problem(marked, params, (xs,), marks, (1, 1, 1), (0, 1))
    full = lambda params, xs, carry, mask, resets: run(params, xs, carry, mask=mask, resets=resets)  # noqa: E731
    return Problem(full, params, (xs, carry), marks, (1, 0, 1, 1), (0, 1))


def _spread(s: Subject, kind: str) -> None:
    for layout in LAYOUTS:
        for name, recurrence in s.recurrences.items() if kind in kinds(layout) else ():
            assert_same_on_devices(name, unrolled(s, recurrence, layout), kind, layout)


def law_auto_mesh(s: Subject) -> None:
    """rows, hidden units or both spread over an Auto mesh change no value and no gradient."""
    _spread(s, "Auto")


def law_explicit_mesh(s: Subject) -> None:
    """rows, hidden units or both spread over an Explicit mesh change no value and no gradient."""
    _spread(s, "Explicit")


def law_shard_map(s: Subject) -> None:
    """each device runs for its own rows, by shard_map: values and gradients, of params too, are as on one device."""
    _spread(s, "shard_map")


LAWS_OF_DEVICES: dict[str, Callable[[Subject], None]] = {
    "auto mesh": law_auto_mesh,
    "explicit mesh": law_explicit_mesh,
    "shard_map": law_shard_map,
}
"""Laws of arrays spread over devices, by name; each asserts the first line of its docstring."""

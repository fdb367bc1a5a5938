"""Sharding in types: on some meshes an array's type says which axes it is sharded over or varies over.

That is so on an Explicit mesh and inside `jax.shard_map`, and it has two consequences. A loop must return its state in
the type that it was given: fresh zeros are replicated, results of sharded inputs are not. Before the loop, `settled`
moves the state to where the steps will leave it. And on an Explicit mesh a result's sharding must follow from that of
its operands, which it does if only rows are sharded, but not for a product with a sharded matrix: `wherever` then lets
XLA choose the sharding, as on an Auto mesh. Without a mesh, or on an Auto one, nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from jaxseq.errors import InputError
from jaxseq.notation import Array, Tree

ROUNDS = 4
"""Largest number of times a state is moved: moving one leaf may require moving another that is computed from it."""


def settled(step: Callable[..., Tree], state: Tree, *others: Tree) -> Tree:
    """Return `state` with the type that ``step(state, *others)`` returns.

    Args:
      step: returns the new state; it is traced only for types.
      state: before the first step.
      others: the other arguments of a step.
    """
    if not on_mesh():
        return state
    for _ in range(ROUNDS):
        moved = jax.tree.map(_like, state, jax.eval_shape(step, state, *others))
        if jax.tree.map(jax.typeof, moved) == jax.tree.map(jax.typeof, state):
            break
        state = moved
    return state


def on_mesh() -> bool:
    """Return whether array types carry sharding: on an Explicit mesh, or inside `jax.shard_map`."""
    return not jax.sharding.get_abstract_mesh().empty


def wherever(
    function: Callable[..., Any], params: Tree, *data: Tree, first: Sequence[int | None], batch: tuple[int, ...]
) -> Any:
    """Return ``function(params, *data)``, however its arrays are sharded on an Explicit mesh.

    All data are resharded by rows like the first sharded data. If nothing else is sharded, the type of every result
    follows. If params or features are sharded too, the function runs as on an Auto mesh, and its results are sharded by
    rows alone, as if params and features were replicated: a column-sharded matrix can then be applied to them.

    Args:
      function: the function to run; every array of the mesh that it uses must be an argument.
      params: arrays without rows.
      data: trees of arrays with rows; leaves without rows are not moved.
      first: for each of `data` the axis where its batch axes begin; None if unknown.
      batch: the shape of the batch axes.

    Raises:
      InputError: if params or features are sharded and the function uses an array of the mesh that it was not given.
    """
    mesh = _explicit_mesh((params, data))
    if mesh is None:
        return function(params, *data)
    if jax.sharding.get_abstract_mesh().empty:  # the arrays have a mesh, but jax.set_mesh was not called
        with jax.sharding.use_abstract_mesh(mesh):
            return wherever(function, params, *data, first=first, batch=batch)
    places = zip(data, first, strict=True)
    rows = next(filter(any, (_rows(tree, axis, batch) for tree, axis in places)), (None,) * len(batch))
    data = tuple(_with_rows(tree, axis, rows, batch) for tree, axis in zip(data, first, strict=True))
    by_rows = frozenset(_axes(rows))
    if not _sharded_over(params) and _sharded_over(data) <= by_rows:
        return function(params, *data)

    def gathered(params: Tree, *data: Tree) -> Any:
        return function(_whole_but(frozenset(), params), *_whole_but(by_rows, data))

    types = jax.eval_shape(gathered, params, *data)
    run = jax.sharding.auto_axes(function, axes=mesh.explicit_axes, out_sharding=jax.tree.map(_spec, types))
    try:
        return run(params, *data)
    except ValueError as error:
        if "context mesh" not in str(error):
            raise
        raise InputError(
            "params or features are sharded on an Explicit mesh, and a function of the cell uses an array of that mesh "
            "which is not in params: a closure, for example. Give it with the params, or use a mesh of Auto axes: "
            f"jax.make_mesh({mesh.axis_sizes}, {mesh.axis_names}, axis_types=(jax.sharding.AxisType.Auto,) * "
            f"{len(mesh.axis_names)})"
        ) from error


def beside(tree: Tree, like: Tree, batch: tuple[int, ...], like_first: int = 0) -> Tree:
    """Return a tree of leaves ``[*batch, ...]`` with its rows sharded like those of another.

    Args:
      tree: moved on an Explicit mesh; otherwise unchanged.
      like: a tree of arrays with these batch axes.
      batch: their shape.
      like_first: the axis of `like` where they begin.
    """
    return _with_rows(tree, 0, _rows(like, like_first, batch), batch)


def any_on_mesh(a: Array) -> Array:
    """Return whether any entry is True; in a `jax.shard_map` over some axes, whether one is on any device along them.

    XLA partitions the other axes, and its collectives may involve all devices: if a loop ended on one device before the
    others, these would wait forever. If the map is over all axes, there are no such collectives.
    """
    mesh, found = jax.sharding.get_abstract_mesh(), a.any()
    axes = tuple(sorted(_varying(jax.typeof(a))))
    if not axes or len(mesh.manual_axes) == len(mesh.axis_names):
        return found
    return lax.psum(found.astype(jnp.int32), axes) > 0


def rows_of(table: Array, indices: Array) -> Array:
    """Return the rows ``[..., E]`` of ``table [V, E]``, sharded like the indices; indices out of range are clipped.

    On an Explicit mesh a gather must be told its result's sharding.
    """
    if any(spec := _spec(indices)):
        return table.at[indices].get(mode="clip", out_sharding=PartitionSpec(*spec, None))
    return jnp.take(table, indices, axis=0, mode="clip")


def room(T: int, row: jax.ShapeDtypeStruct, value: float = 0) -> Array:
    """Return ``[T, *row.shape]`` filled with a value, each step sharded like the row."""
    return _moved(jnp.full((T, *row.shape), value, row.dtype), PartitionSpec(None, *_spec(row)))


def _explicit_mesh(tree: Tree) -> Any:
    """Return the mesh that is set, or else that of the arrays, if it has Explicit axes; otherwise None."""
    meshes = [jax.sharding.get_abstract_mesh()]
    if meshes[0].empty:
        meshes = [jax.typeof(a).sharding.mesh for a in jax.tree.leaves(tree) if any(_spec(a))]
    return next((mesh for mesh in meshes if mesh.explicit_axes), None)


def _spec(a: Any) -> PartitionSpec:
    """Return how an array, or a type, is sharded over the Explicit axes of a mesh."""
    kind = a if isinstance(a, jax.ShapeDtypeStruct | jax.core.AbstractValue) else jax.typeof(a)
    return getattr(getattr(kind, "sharding", None), "spec", None) or PartitionSpec()


def _axes(spec: Iterable[Any]) -> set[str]:
    """Return the axes of the mesh that a PartitionSpec names."""
    entries = (entry if isinstance(entry, tuple) else (entry,) for entry in spec)
    return {axis for entry in entries for axis in entry if isinstance(axis, str)}


def _sharded_over(tree: Tree) -> set[str]:
    return set().union(*(_axes(_spec(a)) for a in jax.tree.leaves(tree)))


def _rows(tree: Tree, first: int | None, batch: tuple[int, ...]) -> tuple[Any, ...]:
    """Return how the batch axes of a tree's first sharded leaf are sharded."""
    if first is not None:
        here = slice(first, first + len(batch))
        for a in jax.tree.leaves(tree):
            if jnp.shape(a)[here] == batch and any(rows := tuple(_spec(a))[here]):
                return rows
    return (None,) * len(batch)


def _with_rows(tree: Tree, first: int | None, rows: tuple[Any, ...], batch: tuple[int, ...]) -> Tree:
    """Return a tree with its batch axes sharded as `rows` says."""
    if first is None or not any(rows):
        return tree
    here = slice(first, first + len(batch))

    def move(a: Array) -> Array:
        if jnp.shape(a)[here] != batch:
            return a
        spec = [_kept(entry, lambda axis: axis not in _axes(rows)) for entry in _spec(a)]
        spec += [None] * (jnp.ndim(a) - len(spec))
        spec[here] = rows
        return _moved(a, PartitionSpec(*spec))

    return jax.tree.map(move, tree)


def _whole_but(axes: frozenset[str], tree: Tree) -> Tree:
    """Return a tree whose arrays are sharded over at most these axes."""
    return jax.tree.map(
        lambda a: _moved(a, PartitionSpec(*(_kept(entry, axes.__contains__) for entry in _spec(a)))), tree
    )


def _kept(entry: Any, keep: Callable[[str], bool]) -> Any:
    """Return an entry of a PartitionSpec restricted to these axes."""
    if isinstance(entry, tuple):
        return tuple(filter(keep, entry)) or None
    return entry if entry is not None and keep(entry) else None


def _moved(a: Array, spec: PartitionSpec) -> Array:
    same = [entry or None for entry in _spec(a)] == [*spec]
    return a if same or not any((*spec, *_spec(a))) else jax.sharding.reshard(a, spec)


def _like(a: jax.Array, wanted: jax.ShapeDtypeStruct) -> jax.Array:
    """Return the array, varying over the axes that `wanted` varies over, and sharded as it is."""
    a = _vary(a, _varying(wanted))
    return _moved(a, _spec(wanted)) if any(_spec(wanted)) else a


def varying_as(tree: Tree, like: Tree) -> Tree:
    """Return the tree, each leaf varying over those axes of a `jax.shard_map` over which its leaf in `like` varies."""
    return jax.tree.map(lambda a, b: _vary(a, _varying(jax.typeof(b))), tree, like) if on_mesh() else tree


def _vary(a: jax.Array, axes: frozenset[str]) -> jax.Array:
    more = tuple(sorted(axes - _varying(jax.typeof(a))))
    return lax.pcast(a, more, to="varying") if more else a


def _varying(kind: jax.ShapeDtypeStruct | jax.core.AbstractValue) -> frozenset[str]:
    """Return the axes of a mesh over which an array inside `jax.shard_map` varies."""
    manual = getattr(kind, "manual_axis_type", None)  # since jax 0.10; `vma` before that, and for some types
    return manual.varying if manual is not None else getattr(kind, "vma", None) or frozenset()

"""Where arrays live: loops whose state starts out in another place than the steps leave it.

On an Explicit mesh, and inside `jax.shard_map`, an array's type says over which axes of the mesh it is sharded or
varies, and a loop must give back its state in the type that it took it in. Zeros made on the spot are the same
everywhere; what a step computes from sharded inputs is not. `settled` moves the state, before the loop, to where the
steps will leave it. Without such a mesh nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.notation import Array, Tree

ROUNDS = 4
"""Most times that a state is moved: each may move what is computed from it, leaf by leaf."""


def settled(step: Callable[..., Tree], state: Tree, *others: Tree) -> Tree:
    """Return `state` in the type that ``step(state, *others)`` returns it in.

    Args:
      step: returns the new state; only its types are looked at.
      state: before the first step.
      others: what else a step takes.
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
    """Return whether the types of arrays say where they are: on an Explicit mesh, or inside `jax.shard_map`."""
    return not jax.sharding.get_abstract_mesh().empty


def rows_of(table: Array, indices: Array) -> Array:
    """Return the rows ``[..., E]`` of ``table [V, E]``, sharded as the indices; one out of range is the nearest.

    On an Explicit mesh a gather must be told where its result belongs.
    """
    if (spec := _explicit_spec(jax.typeof(indices))) is not None:
        return table.at[indices].get(mode="clip", out_sharding=jax.sharding.PartitionSpec(*spec, None))
    return jnp.take(table, indices, axis=0, mode="clip")


def beside(a: Array, tree: Tree) -> Array:
    """Return ``a [B]`` or ``[B, ...]`` with its rows where a tree's, whose leaves are ``[B, ...]``, are."""
    for leaf in jax.tree.leaves(tree):
        spec = _explicit_spec(jax.typeof(leaf))
        if spec and spec[0] is not None:
            return jax.sharding.reshard(a, jax.sharding.PartitionSpec(spec[0], *[None] * (a.ndim - 1)))
    return a


def room(T: int, row: jax.ShapeDtypeStruct, value: float = 0) -> Array:
    """Return ``[T, *row.shape]`` filled with a value, each step where the row is."""
    full = jnp.full((T, *row.shape), value, row.dtype)
    spec = _explicit_spec(row)
    return full if spec is None else jax.sharding.reshard(full, jax.sharding.PartitionSpec(None, *spec))


def _explicit_spec(kind: Any) -> Any:
    """Return the PartitionSpec of a type on an Explicit mesh, None where it is whole or there is no such mesh."""
    sharding: Any = getattr(kind, "sharding", None)
    spec = getattr(sharding, "spec", None)
    explicit = spec is not None and any(spec) and sharding.mesh.are_all_axes_explicit
    return spec if explicit else None


def _like(a: jax.Array, wanted: jax.ShapeDtypeStruct) -> jax.Array:
    """Return the array, varying over the axes that `wanted` varies over, and sharded as it is."""
    a = _vary(a, _varying(wanted))
    spec = getattr(wanted.sharding, "spec", None)
    if spec is not None and any(spec) and jax.typeof(a).sharding.spec != spec:
        a = jax.sharding.reshard(a, spec)
    return a


def varying_as(tree: Tree, like: Tree) -> Tree:
    """Return the tree, each leaf varying over those axes of a `jax.shard_map` over which its leaf in `like` varies."""
    return jax.tree.map(lambda a, b: _vary(a, _varying(jax.typeof(b))), tree, like) if on_mesh() else tree


def _vary(a: jax.Array, axes: frozenset[str]) -> jax.Array:
    more = tuple(sorted(axes - _varying(jax.typeof(a))))
    return lax.pcast(a, more, to="varying") if more else a


def _varying(kind: jax.ShapeDtypeStruct | jax.core.AbstractValue) -> frozenset[str]:
    """Return the axes of a mesh over which an array inside `jax.shard_map` varies."""
    manual = getattr(kind, "manual_axis_type", None)  # jax 0.10 on; `vma` before and for some types
    return manual.varying if manual is not None else getattr(kind, "vma", None) or frozenset()

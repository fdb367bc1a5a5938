"""Pytrees of arrays: their leaves by name, one index or noise for all of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.notation import Key, Tree


def named_leaves(tree: Tree, separator: str = ".") -> dict[str, Any]:
    """Return the leaves of a tree by name: ``"f"``, and in a stack ``"0.f"``.

    Example:
      >>> named_leaves(({"f": 1}, {"i": 2, "f": 3}))
      {'0.f': 1, '1.f': 3, '1.i': 2}
    """
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator=separator): a for path, a in leaves}


def leaves_by_path(tree: Tree) -> dict[str, Any]:
    """Return the leaves of a tree by their path as a Python expression: ``".cell.U"``, ``"[0]['f']"``.

    Example:
      >>> leaves_by_path(({"f": 1},))
      {"[0]['f']": 1}
    """
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def at(tree: Tree, *where: Any) -> Tree:
    """Return ``a[where]`` for every leaf."""
    return jax.tree.map(lambda a: a[where], tree)


def shapes(tree: Tree) -> Tree:
    """Return the shapes and dtypes of a tree's arrays, without the sharding in their types."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), tree)


def step_shapes(xs: Tree) -> Tree:
    """Return the shapes and dtypes of one step of ``xs [T, ...]``."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)


def noisy(key: Key, tree: Tree) -> Tree:
    """Return the tree with noise of standard deviation 0.3 added to each leaf. Consumes `key`."""
    leaves, structure = jax.tree.flatten(tree)
    noise = numpy_generator(key)
    made = [np.asarray(a, np.float64) + 0.3 * noise.standard_normal(a.shape) for a in leaves]
    return jax.tree.unflatten(structure, [jnp.asarray(m, a.dtype) for m, a in zip(made, leaves, strict=True)])


def numpy_generator(key: Key) -> np.random.Generator:
    """Return a NumPy generator seeded by a key: drawing with JAX would compile a program for each shape."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))

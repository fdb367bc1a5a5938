"""Random problems, and comparisons of two ways to compute the same values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import EXACT, Recurrence
from jaxseq.trees import noisy, numpy_generator


class Tolerance(NamedTuple):
    """Allowed difference of two computations, relative to an array's largest entry (or to 1)."""

    values: float
    gradients: float


TOLERANCES: dict[str, Tolerance] = {
    "float64": Tolerance(1e-9, 1e-9),
    "float32": Tolerance(1e-5, 1e-4),
    "bfloat16": Tolerance(3e-2, 1e-1),
}
"""Tolerances by dtype, defined only here."""


class Subject(NamedTuple):
    """The subject of a law: a cell, the sizes to try, the recurrences to run it by, and a seed."""

    cell: Cell
    input_size: int = 3
    hidden_size: Any = 5
    recurrences: Mapping[str, Recurrence] = EXACT
    seed: int = 0


class Case(NamedTuple):
    """Arguments of `unroll`: params and carry without zeros, and ``xs [T, B, D]`` or another input."""

    params: Params
    xs: Tree
    carry: Carry


def draw(subject: Subject, T: int, batch_shape: tuple[int, ...], dtype: Any = None) -> Case:
    """Return a random problem. Noise is added to params and carry: zero biases hide a misplaced one."""
    keys = jax.random.split(jax.random.key(subject.seed), 5)
    dtype = jnp.float64 if dtype is None else dtype
    params = noisy(keys[1], subject.cell.init(keys[0], subject.input_size, subject.hidden_size, dtype=dtype))
    # a picture of 3 x 2: unequal, so that swapped axes are detected
    batch_shape = (*batch_shape, *(3, 2)[: subject.cell.spatial])
    carry = noisy(keys[2], subject.cell.initial_carry(params, batch_shape))
    # NumPy draws any shape without compiling
    x = numpy_generator(keys[3]).standard_normal((T, *batch_shape, subject.input_size))
    xs = subject.cell.lift(jnp.asarray(x, dtype))
    return Case(params, xs if isinstance(xs, jax.Array) else noisy(keys[4], xs), carry)


def differentiate(f: Callable[..., Tree], *args: Tree) -> tuple[Tree, Tree]:
    """Return ``f(*args)`` and its gradients for a fixed cotangent without symmetries, from one jit."""

    def both(*args: Tree) -> tuple[Tree, Tree]:
        value, pull = jax.vjp(f, *args)
        return value, pull(jax.tree.map(cotangent, value))

    return jax.jit(both)(*args)


def cotangent(a: Array) -> Array:
    """Return ``sin(1), sin(2), ...`` in the shape and dtype of `a`: no two entries alike, none zero."""
    return jnp.sin(1 + jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape)


def difference(got: Tree, want: Tree) -> tuple[float, str]:
    """Return the worst difference of two trees, relative to each leaf's largest entry (or 1), its place and values.

    Raises:
      AssertionError: if structure, shapes or dtypes differ.
    """
    assert str(jax.tree.structure(got)) == str(jax.tree.structure(want)), (
        f"expected the tree {jax.tree.structure(want)}, got {jax.tree.structure(got)}"
    )
    worst, where = 0.0, ""
    for (path, g), w in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True):
        path_of = jax.tree_util.keystr(path)
        assert (g.shape, g.dtype) == (w.shape, w.dtype), (
            f"{path_of}: expected {w.dtype} of shape {w.shape}, got {g.dtype} of shape {g.shape}"
        )
        # compared in float64, since a bfloat16 difference would itself be rounded
        a, b = np.asarray(g, np.float64), np.asarray(w, np.float64)
        apart = np.abs(a - b)
        error = float(np.max(apart, initial=0) / max(1.0, np.max(np.abs(b), initial=0)))
        if not error <= worst:  # so that NaN counts as the worst
            entry = np.unravel_index(int(np.argmax(apart)), a.shape)
            place = f"{path_of}[{', '.join(map(str, entry))}]" if entry else path_of
            worst, where = error, f"{place}: {a[entry]:.9g} and {b[entry]:.9g}"
    return worst, where


def assert_close(case: str, got: Tree, want: Tree, tolerance: float = TOLERANCES["float64"].values) -> None:
    """Assert that two trees are equal in structure, shapes and dtypes, and close in value."""
    try:
        worst, where = difference(got, want)
    except AssertionError as error:
        raise AssertionError(f"{case}: {error}") from None
    assert worst <= tolerance, (
        f"{case}: the worst relative difference is {worst:.1e} at {where}, allowed {tolerance:.0e}"
    )


def assert_same(case: str, f: Callable[..., Tree], g: Callable[..., Tree], *args: Tree) -> None:
    """Assert that f and g have the same values and gradients at `args`."""
    (f_value, f_grads), (g_value, g_grads) = differentiate(f, *args), differentiate(g, *args)
    assert_close(f"{case}, values", f_value, g_value)
    assert_close(f"{case}, gradients", f_grads, g_grads, TOLERANCES["float64"].gradients)

"""Inputs that are more than an array: their types, and the lifts that make them from an array ``[..., D]``.

A cell's `lift` determines the type it takes. Time stamps and time differences are different types, so one is never read
as the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._recipe import remembered
from jaxseq.errors import InputError
from jaxseq.notation import Array, Tree

if TYPE_CHECKING:
    from jaxseq.cells._base import Cell


class Stamped(NamedTuple):
    """An input ``x [B, D]`` and its time stamp ``t [B, 1]``, in the unit of the cell's parameters."""

    x: Array
    t: Array


class Spaced(NamedTuple):
    """An input ``x [B, D]`` and the time since the last step, ``dt [B, 1]``, in the unit of the cell's parameters."""

    x: Array
    dt: Array


class Scored(NamedTuple):
    """An input ``x [B, D]`` and its attention score, ``a [B, 1]``."""

    x: Array
    a: Array


class Observed(NamedTuple):
    """Values ``x``, mask ``m`` (1 where observed) and time since the last observation ``delta``, each ``[B, D]``."""

    x: Array
    m: Array
    delta: Array


class Inflow(NamedTuple):
    """Auxiliary input ``x [B, D]``, which only affects the gates, and incoming mass ``mass [B, 1]``."""

    x: Array
    mass: Array


INPUTS = (Stamped, Spaced, Scored, Observed, Inflow)


def as_it_is(xs: Array) -> Tree:
    """Return xs unchanged: the `lift` of a cell whose input is one array."""
    return xs


def stamped(xs: Array) -> Stamped:
    """Return ``xs [T, B, D]`` with the time stamps 0, 1, 2, ...

    The stamps begin at 0 in every call. A sequence run in pieces needs explicit ones: ``Stamped(piece, t)`` with t
    continuing from the last piece.
    """
    t = jnp.arange(xs.shape[0], dtype=xs.dtype).reshape(-1, *[1] * (xs.ndim - 1))
    return Stamped(xs, jnp.broadcast_to(t, (*xs.shape[:-1], 1)))


def spaced(xs: Array) -> Spaced:
    """Return ``xs [..., D]`` with a time of 1 between steps."""
    return Spaced(xs, jnp.ones_like(xs[..., :1]))


def scored(xs: Array) -> Scored:
    """Return ``xs [..., D]`` with the score 1 for every step."""
    return Scored(xs, jnp.ones_like(xs[..., :1]))


def complete(xs: Array) -> Observed:
    """Return ``xs [..., D]`` with nothing missing, steps one unit of time apart."""
    return Observed(xs, jnp.ones_like(xs), jnp.ones_like(xs))


def inflow(xs: Array) -> Inflow:
    """Return ``xs [..., D]`` as auxiliary input, with the first feature as the incoming mass."""
    return Inflow(xs, xs[..., :1])


@remembered
def input_type(lift: Callable[[Array], Tree]) -> Any:
    """Return the type that a cell with this `lift` takes, such as `Spaced`; `jax.Array` for one array."""
    if lift is as_it_is:
        return jax.Array
    return type(jax.eval_shape(lift, jax.ShapeDtypeStruct((1, 1, 1), jnp.float32)))


def check_input_type(name: str, cell: Cell[Any, Any, Any, Any], x: Tree) -> None:
    """Check that x is not the input of another cell, such as time stamps where a cell takes differences.

    Raises:
      InputError: naming the type that the cell takes.
    """
    wanted = input_type(cell.lift)
    if _carries_another(x, wanted):
        return check_input_type(name, cell, x.x)
    if wanted in INPUTS and isinstance(x, wanted):
        return _check_axes(name, x)
    if isinstance(x, wanted) or (type(x) not in INPUTS and wanted not in INPUTS):
        return
    name = f"{name}.step" if name == cell.name else name
    if wanted is jax.Array:
        raise InputError(f"{name}: {cell.name} takes one array; got {_written(type(x))}: pass its x")
    alone = "" if wanted is Stamped else f", or the array x alone for {cell.lift.__name__}(x)"
    got = _written(type(x)) if hasattr(type(x), "_fields") else type(x).__name__
    raise InputError(f"{name}: {cell.name} takes {_written(wanted)}, {_meaning(wanted)}{alone}; got {got}")


def _check_axes(name: str, x: Tree) -> None:
    """Check that the fields next to x have its axes: if B is H, a `t [T, B]` would otherwise broadcast over units."""
    steps, features = jnp.shape(x.x)[:-1], jnp.shape(x.x)[-1:] if isinstance(x, Observed) else (1,)
    for field, value in zip(x._fields[1:], x[1:], strict=True):
        if jnp.shape(value) != (*steps, *features):
            hint = f": give {field}[..., None]" if (*jnp.shape(value), 1) == (*steps, *features) else ""
            raise InputError(
                f"{name}: {field} must have the shape {(*steps, *features)}, for x of {jnp.shape(x.x)}; got "
                f"{jnp.shape(value)}{hint}"
            )


def lift_sequence(cell: Cell[Any, Any, Any, Any], xs: Tree) -> Tree:
    """Return the input of a sequence for an array ``xs [T, B, D]``; return anything else unchanged."""
    if _carries_another(xs, input_type(cell.lift)):
        return xs._replace(x=lift_sequence(cell, xs.x))
    if cell.takes_array or not isinstance(xs, jax.Array | np.ndarray):
        return xs
    return cell.lift(jnp.asarray(xs))


def lift_step(cell: Cell[Any, Any, Any, Any], x: Tree) -> Tree:
    """Return the input of one step for an array ``x [B, D]``; return anything else unchanged.

    Raises:
      InputError: if the cell needs a time stamp, which an array does not have.
    """
    if _carries_another(x, input_type(cell.lift)):
        return x._replace(x=lift_step(cell, x.x))
    if not isinstance(x, jax.Array) or cell.takes_array:
        return x
    if input_type(cell.lift) is Stamped:
        raise InputError(
            f"{cell.name}: a single step needs its time stamp: give Stamped(x, t) with t {(*x.shape[:-1], 1)}; got an "
            "array. unroll, which sees the whole sequence, stamps an array 0, 1, 2, ..."
        )
    return jax.tree.map(lambda a: a[0], cell.lift(x[None]))


def _carries_another(x: Tree, wanted: Any) -> bool:
    """Return whether x is the input of a wrapper (dropout masks, noise) with the cell's own input in its field x."""
    return "x" in getattr(type(x), "_fields", ()) and type(x) not in (*INPUTS, wanted)


def _written(kind: Any) -> str:
    return f"{kind.__name__}({', '.join(kind._fields)})"


def _meaning(kind: Any) -> str:
    return {
        Stamped: "t the time stamp of each step",
        Spaced: "dt the time since the last step",
        Scored: "a the attention score of each step",
        Observed: "m the mask of what was observed, delta the time since",
        Inflow: "mass what flows in",
    }.get(kind, "which its lift returns")

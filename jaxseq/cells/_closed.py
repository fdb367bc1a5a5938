"""What a cell's functions see besides their arguments: whether it may change, and whether it is traced.

A program that was compiled for a cell may serve again only if nothing that its functions see can change.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from typing import TYPE_CHECKING, Any

import jax

from jaxseq.cells._recipe import Made, exact, is_hashable, join, kept, split
from jaxseq.notation import Carry, Params, Tree

if TYPE_CHECKING:
    from jaxseq.cells._base import Cell


@kept
def is_closed(value: Any) -> bool:
    """Return whether a cell is identified by its hash: none of its functions is a closure.

    A closure (a lambda that sees a variable, for example) may hold a traced value, which must not outlive its trace.
    """
    if isinstance(value, Made):
        parts = value._fields() if value.recipe is None else value.recipe.identity()[2]
        return all(map(is_closed, parts))
    if isinstance(value, types.FunctionType):
        return value.__closure__ is None and "<locals>" not in value.__qualname__
    if isinstance(value, tuple):
        return all(map(is_closed, value))
    if isinstance(value, functools.partial):
        return all(map(is_closed, (value.func, *value.args, *value.keywords.values())))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):  # its fields are what a closure would see
        return all(is_closed(getattr(value, field.name)) for field in dataclasses.fields(value))
    return not callable(value) or isinstance(value, type)


def closes_over_traced(cell: Cell, params: Params, carry: Carry, x: Tree) -> bool:
    """Return whether a step of the cell uses a traced value that is neither an argument nor in the cell's recipe.

    That is so where a function of a custom cell is a closure, made inside the function that is differentiated.

    Args:
      cell: the cell.
      params: its parameters.
      carry: before a step.
      x: the input of one step, or its shapes and dtypes.
    """
    if is_closed(cell):
        return False
    static, arrays = split(cell)

    def step(arrays: list[Any], params: Params, carry: Carry, x: Tree) -> Any:
        cell = join(static, arrays)
        return cell.advance(params, carry, cell.input_terms(params, x))

    consts = jax.make_jaxpr(step)(arrays, params, carry, x).consts
    return any(isinstance(const, jax.core.Tracer) for const in consts)


def globals_read(value: Any) -> tuple[Any, ...] | None:
    """Return what a cell's functions read from the modules of users, to be compared with what they read later.

    A global number may be set to another, and a helper be defined again, as in a notebook: what was compiled before
    then serves no more. Functions of this package are taken to stay as they are, and so is what a module holds that is
    read as ``module.value``.

    Returns:
      A hashable tuple, or None if there is none, as where an array or a list is read.
    """
    found: dict[tuple[int, str], Any] = {}
    _look(value, found)
    key = tuple(found.items())
    return key if is_hashable(key) else None


def _look(value: Any, found: dict[tuple[int, str], Any]) -> None:
    for function in _functions_of_users(value):
        for name in _names(function.__code__):
            place = (id(function.__globals__), name)
            if name in function.__globals__ and place not in found:
                read = function.__globals__[name]
                found[place] = exact(read)
                _look(read, found)


@kept
def _functions_of_users(value: Any) -> tuple[types.FunctionType, ...]:
    """Return the functions in a cell, or another value, that are not this package's."""
    if isinstance(value, Made):
        parts = value._fields() if value.recipe is None else (value.recipe.factory, *value.recipe.identity()[2])
        return _functions_of_users(parts)
    if isinstance(value, tuple):
        return sum(map(_functions_of_users, value), ())
    if isinstance(value, functools.partial):
        return _functions_of_users((value.func, *value.args, *value.keywords.values()))
    if not isinstance(value, types.FunctionType) or (value.__module__ or "").startswith("jaxseq."):
        return ()
    function = inspect.unwrap(value)
    return (function,) if isinstance(function, types.FunctionType) else ()


def _names(code: types.CodeType) -> tuple[str, ...]:
    """Return the names of globals (and attributes) in a function and those defined in it."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return sum(inner, code.co_names)

"""What a cell's functions read besides their arguments: whether it can change, and whether it is traced.

A compiled program may be reused for a cell only if nothing that its functions read can change.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxseq.cells._recipe import Made, exact, is_hashable, join, kept, split
from jaxseq.notation import Carry, Params, Tree

if TYPE_CHECKING:
    from jaxseq.cells._base import Cell


@kept
def is_closed(value: Any) -> bool:
    """Return whether a cell is identified by its hash: that is so if none of its functions is a closure.

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
    """Return whether a step uses a traced value that is neither an argument nor in the cell's recipe.

    That happens if a function of a custom cell is a closure, made inside the function that is differentiated.

    Args:
      cell: the cell.
      params: its parameters.
      carry: the carry before a step.
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


TRUSTED = frozenset({"jax", "jaxlib", "jaxseq", "numpy", "ml_dtypes", "optax"}) | sys.stdlib_module_names
"""Packages whose functions and modules are assumed not to change."""

IMMUTABLE = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype)


_Jitted = type(jax.jit(len))


class _NotFollowedError(Exception):
    """Raised if a function reads something that can change unnoticed."""


def globals_read(value: Any) -> tuple[Any, ...] | None:
    """Return what a cell's functions read from outside, for comparison with what they read later.

    In a notebook a global number may be reassigned, a helper redefined or a module reloaded: a program compiled earlier
    is then stale. This follows the code and defaults of functions, what they read from their module, and from there
    functions, modules, classes, numbers and tuples.

    Returns:
      A hashable tuple, or None if a function reads anything else: an array, a list, an object with attributes.
    """
    found: dict[tuple[int, str], Any] = {}
    try:
        for part in _parts_of_users(value):
            _look(part, found)
    except _NotFollowedError:
        return None
    key = tuple(found.items())
    return key if is_hashable(key) else None


def _look(function: types.FunctionType | functools.partial, found: dict[tuple[int, str], Any]) -> None:
    """Add a function's code, and what it reads."""
    place = (id(function), "")
    if place in found:
        return
    if isinstance(function, functools.partial):
        found[place] = (function, exact((function.args, *function.keywords.items())))
        return
    if function.__closure__:
        raise _NotFollowedError
    defaults = (function.__defaults__ or (), *(function.__kwdefaults__ or {}).items())
    found[place] = (function, function.__code__, exact(defaults))
    names = _names(function.__code__)
    for name in names:
        if name in function.__globals__:
            _read((id(function.__globals__), name), function.__globals__[name], names, found)


def _read(place: tuple[int, str], value: Any, names: tuple[str, ...], found: dict[tuple[int, str], Any]) -> None:
    """Add a value that was read, and what is read from it; `names` are the attributes that the function reads."""
    found[place] = exact(value)
    if isinstance(value, types.ModuleType | type):
        if (asked := (id(value), " ".join(names))) in found:  # another function may read other names from it
            return
        found[asked] = None
        package = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
        for name in () if package.partition(".")[0] in TRUSTED else names:
            if name in vars(value):
                _read((id(value), name), vars(value)[name], names, found)
    elif isinstance(value, tuple):
        for n, part in enumerate(value):
            _read((id(value), str(n)), part, names, found)
    elif isinstance(value, Made | functools.partial | types.FunctionType | _Jitted):
        for part in _parts_of_users(value):
            _look(part, found)
    elif not isinstance(value, IMMUTABLE) and not (callable(value) and _is_trusted(value)):
        raise _NotFollowedError


def _is_trusted(value: Any) -> bool:
    """Return whether a function, or another value, is from a package that is assumed not to change."""
    return (getattr(value, "__module__", None) or "").partition(".")[0] in TRUSTED


def is_of_users(cell: Any) -> bool:
    """Return whether a cell has a function from outside this package."""
    return bool(_parts_of_users(cell))


@kept
def _parts_of_users(value: Any) -> tuple[types.FunctionType | functools.partial, ...]:
    """Return the functions in a cell or another value that are from outside this package, and its partial calls."""
    if isinstance(value, Made):
        parts = value._fields() if value.recipe is None else (value.recipe.factory, *value.recipe.identity()[2])
        return _parts_of_users(parts)
    if isinstance(value, tuple):
        return sum(map(_parts_of_users, value), ())
    if isinstance(value, functools.partial):
        return (value, *_parts_of_users((value.func, *value.args, *value.keywords.values())))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _parts_of_users(tuple(getattr(value, field.name) for field in dataclasses.fields(value)))
    function = inspect.unwrap(value) if isinstance(value, types.FunctionType | _Jitted) else None
    return (function,) if isinstance(function, types.FunctionType) and not _is_trusted(value) else ()


def _names(code: types.CodeType) -> tuple[str, ...]:
    """Return the names of globals and attributes in a function and in functions nested in it."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return sum(inner, code.co_names)

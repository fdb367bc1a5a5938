"""How a cell that was made is known again: by the function that made it and what that was given.

A stack, a clamped or a regularised cell is built of functions that exist only once, so that two cells made alike would
be strangers: jit would compile each anew, and neither could be pickled. A cell therefore remembers the call that made
it. Two cells are equal if their calls are, a pickle holds the call, and a variant is the same call with other options.

Arrays in a call (a value that a clamp holds, a source that is read) are data: `split` takes them out, so that they can
be passed through a transformation as arguments and not be closed over, and `join` puts them back. What is then left is
hashable, and compiled once for all values.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

import jax
import numpy as np

from jaxseq.errors import InputError, nearest

A = ParamSpec("A")
R = TypeVar("R")

REGISTERED: dict[str, Any] = {}
"""The cells of the package by name: they are pickled by it."""


def registered(name: str) -> Any:
    """Return the cell of this name; `jaxseq.cells.CELLS` has them for users."""
    return REGISTERED[name]


NUMBERS_ARE_DATA: set[Callable[..., Any]] = set()
"""Factories whose numbers are only computed with, never looked at: one program serves all of them."""


KEPT = 256
"""Results that a cache keeps, the least recently used dropped first: an unbounded one would keep every cell alive."""


class Recipe(NamedTuple):
    """The call that made a cell: ``factory(*args, **dict(options))``."""

    factory: Callable[..., Any]
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def make(self) -> Any:
        """Call again."""
        return self.factory(*self.args, **dict(self.options))

    def identity(self) -> tuple[Any, ...]:
        """Return what makes two calls the same: hashable if all arguments are, dicts and tuples of them included.

        An argument is the same by place, by name and by default.
        """
        bound = inspect.signature(self.factory).bind(*self.args, **dict(self.options))
        bound.apply_defaults()
        leaves, structure = jax.tree.flatten(dict(bound.arguments), is_leaf=is_made)
        return self.factory, structure, tuple(leaves)


class Static(NamedTuple):
    """A call without its arrays, hashable: see `split`."""

    factory: Callable[..., Any]
    structure: Any
    leaves: tuple[Hashable, ...]


class _Hole(NamedTuple):
    """Where an array was taken out."""


def made(factory: Callable[A, R]) -> Callable[A, R]:
    """Decorate a function that makes cells or attentions: what it returns has its call as `recipe`.

    Calls with equal, hashable arguments return the same object, as long as it is among the last `KEPT`. The function
    must be one that a pickle finds by name: at the top of its module.

    Example:
      >>> import pickle
      >>> from jaxseq.cells import lstm, stack
      >>> cell = stack(lstm, lstm)
      >>> cell == stack(lstm, lstm) == pickle.loads(pickle.dumps(cell))
      True
    """

    @functools.wraps(factory)
    def make(*args: A.args, **options: A.kwargs) -> R:
        recipe = Recipe(public, args, tuple(sorted(options.items())))
        return factory(*args, **options).replace(recipe=recipe)  # type: ignore[attr-defined]

    public = remembered(make)  # what a pickle finds under the function's name
    return public


def remembered(function: Callable[A, R]) -> Callable[A, R]:
    """Cache a function's last `KEPT` results; arguments that hold arrays, and so have no hash, are not cached."""
    cached = functools.lru_cache(maxsize=KEPT)(function)

    @functools.wraps(function)
    def call(*args: A.args, **options: A.kwargs) -> R:
        try:
            hash((args, tuple(options.values())))
        except TypeError:
            return function(*args, **options)
        return cached(*args, **options)  # type: ignore[arg-type]

    return call


class Made:
    """A frozen dataclass of functions that knows the call that made it, in a field ``recipe``; see `made`."""

    name: str
    recipe: Recipe | None

    def replace(self, **changes: Any) -> Any:
        """Return it with other fields: ``lstm.replace(name="mine")``. It is no longer known by its recipe."""
        return dataclasses.replace(self, **{"recipe": None, **changes})  # type: ignore[type-var]

    def with_(self, **options: Any) -> Self:
        """Return the variant made with other options; the error for an unknown one lists them.

        Raises:
          InputError: if there is no such option, or as the maker says of a value.

        Example:
          >>> from jaxseq.cells import clockwork
          >>> clockwork.with_(periods=(1, 3)) == clockwork.with_(periods=(1, 3))
          True
        """
        known = inspect.signature(self.recipe.factory).parameters if self.recipe else {}
        variable = {name: None for name, p in known.items() if p.default is not p.empty}
        for option in options:
            if option not in variable:
                have = f"known: {', '.join(variable)}" if variable else "it has none"
                raise InputError(
                    f"{self.name}.with_: unknown option {option!r}: {nearest(option, variable)}{have}; options of init "
                    "are given to init"
                )
        assert self.recipe is not None
        return self.recipe.factory(*self.recipe.args, **{**dict(self.recipe.options), **options})

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))  # type: ignore[arg-type]

    def _identity(self) -> tuple[Any, ...]:
        return self._fields() if self.recipe is None else self.recipe.identity()

    def __eq__(self, other: object) -> bool:
        if self is other or type(self) is not type(other):
            return self is other
        (mine, held), (its, holding) = split(self), split(other)
        if held or holding:  # arrays have no == that is one truth; the same ones are equal
            return mine == its and all(a is b for a, b in zip(held, holding, strict=True))
        return self._identity() == other._identity()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        if split(self)[1]:
            raise TypeError(f"{self!r} holds arrays and has no hash; make it inside the function that is compiled")
        return hash(self._identity())

    def __reduce__(self) -> Any:
        return (type(self), self._fields()) if self.recipe is None else (Recipe.make, (self.recipe,))


def is_made(value: Any) -> bool:
    """Return whether a value remembers the call that made it."""
    return isinstance(getattr(value, "recipe", None), Recipe)


def split(value: Any, *, numbers: bool = False) -> tuple[Any, list[Any]]:
    """Return a cell without the arrays of its recipe, hashable, and these arrays; `join` is the way back.

    Args:
      value: a cell, or whatever was made.
      numbers: whether numbers are taken out as well where the factory is in `NUMBERS_ARE_DATA`.
    """
    if not is_made(value):
        return value, []
    leaves, structure = jax.tree.flatten((value.recipe.args, dict(value.recipe.options)), is_leaf=is_made)
    static: list[Any] = []
    arrays: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, jax.Array | np.ndarray):
            arrays.append(leaf)
            static.append(_Hole())
        elif numbers and type(leaf) in (int, float) and value.recipe.factory in NUMBERS_ARE_DATA:
            arrays.append(np.asarray(leaf))
            static.append(_Hole())
        else:
            inner, held = split(leaf, numbers=numbers)
            arrays += held
            static.append(inner)
    if not arrays:
        return value, []
    return Static(value.recipe.factory, structure, tuple(static)), arrays


def is_closed(value: Any) -> bool:
    """Return whether a cell is told apart from all others by its hash: no function in it was made on the spot.

    One that was (a lambda, say, that sees a variable) may hold a traced value, which must not outlive its trace.
    """
    if isinstance(value, Made):
        parts = value._fields() if value.recipe is None else value.recipe.identity()[2]
        return all(map(is_closed, parts))
    if isinstance(value, types.FunctionType):
        return value.__closure__ is None and "<locals>" not in value.__qualname__
    if isinstance(value, tuple):
        return all(map(is_closed, value))
    return not callable(value) or isinstance(value, type) or dataclasses.is_dataclass(value)


def join(static: Any, arrays: list[Any]) -> Any:
    """Return the cell that `split` took apart, with these arrays in their places."""
    return _join(static, iter(arrays))


def _join(static: Any, arrays: Iterator[Any]) -> Any:
    if isinstance(static, _Hole):
        return next(arrays)
    if not isinstance(static, Static):
        return static
    args, options = jax.tree.unflatten(static.structure, [_join(leaf, arrays) for leaf in static.leaves])
    return static.factory(*args, **options)

"""Recipes: cells compare, pickle and vary by the call that made them, a function and its arguments.

A stacked, clamped or regularised cell consists of closures, which neither compare nor pickle: jit would recompile for
every copy. A cell therefore remembers the call that made it. Two cells are equal if their calls are, a pickle contains
the call, and a variant is the same call with other options.

Arrays in a call (a clamp's value, a source) are data: `split` takes them out, so that they pass through a
transformation as arguments instead of being closed over, and `join` puts them back. The rest is hashable, and compiled
once for all values.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

import jax
import numpy as np

from jaxseq.errors import InputError, nearest

A = ParamSpec("A")
R = TypeVar("R")

REGISTERED: dict[str, Any] = {}
"""The package's cells by name; they are pickled by name."""


def registered(name: str) -> Any:
    """Return the cell of this name; users look cells up in `jaxseq.cells.CELLS`."""
    return REGISTERED[name]


NUMBERS_ARE_DATA: set[Callable[..., Any]] = set()
"""Factories whose numeric arguments are only computed with, never inspected: one program serves all values."""


KEPT = 256
"""Number of results in each LRU cache; an unbounded cache would keep every cell alive."""


class Recipe(NamedTuple):
    """The call that made a cell: ``factory(*args, **dict(options))``."""

    factory: Callable[..., Any]
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def make(self) -> Any:
        """Return the result of making the call again."""
        return self.factory(*self.args, **dict(self.options))

    def identity(self) -> tuple[Any, ...]:
        """Return a value that is equal for equal calls, and hashable if all arguments are."""
        leaves, structure = jax.tree.flatten((self.args, dict(self.options)), is_leaf=is_made)
        return self.factory, structure, tuple(map(exact, leaves))


class Static(NamedTuple):
    """A call without its arrays, hashable: see `split`."""

    factory: Callable[..., Any]
    structure: Any
    leaves: tuple[Hashable, ...]


class _Hole(NamedTuple):
    """The place of an array that was taken out."""


@dataclasses.dataclass(frozen=True)
class Number:
    """A number compared exactly: 1, 1.0 and True all differ, as do 0.0 and -0.0, and nan equals nan."""

    kind: type
    text: str
    value: Any = dataclasses.field(compare=False)


def is_hashable(value: Any) -> bool:
    """Return whether a value is hashable: it must not contain an array, a list or another mutable object."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def exact(value: Any) -> Any:
    """Return the key that `value` is compared by: the value with every number replaced by a `Number`."""
    if isinstance(value, bool | int | float | complex | np.generic):
        return Number(type(value), repr(value), value)
    return (type(value), *map(exact, value)) if isinstance(value, tuple) else value


@dataclasses.dataclass(frozen=True)
class _Call:
    """The arguments of a call, compared by `exact`."""

    key: tuple[Any, ...]
    args: tuple[Any, ...] = dataclasses.field(compare=False)
    options: dict[str, Any] = dataclasses.field(compare=False)


def made(factory: Callable[A, R]) -> Callable[A, R]:
    """Decorate a function that makes cells or attentions: the result's `recipe` is the call.

    Calls with equal, hashable arguments return the same object while it is among the last `KEPT`. The function
    must be at the top level of its module, where pickle finds it.

    Example:
      >>> import pickle
      >>> from jaxseq.cells import lstm, stack
      >>> cell = stack(lstm, lstm)
      >>> cell == stack(lstm, lstm) == pickle.loads(pickle.dumps(cell))
      True
    """
    signature = inspect.signature(factory)

    @remembered
    def make(*args: Any, **options: Any) -> Any:
        # copy lists and dicts, which the caller may change later: a cell must not change
        args, options = jax.tree.map(lambda a: a, (args, options), is_leaf=is_made)
        result: Any = factory(*args, **options)
        return result.made_by(Recipe(public, args, tuple(options.items())))

    @functools.wraps(factory)
    def public(*args: A.args, **options: A.kwargs) -> R:
        try:
            call = signature.bind(*args, **options)
        except TypeError:
            return factory(*args, **options)  # for its error message, which names the function
        call.apply_defaults()  # normalised, whether arguments were given by position or by name
        return make(*call.args, **dict(sorted(call.kwargs.items())))

    public.cache_clear = make.cache_clear  # type: ignore[attr-defined]
    return public  # pickle finds this under the function's name


def remembered(function: Callable[A, R]) -> Callable[A, R]:
    """Cache a function's last `KEPT` results; calls with arrays in their arguments are not hashable and not cached."""

    @functools.lru_cache(maxsize=KEPT)
    def cached(given: _Call) -> R:
        return function(*given.args, **given.options)

    @functools.wraps(function)
    def call(*args: A.args, **options: A.kwargs) -> R:
        given = _Call((exact(args), tuple((name, exact(value)) for name, value in options.items())), args, options)
        return cached(given) if is_hashable(given) else function(*args, **options)

    call.cache_clear = cached.cache_clear  # type: ignore[attr-defined]
    return call


def kept(function: Callable[[Any], R]) -> Callable[[Any], R]:
    """Decorate a function of one value: its result is stored on the cell, which never changes."""
    place = f"{function.__module__}.{function.__qualname__}"

    @functools.wraps(function)
    def call(value: Any) -> R:
        if not isinstance(value, Made):
            return function(value)
        if place not in value.__dict__:
            value.__dict__[place] = function(value)
        return value.__dict__[place]

    return call


class Made:
    """A frozen dataclass of functions whose ``recipe`` is the call that made it; see `made`."""

    name: str
    recipe: Recipe | None

    def replace(self, **changes: Any) -> Any:
        """Return a copy with other fields, such as ``lstm.replace(name="mine")``, and without a recipe."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def made_by(self, recipe: Recipe) -> Self:
        """Return a copy with this call as its recipe."""
        result = dataclasses.replace(self)  # type: ignore[type-var]
        object.__setattr__(result, "recipe", recipe)
        return result

    def with_(self, **options: Any) -> Self:
        """Return a variant with other options, such as constants of the equations.

        Raises:
          InputError: if there is no such option, or a value is out of range.

        Example:
          >>> from jaxseq.cells import clockwork
          >>> clockwork.with_(periods=(1, 3)) == clockwork.with_(periods=(1, 3))
          True
        """
        call, variable = self._call()
        parts = [v for v in jax.tree.leaves((call.args, call.kwargs), is_leaf=is_made) if is_made(v)] if call else []
        for option in options:
            taken = None in variable and not any(option in part._call()[1] for part in parts)
            if not (option in variable or taken):
                raise InputError(f"{self.name}.with_: unknown option {option!r}: {self._hint(option, parts, variable)}")
        if call is None or self.recipe is None:
            return self
        for name, p in call.signature.parameters.items():
            if p.kind is p.VAR_KEYWORD:
                call.arguments[name] = {
                    **call.arguments[name],
                    **{o: v for o, v in options.items() if o not in variable},
                }
            elif name in options:
                call.arguments[name] = options[name]
        return self.recipe.factory(*call.args, **call.kwargs)

    def _call(self) -> tuple[inspect.BoundArguments | None, list[str | None]]:
        """Return the call that made it, and the names that `with_` may change; None among them means any name."""
        if self.recipe is None or self.recipe.factory is registered:
            return None, []
        call = inspect.signature(self.recipe.factory).bind(*self.recipe.args, **dict(self.recipe.options))
        call.apply_defaults()
        variable: list[str | None] = []
        for name, p in call.signature.parameters.items():
            if p.kind is p.VAR_KEYWORD:
                variable.append(None)
            elif p.kind is not p.VAR_POSITIONAL and not is_made(call.arguments[name]):
                variable.append(name)
        return call, variable

    def _hint(self, option: str, parts: list[Any], variable: list[str | None]) -> str:
        """Return the advice for an option that `with_` does not know."""
        init = getattr(self, "init", None)
        if init is not None and option in inspect.signature(init).parameters:
            return f"it is an option of init: {self.name}.init(key, input_size, hidden_size, {option}=...)"
        for part in parts:
            if option in part._call()[1]:
                return (
                    f"it is an option of {part.name}: give {part.name}.with_({option}=...) to {self._maker()} instead"
                )
        if names := dict.fromkeys(name for name in variable if name is not None):
            return f"{nearest(option, names)}known: {', '.join(names)}"
        if parts:
            return f"{self._maker()} has no options; its parts are {', '.join(part.name for part in parts)}"
        return f"{self.name} has no options for its equations; those of init are given to init"

    def _maker(self) -> str:
        return self.recipe.factory.__name__ if self.recipe else self.name

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.init)  # type: ignore[arg-type]

    def _identity(self) -> tuple[Any, ...]:
        return self._fields() if self.recipe is None else self.recipe.identity()

    def __eq__(self, other: object) -> bool:
        if self is other or type(self) is not type(other):
            return self is other
        (mine, held), (its, holding) = split(self), split(other)
        if held or holding:  # arrays are compared by identity, since == of arrays is an array
            return mine == its and all(a is b for a, b in zip(held, holding, strict=True))
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return _hash(self)

    def __reduce__(self) -> Any:
        return (type(self), self._fields()) if self.recipe is None else (Recipe.make, (self.recipe,))


@kept
def _hash(value: Made) -> int:
    try:
        return hash(value._identity())
    except TypeError:
        if split(value)[1]:
            message = f"{value!r} holds arrays and has no hash; make it inside the function that is compiled"
            raise TypeError(message) from None
        raise


def is_made(value: Any) -> bool:
    """Return whether a value has a recipe."""
    return isinstance(getattr(value, "recipe", None), Recipe)


def split(value: Any, *, numbers: bool = False) -> tuple[Any, list[Any]]:
    """Return a hashable cell without its recipe's arrays, and these arrays; `join` is the inverse.

    Args:
      value: a cell or another value with a recipe.
      numbers: whether to take out numbers too, if the factory is in `NUMBERS_ARE_DATA`.
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
        elif numbers and value.recipe.factory in NUMBERS_ARE_DATA and _fits(leaf):
            arrays.append(np.asarray(leaf))
            static.append(_Hole())
        else:
            inner, held = split(leaf, numbers=numbers)
            arrays += held
            static.append(inner if isinstance(inner, Static) else exact(inner))
    if not arrays:
        return value, []
    return Static(value.recipe.factory, structure, tuple(static)), arrays


@kept
def data_of(value: Any) -> tuple[Any, list[Any]]:
    """Return `split` of a value with its numbers taken out."""
    return split(value, numbers=True)


def _fits(value: Any) -> bool:
    """Return whether a value is a number that survives conversion to an array with any default dtype."""
    return type(value) is float or (type(value) is int and abs(value) < 2**31)


def join(static: Any, arrays: list[Any]) -> Any:
    """Return the cell that `split` took apart, with these arrays put back."""
    return _join(static, iter(arrays))


def _join(static: Any, arrays: Iterator[Any]) -> Any:
    if isinstance(static, _Hole):
        return next(arrays)
    if isinstance(static, Number):
        return static.value
    if not isinstance(static, Static):
        return static
    args, options = jax.tree.unflatten(static.structure, [_join(leaf, arrays) for leaf in static.leaves])
    return static.factory(*args, **options)

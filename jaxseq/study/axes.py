"""The axes of arrays by letters, "T B H" for time, batch and units, and cutting every array of a tuple by a letter.

A field of a NamedTuple names its axes: ``gates: Annotated[dict[str, np.ndarray], "T B H"]``. One letter is one axis
wherever it is read. ``"B T"`` is also the type of nested lists, ``"T B ..."`` of arrays with more axes, and ``"S:T"``
of places on the axis T, in a list along S: where T is cut, places that are gone are dropped from S, and the rest are
numbered anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, TypeVar, get_origin, get_type_hints

import numpy as np

Tuple = TypeVar("Tuple", bound=NamedTuple)


def axes_of(kind: type) -> dict[str, str]:
    """Return the axes of the fields of a NamedTuple that name them.

    Example:
      >>> class Seen(NamedTuple):
      ...     name: str
      ...     states: Annotated[np.ndarray, "T B H"]
      >>> axes_of(Seen)
      {'states': 'T B H'}
    """
    found = {name: _spec(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
    return {name: spec for name, spec in found.items() if spec}


def take(given: Tuple, letter: str, places: Sequence[int]) -> Tuple:
    """Return a NamedTuple with only these places of an axis, in all its arrays and in the tuples that it holds.

    Example:
      >>> class Seen(NamedTuple):
      ...     states: Annotated[np.ndarray, "T H"]
      ...     order: Annotated[list[int], "O:H"]
      >>> take(Seen(np.array([[1, 2, 3], [4, 5, 6]]), [2, 0, 1]), "H", [1, 2])
      Seen(states=array([[2, 3],
             [5, 6]]), order=[1, 0])
    """
    # old number of a place -> its new number
    new = {int(place): n for n, place in enumerate(places)}
    specs = axes_of(type(given))
    for name, spec in specs.items():
        # "S:T": along S a list of places on T
        along, _, of = spec.partition(":")
        if of == letter and getattr(given, name) is not None:
            left = [n for n, place in enumerate(getattr(given, name)) if int(place) in new]
            # first drop the places that are gone, from all arrays along S; then number the rest anew
            given = take(given, along, left)
            given = given._replace(**{name: [new[int(place)] for place in getattr(given, name)]})
    cut = {}
    for name in given._fields:
        axes = specs.get(name, "").partition(":")[0].split()
        value = getattr(given, name)
        cut[name] = _inside(value, letter, places) if not axes else _along(value, axes, letter, places)
    return given._replace(**cut)


def _spec(hint: Any) -> str:
    """Return the axes that a type names, "" for a type without them."""
    if get_origin(hint) is Annotated:
        return next((word for word in hint.__metadata__ if isinstance(word, str)), "")
    return ""


def _inside(value: Any, letter: str, places: Sequence[int]) -> Any:
    """Return a value without axes of its own, with the tuples in it cut."""
    if hasattr(value, "_fields"):
        return take(value, letter, places)
    if isinstance(value, dict):
        return {name: _inside(one, letter, places) for name, one in value.items()}
    return value


def _along(value: Any, axes: list[str], letter: str, places: Sequence[int]) -> Any:
    """Return arrays of these axes cut: one, or each of a dict or of a tuple, or nested lists."""
    if value is None or letter not in axes:
        return value
    if isinstance(value, dict):
        return {name: _along(one, axes, letter, places) for name, one in value.items()}
    # several arrays of the same axes
    if isinstance(value, tuple):
        return tuple(_along(one, axes, letter, places) for one in value)
    if isinstance(value, list):
        # lists are cut axis by axis, from the outermost in
        if axes[0] == letter:
            return [value[place] for place in places]
        return [_along(one, axes[1:], letter, places) for one in value]
    return np.take(np.asarray(value), np.asarray(places, int), axes.index(letter))

"""The exception for invalid user input, and how its messages are made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Input that cannot be used: a file, an option, an array of the wrong shape.

    The message says what was wrong and where, what was expected, what was got and what to do next. The command
    line prints it without a traceback and exits with status 2.
    """


def nearest(name: str, known: Mapping[str, object]) -> str:
    """Return a hint such as ``"did you mean 'lstm'? "`` or an empty string when nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? " if close else ""


def choose(kind: str, name: str, table: Mapping[str, T], listed_by: str = "") -> T:
    """Return ``table[name]``; `listed_by` is the command that lists the table, for one too long for a message.

    Raises:
      InputError: if the name is unknown; the message gives the nearest name and all of them.

    Example:
      >>> choose("cell", "lstm", {"lstm": 1, "gru": 2})
      1
    """
    if name in table:
        return table[name]
    raise InputError(f"unknown {kind} {name!r}: {nearest(name, table)}{_known(name, table, listed_by)}")


def _known(name: str, table: Mapping[str, object], listed_by: str, most: int = 16) -> str:
    if len(table) <= most:
        return f"known: {', '.join(sorted(table))}"
    near = difflib.get_close_matches(name, list(table), n=most // 2, cutoff=0.0)
    rest = f"{len(table) - len(near)} more{listed_by and f', which {listed_by} lists'}"
    return f"known: {', '.join(sorted(near))} and {rest}"

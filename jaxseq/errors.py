"""The exception for invalid user input, helpers for its messages, and registries that raise it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Input that cannot be used: a file, an option, an array of the wrong shape.

    The message names the fault and where it is, the expected and the given value, and the remedy. The command line
    prints it without a traceback and exits with status 2.
    """


MOST_QUOTED = 60
"""Characters of a value that a message quotes; only the two ends of a longer one are shown."""


def quoted(value: object) -> str:
    """Return a value as a message quotes it: its repr, cut in the middle if longer than `MOST_QUOTED`.

    Example:
      >>> quoted("abc"), len(quoted("a" * 1000))
      ("'abc'", 60)
    """
    if isinstance(value, str) and len(value) > 2 * MOST_QUOTED:  # cut first: repr would write out a megabyte
        value = value[:MOST_QUOTED] + value[-MOST_QUOTED:]
    return shortened(repr(value))


def shortened(text: str, most: int = MOST_QUOTED) -> str:
    """Return a text of at most this many characters; the middle of a longer one is left out."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def nearest(name: str, known: Mapping[str, object]) -> str:
    """Return a hint such as ``"did you mean 'lstm'? "`` or an empty string when nothing is near."""
    if len(name) > MOST_QUOTED:  # comparing costs the product of the lengths, and no name is that long
        return ""
    close = difflib.get_close_matches(name, [one for one in known if len(one) <= MOST_QUOTED], n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? " if close else ""


def choose(kind: str, name: str, table: Mapping[str, T], listed_by: str = "") -> T:
    """Return ``table[name]``; `listed_by` is the command that lists a table too long for a message.

    Raises:
      InputError: if the name is unknown; the message gives the nearest name and the known ones.

    Example:
      >>> choose("cell", "lstm", {"lstm": 1, "gru": 2})
      1
    """
    if name in table:
        return table[name]
    raise InputError(f"unknown {kind} {quoted(name)}: {nearest(name, table)}{_known(name, table, listed_by)}")


class UnknownNameError(InputError, KeyError):
    """A name that a registry does not have: an `InputError` for users, a KeyError for ``except KeyError``."""

    __str__ = Exception.__str__  # KeyError's own __str__ puts the message in quotes


class Registry(dict[str, T]):
    """A dict of values by name, whose error for an unknown name gives the nearest one. Otherwise a plain dict.

    Example:
      >>> Registry("cell", {"lstm": 1, "gru": 2})["lstn"]
      Traceback (most recent call last):
      jaxseq.errors.UnknownNameError: unknown cell 'lstn': did you mean 'lstm'? known: gru, lstm
    """

    kind: str

    def __init__(self, kind: str, entries: Mapping[str, T]) -> None:
        super().__init__(entries)
        self.kind = kind

    def __missing__(self, name: Any) -> T:
        hint = nearest(name, self) if isinstance(name, str) else ""
        raise UnknownNameError(f"unknown {self.kind} {quoted(name)}: {hint}{_known(str(name), self, '')}")


def _known(name: str, table: Mapping[str, object], listed_by: str, most: int = 16) -> str:
    if len(table) <= most:
        return f"known: {', '.join(sorted(table))}"
    near = difflib.get_close_matches(name[:MOST_QUOTED], list(table), n=most // 2, cutoff=0.0)
    rest = f"{len(table) - len(near)} more{listed_by and f', which {listed_by} lists'}"
    return f"known: {', '.join(sorted(near))} and {rest}"

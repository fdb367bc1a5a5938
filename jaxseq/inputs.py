"""Reading untrusted files: bytes up to a limit, JSON up to a depth; faults raise InputError."""

from __future__ import annotations

import contextlib
import json
import stat
import struct
from collections.abc import Iterator
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any

from jaxseq.errors import InputError, quoted, shortened

LARGEST = 2**30
"""The default size limit of a file, in bytes; larger files are refused."""
DEEPEST = 32
"""Largest nesting depth of lists and objects in JSON; our own files have at most 6."""
EXPANSION, EXPANSION_FROM = 250, 2**26
"""A compressed file may not expand by a larger factor than this, once beyond this many bytes. Text expands by 3 to 20.
"""
FAULTS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, RecursionError, SyntaxError,
    TypeError, ValueError, struct.error,
)  # fmt: skip
"""Errors that parsing raises on contents of an unexpected type or size; ArithmeticError includes OverflowError, and
ValueError includes UnicodeDecodeError."""


def read_bytes(path: Path | str, expected: str = "a file", most: int = LARGEST) -> bytes:
    """Return a file's bytes; `expected` names the right kind of file in messages.

    A pipe is read up to `most` bytes.

    Raises:
      InputError: if the file is missing, a folder, a device or a socket, larger than `most`, or cannot be read.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise InputError(f"{path} is {kind_of_file(path)}; expected {expected}")
        if path.stat().st_size > most:
            raise InputError(_too_large(path, expected, most))
        with open(path, "rb") as file:
            raw = read_up_to(file, most + 1)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: the path has a zero byte
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > most:
        raise InputError(_too_large(path, expected, most))
    return raw


def read_up_to(file: IO[bytes] | GzipFile, most: int) -> bytes:
    """Return the rest of a file, at most `most` bytes, in pieces: ``read(most)`` would allocate all at once."""
    pieces, left = [], most
    while left and (piece := file.read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


_PIECE = 2**24


def _too_large(path: Path, expected: str, most: int) -> str:
    return f"{path} holds more than {most:,} bytes; expected {expected} of fewer"


def kind_of_file(path: Path | str) -> str:
    """Return the kind of a path: ``a file``, ``a folder``, ``a named pipe``, ``a device`` or ``a socket``.

    Raises:
      OSError: if nothing is there.
    """
    mode = Path(path).stat().st_mode
    kinds = {
        "a folder": stat.S_ISDIR, "a named pipe": stat.S_ISFIFO, "a device": stat.S_ISCHR, "a disk": stat.S_ISBLK,
        "a socket": stat.S_ISSOCK,
    }  # fmt: skip
    return next((name for name, is_such in kinds.items() if is_such(mode)), "a file")


def parse_json(text: str | bytes, name: Path | str, cure: str = "fix it") -> Any:
    """Return the value of a JSON text; messages name the source `name` and end with `cure`.

    Raises:
      InputError: if it is not JSON, not UTF-8, or deeper than `DEEPEST`.

    Example:
      >>> parse_json('{"a": [1]}', "a.json")
      {'a': [1]}
    """
    try:
        value = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is damaged: not JSON ({_said(error)}); {cure}") from error
    # level by level instead of recursively: a hostile depth must not reach Python's recursion limit
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for one in level if isinstance(one, dict | list) for inner in _inner(one)]
        if not level:
            return value
    raise InputError(f"{name} is damaged: more than {DEEPEST} levels of lists and objects in each other; {cure}")


def _inner(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


@contextlib.contextmanager
def understood(name: Path | str, cure: str) -> Iterator[None]:
    """Turn `FAULTS` raised in the block into an InputError that says the file is damaged.

    Raises:
      InputError: with the file, the fault and the `cure`; an InputError passes unchanged.
    """
    try:
        yield
    except InputError:
        raise
    except FAULTS as error:
        raise InputError(f"{name} is damaged ({_said(error)}); {cure}") from error


def _said(error: BaseException) -> str:
    """Return an error in few words."""
    if isinstance(error, RecursionError):
        return "too many levels"
    if isinstance(error, KeyError):
        return f"no {quoted(error.args[0])}" if error.args else "an entry is missing"
    text = " ".join(str(error).split())
    return shortened(text, 200) or type(error).__name__

"""Read text files that users name, or raise an error that says what is wrong with the file.

Text is UTF-8, plain or compressed by gzip (the name ends in .gz). Lines are read one at a time, in bounded memory.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from jaxseq.errors import InputError
from jaxseq.inputs import EXPANSION, EXPANSION_FROM, kind_of_file

_JOINING = "\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ufe0f\u2190-\u2bff\U0001f000-\U0001faff"
INVISIBLE = re.compile(f"[\u200b\u2060\ufeff]|(?<![{_JOINING}])[\u200c\u200d]")
"""Zero-width characters and the byte order mark, which real text has by accident. Joiners are spelling and stay after
Arabic, Indic, South East Asian and Mongolian letters, and within emoji."""

STANDARD_INPUT = "-"
"""The name that stands for standard input."""
LONGEST_LINE = 2**20
"""Bytes of the longest line that is read: far more than a sentence, and little enough for memory."""
_BLOCK = 2**16
_INPUT = "standard input"


def read_text(path: Path | str) -> str:
    """Return a file's text, with uniform line ends.

    Raises:
      InputError: as `read_lines`, or if there is nothing but white space.
    """
    text = "\n".join(read_lines(path))
    if not text.strip():
        raise InputError(f"{path} is empty; expected text")
    return text


def read_lines(path: Path | str) -> Iterator[str]:
    r"""Yield the lines of a file, or of standard input for ``-``, without line ends and byte order mark.

    Lines end with ``\n`` or ``\r\n``; in a file that has no ``\n``, with ``\r``. A ``\r`` within a line does not end
    it; otherwise line n of one of two parallel files would not be line n of the other.

    Raises:
      InputError: if the file is missing, a folder, empty, binary or not UTF-8, has a line longer than `LONGEST_LINE`,
        or expands to more than `EXPANSION` times its size.
    """
    name, any_line = name_of(path), False
    try:
        with _opened(path) as file:
            for line in decoded(_split(file, name), name):
                any_line = True
                yield line
    except UNREADABLE as error:
        raise _cannot_read(path, error) from error
    if not any_line:
        raise InputError(f"{name} is empty; expected text")


def count_lines(path: Path | str) -> int:
    """Return how many lines `read_lines` would yield for a file; reads it once.

    Raises:
      InputError: as `read_lines`, apart from faults within the lines.
    """
    try:
        with _opened(path) as file:
            return sum(1 for _ in _split(file, str(path)))
    except UNREADABLE as error:
        raise _cannot_read(path, error) from error


UNREADABLE = (OSError, EOFError, zlib.error)
"""Errors of a file that cannot be opened, or of a truncated gzip file."""


def _cannot_read(path: Path | str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no file {path}; check the path")
    return InputError(f"cannot read {name_of(path)}: {getattr(error, 'strerror', None) or error}")


def name_of(path: Path | str) -> str:
    """Return the name of a file in messages."""
    return _INPUT if str(path) == STANDARD_INPUT else str(path)


def decoded(raws: Iterable[bytes | str], name: str) -> Iterator[str]:
    """Yield lines of bytes as text, without line ends and byte order mark; messages name the source `name`.

    Raises:
      InputError: naming the line that is binary, not UTF-8 or too long.
    """
    offset = 0
    for number, raw in enumerate(raws, 1):
        if isinstance(raw, str):
            line = raw
        else:
            line = _text(raw, number, offset, name)
            offset += len(raw)
        if len(raw) > LONGEST_LINE:
            raise InputError(
                f"{name}, line {number}: longer than {LONGEST_LINE:,} bytes; expected text, one sentence a line"
            )
        # U+FEFF is a byte order mark at the start of a file alone
        yield line.rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "")


def as_they_come(stream: IO[Any]) -> Iterator[Any]:
    """Yield the lines of a stream, each as soon as it arrives; one that is too long in pieces."""
    stream = getattr(stream, "buffer", stream)  # the bytes under a text stream: its encoding is the terminal's
    # one byte more than is allowed shows `decoded` that a line is too long
    while line := stream.readline(LONGEST_LINE + 1):
        yield line


def _text(raw: bytes, number: int, offset: int, name: str) -> str:
    if b"\0" in raw:
        if offset == 0 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError(f"{name} is UTF-16; expected UTF-8. Convert it, for example: iconv -f UTF-16 -t UTF-8")
        raise InputError(f"{name} is a binary file (a zero byte at {offset + raw.index(0)}); expected UTF-8 text")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end == len(raw) > LONGEST_LINE:  # the limit cut a character in two: the error is the length
            return raw[: error.start].decode("utf-8")
        raise InputError(
            f"{name}, line {number}: not UTF-8 (byte {raw[error.start]:#04x} at offset {offset + error.start}); "
            f"convert it, for example: iconv -f GB18030 -t UTF-8 {'' if name == _INPUT else Path(name).name}".rstrip()
        ) from error


def _opened(path: Path | str) -> AbstractContextManager[Any]:
    """Return a file, opened for reading as bytes and decompressed if it is .gz."""
    if str(path) == STANDARD_INPUT:
        return contextlib.nullcontext(_standard_input())  # which stays open
    path = Path(path)
    # a shell's <(command) is a named pipe
    if path.exists() and (kind := kind_of_file(path)) not in ("a file", "a named pipe"):
        raise InputError(f"{path} is {kind}; expected a text file")
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")


def _standard_input() -> IO[bytes]:
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input is closed; pipe text into the command, or name a file")
    if sys.stdin.isatty():
        raise InputError("standard input is a terminal; pipe text into the command, or name a file")
    return getattr(sys.stdin, "buffer", None) or io.BytesIO(sys.stdin.read().encode())


def _split(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines of a file with their ends, and refuse a compressed one that grows too much."""
    most = None
    if isinstance(file, gzip.GzipFile):
        # a few kilobytes of gzip can hold gigabytes
        most = max(EXPANSION_FROM, EXPANSION * Path(name).stat().st_size)
    raws, size = as_they_come(file), 0
    # the first block is read twice, which a pipe does not allow: its lines end with \n
    if file.seekable():
        start, block = file.tell(), file.read(_BLOCK)
        file.seek(start)
        if b"\r" in block and b"\n" not in block:
            raws = _split_at_returns(file)
    for raw in raws:
        size += len(raw)
        if most is not None and size > most:
            raise InputError(
                f"{name} grows to more than {most:,} bytes, {EXPANSION} times its size, when decompressed; expected "
                "compressed text. If that is correct, decompress it yourself: gunzip"
            )
        yield raw


def _split_at_returns(file: IO[bytes]) -> Iterator[bytes]:
    r"""Yield the pieces of a file that end with ``\r``."""
    rest = b""
    # a piece that is longer is given out as it is, for `decoded` to refuse
    while len(rest) <= LONGEST_LINE and (block := file.read(_BLOCK)):
        *lines, rest = (rest + block).split(b"\r")
        yield from (line + b"\r" for line in lines)
    if rest:
        yield rest

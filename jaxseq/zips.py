"""Zip archives whose declared sizes are checked before anything in them is unpacked."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from jaxseq.errors import InputError, quoted
from jaxseq.inputs import EXPANSION, EXPANSION_FROM, FAULTS

MOST_MEMBERS = 2**16
"""Largest number of files in an archive."""
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError)  # NotImplementedError is a RuntimeError


@contextlib.contextmanager
def checked_zip(raw: bytes, name: Path | str) -> Iterator[zipfile.ZipFile]:
    """Open an archive after checking its directory: compression methods, names, total size.

    Raises:
      InputError: if it is damaged, encrypted, compressed by other than deflate, has a name twice, or would expand to
        more than `EXPANSION` times its size and `EXPANSION_FROM` bytes.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
        _check(archive.infolist(), max(EXPANSION_FROM, EXPANSION * len(raw)), name)
    except InputError:
        raise
    except (*FAULTS, *_DAMAGE) as error:
        raise _damaged(name, error) from error
    try:
        with archive:
            yield archive
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def _check(members: list[zipfile.ZipInfo], most: int, name: Path | str) -> None:
    """Check the directory of an archive for `checked_zip`."""
    if sum(one.file_size for one in members) > most:
        raise InputError(f"{name} grows to more than {most:,} bytes when it is unpacked; unpack it yourself")
    if len(members) > MOST_MEMBERS or len({one.filename for one in members}) < len(members):
        raise InputError(f"{name} is an archive with too many files in it, or with a name twice")
    for one in members:
        if one.compress_type not in _KINDS or one.flag_bits & 1:
            raise InputError(
                f"{name}: {quoted(one.filename)} is encrypted, or packed in another way than deflate; pack it again"
            )


def _damaged(name: Path | str, error: Exception) -> InputError:
    return InputError(f"{name} is a damaged archive ({error}); fetch or write it again")


def member(archive: zipfile.ZipFile, one: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a file in a `checked_zip`: at most as many as the archive says.

    Raises:
      zipfile.BadZipFile: if it is damaged, which `checked_zip` turns into an InputError.
    """
    try:
        with archive.open(one) as file:
            return file.read(one.file_size)
    except FAULTS as error:
        raise zipfile.BadZipFile(str(error)) from error

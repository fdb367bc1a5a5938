"""Writing files so that a crash, a full disk or a kill never leaves half of one behind."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from jaxseq.errors import InputError


def write_atomic(path: Path | str, data: bytes | str) -> None:
    """Replace the file at `path` by `data` (text as UTF-8): written aside, synced, then renamed over the old one.

    Raises:
      InputError: if it cannot be written: no permission, no such folder, disk full. The old file is then untouched.
    """
    path = Path(path)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise cannot_write(path, error) from error


def cannot_write(path: Path | str, error: OSError) -> InputError:
    """Return the message for a path that cannot be written."""
    return InputError(
        f"cannot write {path}: {error.strerror or error}. Nothing that was there before is lost; "
        "free some space or choose a folder that you may write to, and run the command again"
    )


def _umask() -> int:
    """Return the process's file mask; temporary files are made private, finished ones need not be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Writing files and folders so that a crash, a full disk or a kill never leaves half of one behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
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


@contextlib.contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Make a folder under a temporary name, which takes the place of `path` when the block ends without an error.

    Until then nothing that was there is touched, and after an error nothing new is left. An empty folder that was there
    stays and is filled: it may be a mount, or the folder that the user is in.

    Raises:
      InputError: if it cannot be written.
    """
    path = Path(path).absolute()
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        filled = path.is_dir() and not any(path.iterdir())
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path if filled else path.parent, prefix=f".{path.name}."))
        new = temporary / path.name
        new.mkdir()
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield new
        try:
            if filled:
                for inner in new.iterdir():
                    os.replace(inner, path / inner.name)
            else:
                _swap(new, path, temporary / "before")
        except OSError as error:
            raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):  # one that holds the new folder stays
                folder.rmdir()


def _swap(new: Path, path: Path, before: Path) -> None:
    """Move a folder to `path`, and what was there to `before`: a rename each, so that one of the two is there."""
    if path.exists():
        os.replace(path, before)
    try:
        os.replace(new, path)
    except OSError:
        if before.exists():
            os.replace(before, path)
        raise


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

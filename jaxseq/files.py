"""Atomic writes of files and folders: a crash, a full disk or a kill never leaves half of one behind.

Everything is built under a temporary name and renamed when it is complete. A folder that replaces another takes two
renames; a process that is killed between them leaves the new folder, complete, for `settle` to move::

    .run.x1y2z3w4.jaxseq-part/making    being built: `settle` removes it
    .run.x1y2z3w4.jaxseq-part/made      whole: `settle` moves it to run
    .run.x1y2z3w4.jaxseq-part/before    the old run, on its way out

A temporary name does not tell whether its process is alive; the lock does (`jaxseq.locks`). Hold it to remove a
temporary file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxseq.errors import InputError

PART, LOCK = ".jaxseq-part", ".jaxseq-lock"
"""The suffixes of temporary files and folders, and of locks."""
OWN = ".."
"""The prefix of temporary names and of the lock inside the folder that they belong to; no other path yields it."""
MAKING, MADE, MOVING, BEFORE = "making", "made", "moving", "before"


def write_atomic(path: Path | str, data: bytes | str) -> None:
    """Replace the file at `path` by `data` (text as UTF-8): written aside, synced, then renamed over the old one.

    Raises:
      InputError: if it cannot be written: no permission, no such folder, disk full. The old file is then untouched.
    """
    write_together({path: data})


def write_together(contents: Mapping[Path | str, bytes | str]) -> None:
    """Replace a file and others that describe it; a kill never leaves those next to a file they do not describe.

    All are written aside before any is renamed; the old describing files are removed before the first rename.

    Raises:
      InputError: if one cannot be written; unless a rename fails, the old files are then untouched.
    """
    first, *others = paths = [Path(path) for path in contents]
    path, aside = first, dict[Path, str]()
    try:
        for path, data in zip(paths, contents.values(), strict=True):
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=f"{hidden(path)}.", suffix=PART, delete=False
            ) as file:
                aside[path] = file.name
                file.write(data.encode("utf-8") if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(file.name, 0o666 & ~_umask())
        for path in others:
            path.unlink(missing_ok=True)
            sync(path.parent)  # on disk as well, before the first rename
        for path in paths:
            os.replace(aside[path], path)
            sync(path.parent)
    except OSError as error:
        for temporary in aside.values():
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise cannot_write(path, error) from error


def append(path: Path | str, text: str) -> None:
    """Append text to a file, and sync it; sync the folder as well if the file is new.

    Raises:
      InputError: if it cannot be written.
    """
    new = not os.path.exists(path)
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync(Path(path).parent)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Make a folder under a temporary name; it replaces `path` when the block ends without an error.

    Until then nothing at `path` is touched, and after an error nothing new is left. An existing empty folder is kept
    and filled: it may be a mount, or the user's working directory. The caller holds the lock of `path`.

    Raises:
      InputError: if it cannot be written.
    """
    path = Path(os.path.realpath(path))
    try:
        place = path if path.is_dir() and not contents(path) else place_for(path)
        prefix = OWN if place == path else f"{hidden(path)}."
        temporary = Path(tempfile.mkdtemp(dir=place, prefix=prefix, suffix=PART))
        new = temporary / MAKING
        new.mkdir()
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield new
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    try:
        for folder, _, names in os.walk(new, topdown=False):
            for name in (*names, ""):  # first the files, which libraries write without a sync, then the folder itself
                sync(os.path.join(folder, name))
        os.replace(new, temporary / MADE)  # after a kill or Ctrl-C from here on, `settle` finishes the move
        _move(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    shutil.rmtree(temporary, ignore_errors=True)


def settle(path: Path | str) -> None:
    """Finish or remove what a killed process left of writing `path`; the caller holds its lock.

    Raises:
      InputError: if a complete folder cannot be moved to its place.
    """
    path = Path(os.path.realpath(path))
    for part in unsettled(path):
        try:
            _move(part, path)
        except OSError as error:
            raise cannot_write(path, error) from error
        _remove(part)


def tidy(folder: Path) -> None:
    """Remove the temporary files in a folder and its subfolders; the caller holds the lock of all of them."""
    with contextlib.suppress(OSError):
        for place in [folder, *(one for one in folder.iterdir() if one.is_dir())]:
            for part in place.iterdir():
                if part.name.startswith(".") and part.name.endswith(PART):
                    _remove(part)


def unsettled(path: Path) -> list[Path]:
    """Return the temporary files and folders for `path`, including those of killed processes."""
    found = []
    for place, prefix in {path: OWN, path.parent: f"{hidden(path)}."}.items():
        ours = re.compile(f"{re.escape(prefix)}[a-z0-9_]{{8}}{re.escape(PART)}")
        with contextlib.suppress(OSError):  # no folder, or one that may not be listed
            found += sorted(one for one in place.iterdir() if ours.fullmatch(one.name))
    return found


def contents(folder: Path) -> list[Path]:
    """Return the contents of a folder, without its own lock and its own temporary folders."""
    return [one for one in folder.iterdir() if not (one.name.startswith(OWN) and one.name.endswith((PART, LOCK)))]


def results(folder: Path) -> list[str]:
    """Return the names in a folder, without temporary files and locks."""
    return sorted(one.name for one in folder.iterdir() if not one.name.endswith((PART, LOCK)))


def place_for(path: Path) -> Path:
    """Return the folder for temporary files and the lock of `path`: its parent, or else `path` itself."""
    if path.is_dir() and (os.path.ismount(path) or not os.access(path.parent, os.W_OK)):
        return path
    return path.parent


def sync(path: Path | str) -> None:
    """Sync the bytes of a file, or the names in a folder, to disk, where the system can."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _move(temporary: Path, path: Path) -> None:
    """Move a complete folder to `path`, resuming after the renames already done; do nothing if none is complete.

    Each rename is synced before the next, so after a loss of power it is known which were done.
    """
    made, before = temporary / MADE, temporary / BEFORE
    sync(temporary)
    sync(temporary.parent)
    if temporary.parent == path:  # a mount cannot be renamed: its contents are moved
        if made.exists():
            before.mkdir(exist_ok=True)
            for old in contents(path):
                os.replace(old, before / old.name)
            sync(before)
            os.replace(made, temporary / MOVING)
            sync(temporary)
        for new in contents(temporary / MOVING) if (temporary / MOVING).exists() else []:
            os.replace(new, path / new.name)
        sync(path)
    elif made.exists():
        if path.exists():
            os.replace(path, before)
        try:
            os.replace(made, path)
        except OSError:
            if before.exists():
                os.replace(before, path)
                shutil.rmtree(temporary, ignore_errors=True)  # the caller learns that nothing changed
            raise
    sync(path.parent)


def _remove(part: Path) -> None:
    """Remove a temporary file or folder as far as possible."""
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        part.unlink()


def hidden(path: Path) -> str:
    """Return the prefix of hidden names that belong to `path`; full names have at most 255 bytes."""
    return f".{path.name.encode()[:150].decode('utf-8', 'ignore')}"


def check_place(path: Path, option: str) -> None:
    """Check, before any slow work, that a file's folder exists and is writable.

    Raises:
      InputError: naming the option that chooses another.
    """
    if not os.access(path.parent, os.W_OK) or not path.parent.is_dir():
        raise InputError(f"cannot write {path}: {path.parent} is not a writable folder; choose another with {option}")


def cannot_write(path: Path | str, error: OSError) -> InputError:
    """Return the message for a path that cannot be written."""
    cure = "free some space or choose a folder that you may write to"
    if isinstance(error, FileNotFoundError):
        cure = f"make the folder {Path(path).parent}, or choose another"
    return InputError(
        f"cannot write {path}: {error.strerror or error}. Nothing that was there before is lost; "
        f"{cure}, and run the command again"
    )


def _umask() -> int:
    """Return the process's umask; temporary files are private, finished ones need not be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask

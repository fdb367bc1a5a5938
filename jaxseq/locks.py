"""A lock on a file or folder being written: one process at a time; the error names the process that holds it.

The lock is the operating system's (flock), so it ends with its process, however that ends. It is held on a file
next to the written one, ``.NAME.jaxseq-lock``, which names the process that holds it.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import errno
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from jaxseq.errors import InputError
from jaxseq.files import LOCK, OWN, cannot_write, hidden, place_for, settle, sync, unsettled

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_held: contextvars.ContextVar[frozenset[Path]] = contextvars.ContextVar("held", default=frozenset())


@contextlib.contextmanager
def locked(path: Path | str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file or folder, which need not exist; first clean up after a killed process.

    The lock is reentrant. Parent folders of `path` are made, and removed at the end if they are empty.
    Where the file system has no locks, a warning says so.

    Args:
      path: the file or folder that will be written.
      wait: whether to wait for another process that holds the lock.

    Raises:
      InputError: if another process or thread holds the lock and `wait` is False; the message says which, and since
        when. Also if no lock can be written.
    """
    path, named = Path(os.path.realpath(path)), path
    if path in _held.get():
        yield
        return
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in missing:
                sync(folder.parent)
            place = place_for(path)
            file = place / f"{OWN if place == path else hidden(path)}{LOCK}"
            number = _taken(file, named, wait)
        except OSError as error:
            raise cannot_write(named, error) from error
        with _holding(path, file, number):
            settle(path)
            yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: it stays
                folder.rmdir()


@contextlib.contextmanager
def _holding(path: Path, file: Path, number: int) -> Iterator[None]:
    """Record, until the block ends, that this thread holds the lock."""
    token = _held.set(_held.get() | {path})
    try:
        yield
    finally:
        _held.reset(token)
        try:
            with contextlib.suppress(OSError):
                file.unlink()  # removed while held: a waiting process sees that the file is gone, and makes a new one
        finally:
            os.close(number)


def recover(path: Path | str) -> None:
    """Finish or remove what a killed process left at `path`, unless a process is writing it now."""
    if unsettled(Path(os.path.realpath(path))):
        with contextlib.suppress(InputError), locked(path):
            pass


def _taken(file: Path, path: Path | str, wait: bool) -> int:
    """Return the open, locked file, in which a line names this process."""
    while True:
        number = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(number, path, wait)
            if _is(number, file):
                os.truncate(number, 0)
                os.write(number, _who().encode())
                return number
        except BlockingIOError:
            os.lseek(number, 0, os.SEEK_SET)
            holder = os.read(number, 1000).decode("utf-8", "replace").strip()
            os.close(number)
            raise InputError(
                f"{path} is being written by {holder or 'another process'}; wait until it has ended, stop it, or "
                "choose another name"
            ) from None
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # the previous holder has removed its file


def _lock(number: int, path: Path | str, wait: bool) -> None:
    """Lock an open file, or warn that it cannot be done here."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no flock")
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warnings.warn(
            f"{path} cannot be locked, since its file system has no locks; let only one command at a time write it",
            stacklevel=2,
        )


def _is(number: int, file: Path) -> bool:
    """Return whether an open file is still the file at its path."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(file))
    except FileNotFoundError:
        return False


def _who() -> str:
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}"

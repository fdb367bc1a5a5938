"""A lock on a file or folder that is written: one process at a time; an error names the process that holds it.

The lock is the operating system's (flock), so that it ends with its process, however that ends. It is held on a file
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
    """Hold the lock of a file or folder that need not exist; first settle the remains of a killed process.

    Within the block it may be taken again. Folders above `path` are made, and removed at the end if they are empty.
    Where the file system has no locks, a warning says so.

    Args:
      path: that will be written.
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
            with contextlib.suppress(OSError):  # one that holds something stays
                folder.rmdir()


@contextlib.contextmanager
def _holding(path: Path, file: Path, number: int) -> Iterator[None]:
    """Mark in this thread that its code holds the lock, until the block ends."""
    token = _held.set(_held.get() | {path})
    try:
        yield
    finally:
        _held.reset(token)
        try:
            with contextlib.suppress(OSError):
                file.unlink()  # while it is held: a process that waits for it sees that, and makes a new one
        finally:
            os.close(number)


def recover(path: Path | str) -> None:
    """Finish or remove the remains of a killed process at `path`, unless a process is writing it now."""
    if unsettled(Path(os.path.realpath(path))):
        with contextlib.suppress(InputError), locked(path):
            pass


def _taken(file: Path, path: Path | str, wait: bool) -> int:
    """Return the open file whose lock is held, with a line in it that names this process."""
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
        os.close(number)  # whoever held the lock has removed its file


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
    """Return whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(file))
    except FileNotFoundError:
        return False


def _who() -> str:
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}"

"""Kill a command at its n-th system call that writes: in this process by an exception, or in one of its own for good.

Calls that make, write, sync, rename or remove something below a folder are counted. At the n-th, what was written since
the file was opened is cut to half where the call is a sync, and the process ends before the call is made. An exception
stands for the end of a process: every later call that writes raises it again, so that no clean-up reaches the disk.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RENAMES = ("replace", "rename")
PATHS = (*RENAMES, "unlink", "remove", "mkdir", "rmdir")
NUMBERS = ("fsync", "write", "truncate")


class Killed(BaseException):
    """The end of the process."""


class Crash:
    """Counts calls that write below a folder, and ends the process at one of them."""

    def __init__(self, folder: Path, at: int = 0, end: Callable[[], None] | None = None) -> None:
        self.folder, self.at, self.end = os.path.realpath(folder), at, end
        self.calls: list[str] = []
        self.sizes: dict[int, int] = {}  # by inode, when the file was opened

    @property
    def killed(self) -> bool:
        return 0 < self.at <= len(self.calls)

    def call(self, name: str, path: str, number: int | None = None) -> None:
        """Count a call; end if it is the one, or if the process has ended before."""
        if not self.killed:
            self.calls.append(f"{name} {os.path.relpath(path, self.folder)}")
            if not self.killed:
                return
            if name == "fsync" and number is not None:
                self._tear(number)
            if self.end is not None:
                self.end()
        raise Killed(self.calls[-1])

    def made(self, name: str, path: str, to: str | None = None) -> None:
        """Take note that a call was made; `to` is the new name of a rename."""

    def _tear(self, number: int) -> None:
        now = os.fstat(number)
        if stat.S_ISREG(now.st_mode):
            before = min(self.sizes.get(now.st_ino, 0), now.st_size)
            os.ftruncate(number, (before + now.st_size) // 2)

    def below(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Return the absolute path if it is below the folder."""
        if isinstance(path, int) or dir_fd is not None:
            start = os.readlink(f"/proc/self/fd/{path if dir_fd is None else dir_fd}")
            full = start if dir_fd is None else os.path.join(start, os.fspath(path))
        else:
            full = os.path.abspath(os.fspath(path))
        full = os.fsdecode(full)
        return full if full == self.folder or full.startswith(self.folder + os.sep) else None


@contextlib.contextmanager
def watched(crash: Crash) -> Iterator[Crash]:
    """Have a `Crash` see every call of this process."""
    kept = {name: getattr(os, name) for name in (*PATHS, *NUMBERS, "open")}
    opened = builtins.open

    def of_path(name: str) -> Callable:
        def call(path: Any, *rest: Any, **options: Any) -> Any:
            full = crash.below(path, options.get("dir_fd"))
            if full is None:
                return kept[name](path, *rest, **options)
            crash.call(name, full)
            found = kept[name](path, *rest, **options)
            crash.made(name, full, os.path.abspath(rest[0]) if name in RENAMES else None)
            return found

        return call

    def of_number(name: str) -> Callable:
        def call(number: int, *rest: Any) -> Any:
            full = crash.below(number)
            if full is None:
                return kept[name](number, *rest)
            crash.call(name, full, number if isinstance(number, int) else None)
            found = kept[name](number, *rest)
            crash.made(name, full)
            return found

        return call

    def sized(full: str, file: Any) -> Any:
        number = file if isinstance(file, int) else file.fileno()
        crash.sizes[os.fstat(number).st_ino] = os.fstat(number).st_size
        crash.made("open", full)
        return file

    def os_open(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        full = crash.below(path, options.get("dir_fd"))
        if full is None or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return kept["open"](path, flags, *rest, **options)
        crash.call("open", full)
        return sized(full, kept["open"](path, flags, *rest, **options))

    def file_open(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        writes = not isinstance(file, int) and options.get("opener") is None and set(mode) & set("wax+")
        full = crash.below(file) if writes else None
        if full is None:
            return opened(file, mode, *rest, **options)
        crash.call("open", full)
        return sized(full, opened(file, mode, *rest, **options))

    try:
        for name in PATHS:
            setattr(os, name, of_path(name))
        for name in NUMBERS:
            setattr(os, name, of_number(name))
        os.open, builtins.open, io.open = os_open, file_open, file_open
        yield crash
    finally:
        builtins.open = io.open = opened
        for name, function in kept.items():
            setattr(os, name, function)


def run(folder: Path, at: int, command: Callable[[], Any]) -> Crash:
    """Run a command in this process, and end it at a call; 0 lets it go on to its end."""
    with watched(Crash(folder, at)) as crash, contextlib.suppress(Killed):
        command()
    return crash

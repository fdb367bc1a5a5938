"""A cache of compiled programs for the command line: the second start of a training need not compile.

JAX's own persistent cache, in a folder that only its owner can enter, since its files are executed. Only the commands
turn it on; importing jaxseq changes no setting. One folder for each type of processor: a home directory may be shared.
A command that finds more than `MOST` bytes there removes those unused for longest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
from pathlib import Path

from jaxseq.apps.datasets import cache_dir

OFF = "JAXSEQ_NO_COMPILATION_CACHE"
MOST, KEPT = 2**30, 3 * 2**28
"""Bytes of compiled programs above which a command removes some, and how many it leaves."""


def keep_compiled() -> Path | None:
    """Turn JAX's persistent compilation cache on, and return its folder.

    None if it stays off: ``JAXSEQ_NO_COMPILATION_CACHE`` is set, JAX was given a cache already
    (``JAX_COMPILATION_CACHE_DIR``), or the folder cannot be made or belongs to another user.
    """
    import jax

    if os.environ.get(OFF) or getattr(jax.config, "jax_compilation_cache_dir", None):
        return None
    folder = cache_dir() / "compiled" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _private(folder):
            return None
        with contextlib.suppress(FileNotFoundError):  # another command may be doing the same
            drop_oldest(folder)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return folder


def drop_oldest(folder: Path, most: int = MOST, kept: int = KEPT) -> None:
    """Remove files of a folder that holds more than `most` bytes, those not used for longest first, down to `kept`.

    JAX can do this itself where the package filelock is installed, at each program that it writes; another process
    that reads here compiles a program whose file is gone.
    """
    with os.scandir(folder) as found:  # half the time of `Path`, which matters because every command does this
        files = [(Path(file.path), file.stat()) for file in found if file.is_file()]
    total = sum(about.st_size for _, about in files)
    if total <= most:
        return
    for path, about in sorted(files, key=lambda file: max(file[1].st_atime, file[1].st_mtime)):
        if total <= kept:
            return
        path.unlink(missing_ok=True)
        total -= about.st_size


def _private(folder: Path) -> bool:
    """Return whether only the user of this process can write to a folder, as far as the system says."""
    if not hasattr(os, "getuid"):
        return True
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _processor() -> str:
    """Return a name for this kind of processor: programs are compiled for its instructions."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        said = "".join(sorted({line for line in text.splitlines() if line.startswith(("model name", "flags"))}))
    except OSError:
        said = platform.processor() or platform.machine()
    return hashlib.sha256(said.encode()).hexdigest()[:12]

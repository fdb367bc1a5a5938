"""Checks of free memory: a size that cannot fit is refused before anything is computed."""

from __future__ import annotations

import math
import os
from pathlib import Path

import jax

from jaxseq.errors import InputError
from jaxseq.notation import Tree


def available_bytes() -> int:
    """Return the free bytes of JAX's device, or of the machine; 0 if unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return 0


COPIES = 4
"""Arrays per parameter in training: itself, its gradient, two optimizer moments."""


def check_trains(params: Tree, cure: str) -> None:
    """Check that there is memory to train these parameters (arrays or their shapes), activations not counted.

    Raises:
      InputError: if not, with the bytes needed, the bytes free, and `cure`.
    """
    asked = COPIES * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    check_free(asked, "parameters, gradients and the optimizer's state", cure)


def check_free(asked: int, what: str, cure: str) -> None:
    """Check that so many bytes of memory are free; `what` names what needs them.

    Raises:
      InputError: if not, with the bytes needed, the bytes free, and `cure`.
    """
    there = available_bytes()
    if there and asked > there:
        raise InputError(f"{what} take {asked:,} bytes of memory, and {there:,} are free; {cure}")

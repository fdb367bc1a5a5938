"""The free memory, so that a size that cannot fit is refused before anything is computed."""

from __future__ import annotations

import math
import os
from pathlib import Path

import jax

from jaxseq.errors import InputError
from jaxseq.notation import Tree


def available_bytes() -> int:
    """Return the bytes that are free where JAX computes: on its device, or of the machine; 0 if that is not known."""
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
"""Arrays of each parameter's size in training: itself, its gradient, two moments of the optimizer."""


def check_trains(params: Tree, cure: str) -> None:
    """Check that there is memory for training parameters (arrays or their shapes), apart from the activations.

    Raises:
      InputError: if not, with the bytes asked for, the bytes that are free, and `cure`.
    """
    asked = COPIES * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    check_free(asked, "parameters, gradients and the optimizer's state", cure)


def check_free(asked: int, what: str, cure: str) -> None:
    """Check that there is memory for so many bytes; `what` takes them.

    Raises:
      InputError: if not, with the bytes asked for, the bytes that are free, and `cure`.
    """
    there = available_bytes()
    if there and asked > there:
        raise InputError(f"{what} take {asked:,} bytes of memory, and {there:,} are free; {cure}")

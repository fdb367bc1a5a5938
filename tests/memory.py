"""How much memory this process has."""

import os
from pathlib import Path


def resident() -> int:
    """Return this process's bytes in memory, 0 where that cannot be read."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0

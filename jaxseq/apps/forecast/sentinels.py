"""Codes for missing values, such as -9999: those the user declares, and suspected ones that are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

NINES = [float(f"{'9' * whole}{'.' * (parts > 0)}{'9' * parts}") for whole in range(2, 11) for parts in range(3)]
LIMITS = (32767, 32768, 2147483647, 2147483648, 1e20, 1e30, 1e35, 1e36, 9.969209968386869e36, 3.4028234663852886e38)
"""The ends of integer types, and the fill values of NetCDF, GRIB and statistics packages."""
CODES = np.array(sorted({*NINES, *map(float, LIMITS)}))
"""Sizes of numbers that are in use as codes for missing values."""
CERTAIN = 999
"""Codes of this size count if they occur once; smaller ones must repeat."""
LOOKS_LIKE = "looks like a code for missing"
"""Words in each line of `suspected`."""


def suspected(name: str, values: np.ndarray) -> list[str]:
    """Return a line for each code in ``values [T]`` that is far outside all other values; nothing is changed.

    Far outside is: beyond the others' range by more than its width and by more than the largest of them.
    """
    known = values[np.isfinite(values)]
    sizes = np.abs(known)
    # with a tolerance: a code that went through float32 is off in the eighth digit
    place = np.minimum(np.searchsorted(CODES, sizes * (1 - 1e-6)), len(CODES) - 1)
    is_code = np.abs(CODES[place] - sizes) <= 1e-6 * sizes
    lines = []
    for code, count in sorted(Counter(known[is_code].tolist()).items()):
        others = known[~is_code]
        # 99 may be a value that occurs once; -9999 hardly
        if not len(others) or (count < 2 and abs(code) < CERTAIN):
            continue
        low, high = float(others.min()), float(others.max())
        # both: of values that are nearly constant the width alone is small
        far = max(high - low, abs(low), abs(high))
        if low - far <= code <= high + far:
            continue
        lines.append(
            f"{name}: {code:.10g} ({_values(count)}; the others are {low:.6g} to {high:.6g}) {LOOKS_LIKE}; "
            f"it was read as a number: use --missing {code:.10g} if it is one"
        )
    return lines


def declared(name: str, values: np.ndarray, missing: Sequence[float]) -> tuple[np.ndarray, list[str]]:
    """Return ``values [T]`` with NaN for each value in `missing`, and a line for each that is there."""
    lines = []
    for code in missing:
        there = np.isclose(values, code, rtol=1e-6, atol=0.0)
        if there.any():
            values = np.where(there, np.nan, values)
            lines.append(f"{name}: {code:.10g} is missing by --missing: {_values(int(there.sum()))}")
    return values, lines


def marked(name: str, cells: np.ndarray, values: np.ndarray) -> list[str]:
    """Return a line on the text, such as NA, that was read as missing in a column of numbers."""
    found = Counter(cell for cell in cells[np.isnan(values)] if cell)
    if not found:
        return []
    shown = ", ".join(f"{cell!r} ({count})" for cell, count in found.most_common(4))
    more = f" and {len(found) - 4} others" if len(found) > 4 else ""
    return [f"{name}: read as missing: {shown}{more}"]


def _values(count: int) -> str:
    return f"{count} value{'s' * (count != 1)}"

"""Compare two files of one benchmark, from different commits, machines or versions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jaxseq.bench.output import Table
from jaxseq.bench.timing import geometric_mean, median, ratio
from jaxseq.errors import InputError

SAME = ("cpu", "cores", "devices", "platform", "XLA_FLAGS")


def compare(before: Path, after: Path, systems: tuple[str, ...] = (), at_least: float | None = None) -> int:
    """Print the ratio before / after (above 1: less in the second file) for every row and system in both files.

    Example: python -m benchmarks compare before.json after.json --systems jaxseq --at-least 0.97

    Args:
      before: JSON of one run.
      after: JSON of another.
      systems: Systems to compare, for example jaxseq torch; all by default.
      at_least: Return 1 if the geometric mean of jaxseq's own ratios is below this: slower than before.

    Raises:
      InputError: if a file is not from a benchmark, or the files have no row in common.
    """
    files = [_read(path) for path in (before, after)]
    _warn(files)
    rows = [{row["name"]: row["samples"] for row in file["rows"]} for file in files]
    lines, pairs = [], dict[str, list[tuple[list[float], list[float]]]]()
    for name, old in rows[0].items():
        for system, samples in old.items():
            new = rows[1].get(name, {}).get(system)
            # a median of 0 has no ratio
            if new is None or (systems and system not in systems) or not median(samples) or not median(new):
                continue
            pairs.setdefault(system, []).append((samples, new))
            lines.append([name, system, median(samples), median(new), ratio(samples, new, paired=False)])
    if not lines:
        raise InputError(f"{before} and {after} have no row in common: was the same measured in both?")
    print(Table(["", "", before.stem, after.stem, "before / after"], lines))
    means = {system: geometric_mean(of, paired=False) for system, of in pairs.items()}
    print(f"\n{Table(['geometric mean', 'before / after'], [*means.items()])}")
    held = means.get("jaxseq")
    if at_least is None or (held is not None and held.value >= at_least):
        return 0
    said = "is missing" if held is None else f"is {held.value:.3f}"
    print(f"missed: geometric mean of jaxseq {said}, the bound is at least {at_least:g}", file=sys.stderr)
    return 1


def _read(path: Path) -> dict[str, Any]:
    """Return the contents of a benchmark file.

    Raises:
      InputError: if there is no such file, or it was not written by a benchmark.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if all("samples" in row and "name" in row for row in found["rows"]) and "benchmark" in found:
            return found
        raise KeyError("samples")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} was not written by `jaxseq bench --json` or a benchmark") from error


def _warn(files: list[dict[str, Any]]) -> None:
    """Print the differences between the conditions of the two runs."""
    if files[0]["benchmark"] != files[1]["benchmark"]:
        print(f"! {files[0]['benchmark']} is compared with {files[1]['benchmark']}", file=sys.stderr)
    machines = [file.get("machine", {}) for file in files]
    for key in SAME:
        before, after = (m.get(key) for m in machines)
        if before != after:
            print(f"! {key}: {before} before, {after} after", file=sys.stderr)
    versions = [m.get("versions", {}) for m in machines]
    for name in sorted({*versions[0], *versions[1]}):
        before, after = (v.get(name, "none") for v in versions)
        if before != after:
            print(f"! {name}: {before} before, {after} after", file=sys.stderr)

"""What benchmarks and experiments wrote, as one page of Markdown: no figure of a page is typed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from jaxseq.errors import InputError
from jaxseq.experiments.report import stability, table
from jaxseq.inputs import parse_json, read_bytes


def report(folder: Positional[Path]) -> int:
    """Print the JSON files of a folder as Markdown: a table for each benchmark, one for all experiments.

    Example: python -m benchmarks report results > measurements.md

    Args:
      folder: Where ``--json`` of benchmarks and ``--out`` of ``jaxseq experiment`` wrote; folders in it count as well.

    Raises:
      InputError: if no file there is one of them, or a file cannot be read.
    """
    found = [(path, parse_json(read_bytes(path), path)) for path in sorted(folder.rglob("*.json"))]
    benchmarks = [(path, facts) for path, facts in found if isinstance(facts, dict) and "benchmark" in facts]
    experiments = [facts for _, facts in found if isinstance(facts, dict) and "verdict" in facts and "claim" in facts]
    if not benchmarks and not experiments:
        raise InputError(
            f"{folder} has no results: expected files that `python -m benchmarks NAME --json FILE` or `jaxseq "
            f"experiment NAME --out FOLDER` wrote; got {len(found)} other JSON files"
        )
    print("# Measurements")
    for path, facts in benchmarks:
        print("\n".join(["", f"## {facts['benchmark']} ({path.stem})", "", *_section(facts)]))
    if experiments:
        print(f"\n## Experiments\n\n{table(experiments)}")
        if any(one.get("blocks") for one in experiments):
            print(f"\n{stability(experiments)}")
    return 0


def _section(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the command, the machine, and rows of medians, with quartiles where there are three samples or more."""
    machine, rows = facts["machine"], facts["rows"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    if "command" in facts:
        yield from ("```sh", facts["command"], "```", "")
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['platform']}; {versions}; {machine['date'][:10]}."
    if facts["quick"]:
        yield "Few rounds and small sizes (`--quick`): a look, no result."
    systems = list(dict.fromkeys(system for row in rows for system in row["samples"]))
    others = list(dict.fromkeys(key for row in rows for key, value in row.items() if _is_short(key, value)))
    yield from ("", f"In {facts['unit']}, less is better: the median, and the quartiles of all samples.", "")
    yield _line(["", *systems, *(name.replace("_", " ") for name in others)])
    yield _line(["---"] * (1 + len(systems) + len(others)))
    for row in rows:
        samples = [_samples(row["samples"].get(system, [])) for system in systems]
        yield _line([row["name"], *samples, *(_value(row.get(name, "")) for name in others)])


def _is_short(key: str, value: Any) -> bool:
    """Return whether a fact of a row fits into a column: a number or a word."""
    short = isinstance(value, int | float) or (isinstance(value, str) and len(value) < 40)
    return short and key not in ("name", "samples")


def _samples(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) < 3:
        return " / ".join(_value(value) for value in values)
    low, middle, high = (_value(float(v)) for v in np.percentile(values, [25, 50, 75]))
    return f"{middle} [{low}, {high}]"


def _value(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"

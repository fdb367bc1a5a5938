"""The results of benchmarks and experiments as one page of Markdown: no number on the page is typed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from jaxseq.bench.timing import sentence
from jaxseq.errors import InputError
from jaxseq.experiments.report import stability, table
from jaxseq.inputs import parse_json, read_bytes

HEAD = """# Measurements

These commands make this page again, in about ten minutes of two idle cores and twenty for `learning`. The first runs
the benchmarks below, each in a process of its own, and writes one JSON file for each. The second prints the page.

```sh
pip install ".[bench]"                                               # torch and the other libraries; Python 3.11
python -m benchmarks measure results
python -m benchmarks report results > jaxseq/guide/measurements.md
```

Times are medians. A ratio is a ratio of medians with its 95% interval, by bootstrap over rounds: above 1 the other
library takes longer. [Benchmarking](benchmarking.md) says how times are taken. The quality of translations and of
forecasts is in [translating](translating.md#figures) and [forecasting](forecasting.md#figures)."""


def report(folder: Positional[Path]) -> int:
    """Print the JSON files of a folder as Markdown: the tables of each benchmark, one table for all experiments.

    Benchmarks come in the order in which they ran.

    Example: python -m benchmarks report results > jaxseq/guide/measurements.md

    Args:
      folder: Where ``--json`` of benchmarks and ``--out`` of ``jaxseq experiment`` wrote; subfolders count as well.

    Raises:
      InputError: if the folder has no such file, or a file cannot be read.
    """
    found = [(path, parse_json(read_bytes(path), path)) for path in sorted(folder.rglob("*.json"))]
    known = [(path, facts) for path, facts in found if isinstance(facts, dict)]
    benchmarks = [(path, facts) for path, facts in known if {"benchmark", "shown", "machine", "command"} <= {*facts}]
    experiments = [facts for _, facts in known if {"verdict", "claim"} <= {*facts}]
    if not benchmarks and not experiments:
        raise InputError(
            f"{folder} has no results: expected files that `python -m benchmarks NAME --json FILE` or `jaxseq "
            f"experiment NAME --out FOLDER` wrote; got {len(found)} other JSON files"
        )
    print(HEAD)
    machines = {sentence(facts["machine"]) for _, facts in benchmarks}
    if len(machines) == 1:
        print(f"\n{machines.pop()}.")
    for path, facts in sorted(benchmarks, key=lambda one: one[1]["machine"]["date"]):
        print("\n".join(["", f"## {path.stem}", "", *_section(facts, with_machine=len(machines) > 1)]))
    if experiments:
        print(f"\n## Experiments\n\n{table(experiments)}")
        if any(one.get("blocks") for one in experiments):
            print(f"\n{stability(experiments)}")
    return 0


def _section(facts: dict[str, Any], *, with_machine: bool) -> Iterator[str]:
    """Yield the command, the machine where the files are of several, and everything that the command printed."""
    yield from ("```sh", facts["command"], "```")
    if with_machine:
        yield from ("", f"{sentence(facts['machine'])}.")
    if facts["quick"]:
        yield from ("", "Few rounds and small sizes (`--quick`): a look, not a result.")
    for shown in facts["shown"]:
        yield from ("", *([shown] if isinstance(shown, str) else _markdown(shown)))


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table whose first row is its head."""
    lines = [f"| {' | '.join(cell.strip().replace('|', '/') for cell in row)} |" for row in rows]
    yield from (lines[0], "|---" * len(rows[0]) + "|", *lines[1:])

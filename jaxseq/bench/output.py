"""Output of every benchmark: an aligned table, a JSON file with every sample, and whether a bound was missed."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxseq.bench.timing import machine


@dataclasses.dataclass(frozen=True)
class Output:
    """Options that all benchmarks have."""

    quick: bool = False
    """Few rounds and small sizes: a look, no result."""
    json: Path | None = None
    """Write samples and facts here, for `jaxseq bench compare`."""


USUAL = Output()
"""The defaults."""


class Report:
    """Rows of samples as they come, and in the end the file, the bounds that were missed and the exit status.

    A row has a name, ``samples`` by system (milliseconds, or whatever ``unit`` says; less is better), and facts.
    """

    def __init__(self, benchmark: str, output: Output, unit: str = "ms") -> None:
        self.output, self.missed, self.said = output, list[str](), set[str]()
        self.facts: dict[str, Any] = {"benchmark": benchmark, "quick": output.quick, "unit": unit, "rows": []}
        print(headline())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows so far."""
        return self.facts["rows"]

    def add(self, name: str, samples: dict[str, list[float]], **facts: Any) -> dict[str, Any]:
        """Keep and return a row of samples and facts."""
        self.rows.append({"name": name, "samples": samples, **facts})
        return self.rows[-1]

    def warn(self, message: str | None) -> None:
        """Say something on standard error, once, unless there is nothing to say."""
        if message and message not in self.said:
            self.said.add(message)
            print(f"! {message}", file=sys.stderr, flush=True)

    def at_least(self, what: str, value: float | None, bound: float | None) -> None:
        """Hold a value against a bound from below: None as bound misses nothing, None as value misses any bound."""
        if bound is not None and value is None:
            self.missed.append(f"there is no {what} to hold against {bound:g}")
        # "not >=" and not "<": NaN misses the bound
        elif bound is not None and value is not None and not value >= bound:
            self.missed.append(f"{what} is {value:.3f}, the bound is at least {bound:g}")

    def at_most(self, what: str, value: float, bound: float | None) -> None:
        """Hold a value against a bound from above; without a bound (None) nothing is missed."""
        if bound is not None and not value <= bound:
            self.missed.append(f"{what} is {value:.3f}, the bound is at most {bound:g}")

    def finish(self) -> int:
        """Write the file, say which bounds were missed, and return the exit status: 1 if any."""
        if self.output.json is not None:
            self.facts |= {"machine": machine(), "command": command()}
            self.output.json.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")
        for message in self.missed:
            print(f"missed: {message}", file=sys.stderr)
        return int(bool(self.missed))


def command() -> str:
    """Return the command line that runs, as a user would type it."""
    program, arguments = sys.argv[0], sys.argv[1:]
    return f"{'python -m benchmarks' if 'benchmarks' in program else 'jaxseq'} {shlex.join(arguments)}"


def headline() -> str:
    """Return one line about the machine."""
    facts = machine()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['platform']}\n{versions}\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as aligned text: the first column to the left, all others to the right."""
    cells = [list(head)] + [[f"{c:.2f}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = (
        "  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)

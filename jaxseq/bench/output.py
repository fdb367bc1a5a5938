"""Output of every benchmark: tables, a JSON file with them and all samples, and the bounds that were missed."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxseq import __version__
from jaxseq.bench.timing import machine, sentence


@dataclasses.dataclass(frozen=True)
class Output:
    """Options that all benchmarks have."""

    quick: bool = False
    """Few rounds and small sizes, for a quick look; not a measurement."""
    json: Path | None = None
    """Write samples and facts here, for `jaxseq bench compare`."""


USUAL = Output()
"""The defaults."""


class Table(NamedTuple):
    """A table to print: the ``head`` of each column, with its unit, and ``rows`` of numbers, texts and ratios."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def texts(self) -> list[list[str]]:
        """Return the head and the rows as text."""
        return [[*self.head], *([digits(c) if isinstance(c, float) else str(c) for c in row] for row in self.rows)]

    def __str__(self) -> str:
        """Return aligned lines: the first column to the left, all others to the right."""
        cells = self.texts()
        widths = [max(len(row[k]) for row in cells) for k in range(len(self.head))]
        lines = (
            "  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        )
        return "\n".join(line.rstrip() for line in lines)


def digits(value: float) -> str:
    """Return a number in three digits, or with all digits before the point.

    Example:
      >>> digits(0.08531), digits(12.345), digits(1234.5)
      ('0.0853', '12.3', '1,234')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


class Report:
    """Collects rows of samples; at the end writes the file, reports missed bounds, and returns the exit status.

    A row has a name, ``samples`` by system (milliseconds, or in ``unit``; less is better), and facts. The
    file also has the tables and sentences that were printed, in order: `python -m benchmarks report` prints them again.
    """

    def __init__(self, benchmark: str, output: Output, unit: str = "ms") -> None:
        self.output, self.missed, self.said = output, list[str](), set[str]()
        self.facts: dict[str, Any] = {"benchmark": benchmark, "quick": output.quick, "unit": unit}
        self.facts |= {"rows": [], "shown": []}
        print(sentence(machine()))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows so far."""
        return self.facts["rows"]

    def add(self, name: str, samples: dict[str, list[float]], **facts: Any) -> dict[str, Any]:
        """Record and return a row of samples and facts."""
        self.rows.append({"name": name, "samples": samples, **facts})
        return self.rows[-1]

    def show(self, table: Table) -> None:
        """Print a table, and record it for the file."""
        self.facts["shown"].append(table.texts())
        print(f"\n{table}")

    def say(self, text: str) -> None:
        """Print a sentence about the tables, and record it for the file."""
        self.facts["shown"].append(text)
        print(f"\n{text}")

    def warn(self, message: str | None) -> None:
        """Print a nonempty text on standard error, once."""
        if message and message not in self.said:
            self.said.add(message)
            print(f"! {message}", file=sys.stderr, flush=True)

    def at_least(self, what: str, value: float | None, bound: float | None) -> None:
        """Check a value against a lower bound; without a bound nothing is missed, without a value any bound is."""
        if bound is not None and value is None:
            self.missed.append(f"there is no {what} to hold against {bound:g}")
        # "not >=" instead of "<", so NaN misses the bound
        elif bound is not None and value is not None and not value >= bound:
            self.missed.append(f"{what} is {value:.3f}, the bound is at least {bound:g}")

    def at_most(self, what: str, value: float, bound: float | None) -> None:
        """Check a value against an upper bound; without a bound (None) nothing is missed."""
        if bound is not None and not value <= bound:
            self.missed.append(f"{what} is {value:.3f}, the bound is at most {bound:g}")

    def finish(self) -> int:
        """Write the file, report the bounds that were missed, and return the exit status: 1 if any."""
        if self.output.json is not None:
            at = machine()
            at["versions"] = {"jaxseq": __version__, **at["versions"]}  # works without an installed jaxseq too
            self.facts |= {"machine": at, "command": command()}
            self.output.json.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")
        for message in self.missed:
            print(f"missed: {message}", file=sys.stderr)
        return int(bool(self.missed))


def command() -> str:
    """Return the current command line as a user would type it, without the name of the output file."""
    program, given = sys.argv[0], sys.argv[1:]
    arguments = [one for before, one in zip(["", *given], given, strict=False) if "--json" not in (one, before)]
    return f"{'python -m benchmarks' if 'benchmarks' in program else 'jaxseq'} {shlex.join(arguments)}"

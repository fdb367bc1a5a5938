"""Temporary memory of a layer, as the compiler plans it: nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxseq.bench.output import Report, Table
from jaxseq.bench.systems import Case, System

MODES = ("forward", "gradient")


def measure_memory(case: Case, found: Mapping[str, System], report: Report) -> dict[str, Any]:
    """Record and return each compiled program's temporary bytes, in samples named ``"NAME forward"`` and so on."""
    samples, programs = {}, {}
    for name, system in found.items():
        for mode in MODES:
            program = system.program(mode)
            if program is None or program.temporary is None:
                report.warn(f"the memory that {name} takes is unknown: it has no XLA program that reports it")
                continue
            samples[f"{name} {mode}"] = [program.temporary / 2**20]
            programs[f"{name} {mode}"] = program._asdict()
    facts = {"cell": case.cell.name, "shape": case.shape, "mode": "memory", "dtype": case.dtype}
    return report.add(f"{case} memory", samples, programs=programs, **facts)


def show_memory(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table: temporary MiB and operations of each system."""
    lines: list[list[Any]] = []
    for row in rows:
        samples, programs = row["samples"], row["programs"]
        lines += [[""] * 5] * bool(lines) + [[row["name"], "", "", "", ""]]
        names = list(dict.fromkeys(name.rpartition(" ")[0] for name in samples))
        for name in sorted(names, key=lambda name: samples.get(f"{name} gradient", [0.0])[0]):
            keys = [f"{name} {mode}" for mode in MODES]
            lines.append([
                "  " + name,
                *(f"{samples[key][0]:.2f}" if key in samples else "-" for key in keys),
                *(programs[key]["operations"] if key in programs else "-" for key in keys),
            ])  # fmt: skip
    return Table(["temporary MiB", *MODES, "operations forward", "gradient"], lines)

"""Time a layer forward, with its gradient, or in steps of training, against its peers and the floor of its products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxseq.bench import peers
from jaxseq.bench.floor import floor
from jaxseq.bench.output import Report, Table
from jaxseq.bench.peers import STEPS
from jaxseq.bench.products import products
from jaxseq.bench.program import page_faults
from jaxseq.bench.systems import OURS, Case, System
from jaxseq.bench.timing import interleave, median, noise, ratio
from jaxseq.errors import InputError

TIMED = ("forward", "gradient", "train")
FLOOR = "floor"
"""The name of the timing of the products alone."""


def measure(
    case: Case, found: dict[str, System], mode: str, rounds: int, report: Report, *, pause: float = 0.02
) -> dict[str, Any]:
    """Time all systems in a mode, and the floor, in interleaved rounds; record and return the row.

    A row has ``samples`` (milliseconds per call, or per step in the mode train), ``flops`` of the products, and for
    each system its page ``faults`` per call, its temporary ``bytes`` and the counts of its program.

    Raises:
      CompiledWhileTimedError: if a program was compiled in a timed round.
    """
    flops, bottom = _floor(case, mode, report)
    thunks = {name: system.thunk(mode) for name, system in found.items()}
    samples = interleave({**thunks, **({FLOOR: bottom} if bottom else {})}, rounds, pause=pause)
    per = STEPS if mode == "train" else 1
    # a call in the mode train takes STEPS steps; the floor is of a single step
    samples = {name: of if name == FLOOR else [ms / per for ms in of] for name, of in samples.items()}
    programs = {name: system.program(mode) for name, system in found.items()}
    row = report.add(
        f"{case} {mode}", samples, cell=case.cell.name, shape=case.shape, mode=mode, dtype=case.dtype,
        recurrence=case.recurrences[0], devices=case.devices, flops=flops,
        faults={name: page_faults(thunk) for name, thunk in thunks.items()},
        programs={name: program and program._asdict() for name, program in programs.items()},
    )  # fmt: skip
    row["noisy"] = [name for name, of in samples.items() if noise(name, of)]
    for name in row["noisy"]:
        report.warn(noise(f"{row['name']}, {name}", samples[name]))
    return row


def _floor(case: Case, mode: str, report: Report) -> tuple[int | None, Any]:
    """Return the FLOPs of the products, and a thunk that runs them alone; None if unknown."""
    params, xs = peers.setup(case.cell, case.shape, case.dtype)
    try:
        needed = products(case.cell, params, xs, gradient=mode != "forward")
    except InputError as error:
        report.warn(f"there is no floor for {case.cell.name}: {error}")
        return None, None
    flops = sum(product.flops for product in needed)
    if case.devices > 1:
        report.warn("there is no floor on several devices: it is that of one")
        return flops, None
    return flops, floor(needed, case.dtype) if needed else None


def share(row: dict[str, Any], name: str) -> float | None:
    """Return the floor's time over a system's: 1 means a layer that does nothing but its products."""
    samples = row["samples"]
    return median(samples[FLOOR]) / median(samples[name]) if FLOOR in samples else None


def rate(row: dict[str, Any], name: str) -> float:
    """Return a system's GFLOP/s, counting its products alone; NaN if their FLOPs are unknown."""
    return (row["flops"] or float("nan")) / median(row["samples"][name]) / 1e6


HEAD = ("ms", "time / ours", "of the floor", "GFLOP/s", "page faults", "temporary MiB")


def show(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table: a block for each row, with its systems sorted by time."""
    lines: list[list[Any]] = []
    for row in rows:
        samples = row["samples"]
        lines += [[""] * (1 + len(HEAD))] * bool(lines) + [[row["name"], *[""] * len(HEAD)]]
        for name in sorted(samples, key=lambda name: (name != OURS, median(samples[name]))):
            mark = "~ " if name in row["noisy"] else "  "
            line = [mark + name, median(samples[name])]
            line.append("" if name == OURS else ratio(samples[name], samples[OURS]))
            line += [_said(share(row, name), "{:.0%}") if name != FLOOR else "", _said(rate(row, name), "{:.0f}")]
            program = row["programs"].get(name) or {}
            temporary = program.get("temporary")
            line.append(_said(row["faults"].get(name), "{:.0f}"))
            line.append(_said(None if temporary is None else temporary / 2**20, "{:.1f}"))
            lines.append(line)
    return Table(["", *HEAD], lines)


def _said(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else form.format(value)

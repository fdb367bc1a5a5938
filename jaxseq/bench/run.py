"""A whole benchmark: every case in every mode, the tables, the file and the figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxseq.bench.eager import SHAPE as EAGER_SHAPE, measure_eager, show_eager
from jaxseq.bench.measure import TIMED, measure, show
from jaxseq.bench.memory import measure_memory, show_memory
from jaxseq.bench.output import Report
from jaxseq.bench.peers import PEERS
from jaxseq.bench.phases import measure_phases, show_phases
from jaxseq.bench.systems import Case, systems
from jaxseq.bench.torch_layer import TORCH
from jaxseq.recurrence import EXACT

MODES = (*TIMED, "eager", "compile", "memory")
SHAPES: dict[str, tuple[int, int, int, int]] = {"eager": EAGER_SHAPE}
"""Default shapes of modes that differ from `SHAPE`."""
SHAPE = (32, 50, 128, 128)
FAMILIES: dict[str, tuple[str, ...]] = {
    "scan": ("plain scan",),
    "flax": ("linen", "linen optimized", "nnx", "nnx optimized"),
    "linen": ("linen", "linen optimized"),
    "nnx": ("nnx", "nnx optimized"),
    **{name: (name,) for name in ("haiku", "equinox", "keras", "cudnn", "torch", "torchrecurrent")},
    "all": (*PEERS, *TORCH),
    "none": (),
}
"""The peers, by the names that options take."""


def bench(cases: Sequence[Case], modes: Sequence[str], against: Sequence[str], rounds: int, report: Report) -> None:
    """Measure every case in every mode; print a table for each kind of mode.

    A case without a shape gets each mode's default.

    Raises:
      CompiledWhileTimedError: if a program was compiled in a timed round.
      InputError: if a cell cannot be run.
    """
    names = list(dict.fromkeys(name for family in against for name in FAMILIES[family]))
    rows: dict[str, list[dict[str, Any]]] = {}
    for mode in modes:
        for case in cases:
            shaped = case if case.shape is not None else case._replace(shape=SHAPES.get(mode, SHAPE))
            print(f"{shaped} {mode}", file=sys.stderr, flush=True)
            rows.setdefault(mode if mode not in TIMED else "timed", []).extend(
                _measured(shaped, mode, names, rounds, report)
            )
    shows = {"timed": show, "eager": show_eager, "compile": show_phases, "memory": show_memory}
    for kind, of in rows.items():
        report.show(shows[kind](of))


def _measured(case: Case, mode: str, names: list[str], rounds: int, report: Report) -> list[dict[str, Any]]:
    """Return the rows of a case in a mode."""
    if mode == "compile":
        return measure_phases(case, names, min(rounds, 5), report)
    if mode == "memory":
        every = (*case.recurrences, *(name for name in EXACT if name not in case.recurrences))
        return [measure_memory(case, systems(case._replace(recurrences=every), names, report.warn), report)]
    found = systems(case, names, report.warn)
    if mode == "eager":
        return measure_eager(case, found, min(rounds, 7), report)
    return [measure(case, found, mode, rounds, report)]


def draw(report: Report, path: Path) -> None:
    """Write the figure of the timed rows."""
    from jaxseq.bench.plot import picture

    picture(report.rows, path)

"""Times before the first result (import, trace, lower, compile, the first call) and after it."""

from __future__ import annotations

import subprocess
import sys

import jax
from tyro.conf import OmitArgPrefixes

from benchmarks.layers import Shape
from jaxseq.bench import peers
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.peers import Layer
from jaxseq.bench.phases import phases, took
from jaxseq.bench.timing import median, milliseconds
from jaxseq.cells import CELLS

IMPORTS = {"python alone": "pass", "import jax": "import jax", "import jaxseq": "import jaxseq"}
PHASES = ("trace", "lower", "compile", "first call", "steady")


def compile_(output: OmitArgPrefixes[Output] = USUAL, shape: Shape = (32, 50, 128, 128), repeats: int = 0) -> int:
    """Time each phase of value and gradient of one layer, ours and the textbook scan; medians.

    Example: python -m benchmarks compile --quick

    Args:
      output: Where to.
      shape: B T D H.
      repeats: Of everything, caches emptied between; 0: 5, or 2 with --quick.
    """
    report = Report("compile", output)
    repeats = repeats or (2 if output.quick else 5)
    report.say(f"Value and gradient of one layer, each phase from empty caches; medians of {repeats}.")
    for name, code in IMPORTS.items():
        command = [sys.executable, "-c", code]
        times = [milliseconds(lambda c=command: subprocess.run(c, check=True)) for _ in range(repeats + 1)]
        report.add(name, {"process": times[1:]})  # the first one reads files from disk
    lines = [[row["name"], median(row["samples"]["process"])] for row in report.rows]
    report.show(Table(["a new process", "ms"], lines))
    lines = []
    for cell in ("lstm", "gru"):
        params, xs = peers.setup(CELLS[cell], shape)
        layers = {
            "jaxseq": peers.ours(CELLS[cell], params),
            "plain scan": peers.textbook(CELLS[cell], params, xs),
        }
        measured: dict[str, dict[str, list[float]]] = {name: {phase: [] for phase in PHASES} for name in layers}
        for _ in range(repeats):
            for name, layer in layers.items():
                for phase, ms in _phases(layer, xs).items():
                    measured[name][phase].append(ms)
        for name, of in measured.items():
            report.add(f"{cell} {name}", of)
            lines.append([f"{cell} {name}", *(median(of[phase]) for phase in PHASES)])
    report.show(Table([f"B, T, D, H = {', '.join(map(str, shape))}", *(f"{phase} ms" for phase in PHASES)], lines))
    return report.finish()


def _phases(layer: Layer, xs: jax.Array) -> dict[str, float]:
    """Return the milliseconds of each phase, from empty caches."""
    compiled, ms = phases(layer, xs)
    _, first = took(lambda: compiled(layer.weights, xs))
    steady = milliseconds(lambda: compiled(layer.weights, xs), 10)
    return {**ms, "first call": first, "steady": steady}

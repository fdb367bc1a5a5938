"""How time and memory of value and gradient, and compilation, grow with T, B, H and the number of layers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from tyro.conf import OmitArgPrefixes

from jaxseq import unroll
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.timing import interleave, median, noise
from jaxseq.cells import CELLS, stack
from jaxseq.recurrence import EXACT

BASE = {"T": 64, "B": 32, "H": 128, "depth": 1}
AXES: dict[str, tuple[int, ...]] = {
    "T": (16, 64, 256, 1024),
    "B": (1, 4, 16, 64, 256),
    "H": (32, 64, 128, 256, 512),
    "depth": (1, 2, 3, 4),
}
QUICK: dict[str, tuple[int, ...]] = {"T": (16, 64, 256), "B": (1, 8), "H": (16, 32), "depth": (1, 2)}


def scaling(
    output: OmitArgPrefixes[Output] = USUAL,
    cell: Literal["lstm", "gru"] = "lstm",
    recurrence: Literal["deferred", "checkpointed", "scan"] = "deferred",
    full: bool = False,
    rounds: int = 0,
    compiles: int = 3,
    compile_growth: float = 1.5,
    plot: Path | None = None,
) -> int:
    """Time value and gradient of sum(h²) along T, B, H and depth, one at a time; D = H.

    The slope is that of log time over log size, by least squares: 1 is proportional. A scan is compiled once whatever
    its length, so that compile time must not grow with T.

    Example: python -m benchmarks scaling --quick --plot scaling.png

    Args:
      output: Where to.
      cell: The layer.
      recurrence: How it is run; the memory of checkpointed grows with the square root of T.
      full: T up to 4096, B up to 512, H up to 1024.
      rounds: Samples; 0: 7, or 3 with --quick.
      compiles: How often each program is compiled.
      compile_growth: Exit with 1 if the longest T compiles slower than the shortest by more than this factor.
      plot: Write a picture here.
    """
    report = Report("scaling", output)
    rounds = rounds or (3 if output.quick else 7)
    axes = dict(QUICK if output.quick else AXES)
    base = {**BASE, "B": 8, "H": 32} if output.quick else BASE
    if full:
        axes = {**axes, "T": (*axes["T"], 2048, 4096), "B": (*axes["B"], 512), "H": (*axes["H"], 1024)}
    lines: list[list[Any]] = []
    for axis, sizes in axes.items():
        programs = {n: _compiled(cell, recurrence, {**base, axis: n}, compiles) for n in sizes}
        thunks = {str(n): program for n, (program, _, _) in programs.items()}
        samples = interleave(thunks, rounds)
        for n in sizes:
            name, (_, compiling, mib) = f"{cell} {axis} {n}", programs[n]
            row = report.add(name, {"jaxseq": samples[str(n)], "compile": compiling}, axis=axis, size=n, mib=mib)
            report.warn(noise(name, row["samples"]["jaxseq"]))
            lines.append([name, median(samples[str(n)]), mib, f"{median(compiling):.0f}"])
        measured = [[median(samples[str(n)]), programs[n][2], median(programs[n][1])] for n in sizes]
        for which, at in (("slope", slice(None)), ("the last two alone", slice(-2, None))):
            slopes = [_slope(sizes[at], of[at]) for of in zip(*measured, strict=True)]
            lines.append([f"  {which} over {axis}", *slopes])
            report.facts[f"{which} over {axis}"] = slopes
    report.say(f"{cell}, {recurrence}, base {', '.join(f'{name} = {size}' for name, size in base.items())}")
    report.show(Table(["", "ms", "temporary MiB", "compile ms"], lines))
    compiling = [median(row["samples"]["compile"]) for row in report.rows if row["axis"] == "T"]
    growth = compiling[-1] / compiling[0]
    report.say(f"Compile time of the longest T over that of the shortest: {growth:.2f}")
    report.at_most("growth of compile time with T", growth, compile_growth)
    if plot is not None:
        _plot(report.rows, plot)
    return report.finish()


def _compiled(cell: str, recurrence: str, sizes: dict[str, int], compiles: int) -> tuple[Any, list[float], float]:
    """Return a thunk, the milliseconds of each of several compilations (without tracing and lowering), and its MiB."""
    T, B, H, depth = (sizes[name] for name in ("T", "B", "H", "depth"))
    layers = CELLS[cell] if depth == 1 else stack(*[CELLS[cell]] * depth)
    params = layers.init(jax.random.key(0), H, H)
    xs = jax.random.normal(jax.random.key(1), (T, B, H))

    def loss(params: Any, xs: jax.Array) -> jax.Array:
        return (unroll(layers, params, xs, recurrence=EXACT[recurrence])[1] ** 2).sum()

    took = []
    for _ in range(compiles):
        fresh = jax.value_and_grad(lambda *both: loss(*both), argnums=(0, 1))  # one lowering is compiled only once
        lowered = jax.jit(fresh).lower(params, xs)
        begun = time.perf_counter()
        compiled = lowered.compile()
        took.append((time.perf_counter() - begun) * 1e3)
    return lambda: compiled(params, xs), took, compiled.memory_analysis().temp_size_in_bytes / 2**20


def _slope(sizes: tuple[int, ...], values: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time and compile time, one panel for each axis."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    axes = list(dict.fromkeys(row["axis"] for row in rows))
    figure, panels = plt.subplots(1, len(axes), figsize=(3 * len(axes), 3), sharey=True, layout="constrained")
    for panel, axis in zip(panels, axes, strict=True):
        here = [row for row in rows if row["axis"] == axis]
        sizes = [row["size"] for row in here]
        for system, label, mark in (("jaxseq", "value and gradient", "o-"), ("compile", "compilation", "s--")):
            panel.plot(sizes, [median(row["samples"][system]) for row in here], mark, label=label, markersize=4)
        panel.set(xscale="log", yscale="log", xlabel=axis, xticks=sizes, xticklabels=sizes)
        panel.minorticks_off()
    panels[0].set(ylabel="milliseconds")
    panels[0].legend(frameon=False, fontsize="small")
    figure.savefig(path)
    plt.close(figure)

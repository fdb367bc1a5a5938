"""The figure of a benchmark: time relative to ours, with intervals, and a roofline of the rates reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxseq.bench.floor import machine_rate
from jaxseq.bench.measure import FLOOR, TIMED, rate
from jaxseq.bench.systems import OURS
from jaxseq.bench.timing import median, ratio

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999933", "#882255", "#44AA99", "#555555")
"""Colours that red-green colour-blind readers can distinguish; after Wong 2011, "Points of view:
color blindness", Nature Methods 8, page 441, and Tol's "muted" scheme."""
MARKS = "os^vD<>PXh"
BOTTOM = "0.75"
"""The floor's grey."""


def picture(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write bars of time over ours, and GFLOP/s against the work of a call, to an image file.

    Only rows of the modes forward, gradient and train are drawn; there must be one.
    """
    timed = [row for row in rows if row["mode"] in TIMED]
    names = list(dict.fromkeys(name for row in timed for name in row["samples"] if name != FLOOR))
    looks = {name: (COLOURS[n % len(COLOURS)], MARKS[n % len(MARKS)]) for n, name in enumerate(names)}
    count = sum(len(row["samples"]) for row in timed)
    figure = Figure(figsize=(12, max(4.0, 1.5 + 0.2 * count)), layout="constrained")
    FigureCanvasAgg(figure)  # independent of the backend, since nothing is shown
    bars, roofline = figure.subplots(1, 2)
    _bars(bars, timed, looks)
    _roofline(roofline, timed, looks)
    handles, labels = roofline.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
    figure.savefig(path, dpi=120)


def _bars(axes: Axes, rows: Sequence[dict[str, Any]], looks: dict[str, tuple[str, str]]) -> None:
    """Draw for each row a bar for each other system and for the floor: its time over ours, and the 95% interval."""
    at, ticks = 0.0, []
    for row in rows:
        samples, first = row["samples"], at
        for name in sorted((n for n in samples if n != OURS), key=lambda n: median(samples[n])):
            of = ratio(samples[name], samples[OURS])
            axes.barh(at, of.value - 1, left=1, height=0.8, color=looks[name][0] if name in looks else BOTTOM)
            if of.low == of.low:  # a single sample has no interval
                spread = [[of.value - of.low], [of.high - of.value]]
                axes.errorbar(of.value, at, xerr=spread, color="black", capsize=2, linewidth=1)
            axes.annotate(f"{of.value:.2f}", (max(of.value, of.high), at), (4, 0), textcoords="offset points",
                          va="center", fontsize="small")  # fmt: skip
            at += 1
        ticks.append((first + max(at - 1, first)) / 2)
        at += 1
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(ticks, [row["name"].replace(") ", ")\n") for row in rows], fontsize="small")
    axes.set(xscale="log", xlim=(None, axes.get_xlim()[1] * 1.3))  # leave room for the numbers
    axes.set_xlabel(f"time / {OURS}'s: right of the line is slower")
    _plain_ticks(axes.xaxis)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _roofline(axes: Axes, rows: Sequence[dict[str, Any]], looks: dict[str, tuple[str, str]]) -> None:
    """Draw GFLOP/s against the GFLOP of a call, with the machine's own rate and the floor."""
    known = [row for row in rows if row.get("flops")]
    for name, (colour, mark) in looks.items():
        here = sorted((row for row in known if name in row["samples"]), key=lambda row: row["flops"])
        rates = [rate(row, name) for row in here]
        axes.plot([row["flops"] / 1e9 for row in here], rates, mark, color=colour, label=name, markersize=6, alpha=0.85)
    floors = sorted((row for row in known if FLOOR in row["samples"]), key=lambda row: row["flops"])
    bottom = [rate(row, FLOOR) for row in floors]
    work = [row["flops"] / 1e9 for row in floors]
    axes.plot(work, bottom, "_", color="0.5", markersize=18, label="floor: products alone")
    for dtype in dict.fromkeys(row["dtype"] for row in known):
        best = machine_rate(dtype)
        axes.axhline(best, color="black", linewidth=1, linestyle="--")
        axes.annotate(f"a large {dtype} product: {best:.0f} GFLOP/s", (0.02, best), (0, 3),
                      xycoords=("axes fraction", "data"), textcoords="offset points", fontsize="small")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="work of a call, GFLOP in its products", ylabel="GFLOP/s")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    axes.spines[["top", "right"]].set_visible(False)


def _plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10."""
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())

"""One layer against torch's and against those of other JAX libraries: forward, value and gradient, and training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes

from jaxseq.bench.measure import FLOOR, measure, rate, share
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.run import FAMILIES
from jaxseq.bench.systems import OURS, Case, Shape, systems
from jaxseq.bench.timing import geometric_mean, median, noise, ratio
from jaxseq.cells import CELLS

SHAPES: tuple[Shape, ...] = (
    (1, 10, 256, 256),
    (32, 50, 128, 128),
    (64, 100, 256, 256),
    (64, 50, 512, 512),
    (16, 100, 1024, 1024),
    (1, 100, 32, 32),
    (1, 100, 128, 128),
)
"""(B, T, D, H)."""
QUICK: tuple[Shape, ...] = ((1, 10, 256, 256), (32, 50, 128, 128))
NOT_PEERS = (OURS, FLOOR)

Way = Literal["forward", "gradient", "train"]


def layers(
    output: OmitArgPrefixes[Output] = USUAL,
    cells: tuple[Literal["lstm", "gru"], ...] = ("lstm", "gru"),
    modes: tuple[Way, ...] = ("forward", "gradient", "train"),
    shapes: tuple[Shape, ...] = (),
    rounds: int = 0,
    pause: float = 0.02,
    at_least: float | None = None,
    at_least_peer: float | None = None,
    plot: Path | None = None,
) -> int:
    """Time one layer in float32, on the same weights and inputs as torch and the peers, outputs compared first.

    Example: python -m benchmarks layers --quick

    Example: python -m benchmarks layers --cells lstm --shapes 64 100 256 256 --json now.json --at-least 1.15

    Args:
      output: Where to.
      cells: lstm, gru.
      modes: forward: outputs only; gradient: value and gradient of sum(h²) with respect to params and inputs; train: a
        step of SGD on both, of 10 in one jit that donates them (torch in a loop).
      shapes: B T D H, and again; all by default.
      rounds: Samples of each; 0: 15, or 5 with --quick.
      pause: Seconds of rest between torch and JAX.
      at_least: Exit with 1 if the geometric mean of torch's time over ours is below this, noisy rows left out.
      at_least_peer: The same for the best JAX peer of each row.
      plot: Write a picture of the ratios here.
    """
    report = Report("layers", output)
    report.say(
        "One layer in float32, with equal weights and inputs in all libraries. forward: outputs only; gradient: value "
        "and gradient of sum(h²) with respect to parameters and inputs; train: one step of SGD. The floor is the time "
        "of the layer's matrix products alone."
    )
    rounds = rounds or (5 if output.quick else 15)
    for cell, shape in itertools.product(cells, shapes or (QUICK if output.quick else SHAPES)):
        case = Case(CELLS[cell], shape)
        found = systems(case, FAMILIES["all"], report.warn)
        for mode in modes:
            row = measure(case, found, mode, rounds, report, pause=pause)
            row["noisy"] = noise("", row["samples"][_reference(row)]) is not None
    rows = report.rows
    report.show(_main_table(rows))
    report.say("~: a noisy row, whose reference times spread over more than 15% of their median. All times:")
    report.show(_all_times(rows))
    means = _means(rows, modes)
    report.say("Geometric means of their time over ours (quiet: rows without ~, all modes):")
    report.show(_show_means(means, modes))
    report.facts["geometric means"] = {name: {mode: m and m._asdict() for mode, m in of.items()} for name, of in means}
    found = dict(means)
    for name, bound in (("torch", at_least), ("best JAX peer", at_least_peer)):
        mean = found.get(name, {}).get("quiet")
        report.at_least(f"geometric mean of {name} / jaxseq in quiet rows", mean.value if mean else None, bound)
    if plot is not None:
        _plot(rows, plot)
    return report.finish()


def _reference(row: dict[str, Any]) -> str:
    return "torch" if "torch" in row["samples"] else "jaxseq"


def _best(row: dict[str, Any]) -> str | None:
    """Return the fastest JAX peer of a row."""
    jax_peers = [name for name in row["samples"] if name not in (*NOT_PEERS, "torch")]
    return min(jax_peers, key=lambda name: median(row["samples"][name]), default=None)


def _main_table(rows: list[dict[str, Any]]) -> Table:
    head = ["B, T, D, H", "jaxseq ms", "torch ms", "torch / jaxseq", "fastest other JAX", "its ms", "its / jaxseq"]
    head += ["share of the floor", "GFLOP/s", "page faults a call"]
    lines = []
    for row in rows:
        samples, best = row["samples"], _best(row)
        line: list[Any] = [("~ " if row["noisy"] else "  ") + row["name"], median(samples["jaxseq"])]
        for name in ("torch", best):
            if name == best:
                line.append(best or "-")
            known = name in samples
            line += [median(samples[name]), ratio(samples[name], samples["jaxseq"])] if known else ["-", "-"]
        faults = row["faults"][OURS]
        line += [f"{share(row, OURS):.0%}", f"{rate(row, OURS):.0f}", "-" if faults is None else f"{faults:.0f}"]
        lines.append(line)
    return Table(head, lines)


def _all_times(rows: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row["samples"]))
    lines = [[row["name"], *(median(row["samples"][n]) if n in row["samples"] else "-" for n in names)] for row in rows]
    return Table(["B, T, D, H", *(f"{name} ms" for name in names)], lines)


def _means(rows: list[dict[str, Any]], modes: tuple[Way, ...]) -> list[tuple[str, dict[str, Any]]]:
    """Return for each other system, and for each row's best JAX peer, the means by mode, of all and of quiet rows."""
    names = list(dict.fromkeys(n for row in rows for n in row["samples"] if n not in NOT_PEERS))
    means = []
    for name in ["torch"] * ("torch" in names) + ["best JAX peer"] + [n for n in names if n != "torch"]:
        of: dict[str, Any] = {}
        for mode in (*modes, "all", "quiet"):
            pairs = []
            for row in rows:
                other = _best(row) if name == "best JAX peer" else name
                here = mode in (row["mode"], "all") or (mode == "quiet" and not row["noisy"])
                if here and other in row["samples"]:
                    pairs.append((row["samples"][other], row["samples"]["jaxseq"]))
            of[mode] = geometric_mean(pairs) if pairs else None
        means.append((name, of))
    return means


def _show_means(means: list[tuple[str, dict[str, Any]]], modes: tuple[Way, ...]) -> Table:
    lines = [[name, *(m or "-" for m in of.values())] for name, of in means]
    return Table(["their time / ours", *modes, "all", "quiet"], lines)


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw, for each row, torch and the peers relative to ours."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    names = list(dict.fromkeys(n for row in rows for n in row["samples"] if n not in NOT_PEERS))
    figure, axes = plt.subplots(figsize=(9, max(3, 1.2 + 0.3 * len(rows))), layout="constrained")
    for k, name in enumerate(names):
        at = [n for n, row in enumerate(rows) if name in row["samples"]]
        values = [ratio(rows[n]["samples"][name], rows[n]["samples"]["jaxseq"]) for n in at]
        errors = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
        x = [v.value for v in values]
        axes.errorbar(x, at, xerr=errors, fmt="os^vD<>"[k % 7], label=name, markersize=5, capsize=2)
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set(yticks=range(len(rows)), yticklabels=[row["name"] for row in rows], xscale="log", xlabel="time / jaxseq's")
    axes.xaxis.set_major_locator(ticker.LogLocator(2))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path)
    plt.close(figure)

"""Figures of a study for papers: ``plot_...(data, ax=None) -> Axes``, to be written with `jaxseq.plots.save`.

They take NumPy or JAX arrays as the functions of `jaxseq.study` return them, one row of a batch where there are rows.
0 is forget, closed, erased and 1 is keep, open, retained, on one colour map everywhere. matplotlib is imported when the
first is drawn. Labels in any script, Chinese among them, are set in a font that has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxseq.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jaxseq.study._saturation import Saturation
    from jaxseq.study.memory import HalfLife, Keep
    from jaxseq.study.timelines import Ledger


def plot_timelines(
    gates: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    steps: Sequence[str] | None = None,
    order: Sequence[int] | None = None,
    keeps: Sequence[Keep] | None = None,
) -> Axes:
    """Draw gates ``{name: [T, H]}`` as heat maps, time across, units down in the order given, such as `by_half_life`'s.

    Of a gate that writes where it is 1, as `keeps` of `keeps_of` say, one minus it is drawn, so that 1 retains.

    Raises:
      InputError: as `jaxseq.plots.gates`.
    """
    from jaxseq import plots

    order = None if order is None else [int(unit) for unit in order]
    writes = {keep.gate for keep in keeps or () if keep.inverted}
    shown = {name: 1 - np.asarray(gate) if name in writes else np.asarray(gate) for name, gate in gates.items()}
    labels = {name: _label(name, keeps, retained=True) for name in gates}
    return plots.gates(shown, steps, ax, unit_order=order, labels=labels)


def plot_pinned(values: Mapping[str, Any], ax: Axes | None = None, *, ghosts: Mapping[str, Any] | None = None) -> Axes:
    """Draw lines over time by name, each ``[T]``: units pinned, or what a clamp changes with `ghosts` of before."""
    ax = _axes(ax, (7, 3))
    for n, (name, line) in enumerate(values.items()):
        ax.plot(np.asarray(line), color=f"C{n}", label=name)
        if ghosts and name in ghosts:
            ax.plot(np.asarray(ghosts[name]), color=f"C{n}", alpha=0.45, linestyle="--", linewidth=1)
    return _finish(ax, "time step", "value", legend="best")


def plot_half_lives(life: HalfLife, ax: Axes | None = None, *, longest: int | None = None) -> Axes:
    """Draw half-lives on a logarithmic scale, longest first; censored units as open triangles at `longest`.

    A half-life of 0, where one step erased all, has no place on the scale.

    Raises:
      InputError: if a unit is censored and `longest`, the steps of the longest sequence, is not given.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    ax = _axes(ax, (6, 3.2))
    steps, censored = np.asarray(life.half_life, float), np.asarray(life.censored)
    if censored.any() and longest is None:
        raise InputError("plot_half_lives: some units are censored; give longest, the steps of the longest sequence")
    steps = np.where(censored, longest if longest is not None else steps, steps)
    order = np.argsort(-np.where(np.isnan(steps), -np.inf, steps), kind="stable")
    steps, censored, place = steps[order], censored[order], np.arange(len(order))
    ax.plot(place[~censored], steps[~censored], "o", markersize=4, label="half-life")
    if censored.any():
        ax.plot(place[censored], steps[censored], "^", fillstyle="none", label=f"longer than the {longest} steps seen")
        ax.legend(frameon=False)
    if (steps > 0).any():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    return _finish(ax, "unit, longest half-life first", "steps")


def plot_survival(left: Any, ax: Axes | None = None, *, order: Sequence[int] | None = None) -> Axes:
    """Draw `survival` of one row, ``[T, H]``, as a heat map: how much of a state after step t is left at the end."""
    left = np.asarray(left, float)
    left = left if order is None else left[:, [int(unit) for unit in order]]
    ax = _image(left.T, ax, label="left at the end", vmin=0, vmax=1, cmap="viridis")
    return _finish(ax, "time step", "unit", grid=False)


def plot_ledger(account: Ledger, ax: Axes | None = None, *, unit: int, row: int = 0) -> Axes:
    """Draw one unit's account: bars of what is retained and what is written, the new state, and what is shown."""
    ax = _axes(ax, (7, 3.2))
    kept, written, new, shown = (
        np.asarray(a, float)[:, row, unit] for a in (account.kept, account.written, account.new, account.shown)
    )
    place = np.arange(len(new))
    same = np.where(np.sign(kept) == np.sign(written), kept, 0)
    ax.bar(place, kept, width=0.85, color="#4575b4", label="retained")
    ax.bar(place, written, width=0.85, bottom=same, color="#fdae61", label="written")
    ax.step(place, new, where="mid", color="black", linewidth=1.2, label="new state")
    ax.step(place, shown, where="mid", color="#1b7837", linewidth=1.2, label="shown")
    ax.axhline(0, color="0.4", linewidth=0.6)
    return _finish(ax, "time step", f"unit {unit}", legend="above")


def plot_saturation(
    seen: Mapping[str, Saturation | None], ax: Axes | None = None, *, keeps: Sequence[Keep] | None = None
) -> Axes:
    """Draw each gate's units as points: the fraction of steps closed across, the fraction open up.

    A point at the upper left is a unit whose gate is always open, at the lower right always closed; what is not a gate
    (None) is left out. With `keeps` of `keeps_of` the legend says which retain; without, as for lstm and gru.
    """
    ax = _axes(ax, (4.2, 4.2))
    for n, (name, both) in enumerate(seen.items()):
        if both is not None:
            marker = "osD^vP"[n % 6]
            ax.plot(
                np.asarray(both.closed),
                np.asarray(both.open),
                marker,
                markersize=5,
                alpha=0.6,
                label=_label(name, keeps),
            )
    ax.plot([0, 1], [1, 0], color="0.6", linewidth=0.8)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    return _finish(ax, "fraction of steps below 0.1", "fraction of steps above 0.9", legend="best")


def plot_histogram(
    counts: Any,
    ax: Axes | None = None,
    *,
    lowest: float = 0.0,
    highest: float = 1.0,
    order: Sequence[int] | None = None,
) -> Axes:
    """Draw a gate's `histogram` ``[bins, H]`` as a heat map, a row for each unit: the share of steps at each value."""
    counts = np.asarray(counts, float)
    counts = counts if order is None else counts[:, [int(unit) for unit in order]]
    share = counts / np.maximum(counts.sum(0), 1)
    extent = (lowest, highest, counts.shape[1] - 0.5, -0.5)
    ax = _image(share.T, ax, label="share of steps", vmin=0, cmap="cividis", extent=extent)
    return _finish(ax, "value of the gate", "unit", grid=False)


def plot_flow(norms: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Draw gradient norms over time, each ``[T]`` by name, on a logarithmic scale; zeros are not drawn."""
    ax = _axes(ax, (6.5, 3.2))
    for name, norm in norms.items():
        values = np.asarray(norm, float)
        ax.plot(np.where(values > 0, values, np.nan), label=name)
    ax.set_yscale("log")
    return _finish(ax, "time step t", "gradient norm", legend="best")


def plot_triangle(norms: Any, ax: Axes | None = None) -> Axes:
    """Draw the loss step × time triangle ``[T, T]`` of gradient norms, logarithms to base 10; zeros are left white."""
    norms = np.asarray(norms, float)
    with np.errstate(divide="ignore"):
        shown = np.where(norms > 0, np.log10(norms), np.nan)
    return _finish(_image(shown, ax, label="log10 of the norm", cmap="cividis"), "time step t", "loss step", grid=False)


def plot_eigenvalues(values: Any, ax: Axes | None = None, *, radius: float | None = None) -> Axes:
    """Draw eigenvalues of step Jacobians, complex of any shape, on the unit circle, and a predicted `radius`."""
    ax = _axes(ax, (4.2, 4.2))
    flat = np.asarray(values).ravel()
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turn), np.sin(turn), color="0.5", linewidth=0.8, label="unit circle")
    if radius is not None:
        ax.plot(
            radius * np.cos(turn), radius * np.sin(turn), color="C1", linestyle="--", linewidth=1, label="predicted"
        )
    ax.plot(flat.real, flat.imag, ".", color="C0", markersize=4, alpha=0.5)
    ax.set_aspect("equal")
    return _finish(ax, "real part", "imaginary part", legend="above")


def plot_attention(weights: Any, source: Sequence[str], target: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw attention ``[target, source]``.

    Raises:
      InputError: as `jaxseq.plots.attention_map`.
    """
    from jaxseq import plots

    return plots.attention_map(np.asarray(weights), source, target, ax)


def plot_attention_summary(spread: Any, got: Any, ax: Axes | None = None) -> Axes:
    """Draw the entropy of each target step ``[T]`` and the coverage of each source position ``[S]`` of one row."""
    ax = _axes(ax, (6.5, 3))
    ax.plot(np.asarray(spread), marker="o", markersize=3, label="entropy of target steps, nats")
    ax.bar(np.arange(len(np.asarray(got))), np.asarray(got), color="0.75", label="coverage of source positions")
    return _finish(ax, "position", "", legend="above")


def plot_atlas(
    effects: Any,
    rows: Sequence[str],
    ax: Axes | None = None,
    *,
    order: Sequence[int] | None = None,
    label: str = "change of loss",
) -> Axes:
    """Draw an atlas of clamps ``[rows, H]``: a row for each gate and value it is held at, a column for each unit.

    Raises:
      InputError: if the names of rows do not fit.
    """
    from jaxseq import plots

    effects = np.asarray(effects, float)
    if effects.ndim != 2 or len(rows) != effects.shape[0]:
        raise InputError(f"plot_atlas: expected a row of [rows, H] for each of {len(rows)} names; got {effects.shape}")
    effects = effects if order is None else effects[:, [int(unit) for unit in order]]
    most = float(np.nanmax(np.abs(effects), initial=0)) or 1.0
    ax = _image(effects, ax, label=label, vmin=-most, vmax=most, cmap="RdBu_r")
    ax.set_yticks(range(len(rows)), list(rows))
    plots.dress_texts(ax.get_yticklabels())
    return _finish(ax, "unit", "", grid=False)


def plot_replay(
    steps: Sequence[int],
    values: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    label: str = "gate",
    keeps: Sequence[Keep] | None = None,
) -> Axes:
    """Draw how values spread during training, each ``[snapshots, ...]`` by name: the median, and 10 to 90 per cent.

    `keeps` as in `plot_saturation`.
    """
    ax = _axes(ax, (6.5, 3.2))
    for n, (name, each) in enumerate(values.items()):
        flat = np.asarray(each, float).reshape(len(steps), -1)
        low, middle, high = np.percentile(flat, [10, 50, 90], axis=1)
        ax.plot(steps, middle, color=f"C{n}", label=_label(name, keeps))
        ax.fill_between(steps, low, high, color=f"C{n}", alpha=0.2, linewidth=0)
    ax.set_xscale("symlog", linthresh=1)
    return _finish(ax, "training step", label, legend="best")


def plot_comparison(curves: Mapping[str, tuple[Any, Any]], ax: Axes | None = None, *, label: str = "loss") -> Axes:
    """Draw curves by cell, each ``(steps, values)``, on a logarithmic scale where all are positive."""
    ax = _axes(ax, (6.5, 3.6))
    positive = True
    for n, (name, (steps, values)) in enumerate(curves.items()):
        values = np.asarray(values, float)
        positive &= bool((values > 0).all())
        ax.plot(np.asarray(steps), values, label=name, linestyle=("-", "--", "-.", ":")[n % 4])
    if positive:
        ax.set_yscale("log")
    return _finish(ax, "training step", label, legend="best")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    from jaxseq import plots

    return plots.axes_of(ax, size)


def _image(values: np.ndarray, ax: Axes | None, *, label: str, **options: Any) -> Axes:
    from matplotlib.ticker import MaxNLocator

    from jaxseq import plots

    ax = _axes(ax, (max(4.0, min(0.12 * values.shape[1] + 2, 9)), max(2.4, min(0.12 * values.shape[0] + 1, 7))))
    image = ax.imshow(values, aspect="auto", interpolation="nearest", **options)
    for axis in (ax.xaxis, ax.yaxis):  # steps and units are whole numbers
        axis.set_major_locator(MaxNLocator(integer=True))
    scale = ax.figure.colorbar(image, ax=ax, fraction=0.04, pad=0.02)
    plots.dress_texts([scale.ax.set_ylabel(label)])
    return ax


def _label(name: str, keeps: Sequence[Keep] | None, *, retained: bool = False) -> str:
    """Return what a gate is called: ``"f  forget (retain)"``, in a stack ``"0: f  forget (retain)"``.

    Which retain, and which write where one minus them retains, is what `keeps` say; None for lstm and gru. Where it is
    what is `retained` that is shown, that is one minus a gate that writes.
    """
    from jaxseq import plots

    layer, _, own = name.rpartition(".")
    label = plots.gate_label(own)
    if keeps is not None:
        inverted = {keep.gate: keep.inverted for keep in keeps}.get(name)
        does = "" if inverted is None else " (write)" if inverted and not retained else " (retain)"
        named = label.removesuffix(" (retain)")
        if (own == "f" and inverted) or (own == "r" and inverted is not None):
            named = f"{own} "  # an MGU's f does not forget, a LEM's r does not reset
        label = "1 - " * bool(inverted and retained) + named + does
    return f"{layer}: {label}" if layer else label


def _finish(ax: Axes, across: str, up: str, *, legend: str = "", grid: bool = True) -> Axes:
    """Name the axes; put a legend where there is room within ("best"), or "above" them."""
    from jaxseq import plots

    ax.set(xlabel=across, ylabel=up)
    if grid:
        ax.grid(alpha=0.3)
    if legend and ax.get_legend_handles_labels()[1]:
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4, "borderaxespad": 0.2}
        ax.legend(frameon=False, fontsize="small", **(above if legend == "above" else {"loc": "best"}))
    shown = ax.get_legend()
    plots.dress_texts([ax.xaxis.label, ax.yaxis.label, *(shown.get_texts() if shown else [])])
    return ax

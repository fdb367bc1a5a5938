"""Figures of a study for papers: ``plot_...(data, ax=None) -> Axes``, to be written with `jaxseq.plots.save`.

They take the results of the functions of `jaxseq.study`, NumPy or JAX arrays, and draw one `row` of a batch where there
are rows; arrays of one row alone are taken as well. Gates are drawn as they are, 0 closed and 1 open, as on the page
and in the terminal, and with `roles` their labels say what they do. matplotlib is imported when the first is drawn.
Labels in any script, Chinese among them, are set in a font that has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxseq.errors import InputError, choose
from jaxseq.study._drawing import (
    axes_for,
    finish,
    image,
    ink,
    label_of,
    name_units,
    row_of,
    signed,
    sizes,
    sorted_units,
    undrawn,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jaxseq.study._saturation import Saturation
    from jaxseq.study.gradients import Flow
    from jaxseq.study.jacobian import Spectrum
    from jaxseq.study.memory import HalfLife
    from jaxseq.study.timelines import Ledger
    from jaxseq.study.whatif import Atlas


def plot_timelines(
    gates: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    steps: Sequence[str] | None = None,
    order: Sequence[int] | None = None,
    roles: Mapping[str, str] | None = None,
    row: int = 0,
) -> Axes:
    """Draw the gates of `gates_of` as heat maps, time across, units down in the order given.

    An order is `by_half_life`'s or `by_likeness`'s, or a part of it: ``order[:32]`` shows 32 of many units.

    `roles` of `roles_of` say what each gate does; without, a label is the gate's name.

    Raises:
      InputError: as `jaxseq.plots.gates`; if there is no such row.
    """
    from jaxseq import plots

    order = None if order is None else [int(unit) for unit in order]
    shown = {name: row_of(gate, row, 2) for name, gate in gates.items()}
    return plots.gates(shown, steps, ax, unit_order=order, labels={name: label_of(name, roles) for name in gates})


def plot_pinned(values: Mapping[str, Any], ax: Axes | None = None, *, ghosts: Mapping[str, Any] | None = None) -> Axes:
    """Draw lines over time by name, each ``[T]``: pinned units, or clamped ones with `ghosts` of before."""
    ax = axes_for(ax, (7, 3))
    for n, (name, line) in enumerate(values.items()):
        ax.plot(np.asarray(line), color=ink(n), label=name)
        if ghosts and name in ghosts:
            ax.plot(np.asarray(ghosts[name]), color=ink(n), alpha=0.45, linestyle="--", linewidth=1)
    return finish(ax, "time step", "value", legend="best")


def plot_half_lives(life: HalfLife, ax: Axes | None = None) -> Axes:
    """Draw half-lives on a logarithmic scale, longest first; those longer than the sequences as triangles at its end.

    The label says over how much they were taken, and the legend how many have no place on the scale: those of 0, where
    one step erased all, and undefined ones.
    """
    from jaxseq import plots

    ax = axes_for(ax, (6, 3.2))
    steps, censored, longest = np.asarray(life.half_life, float), np.asarray(life.censored), int(life.longest)
    # a censored half-life is known only to be longer: drawn at the end of the scale
    steps = np.where(censored, longest, steps)
    # NaN last; stable, so that equal ones keep the order of units
    order = np.argsort(-np.where(np.isnan(steps), -np.inf, steps), kind="stable")
    steps, censored, place = steps[order], censored[order], np.arange(len(order))
    # a logarithmic axis has no 0
    shown = np.where(steps > 0, steps, np.nan)
    ax.plot(place[~censored], shown[~censored], "o", markersize=4, label=undrawn("half-life", steps[~censored]))
    if censored.any():
        ax.plot(place[censored], shown[censored], "^", fillstyle="none", label=f"longer than the {longest} steps seen")
    if (steps > 0).any():
        plots.log_axis(ax.yaxis)
    return finish(ax, f"unit, longest half-life first; over {int(life.steps)} steps", "steps", legend="best")


def plot_survival(left: Any, ax: Axes | None = None, *, order: Sequence[int] | None = None, row: int = 0) -> Axes:
    """Draw `survival` as a heat map: how much of a state after step t is left at the end."""
    left = sorted_units(row_of(left, row, 2).astype(float), order)
    ax = image(left.T, ax, label="left at the end", kind="gate", vmin=0, vmax=1)
    name_units(ax.yaxis, order)
    return finish(ax, "time step", "unit", grid=False)


def plot_ledger(account: Ledger, ax: Axes | None = None, *, unit: int, row: int = 0) -> Axes:
    """Draw one unit's account: bars of the retained and the written part, the new state, and the shown one."""
    ax = axes_for(ax, (7, 3.2))
    kept, written, new, shown = (
        np.asarray(a, float)[:, row, unit] for a in (account.kept, account.written, account.new, account.shown)
    )
    place = np.arange(len(new))
    # stacked where both have one sign; from 0 where they oppose each other, so that both heights can be read
    same = np.where(np.sign(kept) == np.sign(written), kept, 0)
    ax.bar(place, kept, width=0.85, color=ink(0), label="retained")
    ax.bar(place, written, width=0.85, bottom=same, color=ink(1), label="written")
    ax.step(place, new, where="mid", color="black", linewidth=1.2, label="new state")
    ax.step(place, shown, where="mid", color=ink(2), linewidth=1.2, label="shown")
    ax.axhline(0, color="0.4", linewidth=0.6)
    return finish(ax, "time step", f"unit {unit}", legend="above")


def plot_saturation(
    seen: Mapping[str, Saturation | None], ax: Axes | None = None, *, roles: Mapping[str, str] | None = None
) -> Axes:
    """Draw each gate's units as points: the fraction of steps closed across, the fraction open up.

    A point at the upper left is a unit whose gate is always open, at the lower right always closed; quantities that
    are not gates (None) are left out. With `roles` of `roles_of` the legend says what each gate does.
    """
    ax = axes_for(ax, (4.2, 4.2))
    for n, (name, both) in enumerate(seen.items()):
        if both is not None:
            # markers as well as colours: readable in grey and by colour-blind readers
            marker = "osD^vP"[n % 6]
            ax.plot(
                np.asarray(both.closed),
                np.asarray(both.open),
                marker,
                markersize=5,
                alpha=0.6,
                label=label_of(name, roles),
            )
    # a unit lies on this line if its gate is never between 0.1 and 0.9
    ax.plot([0, 1], [1, 0], color="0.6", linewidth=0.8)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    return finish(ax, "fraction of steps below 0.1", "fraction of steps above 0.9", legend="best")


def plot_histogram(
    counts: Any,
    ax: Axes | None = None,
    *,
    lowest: float = 0.0,
    highest: float = 1.0,
    order: Sequence[int] | None = None,
) -> Axes:
    """Draw a gate's `histogram` ``[bins, H]`` as a heat map, a row for each unit: the share of steps at each value."""
    counts = sorted_units(np.asarray(counts, float), order)
    # of each unit's own steps
    share = counts / np.maximum(counts.sum(0), 1)
    # across: the gate's value and not the number of the bin
    extent = (lowest, highest, counts.shape[1] - 0.5, -0.5)
    ax = image(share.T, ax, label="share of steps", kind="size", vmin=0, extent=extent)
    name_units(ax.yaxis, order)
    return finish(ax, "value of the gate", "unit", grid=False)


def plot_flow(found: Flow | Mapping[str, Any], ax: Axes | None = None, *, row: int = 0) -> Axes:
    """Draw the norms of `flow`, or norms by name, over time on a logarithmic scale; the legend counts zeros."""
    from jaxseq import plots

    ax = axes_for(ax, (6.5, 3.2))
    norms = found if isinstance(found, Mapping) else {f"dL/d{leaf}": a for leaf, a in found.norms.items()}
    for name, norm in norms.items():
        values = row_of(norm, row, 1).astype(float)
        # gaps where a logarithm has no value; the legend counts them
        ax.plot(np.where((values > 0) & np.isfinite(values), values, np.nan), label=undrawn(name, values))
    plots.log_axis(ax.yaxis)
    return finish(ax, "time step t", "gradient norm", legend="best")


def plot_triangle(
    norms: Any,
    ax: Axes | None = None,
    *,
    leaf: str | None = None,
    steps: Sequence[int] | None = None,
    row: int = 0,
) -> Axes:
    """Draw the loss step × time triangle of `triangle`, logarithms to base 10; zeros are left white.

    Args:
      norms: of all parts of the carry, or of one.
      ax: the axes to draw on, or None.
      leaf: which part of the carry, by default the first.
      steps: the steps of the losses, as given to `triangle`.
      row: of the batch.

    Raises:
      InputError: for an unknown leaf, or if the steps do not fit.
    """
    if isinstance(norms, Mapping):
        leaf = next(iter(norms)) if leaf is None else leaf
        norms = choose("part of the carry", leaf, norms)
    # [S, T]; the batch is the last axis of a triangle
    shown = row_of(norms, row, 2, axis=2).astype(float)
    ax = sizes(shown, ax, label=f"the norm of dL/d{leaf}" if leaf else "the norm")
    if steps is not None:
        if len(steps) != len(shown):
            raise InputError(f"plot_triangle: expected a step for each of {len(shown)} losses; got {len(steps)}")
        # ten labels at most, the first and the last among them
        some = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 10)).astype(int))
        ax.set_yticks(some, [str(steps[n]) for n in some])
    return finish(ax, "time step t", "loss step", grid=False)


def plot_eigenvalues(values: Spectrum | Any, ax: Axes | None = None, *, radius: float | None = None) -> Axes:
    """Draw the eigenvalues of `spectrum`, or complex numbers of any shape, on the unit circle, and a given radius."""
    ax = axes_for(ax, (4.2, 4.2))
    flat = np.asarray(getattr(values, "eigenvalues", values)).ravel()
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turn), np.sin(turn), color="0.5", linewidth=0.8, label="unit circle")
    if radius is not None:
        across, up = radius * np.cos(turn), radius * np.sin(turn)
        ax.plot(across, up, color=ink(1), linestyle="--", linewidth=1, label="predicted")
    ax.plot(flat.real, flat.imag, ".", color=ink(0), markersize=4, alpha=0.5)
    # or the unit circle would be an ellipse
    ax.set_aspect("equal")
    return finish(ax, "real part", "imaginary part", legend="above")


def plot_attention(
    weights: Any, source: Sequence[str], target: Sequence[str], ax: Axes | None = None, *, row: int = 0
) -> Axes:
    """Draw attention ``[target, source]`` of one row.

    Raises:
      InputError: as `jaxseq.plots.attention_map`.
    """
    from jaxseq import plots

    return plots.attention_map(row_of(weights, row, 2), source, target, ax)


def plot_attention_summary(spread: Any, got: Any, ax: Axes | None = None, *, row: int = 0) -> Axes:
    """Draw the `entropy` of each target step and the `coverage` of each source position of one row."""
    ax = axes_for(ax, (6.5, 3))
    spread, got = row_of(spread, row, 1), row_of(got, row, 1, axis=0)
    ax.plot(spread, marker="o", markersize=3, label="entropy of target steps, nats")
    ax.bar(np.arange(len(got)), got, color="0.75", label="coverage of source positions")
    return finish(ax, "position", "", legend="above")


def plot_atlas(
    effects: Atlas | Any,
    rows: Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    order: Sequence[int] | None = None,
    label: str = "",
) -> Axes:
    """Draw an `atlas`, or effects ``[rows, H]``: a row for each gate and value it is held at, a column for each unit.

    Units whose change has no result are hatched and counted in the label, and do not count for the colours.

    Args:
      effects: an atlas, whose change of the loss is drawn, or how far outputs moved where it has no loss; or an array.
      rows: the names of an array's rows.
      ax: the axes to draw on, or None.
      order: of the units, such as `by_half_life`'s.
      label: of the numbers.

    Raises:
      InputError: if the names of rows do not fit, or gates of an atlas differ in their units.
    """
    from jaxseq import plots

    if rows is None:
        rows, effects, label = _rows_of(effects, label)
    effects = np.asarray(effects, float)
    if effects.ndim != 2 or len(rows) != effects.shape[0]:
        raise InputError(f"plot_atlas: expected a row of [rows, H] for each of {len(rows)} names; got {effects.shape}")
    ax = signed(sorted_units(effects, order), ax, label=label or "change of loss")
    ax.set_yticks(range(len(rows)), list(rows))
    plots.dress_texts(ax.get_yticklabels())
    name_units(ax.xaxis, order)
    return finish(ax, "unit", "", grid=False)


def _rows_of(found: Atlas, label: str) -> tuple[list[str], np.ndarray, str]:
    """Return the rows of an atlas: names, numbers, and their label."""
    each = found.moved if found.loss is None else found.loss
    names, rows = [], []
    for gate, effects in each.items():
        for value, row in zip(np.asarray(found.values[gate]), np.asarray(effects), strict=True):
            # all units at one number, or each at its own mean
            names.append(f"{gate} := {value[0]:g}" if np.ptp(value) == 0 else f"{gate} := its mean")
            rows.append(row)
    if not rows or len({len(row) for row in rows}) > 1:
        raise InputError("plot_atlas: expected gates with equally many units; choose them with atlas(gates=...)")
    return names, np.stack(rows), label or ("how far outputs move" if found.loss is None else "change of loss")


def plot_replay(
    steps: Sequence[int],
    values: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    label: str = "gate",
    roles: Mapping[str, str] | None = None,
) -> Axes:
    """Draw how values spread during training, each ``[snapshots, ...]`` by name: the median, and 10 to 90 per cent.

    `roles` as in `plot_saturation`.
    """
    ax = axes_for(ax, (6.5, 3.2))
    for n, (name, each) in enumerate(values.items()):
        flat = np.asarray(each, float).reshape(len(steps), -1)
        low, middle, high = np.percentile(flat, [10, 50, 90], axis=1)
        ax.plot(steps, middle, color=ink(n), label=label_of(name, roles))
        ax.fill_between(steps, low, high, color=ink(n), alpha=0.2, linewidth=0)
    # snapshots are at logarithmic steps, and the first is step 0
    ax.set_xscale("symlog", linthresh=1)
    return finish(ax, "training step", label, legend="best")


def plot_comparison(curves: Mapping[str, tuple[Any, Any]], ax: Axes | None = None, *, label: str = "loss") -> Axes:
    """Draw curves by cell, each ``(steps, values)``, on a logarithmic scale where all are positive."""
    from jaxseq import plots

    ax = axes_for(ax, (6.5, 3.6))
    positive = True
    for n, (name, (steps, values)) in enumerate(curves.items()):
        values = np.asarray(values, float)
        # an accuracy of 0 has no place on a logarithmic axis
        positive &= bool((values > 0).all())
        ax.plot(np.asarray(steps), values, label=name, linestyle=("-", "--", "-.", ":")[n % 4])
    if positive:
        plots.log_axis(ax.yaxis)
    return finish(ax, "training step", label, legend="best")

"""Parts that the figures of a study share: axes, heat maps, one row of a batch, labelled cuts of logarithmic axes.

Time goes across and units go down. A colour map says one thing: "gate" from 0 to 1, "signed" around 0, "size" upwards
from 0. matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxseq.colours import INKS, colour_map
from jaxseq.errors import InputError
from jaxseq.study.part import said_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

DECADES = 8
"""Powers of ten below the largest number that a figure of sizes shows; smaller numbers look like the smallest."""


def axes_for(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return the axes given, or new ones of that size, whose lines come in the colours of the page."""
    from jaxseq import plots

    ax = plots.axes_of(ax, size)
    # on the axes, since global settings belong to the user
    ax.set_prop_cycle(color=list(INKS))
    return ax


def ink(n: int) -> str:
    """Return the colour of line n."""
    return INKS[n % len(INKS)]


def row_of(values: Any, row: int, ndim: int, axis: int = 1) -> np.ndarray:
    """Return one row of a batch, or values that are of one row already, which have `ndim` axes.

    Raises:
      InputError: if they have neither that many axes nor one more, or there is no such row.
    """
    values = np.asarray(values)
    if values.ndim == ndim:
        return values
    if values.ndim != ndim + 1:
        raise InputError(f"expected an array of {ndim} axes, or of {ndim + 1} with a batch; got {values.shape}")
    if not -values.shape[axis] <= row < values.shape[axis]:
        raise InputError(f"row must be from 0 to {values.shape[axis] - 1}; got {row}")
    return np.take(values, row, axis)


def sorted_units(values: np.ndarray, order: Sequence[int] | None) -> np.ndarray:
    """Return values whose last axis is units in the order given, all or some of them."""
    return values if order is None else values[..., [int(unit) for unit in order]]


def name_units(axis: Axis, order: Sequence[int] | None) -> None:
    """Put the numbers of units at an axis along which they are in that order, or some of them."""
    from matplotlib.ticker import FuncFormatter

    if order is not None:
        names = {place: str(int(unit)) for place, unit in enumerate(order)}
        axis.set_major_formatter(FuncFormatter(lambda value, _: names.get(round(value), "")))


def image(
    values: np.ndarray, ax: Axes | None, *, label: str, kind: str, extend: str = "neither", **options: Any
) -> Axes:
    """Draw a heat map ``[down, across]`` in a colour map, with a colour bar; NaN is left empty."""
    from matplotlib.ticker import MaxNLocator

    from jaxseq import plots

    # about 0.12 inch a cell, between a readable least and a page's most
    ax = axes_for(ax, (max(4.0, min(0.12 * values.shape[1] + 2, 9)), max(2.4, min(0.12 * values.shape[0] + 1, 7))))
    picture = ax.imshow(values, aspect="auto", interpolation="nearest", cmap=colour_map(kind), **options)
    for axis in (ax.xaxis, ax.yaxis):  # steps and units are whole numbers
        axis.set_major_locator(MaxNLocator(integer=True))
    scale = ax.figure.colorbar(picture, ax=ax, fraction=0.04, pad=0.02, extend=extend)
    plots.dress_texts([scale.ax.set_ylabel(label)])
    return ax


def signed(
    values: np.ndarray, ax: Axes | None, *, label: str, most: float | None = None, absent: str = "undefined"
) -> Axes:
    """Draw numbers around 0; numbers that are not finite are hatched, counted in the label, and limit no colours."""
    finite = np.isfinite(values)
    # symmetric, so that 0 has the middle colour; 1.0 where all are 0, since equal limits are an error
    limit = most or float(np.abs(values[finite]).max(initial=0)) or 1.0
    lost = int((~finite).sum())
    label = f"{label} (hatched: {absent}, {lost} of {values.size})" if lost else label
    shown = np.where(finite, values, np.nan)
    ax = image(shown, ax, label=label, kind="signed", vmin=-limit, vmax=limit)
    if lost:  # the cells are left empty, so that the hatched background is seen
        ax.patch.set(facecolor="0.92", hatch="////", edgecolor="0.55")
    return ax


def sizes(norms: np.ndarray, ax: Axes | None, *, label: str) -> Axes:
    """Draw logarithms of numbers from 0 up, cut `DECADES` below the largest, which the label says; zeros are white."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where((norms > 0) & np.isfinite(norms), np.log10(norms), np.nan)
    if not np.isfinite(logs).any():
        return image(logs, ax, label=f"log10 of {label}", kind="size")
    lowest, highest = float(np.nanmin(logs)), float(np.nanmax(logs))
    # a few tiny numbers would else take most of the colours
    cut = lowest < highest - DECADES
    said = f"log10 of {label}, cut {DECADES} below the largest" if cut else f"log10 of {label}"
    limits = {"vmin": max(lowest, highest - DECADES), "vmax": highest}
    return image(logs, ax, label=said, kind="size", extend="min" if cut else "neither", **limits)


def undrawn(name: str, values: np.ndarray) -> str:
    """Return the label of a line on a logarithmic axis, with how many of its numbers have no place there."""
    zeros, lost = int((values == 0).sum()), int((~np.isfinite(values)).sum())
    said = [f"{zeros} zeros"] * bool(zeros) + [f"{lost} undefined"] * bool(lost)
    return f"{name} ({', '.join(said)} not drawn)" if said else name


def label_of(name: str, roles: Mapping[str, str] | None) -> str:
    """Return the label of a gate: ``"f  retain"``, in a stack ``"layer 1: f  retain"``; without roles its name.

    `roles` are those of `roles_of`. A letter says nothing: an MGU's f overwrites, and so does a LEM's r.
    """
    role = (roles or {}).get(name)
    return f"{said_of(name)}  {role}" if role else said_of(name)


def finish(ax: Axes, across: str, up: str, *, legend: str = "", grid: bool = True) -> Axes:
    """Name the axes; put a legend inside where there is room ("best"), or "above"."""
    from jaxseq import plots

    ax.set(xlabel=across, ylabel=up)
    if grid:
        ax.grid(alpha=0.3)
    # a legend without entries is a warning in matplotlib
    if legend and ax.get_legend_handles_labels()[1]:
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4, "borderaxespad": 0.2}
        ax.legend(frameon=False, fontsize="small", **(above if legend == "above" else {"loc": "best"}))
    shown = ax.get_legend()
    plots.dress_texts([ax.xaxis.label, ax.yaxis.label, *(shown.get_texts() if shown else [])])
    return ax

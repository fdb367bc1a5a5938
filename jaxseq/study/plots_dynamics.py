"""Figures of fixed points, paths of the state, and the inputs behind an output or a state.

As in `jaxseq.study.plots`: ``plot_...(data, ax=None) -> Axes``, each for the result of the function of the same name.
They draw one row of a batch where there are rows, the first by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxseq.colours import colour_map
from jaxseq.errors import InputError, choose
from jaxseq.study._drawing import axes_for, finish, image, ink, signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jaxseq.study._connectivity import Connectivity, Integrated
    from jaxseq.study._contextual import Contextual
    from jaxseq.study._contributions import Contributions
    from jaxseq.study._fixed_points import FixedPoints
    from jaxseq.study._trajectories import Trajectories

MARKERS = {"stable": "o", "line attractor": "s", "centre": "D", "saddle": "X", "unstable": "^"}


def plot_fixed_points(found: FixedPoints, ax: Axes | None = None) -> Axes:
    """Draw the eigenvalues of each point on the unit circle, a marker for each kind and filled if the point is fixed.

    Raises:
      InputError: if no point was found.
    """
    real = np.asarray(found.real)
    if not real.any():
        raise InputError("plot_fixed_points: no point was found; begin at other states, or look at their speed")
    ax = axes_for(ax, (4.6, 4.6))
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turn), np.sin(turn), color="0.5", linewidth=0.8, label="unit circle")
    values, kinds, fixed = (np.asarray(a)[real] for a in (found.eigenvalues, found.kind, found.fixed))
    for number, (kind, marker) in enumerate(MARKERS.items()):
        for full, name in ((True, kind), (False, f"{kind}, slow")):
            # one plot call for each kind and filling, so that the legend has one entry each
            here = values[(kinds == number) & (fixed == full)].ravel()
            if here.size:
                filled = "full" if full else "none"
                ax.plot(here.real, here.imag, marker, color=ink(number), fillstyle=filled, markersize=5, label=name)
    ax.set_aspect("equal")
    return finish(ax, "real part", "imaginary part", legend="above")


def plot_trajectories(
    found: Trajectories,
    ax: Axes | None = None,
    *,
    colours: Any = None,
    label: str = "time step",
    axes: tuple[int, int] = (0, 1),
    points: FixedPoints | None = None,
    arrows: int = 1,
) -> Axes:
    """Draw the path of each row in two principal components, with fixed points and their eigenvectors.

    Args:
      found: of one batch axis.
      ax: the axes to draw on, or None.
      colours: numbers ``[T, B]``, one for each step, such as time or tokens, or ``[B]``, one for each row, such as its
        label; the time step by default.
      label: of the colours.
      axes: which two components.
      points: from `fixed_points` of the same cell: drawn with a marker for each kind.
      arrows: how many eigenvectors of each point to draw, of the largest eigenvalues first.

    Raises:
      InputError: if there is not one batch axis, a component is missing, or the colours do not fit.
    """
    import jax.numpy as jnp

    from jaxseq import plots
    from jaxseq.study._trajectories import project

    paths, real = np.asarray(found.points, float), np.asarray(found.real)
    T, B = _one_batch(real)
    if not all(0 <= axis < paths.shape[-1] for axis in axes):
        raise InputError(f"plot_trajectories: axes must be from 0 to {paths.shape[-1] - 1}; got {axes}")
    given = np.arange(T)[:, None] if colours is None else np.asarray(colours, float)
    if given.shape not in ((T, 1), (T, B), (B,)):
        raise InputError(f"plot_trajectories: colours must be [T, B] = {(T, B)} or [B]; got {given.shape}")
    each = np.broadcast_to(given, (T, B))
    ax = axes_for(ax, (5.6, 4.4))
    across, up = (paths[..., axis] for axis in axes)
    for b in range(B):
        ax.plot(across[real[:, b], b], up[real[:, b], b], color="0.75", linewidth=0.7, zorder=1)
    seen = ax.scatter(across[real], up[real], c=each[real], s=12, cmap=colour_map("gate"), zorder=2)
    scale = ax.figure.colorbar(seen, ax=ax, fraction=0.04, pad=0.02)
    plots.dress_texts([scale.ax.set_ylabel(label)])
    if points is not None:
        there = np.asarray(points.real)
        places = np.asarray(project(found.components, points.states), float)[there][:, axes]
        # eigenvectors are columns; project takes the last axis
        ways = np.asarray(project(found.components, jnp.moveaxis(points.eigenvectors, -1, -2), directions=True))
        # a tenth of the picture: an eigenvector has no length of its own
        length = 0.1 * float(np.ptp(paths[real][:, axes]))
        _points(ax, places, np.asarray(points.kind)[there], ways[there][:, :arrows][..., axes].real, length)
    shares = np.asarray(found.components.shares, float)
    across_label, up_label = (f"component {axis + 1} ({100 * shares[axis]:.0f}%)" for axis in axes)
    return finish(ax, across_label, up_label, legend="above")


def plot_connectivity(
    found: Connectivity, ax: Axes | None = None, *, row: int = 0, products: bool = False, tokens: Sequence[str] = ()
) -> Axes:
    """Draw how each loss depends on each input ``[S, T]``: the norms' logarithms to base 10, or gradient times input.

    Raises:
      InputError: if there is not a token for each input.
    """
    values = np.asarray(found.products if products else found.norms, float)
    values = values[:, :, row] if values.ndim > 2 else values
    ax = signed(values, ax, label="gradient times input") if products else sizes(values, ax, label="the norm")
    _ticks(ax, tokens, values.shape[1])
    return finish(ax, "input", "loss step", grid=False)


def plot_integrated(found: Integrated, ax: Axes | None = None, *, row: int = 0, tokens: Sequence[str] = ()) -> Axes:
    """Draw the attribution of each step of one row as bars; the legend gives the gap of completeness.

    Raises:
      InputError: if there is not a token for each step.
    """
    steps = np.asarray(found.steps, float)
    steps = steps[:, row] if steps.ndim > 1 else steps
    gaps = np.asarray(found.gap, float)
    gap = float(gaps[row] if gaps.ndim else gaps)
    ax = axes_for(ax, (6.5, 3))
    colours = np.where(steps < 0, ink(1), ink(0))
    ax.bar(np.arange(len(steps)), steps, color=colours, label=f"attribution, gap {gap:.1e}")
    ax.axhline(0, color="0.4", linewidth=0.6)
    _ticks(ax, tokens, len(steps))
    return finish(ax, "input", "part of the loss", legend="above")


def plot_contributions(found: Contributions, ax: Axes | None = None, *, row: int = 0, unit: int | None = None) -> Axes:
    """Draw the parts of a state ``[S, T + 1]``: of one unit with their signs, or the sum of sizes over all units.

    The first column is the remainder of the start.
    """
    parts = np.asarray(found.parts, float)
    parts = parts[:, :, row] if parts.ndim > 3 else parts
    if unit is None:
        values = np.abs(parts).sum(tuple(range(2, parts.ndim)))
        ax = image(values, ax, label="sum of sizes", kind="size", vmin=0)
    else:
        values = parts[..., unit]
        ax = signed(values, ax, label=f"part of unit {unit}")
    ax.images[0].set_extent((-1.5, values.shape[1] - 1.5, values.shape[0] - 0.5, -0.5))  # the start is at -1
    steps = np.asarray(found.steps)
    steps = steps[:, row] if steps.ndim > 1 else steps
    if len(steps) <= 12:
        ax.set_yticks(range(len(steps)), [str(step) for step in steps])
    return finish(ax, "written at step (-1: the start)", "state after step", grid=False)


def plot_contextual(
    found: Contextual, ax: Axes | None = None, *, leaf: str = "h", row: int = 0, unit: int | None = None
) -> Axes:
    """Draw the two parts of a state over time: of one unit, or their norms over all units.

    Raises:
      InputError: for an unknown part of the carry.
    """
    ax = axes_for(ax, (6.5, 3))
    for name, parts in (("span", found.span), ("rest", found.rest)):
        values = np.asarray(choose("part of the carry", leaf, parts), float)
        values = values[:, row] if values.ndim > 2 else values
        ax.plot(np.linalg.norm(values, axis=-1) if unit is None else values[:, unit], label=name)
    return finish(ax, "time step", f"norm of {leaf}" if unit is None else f"{leaf} of unit {unit}", legend="best")


def _one_batch(real: np.ndarray) -> tuple[int, int]:
    if real.ndim != 2:
        raise InputError(f"plot_trajectories: expected [T, B] with one batch axis; got {real.shape}")
    return real.shape[0], real.shape[1]


def _points(ax: Axes, places: np.ndarray, kinds: np.ndarray, ways: np.ndarray, length: float) -> None:
    """Draw points with a marker for each kind, and a line along each direction ``[points, arrows, 2]``."""
    for number, (kind, marker) in enumerate(MARKERS.items()):
        here = kinds == number
        if not here.any():
            continue
        ax.plot(*places[here].T, marker, color=ink(number), markeredgecolor="white", markersize=8, zorder=4, label=kind)
        for place, directions in zip(places[here], ways[here], strict=True):
            for way in directions:
                size = float(np.linalg.norm(way))
                if size > 0:
                    # in both directions: the sign of an eigenvector is arbitrary
                    ends = place + np.array([[-1], [1]]) * way / size * length
                    ax.plot(*ends.T, color=ink(number), linewidth=1.2, zorder=3)


def _ticks(ax: Axes, tokens: Sequence[str], count: int) -> None:
    from jaxseq import plots

    if not len(tokens):
        return
    if len(tokens) != count:
        raise InputError(f"expected a token for each of {count} inputs; got {len(tokens)}")
    ax.set_xticks(range(count), list(tokens), rotation=90 if max(map(len, tokens)) > 2 else 0)
    plots.dress_texts(ax.get_xticklabels())

"""Figures of patching, probes, contexts, neighbours and automata: ``plot_...(data, ax=None) -> Axes``.

They draw the results of the functions of the same names; see `jaxseq.study.plots` for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxseq.errors import InputError
from jaxseq.problems import Automaton
from jaxseq.study._drawing import axes_for, finish, ink, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jaxseq.study.contexts import Contexts, Neighbours
    from jaxseq.study.extraction import Extraction
    from jaxseq.study.patches import Patching
    from jaxseq.study.probes import Probe


def plot_patching(found: Patching, ax: Axes | None = None, *, shares: bool = False) -> Axes:
    """Draw the effects of `patching` as a heat map: steps across, the units of each state and gate below one another.

    With a loss for each row, the mean over the rows. With `shares`, effects are shares of the whole difference.
    """
    effects = found.shares() if shares else found.effects
    blocks = [np.asarray(e, float).reshape(*np.shape(e)[:2], -1).mean(-1).T for e in effects.values()]
    if not blocks:
        raise InputError("plot_patching: there is no effect to draw; all given gates are unused")
    values = np.concatenate(blocks)
    label = "share of the difference" if shares else "effect"
    ax = signed(values, ax, label=label, most=1.0 if shares else None)
    # blocks of units below one another, a line between them and the name in the middle of each
    ends = np.cumsum([len(block) for block in blocks])
    for end in ends[:-1]:
        ax.axhline(end - 0.5, color="0.3", linewidth=0.8)
    ax.set_yticks([end - (len(block) + 1) / 2 for end, block in zip(ends, blocks, strict=True)], list(effects))
    steps = np.asarray(found.steps)
    some = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 10)).astype(int))
    ax.set_xticks(some, [str(step) for step in steps[some]])
    return finish(ax, "step", "units", grid=False)


def plot_probe(found: Probe, ax: Axes | None = None) -> Axes:
    """Draw the largest |correlation| of each unit with the label, sorted, and those of the untrained networks.

    The title has the held-out score of the probe, and those of its controls.
    """
    ax = axes_for(ax, (6, 3.4))
    sizes = np.abs(np.asarray(found.correlations, float)).max(-1)
    # behind the trained network's line: the spread that chance and architecture alone give
    for n, one in enumerate(np.abs(np.asarray(found.null, float)).max(-1)):
        ax.plot(np.sort(one)[::-1], color="0.6", linewidth=1, label="untrained" if n == 0 else None)
    order = np.argsort(-sizes, kind="stable")
    ax.plot(sizes[order], "o-", markersize=4, label="trained")
    names = [f"{name} {unit}" for name, unit in found.units]
    # names of the three best units
    for place, unit in enumerate(order[:3]):
        ax.annotate(names[unit], (place, sizes[unit]), textcoords="offset points", xytext=(6, 2), fontsize="small")
    ax.set(ylim=(0, 1.08))
    ax.set_title(
        f"held out {float(found.scores.held_out):.2f}; untrained {float(np.mean(found.untrained.held_out)):.2f}, "
        f"shuffled {float(np.mean(found.shuffled.held_out)):.2f}, chance {float(found.chance):.2f}",
        fontsize="medium",
    )
    return finish(ax, "unit, sorted", "|correlation| with the label", legend="best")


def plot_contexts(found: Contexts, ax: Axes | None = None, *, unit: int = 0, lowest: bool = False) -> Axes:
    """Draw one unit around the steps at which it is highest, or lowest, of `top_contexts`: a row for each."""
    places = found.lowest if lowest else found.highest
    windows = np.asarray(places.windows[unit], float)
    rows, steps = np.asarray(places.rows[unit]), np.asarray(places.steps[unit])
    there = rows >= 0
    ax = signed(windows[there], ax, label=f"unit {unit}", absent="outside the sequence")
    where = [f"row {row}, step {step}" for row, step in zip(rows[there], steps[there], strict=True)]
    ax.set_yticks(range(len(where)), where)
    return finish(ax, "step of the context", "", grid=False)


def plot_neighbours(found: Neighbours, ax: Axes | None = None) -> Axes:
    """Draw the distances of the states that `nearest_states` found, nearest first, a line for each query."""
    ax = axes_for(ax, (6, 3.2))
    for n, distances in enumerate(np.asarray(found.distances, float)):
        ax.plot(distances, "o-", markersize=4, label=f"query {n}")
    return finish(ax, "neighbour, nearest first", "distance", legend="best")


def plot_automaton(found: Extraction | Automaton, ax: Axes | None = None) -> Axes:
    """Draw an automaton: states on a circle, accepting ones with a second ring, the start with an arrow from outside.

    Of an extraction, the title says how it agrees with the network. ``automaton.dot()`` is the text for Graphviz.
    """
    from matplotlib.patches import Circle, FancyArrowPatch

    automaton = found if isinstance(found, Automaton) else found.automaton
    ax = axes_for(ax, (4.6, 4.6))
    Q, size = len(automaton.accepting), 0.22
    # the circle grows with the number of states, so that they do not touch
    radius = 0.0 if Q == 1 else max(0.9, 0.75 * size * Q)
    turn = np.pi - 2 * np.pi * np.arange(Q) / Q  # the start on the left, the others clockwise
    at = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    out = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for q, accepting in enumerate(automaton.accepting):
        for ring in (size, *([0.8 * size] if accepting else [])):
            ax.add_patch(Circle(at[q], ring, fill=ring == size, facecolor="white", edgecolor="black", zorder=3))
        ax.text(at[q][0], at[q][1], str(q), ha="center", va="center", zorder=4)

    def arrow(a: np.ndarray, b: np.ndarray, bend: float) -> Any:
        patch = FancyArrowPatch(
            (float(a[0]), float(a[1])), (float(b[0]), float(b[1])), connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>", mutation_scale=12, color="0.25", shrinkA=0, shrinkB=0,
        )  # fmt: skip
        return ax.add_patch(patch)

    start = automaton.start
    arrow(at[start] + out[start] * 2.4 * size, at[start] + out[start] * size, 0)
    for (p, q), label in automaton.arrows().items():
        if p == q:  # a loop, to the side where the start's arrow is not
            away = out[p] if p != start else np.array([-out[p][1], out[p][0]])
            side = np.array([-away[1], away[0]])
            arrow(at[p] + size * (0.8 * away - 0.6 * side), at[p] + size * (0.8 * away + 0.6 * side), 1.6)
            middle = at[p] + away * 2.2 * size
        else:
            along = (at[q] - at[p]) / np.linalg.norm(at[q] - at[p])
            side = np.array([along[1], -along[0]])
            apart = np.linalg.norm(at[q] - at[p])
            arrow(at[p] + size * (along - 0.3 * side), at[q] - size * (along + 0.3 * side), -0.2)
            middle = (at[p] + at[q]) / 2 - side * (0.12 * apart + 0.45 * size)
        ax.text(middle[0], middle[1], label, ha="center", va="center", fontsize="small", color=ink(0), zorder=5)
    reach = radius + 3.4 * size
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set_axis_off()
    if not isinstance(found, Automaton):
        ax.set_title(f"{Q} states; agrees on {100 * float(np.mean(found.agreement)):.1f}% of words", fontsize="medium")
    return ax

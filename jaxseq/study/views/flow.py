"""How much the loss would change with the state at each step."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from jaxseq.notation import Array, Tree
from jaxseq.study.checks import Check, gradient_by_differences
from jaxseq.study.gradients import Flow, flow, slope, triangle
from jaxseq.study.part import Part
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, fit, row

TRIANGLE = 120
"""Most losses of a triangle, each of which is a backward pass; of more steps some are taken, evenly spread."""

BACKWARD = 20_000_000_000
"""Most floating-point operations of a triangle; there are fewer losses in one of a large model."""


class Gradients(NamedTuple):
    """Gradients by the state.

    Fields:
      leaf: the part of the carry that the triangle is of.
      norms: of the gradient of all losses by each part of the carry.
      slopes: of their decimal logarithms, a step.
      triangle: the norm of the gradient of each loss by each state.
      steps: the losses that it has, those of some steps.
    """

    leaf: str
    norms: Annotated[dict[str, np.ndarray], "T B"]
    slopes: Annotated[dict[str, np.ndarray], "B"]
    triangle: Annotated[np.ndarray | None, "B S T"]
    steps: Annotated[list[int], "S:T"]


def gather(seen: Seen) -> tuple[Gradients | None, list[Check]]:
    """Return norms of the gradient by each part of the carry, their slopes, and the triangle of one part."""
    part, leaf = seen.part, seen.leaf
    if seen.subject.outcome is None:
        return None, []
    steps = losses_of(part)

    @jax.jit
    def look(params: Any, xs: Tree) -> tuple[Flow, dict[str, Array], Array]:
        run = part.run._replace(params=params, xs=xs)
        found = run.through(flow, loss=part.loss)
        corner = run.through(triangle, losses=lambda carry, outs: part.losses(outs), steps=steps)[leaf]
        return found, {name: slope(norms) for name, norms in found.norms.items()}, corner

    found, slopes, corner = look(part.params, part.xs)
    data = Gradients(
        leaf,
        {name: np.asarray(a) for name, a in found.norms.items()},
        {name: np.asarray(a) / math.log(10) for name, a in slopes.items()},
        np.moveaxis(np.asarray(corner), 2, 0),
        steps,
    )
    return data, [gradient_by_differences(part.loss, part.run, found, leaf)]


def losses_of(part: Part) -> list[int]:
    """Return the steps whose loss is looked at by itself: those that count, or some of them, the last included."""
    steps = np.flatnonzero(np.asarray(part.counted()).any(-1))
    most = int(min(len(steps), TRIANGLE, max(2, BACKWARD // (3 * part.forward()))))
    return steps[np.unique(np.linspace(len(steps) - 1, 0, most).round().astype(int))].tolist()


def lean(data: Gradients) -> Gradients:
    """Return the gradients without the triangle."""
    return data._replace(triangle=None)


def text(subject: Subject, data: Gradients | None, screen: Screen) -> list[str]:
    """Return the norms as bars of a logarithmic height."""
    if data is None:
        return []
    lines = []
    for leaf, norms in data.norms.items():
        seen = norms[: subject.lengths[screen.example], screen.example]
        along = fit(np.log10(np.maximum(seen, 1e-30)), screen.columns)
        low, high = along.min(), along.max()
        bars = "".join(screen.bars[int(v * 7.999)] * screen.each for v in (along - low) / max(high - low, 1e-9))
        lines += [f"  |dL/d{leaf}|, logarithmic from {10**low:.2g} to {10**high:.2g}", row("", bars)]
    return lines


def facts(_: Subject, data: Gradients | None) -> dict[str, Any]:
    """Return the norms."""
    return {"gradient_norms": data and data.norms}

"""The derivative of the loss by the state at each step."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from jaxseq.notation import Array, Tree
from jaxseq.study._lags import Lags, Verdict, lags, verdicts
from jaxseq.study.checks import Check, gradient_by_differences
from jaxseq.study.gradients import Flow, flow, triangle
from jaxseq.study.part import Part, layer_of, own_name
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, fit, folded, row

TRIANGLE = 120
"""Most losses of a triangle, each of which is a backward pass; of more steps some are taken, evenly spread."""

BACKWARD = 20_000_000_000
"""Most floating-point operations of a triangle; there are fewer losses in one of a large model."""


class Gradients(NamedTuple):
    """Gradients by the state.

    Fields:
      leaf: the part of the carry that the triangle is of.
      norms: of the gradient of all losses together by each part of the layer's carry.
      lags: likewise how the gradient of one loss changes with the lag, a verdict for each sequence.
      triangle: the norm of the gradient of each loss by each state.
      steps: the losses that it has, those of some steps.
    """

    leaf: str
    norms: Annotated[dict[str, np.ndarray], "T B"]
    lags: Annotated[dict[str, list[Verdict]], "B"]
    triangle: Annotated[np.ndarray | None, "B S T"]
    steps: Annotated[list[int], "S:T"]


def gather(seen: Seen) -> tuple[Gradients | None, list[Check]]:
    """Return norms of the gradient by each part of the layer's carry, lags, and the triangle of one part."""
    part, leaf, layer = seen.part, seen.leaf, layer_of(seen.leaf)
    if seen.subject.outcome is None:
        return None, []
    steps = losses_of(part)
    # one backward pass gives the gradients of all layers: gathered by the first of them
    if "flow" not in seen.shared:
        seen.shared["flow"] = _of_all_layers(part, seen.leaves, steps)
    found, by_lag, corners = seen.shared["flow"]
    data = Gradients(
        leaf,
        {name: np.asarray(a) for name, a in found.norms.items() if layer_of(name) == layer},
        {name: verdicts(one) for name, one in by_lag.items() if layer_of(name) == layer},
        # [S, T, B] to [B, S, T]: the page draws one sequence at a time
        np.moveaxis(np.asarray(corners[leaf]), 2, 0),
        steps,
    )
    return data, [gradient_by_differences(part.loss, part.run, found, leaf)]


def _of_all_layers(part: Part, leaves: list[str], steps: list[int]) -> tuple[Flow, dict[str, Lags], dict[str, Array]]:
    """Return the flow, lags by each part of the carry, and the triangles of some parts."""

    @jax.jit
    def look(params: Any, xs: Tree) -> tuple[Flow, dict[str, Lags], dict[str, Array]]:
        # params and xs are arguments of the program: as constants they would be compiled into it
        run = part.run._replace(params=params, xs=xs)
        found = run.through(flow, loss=part.loss)
        each = run.through(triangle, losses=lambda carry, outs: part.losses(outs), steps=steps)
        by_lag = {name: lags(norms, part.real(), steps=steps) for name, norms in each.items()}
        return found, by_lag, {leaf: each[leaf] for leaf in leaves}

    return look(part.params, part.xs)


def losses_of(part: Part) -> list[int]:
    """Return the steps whose losses are shown singly: the scored ones, or some of them with the last."""
    # a step without a scored loss in any row has no gradient to show
    steps = np.flatnonzero(np.asarray(part.counted()).any(-1))
    # a backward pass costs about two forward ones, and the forward is done once more: 3 in all
    most = int(min(len(steps), TRIANGLE, max(2, BACKWARD // (3 * part.forward()))))
    # evenly from the last one: the last loss has the longest past
    return steps[np.unique(np.linspace(len(steps) - 1, 0, most).round().astype(int))].tolist()


def lean(data: Gradients) -> Gradients:
    """Return the gradients without the triangle."""
    return data._replace(triangle=None)


def text(subject: Subject, data: Gradients | None, screen: Screen) -> list[str]:
    """Return the norms as bars of a logarithmic height, and how the gradient of one loss changes with the lag."""
    if data is None:
        return []
    lines = []
    for leaf, norms in data.norms.items():
        seen = norms[: subject.lengths[screen.example], screen.example]
        # a norm of 0 has no logarithm; 1e-30 is below all that float32 gradients show
        along = fit(np.log10(np.maximum(seen, 1e-30)), screen.columns)
        low, high = along.min(), along.max()
        bars = "".join(screen.bars[int(v * 7.999)] * screen.each for v in (along - low) / max(high - low, 1e-9))
        lines += [f"  |dL/d{own_name(leaf)}|, logarithmic from {10**low:.2g} to {10**high:.2g}", row("", bars)]
    for leaf, rows in data.lags.items():
        lines += folded(_said(leaf, rows[screen.example]), screen.width, "  ")
    return lines


def _said(leaf: str, one: Verdict) -> str:
    if not one.losses:
        return ""
    word = "within a factor of 10" if one.word == "steady" else one.word
    return (
        f"gradient of one loss: |dL/d{own_name(leaf)}| times {math.exp(one.slope):.3g} for each step further back "
        f"({math.exp(one.lowest):.3g} to {math.exp(one.highest):.3g} over {one.losses} losses), for up to {one.span} "
        f"steps: {word}"
    )


def facts(_: Subject, data: Gradients | None) -> dict[str, Any]:
    """Return the norms, and for each part of the carry a verdict for each sequence."""
    rows = data and {leaf: [one._asdict() for one in found] for leaf, found in data.lags.items()}
    return {"gradient_norms": data and data.norms, "gradient_of_one_loss": rows}

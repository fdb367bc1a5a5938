"""Hold a gate, or replace the input of a step: the page runs the cell again."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxseq.study.checks import Check
from jaxseq.study.part import said_of
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, folded
from jaxseq.study.views import NOTHING, Nothing
from jaxseq.study.whatif import held_gates

ENDS = (0.0, 1.0)
"""Values at which whole gates are held."""


class Held(NamedTuple):
    """Whole gates held.

    Fields:
      values: that all units of a gate are held at.
      change: of the loss of all sequences together, for each of these values; NaN where a change has no result.
    """

    values: list[float]
    change: dict[str, np.ndarray]


def gather(seen: Seen) -> tuple[Held | Nothing, list[Check]]:
    """Return the change of the loss with each whole gate held, for a terminal.

    A page holds gates itself, with `Subject.live`, and checks its arithmetic when it is opened.
    """
    part, gates = seen.part, list(seen.subject.gates)
    # the page holds gates live; only a terminal needs numbers computed before
    if not seen.briefly or seen.subject.outcome is None:
        return NOTHING, []
    options: dict[str, Any] = {"loss": part.loss, "values": ENDS, "gates": gates}
    found = jax.jit(lambda params: part.run._replace(params=params).through(held_gates, **options))(part.params)
    return Held(list(ENDS), {name: np.asarray(found[name]) for name in gates if name in found}), []


def text(_: Subject, data: Held | Nothing, screen: Screen) -> list[str]:
    """Return the change of the loss when each whole gate is held; a change without a result is undefined."""
    if not isinstance(data, Held) or not data.change:
        return []
    said = [
        f"{said_of(gate)} := {value:g} {f'{by:+.3g}' if math.isfinite(by) else 'undefined'}"
        for gate, effects in data.change.items()
        for value, by in zip(data.values, map(float, effects), strict=True)
    ]
    line = f"change of the loss of all sequences with all units of a gate held: {'; '.join(said)}"
    return folded(line, screen.width, "  ")


def facts(_: Subject, data: Held | Nothing) -> dict[str, Any]:
    """Return the changes of the loss."""
    return {"held_gates": data._asdict() if isinstance(data, Held) else None}

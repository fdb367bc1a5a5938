"""The loss' dependence on each unit of each gate: its change when that one is held."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from jaxseq.study.checks import Check, own_values, undefined
from jaxseq.study.subject import Seen
from jaxseq.study.whatif import atlas

SLOW = True

HELD = 100_000_000_000
"""Most floating-point operations that an atlas may take; above, a page has none."""

VALUES = (0.0, 1.0, "mean")
"""Values that the units are held at."""


class Changes(NamedTuple):
    """Changes of the loss.

    Fields:
      gates: their names.
      values: that their units are held at.
      change: of the loss of all sequences together; NaN where a change has no result.
    """

    gates: list[str]
    values: list[float | str]
    change: Annotated[np.ndarray, "G V H"]


def gather(seen: Seen) -> tuple[Changes | None, list[Check]]:
    """Return the change of the loss with each unit of each gate of the layer held; nothing where that takes long."""
    part = seen.part
    # one picture has one number of columns: gates of another size than the units are not in it
    shown = list(seen.subject.gates)
    runs = len(shown) * seen.subject.H * len(VALUES)
    if seen.subject.outcome is None or runs * part.forward() > HELD or not shown:
        return None, []
    options: dict[str, Any] = {"loss": part.loss, "values": VALUES, "gates": shown}
    found = jax.jit(lambda params: part.run._replace(params=params).through(atlas, **options))(part.params)
    if not found.loss:
        return None, []
    gates = [name for name in shown if name in found.loss]
    data = Changes(gates, list(VALUES), np.stack([np.asarray(found.loss[name]) for name in gates]))
    return data, [own_values(part.loss, part.run, gates), undefined(data.change)]


def lean(_: Changes) -> None:
    """Return nothing: a thin page goes without."""

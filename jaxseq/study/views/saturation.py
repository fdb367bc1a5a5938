"""The share of steps in which each gate is shut or wide open."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxseq.study.checks import Check
from jaxseq.study.part import said_of
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, folded
from jaxseq.study.views.half import over


class GateUse(NamedTuple):
    """One gate.

    Fields:
      closed: the share of steps at which a unit's gate is below 0.1.
      open: the share above 0.9.
      histogram: of the values of all units, as shares.
    """

    closed: Annotated[np.ndarray, "H"]
    open: Annotated[np.ndarray, "H"]
    histogram: np.ndarray


class Saturations(NamedTuple):
    """Gates between 0 and 1, by name."""

    gates: dict[str, GateUse]


def gather(seen: Seen) -> tuple[Saturations | None, list[Check]]:
    """Return how each gate between 0 and 1 is used over the corpus; nothing without such a gate."""
    gates = {}
    for name in seen.between:
        # histograms of all units together: one of each would not be readable
        share, counts = seen.corpus.saturation[name], np.asarray(seen.corpus.histograms[name]).sum(1)
        histogram = (counts / max(1, counts.sum())).astype(np.float32)
        gates[name] = GateUse(np.asarray(share.closed), np.asarray(share.open), histogram)
    return Saturations(gates) if gates else None, []


def text(subject: Subject, found: Saturations | None, screen: Screen) -> list[str]:
    """Return the mean shares of each gate."""
    if found is None:
        return []
    ends = [f"{said_of(name)} {np.mean(use.closed):.0%}, {np.mean(use.open):.0%}" for name, use in found.gates.items()]
    return folded(f"saturation, below 0.1 and above 0.9: {'; '.join(ends)} ({over(subject)})", screen.width, "  ")


def facts(_: Subject, found: Saturations | None) -> dict[str, Any]:
    """Return the shares of each unit."""
    gates = {} if found is None else found.gates
    return {"saturation": {name: {"closed": use.closed, "open": use.open} for name, use in gates.items()}}

"""How often each gate is shut or wide open."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from jaxseq.notation import Array
from jaxseq.study._saturation import histogram, saturation
from jaxseq.study.checks import Check
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, folded


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
    """Return how each gate between 0 and 1 is used; nothing where there is none."""
    gates = {name: seen.subject.gates[name] for name in seen.between}

    @jax.jit
    def look(gates: dict, mask: Array) -> dict[str, Any]:
        return {name: (saturation(a, mask), histogram(a, mask).sum(1)) for name, a in gates.items()}

    found = {}
    for name, (share, counts) in jax.device_get(look(gates, seen.mask)).items():
        found[name] = GateUse(share.closed, share.open, (counts / max(1, counts.sum())).astype(np.float32))
    return Saturations({name: found[name] for name in gates}) if gates else None, []


def text(_: Subject, found: Saturations | None, screen: Screen) -> list[str]:
    """Return the mean shares of each gate."""
    if found is None:
        return []
    ends = [f"{name} {np.mean(use.closed):.0%}, {np.mean(use.open):.0%}" for name, use in found.gates.items()]
    return folded(f"saturation, below 0.1 and above 0.9: {'; '.join(ends)}", screen.width, "  ")


def facts(_: Subject, found: Saturations | None) -> dict[str, Any]:
    """Return the shares of each unit."""
    gates = {} if found is None else found.gates
    return {"saturation": {name: {"closed": use.closed, "open": use.open} for name, use in gates.items()}}

"""Every gate and state over time, units sorted by how long they retain."""

from __future__ import annotations

import numpy as np

from jaxseq.study._drawing import label_of
from jaxseq.study.checks import Check, finite
from jaxseq.study.part import own_name, said_of
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import KINDS, Screen, fit, painted, row
from jaxseq.study.views import NOTHING, Nothing


def gather(seen: Seen) -> tuple[Nothing, list[Check]]:
    """Return the share of gates and states that are not finite; every part has the drawn data."""
    return NOTHING, [finite((seen.subject.gates, seen.subject.carries))]


def text(subject: Subject, _: Nothing, screen: Screen) -> list[str]:
    """Return some units of each gate as blocks, with their half-lives where the gate retains."""
    T, H, b = subject.lengths[screen.example], subject.H, screen.example
    chosen = [subject.order[n] for n in np.unique(np.linspace(0, H - 1, min(screen.units, H)).round().astype(int))]
    half, lines = subject.views.get("half"), []
    for gate, values in subject.gates.items():
        # a pre-activation has no bounds: tanh brings it to the scale of the others
        drawn = np.tanh(values[:T, b]) if own_name(gate) == "a" else values[:T, b]
        signed = gate in subject.signed
        keeps = subject.keep is not None and subject.keep.gate == gate
        lines.append(_title(subject, gate, keeps))
        for unit in chosen:
            share = (drawn[:, unit] + 1) / 2 if signed else drawn[:, unit]
            life = ""
            if keeps and half is not None:
                life = f">{half.longest}" if half.censored[unit] else f"{float(half.life[unit]):.3g}"
            blocks = painted(fit(share, screen.columns), KINDS[signed], screen.each, screen)
            lines.append(row(str(unit), blocks, life))
    return lines


def _title(subject: Subject, gate: str, keeps: bool) -> str:
    if keeps and subject.keep is not None:
        ends = "0 retains, 1 overwrites" if subject.keep.inverted else "1 retains, 0 forgets"
        return f"  {said_of(gate)}  {ends}; half-life at the right"
    return f"  {label_of(gate, subject.roles)}"

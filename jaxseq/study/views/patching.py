"""The states and gates that carry the difference between two sequences, by putting values of one run into the other."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.study.checks import Check
from jaxseq.study.live import reads_source
from jaxseq.study.patches import patching
from jaxseq.study.subject import Seen

SLOW = True

WORK = 20_000_000_000
"""Most floating-point operations of all runs; of a longer sequence some steps are taken, evenly spread."""


class Patched(NamedTuple):
    """Runs of each sequence with values of the next one, the last one's of the first.

    Fields:
      names: of the states and gates that were put.
      steps: at which they were, each by itself.
      change: of the loss of the sequence.
      own: its loss as it is.
      other: the loss with all of the other's input, its own targets kept.
    """

    names: list[str]
    steps: Annotated[list[int], "S:T"]
    change: Annotated[np.ndarray, "G S B"]
    own: Annotated[np.ndarray, "B"]
    other: Annotated[np.ndarray, "B"]


def gather(seen: Seen) -> tuple[Patched | None, list[Check]]:
    """Return the changes of the loss; nothing for one sequence, a part that reads a source, or without predictions."""
    part, subject = seen.part, seen.subject
    if subject.outcome is None or subject.B < 2 or reads_source(part.cell):
        return None, []
    names = [*subject.carries, *(name for name in subject.gates if name not in subject.carries)]
    count = int(min(subject.T, WORK // (part.forward() * max(1, len(names)))))
    if count < 2:
        return None, []
    steps = np.unique(np.linspace(0, subject.T - 1, count).round().astype(int)).tolist()
    # sequence b gets the values of b + 1: every sequence is patched, in one program
    turned = lambda tree, axis: jax.tree.map(lambda a: jnp.roll(a, -1, axis), tree)  # noqa: E731

    @jax.jit
    def look(params: Any, xs: Any) -> Any:
        found = part.run._replace(params=params, xs=xs).through(
            patching, other=turned(xs, 1), other_mask=turned(part.real(), 1),
            other_carry=None if part.carry is None else turned(part.carry, 0),
            loss=lambda carry, outs: part.losses(outs).sum(0), names=names, steps=steps, whole=True,
        )  # fmt: skip
        return found.effects, found.own, found.other

    effects, own, other = jax.device_get(look(part.params, part.xs))
    shown = [name for name in names if name in effects]
    change = np.stack([effects[name][:, 0] for name in shown])
    return Patched(shown, steps, change, own, other), []


def lean(_: Patched) -> None:
    """Return nothing: a thin page goes without."""

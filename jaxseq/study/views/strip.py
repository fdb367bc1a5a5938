"""The sequence: its inputs, its predictions, and the loss of each step."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.study.checks import Check, summed
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, folded

WHOLE = True

COLUMNS = 3
"""The most columns of an input that are drawn."""


class Strip(NamedTuple):
    """The parts of the input that are drawn.

    Fields:
      xs: the input; None where it has too many columns.
    """

    xs: Annotated[np.ndarray | None, "T B D"]


def gather(seen: Seen) -> tuple[Strip, list[Check]]:
    """Return the input, and how far the losses of the steps are from the loss that the model's own code reports."""
    part, outcome = seen.part, seen.subject.outcome
    # the columns of an embedding are not curves that a reader could follow
    drawn = part.cell.takes_array and not part.cell.spatial and part.xs.shape[-1] <= COLUMNS
    # the page's losses are those that the model reports, or the page is about something else
    checks = [] if outcome is None or part.reported is None else [summed(jnp.asarray(outcome.losses), part.reported)]
    return Strip(np.asarray(part.xs) if drawn else None), checks


def text(subject: Subject, _: Strip, screen: Screen) -> list[str]:
    """Return the loss of the sequence."""
    if subject.outcome is None:
        return []
    total = float(subject.outcome.losses[: subject.lengths[screen.example], screen.example].sum())
    return folded(f"loss of this sequence {total:.4g}", screen.width, "  ")


def facts(subject: Subject, _: Strip) -> dict[str, Any]:
    """Return the loss of each step."""
    return {"losses": subject.outcome and subject.outcome.losses}

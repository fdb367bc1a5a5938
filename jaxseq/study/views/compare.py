"""Cells with equally many parameters side by side, on data that none was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxseq.study.checks import Check
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, folded

WHOLE = True


class Compare(NamedTuple):
    """One of the cells.

    Fields:
      parameters: how many, those of its readout included.
      loss: on new data.
      accuracy: likewise; None where it is not measured.
      steps: of training.
      losses: in training, after these steps.
    """

    parameters: int
    loss: float
    accuracy: float | None
    steps: np.ndarray
    losses: np.ndarray


def gather(seen: Seen) -> tuple[Compare | None, list[Check]]:
    """Return the scores of a part and how it was trained; nothing where it has none."""
    if seen.score is None:
        return None, []
    part, (loss, accuracy) = seen.part, seen.score
    count = sum(a.size for a in jax.tree.leaves((part.params, part.head)))
    steps, losses = (np.asarray(a, np.float32) for a in part.history)
    return Compare(count, float(loss), None if accuracy is None else float(accuracy), steps, losses), []


def across(subjects: Sequence[Subject]) -> list[Check]:
    """Return how much more parameters the largest of the cells has than the smallest, as a share."""
    counts = [found.parameters for one in subjects if (found := one.views.get("compare")) is not None]
    if not counts:
        return []
    half_a_unit = 1 / min(one.H for one in subjects)  # as a share of the parameters, which grow with H squared
    return [Check("matched", max(counts) / min(counts) - 1, max(0.05, half_a_unit))]


def text(_: Subject, found: Compare | None, screen: Screen) -> list[str]:
    """Return the scores."""
    if found is None:
        return []
    right = "" if found.accuracy is None else f", accuracy {found.accuracy:.0%}"
    return folded(f"on new data: loss {found.loss:.4f}{right}; {found.parameters} parameters", screen.width, "  ")


def facts(_: Subject, found: Compare | None) -> dict[str, Any]:
    """Return the scores."""
    return {"compare": found and {"parameters": found.parameters, "loss": found.loss, "accuracy": found.accuracy}}

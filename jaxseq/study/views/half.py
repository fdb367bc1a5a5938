"""How long each unit remembers: its half-life, from the geometric mean of the gate that retains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.study.checks import Check, known_half_lives
from jaxseq.study.memory import half_life
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, folded


class Half(NamedTuple):
    """Half-lives.

    Fields:
      life: in steps; 0 where it is censored.
      censored: whether it is longer than the longest sequence.
      mean: the geometric mean of the gate.
      median: of all units; inf where half of them are censored.
    """

    life: Annotated[np.ndarray, "H"]
    censored: Annotated[list[bool], "H"]
    mean: Annotated[np.ndarray, "H"]
    median: float


def gather(seen: Seen) -> tuple[Half | None, list[Check]]:
    """Return the half-lives; nothing where no gate retains."""
    if seen.keep is None:
        return None, []
    found = half_life(jnp.asarray(seen.keep.of(seen.gates)), jnp.asarray(seen.mask))
    steps, censored = np.asarray(found.half_life), np.asarray(found.censored)
    median = float(np.median(np.where(censored, np.inf, steps)))
    life = np.where(censored, np.float32(0), steps)
    return Half(life, censored.tolist(), np.asarray(found.geometric_mean), median), []


def across(_: Sequence[Subject]) -> list[Check]:
    """Return how far half-lives that are known are from what they must be."""
    return [known_half_lives()]


def text(subject: Subject, half: Half | None, screen: Screen) -> list[str]:
    """Return the shortest and the longest half-life, and how many are longer than what was seen."""
    if half is None:
        return folded("no gate retains, so there is no half-life", screen.width, "  ")
    seen = [float(v) for v, censored in zip(half.life, half.censored, strict=True) if not censored]
    said = [f"{min(seen):.3g} to {max(seen):.3g} steps"] if seen else []
    if count := sum(half.censored):
        said.append(f"longer than the {max(subject.lengths)} steps seen in {count} of {subject.H} units")
    return folded(f"half-life: {'; '.join(said)}", screen.width, "  ")


def facts(_: Subject, half: Half | None) -> dict[str, Any]:
    """Return the half-life of each unit."""
    return {"half_life": half and {"steps": half.life, "longer_than_seen": half.censored, "mean": half.mean}}

"""The half-life of each unit, from the geometric mean of the gate that retains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxseq.study.checks import Check, known_half_lives
from jaxseq.study.memory import outlasting
from jaxseq.study.part import own_name
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, folded


class Half(NamedTuple):
    """Half-lives.

    Fields:
      life: in steps; 0 where it is censored, NaN where the gate was negative.
      censored: whether it is longer than the longest sequence.
      mean: the geometric mean of the gate.
      longest: the steps of the longest sequence.
      lag: the steps over which something must be remembered.
      outlast: how many units hold more than half for longer than that.
      of: how many units there are.
    """

    life: Annotated[np.ndarray, "H"]
    censored: Annotated[list[bool], "H"]
    mean: Annotated[np.ndarray, "H"]
    longest: int
    lag: int
    outlast: int
    of: int


def gather(seen: Seen) -> tuple[Half | None, list[Check]]:
    """Return the half-lives; nothing where no gate retains."""
    if seen.keep is None:
        return None, []
    # over the whole corpus, not the sequences on the page: a half-life needs many steps
    found, lag = seen.corpus.half_lives[seen.keep.gate], seen.part.lag
    steps, censored, longest = np.asarray(found.half_life), np.asarray(found.censored), int(found.longest)
    data = Half(
        np.where(censored, np.float32(0), steps), censored.tolist(), np.asarray(found.geometric_mean), longest,
        longest if lag is None else lag, int(outlasting(found, lag)), len(steps),
    )  # fmt: skip
    return data, []


def across(_: Sequence[Subject]) -> list[Check]:
    """Return the errors of half-lives that are known in closed form."""
    return [known_half_lives()]


def text(subject: Subject, half: Half | None, screen: Screen) -> list[str]:
    """Return the shortest and the longest half-life, how many outlast the longest sequence, and the lag."""
    if half is None:
        return folded(_without_gate(subject), screen.width, "  ")
    lives = zip(half.life, half.censored, strict=True)
    seen = [float(v) for v, censored in lives if not censored and math.isfinite(v)]
    said = [f"{min(seen):.3g} to {max(seen):.3g} steps"] if seen else []
    if count := sum(half.censored):
        said.append(f"longer than the {half.longest} steps seen in {count} of {half.of} units")
    said.append(f"{half.outlast} of {half.of} units outlast the lag of {half.lag} steps ({over(subject)})")
    return folded(f"half-life: {'; '.join(said)}", screen.width, "  ")


def over(subject: Subject) -> str:
    """Return how much half-lives and saturation are taken over."""
    sequences, steps = subject.pooled.sequences, subject.pooled.steps
    return f"over {sequences} sequence{'s' * (sequences != 1)}, {steps} step{'s' * (steps != 1)}"


def _without_gate(subject: Subject) -> str:
    if subject.retained is None:
        return "no gate retains a part of the state as it is, so there is no half-life"
    leaves, (smallest, largest), (low, high) = subject.retained
    return (
        f"no gate retains; each step multiplies {', '.join(map(own_name, leaves))} by the same map, with eigenvalues "
        f"of modulus {smallest:.3g} to {largest:.3g}: half-lives of {low:.3g} to {high:.3g} steps"
    )


def facts(_: Subject, half: Half | None) -> dict[str, Any]:
    """Return the half-life of each unit."""
    if half is None:
        return {"half_life": None}
    known = {"steps": half.life, "longer_than_seen": half.censored, "mean": half.mean}
    return {"half_life": {**known, "lag": half.lag, "units_that_outlast_it": half.outlast}}

"""The path of the state in its principal components, and the points where it settles at constant input."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.errors import InputError
from jaxseq.study._fixed_points import KINDS_OF_POINTS, fixed_points
from jaxseq.study._trajectories import Components, project, trajectories, vectors
from jaxseq.study.checks import Check
from jaxseq.study.gradients import rows_of
from jaxseq.study.live import reads_source, row_of
from jaxseq.study.part import Part
from jaxseq.study.subject import Seen

SLOW = WHOLE = True

STARTS, DESCENT, POLISH, MOST = 32, 100, 100, 12
"""Of the search for fixed points: visited states that it starts from, its steps, and the most points that are shown."""

WORK = 200_000_000_000
"""Most floating-point operations of the search; of a larger state the paths are shown alone."""


class Points(NamedTuple):
    """Fixed and slow points of the step with its input held.

    Fields:
      held: the label of the input that is held, "" for the mean of all inputs.
      at: in principal components.
      ways: the directions of their first eigenvectors, likewise.
      kinds: each one of `KINDS_OF_POINTS`.
      fixed: whether the step leaves the point where it is; else it is slow.
      speeds: half the squared length of its step.
      sizes: of the first eigenvalue.
      angles: of the rotation.
      found: how many of the starts came there.
      starts: how many there were.
      total: how many distinct points were found; those after the first are not shown.
    """

    held: str
    at: Annotated[np.ndarray, "M K"]
    ways: Annotated[np.ndarray, "M K"]
    kinds: Annotated[list[str], "M"]
    fixed: Annotated[list[bool], "M"]
    speeds: Annotated[np.ndarray, "M"]
    sizes: Annotated[np.ndarray, "M"]
    angles: Annotated[np.ndarray, "M"]
    found: Annotated[list[int], "M"]
    starts: int
    total: int


class Paths(NamedTuple):
    """The states of all sequences.

    Fields:
      points: in K principal components: 2, or 1 of one state alone or of states of one number.
      shares: of the variance, along each of them.
      settled: where the state settles; None where `why` says why it was not looked for.
      why: see settled.
    """

    points: Annotated[np.ndarray, "T B K"]
    shares: Annotated[np.ndarray, "K"]
    settled: Points | None
    why: str


def gather(seen: Seen) -> tuple[Paths, list[Check]]:
    """Return the paths of the state, and its fixed points, with the largest step away from one that is called fixed."""
    run = seen.part.run
    *states, N = jax.eval_shape(
        lambda carries: vectors(run.cell, carries, rows_of(run.cell, run.xs)), seen.run.carries
    ).shape
    # there are as many components as states, and as numbers in one, at most
    count = min(2, math.prod(states), N)
    look = jax.jit(lambda params, xs: run._replace(params=params, xs=xs).through(trajectories, count=count))
    found = look(run.params, run.xs)
    shares = np.asarray(found.components.shares)
    try:
        settled, checks = _settled(seen, found.components)
        why = ""
    except InputError as error:
        settled, checks, why = None, [], str(error).splitlines()[0]
    return Paths(np.asarray(found.points), shares, settled, why), checks


def _settled(seen: Seen, components: Components) -> tuple[Points, list[Check]]:
    part, subject, N = seen.part, seen.subject, components.mean.shape[0]
    # a QR of a [2N, N] matrix for each start and step is most of the work
    if (work := 4 * STARTS * POLISH * N**3) > WORK:
        raise InputError(f"a search with {N} numbers of state takes {work:.1g} operations, more than {WORK:.1g}")
    if reads_source(part.cell):  # which belongs to a row
        part = _first_row(part)
    held, x = _held(seen)

    @jax.jit
    def look(params: Any, xs: Any, x: Any) -> Any:
        run = part.run._replace(params=params, xs=xs)
        return run.through(fixed_points, x=x, count=STARTS, descent=DESCENT, polish=POLISH, most=MOST)

    found = jax.tree.map(np.asarray, look(part.params, part.xs, x))
    real = found.real
    # of a complex pair the real part spans the plane's first direction
    first = found.eigenvectors[real][:, :, 0].real
    data = Points(
        held=held, at=np.asarray(project(components, found.states[real])),
        ways=np.asarray(project(components, first, directions=True)),
        kinds=[KINDS_OF_POINTS[kind] for kind in found.kind[real]], fixed=found.fixed[real].tolist(),
        speeds=found.speed[real], sizes=np.abs(found.eigenvalues[real][:, 0]), angles=found.angle[real],
        found=found.found[real].tolist(), starts=min(STARTS, int(seen.mask.sum()) + subject.B), total=int(found.total),
    )  # fmt: skip
    # speed is half the squared length of a step
    moved = np.sqrt(2 * found.speed[real & found.fixed])
    return data, [Check("fixed", float(moved.max(initial=0)), 1e-4)]


def _first_row(part: Part) -> Part:
    """Return the part as it reads its first row, without an axis for the batch."""
    return part._replace(
        cell=row_of(part.cell, 0),
        xs=jax.tree.map(lambda a: a[:, 0], part.xs),
        carry=None if part.carry is None else jax.tree.map(lambda a: a[0], part.carry),
        mask=None if part.mask is None else part.mask[:, 0],
    )


def _held(seen: Seen) -> tuple[str, Any]:
    """Return the label and the value of the commonest word of the input, or of numbers the mean."""
    part, subject = seen.part, seen.subject
    if part.cell.takes_array and (subject.outcome is None or subject.outcome.kind == "value") and not part.swaps:
        words = [word for row, n in zip(subject.inputs, subject.lengths, strict=True) for word in row[:n]]
        # labels that are all different, such as dates, are not words: the mean is held
        if subject.outcome is not None or len(set(words)) == len(words):
            mask = jnp.asarray(seen.mask)[..., None]
            return "", jnp.mean(part.xs, (0, 1), where=jnp.broadcast_to(mask, part.xs.shape))
    places = [(t, b) for b, n in enumerate(subject.lengths) for t in range(n)]
    commonest = Counter(subject.inputs[b][t] for t, b in places).most_common(1)[0][0]
    t, b = next((t, b) for t, b in places if subject.inputs[b][t] == commonest)
    return commonest, jax.tree.map(lambda a: a[t, b], part.xs)

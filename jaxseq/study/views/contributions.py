"""How much of each input is kept: the summands of a state, and those of a prediction."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import gru, lstm
from jaxseq.notation import Array
from jaxseq.study._contextual import contextual
from jaxseq.study._contributions import contributions
from jaxseq.study.checks import Check
from jaxseq.study.subject import Seen
from jaxseq.study.views.flow import losses_of

SLOW = True

SPANS = 50_000_000
"""Most numbers of state, over all decompositions; for a larger run only the state is decomposed."""


class Kept(NamedTuple):
    """The part of a prediction that each input accounts for by itself, by contextual decomposition.

    The page computes the summands of the state itself, from gates and states.

    Fields:
      steps: of the predictions.
      said: the part of each input in the logit of the likeliest word, or to the first value; None where the cell or its
        readout cannot be decomposed.
    """

    steps: Annotated[list[int], "S:T"]
    said: Annotated[np.ndarray | None, "B S T"]


def gather(seen: Seen) -> tuple[Kept | None, list[Check]]:
    """Return the parts of predictions; nothing where no gate retains. The state must be the sum of its parts."""
    part, subject, keep = seen.part, seen.subject, seen.keep
    if keep is None or keep.leaf not in subject.carries:
        return None, []
    # the last real step of each row: the sum with the most parts
    last = (jnp.asarray(subject.lengths) - 1)[None]
    run = part.run
    look = jax.jit(
        lambda params, xs: run._replace(params=params, xs=xs).through(contributions, steps=last, keep=keep).error
    )
    error = look(run.params, run.xs)
    checks = [Check("parts", float(error), 1e-5)]
    # a span for each input, states [T, B, H] of each, h and c in two parts
    small = subject.T**2 * subject.B * subject.H * 4 <= SPANS
    if subject.outcome is None or part.head is None or part.cell not in (lstm, gru) or not small:
        return Kept([], None), checks
    steps = losses_of(part)
    said, apart = _said(seen, np.asarray(steps))
    return Kept(steps, said), [*checks, Check("apart", apart, 1e-4)]


def _said(seen: Seen, steps: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the part of each input in a prediction, ``[B, S, T]``, and how far span + rest is from the state."""
    part, subject = seen.part, seen.subject
    assert part.head is not None and subject.outcome is not None
    W = part.head[0]
    ids = subject.outcome.ids
    best = jnp.zeros((len(steps), subject.B), int) if ids is None else jnp.asarray(ids[steps, :, 0])
    columns = jnp.moveaxis(W[:, best], 0, -1)  # [S, B, H]

    @jax.jit
    def look(params: Any, xs: Array) -> tuple[Array, Array]:
        run = part.run._replace(params=params, xs=xs)

        def of(span: Array) -> tuple[Array, Array]:
            found = run.through(contextual, span=span)
            sums = jnp.where(jnp.asarray(seen.mask)[..., None], found.span["h"] + found.rest["h"], 0)
            return (found.span["h"][steps] * columns).sum(-1), sums

        # span t is only input t
        spans = jnp.broadcast_to(jnp.eye(subject.T, dtype=bool)[:, :, None], (subject.T, subject.T, subject.B))
        said, sums = jax.lax.map(of, spans, batch_size=16)
        # any span will do: span + rest is the state for each
        return said, sums[-1]

    said, sums = look(part.params, part.xs)
    state = np.where(seen.mask[..., None], subject.carries["h"], 0)
    return np.moveaxis(np.asarray(said), 0, -1).swapaxes(0, 1), float(np.abs(np.asarray(sums) - state).max(initial=0))


def lean(data: Kept) -> Kept:
    """Return the view with only the parts of the state, which the page computes."""
    return Kept([], None) if data.said is not None else data

"""Which inputs each loss depends on: the gradient of each step's loss with respect to each input."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from jaxseq.notation import Tree
from jaxseq.study._connectivity import Connectivity, connectivity
from jaxseq.study.checks import Check, inputs_by_differences
from jaxseq.study.subject import Seen
from jaxseq.study.views.flow import losses_of

SLOW = WHOLE = True


class Connected(NamedTuple):
    """Gradients of losses by inputs.

    Fields:
      steps: of the losses.
      norms: of the gradients.
    """

    steps: Annotated[list[int], "S:T"]
    norms: Annotated[np.ndarray, "B S T"]


def gather(seen: Seen) -> tuple[Connected | None, list[Check]]:
    """Return the norms of the gradients; nothing where nothing is predicted."""
    part = seen.part
    if seen.subject.outcome is None:
        return None, []
    steps = losses_of(part)

    @jax.jit
    def look(params: Any, xs: Tree) -> Connectivity:
        run = part.run._replace(params=params, xs=xs)
        return run.through(connectivity, losses=lambda carry, outs: part.losses(outs), steps=steps)

    found = look(part.params, part.xs)
    # [S, T, B] to [B, S, T]
    data = Connected(steps, np.moveaxis(np.asarray(found.norms), 2, 0))
    # the check scales an input, which needs a single array
    if not isinstance(part.xs, jax.Array):
        return data, []
    return data, [inputs_by_differences(lambda outs: part.losses(outs)[steps[-1]], part.run, found.products[-1])]


def lean(_: Connected) -> None:
    """Return nothing: a thin page goes without."""

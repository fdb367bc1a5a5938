"""The same sequences through snapshots of training."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._unroll import trace
from jaxseq.notation import Array, Tree
from jaxseq.study._replay import along
from jaxseq.study._saturation import histogram
from jaxseq.study.checks import Check
from jaxseq.study.subject import Seen
from jaxseq.study.timelines import units_of
from jaxseq.trees import named_leaves

SLOW = True


class Snapshots(NamedTuple):
    """The measurements of each snapshot.

    Fields:
      steps: of training.
      loss: of all sequences; None where nothing is predicted.
      histograms: of each gate's values, as shares.
      means: of each gate.
    """

    steps: list[int]
    loss: Annotated[np.ndarray | None, "M"]
    histograms: Annotated[dict[str, np.ndarray], "M V"]
    means: Annotated[dict[str, np.ndarray], "M"]


def gather(seen: Seen) -> tuple[Snapshots | None, list[Check]]:
    """Return the loss, and of the gates a histogram and the mean, at each snapshot; nothing without snapshots."""
    part, names = seen.part, seen.between
    if part.snapshots is None:
        return None, []
    steps, kept = part.snapshots
    real = part.real()

    @jax.jit
    def look(kept: Any, xs: Tree) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        def one(model: Any) -> tuple[Array, dict[str, Array], dict[str, Array]]:
            # where more than params changed, such as the inputs of a decoder, the whole part is made again
            if part.remade is not None:
                then = part.remade(model)
            else:
                params, predict = model
                then = part._replace(params=params, predict=predict, xs=xs)
            _, run = then.run.through(trace)
            found = {name: units_of(a) for name, a in named_leaves(run.gates).items() if name in names}
            counts = {name: histogram(a, real).sum(1) for name, a in found.items()}
            means = {name: a.mean(where=jnp.broadcast_to(real[..., None], a.shape)) for name, a in found.items()}
            loss = jnp.zeros(()) if seen.subject.outcome is None else then.losses(run.outs).sum()
            return loss, counts, means

        return along(one, kept)

    loss, counts, means = jax.device_get(look(kept, part.xs))
    shares = {name: (a / a.sum(1, keepdims=True)).astype(np.float32) for name, a in counts.items()}
    return Snapshots(list(steps), None if seen.subject.outcome is None else loss, shares, means), []

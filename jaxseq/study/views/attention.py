"""Where in the source a part looked, at each step."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.study.attention import coverage, entropy
from jaxseq.study.checks import Check, rows_of_attention
from jaxseq.study.subject import Seen

WHOLE = True


class Looks(NamedTuple):
    """Attention.

    Fields:
      weights: of each step, over the source.
      source: its labels.
      entropy: of each row of weights, nats.
      coverage: the weights of each place in sum.
      scores: before the softmax; None where they are not taken apart.
      parts: the largest summands of each score, and `units` that gave them.
      units: see parts.
    """

    weights: Annotated[np.ndarray, "T B P"]
    source: Annotated[list[list[str]], "B P"]
    entropy: Annotated[np.ndarray, "T B"]
    coverage: Annotated[np.ndarray, "B P"]
    scores: Annotated[np.ndarray | None, "T B P"]
    parts: Annotated[np.ndarray | None, "T B P K"]
    units: Annotated[np.ndarray | None, "T B P K"]


def gather(seen: Seen) -> tuple[Looks | None, list[Check]]:
    """Return the weights, their entropy and coverage; nothing where the part reads no source."""
    part = seen.part
    if part.weights is None:
        return None, []
    weights, scores = jnp.asarray(part.weights), part.scores or {}
    data = Looks(
        np.asarray(weights),
        [list(row) for row in part.source],
        np.asarray(entropy(weights)),
        np.asarray(coverage(weights, jnp.asarray(seen.mask))),
        *(scores.get(name) for name in ("scores", "parts", "units")),
    )
    return data, rows_of_attention(weights, part.source, seen.mask)

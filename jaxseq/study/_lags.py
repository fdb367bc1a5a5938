"""The gradient of one loss by lag: vanishing or exploding.

The gradient of a sum of losses grows towards the past in any case, since more losses come after an earlier state.
So the words follow from the rows of `triangle`, each of which is the gradient of the loss of one step. They agree with
the largest Lyapunov exponent of the same steps (`jaxseq.study.lyapunov`): a gradient goes back through the transposes
of the Jacobians that carry a change forward, and their products have the same singular values. The exponent is the
most that any gradient can grow by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.errors import InputError
from jaxseq.notation import Array
from jaxseq.study.gradients import slope

FACTOR = 10.0
"""A gradient that changes by less than this factor over the whole lag neither vanishes nor explodes."""


class Lags(NamedTuple):
    """How the gradient of each of S losses changes with the lag, each ``[S, B]``.

    Fields:
      slopes: nats for each step further back; -inf where the gradient is exactly 0 from some state on. NaN where the
        loss is at a padded step or reaches fewer than two states.
      spans: int, the real steps from the loss back to the first one.
    """

    slopes: Array
    spans: Array


def lags(norms: Array, mask: Array | None = None, *, steps: Sequence[int] | None = None) -> Lags:
    """Return how fast the gradient of each loss changes with the lag.

    Args:
      norms: ``[S, T, B]``, a part of the carry of `triangle`.
      mask: bool ``[T, B]``, True where a step is real.
      steps: the s of the losses, as given to `triangle`; all T by default.

    Raises:
      InputError: if the shapes do not fit.

    Example:
      >>> norms = jnp.array([[1.0, 0, 0], [0.5, 1, 0], [0.25, 0.5, 1]])[..., None]
      >>> found = lags(norms)
      >>> jnp.exp(found.slopes[1:, 0]).round(5).tolist(), found.spans[:, 0].tolist()
      ([0.5, 0.5], [0, 1, 2])
    """
    norms = jnp.asarray(norms)
    at = jnp.arange(norms.shape[0]) if steps is None else jnp.asarray(np.asarray(steps, int))
    real = jnp.ones(norms.shape[1:], bool) if mask is None else jnp.asarray(mask)
    if norms.ndim != 3 or real.shape != norms.shape[1:] or at.shape != norms.shape[:1]:
        raise InputError(
            f"lags: expected norms [S, T, B], a mask [T, B] and S steps; got {norms.shape}, {real.shape} and {at.shape}"
        )
    # a state after the loss has no part in it
    before = jnp.arange(norms.shape[1])[None] <= at[:, None]  # [S, T]
    there = jnp.broadcast_to(real[None], norms.shape) & jnp.broadcast_to(before[..., None], norms.shape)
    # norms of 0 do not count in `slope`: states after the loss and padding are set to 0
    found = jax.vmap(slope)(jnp.where(there, norms, jnp.zeros_like(norms)))
    # a gradient of exactly 0 before the first non-zero one was lost on the way back: no finite slope describes that
    reached = there & (norms != 0)
    first = jnp.argmax(reached, axis=1)[:, None]
    lost = there & (jnp.arange(norms.shape[1])[None, :, None] < first) & reached.any(1, keepdims=True)
    found = jnp.where(lost.any(1), jnp.full_like(found, -jnp.inf), found)
    return Lags(found, jnp.maximum(there.sum(1) - 1, 0))


class Verdict(NamedTuple):
    """How the gradient of one loss changes with the lag, in one row.

    Fields:
      slope: the median over losses, nats for each step further back; NaN where there is no such loss.
      lowest: of these losses.
      highest: of these losses.
      losses: how many: those that reach at least half as far back as the one that reaches furthest.
      span: the steps that the furthest reaches back.
      word: "vanishing" or "exploding" if the median loss' gradient changes by more than `FACTOR` over its lag,
        "steady" if not, and "undefined" without a slope.
    """

    slope: float
    lowest: float
    highest: float
    losses: int
    span: int
    word: str


def verdicts(found: Lags) -> list[Verdict]:
    """Return a verdict for each row from the slopes of its losses.

    Example:
      >>> norms = 0.5 ** jnp.arange(9.0)[::-1, None]
      >>> verdicts(lags(norms[None], steps=[8]))[0].word
      'vanishing'
    """
    slopes, spans = np.asarray(found.slopes, float), np.asarray(found.spans)
    return [_verdict(slopes[:, b], spans[:, b]) for b in range(slopes.shape[1])]


def _verdict(slopes: np.ndarray, spans: np.ndarray) -> Verdict:
    known = ~np.isnan(slopes) & (spans > 0)
    longest = int(spans[known].max(initial=0))
    # losses near the start reach back a few steps only: their slopes are noise
    some = known & (2 * spans >= longest)
    if not some.any():
        return Verdict(math.nan, math.nan, math.nan, 0, 0, "undefined")
    middle = lambda a: float(np.sort(a)[(len(a) - 1) // 2])  # noqa: E731  (of two, the lower: no mean with -inf)
    # the change over the whole lag, in nats
    change = middle(slopes[some] * spans[some])
    word = "steady" if abs(change) <= math.log(FACTOR) else "vanishing" if change < 0 else "exploding"
    return Verdict(
        middle(slopes[some]), float(slopes[some].min()), float(slopes[some].max()), int(some.sum()), longest, word
    )

"""How much of a decoder is saturated: a sign of stalled training."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxseq import losses
from jaxseq._unroll import trace
from jaxseq.notation import Array, Params, Tree
from jaxseq.seq2seq._base import Seq2Seq

SATURATED = 0.98
"""A tanh beyond this, in either direction, counts as saturated: its gradient is below 4% of that at 0."""


class Saturated(NamedTuple):
    """Shares of values beyond 0.98 in absolute value, ``[]`` each.

    Fields:
      features: share among the features from which logits are computed; 0 for a model whose readout is a single
        function.
      states: share among every h of the decoder.
    """

    features: Array
    states: Array


def saturation(
    model: Seq2Seq, params: Params, source: Array, source_mask: Array, inputs: Array, mask: Array
) -> Saturated:
    """Return how much of a decoder is saturated when fed whole targets, without dropout.

    A share near 1 means that gradients no longer pass. This happened when the output bias started at 0, and features
    and states saturated to learn which words are common.

    Args:
      model: any model, also with a decoder of several layers.
      params: the model's parameters.
      source: int ``[S, B]``.
      source_mask: bool ``[S, B]``.
      inputs: int ``[T, B]``: SOS, then the target without its last token.
      mask: bool ``[T, B]``, where a target token is real.

    Example:
      >>> import jax
      >>> from jaxseq.seq2seq import translator
      >>> model, source, inputs = translator(), jnp.ones((6, 2), int), jnp.ones((5, 2), int)
      >>> params = model.init(jax.random.key(0), 50, 40, embedding=8, hidden=8)
      >>> [float(share) for share in saturation(model, params, source, source > 0, inputs, inputs > 0)]
      [0.0, 0.0]
    """
    encoded, ys = model.encode(params, source, source_mask), model.embed(params, inputs)
    _, seen = trace(model.reader(encoded), params.decoder, ys, encoded.carry)
    found = [] if model.features is None else [model.features(params, seen.outs, ys)]
    return Saturated(_beyond(found, mask), _beyond(_states(seen.carries), mask))


def _states(carry: Tree) -> list[Array]:
    """Return every leaf of a carry that is named h, at any depth."""
    if not isinstance(carry, tuple):
        return []
    fields: tuple[Any, ...] = getattr(carry, "_fields", ())
    own = [getattr(carry, "h")] if "h" in fields else []  # noqa: B009, a field of some carries alone
    return own + [h for inner in carry for h in _states(inner)]


def _beyond(arrays: list[Array], mask: Array) -> Array:
    if not arrays:
        return jnp.zeros((), jnp.float32)
    whole = jnp.concatenate(arrays, axis=-1)
    beyond = (jnp.abs(whole) > SATURATED).astype(jnp.float32)
    return losses.masked_mean(beyond, jnp.broadcast_to(mask[..., None], beyond.shape))

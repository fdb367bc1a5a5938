"""Losses over padded batches, and how they are reduced: the one place where a mask meets a loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxseq.notation import Array, wide


def cross_entropy(logits: Array, targets: Array, label_smoothing: float = 0.0) -> Array:
    """Return the loss of each token in nats, ``[T, B]``, of ``logits [T, B, V]`` and integer ``targets [T, B]``.

    With `label_smoothing` e the target distribution is ``(1 - e) one_hot + e / V`` (Szegedy et al. 2016,
    arXiv:1512.00567, section 7); 0 gives the negative log-likelihood.

    Example:
      >>> round(float(cross_entropy(jnp.zeros((1, 1, 4)), jnp.zeros((1, 1), int))[0, 0]), 4)  # ln 4
      1.3863
    """
    logp = jax.nn.log_softmax(logits)
    nll = -jnp.take_along_axis(logp, targets[..., None], axis=-1)[..., 0]
    return nll if label_smoothing == 0 else (1 - label_smoothing) * nll - label_smoothing * logp.mean(-1)


def masked_mean(losses: Array, mask: Array) -> Array:
    """Return the mean of the losses where the mask is True: over tokens, so that each real token weighs the same.

    Zero where nothing is real. A loss on padding never matters, NaN included.

    Example:
      >>> float(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
      2.0
    """
    return _over(jnp.where(mask, losses, jnp.zeros_like(losses)), mask.sum(), None)


def _over(losses: Array, count: Array, axis: int | None) -> Array:
    """Return the sum of losses over a count: in float32 at least, since bfloat16 counts to 256 and no further."""
    total = losses.astype(wide(losses.dtype)).sum(axis)
    return (total / jnp.maximum(count, 1).astype(total.dtype)).astype(losses.dtype)


def until_own_eos(logits: Array, forced: Array, eos: int) -> Array:
    """Return bool ``[T, B]``: True up to and with the step at which a free-running row itself predicts `eos`.

    Rows under teacher forcing (``forced [T, B]``) go on to the end. This is where the tutorial's program leaves its
    loop over target positions.

    Example:
      >>> logits = jnp.eye(3)[jnp.array([0, 2, 1])][:, None]  # its likeliest tokens are 0, 2, 1
      >>> until_own_eos(logits, jnp.zeros((3, 1), bool), eos=2)[:, 0].tolist()
      [True, True, False]
    """
    ended = ((jnp.argmax(logits, axis=-1) == eos) & ~forced).astype(jnp.int32)
    return jnp.cumsum(ended, axis=0) - ended == 0  # none before this step


def per_sentence(losses: Array, counted: Array, mask: Array) -> tuple[Array, Array]:
    """Return what the tutorial minimises and what it reports, of losses ``[T, B]``.

    It minimises a sentence's sum over `counted` steps, and reports that sum divided by the target's full length
    (``mask [T, B]``), also where a free-running row stopped early. Both are averaged over rows.

    Example:
      >>> counted = jnp.array([[True], [False]])
      >>> [float(a) for a in per_sentence(jnp.full((2, 1), 3.0), counted, jnp.ones((2, 1), bool))]
      [3.0, 1.5]
    """
    kept = jnp.where(counted & mask, losses, jnp.zeros_like(losses))
    sums = kept.astype(wide(losses.dtype)).sum(0)
    return sums.mean().astype(losses.dtype), _over(kept, mask.sum(0), 0).mean()


def mean_squared_error(predictions: Array, targets: Array) -> Array:
    """Return the mean over all elements of the squared differences."""
    return jnp.mean((predictions - targets) ** 2)

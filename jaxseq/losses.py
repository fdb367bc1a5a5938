"""Losses over padded batches, and how they are reduced: the one place where a mask meets a loss.

A loss has the dtype of its arguments; every sum in it is taken in float32 at least, since bfloat16 counts to 256 and no
further.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxseq.notation import Array, wide, widened
from jaxseq.tokens import check_tokens


def cross_entropy(logits: Array, targets: Array, label_smoothing: float = 0.0) -> Array:
    """Return the loss of each token in nats, ``[T, B]``, of ``logits [T, B, V]`` and integer ``targets [T, B]``.

    Targets that are traced are not checked: one above V - 1 has the loss NaN, -1 is the last, as in NumPy.

    With `label_smoothing` e the target distribution is ``(1 - e) one_hot + e / V`` (Szegedy et al. 2016,
    arXiv:1512.00567, section 7); 0 gives the negative log-likelihood.

    Raises:
      InputError: if targets are known, and one is not from 0 to V - 1.

    Example:
      >>> round(float(cross_entropy(jnp.zeros((1, 1, 4)), jnp.zeros((1, 1), int))[0, 0]), 4)  # ln 4
      1.3863
    """
    check_tokens("cross_entropy: targets", targets, logits.shape[-1])
    logp = jax.nn.log_softmax(widened(logits))
    loss = -jnp.take_along_axis(logp, targets[..., None], axis=-1)[..., 0]
    if label_smoothing != 0:
        loss = (1 - label_smoothing) * loss - label_smoothing * logp.mean(-1)
    return loss.astype(logits.dtype)


def masked_mean(losses: Array, mask: Array) -> Array:
    """Return the mean of the losses where the mask is True: over tokens, so that each real token weighs the same.

    Zero where nothing is real. A loss on padding never matters, NaN included.

    Example:
      >>> float(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
      2.0
    """
    return _over(jnp.where(mask, widened(losses), jnp.zeros((), wide(losses.dtype))), mask.sum(), None).astype(
        losses.dtype
    )


def _over(losses: Array, count: Array, axis: int | None) -> Array:
    """Return the sum of wide losses over a count."""
    return losses.sum(axis) / jnp.maximum(count, 1).astype(losses.dtype)


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
    kept = jnp.where(counted & mask, widened(losses), jnp.zeros((), wide(losses.dtype)))
    minimised, reported = kept.sum(0).mean(), _over(kept, mask.sum(0), 0).mean()
    return minimised.astype(losses.dtype), reported.astype(losses.dtype)


def mean_squared_error(predictions: Array, targets: Array) -> Array:
    """Return the mean over all elements of the squared differences."""
    return jnp.mean((widened(predictions) - widened(targets)) ** 2).astype(predictions.dtype)

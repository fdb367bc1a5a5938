"""Losses over padded batches, and how they are reduced: the one place where a mask meets a loss.

A loss has the dtype of its arguments; its sums are taken in at least float32, since bfloat16 counts exactly only to
256.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.notation import Array, Key, wide, widened
from jaxseq.tokens import check_tokens


def cross_entropy(logits: Array, targets: Array, label_smoothing: float = 0.0) -> Array:
    """Return the loss of each token in nats, ``[T, B]``, of ``logits [T, B, V]`` and integer ``targets [T, B]``.

    Traced targets are not checked: one above V - 1 has the loss NaN, and -1 is the last token, as in NumPy.

    With `label_smoothing` e the target distribution is ``(1 - e) one_hot + e / V`` (Szegedy et al. 2016,
    arXiv:1512.00567, section 7); 0 gives the negative log-likelihood.

    Raises:
      InputError: if targets are known (not traced), and one is not from 0 to V - 1.

    Example:
      >>> round(float(cross_entropy(jnp.zeros((1, 1, 4)), jnp.zeros((1, 1), int))[0, 0]), 4)  # ln 4
      1.3863
    """
    check_tokens("cross_entropy: targets", targets, logits.shape[-1])
    return _smoothed(widened(logits), targets, label_smoothing)[0].astype(logits.dtype)


def _smoothed(logits: Array, targets: Array, label_smoothing: float) -> tuple[Array, Array]:
    """Return the loss with and without label smoothing, of float32 or wider logits."""
    # log p is never materialised: [T, B, V] is by far the largest array in training
    whole = jax.nn.logsumexp(logits, axis=-1)
    nll = whole - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if label_smoothing == 0:
        return nll, nll
    return (1 - label_smoothing) * nll + label_smoothing * (whole - logits.mean(-1)), nll


BLOCK = 1 << 21
"""Number of logits that `output_loss` holds at once: 8 MB in float32."""
WHOLE_BELOW = 4096
"""Vocabulary size below which it holds all logits. Value and gradient of 960 positions of 192 features on 2 cores,
whole and in blocks: 12.7 and 16.4 ms with 1,500 words, 112 and 90 ms with 8,000, where blocks need 15 MB instead of 61.
"""


def output_loss(
    features: Array, W: Array, b: Array, targets: Array, label_smoothing: float = 0.0, block: int | None = None
) -> tuple[Array, Array]:
    """Return `cross_entropy` of ``features W + b`` with and without label smoothing, ``[T, B]`` each.

    With a large vocabulary the steps are processed in blocks, whose logits are recomputed for the gradient, so
    ``[T, B, V]`` is never held.

    Args:
      features: ``[T, B, F]``.
      W: ``[F, V]``, of the output layer.
      b: ``[V]``.
      targets: int ``[T, B]``.
      label_smoothing: as in `cross_entropy`.
      block: steps in a block; T gives a single block. None: about 2 million logits per block, or a single block below
        4096 words.

    Raises:
      InputError: if targets are known (not traced), and one is not from 0 to V - 1.

    Example:
      >>> losses, nll = output_loss(jnp.ones((5, 2, 3)), jnp.ones((3, 4)), jnp.ones(4), jnp.zeros((5, 2), int), block=2)
      >>> losses.shape, round(float(nll[0, 0]), 4)
      ((5, 2), 1.3863)
    """
    check_tokens("output_loss: targets", targets, W.shape[-1])
    (T, *batch), V = targets.shape, W.shape[-1]

    def of(features: Array, targets: Array) -> tuple[Array, Array]:
        logits = features @ W
        both = _smoothed(widened(logits + jnp.broadcast_to(b, logits.shape)), targets, label_smoothing)
        return both[0].astype(features.dtype), both[1].astype(features.dtype)

    if block is None:
        rows = math.prod(batch) if all(isinstance(n, int) for n in batch) else BLOCK
        block = T if V < WHOLE_BELOW else max(1, BLOCK // max(1, rows * V))
    if block >= T:
        return of(features, targets)
    count = -(-T // block)

    def in_blocks(a: Array) -> Array:
        padded = jnp.pad(a, [(0, count * block - T)] + [(0, 0)] * (a.ndim - 1))
        return padded.reshape(count, block, *a.shape[1:])

    # logits [block, B, V] live in one block at a time, forward and backward
    one = jax.checkpoint(lambda both: of(*both), prevent_cse=False)
    done = lax.map(one, (in_blocks(features), in_blocks(targets)))
    loss, nll = (a.reshape(count * block, *a.shape[2:])[:T] for a in done)
    return loss, nll


class Negatives(NamedTuple):
    """Words drawn as negatives: int ``ids [N]``, and ``log_q [N]``, the log-probabilities of drawing them."""

    ids: Array
    log_q: Array


def draw_negatives(key: Key, count: int, size: int) -> Negatives:
    """Draw `count` of `size` words with replacement, by Zipf's law: word k with about 1 / (k + 1). Consumes `key`.

    The probability is ``log((k + 2) / (k + 1)) / log(size + 1)``, which suits a vocabulary sorted by frequency. In
    another order `sampled_loss` is just as correct, but noisier.

    Example:
      >>> negatives = draw_negatives(jax.random.key(0), 1000, 50)
      >>> negatives.ids.shape, bool((negatives.ids < 25).mean() > 0.8)
      ((1000,), True)
    """
    scale = math.log(size + 1)
    drawn = jnp.exp(jax.random.uniform(key, (count,)) * scale).astype(jnp.int32) - 1
    ids = jnp.clip(drawn, 0, size - 1)
    k = ids.astype(jnp.float32)
    return Negatives(ids, jnp.log(jnp.log1p(1 / (k + 1)) / scale))


def sampled_loss(features: Array, W: Array, b: Array, targets: Array, negatives: Negatives) -> Array:
    """Return the cross entropy ``[T, B]`` with the softmax's sum estimated from drawn words.

        loss = log(e^s_t + (1 / N) sum_j [k_j != t] e^s_kj / q_kj) - s_t        s = features W + b

    The sum inside the logarithm is unbiased for any distribution of words; its logarithm is too low by half of the
    sum's relative variance, which falls as 1 / N. A step costs N + 1 columns of W instead of V. Validate and report
    with `output_loss`.

    Args:
      features: ``[T, B, F]``.
      W: ``[F, V]``, of the output layer.
      b: ``[V]``.
      targets: int ``[T, B]``.
      negatives: N words, the same for all positions, from `draw_negatives`.

    Reference: Jean, Cho, Memisevic & Bengio 2015, "On using very large target vocabulary for neural machine
    translation", arXiv:1412.2007, section 3.1 (the importance sampling of Bengio & Senecal 2008, here with Zipf's law).

    Raises:
      InputError: if targets are known (not traced), and one is not from 0 to V - 1.
    """
    check_tokens("sampled_loss: targets", targets, W.shape[-1])
    ids, log_q = negatives
    columns = partial(jnp.take, axis=-1, mode="clip")
    # s_t: [T, B, F] times the target's column of W, [F, T, B] moved to [T, B, F]
    own = widened((features * jnp.moveaxis(columns(W, targets), 0, -1)).sum(-1) + columns(b, targets))
    others = features @ columns(W, ids)
    others = widened(others + jnp.broadcast_to(columns(b, ids), others.shape))
    others = others - jnp.broadcast_to((log_q + math.log(len(ids))).astype(others.dtype), others.shape)
    lowest = jnp.full_like(others, jnp.finfo(others.dtype).min)
    own_word = targets[..., None].astype(ids.dtype) == jnp.broadcast_to(ids, others.shape)
    others = jnp.where(own_word, lowest, others)  # the target is counted once, exactly
    whole = jnp.logaddexp(own, jax.nn.logsumexp(others, axis=-1))
    return (whole - own).astype(features.dtype)


def masked_mean(losses: Array, mask: Array) -> Array:
    """Return the mean of the losses where the mask is True: over tokens, so each real token weighs the same.

    Zero if the mask is all False. A loss on padding never matters, even NaN.

    Example:
      >>> float(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
      2.0
    """
    return _over(jnp.where(mask, widened(losses), jnp.zeros((), wide(losses.dtype))), mask.sum(), None).astype(
        losses.dtype
    )


def _over(losses: Array, count: Array, axis: int | None) -> Array:
    """Return the sum of float32 or wider losses divided by a count."""
    return losses.sum(axis) / jnp.maximum(count, 1).astype(losses.dtype)


def until_own_eos(logits: Array, forced: Array, eos: int) -> Array:
    """Return bool ``[T, B]``: True up to and including the step at which a free-running row predicts `eos`.

    Rows under teacher forcing (``forced [T, B]``) go on to the end. There the tutorial's program leaves its loop over
    target positions.

    Example:
      >>> logits = jnp.eye(3)[jnp.array([0, 2, 1])][:, None]  # its likeliest tokens are 0, 2, 1
      >>> until_own_eos(logits, jnp.zeros((3, 1), bool), eos=2)[:, 0].tolist()
      [True, True, False]
    """
    ended = ((jnp.argmax(logits, axis=-1) == eos) & ~forced).astype(jnp.int32)
    return jnp.cumsum(ended, axis=0) - ended == 0  # no eos before this step


def per_sentence(losses: Array, counted: Array, mask: Array) -> tuple[Array, Array]:
    """Return the loss that the tutorial minimises and the one that it reports, from losses ``[T, B]``.

    It minimises a sentence's sum over `counted` steps, and reports that sum divided by the target's full length
    (``mask [T, B]``), even where a free-running row stopped early. Both are averaged over rows.

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

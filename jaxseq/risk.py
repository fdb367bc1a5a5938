"""Minimum-risk training: the expected risk over sampled translations, and sentence BLEU on token ids.

Both are pure functions of arrays, so a whole training step fits in one jit. Reference: Shen et al. 2016,
"Minimum risk training for neural machine translation", arXiv:1512.02433.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxseq.errors import InputError
from jaxseq.notation import Array, widened

ORDER = 4
"""The largest n of the n-grams that BLEU counts."""


def minimum_risk(log_probs: Array, risks: Array, sharpness: float = 0.005, counted: Array | None = None) -> Array:
    """Return the expected risk of each source, ``[B]``, over its N candidates.

        sum_n Q_n risk_n        Q_n = P_n ** sharpness / sum_m P_m ** sharpness

    Its gradient raises the probability of candidates with less risk than Q expects, and lowers that of the others.

    Args:
      log_probs: ``[N, B]``, of each whole candidate under the model; gradients flow through these.
      risks: ``[N, B]``, for example ``1 - sentence_bleu(...)``.
      sharpness: the paper's alpha; 1 gives the model's own probabilities, towards 0 all candidates weigh the same.
      counted: bool ``[N, B]``, which candidates are in the set, such as `first_of_equal`; all by default. The result is
        0 for a source without any.

    Raises:
      InputError: if the shapes differ, or the sharpness is not above 0.

    Reference: Shen et al. 2016, equations 7 to 9.

    Example:
      >>> log_probs = jnp.log(jnp.array([[0.2], [0.6]]))
      >>> print(minimum_risk(log_probs, jnp.array([[1.0], [0.0]]), sharpness=1.0))
      [0.25]
    """
    shapes = {log_probs.shape, risks.shape, log_probs.shape if counted is None else counted.shape}
    if len(shapes) > 1 or log_probs.ndim != 2:
        raise InputError(
            f"minimum_risk: log_probs, risks and counted must have one shape [N, B]; got {log_probs.shape}, "
            f"{risks.shape} and {None if counted is None else counted.shape}"
        )
    if not isinstance(sharpness, jax.core.Tracer) and not sharpness > 0:
        raise InputError(f"minimum_risk: sharpness must be above 0, got {sharpness}; 0.005 is usual")
    wide_probs = widened(log_probs)
    real = jnp.ones(log_probs.shape, bool) if counted is None else counted
    # a log-probability that is not counted may be anything, NaN included
    scaled = jnp.where(real, wide_probs, jnp.zeros_like(wide_probs)) * jnp.asarray(sharpness, wide_probs.dtype)
    weights = jax.nn.softmax(jnp.where(real, scaled, jnp.full_like(scaled, jnp.finfo(scaled.dtype).min)), axis=0)
    expected = jnp.where(real, weights * risks.astype(weights.dtype), jnp.zeros_like(weights)).sum(0)
    return expected.astype(log_probs.dtype)


def first_of_equal(tokens: Array) -> Array:
    """Return bool ``[N, B]``: True for each first occurrence among N candidates ``[T, N, B]`` of tokens.

    Minimum risk is defined over a set, in which a candidate drawn twice counts once.

    Example:
      >>> first_of_equal(jnp.array([[[5], [6], [5]]]))[:, 0].tolist()
      [True, True, False]
    """
    same = (tokens[:, :, None] == tokens[:, None]).all(0)  # [N, N, B]
    N = tokens.shape[1]
    before = jnp.tril(jnp.ones((N, N), bool), -1)[..., None]
    return ~(same & before).any(1)


def sentence_bleu(tokens: Array, references: Array, mask: Array, reference_mask: Array) -> Array:
    """Return the BLEU of each sentence, float32 ``[B]`` from 0 to 1, smoothed as in sacrebleu's `sentence_bleu`.

    A precision without matches counts as ``1 / (2^k total)``, where k is the number of such orders so far, and orders
    longer than the sentence are left out (Chen & Cherry 2014, method 3, "exp"; effective order). A sentence without any
    match has 0. Not differentiable.

    Args:
      tokens: int ``[T, B]``; any number of batch axes, including none.
      references: int ``[R, B]``, one for each sentence.
      mask: bool ``[T, B]``, True for a sentence's tokens; no True may follow a False.
      reference_mask: the same for the references.

    Raises:
      InputError: if a mask is not bool of the shape of its tokens.

    Example:
      >>> tokens = jnp.array([[4, 4], [5, 5], [6, 9]])
      >>> print(sentence_bleu(tokens, tokens[:, [0, 0]], tokens > 0, tokens > 0).round(3))
      [1.   0.55]
    """
    for name, side, real in (("mask", tokens, mask), ("reference_mask", references, reference_mask)):
        if real.shape != side.shape or real.dtype != jnp.bool_:
            raise InputError(f"sentence_bleu: {name} must be bool {side.shape}; got {real.dtype} {real.shape}")
    T = tokens.shape[0]
    ours, theirs = mask.sum(0, dtype=jnp.int32), reference_mask.sum(0, dtype=jnp.int32)
    # [i, j]: the n-grams that begin at i and at j are equal; to extend them, compare the tokens n places further on
    own = (tokens[:, None] == tokens[None]) & mask[:, None] & mask[None]
    other = (tokens[:, None] == references[None].astype(tokens.dtype)) & mask[:, None] & reference_mask[None]
    so_far = jnp.tril(jnp.ones((T, T), bool)).reshape(T, T, *(1,) * (tokens.ndim - 1))
    of_own, of_other = own, other
    logs, orders, misses, matched = (jnp.zeros(ours.shape, jnp.float32) for _ in range(4))
    for n in range(ORDER):
        if n:
            of_own, of_other = of_own & _moved(own, n), of_other & _moved(other, n)
        # the k-th occurrence of an n-gram matches if the reference has at least k of them: counts are clipped
        occurrence, available = (of_own & so_far).sum(1), of_other.sum(1)
        correct = ((occurrence <= available) & (available > 0)).sum(0).astype(jnp.float32)
        total = jnp.maximum(ours - n, 0).astype(jnp.float32)
        there, hit = total > 0, correct > 0
        misses = misses + (there & ~hit).astype(jnp.float32)
        precision = jnp.where(hit, correct, jnp.exp2(-misses)) / jnp.maximum(total, 1)
        logs = logs + jnp.where(there, jnp.log(precision), jnp.zeros_like(logs))
        orders, matched = orders + there.astype(jnp.float32), matched + correct
    ratio = theirs.astype(jnp.float32) / jnp.maximum(ours, 1).astype(jnp.float32)
    brevity = jnp.minimum(1 - ratio, jnp.zeros_like(ratio))
    score = jnp.exp(brevity + logs / jnp.maximum(orders, 1))
    return jnp.where(matched > 0, score, jnp.zeros_like(score))


def _moved(same: Array, n: int) -> Array:
    """Return a table ``[T, R, B]`` shifted up by n places on both of its first axes, padded with False."""
    rest = [(0, 0)] * (same.ndim - 2)
    return jnp.pad(same[n:, n:], [(0, min(n, same.shape[0])), (0, min(n, same.shape[1])), *rest])

"""Log-probabilities of given targets."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxseq.decode._step import TokenStep, checked
from jaxseq.errors import InputError
from jaxseq.losses import cross_entropy
from jaxseq.notation import Array, Carry, Tree, widened
from jaxseq.placement import settled


class Scores(NamedTuple):
    """Log-probabilities of given targets. The perplexity of a corpus is ``exp(-totals.sum() / lengths.sum())``.

    Fields:
      log_probs: ``[T, B]``: of each token in nats, 0 on padding.
      totals: ``[B]``: their sums, in at least float32.
      lengths: int32 ``[B]``: the number of real tokens.
      perplexity: ``[B]``: ``exp(-totals / lengths)``, 1 for a row without real tokens.
    """

    log_probs: Array
    totals: Array
    lengths: Array
    perplexity: Array


def score(logits: Array, targets: Array, mask: Array) -> Scores:
    """Return the log-probabilities of targets, for each token and for each sequence. Differentiable.

    Args:
      logits: ``[T, B, V]``, from ``model.decode`` or `teacher_forced`.
      targets: int ``[T, B]``, including EOS.
      mask: bool ``[T, B]``, True where a target is real.

    Raises:
      InputError: if mask is not bool with the shape of the targets; if known targets are not in the vocabulary.

    Example:
      >>> fair = score(jnp.zeros((3, 1, 4)), jnp.ones((3, 1), int), jnp.array([[True], [True], [False]]))
      >>> fair.lengths.tolist(), fair.perplexity.round(3).tolist()
      ([2], [4.0])
    """
    if mask.shape != targets.shape or mask.dtype != jnp.bool_:
        raise InputError(f"score: mask must be bool {targets.shape}, as targets; got {mask.dtype} {mask.shape}")
    # padding may have any id
    losses = cross_entropy(logits, jnp.where(mask, targets, jnp.zeros_like(targets)))
    log_probs = jnp.where(mask, -losses, jnp.zeros_like(losses))
    totals, lengths = widened(log_probs).sum(0), mask.sum(0, dtype=jnp.int32)
    return Scores(log_probs, totals, lengths, jnp.exp(-totals / jnp.maximum(lengths, 1).astype(totals.dtype)))


def teacher_forced(step: TokenStep, carry: Carry, start: Array, targets: Array) -> tuple[Carry, tuple[Array, Tree]]:
    """Return ``(carry, (logits [T, B, V], seen [T, B, ...]))`` of a step fed with the targets. Differentiable.

    Step t is fed the target of step t - 1, and its logits are those of target t. A model that can read all inputs at
    once is faster: `Seq2Seq.decode` does.

    Args:
      step: the token step.
      carry: its state before the first token.
      start: int ``[B]``, the token fed first (SOS).
      targets: int ``[T, B]``, including EOS; tokens after it are fed too, and do not affect earlier logits.

    Raises:
      InputError: if start or targets are not integers, their shapes do not fit, or a known one is not in the
        vocabulary.
    """
    start, _, inputs = checked(step, carry, start, targets.shape[0], targets)
    assert inputs is not None
    inputs = jnp.concatenate([start[None], jnp.maximum(inputs[:-1], 0)])
    return lax.scan(step, settled(lambda carry, tokens: step(carry, tokens)[0], carry, inputs[0]), inputs)

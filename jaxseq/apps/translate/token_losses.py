"""The loss of each target token: full softmax, in blocks if large, or sampled; with coverage loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import losses
from jaxseq.apps.text import PAD
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import Batch
from jaxseq.attention import coverage_loss
from jaxseq.notation import Array, Key, Params
from jaxseq.precision import mixed_function
from jaxseq.seq2seq import Encoded, Saturated, Seq2Seq, saturation as saturation_of


def token_losses(
    model: Seq2Seq,
    config: TranslateConfig,
    params: Params,
    encoded: Encoded,
    batch: Batch,
    forced: Array | None = None,
    key: Key | None = None,
) -> tuple[Array, Array]:
    """Return the training loss of each target token, and its negative log-likelihood, ``[T, B]`` each.

    With `sampled` words both are estimates.

    Args:
      model: built from the settings.
      config: label_smoothing, sampled and coverage_loss are read.
      params: the model's.
      encoded: the sources.
      batch: the targets.
      forced: as `Seq2Seq.decode` takes it.
      key: for dropout and for the sampled words; None for the whole softmax without dropout.
    """
    # features, not logits: with a large vocabulary [T, B, V] is never held at once
    _, (features, weights) = model.decode_features(params, encoded, batch.inputs, forced, key)
    assert model.output is not None
    W, b = model.output(params)
    # validation has no key, and takes the whole softmax
    if config.sampled and key is not None:
        negatives = losses.draw_negatives(jax.random.fold_in(key, 2), config.sampled, W.shape[-1])
        loss = nll = _product(config, losses.sampled_loss)(features, W, b, batch.targets, negatives)
    else:
        # product with W and softmax in one function, which splits a large vocabulary into blocks
        whole = partial(losses.output_loss, label_smoothing=config.label_smoothing)
        loss, nll = _product(config, whole)(features, W, b, batch.targets)
    if config.coverage_loss:
        # in the loss's dtype: strict promotion refuses to mix two
        loss = loss + jnp.asarray(config.coverage_loss, loss.dtype) * coverage_loss(weights).astype(loss.dtype)
    return loss, nll


def _product(config: TranslateConfig, loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``loss(features, W, ...)`` with the product of these two in the precision of training."""
    return loss if config.products is None else mixed_function(loss, config.products)


def held_losses(model: Seq2Seq, params: Params, batch: Batch) -> Array:
    """Return the negative log-likelihood of each target token, ``[T, B]``: teacher forced, no dropout."""
    encoded = model.encode(params, batch.source, batch.source != PAD)
    assert model.output is not None
    _, (features, _) = model.decode_features(params, encoded, batch.inputs)
    W, b = model.output(params)
    return losses.output_loss(features, W, b, batch.targets)[1]


def saturation(model: Seq2Seq, params: Params, batch: Batch) -> Saturated:
    """Return how much of the decoder is saturated on a batch; see `jaxseq.seq2seq.saturation`."""
    return saturation_of(model, params, batch.source, batch.source != PAD, batch.inputs, batch.targets != PAD)

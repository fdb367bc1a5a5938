"""Minimum-risk training of a translator: sampled translations of each source, and the risk 1 - BLEU of each."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.apps.text import EOS, PAD, SOS
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import Batch
from jaxseq.apps.translate.token_losses import token_losses
from jaxseq.decode import forbid, sample
from jaxseq.notation import Array, Key, Params
from jaxseq.risk import first_of_equal, minimum_risk, sentence_bleu
from jaxseq.seq2seq import Encoded, Seq2Seq

NEVER = forbid(PAD, SOS)
"""Neither may be sampled: SOS is not a word, and padding would end a translation without EOS."""


class Candidates(NamedTuple):
    """Candidates of each source: ``tokens [T, N, B]``, PAD after EOS, and their ``risks [N, B]``: 1 - BLEU."""

    tokens: Array
    risks: Array


def risk_loss(model: Seq2Seq, config: TranslateConfig, params: Params, batch: Batch, key: Key) -> Array:
    """Return the expected risk of each source, ``[B]``, over sampled candidates and the reference; consumes `key`.

    There is no dropout: the probabilities are those of the model that translates. A candidate has at most as many
    tokens as the padded targets of the batch.

    Reference: Shen et al. 2016, arXiv:1512.02433, algorithm 1.
    """
    mask = batch.source != PAD
    encoded = model.encode(params, batch.source, mask)
    # the draw itself is not differentiated: the gradient is that of the candidates' probabilities
    tokens, risks = drawn(model, *lax.stop_gradient((params, encoded)), batch.targets, config.risk_samples, key)
    T, N, B = tokens.shape
    # candidates become rows of one batch, which is decoded once
    flat, repeated = tokens.reshape(T, N * B), _repeated(encoded, N)
    # teacher forced with the candidates, for the probability of each
    inputs = jnp.concatenate([jnp.full_like(flat[:1], SOS), flat[:-1]])
    nll = token_losses(model, config, params, repeated, Batch(batch.source, inputs, flat))[1]
    log_probs = -jnp.where(flat != PAD, nll, jnp.zeros_like(nll)).sum(0).reshape(N, B)
    # a translation that was drawn twice counts once in the sum over the sampled space
    return minimum_risk(log_probs, risks, config.risk_sharpness, first_of_equal(tokens))


def drawn(model: Seq2Seq, params: Params, encoded: Encoded, targets: Array, count: int, key: Key) -> Candidates:
    """Return `count` translations drawn for each source, and the target itself as the last candidate.

    Args:
      model: built from the settings.
      params: the model's.
      encoded: the sources.
      targets: int ``[T, B]``, EOS at the end of each, then PAD.
      count: N - 1.
      key: consumed.
    """
    T, B = targets.shape
    repeated = _repeated(encoded, count)
    done = sample(
        model.step(params, repeated), repeated.carry, jnp.full(count * B, SOS), key=key, eos=EOS, pad=PAD,
        max_length=T, filters=(NEVER,),
    )  # fmt: skip
    # algorithm 1 of Shen et al. has the reference among the candidates
    own = jnp.concatenate([done.tokens.reshape(T, count, B), targets[:, None].astype(done.tokens.dtype)], axis=1)
    wanted = jnp.broadcast_to(targets[:, None], own.shape)
    return Candidates(own, 1 - sentence_bleu(own, wanted, _words(own), _words(wanted)))


def _words(tokens: Array) -> Array:
    """Return where a row has a word that BLEU counts."""
    # the end of a sentence is not a word of BLEU
    return (tokens != PAD) & (tokens != EOS)


def _repeated(encoded: Encoded, count: int) -> Encoded:
    """Return rows ``[count * B, ...]``: all rows, repeated `count` times."""
    return jax.tree.map(lambda a: jnp.tile(a, (count, *(1,) * (a.ndim - 1))), encoded)

"""The settings of decoding, and the program that decodes a batch with them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.apps.settings import check_seed, option, require, require_at_least
from jaxseq.apps.text import EOS, PAD, SOS, UNK
from jaxseq.decode import Filter, TokenStep, beam, ensemble, forbid, greedy, sample, top_k, top_p
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params
from jaxseq.seq2seq import Seq2Seq

LARGEST_BEAM = 100
"""Larger beams are slow, and their translations get worse."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Settings of decoding: beam search by default, greedy with a beam of 1, or sampling."""

    beam: int = 5
    """Hypotheses that the search keeps; 1 takes the likeliest token at each step and is fastest."""
    nbest: int = 1
    """How many translations of each sentence to return, the best first: at most --beam, or any number of samples."""
    length_penalty: float = 1.0
    """A hypothesis of n tokens is ranked by log-probability / ((5 + n) / 6) ** this; 0 favours short ones."""
    coverage_penalty: float = 0.0
    """Weight of the penalty for source tokens that attention missed; 0 for none, 0.2 is usual."""
    early_stopping: bool = True
    """Stop a sentence as soon as --beam of its hypotheses have ended; without it the search is a little wider."""
    unknown: Literal["forbid", "copy", "keep"] = "forbid"
    """Words that the vocabulary lacks: forbid writes only known words, copy writes the source word that attention
    looked at, keep writes <unk>."""
    sample: bool = False
    """Draw each token at random instead of searching for a likely translation."""
    temperature: float = 1.0
    """With --sample: below 1, likelier tokens are drawn more often; above 1, less often."""
    top_k: int = 0
    """With --sample: draw from this many of the likeliest tokens; 0 draws from all."""
    top_p: float = 1.0
    """With --sample: draw from the likeliest tokens that together have this probability."""
    seed: int = 0
    """With --sample: the same seed gives a sentence the same translation."""

    def check(self) -> None:
        """Check every setting.

        Raises:
          InputError: naming the setting, its allowed values and its value.
        """
        require_at_least(1, ("beam", "nbest"), self)
        require_at_least(0, ("top_k",), self)
        require(self.beam <= LARGEST_BEAM, "beam", f"at most {LARGEST_BEAM}", self)
        for name in ("length_penalty", "coverage_penalty"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, name, "at least 0 and finite", self)
        require(math.isfinite(self.temperature) and self.temperature > 0, "temperature", "above 0 and finite", self)
        require(0 < self.top_p <= 1, "top_p", "above 0 and at most 1", self)
        check_seed(self.seed)
        if self.sample:
            return
        if self.nbest > self.beam:
            raise InputError(f"--nbest {self.nbest} needs a beam as large; got --beam {self.beam}")
        for name in ("temperature", "top_k", "top_p", "seed"):
            if (given := getattr(self, name)) != getattr(USUAL, name):
                raise InputError(f"{option(name)} {given} only applies to sampling; add --sample, or leave it out")

    def filters(self) -> tuple[Filter, ...]:
        """Return which tokens may be written: never padding or a second SOS, `<unk>` only if allowed."""
        never = (PAD, SOS, UNK) if self.unknown == "forbid" else (PAD, SOS)
        filters: tuple[Filter, ...] = (forbid(*never),)
        if self.sample and self.top_k:
            filters += (top_k(self.top_k),)
        if self.sample and self.top_p < 1:
            filters += (top_p(self.top_p),)
        return filters


USUAL = Decoding()
"""The default settings of commands."""


class Written(NamedTuple):
    """N translations of each row as token ids, the best first; T steps, S source tokens.

    Fields:
      tokens: int32 ``[T, B, N]``: up to and with EOS, then PAD.
      log_probs: ``[T, B, N]``: of each token under the model, 0 after EOS.
      lengths: int32 ``[B, N]``: tokens up to and with EOS; 0 where there are fewer than N translations.
      scores: ``[B, N]``: they rank the translations.
      weights: ``[T, B, N, S]``: attention; ``[T, B, N, 0]`` of a model without.
    """

    tokens: Array
    log_probs: Array
    lengths: Array
    scores: Array
    weights: Array


def write(
    models: Sequence[Seq2Seq],
    decoding: Decoding,
    longest: int,
    params: Sequence[Params],
    source: Array,
    prefix: Array | None = None,
    salts: Array | None = None,
    seed: Array | int = 0,
) -> Written:
    """Encode a batch of sources and decode it by the settings. Pure; call it inside a jit.

    Args:
      models: one, or several whose probabilities are averaged; each has the same vocabularies.
      decoding: the settings; its seed is not used.
      longest: T, the most tokens of a translation.
      params: one for each model.
      source: int ``[S, B]``, EOS at the end of each column, then PAD.
      prefix: int ``[P, B]``, tokens that a translation begins with; negative where the choice is free.
      salts: uint32 ``[B]``, a number for each row; with the seed it determines the row's random draws.
      seed: of the draws.

    Raises:
      InputError: for a coverage penalty, or copied words, with a model without attention.
    """
    mask = source != PAD
    encoded = [model.encode(one, source, mask) for model, one in zip(models, params, strict=True)]
    step = _looking(
        [model.step(one, read) for model, one, read in zip(models, params, encoded, strict=True)], source.shape[0]
    )
    # every translation begins with SOS, which is fed and not written
    carry, start = tuple(read.carry for read in encoded), jnp.full(source.shape[1:], SOS)
    # the shape says whether there is attention; nothing is computed
    _, (_, weights) = jax.eval_shape(step, carry, start)
    if not weights.shape[-1] and (decoding.coverage_penalty or decoding.unknown == "copy"):
        what = "--coverage-penalty" if decoding.coverage_penalty else "--unknown copy"
        raise InputError(f"{what} needs attention, which this model does not have; leave it out")
    options: dict[str, Any] = {
        "eos": EOS, "pad": PAD, "max_length": longest, "prefix": prefix, "filters": decoding.filters(),
    }  # fmt: skip
    if decoding.sample:
        # a key from each row's own number: its samples do not depend on the batch it is in
        of_rows = jax.vmap(lambda salt: jax.random.fold_in(jax.random.key(seed), salt))(salts)

        def draw(n: Array) -> Written:
            keys = jax.vmap(lambda key: jax.random.fold_in(key, n))(of_rows)
            return _ranked(sample(step, carry, start, key=keys, temperature=decoding.temperature, **options), decoding)

        # samples have the axis N in front; move it to where other decodings have it
        return _sorted(_placed(jnp.moveaxis, jax.vmap(draw)(jnp.arange(decoding.nbest)), 0))
    # greedy search needs no sorting and no copies of the state
    if decoding.beam == 1:
        return _placed(jnp.expand_dims, _ranked(greedy(step, carry, start, **options), decoding))
    found = beam(
        step, carry, start, size=decoding.beam, n_best=decoding.nbest, length_penalty=decoding.length_penalty,
        coverage_penalty=decoding.coverage_penalty, early_stopping=decoding.early_stopping,
        source_mask=mask.T if decoding.coverage_penalty else None, **options,
    )  # fmt: skip
    return Written(found.tokens, found.log_probs, found.lengths, found.scores, found.seen)


@functools.lru_cache(maxsize=32)  # a few models and lengths; more would keep every model alive
def program(models: tuple[Seq2Seq, ...], decoding: Decoding, longest: int) -> Callable[..., Written]:
    """Return the jitted `write` of these models and settings: ``(params, source, prefix, salts, seed) -> Written``."""
    return jax.jit(functools.partial(write, models, decoding, longest))


def _looking(steps: Sequence[TokenStep], S: int) -> TokenStep:
    """Return the mean of some steps; it shows their mean attention ``[B, S]``, if they have any."""
    together = ensemble(steps) if len(steps) > 1 else steps[0]

    def step(carry: Carry, tokens: Array) -> tuple[Carry, tuple[Array, Array]]:
        if len(steps) == 1:
            (alone,) = carry
            alone, (logits, seen) = together(alone, tokens)
            carry, seen = (alone,), (seen,)
        else:
            carry, (logits, seen) = together(carry, tokens)
        # the tutorial's attention has as many weights as units, some of them beyond the source
        looked = [weights[..., :S] for weights in seen if weights.shape[-1]]
        return carry, (logits, sum(looked[1:], looked[0]) / len(looked) if looked else seen[0])

    return step


def _ranked(done: Any, decoding: Decoding) -> Written:
    """Return one translation of each row with its score, without the axis N."""
    # Wu et al. 2016, arXiv:1609.08144, section 7, as in beam search, so that scores can be compared
    penalty = ((5 + done.lengths.astype(done.log_probs.dtype)) / 6) ** decoding.length_penalty
    return Written(done.tokens, done.log_probs, done.lengths, done.log_probs.sum(0) / penalty, done.seen)


def _placed(move: Callable[..., Array], written: Written, *at: int) -> Written:
    """Return translations with each array moved by `move`, which is given the axis N of the array."""
    return Written(*(move(a, *at, axis) for a, axis in zip(written, (2, 2, 1, 1, 2), strict=True)))


def _sorted(written: Written) -> Written:
    """Return the translations of each row by falling score."""
    order = jnp.argsort(-written.scores, axis=-1)  # [B, N]
    # indices are those of one row of the batch: the axis B is mapped, then time if there is one
    of_step = jax.vmap(lambda row, places: row[places])  # of [B, N, ...]
    in_time = jax.vmap(of_step, (0, None))
    tokens, log_probs, lengths, scores, weights = written
    return Written(
        in_time(tokens, order), in_time(log_probs, order), of_step(lengths, order), of_step(scores, order),
        in_time(weights, order),
    )  # fmt: skip

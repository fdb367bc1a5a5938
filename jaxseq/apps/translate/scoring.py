"""The log-probability of given translations by a translator, teacher forced."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.apps import text
from jaxseq.apps.text import PAD, SOS
from jaxseq.apps.translate.batches import batches
from jaxseq.apps.translate.model import Translator
from jaxseq.apps.translate.preparation import Pair
from jaxseq.decode import Scores, score
from jaxseq.notation import Array, Params, widened
from jaxseq.seq2seq import Seq2Seq


class Score(NamedTuple):
    """The probability of a target, given its source.

    Fields:
      source: as it was written.
      target: as it was written.
      log_prob: of the target with EOS, in nats.
      tokens: the number of these tokens.
      perplexity: ``exp(-log_prob / tokens)``: 1 is certain.
      unknown: words of the target that the vocabulary lacks; they are scored as `<unk>`.
    """

    source: str
    target: str
    log_prob: float
    tokens: int
    perplexity: float
    unknown: list[str]


def score_pairs(translator: Translator, pairs: Sequence[Pair]) -> list[Score]:
    """Return the score of each prepared pair, equal to teacher forcing; of an ensemble, under its mean probabilities.

    Raises:
      InputError: naming the first source that is empty or longer than the model can read.
    """
    translator.check_fit([source for source, _ in pairs])
    everyone = (translator, *translator.others)
    run = _scorer(tuple(one.model for one in everyone))
    sources, targets = (
        [side.numbers(pair[n]) for pair in pairs] for n, side in enumerate((translator.source, translator.target))
    )
    done: dict[int, tuple[float, int]] = {}
    for one in batches([*zip(map(len, sources), map(len, targets), strict=True)]):
        batch = [
            text.pad([side[i] for i in one.filled], n) for side, n in zip((sources, targets), one.lengths, strict=True)
        ]
        found = jax.device_get(run(tuple(each.params for each in everyone), *batch))
        # the batch is filled up with copies of its last row, which are dropped here
        for i, log_prob, length in zip(one.places, found.totals, found.lengths, strict=False):
            done[i] = float(log_prob), int(length)
    return [
        Score(source.written, target.written, *done[i], perplexity(*done[i]), translator.target.unknown(target))
        for i, (source, target) in enumerate(pairs)
    ]


def perplexity(log_prob: float, tokens: int) -> float:
    """Return ``exp(-log_prob / tokens)``, infinite beyond the largest float64."""
    mean = -log_prob / max(tokens, 1)
    # exp overflows float64 above 709
    return math.exp(mean) if mean < 700 else math.inf


@functools.lru_cache(maxsize=8)  # a few models; more would keep every model alive
def _scorer(models: tuple[Seq2Seq, ...]) -> Callable[..., Scores]:
    """Return the jitted program ``(params of each model, source [S, B], targets [T, B]) -> Scores``."""

    @jax.jit
    def run(params: Sequence[Params], source: Array, targets: Array) -> Scores:
        # step t reads the target of step t - 1
        mask, inputs = source != PAD, jnp.concatenate([jnp.full_like(targets[:1], SOS), targets[:-1]])
        found: list[Any] = []
        for model, one in zip(models, params, strict=True):
            _, (logits, _) = model.decode(one, model.encode(one, source, mask), inputs)
            found.append(logits)
        if len(found) > 1:  # the logarithm of the mean probability; a constant for all tokens does not matter
            found = [jax.nn.logsumexp(jnp.stack([jax.nn.log_softmax(widened(row)) for row in found]), axis=0)]
        return score(found[0], targets, targets != PAD)

    return run


def total(scores: Sequence[Score]) -> dict[str, float | int]:
    """Return the log-probability of all targets together, their tokens, and the perplexity of the corpus."""
    log_prob, tokens = float(np.sum([one.log_prob for one in scores])), sum(one.tokens for one in scores)
    unknown = sum(len(one.unknown) for one in scores)
    return {
        "pairs": len(scores), "tokens": tokens, "log_prob": log_prob, "perplexity": perplexity(log_prob, tokens),
        "unknown": unknown,
    }  # fmt: skip

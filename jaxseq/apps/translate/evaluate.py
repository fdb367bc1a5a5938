"""How well a translator does on pairs that it was not trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxseq.apps import text
from jaxseq.apps.text import EOS
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import Corpus, Pair, numbered, read_sentences
from jaxseq.apps.translate.model import Translation, Translator
from jaxseq.apps.translate.store import prepare
from jaxseq.apps.translate.train import validator


class Evaluation(NamedTuple):
    """How a translator does on pairs.

    Fields:
      data: which pairs.
      pairs: how many.
      bleu: sacrebleu's corpus BLEU, lower-cased, 0 to 100.
      bleu_signature: how it was computed.
      chrf: sacrebleu's chrF2, lower-cased.
      chrf_signature: how it was computed.
      exact: share of translations equal to the reference, apart from case.
      ended: share of translations that ended with EOS.
      loss: mean over real target tokens, in nats.
      unknown: share of source tokens that the vocabulary lacks.
      examples: random ones, (source, reference, translation).
    """

    data: str
    pairs: int
    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    exact: float
    ended: float
    loss: float
    unknown: float
    examples: list[tuple[str, str, str]]


def evaluate(
    translator: Translator,
    data: str | None = None,
    *,
    examples: int = 10,
    seed: int = 0,
    corpus: Corpus | None = None,
) -> tuple[Evaluation, list[Translation]]:
    """Measure a translator on a file of pairs, on the shipped held-out part, or on the run's own validation part.

    Without `data`: the held-out part that comes with the shipped corpus, if trained on that; else the pairs that
    training held back; else, where none were, the training pairs, and the result says so. `corpus` is what was
    trained on, where it is at hand; else it is read again.

    Returns:
      The scores, and the translations of their examples.
    """
    where, pairs = pairs_for(translator, data, corpus)
    done = translator.translate_prepared([source for source, _ in pairs])
    shown = random.Random(seed).sample(range(len(pairs)), min(examples, len(pairs)))
    hypotheses, references = [one.text for one in done], [target.written for _, target in pairs]
    same = [ours.lower() == theirs.lower() for ours, theirs in zip(hypotheses, references, strict=True)]
    buckets = numbered(translator.source, translator.target, pairs, 4)
    scores = Evaluation(
        data=where,
        pairs=len(pairs),
        exact=float(np.mean(same)),
        ended=float(np.mean([one.target_tokens[-1] == text.SPECIALS[EOS] for one in done])),
        loss=validator(translator.model, buckets, 64)(translator.params),
        unknown=sum(len(one.unknown) for one in done) / sum(len(source.tokens) for source, _ in pairs),
        examples=[(pairs[i][0].written, references[i], hypotheses[i]) for i in shown],
        **_compared(translator.config, hypotheses, references),
    )
    return scores, [done[i] for i in shown]


def bleu_of(config: TranslateConfig) -> Any:
    """Return sacrebleu's corpus BLEU, lower-cased, with the tokeniser of the target language."""
    from sacrebleu.metrics import BLEU  # takes a while to import

    return BLEU(lowercase=True, tokenize="zh" if config.target == "zh" else "13a")


def _compared(config: TranslateConfig, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Return BLEU and chrF of translations, and how they were computed."""
    from sacrebleu.metrics import CHRF

    bleu = bleu_of(config)
    chrf = CHRF(lowercase=True)
    return {
        "bleu": bleu.corpus_score(hypotheses, [references]).score,
        "bleu_signature": str(bleu.get_signature()),
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
        "chrf_signature": str(chrf.get_signature()),
    }


def pairs_for(
    translator: Translator, data: str | None = None, corpus: Corpus | None = None
) -> tuple[str, Sequence[Pair]]:
    """Return which pairs a translator is measured on, and these, prepared; see `evaluate`."""
    config = translator.config
    if data is None and config.data == "zh-en" and not config.test:
        data = "zh-en-held-out"
    if data is not None:
        return data, read_sentences(config, data, translator.source, translator.target)
    where, pairs = (corpus or prepare(config)).measured()
    return f"{config.name}, pairs {where}", pairs

"""Scores of a translator on pairs that it was not trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxseq.apps import text
from jaxseq.apps.text import EOS
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import Corpus, numbered, read_sentences
from jaxseq.apps.translate.metrics import NAMES, USUAL, Scoring
from jaxseq.apps.translate.model import Translation, Translator
from jaxseq.apps.translate.preparation import Pair
from jaxseq.apps.translate.saving import check_trained_on, test_changed
from jaxseq.apps.translate.store import prepare
from jaxseq.apps.translate.validation import validator
from jaxseq.errors import InputError


class Evaluation(NamedTuple):
    """Scores of a translator on pairs, against references as they were written.

    Fields:
      data: which pairs.
      pairs: how many.
      bleu: sacrebleu's corpus BLEU, lower-cased, 0 to 100; None, as each score below, if not asked for.
      bleu_signature: how it was computed.
      bleu_cased: the same, case-sensitive.
      bleu_cased_signature: how it was computed.
      chrf: sacrebleu's chrF2, lower-cased.
      chrf_signature: how it was computed.
      ter: sacrebleu's TER, lower-cased: edits for each 100 words of the references.
      ter_signature: how it was computed.
      exact: share of translations equal to the reference, ignoring case.
      ended: share of translations that ended with EOS.
      loss: mean over real target tokens, in nats.
      unknown: share of source tokens that the vocabulary lacks.
      examples: random ones, (source, reference, translation).
      notes: on how scores were computed.
    """

    data: str
    pairs: int
    bleu: float | None
    bleu_signature: str | None
    bleu_cased: float | None
    bleu_cased_signature: str | None
    chrf: float | None
    chrf_signature: str | None
    ter: float | None
    ter_signature: str | None
    exact: float
    ended: float
    loss: float
    unknown: float
    examples: list[tuple[str, str, str]]
    notes: list[str]


def evaluate(
    translator: Translator,
    data: str | Sequence[str] | None = None,
    *,
    examples: int = 10,
    seed: int = 0,
    corpus: Corpus | None = None,
    scoring: Scoring = USUAL,
) -> tuple[Evaluation, list[Translation]]:
    """Measure a translator on files of pairs, the bundled held-out pairs, or the run's validation part.

    Without `data`: the held-out part of the bundled corpus, if trained on that; else the pairs that training held
    back; else the training pairs, and the result says so. `corpus` is the training
    corpus, if it is in memory; else it is read again. `scoring` says which metrics are computed.

    Returns:
      The scores, and the translations of their examples.
    """
    where, pairs = pairs_for(translator, data, corpus)
    scores, done = evaluate_pairs(translator, where, pairs, examples=examples, seed=seed, scoring=scoring)
    return scores, [done[i] for i in _shown(len(pairs), examples, seed)]


def evaluate_pairs(
    translator: Translator,
    where: str,
    pairs: Sequence[Pair],
    *,
    examples: int = 10,
    seed: int = 0,
    scoring: Scoring = USUAL,
) -> tuple[Evaluation, list[Translation]]:
    """Measure a translator on prepared pairs, `where` saying which; return the scores and all translations."""
    metrics, notes = scoring.metrics_for(translator.config.target)  # refused before anything is translated
    done = translator.translate_prepared([source for source, _ in pairs])
    # references as written: normalised ones would make every score better
    hypotheses, references = [one.text for one in done], [target.written for _, target in pairs]
    # case ignored: a run with --case lower never writes capitals
    same = [ours.lower() == theirs.lower() for ours, theirs in zip(hypotheses, references, strict=True)]
    # four groups of similar length: little padding, at most four programs
    buckets = numbered(translator.source, translator.target, pairs, 4)
    found: dict[str, Any] = dict.fromkeys(f"{name}{end}" for name in NAMES for end in ("", "_signature"))
    for name, metric in metrics.items():
        found[name] = metric.corpus_score(hypotheses, [references]).score
        found[f"{name}_signature"] = str(metric.get_signature())
    scores = Evaluation(
        data=where,
        pairs=len(pairs),
        exact=float(np.mean(same)),
        ended=float(np.mean([one.target_tokens[-1] == text.SPECIALS[EOS] for one in done])),
        loss=validator(translator.model, buckets, 64)(translator.params),
        # a share of all source tokens, so that long sentences count more
        unknown=sum(len(one.unknown) for one in done) / sum(len(source.tokens) for source, _ in pairs),
        examples=[(pairs[i][0].written, references[i], hypotheses[i]) for i in _shown(len(pairs), examples, seed)],
        notes=notes,
        **found,
    )
    return scores, done


def _shown(pairs: int, examples: int, seed: int) -> list[int]:
    """Return which pairs are shown as examples."""
    return random.Random(seed).sample(range(pairs), min(examples, pairs))


def bleu_of(config: TranslateConfig) -> Any:
    """Return sacrebleu's corpus BLEU, lower-cased, with the tokeniser of the target language."""
    return USUAL.metrics_for(config.target)[0]["bleu"]


def pairs_for(
    translator: Translator, data: str | Sequence[str] | None = None, corpus: Corpus | None = None
) -> tuple[str, Sequence[Pair]]:
    """Return a name for the pairs that measure a translator, and the prepared pairs; see `evaluate`.

    Words of `data` are read as in training: two files that end with the languages are one corpus.

    Raises:
      InputError: if there are no words, as `data.read_sentences`, or if the pairs of a run, and so those held
        back, have changed.
    """
    config = translator.config
    if data is not None and not data:
        raise InputError("--data needs a file of pairs, or two parallel ones; leave it out for the pairs held out")
    # the bundled corpus comes with pairs that no training sees
    if data is None and config.data == "zh-en" and not config.test:
        data = "zh-en-held-out"
    if data is not None:
        return _joined(data), read_sentences(config, data, translator.source, translator.target)
    differ = ""
    if corpus is None:
        corpus = prepare(config, (translator.source, translator.target))
        if translator.path is not None:
            check_trained_on(translator.path, config, corpus)
            differ = test_changed(translator.path, corpus)
    where, pairs = corpus.measured()
    return ", ".join(filter(None, (_joined(config.test or config.dev or config.data), f"pairs {where}", differ))), pairs


def _joined(words: str | Sequence[str]) -> str:
    """Return words of the command line as messages name them."""
    return words if isinstance(words, str) else " ".join(words)

"""Further numbers in the reports of a translator's training, and the warning that it learns nothing."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.apps.background import Compiler
from jaxseq.apps.text import Bucket
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import Corpus, take
from jaxseq.apps.translate.decoding import Decoding
from jaxseq.apps.translate.evaluate import bleu_of
from jaxseq.apps.translate.model import Translator
from jaxseq.apps.translate.scoring import perplexity
from jaxseq.apps.translate.token_losses import saturation
from jaxseq.notation import Array, Params
from jaxseq.optimizers import SCHEDULES, rate_at
from jaxseq.seq2seq import Saturated, Seq2Seq
from jaxseq.train import Listener, Metrics, TrainState

BLEU_PAIRS = 300
"""Most held-back pairs that a report translates to choose the best checkpoint by BLEU."""
AWAKE = 300
"""Steps after which a training should be below the loss of the unigram."""
LATEST = 100
"""Steps whose mean loss is then compared."""


def unigram_loss(counts: Array) -> float:
    """Return the loss, in nats a token, of a model that only knows how common each target token is.

    That model is where training starts: the frequencies are smoothed as by `log_frequencies`.

    Args:
      counts: int ``[V]``, how often training predicts each target token.

    Example:
      >>> round(unigram_loss(np.array([7, 7])), 4)  # ln 2
      0.6931
    """
    seen = np.asarray(counts, float)
    # a token that training never predicts has a finite logarithm
    smoothed = seen + 1
    return float(-(seen * np.log(smoothed / smoothed.sum())).sum() / seen.sum())


Measure = Callable[[Metrics, TrainState, Params], Mapping[str, float]]


def measures(
    config: TranslateConfig,
    model: Seq2Seq,
    corpus: Corpus,
    buckets: Sequence[Bucket],
    unigram: float,
    compiler: Compiler,
    params: Params,
) -> Measure:
    """Return a function that measures the validated parameters for a report.

    ``unigram_loss`` and ``unigram_perplexity`` as a baseline, ``validation_perplexity``, ``learning_rate``,
    ``saturated_states`` and ``saturated_features`` on a batch of the largest bucket, and ``bleu`` where the best
    checkpoint is chosen by it.

    Args:
      config: of the run.
      model: built from it.
      corpus: the training pairs.
      buckets: of the pairs held back, or of those trained on if no pair is held back.
      unigram: from `unigram_loss`.
      compiler: compiles the measurements in the background.
      params: the parameters, or their shapes.
    """
    saturated = _saturated(config, model, buckets, compiler, params)
    # built again from the settings: optax keeps the optimizer's own in a closure
    schedule = SCHEDULES[config.schedule](config.learning_rate, config.warmup, config.steps)

    def measure(metrics: Metrics, state: TrainState, params: Params) -> dict[str, float]:
        found = {"unigram_loss": unigram, "unigram_perplexity": perplexity(-unigram, 1)}
        if metrics.validation_loss is not None:
            found["validation_perplexity"] = perplexity(-metrics.validation_loss, 1)
        found["learning_rate"] = rate_at(schedule, state.opt_state, metrics.step)
        # one transfer for both
        shares = jax.device_get(saturated(params))
        found["saturated_states"] = float(shares.states)
        if model.features is not None:
            found["saturated_features"] = float(shares.features)
        if config.best == "bleu":
            found["bleu"] = greedy_bleu(Translator(config, model, params, corpus.source, corpus.target), corpus)
        return found

    return measure


def _saturated(
    config: TranslateConfig, model: Seq2Seq, buckets: Sequence[Bucket], compiler: Compiler, params: Params
) -> Callable[[Params], Saturated]:
    """Return ``params -> shares of the decoder that are saturated`` on a batch of the largest bucket."""
    # one batch: enough to estimate a share, and one more program to compile
    largest = max(buckets, key=lambda bucket: bucket.source.shape[1])
    rows = np.arange(min(config.batch, largest.source.shape[1]), dtype=np.int32)
    data = (jnp.asarray(largest.source[:, rows]), jnp.asarray(largest.target[:, rows]))

    def shares(params: Params, data: Any, rows: Array) -> Saturated:
        return saturation(model, params, take(data, rows))

    program = compiler.program(jax.jit(shares), params, data, rows)
    return lambda params: program(params, data, rows)


def greedy_bleu(translator: Translator, corpus: Corpus) -> float:
    """Return BLEU of greedy translations of the first held-back pairs, at most `BLEU_PAIRS`."""
    pairs = corpus.measured()[1][:BLEU_PAIRS]
    # greedy: a report should not take longer than the training between two reports
    done = translator.translate_prepared([source for source, _ in pairs], Decoding(beam=1))
    references = [[target.written for _, target in pairs]]
    return float(bleu_of(translator.config).corpus_score([one.text for one in done], references).score)


def judged_by_bleu(metrics: Metrics) -> float:
    """Return the negative BLEU of a report: lower is better, as for a loss."""
    return -metrics.more["bleu"]


class Watch(Listener):
    """Passes everything on to a listener, and warns once if training stays above the unigram loss.

    The tutorial's loss, "sentences", is not a mean over tokens and so is not compared.
    """

    def __init__(self, listener: Listener, config: TranslateConfig, unigram: float, done: int) -> None:
        """Take the listener, the settings, the unigram's loss, and the number of steps that were taken before."""
        self.listener, self.config, self.unigram, self.done = listener, config, unigram, done
        self.latest: collections.deque[tuple[int, float]] = collections.deque()

    def started(self, steps: int, done: int) -> None:
        """Pass it on to the listener."""
        self.listener.started(steps, done)

    def compiling(self, programs: int) -> None:
        """Pass it on to the listener."""
        self.listener.compiling(programs)

    def compiled(self, seconds: float) -> None:
        """Pass it on to the listener."""
        self.listener.compiled(seconds)

    def report(self, metrics: Metrics) -> None:
        """Pass it on to the listener."""
        self.listener.report(metrics)

    def remark(self, text: str) -> None:
        """Pass it on to the listener."""
        self.listener.remark(text)

    def advance(self, steps: int, loss: float) -> None:
        """Pass it on, and warn after step `AWAKE` if the loss of the latest steps is not below the unigram's."""
        self.listener.advance(steps, loss)
        before, self.done = self.done, self.done + steps
        # warn once: a run resumed after that step was judged before
        if before >= AWAKE or self.config.loss != "tokens":
            return
        self.latest.append((steps, loss))
        # the fewest calls that together have `LATEST` steps
        while sum(n for n, _ in self.latest) - self.latest[0][0] >= LATEST:
            self.latest.popleft()
        if self.done >= AWAKE and (seen := self._mean()) >= self.unigram:
            self.remark(asleep(self.config, self.done, seen, self.unigram))

    def _mean(self) -> float:
        return sum(n * loss for n, loss in self.latest) / sum(n for n, _ in self.latest)


def asleep(config: TranslateConfig, step: int, loss: float, unigram: float) -> str:
    """Return the sentence that says that a training has learnt nothing yet, and which settings to try."""
    tries = [f"a lower --learning-rate (it is {config.learning_rate:g})"]
    tries.append(f"a longer --warmup (it is {config.warmup})")
    if not config.clip:
        tries.append("--clip 1")
    if config.optimizer in ("sgd", "momentum", "nesterov"):
        tries.append("--optimizer adam")
    if config.dropout > 0.3:
        tries.append(f"less --dropout (it is {config.dropout:g})")
    return (
        f"after {step} steps the loss is {loss:.2f}, not below {unigram:.2f}, the loss of guessing by word frequency: "
        f"nothing has been learnt from the source yet; try {', '.join(tries[:-1])} or {tries[-1]}"
    )

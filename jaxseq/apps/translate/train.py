"""Training a translator, from a file of pairs to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import checkpoint, forcing, losses, order
from jaxseq.apps import run_folder
from jaxseq.apps.background import Compiler, Program
from jaxseq.apps.settings import check_seed
from jaxseq.apps.text import EOS, PAD, Bucket
from jaxseq.apps.translate.batches import Batches, batches
from jaxseq.apps.translate.config import KIND, TranslateConfig
from jaxseq.apps.translate.data import Corpus, digest_of, numbered, take
from jaxseq.apps.translate.model import SOURCE_VOCABULARY, TARGET_VOCABULARY, Translator, best_params
from jaxseq.apps.translate.store import prepare
from jaxseq.apps.translate.token_losses import held_losses, token_losses
from jaxseq.errors import InputError
from jaxseq.files import write_atomic
from jaxseq.notation import Array, Key, Params
from jaxseq.seq2seq import Seq2Seq
from jaxseq.train import Interrupted, Listener, Metrics, Record, Steps, TrainState, chunk, fit, optimizer

CHUNK = 20
"""Most train steps in one jitted chunk: a second or so, so that progress moves and Ctrl-C is heard."""


def loss_of(model: Seq2Seq, config: TranslateConfig) -> Any:
    """Return the training loss that `jaxseq.train.chunk` wants."""
    probability = forcing.schedule(config.forcing, config.forcing_start, config.forcing_end, config.forcing_steps)
    always = config.forcing == "constant" and config.forcing_start == 1

    def loss(params: Params, data: Any, rows: Array, key: Key, step: Array) -> tuple[Array, tuple[Array, Array]]:
        batch, keys = take(data, rows), jax.random.split(key, 3)
        mask, forced = batch.targets != PAD, None
        if not always:
            forced = forcing.draw(keys[2], probability(step), batch.inputs.shape, config.forcing_per)
            forced = forced | ~mask  # nobody reads what a model writes after the end
        encoded = model.encode(params, batch.source, batch.source != PAD, keys[0])
        if config.loss == "sentences":
            _, (logits, _) = model.decode(params, encoded, batch.inputs, forced, keys[1])
            nll = losses.cross_entropy(logits, batch.targets)
            counted = mask if forced is None else losses.until_own_eos(logits, forced, EOS)
            minimised, reported = losses.per_sentence(nll, counted, mask)
            return minimised, (reported, mask.sum())
        minimised, nll = token_losses(model, config, params, encoded, batch, forced, keys[1])
        return losses.masked_mean(minimised, mask), (losses.masked_mean(nll, mask), mask.sum())

    return loss


def validator(
    model: Seq2Seq, buckets: Sequence[Bucket], batch: int, compiler: Compiler | None = None, params: Params = None
) -> Callable[[Params], float]:
    """Return ``params -> mean loss over the real target tokens`` of all buckets: teacher forced, no dropout.

    With a compiler, and params or their shapes, its programs are compiled in the background.
    """

    @jax.jit
    def sums(params: Params, data: Any, rows: Array) -> tuple[Array, Array]:
        taken = take(data, rows)
        mask, nll = taken.targets != PAD, held_losses(model, params, taken)
        return jnp.where(mask, nll, jnp.zeros_like(nll)).sum(), mask.sum()

    parts = []
    for bucket in buckets:
        count = bucket.source.shape[1]
        rows = np.full(-(-count // batch) * batch, -1, np.int32)
        rows[:count] = np.arange(count)
        data = (jnp.asarray(bucket.source), jnp.asarray(bucket.target))
        program: Callable[..., Any] = compiler.program(sums, params, data, rows[:batch]) if compiler else sums
        parts += [(program, data, row) for row in rows.reshape(-1, batch)]

    def validate(params: Params) -> float:
        both = [jax.device_get(run(params, data, rows)) for run, data, rows in parts]
        return float(sum(s for s, _ in both) / sum(n for _, n in both))

    return validate


class Trained(NamedTuple):
    """The outcome of a training.

    Fields:
      path: the run folder.
      translator: with the best parameters.
      corpus: what it was trained on.
      reports: every line of the run's metrics.
      record: the best loss, and how long training took.
      compile_seconds: for which training waited for compilation.
    """

    path: Path
    translator: Translator
    corpus: Corpus
    reports: list[Metrics]
    record: Record
    compile_seconds: float


def train(
    config: TranslateConfig,
    out: Path | str,
    *,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener | None = None,
) -> Trained:
    """Train a translator into the run folder `out`; with `resume`, go on with the run that is there, exactly.

    Raises:
      InputError: if settings, data or folder cannot be used.
      NonFiniteError: if the loss stops being a number; the last good checkpoint is kept.
      Interrupted: after Ctrl-C; the run can be resumed.
    """
    listener = listener or Listener()
    if resume:
        config = run_folder.read_config(out, KIND, TranslateConfig, config.cell)
    config.check()
    check_seed(config.seed)
    model, corpus = config.build(), prepare(config)
    path = _resumed(out, config, corpus) if resume else _begun(out, config, corpus, overwrite)
    training = batches(config, corpus)
    listener.remark(training.summary())
    held = numbered(corpus.source, corpus.target, corpus.validation, config.buckets)
    k_init, k_train = jax.random.split(jax.random.key(config.seed))
    step = optimizer_of(config)

    def first(key: Key) -> TrainState:
        return TrainState.create(_drawn(key, config, model, corpus, training), step)

    steps = order.chunk_length(config.steps, config.report_every, CHUNK)
    jitted, sizes = chunk(loss_of(model, config), step), training.sizes
    shapes = [training.like(bucket, steps) for bucket in range(len(sizes))]
    saver = _Saver(path, corpus)
    with Compiler() as compiler:
        like = jax.eval_shape(first, k_init)
        listener.compiling(len(shapes))
        largest = sizes.index(max(sizes))  # with which a training begins: compiled while its parameters are drawn
        ahead = compiler.program(jitted, like, *shapes[largest], k_train)
        state, record = _started(path, resume, first(k_init))
        programs = [
            ahead if n == largest else compiler.program(jitted, like, *one, k_train) for n, one in enumerate(shapes)
        ]
        validate = validator(model, held, config.batch, compiler, like.params) if held else None
        stream = training.chunks(steps, config.seed, start=int(state.step) // steps, replacement=config.replacement)

        def run(state: TrainState, bucket: int, rows: np.ndarray) -> tuple[TrainState, Steps]:
            return programs[bucket](state, *training.taken(bucket, rows), k_train)

        try:
            _, record = fit(
                state, run, _when_compiled(stream, programs, listener), steps=config.steps,
                report_every=config.report_every, record=record, patience=config.patience, validate=validate,
                save=saver, listener=listener,
            )  # fmt: skip
        except Interrupted as stopped:
            raise Interrupted(f"{stopped}; everything is saved. Go on with: jaxseq train --resume {path}") from None
    best = saver.best
    if best is None:  # what was resumed had its best step behind it
        best = best_params(path, config, model, corpus.source.vocabulary, corpus.target.vocabulary)
    translator = Translator(config, model, best, corpus.source, corpus.target)
    return Trained(path, translator, corpus, run_folder.metrics(path), record, compiler.waited)


def optimizer_of(config: TranslateConfig) -> optax.GradientTransformation:
    """Return the optimizer that the settings describe."""
    return optimizer(
        config.optimizer, config.learning_rate, schedule=config.schedule, warmup=config.warmup, steps=config.steps,
        clip=config.clip,
    )  # fmt: skip


def _drawn(key: Key, config: TranslateConfig, model: Seq2Seq, corpus: Corpus, training: Batches) -> Params:
    """Return the parameters that training starts from; the output's bias from how often each target token occurs."""
    source, target = len(corpus.source.vocabulary), len(corpus.target.vocabulary)
    sizes = {"embedding": config.embedding, "hidden": config.hidden}
    return model.init(key, source, target, **sizes, counts=training.target_counts(target))


def _begun(out: Path | str, config: TranslateConfig, corpus: Corpus, overwrite: bool) -> Path:
    """Make a run folder, with the vocabularies in it."""
    path = run_folder.create(out, KIND, config, overwrite=overwrite)
    _write_vocabularies(path, corpus)
    return path


def _resumed(out: Path | str, config: TranslateConfig, corpus: Corpus) -> Path:
    """Check that a run folder is that of this corpus; one that was stopped before its first checkpoint begins anew."""
    path, digest = Path(out), corpus.digest()
    if not (path / run_folder.LAST).exists():
        _write_vocabularies(path, corpus)
    elif checkpoint.facts(path / run_folder.LAST).get("corpus", digest) != digest:
        raise InputError(
            f"the pairs of {config.name} are not those that {path} was begun with, so it cannot go on as if it had not "
            "stopped; restore the file, or train anew with another --out"
        )
    return path


def _write_vocabularies(path: Path, corpus: Corpus) -> None:
    write_atomic(path / SOURCE_VOCABULARY, corpus.source.vocabulary.to_json())
    write_atomic(path / TARGET_VOCABULARY, corpus.target.vocabulary.to_json())


def _started(path: Path, resume: bool, state: TrainState) -> tuple[TrainState, Record]:
    """Return the state and the record that training starts from: the new state, or what the run saved last."""
    record = Record()
    if resume and (path / run_folder.LAST).exists():
        state = checkpoint.load(path / run_folder.LAST, state)
        record = Record(**checkpoint.facts(path / run_folder.LAST)["ledger"])
    if resume:
        run_folder.rewind(path, int(state.step))
    return state, record


def _when_compiled(
    stream: Iterator[tuple[int, np.ndarray]], programs: Sequence[Program], listener: Listener
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each chunk when its program is compiled, so that `fit` does not count the waiting as training."""
    for n, (bucket, rows) in enumerate(stream):
        programs[bucket].wait()
        if n == 0:
            listener.compiled(programs[bucket].compiler.waited)
        yield bucket, rows


class _Saver:
    """Saves what training comes to at each report, and keeps the best parameters, `best`, at hand."""

    def __init__(self, path: Path, corpus: Corpus) -> None:
        self.path, self.digest = path, corpus.digest()
        self.words = digest_of(corpus.source.vocabulary, corpus.target.vocabulary)
        self.best: Params | None = None

    def __call__(self, state: TrainState, record: Record, report: Metrics, better: bool) -> None:
        model = self.path / run_folder.MODEL
        if better or not model.exists():
            # a copy: the state is donated to the next chunk
            self.best = jax.tree.map(lambda a: jnp.asarray(np.array(a)), state.params)
            checkpoint.save(model, self.best, step=report.step, vocabularies=self.words)
        run_folder.log(self.path, report)
        checkpoint.save(self.path / run_folder.LAST, state, ledger=record._asdict(), corpus=self.digest)

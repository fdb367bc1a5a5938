"""Training a translator, from a file of pairs to a run folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxseq import forcing, losses
from jaxseq.apps import run_folder, snapshots
from jaxseq.apps.background import Compiler, Program
from jaxseq.apps.parallel import ALONE, ProcessGroup
from jaxseq.apps.settings import check_seed
from jaxseq.apps.text import EOS, PAD
from jaxseq.apps.translate import saving, starting
from jaxseq.apps.translate.config import KIND, TranslateConfig
from jaxseq.apps.translate.data import Corpus, numbered, take
from jaxseq.apps.translate.model import Translator, best_params, shapes_of
from jaxseq.apps.translate.reports import Watch, judged_by_bleu, measures, unigram_loss
from jaxseq.apps.translate.risk import risk_loss
from jaxseq.apps.translate.store import prepare
from jaxseq.apps.translate.token_losses import token_losses
from jaxseq.apps.translate.training_batches import Batches, batches, check_devices
from jaxseq.apps.translate.validation import validator
from jaxseq.memory import check_trains
from jaxseq.notation import Array, Key, Params
from jaxseq.optimizers import DEPENDS_ON_STEPS, on_plateau, optimizer
from jaxseq.seq2seq import Seq2Seq
from jaxseq.train import (
    Interrupted,
    Listener,
    Metrics,
    Record,
    Steps,
    TrainState,
    chunk,
    fit,
    judged_by_loss,
)


def loss_of(model: Seq2Seq, config: TranslateConfig) -> Any:
    """Return the training loss that `jaxseq.train.chunk` wants."""
    probability = forcing.schedule(config.forcing, config.forcing_start, config.forcing_end, config.forcing_steps)
    # then nothing is drawn, and `forced` stays None
    always = config.forcing == "constant" and config.forcing_start == 1

    def loss(params: Params, data: Any, rows: Array, key: Key, step: Array) -> tuple[Array, tuple[Array, Array]]:
        batch, keys = take(data, rows), jax.random.split(key, 3)
        mask, forced = batch.targets != PAD, None
        if config.loss == "risk":
            # rows that fill a batch up have no target and no risk
            risk = losses.masked_mean(risk_loss(model, config, params, batch, keys[1]), mask.any(0))
            return risk, (risk, mask.sum())
        if not always:
            forced = forcing.draw(keys[2], probability(step), batch.inputs.shape, config.forcing_per)
            forced = forced | ~mask  # tokens after the end are not used
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


class Trained(NamedTuple):
    """The result of a training.

    Fields:
      path: the run folder.
      translator: with the best parameters.
      corpus: the training corpus.
      reports: every line of the run's metrics.
      record: the best loss, and how long training took.
      compile_seconds: seconds that training waited for compilation.
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
    steps: int | None = None,
    listener: Listener | None = None,
    group: ProcessGroup = ALONE,
) -> Trained:
    """Train a translator into the run folder `out`; `resume` continues an existing run exactly.

    All processes of a group call this with the same arguments; the first one writes the folder.

    Args:
      config: the settings; with `resume` only the cell is read, which says that the run may import it.
      out: the run folder.
      overwrite: replace an existing run.
      resume: continue it.
      steps: with `resume`, another total number of steps, above those taken.
      listener: its callbacks.
      group: the processes and devices that train together.

    Raises:
      InputError: if settings, data or folder cannot be used.
      NonFiniteError: if the loss stops being a number; the last good checkpoint is kept.
      Interrupted: after Ctrl-C; the run can be resumed.
    """
    ears = listener or Listener()
    with run_folder.writing(out) if group.first else contextlib.nullcontext():
        plan = _resumed(config, out, steps, ears, group) if resume else _begun(config, out, overwrite, ears, group)
        config, corpus = plan.config, plan.corpus
        # each process has read the files itself, and they may differ between machines
        group.check_same("settings or pairs", f"{config} {corpus.digest()}")
        with Compiler() as compiler:
            record, best = _fitted(plan, compiler, ears, group)
        if best is None:  # a resumed run whose best step was before the resume
            best = best_params(plan.path, config, plan.model, corpus.source.vocabulary, corpus.target.vocabulary)
        translator = Translator(config, plan.model, best, corpus.source, corpus.target)
        return Trained(plan.path, translator, corpus, run_folder.metrics(plan.path), record, compiler.waited)


class _Plan(NamedTuple):
    """A training whose settings have been checked, ready to begin.

    Fields:
      config: the settings, with the steps in all.
      model: built from them.
      corpus: the training corpus.
      batches: of its pairs.
      path: the run folder.
      chunk: steps in one jitted chunk.
      params: to start from, those of a run that is fine-tuned; None draws them.
      resume: whether the run folder has a state to resume from.
      extended: whether a run continues beyond its original number of steps.
    """

    config: TranslateConfig
    model: Seq2Seq
    corpus: Corpus
    batches: Batches
    path: Path
    chunk: int
    params: Params | None
    resume: bool = False
    extended: bool = False


def _begun(config: TranslateConfig, out: Path | str, overwrite: bool, listener: Listener, group: ProcessGroup) -> _Plan:
    """Make the folder of a new run and return its plan."""
    starting.check_length(config)
    config = starting.fine_tuned(config)
    config.check()
    check_seed(config.seed)
    # all checks of settings come before the corpus is read, which may take minutes
    check_devices(config, group.devices)
    given = params = None
    if config.init_from:
        given, params = starting.base(config)
    model, corpus = config.build(), prepare(config, given)
    training = batches(config, corpus, len(group.devices))
    unknown = starting.unknown_share(training.source, training.target) if config.init_from else ""
    for remark in filter(None, (unknown, starting.chosen_otherwise(config))):
        listener.remark(remark)
    config = starting.in_steps(config, training.steps)
    shapes = shapes_of(config, model, corpus.source.vocabulary, corpus.target.vocabulary)
    # before the folder is made: a run that cannot train leaves nothing behind
    check_trains(shapes, "use a smaller --hidden, --embedding or --layers")
    path = saving.begun(out, config, corpus, overwrite) if group.first else Path(out)
    return _Plan(config, model, corpus, training, path, saving.chunk_of(config), params)


def _resumed(
    config: TranslateConfig, out: Path | str, steps: int | None, listener: Listener, group: ProcessGroup
) -> _Plan:
    """Return the plan of a resumed run, with another number of steps if given."""
    config = run_folder.read_config(out, KIND, TranslateConfig, config.cell)
    config.check()
    check_seed(config.seed)
    check_devices(config, group.devices)
    length, until = saving.chunk_of(config, out), config.steps
    if steps is not None:
        config = saving.further(config, out, steps)
    given, params = saving.preparations(config, out), None
    if config.init_from and given is None:
        given, params = starting.base(config)
    model, corpus = config.build(), prepare(config, given)
    path = saving.resumed(out, config, corpus) if group.first else Path(out)
    if config.steps != until:
        if group.first:
            run_folder.write_config(path, KIND, config)
        if config.schedule in DEPENDS_ON_STEPS:
            listener.remark(
                f"the schedule {config.schedule} is stretched: the learning rate goes on as if the run had been "
                f"started for {config.steps} steps"
            )
    training = batches(config, corpus, len(group.devices))
    return _Plan(config, model, corpus, training, path, length, params, resume=True, extended=steps is not None)


def _fitted(plan: _Plan, compiler: Compiler, listener: Listener, group: ProcessGroup) -> tuple[Record, Params | None]:
    """Train; return the record, and the best parameters if they were found in this call."""
    config, model, corpus, devices, training = plan.config, plan.model, plan.corpus, group.devices, plan.batches
    held = numbered(corpus.source, corpus.target, corpus.validation, config.buckets)
    counts = training.target_counts(len(corpus.target.vocabulary))
    k_init, k_train = jax.random.split(jax.random.key(config.seed))
    step, unigram = optimizer_of(config), unigram_loss(counts)

    def first(key: Key) -> TrainState:
        params = _drawn(key, config, model, corpus, counts) if plan.params is None else plan.params
        return TrainState.create(params, step, ema=config.ema > 0)

    jitted = chunk(
        loss_of(config.build(training=True), config), step, ema=config.ema, accumulate=config.accumulate,
        by_tokens=config.loss == "tokens", devices=devices,
    )  # fmt: skip
    sizes, like = training.sizes, jax.eval_shape(first, k_init)
    shapes = [training.like(bucket, plan.chunk) for bucket in range(len(sizes))]
    largest = sizes.index(max(sizes))  # the first programs of a training: compiled while its parameters are drawn
    ahead = compiler.program(jitted, like, *shapes[largest], k_train)
    saver = saving.Saver(plan.path, corpus, config, plan.chunk, group)
    state, record = saving.started(plan.path, plan.resume, first(k_init), saver)
    if plan.extended:
        record = saving.patient(record, config.patience)
    listener = Watch(listener, config, unigram, int(state.step))
    listener.started(config.steps, int(state.step))
    listener.remark(training.summary())
    listener.compiling(len(shapes))
    programs = [
        ahead if n == largest else compiler.program(jitted, like, *one, k_train) for n, one in enumerate(shapes)
    ]
    # the seed alone decides the order of batches, so a resumed run skips the chunks that it has taken
    begun = int(state.step) // plan.chunk
    stream = training.chunks(plan.chunk, config.seed, start=begun, replacement=config.replacement)
    validate = validator(model, held, config.batch, compiler, like.params, devices) if held else None
    measured = measures(config, model, corpus, held or training.some(), unigram, compiler, like.params)

    def run(state: TrainState, bucket: int, rows: np.ndarray) -> tuple[TrainState, Steps]:
        # here a process can still learn that another has failed; in a shared computation it would wait
        group.meet()
        data, rows = training.taken(bucket, rows)
        return programs[bucket](state, devices.put(data), rows, k_train)

    if config.snapshots:
        at = snapshots.due(config.steps, config.snapshots, plan.chunk)
        run = snapshots.keeping(run, plan.path, at, chunk=plan.chunk, done=begun * plan.chunk, writes=group.first)

    try:
        _, record = fit(
            state, run, _when_compiled(stream, programs, listener), steps=config.steps,
            report_every=config.report_every, record=record, patience=config.patience, candidate=saver.candidate,
            validate=validate,
            measure=lambda report, state, params: measured(report, state, devices.local(params)),
            judge=judged_by_bleu if config.best == "bleu" else judged_by_loss,
            adapt=_adapting(config), save=saver, listener=listener, agree=group.any,
        )  # fmt: skip
    except Interrupted as stopped:
        # None: a traceback of Ctrl-C tells the user nothing
        raise Interrupted(f"{stopped}; everything is saved. Continue with: jaxseq train --resume {plan.path}") from None
    return record, saver.best


def optimizer_of(config: TranslateConfig) -> optax.GradientTransformation:
    """Return the optimizer that the settings describe."""
    return optimizer(
        config.optimizer, config.learning_rate, schedule=config.schedule, warmup=config.warmup, steps=config.steps,
        clip=config.clip, weight_decay=config.weight_decay,
    )  # fmt: skip


def _adapting(config: TranslateConfig) -> Callable[[Any, int], Any]:
    """Return the update of the optimizer's state after a report; only the plateau schedule has one."""
    if config.schedule == "plateau":
        return on_plateau(config.plateau_patience, config.plateau_factor)
    return lambda opt_state, _: opt_state


def _drawn(key: Key, config: TranslateConfig, model: Seq2Seq, corpus: Corpus, counts: Array) -> Params:
    """Return the parameters that training starts from; the output bias comes from token frequencies."""
    source, target = len(corpus.source.vocabulary), len(corpus.target.vocabulary)
    return model.init(key, source, target, embedding=config.embedding, hidden=config.hidden, counts=counts)


def _when_compiled(
    stream: Iterator[tuple[int, np.ndarray]], programs: Sequence[Program], listener: Listener
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each chunk when its program is compiled, so that `fit` does not count the waiting as training."""
    for n, (bucket, rows) in enumerate(stream):
        programs[bucket].wait()
        if n == 0:
            listener.compiled(programs[bucket].compiler.waited)
        yield bucket, rows

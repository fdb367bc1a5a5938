"""Training a translator, from a file of pairs to a run folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint, forcing, losses, order
from jaxseq.apps import datasets, run_folder, text
from jaxseq.apps.pairs import normalise_pairs, prefix_filter, read_pairs, split_pairs
from jaxseq.apps.text import EOS, PAD, SOS, Bucket, Vocabulary
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.errors import InputError
from jaxseq.files import write_atomic
from jaxseq.notation import Array, Key, Params
from jaxseq.seq2seq import Seq2Seq
from jaxseq.train import Interrupted, Ledger, Listener, Report, Steps, TrainState, chunk, fit, optimizer

KIND = "translation"
CHUNK = 20
"""Most train steps in one jitted chunk: a second or so, so that progress moves and Ctrl-C is heard."""


class Corpus(NamedTuple):
    """Pairs read, filtered, split and numbered.

    Fields:
      train: pairs of normalised sentences, (source, target).
      validation: the pairs held back; no sentence of theirs, on either side, is in `train`.
      source: vocabulary of the training sources.
      target: vocabulary of the training targets.
      notes: what was left out and why, for people.
    """

    train: list[tuple[str, str]]
    validation: list[tuple[str, str]]
    source: Vocabulary
    target: Vocabulary
    notes: list[str]

    def digest(self) -> str:
        """Return what tells this corpus from a changed one: a sum of all pairs in their order."""
        return hashlib.sha256(json.dumps([self.train, self.validation]).encode()).hexdigest()


def digest_of(source: Vocabulary, target: Vocabulary) -> str:
    """Return what tells two vocabularies from others of the same size: a sum of all their tokens in order."""
    return hashlib.sha256(json.dumps([source.tokens, target.tokens]).encode()).hexdigest()


def kept_pairs(config: TranslateConfig, path: Path | str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the normalised (source, target) pairs of a file that pass the filters, and notes on those that do not.

    Raises:
      InputError: if the file cannot be used, or nothing is left.
    """
    pairs = read_pairs(path, config.columns, config.source, config.target)
    normalise = text.NORMALISERS[config.normalise]
    pairs = normalise_pairs(pairs, normalise, path)
    notes, read = [], len(pairs)
    if config.prefix_filter:
        english = 0 if config.source == "en" else 1
        pairs = prefix_filter(pairs, english=english)
        notes.append(f"{read - len(pairs)} of {read} pairs do not pass the tutorial's filter")
    cut_source, cut_target = (text.TOKENISERS[n] for n in (config.source_tokens, config.target_tokens))
    kept = [p for p in pairs if max(len(cut_source(p[0])), len(cut_target(p[1]))) <= config.max_tokens]
    if len(kept) < len(pairs):
        notes.append(f"{len(pairs) - len(kept)} pairs are longer than --max-tokens {config.max_tokens} and left out")
    if not kept:
        raise InputError(f"{path}: no pair is left of {read}: {'; '.join(notes)}. Loosen the filter or --max-tokens")
    return kept, notes


def prepare(config: TranslateConfig) -> Corpus:
    """Read the file that config names, split it and count its vocabularies."""
    pairs, notes = kept_pairs(config, datasets.find(config.data))
    train, validation = split_pairs(pairs, config.validation, config.seed) if config.validation else (pairs, [])
    sides = zip(*(tokenise(config, pair) for pair in train), strict=True)
    source, target = (Vocabulary.build(side, min_count=config.min_count) for side in sides)
    return Corpus(train, validation, source, target, notes)


def tokenise(config: TranslateConfig, pair: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Return the tokens of both sides of a pair."""
    cut_source, cut_target = (text.TOKENISERS[name] for name in (config.source_tokens, config.target_tokens))
    return cut_source(pair[0]), cut_target(pair[1])


def numbered(config: TranslateConfig, corpus: Corpus, pairs: Sequence[tuple[str, str]], buckets: int) -> list[Bucket]:
    """Return pairs as token numbers, each side ending with EOS, grouped by length and padded."""
    tokens = [tokenise(config, pair) for pair in pairs]
    sources = [[*corpus.source.encode(source), EOS] for source, _ in tokens]
    targets = [[*corpus.target.encode(target), EOS] for _, target in tokens]
    return text.buckets(sources, targets, buckets)


def target_counts(buckets: Sequence[Bucket], size: int) -> Array:
    """Return how often each of `size` target tokens is predicted, EOS included; PAD is not predicted."""
    targets = np.concatenate([bucket.target.ravel() for bucket in buckets])
    return jnp.asarray(np.bincount(targets[targets != PAD], minlength=size))


class Batch(NamedTuple):
    """Token numbers: ``source [S, B]``, ``inputs [T, B]`` (SOS first), ``targets [T, B]`` (EOS last), PAD between."""

    source: Array
    inputs: Array
    targets: Array


def take(data: tuple[Array, Array], rows: Array) -> Batch:
    """Return the batch of those rows of ``(source [S, N], target [T, N])``; a row of -1 is empty."""
    source, targets = (jnp.where(rows >= 0, jnp.take(side, jnp.maximum(rows, 0), axis=1), PAD) for side in data)
    first = jnp.full_like(targets[:1], SOS)
    return Batch(source, jnp.concatenate([first, targets[:-1]]), targets)


def loss_of(model: Seq2Seq, config: TranslateConfig) -> Any:
    """Return the training loss that `jaxseq.train.chunk` wants."""
    probability = forcing.schedule(config.forcing, config.forcing_start, config.forcing_end, config.forcing_steps)
    always = config.forcing == "constant" and config.forcing_start == 1

    def loss(params: Params, data: Any, rows: Array, key: Key, step: Array) -> tuple[Array, tuple[Array, Array]]:
        batch, keys = take(data, rows), jax.random.split(key, 3)
        forced = None
        if not always:
            forced = forcing.draw(keys[2], probability(step), batch.inputs.shape, config.forcing_per)
        encoded = model.encode(params, batch.source, batch.source != PAD, keys[0])
        _, (logits, _) = model.decode(params, encoded, batch.inputs, forced, keys[1])
        mask = batch.targets != PAD
        nll = losses.cross_entropy(logits, batch.targets)
        if config.loss == "sentences":
            counted = mask if forced is None else losses.until_own_eos(logits, forced, EOS)
            minimised, reported = losses.per_sentence(nll, counted, mask)
            return minimised, (reported, mask.sum())
        smoothed = losses.cross_entropy(logits, batch.targets, config.label_smoothing)
        return losses.masked_mean(smoothed, mask), (losses.masked_mean(nll, mask), mask.sum())

    return loss


def validator(model: Seq2Seq, buckets: Sequence[Bucket], batch: int) -> Callable[[Params], float]:
    """Return ``params -> mean loss over the real target tokens`` of all buckets: teacher forced, no dropout."""

    @jax.jit
    def sums(params: Params, data: Any, rows: Array) -> tuple[Array, Array]:
        taken = take(data, rows)
        encoded = model.encode(params, taken.source, taken.source != PAD)
        _, (logits, _) = model.decode(params, encoded, taken.inputs)
        mask = taken.targets != PAD
        nll = losses.cross_entropy(logits, taken.targets)
        return jnp.where(mask, nll, jnp.zeros_like(nll)).sum(), mask.sum()

    parts = []
    for bucket in buckets:
        count = bucket.source.shape[1]
        rows = np.full(-(-count // batch) * batch, -1, np.int32)
        rows[:count] = np.arange(count)
        data = (jnp.asarray(bucket.source), jnp.asarray(bucket.target))
        parts += [(data, row) for row in rows.reshape(-1, batch)]

    def validate(params: Params) -> float:
        both = [jax.device_get(sums(params, data, rows)) for data, rows in parts]
        return float(sum(s for s, _ in both) / sum(n for _, n in both))

    return validate


class Trained(NamedTuple):
    """What a training came to."""

    path: Path
    corpus: Corpus
    reports: list[Report]
    ledger: Ledger
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
        path = Path(out)
        config = run_folder.read_config(path, KIND, TranslateConfig, config.cell)
    config.check()
    model, corpus = config.build(), prepare(config)
    training, held = (numbered(config, corpus, pairs, config.buckets) for pairs in (corpus.train, corpus.validation))
    words = digest_of(corpus.source, corpus.target)
    digest, again = corpus.digest(), resume and (path / run_folder.LAST).exists()
    if again and checkpoint.facts(path / run_folder.LAST).get("corpus", digest) != digest:
        raise InputError(
            f"the pairs of {config.data} are not those that {path} was begun with, so it cannot go on as if it had not "
            "stopped; restore the file, or train anew with another --out"
        )
    if not resume:
        path = run_folder.create(out, KIND, config, overwrite=overwrite)
    if not again:
        write_atomic(path / "source.vocab.json", corpus.source.to_json())
        write_atomic(path / "target.vocab.json", corpus.target.to_json())

    k_init, k_train = jax.random.split(jax.random.key(config.seed))
    sizes = {"embedding": config.embedding, "hidden": config.hidden}
    counts = target_counts(training, len(corpus.target))
    params = model.init(k_init, len(corpus.source), len(corpus.target), **sizes, counts=counts)
    optimise = optimizer(
        config.optimizer,
        config.learning_rate,
        schedule=config.schedule,
        warmup=config.warmup,
        steps=config.steps,
        clip=config.clip,
    )
    state, ledger = TrainState.create(params, optimise), Ledger()
    if again:
        state = checkpoint.load(path / run_folder.LAST, state)
        ledger = Ledger(**checkpoint.facts(path / run_folder.LAST)["ledger"])
    if resume:
        run_folder.rewind(path, int(state.step))

    validate = validator(model, held, config.batch) if held else None
    length = order.chunk_length(config.steps, config.report_every, CHUNK)
    data = [(jnp.asarray(bucket.source), jnp.asarray(bucket.target)) for bucket in training]
    listener.compiling(len(data))
    begun = time.perf_counter()
    rows = jax.ShapeDtypeStruct((length, config.batch), jnp.int32)
    jitted = chunk(loss_of(model, config), optimise)
    with ThreadPoolExecutor() as pool:  # XLA lets go of the interpreter while it compiles
        compiled = pool.map(lambda d: jitted.lower(state, d, rows, k_train).compile(), data)
        if validate:
            validate(state.params)
        programs = list(compiled)
    compile_seconds = time.perf_counter() - begun
    listener.compiled(compile_seconds)

    def run(state: TrainState, bucket: int, rows: np.ndarray) -> tuple[TrainState, Steps]:
        return programs[bucket](state, data[bucket], rows, k_train)

    def save(state: TrainState, ledger: Ledger, report: Report, better: bool) -> None:
        if better or not (path / run_folder.MODEL).exists():
            checkpoint.save(path / run_folder.MODEL, state.params, step=report.step, vocabularies=words)
        run_folder.log(path, report)
        checkpoint.save(path / run_folder.LAST, state, ledger=ledger._asdict(), corpus=digest)

    stream = order.chunks(
        [bucket.source.shape[1] for bucket in training],
        config.batch,
        length,
        config.seed,
        start=int(state.step) // length,
        replacement=config.replacement,
    )
    try:
        _, ledger = fit(
            state, run, stream, steps=config.steps, report_every=config.report_every, ledger=ledger,
            patience=config.patience, validate=validate, save=save, listener=listener,
        )  # fmt: skip
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}; everything is saved. Go on with: jaxseq train --resume {path}") from None
    return Trained(path, corpus, run_folder.metrics(path), ledger, compile_seconds)

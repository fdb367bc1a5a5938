"""The run folder of a translator in training: create it, resume from it, and save at each report."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint, order
from jaxseq.apps import run_folder
from jaxseq.apps.parallel import ProcessGroup
from jaxseq.apps.translate import preparation
from jaxseq.apps.translate.config import KIND, TranslateConfig
from jaxseq.apps.translate.data import Corpus, digest_of
from jaxseq.apps.translate.preparation import Preparation
from jaxseq.errors import InputError
from jaxseq.inputs import understood
from jaxseq.notation import Params, Tree
from jaxseq.train import Metrics, Record, TrainState

CHUNK = 20
"""Most train steps in one jitted chunk: a second or so, so that progress is shown and Ctrl-C takes effect."""
WINDOW = "window.safetensors"
"""The parameters at the last reports, of a run that averages them."""


def begun(out: Path | str, config: TranslateConfig, corpus: Corpus, overwrite: bool) -> Path:
    """Make a run folder, with the vocabularies in it."""
    with run_folder.building(out, KIND, config, overwrite=overwrite) as folder:
        preparation.save(folder, corpus.source, corpus.target)
    return Path(out)


def resumed(out: Path | str, config: TranslateConfig, corpus: Corpus) -> Path:
    """Check that a run folder is that of this corpus; one that was stopped before its first checkpoint starts again."""
    path = Path(out)
    if not (path / run_folder.LAST).exists():
        # nothing was learnt from the old vocabularies yet
        preparation.save(path, corpus.source, corpus.target)
    elif differ := changed(checkpoint.facts(path / run_folder.LAST), corpus):
        raise InputError(
            f"the pairs of {config.name} are not those that {path} was started with ({differ}), so it cannot go on as "
            "if it had not stopped; restore the file, or train anew with another --out"
        )
    return path


def facts_of(corpus: Corpus) -> dict[str, Any]:
    """Return a checksum of a run's pairs, and how many are trained on and held back.

    With test pairs also their number and checksum.
    """
    tested = {"test": [len(corpus.test), corpus.test_digest()]} if corpus.test else {}
    return {"corpus": corpus.digest(), "pairs": [len(corpus.train), len(corpus.validation)], **tested}


def changed(facts: Mapping[str, Any], corpus: Corpus) -> str:
    """Return how pairs differ from those whose `facts_of` a run has saved; an empty string if they do not."""
    now = facts_of(corpus)
    if facts.get("corpus", now["corpus"]) == now["corpus"]:
        return ""
    if facts.get("pairs", now["pairs"]) == now["pairs"]:  # or of jaxseq 0.1, which saved the sum alone
        return "their text or their order has changed"
    (train, held), (train_now, held_now) = facts["pairs"], now["pairs"]
    return f"{train} to train on and {held} held back then, {train_now} and {held_now} now"


def check_trained_on(path: Path, config: TranslateConfig, corpus: Corpus) -> None:
    """Check that the pairs that measure a run are split as they were in training.

    Raises:
      InputError: if the pairs have changed.
    """
    facts = checkpoint.facts(path / run_folder.MODEL)
    if "corpus" not in facts and (path / run_folder.LAST).exists():  # of jaxseq 0.1
        facts = checkpoint.facts(path / run_folder.LAST)
    if differ := changed(facts, corpus):
        raise InputError(
            f"the pairs of {config.name} are not those that {path} was trained on ({differ}), so that it may have been "
            "trained on those held back now; restore the file, or name pairs with --data"
        )


def test_changed(path: Path, corpus: Corpus) -> str:
    """Return how test pairs differ from those given in training; an empty string if they do not.

    A run of jaxseq 0.1 has not saved them.
    """
    file = path / run_folder.MODEL
    with understood(file, run_folder.AGAIN):
        then, digest = checkpoint.facts(file).get("test", facts_of(corpus).get("test", (0, "")))
        if digest == corpus.test_digest() or not corpus.test:
            return ""
        return f"which are not those of the training, {then:,} then, {len(corpus.test):,} now"


def preparations(config: TranslateConfig, path: Path | str) -> tuple[Preparation, Preparation] | None:
    """Return how a run prepares sentences; None if it was stopped before its first checkpoint."""
    return preparation.load(Path(path), config) if (Path(path) / run_folder.LAST).exists() else None


def chunk_of(config: TranslateConfig, path: Path | str | None = None) -> int:
    """Return the steps of a jitted chunk; a resumed run keeps its number, since the data order depends on it."""
    length = order.chunk_length(config.steps, config.report_every, CHUNK)
    return length if path is None else _last(path).get("chunk", length)


def _last(path: Path | str) -> dict[str, int]:
    """Return ``step`` and ``chunk`` of a run's latest checkpoint; nothing if it was stopped before the first."""
    file = Path(path) / run_folder.LAST
    facts = checkpoint.facts(file) if file.exists() else {}
    with understood(file, run_folder.AGAIN):
        return {name: operator.index(facts[name]) for name in ("step", "chunk") if name in facts}


def further(config: TranslateConfig, path: Path | str, steps: int) -> TranslateConfig:
    """Return the settings of a run with another total number of steps.

    Raises:
      InputError: if it has taken as many, or the number is not a multiple of the steps that it takes at once.
    """
    done = _last(path).get("step", max((report.step for report in run_folder.metrics(path)), default=0))
    length = chunk_of(config, path)
    if steps <= done:
        raise InputError(f"--steps must be above {done}, the steps that {path} has taken; got {steps}")
    if steps % length:
        nearest = max(1, round(steps / length)) * length
        raise InputError(
            f"--steps must be a multiple of {length}, the steps that {path} takes at once; got {steps}: try {nearest}"
        )
    return dataclasses.replace(config, steps=steps)


def patient(record: Record, patience: int) -> Record:
    """Return the record of a run that is extended; after early stopping its patience starts again."""
    return record._replace(stale=0) if 0 < patience <= record.stale else record


def started(path: Path, resume: bool, state: TrainState, saver: Saver) -> tuple[TrainState, Record]:
    """Return the state and the record that training starts from: the new state, or the last one that the run saved."""
    record, group = Record(), saver.group
    if resume and group.first:
        if (path / run_folder.LAST).exists():
            state = checkpoint.load(path / run_folder.LAST, state)
            with understood(path / run_folder.LAST, run_folder.AGAIN):
                record = Record.of(checkpoint.facts(path / run_folder.LAST)["ledger"])
        # reports after the saved state are repeated
        run_folder.rewind(path, int(state.step))
    # the others wait until the first has read the file, or learn that it could not
    group.meet()
    state = group.devices.put(group.share(state))
    if resume:
        saver.go_on(state)
    return state, Record.of(group.share_facts(record._asdict()))


class Saver:
    """Saves the state of training at each report, and keeps the best parameters in memory, as `best`."""

    def __init__(self, path: Path, corpus: Corpus, config: TranslateConfig, chunk: int, group: ProcessGroup) -> None:
        """Take the run folder, the corpus, the settings, the steps of a chunk, and the processes."""
        self.path, self.facts, self.average, self.chunk = path, facts_of(corpus), config.average, chunk
        self.group = group
        self.words = digest_of(corpus.source.vocabulary, corpus.target.vocabulary)
        self.best: Params | None = None
        self.window: list[tuple[int, Params]] = []
        self.mean: Params | None = None  # of the window

    def go_on(self, state: TrainState) -> None:
        """Read the window of a resumed run; a report whose state was not saved is repeated."""
        file, first = self.path / WINDOW, self.group.first
        if not self.average:
            return
        steps = self.group.share_facts(checkpoint.facts(file).get("steps", []) if first and file.exists() else [])
        like = [_on_host(state.params)] * len(steps)
        params = self.group.share(checkpoint.load(file, like, as_numpy=True) if first and steps else like)
        self.window = [(n, one) for n, one in zip(steps, params, strict=True) if n <= int(state.step)]
        self.mean = mean_of([params for _, params in self.window]) if self.window else None

    def candidate(self, state: TrainState) -> Params:
        """Return the parameters that a report validates: the state's, or the mean of those at the last reports."""
        if not self.average:
            return state.validated
        self.window = [*self.window, (int(state.step), _on_host(state.params))][-self.average :]
        self.mean = mean_of([params for _, params in self.window])
        return self.group.devices.put(self.mean)

    def __call__(self, state: TrainState, record: Record, report: Metrics | None, better: bool) -> None:
        """Save at a report, or without one if training stopped between two; for `jaxseq.train.fit`."""
        model = self.path / run_folder.MODEL
        if new := better or (self.best is None and not model.exists()):
            self.best = self._validated(state)
        if not self.group.first:
            return
        if new:
            checkpoint.save(model, self.best, step=int(state.step), vocabularies=self.words, **self.facts)
        if report is not None:
            run_folder.log(self.path, report)
            if self.average:
                checkpoint.save(self.path / WINDOW, [one for _, one in self.window], steps=[n for n, _ in self.window])
        # The state comes last. A kill before it repeats the report, from the state of the one before; a state without
        # its
        # report would lose that line.
        facts = {"ledger": record._asdict(), "chunk": self.chunk, "step": int(state.step)}
        checkpoint.save(self.path / run_folder.LAST, state, **facts, **self.facts)

    def _validated(self, state: TrainState) -> Params:
        """Return a copy of the parameters that were validated: the state is donated to the next chunk."""
        if self.mean is not None:
            return self.mean
        return jax.tree.map(jnp.asarray, _on_host(state.validated))


def _on_host(params: Params) -> Params:
    """Return a copy as NumPy arrays."""
    return jax.tree.map(lambda a: np.array(a), params)


def mean_of(trees: Sequence[Tree]) -> Tree:
    """Return the mean of some trees of NumPy arrays, summed in float64, as arrays of their dtype."""

    def one(*leaves: np.ndarray) -> Any:
        return jnp.asarray(np.mean(np.stack(leaves), axis=0, dtype=np.float64).astype(leaves[0].dtype))

    return jax.tree.map(one, *trees)

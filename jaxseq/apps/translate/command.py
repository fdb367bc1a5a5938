"""The command `jaxseq train`: its options and output."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes

from jaxseq.apps import run_folder
from jaxseq.apps.parallel import ParallelConfig, ProcessGroup, joined
from jaxseq.apps.progress import Progress, say
from jaxseq.apps.settings import Default, check_unchanged
from jaxseq.apps.shown import Shown, show
from jaxseq.apps.translate import train as trainer
from jaxseq.apps.translate.config import KIND, PRESETS, TranslateConfig
from jaxseq.apps.translate.evaluate import Evaluation, evaluate as measure
from jaxseq.apps.translate.evaluate_command import said
from jaxseq.apps.translate.fields import (
    DataSettings,
    ModelSettings,
    ObjectiveSettings,
    ReportSettings,
    TextSettings,
    TrainingSettings,
)
from jaxseq.apps.translate.model import Translation
from jaxseq.apps.translate.pictures import draw_attention
from jaxseq.apps.translate.train import Trained
from jaxseq.errors import InputError, choose
from jaxseq.files import results, write_atomic
from jaxseq.train import Metrics

GROUPS = {
    "data": DataSettings, "text": TextSettings, "model": ModelSettings, "training": TrainingSettings,
    "objective": ObjectiveSettings, "reports": ReportSettings,
}  # fmt: skip
"""Groups of settings by the argument of `train`."""
ON_CARD = (
    "data", "source", "target", "cell", "attention", "layers", "embedding", "hidden", "dropout", "steps", "batch",
    "optimizer", "learning_rate", "seed",
)  # fmt: skip
"""Settings that a run's README always names; others only where they are not the default."""


def command(preset: str) -> Callable[..., None]:
    """Return the command with the defaults of the preset."""
    config = choose("preset", preset, PRESETS)
    return functools.partial(train, **{name: _part(config, group) for name, group in GROUPS.items()})


def _part(config: TranslateConfig, group: type) -> Any:
    """Return the settings of a group."""
    return group(**{field.name: getattr(config, field.name) for field in dataclasses.fields(group)})


def train(
    data: OmitArgPrefixes[DataSettings],
    text: OmitArgPrefixes[TextSettings],
    model: OmitArgPrefixes[ModelSettings],
    training: OmitArgPrefixes[TrainingSettings],
    objective: OmitArgPrefixes[ObjectiveSettings],
    reports: OmitArgPrefixes[ReportSettings],
    parallel: OmitArgPrefixes[ParallelConfig] = ParallelConfig(),  # noqa: B008, frozen
    preset: str = "default",
    out: Path = Path("runs/translate"),
    resume: Path | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Train a translator and measure it on held-out sentences.

    Example: jaxseq train --out runs/translate

    Example: jaxseq train --data my-pairs.tsv --steps 3000 --out runs/mine

    Example: jaxseq train --preset tutorial-attention --data cmn-eng --out runs/tutorial

    Args:
      data: Pairs to train and measure on, and where they are in a file.
      text: Normalising, tokens and vocabularies.
      model: The network: its cell, attention and sizes.
      training: Steps, batches and the optimizer.
      objective: The loss, regularisation and teacher forcing.
      reports: Reports, checkpoints and stopping.
      parallel: Several devices and processes.
      preset: default, tutorial-plain or tutorial-attention; options given with it override it.
      out: Run folder to write.
      resume: Run folder to go on with, exactly as if it had not stopped. Other settings are read from it; --steps can
        be raised.
      overwrite: Replace the run that is there.
      json: Print the result as JSON.
    """
    groups = (data, text, model, training, objective, reports)
    config = TranslateConfig(**{name: value for group in groups for name, value in vars(group).items()})
    defaults = choose("translation preset", preset, PRESETS)
    steps = None
    path = resume or out
    # the first process alone writes, and so it alone takes the lock
    with joined(parallel) as group, run_folder.writing(path) if group.first else contextlib.nullcontext():
        if resume is not None:
            # --steps that equals the default was still given
            steps = None if isinstance(config.steps, Default) else config.steps
            # --steps may differ from the run's, and is left out of the check
            given = dataclasses.replace(config, steps=defaults.steps)
            check_unchanged(given, defaults, f"--resume {resume} goes on with the settings of that run")
            config = run_folder.read_config(resume, KIND, TranslateConfig, config.cell)
        if not group.first:
            # without a listener: only the first process shows how training goes
            trainer.train(config, path, resume=resume is not None, steps=steps, group=group)
            return
        trained = _train(config, path, resume is not None, overwrite, steps, group)
        say("translating the test sentences …")
        # measured with the corpus at hand, which need not be read again
        show(_report(trained, *measure(trained.translator, corpus=trained.corpus)), json)


def _train(
    config: TranslateConfig, out: Path, resume: bool, overwrite: bool, steps: int | None, group: ProcessGroup
) -> Trained:
    """Train with a progress bar, or in a log file a line for each report."""
    progress = Progress()
    try:
        trained = trainer.train(
            config, out, overwrite=overwrite, resume=resume, steps=steps, listener=progress, group=group
        )
    finally:
        # before an error is printed, which would end up within the bar
        progress.close()
    if not trained.reports:
        raise InputError(
            f"{out / run_folder.METRICS} is missing or damaged, and no step is left that could be reported; restore it "
            f"from a copy. The model itself is there: jaxseq evaluate {out}"
        )
    return trained


def _report(trained: Trained, scores: Evaluation, examples: Sequence[Translation]) -> Shown:
    """Draw the loss and one attention map, write the run's README, and say how training went."""
    # matplotlib is imported only where a picture is drawn
    from jaxseq import plots

    reports, record, path = trained.reports, trained.record, trained.path
    curve = plots.loss_curve(
        [r.step for r in reports], [r.loss for r in reports], [r.validation_loss for r in reports]
    )  # fmt: skip
    plots.save(curve, path / "loss.png")
    notes = [*trained.corpus.notes, *scores.notes, *draw_attention(examples[0], path / "attention.png")]
    write_atomic(path / "README.md", _card(trained, scores))
    last = reports[-1]
    facts = {
        "run": str(path), "steps": last.step, "loss": last.loss, "validation_loss": _best_loss(trained),
        "unigram_loss": last.more.get("unigram_loss"),
        "tokens_per_second": last.tokens_per_second, "seconds": record.elapsed,
        "compile_seconds": trained.compile_seconds, "reports": [r.flat() for r in reports],
        "evaluation": scores._asdict(),
    }  # fmt: skip
    table = "\n".join(_line(r) for r in reports)
    files = ", ".join(results(path))
    waited = f"waited {trained.compile_seconds:.1f} s for compilation"
    text = f"{_unigram(last)}{table}\n{waited}\n\n{said(scores)}\n\nwrote {path}: {files}"
    return Shown(facts, text, notes)


def _line(report: Metrics) -> str:
    """Return a report as a line of the table."""
    shown = f"step {report.step:>6}  loss {report.loss:.4f}"
    if report.validation_loss is not None:
        shown += f"  validation {report.validation_loss:.4f}"
    if "validation_perplexity" in report.more:
        shown += f"  perplexity {report.more['validation_perplexity']:.3g}"
    if "bleu" in report.more:
        shown += f"  BLEU {report.more['bleu']:.1f}"
    return f"{shown}  {report.elapsed:6.1f} s"


def _unigram(report: Metrics) -> str:
    """Return the baseline of the losses, as the line above them; nothing for a run of an earlier version."""
    if "unigram_loss" not in report.more:
        return ""
    return (
        f"unigram      loss {report.more['unigram_loss']:.4f}  perplexity {report.more['unigram_perplexity']:.3g}  "
        "(how common each word is, and nothing else)\n"
    )


def _best_loss(trained: Trained) -> float | None:
    """Return the loss of the parameters that were kept."""
    if trained.translator.config.best == "loss":
        return trained.record.best
    # chosen by BLEU: the record holds its negative, and the loss is in the report of that step
    kept = [r.validation_loss for r in trained.reports if r.step == trained.record.best_step]
    return kept[0] if kept else None


def _card(trained: Trained, scores: Evaluation) -> str:
    config, best = trained.translator.config, _best_loss(trained)
    loss = "unknown" if best is None else f"{best:.4f}"
    every, usual = dataclasses.asdict(config), dataclasses.asdict(PRESETS["default"])
    shown = {name: value for name, value in every.items() if name in ON_CARD or value != usual[name]}
    settings = "\n".join(f"| {name} | {value} |" for name, value in shown.items())
    return f"""# Translator {config.source} → {config.target}

Trained by jaxseq on `{config.name}`: {len(trained.corpus.train)} pairs, {len(trained.corpus.validation)} held back for
choosing the checkpoint. Loss {loss} at the best step, {trained.record.best_step}, after
{trained.record.elapsed:.0f} s of training and {trained.compile_seconds:.0f} s of compilation.

```
{said(scores)}
```

It knows the sentences it was trained on and their like; words that it never saw are read as `<unk>`. Use it with
`jaxseq translate {trained.path} "…"`.

| setting | value |
|---|---|
{settings}

All others have their defaults; `{run_folder.CONFIG}` lists all {len(every)}.
"""

"""The commands `jaxseq train` and `evaluate`: their options, and what they print."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import OmitArgPrefixes, Positional

from jaxseq.apps import run_folder
from jaxseq.apps.progress import Progress
from jaxseq.apps.settings import check_unchanged
from jaxseq.apps.shown import Shown, show
from jaxseq.apps.translate import train as training
from jaxseq.apps.translate.config import KIND, PRESETS, TranslateConfig
from jaxseq.apps.translate.evaluate import Evaluation, evaluate as measure
from jaxseq.apps.translate.model import Translation, load
from jaxseq.apps.translate.pictures import draw_attention
from jaxseq.apps.translate.train import Trained
from jaxseq.errors import InputError, choose
from jaxseq.files import write_atomic


def train(
    config: OmitArgPrefixes[TranslateConfig] = PRESETS["default"],
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
      config: Settings.
      preset: default, tutorial-plain or tutorial-attention; options given with it override it.
      out: Run folder to write.
      resume: Run folder to go on with, exactly as if it had not stopped; other settings are read from it.
      overwrite: Replace the run that is there.
      json: Print the result as JSON.
    """
    defaults = choose("translation preset", preset, PRESETS)
    if resume is not None:
        check_unchanged(config, defaults, f"--resume {resume} goes on with the settings of that run")
        config = run_folder.read_config(resume, KIND, TranslateConfig, config.cell)
    trained = _train(config, resume or out, resume is not None, overwrite)
    show(_report(trained, *measure(trained.translator, corpus=trained.corpus)), json)


def evaluate(
    run: Positional[Path], data: str | None = None, examples: int = 10, cell: str | None = None, json: bool = False
) -> None:
    """Measure a translator: BLEU, chrF, exact match, loss, and random examples (> source, = reference, < ours).

    Example: jaxseq evaluate runs/translate

    Args:
      run: Run folder of a trained translator.
      data: Pairs to measure on; by default those held out of training.
      examples: How many random examples to show.
      cell: The custom cell, module:cell or file.py:cell, that the run was trained with; its code is run.
      json: Print as JSON.
    """
    if examples < 0:
        raise InputError(f"--examples must be at least 0; got {examples}")
    scores, _ = measure(load(run, cell), data, examples=examples)
    show(Shown(scores._asdict(), _scores(scores)), json)


def _train(config: TranslateConfig, out: Path, resume: bool, overwrite: bool) -> Trained:
    """Train with a progress bar."""
    done = max((r.step for r in run_folder.metrics(out)), default=0) if resume else 0
    progress = Progress(config.steps, done)
    try:
        trained = training.train(config, out, overwrite=overwrite, resume=resume, listener=progress)
    finally:
        progress.close()
    if not trained.reports:
        raise InputError(
            f"{out / run_folder.METRICS} is missing or damaged, and no step is left that could be reported; restore it "
            f"from a copy. The model itself is there: jaxseq evaluate {out}"
        )
    return trained


def _report(trained: Trained, scores: Evaluation, examples: Sequence[Translation]) -> Shown:
    """Draw the loss and one attention map, write the run's README, and say how training went."""
    from jaxseq import plots

    reports, record, path = trained.reports, trained.record, trained.path
    curve = plots.loss_curve(
        [r.step for r in reports], [r.loss for r in reports], [r.validation_loss for r in reports]
    )  # fmt: skip
    plots.save(curve, path / "loss.png")
    notes = [*trained.corpus.notes, *draw_attention(examples[0], path / "attention.png")]
    write_atomic(path / "README.md", _card(trained, scores))
    last = reports[-1]
    facts = {
        "run": str(path), "steps": last.step, "loss": last.loss, "validation_loss": record.best,
        "tokens_per_second": last.tokens_per_second, "seconds": record.elapsed,
        "compile_seconds": trained.compile_seconds, "reports": [r._asdict() for r in reports],
        "evaluation": scores._asdict(),
    }  # fmt: skip
    table = "\n".join(
        f"step {r.step:>6}  loss {r.loss:.4f}"
        + (f"  validation {r.validation_loss:.4f}" if r.validation_loss is not None else "")
        + f"  {r.elapsed:6.1f} s"
        for r in reports
    )
    files = ", ".join(sorted(p.name for p in path.iterdir()))
    waited = f"waited {trained.compile_seconds:.1f} s for compilation"
    text = f"{table}\n{waited}\n\n{_scores(scores)}\n\nwrote {path}: {files}"
    return Shown(facts, text, notes)


def _scores(scores: Evaluation) -> str:
    examples = "\n".join(f"> {source}\n= {reference}\n< {ours}\n" for source, reference, ours in scores.examples)
    return (
        f"{examples}\n{scores.pairs} pairs: {scores.data}\n"
        f"BLEU {scores.bleu:.1f}  ({scores.bleu_signature})\nchrF {scores.chrf:.1f}  ({scores.chrf_signature})\n"
        f"exact match {scores.exact:.1%}  ended with <eos> {scores.ended:.1%}  "
        f"loss {scores.loss:.4f} nats a token  unknown source tokens {scores.unknown:.2%}"
    )


def _card(trained: Trained, scores: Evaluation) -> str:
    config = trained.translator.config
    settings = "\n".join(f"| {name} | {value} |" for name, value in dataclasses.asdict(config).items())
    return f"""# Translator {config.source} → {config.target}

Trained by jaxseq on `{config.name}`: {len(trained.corpus.train)} pairs, {len(trained.corpus.validation)} held back for
choosing the checkpoint. Best loss {trained.record.best:.4f} at step {trained.record.best_step}, after
{trained.record.elapsed:.0f} s of training and {trained.compile_seconds:.0f} s of compilation.

```
{_scores(scores)}
```

It knows the sentences it was trained on and their like; words that it never saw become `<unk>`. Use it with
`jaxseq translate {trained.path} "…"`.

| setting | value |
|---|---|
{settings}
"""

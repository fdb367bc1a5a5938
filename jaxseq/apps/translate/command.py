"""What each command does and shows: the applications run, their pictures drawn, their results put into words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxseq.apps import datasets, run_folder
from jaxseq.apps.forecast import train as forecasting
from jaxseq.apps.forecast.train import ForecastConfig
from jaxseq.apps.progress import Progress
from jaxseq.apps.translate import model as translator, train as translation
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.errors import InputError
from jaxseq.files import write_atomic


class Shown(NamedTuple):
    """A result: `facts` for programs, `text` for people, `notes` for standard error."""

    facts: Any
    text: str
    notes: Sequence[str] = ()


def train(config: TranslateConfig, out: Path, *, resume: bool = False, overwrite: bool = False) -> Shown:
    """Train a translator, measure it, and draw its loss and one attention map."""
    from jaxseq import plots

    if resume:
        config = run_folder.read_config(out, translation.KIND, TranslateConfig, config.cell)
    done = max((r.step for r in run_folder.metrics(out)), default=0) if resume else 0
    progress = Progress(config.steps, done)
    try:
        trained = translation.train(config, out, overwrite=overwrite, resume=resume, listener=progress)
    finally:
        progress.close()
    if not trained.reports:
        raise InputError(
            f"{out / run_folder.METRICS} is missing or damaged, and no step is left that could be reported; restore it "
            f"from a copy. The model itself is there: jaxseq evaluate {out}"
        )
    model = translator.load(out, config.cell)
    scores = translator.evaluate(model)
    steps = [r.step for r in trained.reports]
    curve = plots.loss_curve(steps, [r.loss for r in trained.reports], [r.validation_loss for r in trained.reports])
    plots.save(curve, out / "loss.png")
    first = model.translate([scores.examples[0][0]])[0]
    notes = [*trained.corpus.notes, *_draw_attention(first, out / "attention.png")]
    write_atomic(out / "README.md", _card(config, trained, scores))
    last = trained.reports[-1]
    facts = {
        "run": str(out), "steps": last.step, "loss": last.loss, "validation_loss": trained.ledger.best,
        "tokens_per_second": last.tokens_per_second, "seconds": trained.ledger.elapsed,
        "compile_seconds": trained.compile_seconds, "reports": [r._asdict() for r in trained.reports],
        "evaluation": scores._asdict(),
    }  # fmt: skip
    table = "\n".join(
        f"step {r.step:>6}  loss {r.loss:.4f}"
        + (f"  validation {r.validation_loss:.4f}" if r.validation_loss is not None else "")
        + f"  {r.elapsed:6.1f} s"
        for r in trained.reports
    )
    text = f"{table}\ncompiled in {trained.compile_seconds:.1f} s\n\n{_scores(scores)}\n\nwrote {out}: " + ", ".join(
        sorted(p.name for p in out.iterdir())
    )
    return Shown(facts, text, notes)


def translate(
    run: Path,
    lines: Sequence[str],
    attention: Path | None = None,
    gates: Path | None = None,
    own: str | None = None,
) -> Shown:
    """Translate lines; draw the first one's attention, and the encoder's gates while it reads, where asked."""
    if not lines:
        raise InputError("there is no text to translate; give sentences as arguments, in --file, or on standard input")
    if attention is not None or gates is not None:
        from jaxseq import plots

        for picture in filter(None, (attention, gates)):
            plots.picture_format(picture)  # before anything takes time
    model = translator.load(run, own)
    done = model.translate(lines)
    notes = [f"unknown, read as <unk>: {' '.join(d.unknown)} (in {d.source})" for d in done if d.unknown]
    if attention is not None:
        notes += _draw_attention(done[0], attention) or [f"wrote {attention}"]
    if gates is not None:
        from jaxseq import study

        tokens, seen, keeps = model.gates(lines[0])
        retained = next((np.asarray(keep.of(seen)) for keep in keeps), next(iter(seen.values())))
        order = np.argsort(retained.mean(0)).tolist()
        plots.save(study.plot_timelines(seen, steps=tokens, order=order, keeps=keeps), gates)
        notes.append(f"wrote {gates}")
    facts = [{**d._asdict(), "weights": np.round(d.weights, 4).tolist()} for d in done]
    return Shown(facts, "\n".join(d.text for d in done), notes)


def evaluate(run: Path, data: str | None = None, examples: int = 10, own: str | None = None) -> Shown:
    """Measure a translator."""
    if examples < 0:
        raise InputError(f"--examples must be at least 0; got {examples}")
    scores = translator.evaluate(translator.load(run, own), data, examples=examples)
    return Shown(scores._asdict(), _scores(scores))


def forecast(config: ForecastConfig, out: Path, *, overwrite: bool = False) -> Shown:
    """Fit and compare forecasts; draw them and the loss."""
    from jaxseq import plots

    progress = Progress(config.epochs)
    try:
        result = forecasting.train(config, out, overwrite=overwrite, listener=progress)
    finally:
        progress.close()
    times, names = forecasting.times_of(result.series), result.series.names
    lines = {name: values[:, 0] for name, values in result.lines.items()}
    axes = plots.forecast(times, result.series.values[:, 0], result.split, lines)
    axes.set(ylabel=names[0])
    plots.save(axes, out / "forecast.png")
    every = forecasting.reports(result.fitted)
    plots.save(plots.loss_curve([r.step for r in every], [r.loss for r in every]), out / "loss.png")
    T = len(times)
    data = f"{', '.join(names)}: {result.split} rows to train on, {T - result.split} to forecast"
    if result.series.dates:
        first, last = (times[n].date().isoformat() for n in (result.split, -1))
        data += f" ({first} to {last})"
    head = f"{'forecast':<24}{'mode':<14}{'RMSE':>9}{'MAE':>9}{'MASE':>8}"
    rows = [
        f"{r.name:<24}{r.mode:<14}{r.rmse:>9.2f}{r.mae:>9.2f}{r.mase:>8.3f}"
        + (f"  (mean of {config.seeds} networks; one alone: RMSE {r.rmse_alone:.2f} ± {r.rmse_spread:.2f})"
           if r.rmse_alone is not None else "")
        for r in result.table
    ]  # fmt: skip
    losses = "  ".join(f"{r.loss:.4f}" for r in every[:8])
    fitted = result.fitted
    speed = f"compiled in {fitted.compile_seconds:.1f} s, trained {config.seeds} networks in {fitted.seconds:.2f} s"
    text = "\n".join(
        [data, "", head, *rows, "", f"training loss every 10 epochs: {losses}",
         f"test loss (scaled): {result.test_loss:.4f}", speed,
         f"wrote {out}: {', '.join(sorted(p.name for p in out.iterdir()))}"]
    )  # fmt: skip
    write_atomic(out / "README.md", f"# Forecast of {', '.join(names)}\n\n```\n{text}\n```\n")
    facts = {"run": str(out), "table": [r._asdict() for r in result.table], "test_loss": result.test_loss,
             "losses": [r.loss for r in every], "seconds": fitted.seconds,
             "compile_seconds": fitted.compile_seconds, "season": result.season, "split": result.split}  # fmt: skip
    return Shown(facts, text)


def forecast_on(run: Path, data: str | None, horizon: int, own: str | None = None) -> Shown:
    """Go on from the end of a series with a saved run."""
    found, values = forecasting.forecast_on(run, data, horizon, own)
    rows = [dict(zip(("step", *found.names), (n, *map(float, row)), strict=True)) for n, row in enumerate(values, 1)]
    text = "\n".join([",".join(rows[0]), *(",".join(f"{v:.6g}" for v in row.values()) for row in rows)])
    return Shown(rows, text)


def added(got: datasets.Report) -> Shown:
    """Say what was put into the cache."""
    text = f"{got.name}: {got.pairs} pairs in {got.path}\nsha256 {got.sha256}\n{got.licence}; {got.attribution}"
    return Shown({**got._asdict(), "path": str(got.path)}, text)


def _draw_attention(done: translator.Translation, path: Path) -> list[str]:
    """Draw one attention map; return notes instead where the model has none to show."""
    from jaxseq import plots

    if done.weights.shape[1] == 0:
        return [f"this model has no attention; {path} is not written"]
    plots.save(plots.attention_map(done.weights, done.source_tokens, done.target_tokens), path)
    return []


def _scores(scores: translator.Evaluation) -> str:
    examples = "\n".join(f"> {source}\n= {reference}\n< {ours}\n" for source, reference, ours in scores.examples)
    return (
        f"{examples}\n{scores.pairs} pairs: {scores.data}\n"
        f"BLEU {scores.bleu:.1f}  ({scores.bleu_signature})\nchrF {scores.chrf:.1f}  ({scores.chrf_signature})\n"
        f"exact match {scores.exact:.1%}  ended with <eos> {scores.ended:.1%}  "
        f"loss {scores.loss:.4f} nats a token  unknown source tokens {scores.unknown:.2%}"
    )


def _card(config: TranslateConfig, trained: translation.Trained, scores: translator.Evaluation) -> str:
    settings = "\n".join(f"| {name} | {value} |" for name, value in dataclasses.asdict(config).items())
    return f"""# Translator {config.source} → {config.target}

Trained by jaxseq on `{config.data}`: {len(trained.corpus.train)} pairs, {len(trained.corpus.validation)} held back for
choosing the checkpoint. Best loss {trained.ledger.best:.4f} at step {trained.ledger.best_step}, after
{trained.ledger.elapsed:.0f} s of training and {trained.compile_seconds:.0f} s of compilation.

```
{_scores(scores)}
```

It knows the sentences it was trained on and their like; words that it never saw become `<unk>`. Use it with
`jaxseq translate {trained.path} "…"`.

| setting | value |
|---|---|
{settings}
"""

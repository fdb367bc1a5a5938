"""The tutorial's translators, trained here and in torch, one pair and one word at a time there."""

from __future__ import annotations

import dataclasses
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import OmitArgPrefixes

from jaxseq.apps.translate import train as translate
from jaxseq.apps.translate.config import PRESETS, TranslateConfig
from jaxseq.apps.translate.data import Corpus
from jaxseq.bench.output import USUAL, Output, Report, Table


def tutorial(
    output: OmitArgPrefixes[Output] = USUAL,
    model: Literal["attention", "plain"] = "attention",
    data: str = "zh-en",
    iterations: int = 0,
    every: int = 0,
    seed: int = 0,
    at_least: float | None = None,
) -> int:
    """Train the tutorial's translator here and in torch: loss by iteration, seconds, milliseconds an iteration.

    Example: python -m benchmarks tutorial --model plain --data cmn-eng --iterations 20000

    Args:
      output: Where to.
      model: With attention over positions, or without.
      data: Pairs; those that pass the tutorial's filter are used.
      iterations: One pair each; 0: 2000, or 200 with --quick.
      every: Iterations between losses shown, each the mean since the last; 0: a quarter of all.
      seed: Of both.
      at_least: Exit with 1 if torch's time over ours is below this.
    """
    from benchmarks import torch_models  # torch is needed, and says so

    report = Report("tutorial", output)
    iterations = iterations or (200 if output.quick else 2000)
    every = every or max(1, iterations // 4)
    preset = PRESETS[f"tutorial-{model}"]
    config = dataclasses.replace(preset, data=data, steps=iterations, report_every=every, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trained = translate.train(config, Path(folder) / "run")
    theirs = _torch_losses(torch_models, config, trained.corpus, model, every)
    vocabularies = f"{len(trained.corpus.source.vocabulary)} and {len(trained.corpus.target.vocabulary)} tokens"
    report.say(f"tutorial-{model} on {data}: {len(trained.corpus.train)} pairs, {vocabularies}")
    lines: list[list[Any]] = []
    for ours, (loss, seconds) in zip(trained.reports, theirs, strict=False):
        lines.append([ours.step, f"{ours.loss:.4f}", ours.elapsed, f"{loss:.4f}", seconds])
    report.show(Table(["iteration", "jaxseq loss", "jaxseq s", "torch loss", "torch s"], lines))
    ends = [[report.elapsed for report in trained.reports], [seconds for _, seconds in theirs]]
    each = [list(np.diff([0.0, *end]) * 1e3 / every) for end in ends]
    row = report.add(
        f"tutorial-{model} on {data}, one iteration", {"jaxseq": each[0], "torch": each[1]},
        jaxseq_losses=[report.loss for report in trained.reports], torch_losses=[loss for loss, _ in theirs],
        compile_seconds=trained.compile_seconds,
    )  # fmt: skip
    ms, torch_ms = (end[-1] * 1e3 / iterations for end in ends)
    row["ratio"] = torch_ms / ms
    compiled = f"compiled in {trained.compile_seconds:.1f} s"
    report.say(f"jaxseq {ms:.2f} ms an iteration, {compiled}; torch {torch_ms:.2f} ms; ratio {row['ratio']:.2f}")
    report.at_least("torch / jaxseq", row["ratio"], at_least)
    return report.finish()


def numbered(corpus: Corpus) -> list[tuple[list[int], list[int]]]:
    """Return the training pairs as token numbers, EOS at the end."""
    return [(corpus.source.numbers(source), corpus.target.numbers(target)) for source, target in corpus.train]


def _torch_losses(
    torch_models: Any, config: TranslateConfig, corpus: Corpus, model: str, every: int
) -> list[tuple[float, float]]:
    """Train in torch; return mean loss and elapsed seconds every `every` iterations."""
    torch = torch_models.torch
    torch.manual_seed(config.seed)
    draw, pairs = random.Random(config.seed), numbered(corpus)
    length = 10 if model == "attention" else None
    module = torch_models.Tutorial(len(corpus.source.vocabulary), len(corpus.target.vocabulary), config.hidden, length)
    kind = torch.optim.SGD if config.optimizer == "sgd" else torch.optim.Adam
    optimise = kind(module.parameters(), lr=config.learning_rate)
    shown, losses, begun = list[tuple[float, float]](), list[float](), time.perf_counter()
    for n in range(1, config.steps + 1):
        source, target = draw.choice(pairs)
        optimise.zero_grad()
        loss = module(source, target, draw.random() < config.forcing_start)
        loss.backward()
        optimise.step()
        losses.append(float(loss.detach()) / len(target))
        if n % every == 0:
            shown.append((float(np.mean(losses)), time.perf_counter() - begun))
            losses = []
    return shown

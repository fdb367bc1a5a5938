"""Greedy translation: batches in one jit, against the tutorial's loop in torch over sentences and words."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes

from jaxseq.apps.text import detokenise
from jaxseq.apps.translate import train as translate
from jaxseq.apps.translate.config import POSITIONS, PRESETS
from jaxseq.apps.translate.decoding import Decoding
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.timing import interleave, median, noise, ratio


def decode(
    output: OmitArgPrefixes[Output] = USUAL,
    sentences: int = 0,
    iterations: int = 0,
    rounds: int = 0,
    data: str = "zh-en",
    at_least: float | None = None,
) -> int:
    """Translate sentences greedily with the tutorial's attention model: sentences a second, text to text.

    The model is trained here for a moment, so that sentences end; torch has the same weights and must write the same
    words.

    Example: python -m benchmarks decode --quick

    Args:
      output: Where to.
      sentences: How many; 0: 512, or 64 with --quick.
      iterations: Of training; 0: 1000, or 200 with --quick.
      rounds: Samples; 0: 7, or 3 with --quick.
      data: Pairs.
      at_least: Exit with 1 if torch's time over ours is below this.
    """
    from benchmarks import torch_models  # torch is needed, and says so

    report = Report("decode", output, unit="ms per sentence")
    report.say("Greedy translation with the tutorial's attention model, from text to text; equal weights in both.")
    sentences, rounds = sentences or (64 if output.quick else 512), rounds or (3 if output.quick else 7)
    steps = iterations or (200 if output.quick else 1000)
    config = dataclasses.replace(PRESETS["tutorial-attention"], data=data, steps=steps, report_every=steps)
    with tempfile.TemporaryDirectory() as folder:
        trained = translate.train(config, Path(folder) / "run")
    model, pairs = trained.translator, trained.corpus.train
    texts = [detokenise(pairs[n % len(pairs)][0].text.split()) for n in range(sentences)]
    module = torch_models.Tutorial(len(model.source.vocabulary), len(model.target.vocabulary), config.hidden, POSITIONS)
    module.load(model.params)
    module.eval()

    def theirs() -> list[list[str]]:
        translated = []
        for text in texts:
            numbers = model.source.numbers(model.source.sentence(text))
            translated.append([model.target.vocabulary.tokens[n] for n in module.translate(numbers, POSITIONS)])
        return translated

    how = Decoding(beam=1, unknown="keep")  # as the loop in torch does
    for text, ours, words in zip(texts, model.translate(texts, how), theirs(), strict=True):
        assert ours.target_tokens == words, f"{text!r} became {ours.target_tokens} here, {words} in torch"
    thunks: dict[str, Any] = {"jaxseq": lambda: len(model.translate(texts, how)), "torch": lambda: len(theirs())}
    samples = {name: [ms / sentences for ms in of] for name, of in interleave(thunks, rounds).items()}
    row = report.add(f"{sentences} sentences, at most {POSITIONS} words", samples)
    report.warn(noise(f"{row['name']}, torch", samples["torch"]))
    times = ratio(samples["torch"], samples["jaxseq"])
    rates = [f"{1e3 / median(samples[name]):.0f}" for name in ("jaxseq", "torch")]
    head = ["", "jaxseq sentences a second", "torch sentences a second", "torch / jaxseq time"]
    report.show(Table(head, [[row["name"], *rates, times]]))
    report.say("All translations have the same words.")
    report.at_least("torch / jaxseq", times.value, at_least)
    return report.finish()

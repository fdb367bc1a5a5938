"""Beam search against greedy decoding: BLEU, and sentences a second."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from jaxseq.apps.translate import train as translate
from jaxseq.apps.translate.config import PRESETS
from jaxseq.apps.translate.decoding import Decoding
from jaxseq.apps.translate.evaluate import bleu_of, pairs_for
from jaxseq.apps.translate.model import load
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.timing import interleave, median, noise


def beam(
    output: OmitArgPrefixes[Output] = USUAL,
    run: Path | None = None,
    data: str | None = None,
    beams: tuple[int, ...] = (1, 5),
    length_penalties: tuple[float, ...] = (1.0,),
    coverage_penalty: float = 0.0,
    early_stopping: bool = True,
    sentences: int = 0,
    rounds: int = 0,
) -> int:
    """Translate with several beams and length penalties: BLEU, lengths against the references', sentences a second.

    Times are of text to text, compilation apart, for a file of sentences: batches of 64.

    Example: python -m benchmarks beam --run runs/translate --beams 1 5 10 --length-penalties 0 1

    Args:
      output: Where to.
      run: A translator's run folder; without one the default is trained, with --quick for a moment.
      data: Pairs; by default those held out of training.
      beams: Sizes; 1 is greedy, which has no length penalty.
      length_penalties: For each larger size.
      coverage_penalty: Of every beam.
      early_stopping: Whether a beam stops when as many hypotheses have ended.
      sentences: How many are timed and scored; 0: all, or 16 with --quick.
      rounds: Samples; 0: 5, or 2 with --quick.
    """
    report = Report("beam", output, unit="ms per sentence")
    with tempfile.TemporaryDirectory() as folder:
        config = PRESETS["default"]
        if output.quick:
            config = type(config)(steps=20, report_every=20, hidden=8, embedding=8)
        model = load(run) if run else translate.train(config, Path(folder) / "run").translator
    where, pairs = pairs_for(model, data)
    pairs = pairs[: sentences or (16 if output.quick else len(pairs))]
    texts, references = [source.written for source, _ in pairs], [target.written for _, target in pairs]
    score = bleu_of(model.config)
    settings = {
        f"beam {size}" + (f", length penalty {penalty:g}" if size > 1 else ""): Decoding(
            beam=size,
            length_penalty=penalty,
            coverage_penalty=coverage_penalty if size > 1 else 0.0,
            early_stopping=early_stopping,
        )
        for size in beams
        for penalty in (length_penalties if size > 1 else (1.0,))
    }
    translated = {name: model.translate(texts, how, batch=64) for name, how in settings.items()}
    samples = interleave(
        {name: lambda how=how: len(model.translate(texts, how, batch=64)) for name, how in settings.items()},
        rounds or (2 if output.quick else 5),
    )
    lines = []
    for name, done in translated.items():
        bleu = score.corpus_score([one.text for one in done], [references])
        each = [ms / len(texts) for ms in samples[name]]
        row = report.add(name, {"jaxseq": each}, bleu=bleu.score, length_ratio=bleu.sys_len / bleu.ref_len)
        report.warn(noise(name, each))
        lines.append([name, row["bleu"], row["length_ratio"], f"{1e3 / median(each):.0f}"])
    report.say(f"{len(texts)} sentences: {where}; {score.get_signature()}")
    report.show(Table(["", "BLEU", "length / reference", "sentences a second"], lines))
    return report.finish()

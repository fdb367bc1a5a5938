"""The command `jaxseq evaluate`: scores of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes, Positional

from jaxseq.apps.shown import Shown, show
from jaxseq.apps.translate.evaluate import Evaluation, evaluate as measure, evaluate_pairs, pairs_for
from jaxseq.apps.translate.metrics import SAMPLES, USUAL, Compared, Scoring, paired
from jaxseq.apps.translate.model import Translator, load
from jaxseq.errors import InputError

TITLES = {"bleu": "BLEU", "bleu_cased": "BLEU, cased", "chrf": "chrF", "ter": "TER"}
"""The usual name of each score."""


def evaluate(
    run: Positional[Path],
    others: Positional[tuple[Path, ...]] = (),
    data: tuple[str, ...] | None = None,
    scoring: OmitArgPrefixes[Scoring] = USUAL,
    examples: int = 10,
    cell: str | None = None,
    json: bool = False,
) -> None:
    """Measure translators: BLEU, chrF, exact match, loss, and random examples (> source, = reference, < ours).

    Translations are compared with references as they were written, by sacrebleu. Several runs are measured on the same
    pairs, and each is compared with the first by paired bootstrap.

    Example: jaxseq evaluate runs/translate

    Example: jaxseq evaluate runs/translate --metrics bleu chrf ter

    Example: jaxseq evaluate runs/translate runs/second --data test.de test.en

    Args:
      run: Run folder of a trained translator.
      others: Run folders of translators to compare it with.
      data: Pairs to measure on, given as for training; by default those held out.
      scoring: The metrics and their tokeniser.
      examples: How many random examples to show.
      cell: The custom cell, module:cell or file.py:cell, that the runs were trained with; its code is run.
      json: Print as JSON.
    """
    if examples < 0:
        raise InputError(f"--examples must be at least 0; got {examples}")
    scoring.check()
    runs = (run, *others)
    translators = [load(path, cell) for path in runs]
    if len(translators) == 1:
        scores, _ = measure(translators[0], data, examples=examples, scoring=scoring)
        show(Shown(scores._asdict(), said(scores), scores.notes), json)
    else:
        show(_compared([str(path) for path in runs], translators, data, examples, scoring), json)


def _compared(
    names: Sequence[str], translators: Sequence[Translator], data: Sequence[str] | None, examples: int, scoring: Scoring
) -> Shown:
    """Return the scores of several runs, and how each differs from the first."""
    # sacrebleu names systems by these words
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"evaluate: {twice[0]} is given twice; give each run once")
    # each run prepares the pairs with its own vocabulary
    found = [pairs_for(one, data) for one in translators]
    written = [[(source.written, target.written) for source, target in pairs] for _, pairs in found]
    for name, (where, _), pairs in zip(names, found, written, strict=True):
        # the bootstrap draws pairs, the same for all systems
        if pairs != written[0]:
            raise InputError(
                f"runs are compared on equal pairs; {names[0]} has {len(written[0])} of {found[0][0]}, {name} has "
                f"{len(pairs)} of {where}. Name one file for all with --data"
            )
    done = [
        evaluate_pairs(one, where, pairs, examples=examples, scoring=scoring)
        for one, (where, pairs) in zip(translators, found, strict=True)
    ]
    # all runs translate into one language: their pairs are equal
    metrics, notes = scoring.metrics_for(translators[0].config.target)
    systems: list[tuple[str, Sequence[str]]] = [
        (name, [one.text for one in texts]) for name, (_, texts) in zip(names, done, strict=True)
    ]
    rows = paired(metrics, systems, [target for _, target in written[0]])
    facts: dict[str, Any] = {
        "data": found[0][0], "pairs": len(written[0]),
        "systems": [{"run": name, **scores._asdict()} for name, (scores, _) in zip(names, done, strict=True)],
        "paired": [row._asdict() for row in rows],
    }  # fmt: skip
    shown = "\n\n".join(f"{name}\n{said(scores)}" for name, (scores, _) in zip(names, done, strict=True))
    return Shown(facts, f"{shown}\n\n{_table(rows)}", notes)


def _table(rows: Sequence[Compared]) -> str:
    """Return the comparison as lines."""
    width = max(len(row.system) for row in rows)
    lines = [f"paired bootstrap, {SAMPLES} samples; p: chance of so large a difference from {rows[0].system}"]
    for row in rows:
        p = "" if row.p_value is None else f"  p = {row.p_value:.4f}"
        lines.append(
            f"{TITLES[row.metric]:11}  {row.system:{width}}  {row.score:6.2f}  ({row.mean:.2f} ± {row.ci:.2f}){p}"
        )
    return "\n".join(lines)


def said(scores: Evaluation) -> str:
    """Return the scores of a run as text: examples, then a line for each metric with its signature."""
    examples = "\n".join(f"> {source}\n= {reference}\n< {ours}\n" for source, reference, ours in scores.examples)
    values = scores._asdict()
    metrics = "".join(
        f"{title} {values[name]:.1f}  ({values[f'{name}_signature']})\n"
        for name, title in TITLES.items()
        if values[name] is not None
    )
    return (
        f"{examples}\n{scores.pairs} pairs: {scores.data}\n{metrics}"
        f"exact match {scores.exact:.1%}  ended with <eos> {scores.ended:.1%}  "
        f"loss {scores.loss:.4f} nats a token  unknown source tokens {scores.unknown:.2%}"
    )

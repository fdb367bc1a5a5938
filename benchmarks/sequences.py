"""Sequences that a translator learns exactly: reversed, copied, sorted, added; share right of those held out."""

from __future__ import annotations

import dataclasses
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tyro.conf import OmitArgPrefixes

from jaxseq.apps.translate import train as translate
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.decoding import Decoding
from jaxseq.bench.output import USUAL, Output, Report, Table

NUMBERS, LONGEST, LARGEST = 50, 25, 999
"""Sequences have 1 to 25 numbers from 0 to 49, each one token; terms of a sum are from 0 to 999, in digits."""
PAIRS, HELD_OUT = 50_000, 1000
"""Training pairs, as many as in JoeyNMT's demonstration; held-out pairs."""

Pair = tuple[str, str]


class Task(NamedTuple):
    """A task: ``draw(random) -> (source, target)``, and settings that differ from the common ones."""

    draw: Callable[[random.Random], Pair]
    settings: dict[str, Any]


def _of_numbers(change: Callable[[list[int]], list[int]]) -> Callable[[random.Random], Pair]:
    def draw(rng: random.Random) -> Pair:
        numbers = [rng.randrange(NUMBERS) for _ in range(rng.randint(1, LONGEST))]
        return " ".join(map(str, numbers)), " ".join(map(str, change(numbers)))

    return draw


def _sum(rng: random.Random) -> Pair:
    a, b = (rng.randint(0, LARGEST) for _ in range(2))
    return " ".join(f"{a}+{b}"), " ".join(str(a + b))


TASKS = {
    "reverse": Task(_of_numbers(lambda numbers: numbers[::-1]), {"steps": 2000}),
    "copy": Task(_of_numbers(list), {"steps": 500}),
    "sort": Task(_of_numbers(sorted), {"steps": 2400}),
    "addition": Task(_sum, {"steps": 7000, "attention": "additive"}),
}
COMMON = TranslateConfig(
    source="given",
    target="wanted",
    columns=("given", "wanted"),
    source_tokens="words",
    validation=0.0,
    attention="location",
    embedding=64,
    hidden=128,
    dropout=0.0,
    label_smoothing=0.0,
    batch=64,
    steps=3000,
    learning_rate=3e-3,
    warmup=200,
    report_every=500,
)
"""Location attention sees where it looked one step before, so that the next place follows from the last one. Additive
attention finds a place by the encoder's output there, and has to learn to count first; a sum has few places, which
it tells apart. The pairs are exact: nothing is dropped and no label smoothed. Sums are few and repeat themselves, so
that no pairs are split off by target. Steps and attention were settled on seed 10, to take at most two minutes on two
cores."""


def tasks(
    output: OmitArgPrefixes[Output] = USUAL,
    names: tuple[Literal["reverse", "copy", "sort", "addition"], ...] = ("reverse", "copy", "sort", "addition"),
    seeds: tuple[int, ...] = (0,),
    steps: int = 0,
    at_least: float | None = None,
) -> int:
    """Train the translator on generated pairs, and count how many held-out pairs it gets exactly right.

    Greedy decoding; every held-out source is unseen. Seconds are those of the whole training, compilation included.

    Example: python -m benchmarks tasks --seeds 0 1 2

    Args:
      output: Where to.
      names: Which tasks.
      seeds: Of the pairs, the weights and the order; one row for each.
      steps: Of training; 0 for the task's own.
      at_least: Exit with 1 if a share of exact translations is below this.
    """
    report, lines = Report("tasks", output, unit="seconds"), list[list[Any]]()
    for name in names:
        for seed in seeds:
            own = {"steps": steps} if steps else {"steps": 40} if output.quick else {}
            share, bleu, seconds, config = learn(name, seed, **own)
            report.add(f"{name}, seed {seed}", {"jaxseq": [seconds]}, exact=share, bleu=bleu, steps=config.steps)
            report.at_least(f"{name}, seed {seed}: exact", share, at_least)
            lines.append([name, seed, config.attention, config.steps, f"{share:.1%}", f"{bleu:.2f}", f"{seconds:.0f}"])
    report.show(Table(["task", "seed", "attention", "steps", "exact", "BLEU", "s"], lines))
    return report.finish()


def learn(name: str, seed: int, held_out: int | None = None, **settings: Any) -> tuple[float, float, float, Any]:
    """Return the share of held-out pairs that are exact, their BLEU, the seconds of training, and its settings.

    Args:
      name: of the task.
      seed: of pairs, weights and order.
      held_out: seed of the pairs held out; by default that of reports.
      settings: instead of the task's.
    """
    task = TASKS[name]
    pairs = drawn(task, PAIRS, seed)
    known = {source for source, _ in pairs}
    held = drawn(task, HELD_OUT, seed if held_out is None else held_out, known)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.tsv"
        file.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
        config = dataclasses.replace(COMMON, data=str(file), seed=seed, **{**task.settings, **settings})
        config = dataclasses.replace(config, report_every=min(config.report_every, config.steps))
        begun = time.perf_counter()
        trained = translate.train(config, Path(folder) / "run")
        seconds = time.perf_counter() - begun
    done = trained.translator.translate([source for source, _ in held], Decoding(beam=1))
    written = [" ".join(token for token in one.target_tokens if token != "<eos>") for one in done]
    share = sum(ours == target for ours, (_, target) in zip(written, held, strict=True)) / len(held)
    return share, _bleu(written, [target for _, target in held]), seconds, config


def drawn(task: Task, count: int, seed: int, without: set[str] = frozenset()) -> list[Pair]:  # type: ignore[assignment]
    """Return `count` pairs with different sources, none of them in `without`.

    The 50 sources of one number, and most of two, are all trained on: held-out sources are longer.
    """
    rng, pairs = random.Random(f"{seed} {bool(without)}"), dict[str, str]()
    while len(pairs) < count:
        source, target = task.draw(rng)
        if source not in without:
            pairs[source] = target
    return list(pairs.items())


def _bleu(written: Sequence[str], wanted: Sequence[str]) -> float:
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize="none").corpus_score(list(written), [list(wanted)]).score

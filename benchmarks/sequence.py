"""Which cell for which sequences: what it learns at which length, and what it costs to train and to stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import OmitArgPrefixes

from jaxseq import problems, unroll
from jaxseq.bench.output import USUAL, Output, Report, table
from jaxseq.bench.program import inspect
from jaxseq.bench.timing import interleave, median
from jaxseq.cells import CELLS, Cell
from jaxseq.errors import InputError, choose
from jaxseq.problems import Problem
from jaxseq.recurrence import RECURRENCES

LENGTHS, QUICK_LENGTHS = (64, 256, 1024, 4096), (64,)
DEFAULTS = ("lstm", "gru", "rnn", "min_gru", "lru", "s5", "rg_lru", "mlstm", "gla", "deltanet")
RATES = (1e-3, 3e-3, 1e-2)
"""Learning rates; each cell is shown at the one with the least final loss on seeds of its own."""
CHOOSING = (1000,)
"""Seeds that choose the rate, and are not reported."""
LEARNT = 0.1
"""A problem is learnt where the loss has come to this share of that of an output which does not look back."""

Name = Literal["copy", "selective_copy", "adding", "recall", "parity", "digits"]


def _problem(name: Name, T: int) -> Problem:
    """Return a problem whose sequences have about T steps."""
    side = round(T**0.5)
    makers: dict[str, Callable[[], Problem]] = {
        "copy": lambda: problems.copy(T - 20),
        "selective_copy": lambda: problems.selective_copy(T - 20),
        "adding": lambda: problems.adding(T),
        "recall": lambda: problems.recall(8, lag=T - 32),
        "parity": lambda: problems.parity(T),
        "digits": lambda: problems.digits(side),
    }
    return makers[name]()


def sequence(
    output: OmitArgPrefixes[Output] = USUAL,
    cells: tuple[str, ...] = DEFAULTS,
    names: tuple[Name, ...] = ("copy", "selective_copy", "adding", "recall", "parity", "digits"),
    lengths: tuple[int, ...] = (),
    hidden: int = 64,
    steps: int = 0,
    seeds: tuple[int, ...] = (0, 1, 2),
    learn: bool = True,
) -> int:
    """Train cells on problems of several lengths; time training under each recurrence, and a stream.

    A row is a cell on a problem of T steps: the share of scored steps that are right on 512 new rows (over the seeds:
    mean and standard deviation), and the training steps until the loss was a tenth of that of an output which does not
    look back. Costs are of value and gradient, B = 8, for each recurrence that takes the cell; of a stream, of one
    jitted step with B = 1.

    Example: python -m benchmarks sequence --quick

    Args:
      output: Where to.
      cells: By name.
      names: Problems.
      lengths: T.
      hidden: H.
      steps: Of training; 0: 2000, or 100 with --quick.
      seeds: Reported ones; a rate is chosen on others.
      learn: Train; else only costs.
    """
    lengths = lengths or (QUICK_LENGTHS if output.quick else LENGTHS)
    every = [choose("cell", name, CELLS) for name in cells]
    report = Report("sequence", output, unit="us")
    for cell in every:
        for T in lengths:
            samples = _costs(report, cell, T, hidden)
            samples["stream"] = [_stream(cell, hidden)]
            report.add(f"{cell.name}, T {T}", samples, cell=cell.name, T=T)
    print(_costs_table(report))
    lines = []
    for name in names if learn else ():
        for T in lengths:
            for cell in every:
                row = _learn(cell, _problem(name, T), hidden, steps or (100 if output.quick else 2000), seeds)
                report.add(f"{cell.name}, {name}, T {T}", {"seconds": [row.pop("seconds")]}, **row)
                accuracy = f"{row['accuracy']:.3f} ± {row['spread']:.3f}"
                lines.append([name, T, cell.name, accuracy, row["learnt"], f"{row['rate']:g}"])
                print(*lines[-1], flush=True)
    if lines:
        print("\n" + table(["problem", "T", "cell", "accuracy", "steps to learn", "rate"], lines))
    return report.finish()


# ---------------------------------------------------------------------------------------------- what it learns


def _learn(cell: Cell, problem: Problem, hidden: int, steps: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Return accuracy and steps to learn over seeds, at the rate that others chose."""
    begun = time.perf_counter()

    def trained(seeds: tuple[int, ...], rate: float) -> problems.Trained:
        return problems.train(cell, problem, hidden=hidden, steps=steps, seed=seeds, learning_rate=rate, batch=16)

    def final(rate: float) -> float:  # a training that broke down is the worst
        losses = np.asarray(trained(CHOOSING, rate).losses)[:, -steps // 10 :].mean()
        return float(losses) if np.isfinite(losses) else np.inf

    rate = min(RATES, key=final)
    found = trained(seeds, rate)
    losses = np.asarray(found.losses)
    accuracy = [_accuracy(cell, problem, jax.tree.map(lambda a, n=n: a[n], found.params)) for n in range(len(seeds))]
    first = [_first_below(row, LEARNT * problem.baseline) for row in losses]
    return {
        "cell": cell.name, "problem": problem.name, "T": problem.length, "rate": rate,
        "accuracy": float(np.mean(accuracy)), "spread": float(np.std(accuracy)),
        "learnt": "never" if None in first else f"{np.median([n for n in first if n is not None]):.0f}",
        "seconds": time.perf_counter() - begun,
    }  # fmt: skip


def _first_below(losses: np.ndarray, bound: float, over: int = 20) -> int | None:
    """Return the first step after which the mean of the losses of `over` steps is below a bound; None if never."""
    means = np.convolve(losses, np.full(min(over, len(losses)), 1 / min(over, len(losses))), "valid")
    below = np.flatnonzero(means < bound)
    return int(below[0]) + over if len(below) else None


def _accuracy(cell: Cell, problem: Problem, params: Any, rows: int = 512, at_once: int = 64) -> float:
    """Return the share of scored steps that are right, on new rows."""

    @jax.jit
    def one(params: Any, key: jax.Array) -> jax.Array:
        batch = problem.draw(key, at_once)
        return problem.accuracy(problems.outputs(cell, params, batch), batch)

    keys = jax.random.split(jax.random.key(2**31), rows // at_once)
    return float(np.mean([one(params, key) for key in keys]))


# ---------------------------------------------------------------------------------------------- what it costs


def _costs(report: Report, cell: Cell, T: int, hidden: int, batch: int = 8) -> dict[str, list[float]]:
    """Return microseconds a step of the sequence by recurrence, and note the memory of each in the same row."""
    params = cell.init(jax.random.key(0), hidden, hidden)
    xs = jax.random.normal(jax.random.key(1), (T, batch, hidden))
    programs = {}
    for name, compiled in _compiled(report, cell, params, xs):
        programs[name] = lambda compiled=compiled: compiled(params, xs)
        mib = inspect(compiled).temporary
        report.add(f"{cell.name}, T {T}, {name}, MiB", {"mib": [] if mib is None else [mib / 2**20]})
    found = interleave(programs, 3 if report.output.quick else 5)
    return {name: [ms * 1e3 / T for ms in samples] for name, samples in found.items()}


def _compiled(report: Report, cell: Cell, params: Any, xs: jax.Array) -> Iterator[tuple[str, Any]]:
    """Yield value and gradient under each recurrence that takes the cell."""
    for name, run in RECURRENCES.items():

        def loss(params: Any, xs: jax.Array, run: Any = run) -> jax.Array:
            return (unroll(cell, params, xs, recurrence=run)[1] ** 2).mean()

        try:
            yield name, jax.jit(jax.value_and_grad(loss)).lower(params, xs).compile()
        except InputError as error:
            report.warn(f"{cell.name}: not under {name}: {str(error).partition(';')[0]}")


def _stream(cell: Cell, hidden: int) -> float:
    """Return the microseconds of one jitted step with a batch of one, the carry given on."""
    params = cell.init(jax.random.key(0), hidden, hidden)
    step, x = jax.jit(cell.step), jnp.ones((1, hidden))
    carry = cell.initial_carry(params, (1,))
    return median(interleave({"stream": lambda: step(params, carry, x)}, 3)["stream"]) * 1e3


def _costs_table(report: Report) -> str:
    rows = [row for row in report.rows if "T" in row and "problem" not in row]
    names = list(dict.fromkeys(name for row in rows for name in row["samples"]))
    lines = [[row["name"], *(median(row["samples"][n]) if n in row["samples"] else "-" for n in names)] for row in rows]
    memory = {row["name"]: row["samples"]["mib"] for row in report.rows if "mib" in row["samples"]}
    mib = [[row["name"], *(_first(memory.get(f"{row['name']}, {n}, MiB")) for n in names)] for row in rows]
    return f"{table(['us a step', *names], lines)}\n\n{table(['MiB of training', *names], mib)}\n"


def _first(values: list[float] | None) -> float | str:
    return values[0] if values else "-"

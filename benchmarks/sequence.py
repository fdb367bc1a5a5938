"""Cells on sequences of several lengths: accuracy, and the cost of training and of streaming."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import OmitArgPrefixes

from jaxseq import problems, unroll
from jaxseq.bench.output import USUAL, Output, Report, Table, command
from jaxseq.bench.program import inspect
from jaxseq.bench.timing import interleave, median
from jaxseq.cells import CELLS, Cell
from jaxseq.errors import InputError, choose
from jaxseq.problems import Problem
from jaxseq.recurrence import RECURRENCES, Recurrence

LENGTHS, QUICK_LENGTHS = (64, 256, 1024, 4096), (64,)
DEFAULTS = ("lstm", "gru", "rnn", "min_gru", "lru", "s5", "rg_lru", "mlstm", "gla", "deltanet")
RATES = (1e-3, 3e-3, 1e-2)
"""Learning rates; each cell is shown at the one with the lowest final loss on separate seeds."""
CHOOSING = (1000,)
"""Seeds that choose the rate, and are not reported."""
TIMED = tuple(name for name in RECURRENCES if name != "forward")
"""Recurrences whose cost is shown; `forward` takes minutes for cells whose units mix: name it for others only."""
ROW = ("command", "row", "seconds")
"""The fields of a kept row in addition to its facts."""
LEARNT = 0.1
"""A problem is learnt when the loss is at most this share of the loss of a memoryless output."""

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
    recurrences: tuple[str, ...] = TIMED,
    hidden: int = 64,
    steps: int = 0,
    seeds: tuple[int, ...] = (0, 1, 2),
    learn: bool = True,
    costs: bool = True,
) -> int:
    """Train cells on problems of several lengths; time training under each recurrence, and a stream.

    A row is a cell on a problem of T steps: the share of scored steps that are right on 256 new rows (over the seeds:
    mean and standard deviation), and the training steps until the loss was a tenth of that of an output which does not
    look back. Costs are of value and gradient, B = 8, for each recurrence that takes the cell; of a stream, of one
    jitted step with B = 1.

    Example: python -m benchmarks sequence --quick

    Args:
      output: Where to.
      cells: By name.
      names: Problems.
      lengths: T.
      recurrences: Of the costs; all but forward by default.
      hidden: H.
      steps: Of training; 0: 2000, or 100 with --quick.
      seeds: Reported ones; a rate is chosen on others.
      learn: Train on the problems.
      costs: Time training and a stream.
    """
    lengths = lengths or (QUICK_LENGTHS if output.quick else LENGTHS)
    every = [choose("cell", name, CELLS) for name in cells]
    runs = {name: choose("recurrence", name, RECURRENCES) for name in recurrences}
    report = Report("sequence", output, unit="us")
    if costs:
        _show_costs(report, every, runs, lengths, hidden)
    if learn:
        steps = steps or (100 if output.quick else 2000)
        _show_learning(report, every, [(name, T) for name in names for T in lengths], hidden, steps, seeds)
    return report.finish()


# ---------------------------------------------------------------------------------------------- accuracy


def _show_learning(
    report: Report, cells: list[Cell], asked: list[tuple[Name, int]], hidden: int, steps: int, seeds: tuple[int, ...]
) -> None:
    """Show what cells learn. Rows that a stopped run of the same command has left in ``FILE.rows`` are kept."""
    part = None if report.output.json is None else report.output.json.with_suffix(".rows")
    before = part.read_text().splitlines() if part is not None and part.exists() else ()
    kept = {row["row"]: row for row in map(json.loads, before) if row["command"] == command()}
    lines = []
    for name, T in asked:
        for cell in cells:
            title = f"{cell.name}, {name}, T {T}"
            row = kept.get(title)
            if row is None:
                row = {"command": command(), "row": title, **_learn(cell, _problem(name, T), hidden, steps, seeds)}
                if part is not None:
                    with part.open("a") as file:
                        print(json.dumps(row), file=file)
                jax.clear_caches()  # thousands of compiled programs would take all the mappings of a process
            report.add(title, {"seconds": [row["seconds"]]}, **{k: row[k] for k in row if k not in ROW})
            accuracy = f"{row['accuracy']:.3f} ± {row['spread']:.3f}"
            lines.append([name, T, cell.name, f"{row['constant']:.3f}", accuracy, row["learnt"], f"{row['rate']:g}"])
            print(*lines[-1], file=sys.stderr, flush=True)
    report.say(
        f"Learning, H = {hidden}, {steps} steps with batches of 16: the share of scored steps that are right on 256 "
        f"new rows, as mean and standard deviation over {len(seeds)} seeds; the best constant output; steps until the "
        "loss was a tenth of that of an output which does not look back. Of three learning rates, the one that another "
        "seed learns best with."
    )
    head = ["problem", "T", "cell", "constant output", "accuracy", "steps to learn", "learning rate"]
    report.show(Table(head, lines))
    if part is not None:
        part.unlink(missing_ok=True)


def _learn(cell: Cell, problem: Problem, hidden: int, steps: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Return accuracy and steps to learn over seeds, at the rate that others chose."""
    begun = time.perf_counter()

    def trained(seeds: tuple[int, ...], rate: float) -> problems.Trained:
        return problems.train(cell, problem, hidden=hidden, steps=steps, seed=seeds, learning_rate=rate, batch=16)

    def final(rate: float) -> float:  # a training that diverged is the worst
        losses = np.asarray(trained(CHOOSING, rate).losses)[:, -steps // 10 :].mean()
        return float(losses) if np.isfinite(losses) else np.inf

    rate = min(RATES, key=final)
    found = trained(seeds, rate)
    losses = np.asarray(found.losses)
    score = lambda params: problems.evaluate(cell, problem, params).accuracy  # noqa: E731
    accuracy = np.asarray(jax.jit(jax.vmap(score))(found.params))
    first = [_first_below(row, LEARNT * problem.baseline) for row in losses]
    return {
        "cell": cell.name, "problem": problem.name, "T": problem.length, "rate": rate,
        "constant": _constant(problem), "accuracy": float(np.mean(accuracy)), "spread": float(np.std(accuracy)),
        "learnt": "never" if None in first else f"{np.median([n for n in first if n is not None]):.0f}",
        "seconds": time.perf_counter() - begun,
    }  # fmt: skip


def _constant(problem: Problem, rows: int = 256) -> float:
    """Return the accuracy of the best constant output: one symbol, or the mean of the targets."""
    batch = problem.draw(jax.random.key(0), rows)
    shape = (*batch.scored.shape, problem.output_size)
    one = problem.output_size == 1
    outputs = jnp.mean(batch.targets, where=batch.scored)[None, None] if one else jnp.eye(problem.output_size)
    return max(float(problem.accuracy(jnp.broadcast_to(output, shape), batch)) for output in outputs)


def _first_below(losses: np.ndarray, bound: float, over: int = 20) -> int | None:
    """Return the first step after which the mean of the losses of `over` steps is below a bound; None if never."""
    means = np.convolve(losses, np.full(min(over, len(losses)), 1 / min(over, len(losses))), "valid")
    below = np.flatnonzero(means < bound)
    return int(below[0]) + over if len(below) else None


# ---------------------------------------------------------------------------------------------- cost


def _show_costs(
    report: Report, cells: list[Cell], runs: dict[str, Recurrence], lengths: tuple[int, ...], hidden: int
) -> None:
    """Show the time and memory of training under each recurrence, and the time of a stream."""
    report.say(
        f"Value and gradient of a layer under each recurrence that takes the cell, B = 8, D = H = {hidden}; stream: "
        "one jitted step with B = 1."
    )
    took, memory = list[dict[str, Any]](), list[dict[str, Any]]()
    for cell in cells:
        for T in lengths:
            times, mib = _costs(report, cell, runs, T, hidden)
            took.append(report.add(f"{cell.name}, T {T}", {**times, "stream": [_stream(cell, hidden)]}))
            memory.append(report.add(f"{cell.name}, T {T}, MiB of training", mib))
    report.show(_by_recurrence("µs", took))
    report.show(_by_recurrence("MiB", memory))


def _costs(
    report: Report, cell: Cell, runs: dict[str, Recurrence], T: int, hidden: int, batch: int = 8
) -> tuple[dict, dict]:
    """Return microseconds a step of the sequence, and MiB of temporary memory, by recurrence."""
    params = cell.init(jax.random.key(0), hidden, hidden)
    xs = jax.random.normal(jax.random.key(1), (T, batch, hidden))
    programs = dict(_compiled(report, cell, runs, params, xs))
    planned = {name: inspect(compiled).temporary for name, compiled in programs.items()}
    calls = {name: lambda compiled=compiled: compiled(params, xs) for name, compiled in programs.items()}
    found = interleave(calls, 3 if report.output.quick else 5)
    times = {name: [ms * 1e3 / T for ms in samples] for name, samples in found.items()}
    return times, {name: [size / 2**20] for name, size in planned.items() if size is not None}


def _compiled(
    report: Report, cell: Cell, runs: dict[str, Recurrence], params: Any, xs: jax.Array
) -> Iterator[tuple[str, Any]]:
    """Yield value and gradient under each recurrence that takes the cell."""
    for name, run in runs.items():

        def loss(params: Any, xs: jax.Array, run: Any = run) -> jax.Array:
            return (unroll(cell, params, xs, recurrence=run)[1] ** 2).mean()

        try:
            yield name, jax.jit(jax.value_and_grad(loss)).lower(params, xs).compile()
        except InputError as error:
            report.warn(f"{cell.name}: not under {name}: {str(error).partition(';')[0]}")


def _stream(cell: Cell, hidden: int) -> float:
    """Return the microseconds of one jitted step with a batch of one, the carry passed on."""
    params = cell.init(jax.random.key(0), hidden, hidden)
    step, x = jax.jit(cell.step), jnp.ones((1, hidden))
    carry = cell.initial_carry(params, (1,))
    return median(interleave({"stream": lambda: step(params, carry, x)}, 3)["stream"]) * 1e3


def _by_recurrence(unit: str, rows: list[dict[str, Any]]) -> Table:
    """Return rows as a table with a column for each recurrence."""
    names = list(dict.fromkeys(name for row in rows for name in row["samples"]))
    cells = [[median(row["samples"][n]) if n in row["samples"] else "-" for n in names] for row in rows]
    head = ["of a step of the sequence" if unit == "µs" else "of training", *(f"{name} {unit}" for name in names)]
    return Table(head, [[row["name"], *line] for row, line in zip(rows, cells, strict=True)])

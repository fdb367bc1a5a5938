"""Newton's method over time: the rounds, depth and cost of each cell."""

from __future__ import annotations

import functools
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import OmitArgPrefixes, Positional

from benchmarks import tasks
from jaxseq import unroll
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.program import inspect
from jaxseq.bench.timing import interleave, median
from jaxseq.cells import CELLS, Cell
from jaxseq.recurrence import Solution, deferred, newton_solution

NAMES = ("lstm", "gru", "rnn", "lem", "cornn", "para_lstm", "para_gru")
LENGTHS, QUICK_LENGTHS = (100, 1_000, 10_000, 100_000), (100, 1_000)
TRAINED = tasks.adding(50)
"""The problem on which cells are trained before their rounds are counted again."""


def newton_(
    names: Positional[tuple[str, ...]] = (),
    output: OmitArgPrefixes[Output] = USUAL,
    lengths: tuple[int, ...] = (),
    hidden: int = 8,
    batch: int = 1,
    steps: int = 0,
    rounds: int = 100,
    damping: float = 0.0,
    jacobian: str = "auto",
    timed: int = 10_000,
    samples: int = 0,
) -> int:
    """Count the rounds of Newton's method for cells as they are drawn and trained, and time it next to deferred.

    The inputs are those of the adding problem over T steps. The depth is 2 log2 T products for each round, next to the
    T steps of a loop; "loop steps" were left to a loop after the last round. Memory is the temporary
    memory of value and gradient as the compiler plans it; times are of value and gradient, in float32.

    Example: python -m benchmarks newton --quick

    Args:
      names: Cells; lstm gru rnn lem cornn para_lstm para_gru by default.
      output: Where to.
      lengths: T; 100, 1000, 10000, 100000 by default, the first two with --quick.
      hidden: Units.
      batch: Sequences.
      steps: Steps of training on the adding problem over 50 steps; 0: 300, or 20 with --quick.
      rounds: Most rounds.
      damping: Of each round.
      jacobian: auto, full or diagonal.
      timed: The longest T that is timed on a CPU; on a GPU all are.
      samples: Timed samples; 0: 5, or 3 with --quick.
    """
    unknown = sorted(set(names) - set(CELLS))
    if unknown:
        raise SystemExit(f"there is no cell {unknown[0]!r}; `python -m jaxseq cells` lists all")
    report = Report("newton", output)
    report.say(
        f"Value and gradient on the adding problem, B = {batch}, H = {hidden}, with params as drawn and as trained. "
        "The depth is 2 log2 T products for each round and the steps of the loop that ran after the last round."
    )
    on_gpu = jax.default_backend() == "gpu"
    if not on_gpu:
        report.say(f"There is no GPU: times are those of this CPU, up to T = {timed}.")
    options: dict[str, Any] = {"rounds": rounds, "damping": damping, "jacobian": jacobian}
    lines = []
    for name in names or NAMES:
        for how, params in _params(CELLS[name], hidden, steps or (20 if output.quick else 300)).items():
            for T in lengths or (QUICK_LENGTHS if output.quick else LENGTHS):
                few = (samples or (3 if output.quick else 5)) if on_gpu or timed >= T else 0
                row = _row(report, name, how, params, T, batch, options, few)
                lines.append(_line(row))
                print(*lines[-1], file=sys.stderr, flush=True)
    head = ["cell", "params", "T", "rounds", "loop steps", "residual", "block", "depth / T"]
    report.show(Table([*head, "newton MiB", "deferred MiB", "newton ms", "deferred ms"], lines))
    _rule(report)
    return report.finish()


def _params(cell: Cell, hidden: int, steps: int) -> dict[str, Any]:
    """Return the params of a cell for the adding problem: as `init` draws them, and trained."""
    train = tasks.trainer(cell, TRAINED, hidden=hidden, batch=32, steps=steps)
    return {"drawn": cell.init(jax.random.key(1), 3, hidden), "trained": train(0.01)[1]}


def _row(
    report: Report, name: str, how: str, params: Any, T: int, batch: int, options: dict[str, Any], samples: int
) -> dict[str, Any]:
    """Return a row with rounds, depth and memory, timed if there are samples to take."""
    xs, cell = tasks.adding(T).sample(jax.random.key(5), batch)[0], CELLS[name]
    systems = {"newton": functools.partial(newton_solution, **options), "deferred": deferred}
    compiled = {system: _gradient(cell, run).lower(params, xs).compile() for system, run in systems.items()}
    (_, found), _ = compiled["newton"](params, xs)
    rounds, left = int(found.rounds), int(found.steps)
    facts: dict[str, Any] = {
        "rounds": rounds, "steps": left, "residual": float(jnp.max(found.residual)), "block": int(found.block),
        "depth": rounds * 2 * math.ceil(math.log2(T)) + left,
    }  # fmt: skip
    for system, program in compiled.items():
        facts[f"mib {system}"] = (inspect(program).temporary or 0) / 2**20
    thunks = {system: functools.partial(program, params, xs) for system, program in compiled.items()}
    timed = interleave(thunks, samples) if samples else {}
    return report.add(f"{name} {how} {T}", timed, cell=name, params=how, T=T, **facts)


def _gradient(cell: Cell, recurrence: Any) -> Any:
    """Return value and gradient of the mean squared output, with how it was found."""

    def loss(params: Any, xs: jax.Array) -> tuple[jax.Array, Any]:
        outs = unroll(cell, params, xs, recurrence=recurrence)[1]
        found = outs._replace(outs=()) if isinstance(outs, Solution) else ()
        return ((outs.outs if isinstance(outs, Solution) else outs) ** 2).mean(), found

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def _line(row: dict[str, Any]) -> list[Any]:
    times = [f"{median(row['samples'][s]):.1f}" if s in row["samples"] else "-" for s in ("newton", "deferred")]
    found = [row["rounds"], row["steps"], f"{row['residual']:.0e}", row["block"], f"{row['depth'] / row['T']:.2g}"]
    memory = [f"{row[f'mib {s}']:.2f}" for s in ("newton", "deferred")]
    return [row["cell"], row["params"], row["T"], *found, *memory, *times]


def _rule(report: Report) -> None:
    """Print from which depth on, as a share of T, newton took less time than deferred."""
    timed = [row for row in report.rows if row["samples"]]
    report.say(f"newton was faster than deferred in {sum(map(_won, timed))} of {len(timed)} rows that were timed.")
    if not any(map(_won, timed)):
        return
    shares = np.array([row["depth"] / row["T"] for row in timed])
    won = np.array([*map(_won, timed)])
    # the share that separates best: below it newton is taken to win
    cuts = np.unique(np.concatenate([[0.0], shares + 1e-9]))
    right = [(won == (shares < cut)).mean() for cut in cuts]
    best = float(cuts[int(np.argmax(right))])
    report.say(f"In {max(right):.0%} of these rows newton was faster exactly where depth / T is below {best:.2g}.")
    report.facts |= {"share": best, "right": float(max(right)), "won": int(won.sum())}


def _won(row: dict[str, Any]) -> bool:
    return median(row["samples"]["newton"]) < median(row["samples"]["deferred"])

"""Every cell: its size, its speed against torchrecurrent's cell of the same equations, and whether it learns."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import OmitArgPrefixes, Positional

from benchmarks import tasks
from benchmarks.layers import Shape
from jaxseq import unroll
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.peers import PICTURE
from jaxseq.bench.timing import geometric_mean, interleave, median, noise, ratio
from jaxseq.bench.torch_layer import THEIRS, torchrecurrent_layer
from jaxseq.cells import CELLS, Cell, stack
from jaxseq.errors import InputError

ADDING, COPY = tasks.adding(12), tasks.copying(4, 3, 4)
RATES = (0.01, 0.1)
PART = 0.1
"""A loss must fall below this share of the task's baseline."""
LAYERS = {"indrnn": 2, "indrnn_tanh": 2}
"""Cells that learn as a stack, as in their paper: one layer whose units see only themselves cannot multiply and add."""


def cells(
    names: Positional[tuple[str, ...]] = (),
    output: OmitArgPrefixes[Output] = USUAL,
    learn: bool = False,
    compared: bool = False,
    shape: Shape | None = None,
    rounds: int = 0,
    pause: float = 0.02,
    at_least: float | None = None,
    at_least_each: float | None = None,
    hidden: int = 32,
    batch: int = 64,
    steps: int = 0,
) -> int:
    """Time value and gradient of every cell against torchrecurrent's layer, or see whether it learns, with --learn.

    Timed in float32: the sum of all squared outputs and its gradients with respect to params and inputs. torchrecurrent
    is used as its documentation does, on the same inputs, with weights as it draws them.

    Learned: the adding problem over 12 steps, from the last output by an affine head; a cell whose outputs are affine
    in its inputs cannot multiply, and has the copy problem instead (3 of 4 symbols, after 4 blanks), and an IndRNN has
    two layers. Every cell has the same steps of Adam on fresh sequences, gradients clipped at norm 1, the learning rate
    falling to 0 from 0.01, and if it misses the bound anew from 0.1; all its parameters are trained. The bound is a
    tenth of the loss of a memoryless predictor: 1/6, and log 4.

    Example: python -m benchmarks cells lstm mgu --quick

    Example: python -m benchmarks cells --at-least 5 --at-least-each 1

    Example: python -m benchmarks cells --learn

    Args:
      names: Cells; all by default.
      output: Where to.
      learn: Train each cell instead of timing it; exit with 1 if one misses the bound.
      compared: Only cells that torchrecurrent has.
      shape: B T D H to time; 32 50 64 64 by default, 8 20 32 32 with --quick.
      rounds: Samples of each; 0: 15, or 3 with --quick.
      pause: Seconds of rest between torch and JAX.
      at_least: Exit with 1 if the geometric mean of torchrecurrent's time over ours is below this.
      at_least_each: Exit with 1 if it is below this for any cell.
      hidden: Units while learning.
      batch: Sequences in a step of learning.
      steps: Steps of learning; 0: 2000, or 20 with --quick, where no bound is held.
    """
    unknown = sorted(set(names) - set(CELLS))
    if unknown:
        raise SystemExit(f"there is no cell {unknown[0]!r}; `python -m jaxseq cells` lists all")
    chosen = {name: CELLS[name] for name in names or CELLS if name in THEIRS or not compared}
    report = Report("cells", output, unit="s" if learn else "ms")
    if learn:
        _learn(report, chosen, hidden, batch, steps or (20 if output.quick else 2000))
    else:
        shape = shape or ((8, 20, 32, 32) if output.quick else (32, 50, 64, 64))
        _time(report, chosen, shape, rounds or (3 if output.quick else 15), pause)
        _hold(report, at_least, at_least_each)
    return report.finish()


def _time(report: Report, chosen: dict[str, Cell], shape: Shape, rounds: int, pause: float) -> None:
    """Fill the table of times and print each row when it is done."""
    (B, T, D, H), lines = shape, []
    report.say(f"Value and gradient, B, T, D, H = {B}, {T}, {D}, {H}; a step is one of {T}.")
    for name, cell in chosen.items():
        xs = jax.random.normal(jax.random.key(1), (T, B, *PICTURE[: cell.spatial], D), jnp.float32)
        params = cell.init(jax.random.key(0), D, H)
        run, compiling = _compile(cell, params, xs)
        thunks = {"jaxseq": lambda run=run, params=params, xs=xs: run(params, xs)}
        theirs = _theirs(cell, shape, xs, report.warn)
        if theirs is not None:
            thunks["torchrecurrent"] = theirs
        samples = interleave(thunks, rounds, pause=pause)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        row = report.add(name, samples, parameters=count, seconds_to_compile=compiling, shape=shape)
        step = f"{median(samples['jaxseq']) * 1e3 / T:.1f}"
        line: list[Any] = [name + (" (pictures)" if cell.spatial else ""), count, compiling, step, "-", "-"]
        if theirs is not None:
            report.warn(noise(f"{name}, torchrecurrent", samples["torchrecurrent"]))
            row["ratio"] = ratio(samples["torchrecurrent"], samples["jaxseq"])
            line[4:] = f"{median(samples['torchrecurrent']) * 1e3 / T:.1f}", row["ratio"]
        lines.append(line)
        print(f"{len(lines)} of {len(chosen)}", name, *line[3:], file=sys.stderr, flush=True)
    head = ["cell", "parameters", "compile s", "µs a step", "torchrecurrent µs a step", "torchrecurrent / jaxseq"]
    report.show(Table(head, lines))


def _hold(report: Report, at_least: float | None, at_least_each: float | None) -> None:
    """Print the mean and the lowest of the ratios, and check both against their bounds."""
    rows = [row for row in report.rows if "ratio" in row]
    mean, slowest = None, None
    if rows:
        mean = geometric_mean([(row["samples"]["torchrecurrent"], row["samples"]["jaxseq"]) for row in rows])
        slowest = min(rows, key=lambda row: row["ratio"].value)
        lowest = f"the lowest is {slowest['ratio']} ({slowest['name']})"
        report.say(f"The geometric mean of {len(rows)} ratios is {mean}; {lowest}.")
    what = "torchrecurrent / jaxseq"
    report.at_least(f"geometric mean of {what}", mean.value if mean else None, at_least)
    report.at_least(
        f"lowest {what}" + (f" ({slowest['name']})" if slowest else ""),
        slowest["ratio"].value if slowest else None,
        at_least_each,
    )


def _compile(cell: Cell, params: Any, xs: jax.Array) -> tuple[Callable[..., Any], float]:
    """Return value and gradient of the sum of squared outputs, and the seconds to trace, lower and compile it.

    Raises:
      AssertionError: if a number is not finite: it would not be timed like others.
    """

    def loss(params: Any, xs: jax.Array) -> jax.Array:
        return (unroll(cell, params, cell.lift(xs))[1] ** 2).sum()

    begun = time.perf_counter()
    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).trace(params, xs).lower().compile()
    took = time.perf_counter() - begun
    finite = all(np.isfinite(a).all() for a in jax.tree.leaves(run(params, xs)))
    assert finite, f"{cell.name}: value or gradient is not finite"
    return run, took


def _theirs(cell: Cell, shape: Shape, xs: jax.Array, say: Callable[[str], None]) -> Callable[[], Any] | None:
    """Return torchrecurrent's value and gradient as a thunk, or None if it has no such cell or is not installed."""
    if cell.name not in THEIRS:
        return None
    try:
        return torchrecurrent_layer(cell, shape, xs).gradient
    except ImportError as error:
        say(f"torchrecurrent is left out, and with it every ratio ({error}); pip install torchrecurrent==0.2.5")
    except InputError as error:  # this cell only: the others are still measured
        say(f"{cell.name}: torchrecurrent's is left out: {error}")
    return None


def _learn(report: Report, chosen: dict[str, Cell], hidden: int, batch: int, steps: int) -> None:
    """Train every cell, print each row when it is done, and check its loss against the bound."""
    settings = f"H {hidden}, batch {batch}, {steps} steps, Adam from {RATES[0]:g}, else from {RATES[1]:g}"
    report.say(f"{settings}; the bound is {PART:g} of the loss of a memoryless predictor.")
    lines = []
    for name, cell in chosen.items():
        layers = LAYERS.get(name, 1)
        cell = stack(*[cell] * layers) if layers > 1 else cell
        task = COPY if tasks.is_affine(cell) else ADDING
        bound, losses = PART * task.baseline, dict[float, float]()
        begun = time.perf_counter()
        train = tasks.trainer(cell, task, hidden=hidden, batch=batch, steps=steps)
        for rate in RATES:
            losses[rate] = float(train(rate)[0])
            if losses[rate] < bound:
                break
        took = time.perf_counter() - begun
        rate = min(losses, key=lambda rate: losses[rate] if np.isfinite(losses[rate]) else np.inf)
        facts = {"layers": layers, "task": task.name, "losses": list(losses.items()), "bound": bound, "steps": steps}
        report.add(name, {"seconds": [took]}, **facts)
        below = "yes" if losses[rate] < bound else "NO"
        numbers = f"{losses[rate]:.5f}", f"{bound:.4f}", below, f"{rate:g}", f"{took:.1f}"
        lines.append([name, layers, task.name, *numbers])
        print(f"{len(lines)} of {len(chosen)}", *lines[-1], file=sys.stderr, flush=True)
        if not report.output.quick:
            report.at_most(f"loss of {name} in the {task.name} problem", losses[rate], bound)
    report.show(Table(["cell", "layers", "task", "loss", "bound", "below", "learning rate", "s"], lines))
    below = sum(line[5] == "yes" for line in lines)
    report.say(f"{below} of {len(lines)} cells below the bound")

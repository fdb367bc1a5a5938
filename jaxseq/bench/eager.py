"""Calls outside jit, as in a notebook or a reinforcement learning loop, compared with the jitted call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax

from jaxseq import trace
from jaxseq.bench import peers
from jaxseq.bench.output import Report, Table
from jaxseq.bench.systems import OURS, Case, System
from jaxseq.bench.timing import Thunk, compilations, interleave, median, ratio
from jaxseq.recurrence import RECURRENCES

SHAPE = (1, 10, 64, 64)
"""A small shape, so that Python's overhead dominates."""
CALLS = 3


def measure_eager(
    case: Case, found: Mapping[str, System], rounds: int, report: Report, *, pause: float = 0.02
) -> list[dict[str, Any]]:
    """Time eager and jitted calls, forward and gradient, of every system, and our `trace` and `step`.

    The samples of a row are named ``"NAME eager"`` and ``"NAME jitted"``; ``compiled`` gives for each eager one the
    number of programs compiled per call, after the first.
    """
    rows = []
    for mode in ("forward", "gradient"):
        thunks: dict[str, Thunk] = {}
        for name, system in found.items():
            thunks[f"{name} eager"], thunks[f"{name} jitted"] = system.eager(mode), system.thunk(mode)
        if mode == "forward":
            thunks |= _others(case)
        counts = {name: _compiled(thunk) for name, thunk in thunks.items() if name.endswith("eager")}
        samples = interleave(thunks, rounds, pause=pause, may_compile=True)
        facts = {"cell": case.cell.name, "shape": case.shape, "mode": f"eager {mode}", "dtype": case.dtype}
        rows.append(report.add(f"{case} eager {mode}", samples, compiled=counts, **facts))
    return rows


def _others(case: Case) -> dict[str, Thunk]:
    """Return thunks of our `trace` and of one step, eager and jitted."""
    cell, (params, xs) = case.cell, peers.setup(case.cell, case.shape, case.dtype)
    run = lambda p, xs: trace(cell, p, xs, recurrence=RECURRENCES[case.recurrences[0]])  # noqa: E731
    carry = cell.initial_carry(params, xs.shape[1 : 2 + cell.spatial])
    thunks: dict[str, Thunk] = {}
    made: tuple[tuple[str, Callable[..., Any], tuple[Any, ...]], ...] = (
        ("trace", run, (params, xs)),
        ("step", cell.step, (params, carry, xs[0])),
    )
    for name, function, args in made:
        thunks[f"{OURS} {name} eager"] = partial(function, *args)
        thunks[f"{OURS} {name} jitted"] = partial(jax.jit(function), *args)
    return thunks


def _compiled(run: Thunk) -> float:
    """Return the number of programs that a second call compiles."""
    jax.block_until_ready(run())
    with compilations() as compiled:
        for _ in range(CALLS):
            jax.block_until_ready(run())
        return compiled() / CALLS


def show_eager(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table: eager and jitted milliseconds of each system, and their ratios."""
    lines: list[list[Any]] = []
    for row in rows:
        samples = row["samples"]
        lines += [[""] * 6] * bool(lines) + [[row["name"], *[""] * 5]]
        names = [name.removesuffix(" eager") for name in samples if name.endswith(" eager")]
        for name in sorted(names, key=lambda name: (not name.startswith(OURS), median(samples[f"{name} eager"]))):
            eager, jitted = samples[f"{name} eager"], samples[f"{name} jitted"]
            own = ratio(eager, samples[f"{OURS} eager"]) if not name.startswith(OURS) else ""
            torch = name.startswith("torch")
            line = ["  " + name, median(eager), "-" if torch else median(jitted)]
            lines.append([*line, "-" if torch else ratio(eager, jitted), own, f"{row['compiled'][f'{name} eager']:g}"])
    return Table(["", "eager ms", "jitted ms", "eager / jitted", "eager / ours", "programs compiled a call"], lines)

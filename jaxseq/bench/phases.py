"""Time to the first result of a jitted function: trace, lower and compile, for one layer and for a stack."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.bench import peers
from jaxseq.bench.output import Report, Table
from jaxseq.bench.peers import PEERS, Layer
from jaxseq.bench.program import inspect
from jaxseq.bench.systems import OURS, Case
from jaxseq.bench.timing import Ratio, median, ratio
from jaxseq.cells import stack
from jaxseq.recurrence import RECURRENCES

PHASES = ("trace", "lower", "compile")
DEPTH = 4
IN_SEQUENCE = f"{OURS} one after the other"
"""Our layers, each with its own loop, like the peers'; the alternative is a stack, with one loop."""


def took(make: Callable[[], Any]) -> tuple[Any, float]:
    """Return the awaited result of `make`, and the milliseconds that it took."""
    begun = time.perf_counter()
    made = jax.block_until_ready(make())
    return made, (time.perf_counter() - begun) * 1e3


def phases(layer: Layer, xs: jax.Array) -> tuple[Any, dict[str, float]]:
    """Return the compiled value and gradient of a layer, and the milliseconds of each phase, from empty caches."""
    # otherwise the second round would reuse the first round's program
    jax.clear_caches()
    traced, trace = took(lambda: layer.gradient().trace(layer.weights, xs))
    lowered, lower = took(traced.lower)
    compiled, compiling = took(lowered.compile)
    return compiled, dict(zip(PHASES, (trace, lower, compiling), strict=True))


def measure_phases(
    case: Case, against: Iterable[str], rounds: int, report: Report, depths: Sequence[int] = (1, DEPTH)
) -> list[dict[str, Any]]:
    """Time the phases of value and gradient of one layer and of several, ours and the JAX peers', interleaved.

    The samples of a row are named ``"NAME trace"`` and so on, and ``"NAME"`` for their sum; ``programs`` has the counts
    of the compiled programs. The first round, which imports modules and fills caches other than JAX's, is dropped.
    """
    rows = []
    for depth in depths:
        built, xs = _built(case, depth, against, report)
        samples: dict[str, list[float]] = {}
        programs = {}
        for n in range(-1, rounds):
            for name, layer in built.items():
                compiled, ms = phases(layer, jnp.moveaxis(xs, 0, layer.time))
                programs[name] = inspect(compiled)._asdict()
                if n >= 0:
                    samples.setdefault(name, []).append(sum(ms.values()))
                    for phase, took in ms.items():
                        samples.setdefault(f"{name} {phase}", []).append(took)
        what = "one layer" if depth == 1 else f"a stack of {depth}"
        facts = {"cell": case.cell.name, "shape": case.shape, "mode": "compile", "dtype": case.dtype, "depth": depth}
        rows.append(report.add(f"{case} compile {what}", samples, programs=programs, **facts))
    return rows


def _built(case: Case, depth: int, against: Iterable[str], report: Report) -> tuple[dict[str, Layer], jax.Array]:
    """Return value and gradient of `depth` layers, by system, and their inputs."""
    B, T, D, H = case.shape
    params, xs = peers.setup(case.cell, case.shape, case.dtype)
    names = [name for name in against if name in PEERS]
    built: dict[str, Layer] = {}
    if depth == 1:
        for n, name in enumerate(case.recurrences):
            built[OURS + f" {name}" * (n > 0)] = peers.ours(case.cell, params, RECURRENCES[name])
        return built | peers.layers(case.cell, params, xs, report.warn, names), xs
    above, outs = peers.setup(case.cell, (B, T, case.cell.output_size(params, D), H), case.dtype)
    whole, each = stack(*[case.cell] * depth), (params, *[above] * (depth - 1))
    for n, name in enumerate(case.recurrences):
        built[OURS + f" {name}" * (n > 0)] = peers.ours(whole, each, RECURRENCES[name])
    built[IN_SEQUENCE] = in_sequence([peers.ours(case.cell, p, RECURRENCES[case.recurrences[0]]) for p in each])
    first = peers.layers(case.cell, params, xs, report.warn, names)
    others = peers.layers(case.cell, above, outs, report.warn, names)
    return built | {name: in_sequence([first[name], *[others[name]] * (depth - 1)]) for name in first}, xs


def in_sequence(layers: Sequence[Layer]) -> Layer:
    """Return layers run one after the other as one layer."""

    def outs(weights: Any, xs: jax.Array) -> jax.Array:
        return functools.reduce(lambda xs, of: of[0].outs(of[1], xs), zip(layers, weights, strict=True), xs)

    return Layer(outs, [layer.weights for layer in layers], lambda g: g, layers[0].time)


def show_phases(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table: milliseconds of each phase, their sum next to ours, and counts of the compiled program."""
    head = ["", *(f"{phase} ms" for phase in PHASES), "sum", "sum / ours", "operations", "fusions", "loops"]
    lines: list[list[Any]] = []
    for row in rows:
        samples: Mapping[str, list[float]] = row["samples"]
        lines += [[""] * len(head)] * bool(lines) + [[row["name"], *[""] * (len(head) - 1)]]
        for name in sorted(row["programs"], key=lambda name: (not name.startswith(OURS), median(samples[name]))):
            each = [f"{median(samples[f'{name} {phase}']):.0f}" for phase in PHASES]
            beside: Ratio | str = "" if name == OURS else ratio(samples[name], samples[OURS])
            program = row["programs"][name]
            counts = [program[of] for of in ("operations", "fusions", "loops")]
            lines.append(["  " + name, *each, f"{median(samples[name]):.0f}", beside, *counts])
    return Table(head, lines)

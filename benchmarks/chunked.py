"""Cells whose memory is a matrix: value and gradient step by step and in chunks, with the memory of both."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from tyro.conf import OmitArgPrefixes

from jaxseq import unroll
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.timing import interleave, median, noise, ratio
from jaxseq.cells import CELLS, MemoryEquations
from jaxseq.recurrence import EXACT, associative, chunked as in_chunks

NAMES = tuple(name for name, cell in CELLS.items() if isinstance(cell.equations, MemoryEquations))


def chunked(
    output: OmitArgPrefixes[Output] = USUAL,
    cells: tuple[str, ...] = NAMES,
    batches: tuple[int, ...] = (1, 8),
    steps: int = 1024,
    head: int = 64,
    sizes: tuple[int, ...] = (64,),
    against: tuple[str, ...] = ("deferred",),
    rounds: int = 0,
    at_least: float | None = None,
) -> int:
    """Time value and gradient of sum(h²) w.r.t. params and inputs, by the step and in chunks; one head, D = H.

    Example: python -m benchmarks chunked --cells deltanet gla --quick

    Args:
      output: Where to.
      cells: Names of cells; all that have the form by default.
      batches: B, and again.
      steps: T.
      head: H, of keys too where the cell lets one choose.
      sizes: Steps in a chunk, and again; the first is the one that is held against others.
      against: deferred, scan, checkpointed, associative; the first is the step form of the ratio.
      rounds: Samples; 0: 9, or 3 with --quick.
      at_least: Exit with 1 if a ratio of the step's time to that in chunks is below this.
    """
    report = Report("chunked", output)
    rounds, steps = rounds or (3 if output.quick else 9), min(steps, 128) if output.quick else steps
    report.say("Value and gradient of sum(h²) with respect to parameters and inputs, one head, D = H.")
    lines: list[list[Any]] = []
    for name in cells:
        for B in batches:
            programs = _compiled(name, steps, B, head, sizes, against)
            samples = interleave({which: program for which, (program, _) in programs.items()}, rounds)
            mib = {which: size for which, (_, size) in programs.items()}
            row = report.add(f"{name}, B = {B}", samples, cell=name, shape=(B, steps, head, head), mib=mib)
            gain = ratio(samples[against[0]], samples[f"chunks of {sizes[0]}"])
            report.warn(noise(row["name"], samples[against[0]]))
            report.at_least(f"{row['name']}: {against[0]} / chunks of {sizes[0]}", gain.value, at_least)
            lines.append([row["name"], str(gain), *(f"{median(samples[w]):.1f} ({mib[w]:.0f})" for w in programs)])
    heads = [*against, *(f"chunks of {size}" for size in sizes)]
    first = f"{against[0]} / chunks of {sizes[0]}"
    report.show(Table([f"T = {steps}, H = {head}", first, *(f"{which} ms (MiB)" for which in heads)], lines))
    return report.finish()


def _compiled(
    name: str, T: int, B: int, H: int, sizes: tuple[int, ...], against: tuple[str, ...]
) -> dict[str, tuple[Any, float]]:
    """Return by recurrence a thunk and its temporary MiB."""
    cell = CELLS[name]
    options = {"key_size": H // 2 if name == "retention" else H} if "key_size" in str(cell.init.__signature__) else {}
    params = cell.init(jax.random.key(0), H, H, **options)
    xs = jax.random.normal(jax.random.key(1), (T, B, H))
    step = {**EXACT, "associative": associative}
    recurrences: dict[str, Any] = {which: step[which] for which in against}
    recurrences |= {f"chunks of {size}": partial(in_chunks, size=size) for size in sizes}
    found = {}
    for which, recurrence in recurrences.items():

        def loss(params: Any, xs: jax.Array, recurrence: Any = recurrence) -> jax.Array:
            return jnp.sum(unroll(cell, params, xs, recurrence=recurrence)[1] ** 2)

        compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, xs).compile()
        found[which] = partial(compiled, params, xs), compiled.memory_analysis().temp_size_in_bytes / 2**20
    return found

"""Temporary memory of value and gradient, as the compiler plans it: nothing is run."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from tyro.conf import OmitArgPrefixes

from benchmarks.layers import QUICK, SHAPES, Shape
from jaxseq.bench import peers
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.peers import Layer
from jaxseq.bench.program import inspect
from jaxseq.cells import CELLS
from jaxseq.recurrence import EXACT

LENGTHS, QUICK_LENGTHS = (64, 256, 1024, 4096), (16, 64, 256)


def memory(
    output: OmitArgPrefixes[Output] = USUAL,
    cells: tuple[Literal["lstm", "gru"], ...] = ("lstm", "gru"),
    shapes: tuple[Shape, ...] = (),
    lengths: tuple[int, ...] = (),
) -> int:
    """Show the temporary MiB of value and gradient, in each of our recurrences and in every JAX peer.

    Example: python -m benchmarks memory --quick

    Args:
      output: Where to.
      cells: lstm, gru.
      shapes: B T D H, and again; those of `layers` by default.
      lengths: T, for B, D, H = 32, 128, 128.
    """
    report = Report("memory", output, unit="bytes")
    report.say("Temporary memory of value and gradient of one layer, as the compiler plans it.")
    over_time = [(32, T, 128, 128) for T in lengths or (QUICK_LENGTHS if output.quick else LENGTHS)]
    for cell in cells:
        for shape in (*(shapes or (QUICK if output.quick else SHAPES)), *over_time):
            name = f"{cell} {', '.join(map(str, shape))}"
            if name not in {row["name"] for row in report.rows}:
                report.add(name, _bytes(cell, shape, report), cell=cell, shape=shape)
    names = list(dict.fromkeys(itertools.chain(*(row["samples"] for row in report.rows))))
    lines = [
        [r["name"], *(r["samples"][n][0] / 2**20 if n in r["samples"] else "-" for n in names)] for r in report.rows
    ]
    report.show(Table(["B, T, D, H", *(f"{name} MiB" for name in names)], lines))
    return report.finish()


def _bytes(cell: str, shape: Shape, report: Report) -> dict[str, list[float]]:
    """Return the temporary bytes of every system, as lists of one."""
    params, xs = peers.setup(CELLS[cell], shape)
    found: dict[str, Layer] = {name: peers.ours(CELLS[cell], params, run) for name, run in EXACT.items()}
    found |= peers.layers(CELLS[cell], params, xs, report.warn)
    sizes = {}
    for name, layer in found.items():
        like: Any = jax.ShapeDtypeStruct(jnp.moveaxis(xs, 0, layer.time).shape, xs.dtype)
        temporary = inspect(layer.gradient().lower(layer.weights, like).compile()).temporary
        if temporary is None:
            report.warn(f"{name}: this backend does not say how much memory a program takes")
            continue
        sizes[name] = [float(temporary)]
    return sizes

"""The command `jaxseq bench`: its options and their checks; `jaxseq.bench` does the work."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from jaxseq.apps.custom import find_cell
from jaxseq.bench.compare import compare
from jaxseq.bench.measure import TIMED
from jaxseq.bench.output import Output, Report
from jaxseq.bench.peers import RTOL
from jaxseq.bench.run import FAMILIES, MODES, bench as run, draw
from jaxseq.bench.systems import Case
from jaxseq.bench.timing import CompiledWhileTimedError
from jaxseq.errors import InputError, choose
from jaxseq.recurrence import RECURRENCES

ROUNDS, QUICK = 15, 5
# B, T, D, H
QUICK_SHAPE = (8, 20, 32, 32)
SUFFIXES = (".png", ".svg", ".pdf")


def bench(
    cells: Positional[tuple[str, ...]] = ("lstm",),
    against: tuple[str, ...] = ("all",),
    shapes: tuple[int, ...] = (),
    modes: tuple[str, ...] = ("forward", "gradient"),
    recurrence: tuple[str, ...] = ("deferred",),
    dtype: str = "float32",
    devices: int = 1,
    rounds: int | None = None,
    quick: bool = False,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Time a recurrent layer, built-in or custom, against other libraries and its own matrix products.

    All systems get the same weights and inputs, and outputs and gradients are compared first. Systems take turns;
    ratios are of medians, with 95% intervals. The floor is the time of the layer's matrix products alone, each in its
    fastest orientation. How to read the table: jaxseq/guide/benchmarking.md.

    Example: jaxseq bench gru --against flax torch --shapes 1 100 32 32 64 100 256 256

    Example: jaxseq bench cells.py:my_cell --modes gradient train --plot bench.png

    Example: jaxseq bench lstm --modes eager compile memory

    Example: jaxseq bench compare before.json after.json

    Args:
      cells: Names of cells, or the place of a custom one: file.py:cell or module:cell. Or compare, and two files
        written by --json.
      against: scan (lax.scan over a step), flax, linen, nnx, haiku, equinox, keras, cudnn, torch, torchrecurrent; all,
        or none. A library that is not installed, or lacks the cell, is left out, and the report says so.
      shapes: B T D H of one or more layers; 32 50 128 128 by default, 1 10 64 64 for eager.
      modes: forward: outputs only; gradient: value and gradient of sum(h²) with respect to params and inputs; train: a
        step of SGD on both, ten in one jit; eager: calls outside jit; compile: trace, lower and compile of a layer
        and of a stack of four; memory: as the compiler plans it.
      recurrence: deferred, scan, checkpointed, associative, newton, chunked; the others are compared with
        the first.
      dtype: float32, float64, bfloat16 or float16, of params and inputs.
      devices: Shard the batch over this many.
      rounds: Samples of each; 15, or 5 with --quick.
      quick: Few samples and a small layer: for a first look only.
      json: Write samples and facts here, for compare.
      plot: Write a picture of forward, gradient and train here (png, svg or pdf).
    """
    if cells[:1] == ("compare",):
        if len(cells) != 3:
            raise InputError(f"bench compare takes two files written by --json; got {len(cells) - 1}")
        compare(Path(cells[1]), Path(cells[2]))
        return
    import jax

    jax.config.update("jax_enable_compilation_cache", False)  # a program that is read from disk would look compiled
    # before the first array: an earlier one would stay float32
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    cases = _cases(cells, shapes, recurrence, dtype, devices, quick)
    _check_names("mode", modes, dict.fromkeys(MODES))
    _check_names("peer", against, FAMILIES)
    if rounds is not None and rounds < 1:
        raise InputError(f"--rounds must be at least 1; got {rounds}")
    # the last check, still before anything is measured
    _check_paths(json, plot, modes)
    report = Report("bench", Output(quick, json))
    try:
        run(cases, modes, against, rounds or (QUICK if quick else ROUNDS), report)
    # a time that includes compilation is wrong, and so are ratios to it
    except CompiledWhileTimedError as error:
        raise InputError(f"nothing is shown: {error}") from error
    report.finish()
    if plot is not None:
        draw(report, plot)


def _cases(
    cells: Iterable[str], shapes: tuple[int, ...], recurrence: tuple[str, ...], dtype: str, devices: int, quick: bool
) -> list[Case]:
    """Return the cases to measure.

    Raises:
      InputError: for an unknown cell, recurrence or dtype, sizes that are not four and four, or too many devices.
    """
    import jax

    found = [find_cell(name) for name in cells]
    if not found:
        raise InputError("bench: which cell? For example: jaxseq bench lstm")
    _check_names("recurrence", recurrence, RECURRENCES)
    choose("dtype", dtype, RTOL)
    if len(shapes) % 4 or any(size < 1 for size in shapes):
        raise InputError(
            f"--shapes takes four sizes of at least 1 for each shape, B T D H; got {' '.join(map(str, shapes))}"
        )
    sizes: list[Any] = [shapes[n : n + 4] for n in range(0, len(shapes), 4)]
    # None: each mode has its own default; that of eager calls is smaller
    cut = sizes or ([QUICK_SHAPE] if quick else [None])
    if not 1 <= devices <= jax.device_count():
        raise InputError(
            f"--devices must be from 1 to {jax.device_count()}, which JAX has here; got {devices} (on a CPU set "
            f"JAX_NUM_CPU_DEVICES={devices} before the command)"
        )
    for shape in cut:
        # JAX shards an axis into equal parts only
        if shape and shape[0] % devices:
            raise InputError(f"--devices {devices} must divide B; it does not divide {shape[0]}")
    return [Case(cell, shape, dtype, recurrence, devices) for cell in found for shape in cut]


def _check_names(kind: str, names: tuple[str, ...], known: dict) -> None:
    for name in names:
        choose(kind, name, known)
    if not names:
        raise InputError(f"--{kind} needs at least one name; known: {', '.join(known)}")


def _check_paths(json: Path | None, plot: Path | None, modes: tuple[str, ...]) -> None:
    """Check that the files can be written, before minutes of measuring.

    Raises:
      InputError: naming the option and the path.
    """
    for option, path in (("--json", json), ("--plot", plot)):
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            raise InputError(f"{option} {path}: must be a file in an existing folder that you may write to")
    if plot is not None and plot.suffix not in SUFFIXES:
        raise InputError(f"--plot {plot}: the name must end in {', '.join(SUFFIXES)}")
    if plot is not None and not set(modes) & set(TIMED):
        raise InputError(f"--plot draws the modes {', '.join(TIMED)}, and none of them is in --modes")

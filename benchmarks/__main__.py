"""Run one benchmark.

pip install ".[bench]"
python -m benchmarks layers --quick
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import jax.numpy as jnp
from tyro.conf import PositionalRequiredArgs, configure
from tyro.extras import subcommand_cli_from_dict

from benchmarks.beam import beam
from benchmarks.cells import cells
from benchmarks.chunked import chunked
from benchmarks.compile import compile_
from benchmarks.decode import decode
from benchmarks.forecast import forecast
from benchmarks.layers import layers
from benchmarks.measure import measure
from benchmarks.memory import memory
from benchmarks.newton import newton_
from benchmarks.report import report
from benchmarks.scaling import scaling
from benchmarks.sequence import sequence
from benchmarks.sequences import tasks
from benchmarks.train import train
from benchmarks.tutorial import tutorial
from jaxseq.bench.compare import compare
from jaxseq.errors import InputError

COMMANDS = {
    "layers": layers, "tutorial": tutorial, "train": train, "decode": decode, "scaling": scaling, "memory": memory,
    "compile": compile_, "cells": cells, "compare": configure(PositionalRequiredArgs)(compare),
    "forecast": forecast, "beam": beam, "tasks": tasks, "report": report, "sequence": sequence,
    "newton": newton_, "chunked": chunked, "measure": measure,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark and return its exit status: 1 where a bound was missed, 2 for bad input or without torch."""
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    jnp.zeros(()).block_until_ready()  # start the backend before anything is timed
    try:
        return subcommand_cli_from_dict(COMMANDS, prog="python -m benchmarks", description=__doc__, args=args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        print(f'{args[0]} compares with torch: pip install ".[bench]" installs it, up to Python 3.11', file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

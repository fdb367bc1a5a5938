"""The runs behind the guide's page of measurements."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from tyro.conf import Positional

from jaxseq.errors import InputError
from jaxseq.inputs import parse_json, read_bytes

PAGE = {
    "layers": "layers --modes gradient --rounds 5 --shapes 1 100 128 128 64 50 512 512",
    "train": "train --hidden 256 --steps 4 --rounds 5",
    "cells": "cells --compared --rounds 3",
    "compile": "compile --repeats 3",
    "memory": "memory --shapes 64 100 256 256 --lengths 1024",
    "scaling": "scaling --rounds 3 --compiles 1",
    "chunked": "chunked --cells deltanet gla mlstm mamba2 --batches 8 --rounds 3",
    "newton": "newton gru rnn --lengths 1000 10000 --samples 3",
    "sequence": "sequence --no-learn --lengths 256 --recurrences deferred scan checkpointed associative chunked",
    "decode": "decode --sentences 128 --rounds 3",
    "learning": "sequence --no-costs --cells lstm gru lru s5 deltanet --lengths 64 --steps 1000 "
    "--names selective_copy recall parity",
}
"""Arguments of `python -m benchmarks` by section: about ten minutes of two cores, and twenty for `learning`."""


def measure(folder: Positional[Path]) -> int:
    """Run the benchmarks of the guide's page of measurements, and write a JSON file for each.

    A file that the folder has of the same command is kept, so that a run that was stopped goes on.

    Example: python -m benchmarks measure results

    Args:
      folder: Where to write; it is made if it is missing.

    Raises:
      InputError: if a benchmark failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for section, arguments in PAGE.items():
        file = folder / f"{section}.json"
        command = f"python -m benchmarks {arguments}"
        if file.exists() and parse_json(read_bytes(file), file).get("command") == command:
            print(f"{command}: kept {file}", file=sys.stderr, flush=True)
            continue
        print(command, file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", "benchmarks", *shlex.split(arguments), "--json", str(file)])
        if done.returncode:
            raise InputError(f"measure: `{command}` ended with exit status {done.returncode}; its output is above")
    return 0

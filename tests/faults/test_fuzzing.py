"""The long form: each reader fuzzed with coverage, ``JAXSEQ_FAULT_SECONDS=600 python -m pytest -n0 -s`` this file."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from altering import SECONDS
from test_altered_files import READERS

pytestmark = [
    pytest.mark.skipif(not SECONDS, reason="set JAXSEQ_FAULT_SECONDS, the seconds for each reader"),
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris: pip install atheris"),
]


@pytest.mark.parametrize("name", READERS)
def test_a_reader(name, tmp_path, capsys):
    """No exception but InputError; 2 s and 1 GB at most."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), *filter(None, sys.path)])
    command = [sys.executable, str(here / "covered.py"), name, str(int(SECONDS))]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{[*tmp_path.iterdir()]}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    tried = re.search(r"number_of_executed_units: (\d+)", done.stderr)[1]
    covered = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
    with capsys.disabled():
        print(f"\n{name}: {int(tried):,} files in {SECONDS:.0f} s; places of the code reached {covered[0][0]} by valid "
              f"files, {covered[-1][0]} in the end")  # fmt: skip

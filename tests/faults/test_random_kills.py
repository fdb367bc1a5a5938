"""The long form: commands killed at random moments, ``JAXSEQ_FAULT_KILLS=200 python -m pytest -n0 -s`` this file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("JAXSEQ_FAULT_KILLS", 0))
SECONDS = 1200
"""The longest that each may take; fewer kills are then made, and their number is printed."""

pytestmark = pytest.mark.skipif(not KILLS, reason="set JAXSEQ_FAULT_KILLS, the kills of each command")


@pytest.mark.parametrize("name", ["train", "forecast"])
def test_a_command_that_is_killed_at_random_moments(name, tmp_path, capsys):
    """Nothing is lost but the last interval: see `kills.py`, which forks before JAX computes anything."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), *filter(None, sys.path)])
    command = [sys.executable, str(here / "kills.py"), name, str(KILLS), str(SECONDS)]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with capsys.disabled():
        print(f"\n{done.stdout.splitlines()[-1]}")

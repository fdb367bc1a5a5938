"""Of two processes that train together one is killed: the other ends with a sentence, and the run goes on."""

import dataclasses
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from test_crash_points import LONG
from test_parallel import free_port, pairs

from jaxseq import checkpoint
from jaxseq.apps import parallel, run_folder
from jaxseq.apps.parallel import ProcessGroup
from jaxseq.apps.translate import train as translate
from jaxseq.devices import Devices

TRAINING = """
import os, signal, sys
from jaxseq.apps.parallel import ParallelConfig, joined
from jaxseq.apps.translate import train as translate
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.train import Listener

address, number, victim, run, settings = sys.argv[1:]

class Killed(Listener):
    chunks = 0
    def advance(self, steps, loss):
        self.chunks += 1
        if number == victim and self.chunks == 3:
            os.kill(os.getpid(), signal.SIGKILL)

with joined(ParallelConfig(None, address, 2, int(number))) as group:
    translate.train(TranslateConfig(**eval(settings)), run, listener=Killed(), group=group)
"""


def arrays(run):
    return [checkpoint._read(run / name)[0] for name in (run_folder.LAST, run_folder.MODEL)]


@pytest.mark.usefixtures("in_every_thread")
@pytest.mark.parametrize("victim", [1, 0] if LONG else [1])
def test_a_process_is_killed(victim, tmp_path):
    """With one device each, whose two gradients have the same sum in any order: the run goes on to the same bits."""
    config, run = pairs(tmp_path), tmp_path / "run"
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    args = [f"127.0.0.1:{free_port()}", "0", str(victim), str(run), repr(dataclasses.asdict(config))]
    started = []
    for args[1] in "01":
        command = [sys.executable, "-c", TRAINING, *args]
        started.append(subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment))
    try:
        started[victim].wait(timeout=200)
        begun = time.monotonic()
        printed, said = started[1 - victim].communicate(timeout=60)
    finally:
        for one in started:
            one.kill()
            one.communicate()
    assert started[victim].returncode == -9 and time.monotonic() - begun < 60
    sentence = f"jaxseq: process {1 - victim} of 2: {parallel.LOST}: "
    assert any(line.startswith(sentence) for line in said.splitlines()), said
    assert printed == "" and "Traceback" not in said
    if victim:  # of process 0, where the others listen, jax logs the end itself
        assert started[0].returncode == 1 and len(said.splitlines()) == 1
    done = [report.step for report in run_folder.metrics(run)]
    assert done in ([3, 6], [3, 6, 9])
    group = ProcessGroup(Devices(jax.devices()[:2]))
    translate.train(config, run, resume=True, group=group)
    translate.train(config, tmp_path / "whole", group=group)
    assert [r.step for r in run_folder.metrics(run)] == [3, 6, 9, 12]
    jax.tree.map(np.testing.assert_array_equal, arrays(run), arrays(tmp_path / "whole"))

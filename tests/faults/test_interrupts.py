"""Ctrl-C, once and more than once: one sentence, exit status 130, no traceback and no empty line."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jaxseq import _starting, cli
from jaxseq.apps import run_folder

SMALL = "--embedding 4 --hidden 4 --batch 4 --buckets 1 --steps 100000 --report-every 20 --max-tokens 6 --patience 0"
DELAYS = [0.0, 0.05, 0.3] * int(os.environ.get("JAXSEQ_FAULT_TRIES", 0)) or [0.05]
"""Seconds between two of them; in the long form three delays, each so many times."""


@pytest.mark.parametrize("delay", DELAYS)
def test_ctrl_c_three_times(tmp_path, delay):
    """The first asks training to stop, the second stops it at once, and the third comes while the process ends."""
    command = [sys.executable, "-m", "jaxseq", "train", *SMALL.split(), "--out", "run"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 100
    while len(run_folder.metrics(tmp_path / "run")) < 1:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    before = process.poll()
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(delay)
    _, errors = process.communicate(timeout=60)
    assert before is None and process.returncode == cli.INTERRUPTED, errors
    assert "Traceback" not in errors and "KeyboardInterrupt" not in errors, errors
    assert all(line.strip() for line in errors.splitlines()), errors
    assert errors.splitlines()[-1].startswith("jaxseq: ")


def test_a_third_ctrl_c_does_not_reach_the_end_of_the_process(monkeypatch, capsys):
    ignored = []
    monkeypatch.setattr(cli, "_run", lambda args: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr("signal.signal", lambda *given: ignored.append(given))
    monkeypatch.setattr(sys, "argv", ["jaxseq"])
    assert cli.main() == cli.INTERRUPTED
    assert ignored == [(signal.SIGINT, signal.SIG_IGN)] and capsys.readouterr().err == "jaxseq: interrupted\n"
    assert cli.main([]) == cli.INTERRUPTED and len(ignored) == 1  # called from Python, whose Ctrl-C is not ours


IMPORTS = """
import atexit, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
atexit.register(print, "ended as Python ends")
sys.argv = [sys.argv[1], "doctor"]
class Interrupts:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from jaxseq.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(("program", "name"), [("/bin/jaxseq", "jax"), ("/bin/jaxseq", "tyro"), ("mine.py", "jax")])
def test_ctrl_c_while_packages_are_imported(program, name):
    """At once until `main` begins, then as everywhere; a program that imports jaxseq keeps Python's own way."""
    command = [sys.executable, "-c", IMPORTS.format(name=name), program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if program == "mine.py":
        assert done.returncode == -signal.SIGINT and done.stderr.endswith("KeyboardInterrupt\n")
    else:
        assert (done.returncode, done.stderr) == (cli.INTERRUPTED, "jaxseq: interrupted\n")
        assert done.stdout == ("" if name == "jax" else "ended as Python ends\n")


def test_what_counts_as_the_command(monkeypatch):
    ways = {
        ("/usr/bin/jaxseq", "train"): ["python", "/usr/bin/jaxseq", "train"],
        ("jaxseq.exe",): ["jaxseq.exe"],
        ("-m", "train"): ["python", "-u", "-m", "jaxseq", "train"],
    }
    for argv, asked in ways.items():
        monkeypatch.setattr(sys, "argv", list(argv))
        monkeypatch.setattr(sys, "orig_argv", asked)
        assert _starting._is_command(), asked
    for argv, asked in {("-m",): ["python", "-m", "pytest"], ("-c", "jaxseq"): ["python", "-c", "x", "jaxseq"]}.items():
        monkeypatch.setattr(sys, "argv", list(argv))
        monkeypatch.setattr(sys, "orig_argv", asked)
        assert not _starting._is_command(), asked

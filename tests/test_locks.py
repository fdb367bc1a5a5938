"""One process at a time writes a run: the next one is told who does, and a process that ended holds nothing."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from jaxseq import InputError, cli, files, locks
from jaxseq.apps import run_folder
from jaxseq.apps.forecast.config import ForecastConfig
from jaxseq.experiments import EXPERIMENTS, report
from jaxseq.locks import locked

HOLDS = """
import sys
from jaxseq.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the folder `run`, which is not there yet."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_who_holds_it_until_the_first_is_killed(holder, tmp_path):
    run = tmp_path / "run"
    host = re.escape(socket.gethostname())
    who = rf"run is being written by process {holder.pid} on {host}, since \d{{4}}-\d\d-\d\d \d\d:"
    for way in (locked, run_folder.writing, lambda path: run_folder.building(path, "x", None)):
        with pytest.raises(InputError, match=who), way(run):
            pass
    with pytest.raises(InputError, match=who), locked(os.path.relpath(run)):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".run.jaxseq-lock"]  # which nobody holds
    with locked(run):
        assert str(os.getpid()) in (tmp_path / ".run.jaxseq-lock").read_text()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", ["train --resume", "train --overwrite --out", "train --out", "forecast --networks 0 --overwrite --out"]
)
def test_commands_exit_with_one_sentence(holder, tmp_path, command, capsys):
    assert cli.main([*command.split(), str(tmp_path / "run")]) == cli.FAILED
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    assert f"run is being written by process {holder.pid} on " in shown.err and "wait until it has ended" in shown.err
    assert [path.name for path in tmp_path.iterdir()] == [".run.jaxseq-lock"]


def test_an_experiment_is_written_by_one_process_and_others_of_the_folder_by_others(
    holder, tmp_path, monkeypatch, capsys
):
    """The holder has the lock of `run`: as an experiment of that name has."""
    one = next(iter(EXPERIMENTS.values()))
    monkeypatch.setattr("jaxseq.apps.experiment.EXPERIMENTS", {"run": one, "other": one})
    monkeypatch.setattr("jaxseq.experiments.report.experiment", lambda *_, **__: report.Result({}, "done"))
    for name, status in (("run", cli.FAILED), ("all", cli.FAILED), ("other", 0)):
        assert cli.main(["experiment", name, "--out", str(tmp_path)]) == status
        shown = capsys.readouterr()
        assert ("is being written by process" in shown.err) == (status != 0) and ("done" in shown.out) == (not status)
    assert [path.name for path in tmp_path.iterdir()] == [".run.jaxseq-lock"]


def test_a_waiting_process_goes_on_when_the_first_ends(holder, tmp_path):
    """It has waited for a file that is removed, and locks a new one, which others see."""
    got, seen = threading.Event(), []

    def wait():
        with locked(tmp_path / "run", wait=True):
            seen.append((tmp_path / ".run.jaxseq-lock").exists())
            got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.2)
    holder.communicate()
    waiting.join(20)
    assert got.is_set() and seen == [True] and not list(tmp_path.iterdir())


def test_another_thread_is_another_writer_and_the_same_one_is_not(tmp_path):
    found = []

    def second():
        try:
            with locked(tmp_path / "run"):
                found.append("held twice")
        except InputError as error:
            found.append(str(error))

    with locked(tmp_path / "run"), locked(tmp_path / "run"), locked(tmp_path / "other"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} on" in found[0]
    second()
    assert found[1:] == ["held twice"]


def test_what_a_killed_process_left_is_removed_when_the_lock_is_taken(tmp_path):
    litter = tmp_path / f".run.abcdefgh{files.PART}"
    litter.mkdir()
    with locked(tmp_path / "run"):
        assert not litter.exists()
    (tmp_path / "deep").mkdir()
    with locked(tmp_path / "new" / "deep" / "run"):
        assert (tmp_path / "new" / "deep").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_a_file_system_without_locks_is_said_to_have_none(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    message = "run cannot be locked, since its file system has no locks; let only one command at a time write it"
    with pytest.warns(UserWarning, match=message), locked(tmp_path / "run"):
        (tmp_path / "run").write_text("written")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    monkeypatch.setattr(locks, "fcntl", None)  # Windows
    with pytest.warns(UserWarning, match="no locks"), locked(tmp_path / "run"):
        pass


def test_a_reader_finishes_a_replacement_that_was_killed_unless_it_is_going_on(tmp_path):
    with run_folder.building(tmp_path / "run", "cooking", ForecastConfig()):
        pass
    os.makedirs(left := tmp_path / f".run.abcdefgh{files.PART}")
    os.replace(tmp_path / "run", left / files.MADE)
    with locked(tmp_path / "run2"):
        assert run_folder.kind_of(tmp_path / "run") == "cooking"
    assert not left.exists()
    os.makedirs(left)
    os.replace(tmp_path / "run", left / files.MADE)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS.replace("with locked", "import jaxseq.locks as l; l.settle = print\nwith locked"),
         tmp_path / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        process.stdout.readline()
        with pytest.raises(InputError, match="is not a run"):
            run_folder.kind_of(tmp_path / "run")
        process.communicate()
    assert run_folder.kind_of(tmp_path / "run") == "cooking"

"""The long form: training, and translation as a stream, for a long time each; memory, descriptors, programs stay.

JAXSEQ_FAULT_SECONDS=900 python -m pytest -n0 -s tests/faults/test_soak.py takes half an hour, and prints the figures.
The commands run as users run them, and are looked at from outside.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from altering import SECONDS

from jaxseq.apps import run_folder

pytestmark = pytest.mark.skipif(not SECONDS, reason="set JAXSEQ_FAULT_SECONDS, the seconds for each command")
COMPILED = "Finished XLA compilation"
WORDS = "i you we they see hear seek find a the dog fish book tree now here".split()
SMALL = (
    "--columns en xx --source en --target xx --source-tokens words --embedding 16 --hidden 16 --batch 8 --buckets 3 "
    "--validation 0.2 --cell rnn --attention dot --average 3 --snapshots 10 --patience 0 --report-every 50"
).split(" ")


class Look(NamedTuple):
    """A process at one moment: bytes in memory, open files, programs compiled so far, and how far its work is."""

    memory: int
    files: int
    programs: int
    done: int


def begun(folder: Path, *command: str) -> subprocess.Popen:
    environment = os.environ | {
        "JAX_LOG_COMPILES": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with open(folder / "errors", "wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "jaxseq", *command], cwd=folder, env=environment, stdin=-1, stdout=-1, stderr=errors,
            text=True,
        )  # fmt: skip


def watched(process: subprocess.Popen, folder: Path, done) -> list[Look]:
    """Look at a process 24 times in `SECONDS`, beginning when `done` is above 0."""
    there, looks = Path(f"/proc/{process.pid}"), []
    while not done():
        assert process.poll() is None, (folder / "errors").read_text()[-3000:]
        time.sleep(1)
    for _ in range(24):
        time.sleep(SECONDS / 24)
        assert process.poll() is None, (folder / "errors").read_text()[-3000:]
        memory = int((there / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        programs = (folder / "errors").read_text().count(COMPILED)
        looks.append(Look(memory, len(list((there / "fd").iterdir())), programs, done()))
    return looks


def flat(looks: list[Look], what: str, capsys) -> None:
    """Check that nothing grows once a third of the time has passed, and say what was seen."""
    settled, last = looks[8:], looks[-1]
    with capsys.disabled():
        print(f"\n{what}: {settled[0]} after {SECONDS / 3:.0f} s, {last} after {SECONDS:.0f} s; memory at most "
              f"{max(look.memory for look in settled):,}")  # fmt: skip
    assert last.done > settled[0].done > looks[0].done, "it stands still"
    assert max(look.programs for look in looks[1:]) == last.programs == settled[0].programs > 0
    # the least of several looks: in one of them, a checkpoint may just be open
    assert min(look.files for look in looks[-8:]) <= min(look.files for look in looks[:8])
    early, late = (sorted(look.memory for look in part)[len(part) // 2] for part in (settled[:8], settled[8:]))
    assert late - early < max(early // 50, 2**23), "memory grows"


def sentence(draw: random.Random, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))


def training(folder: Path, steps: int) -> subprocess.Popen:
    """Begin to train in `folder` on sentences and their words in reverse."""
    draw = random.Random(0)
    lines = [f"{(one := sentence(draw, 12))}\t{' '.join(reversed(one.split()))}" for _ in range(400)]
    (folder / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    return begun(folder, "train", "--data", "pairs.tsv", *SMALL, "--steps", str(steps), "--out", "run")


def test_training(tmp_path, capsys):
    process, run = training(tmp_path, 10**8), tmp_path / "run"
    try:
        looks = watched(process, tmp_path, lambda: len(run_folder.metrics(run)))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    flat(looks, "training, in reports of 50 steps", capsys)


def test_a_stream_of_translations(tmp_path, capsys):
    trained = training(tmp_path, 100)
    trained.communicate(timeout=300)
    assert trained.returncode == 0
    draw, process, answers = random.Random(0), begun(tmp_path, "translate", "run"), []
    reading = threading.Thread(target=lambda: answers.extend(1 for _ in process.stdout), daemon=True)
    over = threading.Event()

    def feed():  # a long text first, of lines of all lengths, then lines and pauses
        with contextlib.suppress(BrokenPipeError, ValueError):
            process.stdin.write("".join(f"{sentence(draw, 60)}\n" for _ in range(4000)))
            while not over.is_set():
                process.stdin.write("".join(f"{sentence(draw, 60)}\n" for _ in range(draw.choice((1, 1, 8, 100)))))
                process.stdin.flush()
                time.sleep(0.2)
            process.stdin.close()

    feeding = threading.Thread(target=feed, daemon=True)
    reading.start()
    feeding.start()
    try:
        looks = watched(process, tmp_path, lambda: len(answers) * (len(answers) >= 4000))
        over.set()
        process.wait(timeout=300)
    finally:
        process.kill()
    reading.join(60)
    feeding.join(60)
    process.stdout.close()
    assert process.returncode == 0
    flat(looks, "translation, in lines", capsys)

"""Kill a command at random moments, and let it go on each time: ``python tests/faults/kills.py train 200 600``.

For good, by SIGKILL: each time the command runs in a fork of this process, which imports everything and computes
nothing, so that Python starts once. Ends after so many kills, or seconds of the clock. What is saved never grows less,
and the end has the bits of a run that was not killed. Every start draws its moment over the processor time of a whole
run, which other work on the machine does not change as it does the time of the clock.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from test_crash_points import SMALL, held, pairs_of_words, rows_of_sales, small_networks, state

from jaxseq import checkpoint, cli
from jaxseq.apps import run_folder
from jaxseq.apps.forecast import backtest, classical, unfinished  # noqa: F401, imported once for all forks
from jaxseq.apps.translate import train  # noqa: F401

LATER = "--steps 100 --report-every 10"


def training(folder: Path) -> tuple[list[str], list[str]]:
    pairs_of_words(folder / "pairs.tsv")
    given = [*SMALL, *LATER.split(" "), "--data", str(folder / "pairs.tsv")]
    return ["train", *given, "--out", str(folder / "work" / "run")], ["train", "--resume", str(folder / "work" / "run")]


def forecasting(folder: Path) -> tuple[list[str], list[str]]:
    (folder / "sales.csv").write_text(rows_of_sales())
    classical.usable = lambda *_: ((), "")
    run = str(folder / "work" / "run")
    return [one for one in small_networks(folder / "work") if one != "--overwrite"], ["forecast", "--resume", run]


def steps_of(run: Path) -> int:
    """Return how far a run has come that was saved, in steps of training or reports of a forecast."""
    if (run / run_folder.MODEL).exists() and not (run / run_folder.LAST).exists():
        return 1000  # a forecast that is whole
    if (run / run_folder.LAST).exists():
        return checkpoint.facts(run / run_folder.LAST)["step"]
    return sum(checkpoint.facts(file)["done"] for file in run.glob("unfinished/training-*.safetensors"))


def processor_time(process: int) -> float:
    """Return the seconds of a processor that all threads of a process have taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def once(command: list[str], after: float | None) -> tuple[int | None, float]:
    """Run a command in a fork, and kill it once it has taken so many seconds of a processor.

    Returns its status, None if it was killed, and the seconds that it took.
    """
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os._exit(cli.main(command))
    took = 0.0
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        took = processor_time(child)
        if after is not None and took > after:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, took
        time.sleep(0.01)


def main(name: str, kills: int, seconds: float) -> None:
    folder = Path(tempfile.mkdtemp())
    os.environ["JAXSEQ_CACHE"] = str(folder / "cache")  # with what was compiled
    command, resume = (training if name == "train" else forecasting)(folder)
    whole = state if name == "train" else held
    run, draw = folder / "work" / "run", random.Random(0)
    for _ in range(2):  # the second loads what the first has compiled
        shutil.rmtree(folder / "work", ignore_errors=True)
        status, lasts = once(command, None)
        assert status == 0
    wanted, end = whole(run), time.monotonic() + seconds
    killed = runs = left = 0
    while killed < kills and time.monotonic() < end:
        shutil.rmtree(folder / "work", ignore_errors=True)
        saved, status, moments = 0, None, 0
        while status is None:
            there = (run / run_folder.CONFIG).exists() or (run / run_folder.UNFINISHED).exists()
            # after four kills it is let go, so that runs come to their end
            status, _ = once(resume if there else command, draw.uniform(0, lasts) if moments < 4 else None)
            moments += status is None
            with run_folder.writing(run):  # what a next command does first
                now = steps_of(run) if run.exists() else 0
            assert now >= saved, f"{saved} steps were saved, {now} are left"
            left += status is None and now > 0
            saved = now
            if status is None and saved == 1000:  # killed at its end: whole
                status = 0
        assert status == 0, status
        assert whole(run) == wanted, f"the bits of run {runs} are others, after {moments} kills"
        killed, runs = killed + moments, runs + 1
        counts = f"{killed} kills in {runs} runs of {lasts:.1f} s of a processor, {left} with something saved"
        print(f"{name}: {counts}; all ended with the bits of a run that was not killed", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))

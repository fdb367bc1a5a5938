"""Power that is lost at any moment leaves the old whole, the new whole, or what resumes to the same bits.

JAXSEQ_LONG_FAULTS=1 draws more losses for each moment, and resumes from every state that one leaves.
"""

import shutil
from pathlib import Path

import power
import pytest
from test_crash_points import LONG, classical, forecasting, held, litter, pairs_of_words, said, sales, state, training

from jaxseq import checkpoint, cli
from jaxseq.apps import run_folder
from jaxseq.apps.forecast.config import ForecastConfig
from jaxseq.files import write_together

__all__ = ["sales"]
pytestmark = [
    pytest.mark.usefixtures("in_every_thread"),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="calls by descriptor are told apart by /proc"),
]
SEEDS = 200 if LONG else 12
"""Losses that are drawn for each moment; the first two lose all and nothing."""
ALONE = 5
"""The last entries that were not synced: each is lost alone as well."""


def losses(journal: power.Journal, folder: Path, seeds: int = SEEDS):
    """Yield each moment, and a seed; `folder` then holds what a loss leaves. States that were there are left out."""
    seen = set()
    for at in range(journal.begun, len(journal.changes) + 1):
        for seed in range(-ALONE, seeds):
            files = journal.cut(at, seed)
            if (key := frozenset(files.items())) not in seen:
                seen.add(key)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                power.write(files, folder)
                yield at, seed


def nothing_is_lost_at_the_end(journal: power.Journal) -> None:
    """What a command has told the user is there stays there."""
    end = len(journal.changes)
    kept = {path: raw for path, raw in journal.cut(end, 1).items() if not Path(path).name.startswith(".")}
    for seed in range(SEEDS):
        files = journal.cut(end, seed)
        assert all(files.get(path, b"lost") == raw for path, raw in kept.items()), seed


def test_the_journal_loses_what_was_not_synced(tmp_path):
    """By hand: a file renamed over another without an fsync; then with one; then with one of the folder as well."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a").write_bytes(b"old")

    def replace(*synced):
        with open("new", "wb") as file:
            file.write(b"new content")
            file.flush()
            if "file" in synced:
                power.os.fsync(file.fileno())
        power.os.replace("new", "a")
        if "folder" in synced:
            number = power.os.open(".", power.os.O_RDONLY)
            power.os.fsync(number)
            power.os.close(number)

    found = {}
    for synced in ((), ("file",), ("file", "folder")):
        (folder / "a").write_bytes(b"old")
        journal = power.record(folder, lambda synced=synced: replace(*synced))
        found[synced] = {journal.cut(len(journal.changes), seed).get("a") for seed in range(200)}
    assert found[()] == {b"old", b"", b"new content", b"new c", bytes(11)}
    assert found["file",] == {b"old", b"new content"}
    assert found["file", "folder"] == {b"new content"}


def test_a_file_and_the_facts_on_it(tmp_path):
    """Both old, both new, or without facts: never facts of another file."""
    folder = tmp_path / "work"
    folder.mkdir()
    write_together({folder / "text": "old", folder / "facts": "of old"})
    journal = power.record(folder, lambda: write_together({folder / "text": "new", folder / "facts": "of new"}))
    nothing_is_lost_at_the_end(journal)
    seen = set()
    for _ in losses(journal, folder):
        seen.add(tuple((folder / name).read_text() if (folder / name).exists() else "" for name in ("text", "facts")))
    assert seen == {("old", "of old"), ("old", ""), ("new", ""), ("new", "of new")}


@pytest.mark.parametrize("place", ["deep/run", "run", "empty", "mount"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_that_is_made_or_replaced(tmp_path, place, replaced, capsys, monkeypatch):
    """In folders that are made for it, in one that is there, in an empty one, and where none can be renamed."""
    folder = tmp_path / "work"
    folder.mkdir()
    if place in ("empty", "mount"):
        (folder / place).mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path).name == "mount")

    def make(seed):
        with run_folder.building(folder / place, "x", ForecastConfig(seed=seed), overwrite=True) as made:
            (made / "words").write_text(f"words {seed}")  # as a library writes, which syncs nothing
            (made / "more").mkdir()
            (made / "more" / "page").write_text(f"page {seed}")

    if replaced:
        make(1)
    old = held(folder)
    journal = power.record(folder, lambda: make(2))
    nothing_is_lost_at_the_end(journal)
    new, count = held(folder), 0
    assert new != old and len(new) == 3
    for at, seed in losses(journal, folder):
        with run_folder.writing(folder / place):
            pass
        assert held(folder) in (old, new), (at, seed, journal.changes[at - 1][:3])
        assert not litter(folder)
        count += 1
    said(capsys, f"a run in {place}, replaced: {replaced}: {len(journal.changes)} changes, {count} states")


def test_forecast(sales, monkeypatch, capsys):
    monkeypatch.setattr(classical, "usable", lambda *_: ((), ""))
    folder = sales / "lost"
    folder.mkdir()
    assert cli.main(forecasting(folder, 2)) == 0
    old = held(folder)
    journal = power.record(folder, lambda: cli.main(forecasting(folder, 3)))
    nothing_is_lost_at_the_end(journal)
    new, count = held(folder), 0
    for at, seed in losses(journal, folder, SEEDS if LONG else 2):
        with run_folder.writing(folder / "run"):
            pass
        assert held(folder) in (old, new), (at, seed, journal.changes[at - 1][:3])
        count += 1
    said(capsys, f"forecast: {len(journal.changes)} changes, {count} states")


def has_what_came_before(run: Path, whole: set[str], reports: list[int]) -> bool:
    """Return whether a run has the reports and snapshots up to the state that it goes on from."""
    if not (run / run_folder.LAST).exists():
        return True
    done = checkpoint.facts(run / run_folder.LAST)["step"]
    steps = [report.step for report in run_folder.metrics(run) if report.step <= done]
    kept = {name for name in whole if name.startswith("run/snapshots/") and int(name[-20:-12]) <= done}
    return steps == [step for step in reports if step <= done] and kept <= {*held(run.parent)}


def test_train(tmp_path, capsys):
    """Each state is the old run, or is resumed to the same bits; equal ones once, and a few alone in the short form."""
    pairs_of_words(tmp_path / "pairs.tsv")
    folder = tmp_path / "work"
    folder.mkdir()
    assert cli.main(training(folder, 0)) == 0
    old = held(folder)
    journal = power.record(folder, lambda: cli.main(training(folder, 1)))
    nothing_is_lost_at_the_end(journal)
    new, names, count, starts = state(folder / "run"), {*held(folder)}, 0, {}
    reports = [step for step, *_ in new[1]]
    for at, seed in losses(journal, folder, SEEDS if LONG else 4):
        with run_folder.writing(folder / "run"):
            pass
        assert held(folder) == old or has_what_came_before(folder / "run", names, reports), (at, seed)
        count += 1
        if (there := held(folder)) != old:
            starts.setdefault(frozenset(there.items()), (at, seed))
    for there, moment in list(starts.items())[:: 1 if LONG else max(1, len(starts) // 2)]:
        shutil.rmtree(folder)
        folder.mkdir()
        for name, raw in there:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(raw)
        assert cli.main(["train", "--resume", str(folder / "run")]) == 0, moment
        assert state(folder / "run") == new and {*held(folder)} == names, moment
    said(capsys, f"train: {len(journal.changes)} changes, {count} states, {len(starts)} other than the old run")

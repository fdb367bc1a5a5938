"""A command that is killed at any call that writes leaves the old whole, the new whole, or what resumes to the same.

JAXSEQ_LONG_FAULTS=1 kills at every call; else commands that train or forecast are killed at a few. The long form trains
the same model some two hundred times: with JAX_COMPILATION_CACHE_DIR set, it compiles it once.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import crash
import jax
import numpy as np
import pytest

from jaxseq import checkpoint, cli
from jaxseq.apps import datasets, run_folder
from jaxseq.apps.forecast import classical, fit as fitting
from jaxseq.apps.forecast.config import ForecastConfig
from jaxseq.apps.forecast.fit import REPORTS
from jaxseq.apps.study import command as studying
from jaxseq.cells import gru
from jaxseq.files import LOCK, PART
from jaxseq.study.collect import collect
from jaxseq.study.part import Part

pytestmark = [
    pytest.mark.usefixtures("in_every_thread"),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="calls by descriptor are told apart by /proc"),
]
LONG = bool(os.environ.get("JAXSEQ_LONG_FAULTS"))
PARTS = 4 if LONG else 1
"""The long form of training takes minutes: parts can be run one after the other."""


def held(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def litter(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith((PART, LOCK))]


def points(calls: list[str], *wanted: str) -> list[int]:
    """Return the calls at which a command is killed: all in the long form, else the first of each that is wanted."""
    if LONG:
        return list(range(1, len(calls) + 1))
    return [next(n for n, call in enumerate(calls, 1) if call.startswith(one)) for one in wanted]


def said(capsys, counts: str) -> None:
    """Print counts of the long form."""
    if LONG:
        with capsys.disabled():
            print(f"\n{counts}")


def told(command: list[str], capsys) -> tuple[int, str]:
    status = cli.main(command)
    return status, capsys.readouterr().err


def every_call(folder: Path, command, old: dict[str, bytes], names: tuple[str, ...]) -> int:
    """Kill a command that writes files of some names at every call: each is there as it was, or as it will be.

    Once more after each kill, it goes through and leaves nothing else.
    """

    def there() -> dict[str, bytes]:
        return {name: raw for name, raw in held(folder).items() if name in names}

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, raw in old.items():
            (folder / name).write_bytes(raw)

    fresh()
    calls = crash.run(folder, 0, command).calls
    new = there()
    assert new != old and not litter(folder)
    for at in range(1, len(calls) + 1):
        fresh()
        assert crash.run(folder, at, command).killed
        for name, raw in there().items():
            assert raw in (old.get(name), new[name]), f"{calls[at - 1]}: {name} is neither old nor new"
        command()
        assert held(folder) == {**old, **new}, calls[at - 1]
    return len(calls)


# --- one file or two


def test_convert(tmp_path, capsys):
    rng, source = np.random.default_rng(0), tmp_path / "layer.npz"
    names = {"weight_ih_l0": (6, 3), "weight_hh_l0": (6, 2), "bias_ih_l0": (6,), "bias_hh_l0": (6,)}
    np.savez(source, **{name: rng.normal(size=shape).astype(np.float32) for name, shape in names.items()})
    out = tmp_path / "out" / "layer.safetensors"
    command = ["convert", str(source), "--from", "torch", "--layer", "gru", "-o", str(out), "--overwrite"]
    for old in ({}, {out.name: b"old"}):
        assert every_call(out.parent, lambda: told(command, capsys), old, (out.name,)) >= 8


def test_data_add(tmp_path, monkeypatch, capsys):
    """The text and the facts on it are two files: facts of another text are never next to one."""
    monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path / "cache"))
    lines = [f"I see {n}.\t我看{n}。\tCC-BY 2.0 (France) Attribution: tatoeba.org #{n}" for n in range(9)]
    archive = tmp_path / "cmn-eng.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cmn.txt", "\n".join(lines))
    monkeypatch.setattr(datasets, "_check", lambda *_: len(lines))  # 20,000 pairs would take most of the time
    run, text, facts = crash.run, tmp_path / "cache" / "cmn-eng.txt", tmp_path / "cache" / "cmn-eng.json"

    def then_compared(*given):
        done = run(*given)
        if facts.exists():
            assert json.loads(facts.read_text())["sha256"] == hashlib.sha256(text.read_bytes()).hexdigest()
        return done

    monkeypatch.setattr(crash, "run", then_compared)
    about = json.dumps({"sha256": hashlib.sha256(b"old").hexdigest()}).encode()
    command = ["data", "add", "cmn-eng", str(archive)]
    for old in ({}, {text.name: b"old", facts.name: about}):
        assert every_call(tmp_path / "cache", lambda: told(command, capsys), old, (text.name, facts.name)) >= 16


def test_study(tmp_path, monkeypatch, capsys):
    params, xs = gru.init(jax.random.key(0), 3, 4), jax.random.normal(jax.random.key(1), (5, 2, 3))
    data = collect([Part("mine", gru, params, xs)], title="mine")
    monkeypatch.setattr(studying, "gathered", lambda *_, **__: (data, []))
    command = ["study", "-o", str(tmp_path / "out" / "page.html")]
    for old in ({}, {"page.html": b"old"}):
        assert every_call(tmp_path / "out", lambda: told(command, capsys), old, ("page.html",)) >= 8


# --- forecast


@pytest.fixture(scope="module")
def sales(tmp_path_factory):
    """A folder with a file of one series."""
    folder = tmp_path_factory.mktemp("forecasts")
    (folder / "sales.csv").write_text(rows_of_sales())
    return folder


def rows_of_sales() -> str:
    rng = np.random.default_rng(0)
    rows = [
        f"{2015 + n // 12}-{n % 12 + 1:02},{200 + n + 30 * np.sin(n / 2) + 5 * rng.normal():.3f}" for n in range(60)
    ]
    return "\n".join(["month,sales", *rows])


def forecasting(folder: Path, horizon: int, out: str = "run") -> list[str]:
    given = ["--networks", "0", "--origins", "2", "--horizon", str(horizon), "--out", str(folder / out), "--overwrite"]
    return ["forecast", "--data", str(folder.parent / "sales.csv"), *given]


def small_networks(folder: Path, seed: int = 0) -> list[str]:
    """Return a forecast that trains, in four trainings."""
    given = "--networks 1 --hidden 2 --origins 2 --horizon 2".split()
    data, out = str(folder.parent / "sales.csv"), str(folder / "run")
    return ["forecast", "--data", data, *given, "--seed", str(seed), "--out", out, "--overwrite"]


def gone_on(folder: Path) -> None:
    """Bring a forecast that was killed to its end, as a user would."""
    begun = (folder / "run" / run_folder.UNFINISHED / run_folder.CONFIG).exists()
    command = ["forecast", "--resume", str(folder / "run")] if begun else small_networks(folder)
    assert cli.main(command) == 0


@pytest.fixture(scope="module")
def trained(sales, in_every_thread_of_a_module):
    """What a forecast with networks leaves, and the calls by which it is written."""
    folder = sales / "networks"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classical, "usable", lambda *_: ((), ""))
        calls = crash.run(folder, 0, lambda: cli.main(small_networks(folder))).calls
    return folder, held(folder), calls


def test_a_forecast_that_is_killed_in_training_goes_on(trained, monkeypatch, capsys):
    """It ends with the bits of one that was not killed, and trains no report again that was saved."""
    folder, new, calls = trained
    monkeypatch.setattr(classical, "usable", lambda *_: ((), ""))
    saves = [n for n, call in enumerate(calls, 1) if call.startswith("replace run/unfinished/.training")]
    assert len(saves) in (3 * REPORTS, 4 * REPORTS)  # the second of a fit is left out where networks are of no use
    advanced, reports = fitting._advanced, []
    monkeypatch.setattr(fitting, "_advanced", lambda *given: reports.append(1) or advanced(*given))
    made = next(n for n, call in enumerate(calls, 1) if call.startswith("open run/.unfinished"))
    wanted = [1, made, saves[0], saves[REPORTS], saves[-1] + 1, len(calls)]
    for at in range(1, len(calls) + 1) if LONG else wanted:
        shutil.rmtree(folder)
        folder.mkdir()
        assert crash.run(folder, at, lambda: cli.main(small_networks(folder))).killed
        with run_folder.writing(folder / "run"):
            pass
        whole, saved = held(folder) == new, sum(n < at for n in saves)
        reports.clear()
        if not whole:
            gone_on(folder)
            assert len(reports) == len(saves) - saved, calls[at - 1]
        assert held(folder) == new, calls[at - 1]
    said(capsys, f"forecast with networks: {len(calls)} calls, all resumed")


def test_a_forecast_goes_on_with_its_own_rows_and_settings(trained, monkeypatch, capsys):
    folder, new, calls = trained
    monkeypatch.setattr(classical, "usable", lambda *_: ((), ""))
    run, at = str(folder / "run"), next(n for n, call in enumerate(calls, 1) if "training-2" in call)
    assert crash.run(folder, at, lambda: cli.main(small_networks(folder, 1))).killed
    with run_folder.writing(run):
        pass
    assert held_in(held(folder), "run/").keys() > held_in(new, "run/").keys()  # the old run stays
    for command, text in {
        ("--data", str(folder.parent / "sales.csv"), "--out", run): "continue it with --resume",
        ("--resume", run, "--seed", "3"): "goes on with the settings of that run; leave out --seed",
        ("--resume", str(folder)): "has no unfinished forecast",
    }.items():
        status, error = told(["forecast", *command], capsys)
        assert status == 2 and text in error
    rows = (folder.parent / "sales.csv").read_text()
    (folder.parent / "sales.csv").write_text(rows.replace("2015-03,", "2015-03,1"))
    status, error = told(["forecast", "--resume", run], capsys)
    (folder.parent / "sales.csv").write_text(rows)
    assert status == 2 and "the rows are not those that" in error
    assert cli.main(["forecast", "--resume", run]) == 0
    assert held(folder).keys() == new.keys() and held(folder) != new  # with another seed


def test_forecast(sales, monkeypatch, capsys):
    monkeypatch.setattr(classical, "usable", lambda *_: ((), ""))
    folder = sales / "work"
    folder.mkdir()
    assert cli.main(forecasting(folder, 2)) == 0
    old = held(folder)
    shutil.copytree(folder, sales / "old")
    done = crash.run(folder, 0, lambda: cli.main(forecasting(folder, 3)))
    new = held(folder)
    assert old != new and not litter(folder) and set(old) == set(new)
    wanted, ends = ("fsync .run", "replace run", "unlink .run.jaxseq-lock"), {"old": 0, "new": 0}
    for at in points(done.calls, *wanted):
        shutil.rmtree(folder)
        shutil.copytree(sales / "old", folder)
        assert crash.run(folder, at, lambda: cli.main(forecasting(folder, 3))).killed
        assert cli.main(["forecast", "--run", str(folder / "run"), "--horizon", "1"]) == 0  # a reader
        with run_folder.writing(folder / "run"):
            pass
        assert held(folder) in (old, new), done.calls[at - 1]
        ends["old" if held(folder) == old else "new"] += 1
    said(capsys, f"forecast: {len(done.calls)} calls, left {ends}")


REPLACES = """
import os, sys
import crash
from jaxseq.apps import run_folder
from jaxseq.apps.forecast import classical, fit as fitting
from jaxseq.apps.forecast.config import ForecastConfig
from jaxseq.apps.forecast.fit import REPORTS
with crash.watched(crash.Crash(sys.argv[1], int(sys.argv[2]), lambda: os._exit(137))):
    run_folder.create(sys.argv[1] + "/run", "x", ForecastConfig(seed=2), overwrite=True)
"""


def test_a_process_that_is_killed_between_the_two_renames(tmp_path):
    """For good, in a process of its own. Where the run was, a reader finds the new one."""

    def replace():
        run_folder.create(tmp_path / "run", "x", ForecastConfig(seed=1), overwrite=True)

    replace()
    calls = crash.run(tmp_path, 0, replace).calls
    between = calls.index("replace run") + 2
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(crash.__file__).parent), *sys.path])}
    script = [sys.executable, "-c", REPLACES, str(tmp_path), str(between)]
    assert subprocess.run(script, env=environment, check=False).returncode == 137
    assert not (tmp_path / "run").exists() and (tmp_path / f".run{LOCK}").exists()
    assert run_folder.read_config(tmp_path / "run", "x", ForecastConfig).seed == 2
    assert not litter(tmp_path)


# --- train

SMALL = (
    "--steps 20 --report-every 10 --hidden 4 --embedding 4 --batch 4 --buckets 1 --validation 0.2 --cell rnn "
    "--attention dot --warmup 2 --snapshots 2"
).split(" ")


def state(run: Path) -> tuple[list[bytes], list]:
    """Everything that must not differ: arrays, and reports without times."""
    tensors = [checkpoint._read(run / name)[0] for name in (run_folder.LAST, run_folder.MODEL)]
    snapshots = [checkpoint._read(path)[0] for path in sorted((run / "snapshots").glob("*"))]
    raw = [tree[name].tobytes() for tree in (*tensors, *snapshots) for name in sorted(tree)]
    return raw, [(r.step, r.loss, r.validation_loss, r.gradient_norm) for r in run_folder.metrics(run)]


def training(folder: Path, seed: int) -> list[str]:
    pairs = str(folder.parent / "pairs.tsv")
    return ["train", "--data", pairs, *SMALL, "--seed", str(seed), "--out", str(folder / "run"), "--overwrite"]


def pairs_of_words(path: Path) -> None:
    """Write pairs to train on."""
    words = {"我": "i", "你": "you", "他": "he", "她": "she"}, {"看": "see", "听": "hear", "喜欢": "like"}
    pairs = [f"{b} {d}\t{a}{c}" for a, b in words[0].items() for c, d in words[1].items()]
    path.write_text("\n".join(pairs), encoding="utf-8")


@pytest.mark.parametrize("part", range(PARTS))
def test_train(tmp_path, capsys, part):
    pairs_of_words(tmp_path / "pairs.tsv")
    folder = tmp_path / "work"
    folder.mkdir()
    assert cli.main(training(folder, 0)) == 0
    old = held(folder)
    shutil.copytree(folder, tmp_path / "old")
    done = crash.run(folder, 0, lambda: cli.main(training(folder, 1)))
    new, names = state(folder / "run"), {*held(folder)}
    wanted = ("fsync .run", "replace run", "open run/metrics.jsonl", "replace run/.last", "replace run/.README")
    ends = {"old": 0, "resumed": 0}
    for at in points(done.calls, *wanted)[part::PARTS]:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "old", folder)
        assert crash.run(folder, at, lambda: cli.main(training(folder, 1))).killed
        with run_folder.writing(folder / "run"):
            pass
        whole = held(folder) == old
        ends["old" if whole else "resumed"] += 1
        command = training(folder, 1) if whole else ["train", "--resume", str(folder / "run")]
        assert cli.main(command) == 0, done.calls[at - 1]
        assert state(folder / "run") == new and {*held(folder)} == names, done.calls[at - 1]
    said(capsys, f"train, part {part + 1} of {PARTS}: {len(done.calls)} calls in all, left {ends}")


def test_a_first_start_that_is_killed_can_be_started_again(tmp_path):
    """At every call that makes the run: nothing is there, or all of it is."""

    def start():
        with run_folder.building(tmp_path / "a" / "run", "x", ForecastConfig()) as folder:
            (folder / "words").write_text("words")

    calls = crash.run(tmp_path, 0, start).calls
    new = held(tmp_path)
    for at in range(1, len(calls) + 1):
        shutil.rmtree(tmp_path / "a")
        assert crash.run(tmp_path, at, start).killed
        assert held(tmp_path / "a" / "run") in ({}, held_in(new, "a/run/"))
        with run_folder.writing(tmp_path / "a" / "run"):
            there = (tmp_path / "a" / "run").exists()
        if not there:
            start()
        assert held(tmp_path) == new, calls[at - 1]


def held_in(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    return {name.removeprefix(folder): raw for name, raw in files.items()}

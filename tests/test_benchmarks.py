"""What the benchmarks compute from times, and what they refuse. No time is a test."""

import functools
import importlib.util
import inspect
import json
import random
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import measure, sequence, sequences, tasks
from benchmarks.__main__ import COMMANDS, main
from jaxseq.bench.compare import compare
from jaxseq.bench.output import Output, Report, Table
from jaxseq.bench.timing import CompiledWhileTimedError, Ratio, compilations, geometric_mean, interleave, noise, ratio
from jaxseq.bench.torch_layer import THEIRS
from jaxseq.cells import CELLS


def test_ratios_compilations_and_bounds(tmp_path, capsys):
    rng = np.random.default_rng(0)
    slow, fast = rng.normal(20, 1, 101), rng.normal(10, 0.5, 101)
    value, low, high = ratio(slow, fast)
    assert low < value < high and 1.9 < low < 2 < high < 2.1  # known: 2, give or take the medians' error
    assert ratio(slow, slow) == (1, 1, 1)  # rounds are drawn, so that equal samples are equal
    assert ratio(slow, slow, paired=False).low < 1
    assert np.isnan(ratio([3.0], [2.0]).low) and ratio([3.0], [2.0]).value == 1.5
    assert geometric_mean([([4.0], [1.0]), ([1.0], [4.0])]).value == pytest.approx(1)
    assert noise("it", [10, 10.1, 9.9, 10]) is None and "busy" in noise("it", [5, 10, 15, 20])

    double = jax.jit(lambda x: x * 2)
    with compilations() as compiled:
        double(jnp.ones(3))
        assert compiled() > 0
        before = compiled()
        double(jnp.ones(3))
        assert compiled() == before
    sizes = iter(range(4, 99))
    with pytest.raises(CompiledWhileTimedError):
        interleave({"new shapes": lambda: double(np.ones(next(sizes)))}, 2, at_least=0, pause=0)
    samples = interleave({"a": lambda: double(np.ones(3)), "torch": lambda: None}, 3, at_least=0, pause=0)
    assert {name: len(of) for name, of in samples.items()} == {"a": 3, "torch": 3}

    files = [tmp_path / "before.json", tmp_path / "after.json"]
    for file, ms in zip(files, ([10.0, 11.0, 9.0], [20.0, 21.0, 19.0]), strict=True):
        file.write_text(json.dumps({"benchmark": "layers", "rows": [{"name": "row", "samples": {"jaxseq": ms}}]}))
    assert compare(*files) == 0
    assert compare(*files, at_least=0.4) == 0
    assert compare(*files, at_least=0.6) == 1
    assert "0.50 [" in capsys.readouterr().out


def test_cells_are_timed(tmp_path, capsys, as_users_have_it):
    file = tmp_path / "cells.json"
    shape = ["--shape", *"2 3 4 4".split()]
    assert main(["cells", "mgu", "conv_gru", "--quick", "--pause", "0", *shape, "--json", str(file)]) == 0
    mgu_row, picture_row = json.loads(file.read_text())["rows"]
    assert mgu_row["parameters"] == 2 * (4 * 4 + 4 * 4 + 4)
    assert all(row["seconds_to_compile"] > 0 and len(row["samples"]["jaxseq"]) == 3 for row in (mgu_row, picture_row))
    assert set(picture_row["samples"]) == {"jaxseq"}
    both = importlib.util.find_spec("torchrecurrent") is not None
    assert set(mgu_row["samples"]) == {"jaxseq", *["torchrecurrent"] * both}
    assert ("left out" in capsys.readouterr().err) != both
    assert main(["cells", "conv_gru", "--quick", "--pause", "0", *shape, "--at-least", "1"]) == 1  # nothing to compare
    with pytest.raises(SystemExit, match="no cell 'lsmt'"):
        main(["cells", "lsmt"])
    assert set(THEIRS) <= set(CELLS)


def test_layers_and_memory_compare_with_every_peer(tmp_path, capsys, as_users_have_it):
    """Outputs and gradients are compared before anything is timed; here each command runs to its table."""
    file = tmp_path / "layers.json"
    small = ["--cells", "gru", "--shapes", *"2 3 4 5".split()]
    assert main(["layers", *small, "--modes", "forward", "--rounds", "3", "--pause", "0", "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert {"jaxseq", "plain scan", "linen", "nnx", "equinox", "keras"} <= set(row["samples"])
    assert main(["memory", *small, "--lengths", "3", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == 2 and {"deferred", "checkpointed", "scan", "linen"} <= set(rows[0]["samples"])


def test_rounds_of_newton_are_counted(tmp_path, capsys, as_users_have_it):
    file = tmp_path / "newton.json"
    assert main(["newton", "indrnn_tanh", "--quick", "--steps", "2", "--lengths", "12", "--json", str(file)]) == 0
    drawn, trained = json.loads(file.read_text())["rows"]
    assert [row["params"] for row in (drawn, trained)] == ["drawn", "trained"]
    assert 1 <= drawn["rounds"] <= 12 and drawn["depth"] == 8 * drawn["rounds"] and drawn["block"] == 1
    assert set(drawn["samples"]) == {"newton", "deferred"}
    assert ("no GPU" in capsys.readouterr().out) == (jax.default_backend() != "gpu")
    with pytest.raises(SystemExit, match="no cell 'lsmt'"):
        main(["newton", "lsmt"])


def test_cells_learn_a_task(tmp_path, capsys, as_users_have_it):
    file = tmp_path / "learned.json"
    names = "lru conv_gru indrnn".split()
    assert main(["cells", *names, "--learn", "--quick", "--steps", "2", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["task"] for row in rows] == ["copy", "adding", "adding"]  # an LRU is affine in its inputs
    assert [row["layers"] for row in rows] == [1, 1, 2]
    assert all(len(row["losses"]) == 2 and np.isfinite(row["losses"]).all() for row in rows)  # both rates were tried
    assert "0 of 3 cells below the bound" in capsys.readouterr().out


def test_what_is_affine_is_found():
    """A modReLU and an orthogonal network bend nowhere where their bias is still 0."""
    names = "lru s5 modrelu_rnn exp_rnn retention scrn".split()
    assert [name for name in names if tasks.is_affine(CELLS[name])] == ["lru", "s5"]


def test_tasks_are_what_they_say():
    xs, target = tasks.adding(6).sample(jax.random.key(0), 5)
    marks = xs[..., 1]
    assert (marks[:3].sum(0) == 1).all() and (marks[3:].sum(0) == 1).all()
    np.testing.assert_allclose(target, (xs[..., 0] * marks).sum(0))
    task = tasks.adding(6)
    _, target = task.sample(jax.random.key(1), 20_000)
    always_1 = jnp.ones((6, 20_000, 1), jnp.float32)
    assert task.loss(always_1, target) == pytest.approx(task.baseline, rel=0.03)

    task = tasks.copying(4, 3, 2)
    xs, target = task.sample(jax.random.key(0), 5)
    assert xs.shape == (8, 5, 6) and (xs.sum(-1) == 1).all()
    assert (xs[:3].argmax(-1) == target).all() and (xs[3:5, :, 4] == 1).all() and (xs[5:, :, 5] == 1).all()
    assert task.loss(jnp.zeros((8, 5, 4)), target) == pytest.approx(task.baseline)  # knows nothing
    assert task.loss(100 * jax.nn.one_hot(jnp.concatenate([target] * 2), 4), target) < 1e-6


def test_sequences_are_what_they_say():
    rng = random.Random(0)
    for name, change in (("copy", list), ("reverse", lambda row: row[::-1]), ("sort", sorted)):
        lengths = set()
        for _ in range(300):
            source, target = (list(map(int, side.split())) for side in sequences.TASKS[name].draw(rng))
            assert target == change(source) and 0 <= min(source) <= max(source) < 50
            lengths.add(len(source))
        assert lengths == set(range(1, 26))
    task = sequences.TASKS["addition"]
    pairs = sequences.drawn(task, 300, 0)
    for source, target in pairs:
        a, b = source.replace(" ", "").split("+")
        assert int(target.replace(" ", "")) == int(a) + int(b) and max(len(a), len(b)) <= 3
    known = {source for source, _ in pairs}
    assert len(known) == 300
    held = {source for source, _ in sequences.drawn(task, 300, 0, known)}
    assert len(held) == 300 and not held & known


@pytest.mark.usefixtures("in_every_thread")
def test_a_translator_is_trained_on_sequences(monkeypatch):
    monkeypatch.setattr(sequences, "PAIRS", 40)
    monkeypatch.setattr(sequences, "HELD_OUT", 6)
    small = {"embedding": 4, "hidden": 4, "batch": 4, "steps": 2, "buckets": 1, "attention": "additive"}
    share, bleu, seconds, config = sequences.learn("addition", 0, **small)
    assert 0 <= share <= 1 and 0 <= bleu <= 100 and seconds > 0 and config.steps == config.report_every == 2


MACHINE = {
    "cpu": "a CPU",
    "cores": 2,
    "devices": ["cpu"],
    "python": "3.11.7",
    "versions": {"jax": "0.10.2", "numpy": "2.4.6"},
    "date": "2026-11-30T01:02:03",
}


def result(benchmark, date, shown, **facts):
    machine = {**MACHINE, "date": date, **facts.pop("machine", {})}
    facts = {"quick": False, "command": f"a {benchmark}", **facts}
    return json.dumps({"benchmark": benchmark, "machine": machine, "rows": [], "shown": shown, **facts})


def test_a_report_has_the_tables_that_the_benchmarks_printed(tmp_path, capsys):
    """Each under its command, in the order of the runs; the machine once; no other file counts."""
    (tmp_path / "deep").mkdir()
    table = [["cell | one", "ms"], ["  lstm", "1.20"], ["gru", ""]]
    (tmp_path / "deep" / "late.json").write_text(result("layers", "2026-11-30T02", ["A sentence.", table], quick=True))
    (tmp_path / "soon.json").write_text(result("memory", "2026-11-30T01", [[["MiB"], ["3"]]]))
    (tmp_path / "config.json").write_text(json.dumps({"kind": "translate"}))
    assert main(["report", str(tmp_path)]) == 0
    head, soon, late = capsys.readouterr().out.split("\n## ")
    assert "a CPU, 2 cores, cpu; Python 3.11.7, jax 0.10.2, numpy 2.4.6; 2026-11-30." in head
    assert soon == "soon\n\n```sh\na memory\n```\n\n| MiB |\n|---|\n| 3 |\n"
    rows = "| cell / one | ms |\n|---|---|\n| lstm | 1.20 |\n| gru |  |\n"
    assert "a layers" in late and "a look, not a result" in late and late.endswith(f"\n\nA sentence.\n\n{rows}")

    (tmp_path / "soon.json").write_text(result("memory", "2026-11-30T01", [], machine={"cores": 8}))
    assert main(["report", str(tmp_path)]) == 0
    head, soon, late = capsys.readouterr().out.split("\n## ")
    assert "a CPU" not in head and "a CPU, 8 cores" in soon and "a CPU, 2 cores" in late

    (tmp_path / "deep" / "late.json").unlink()
    (tmp_path / "soon.json").unlink()
    assert main(["report", str(tmp_path)]) == 2 and "got 1 other JSON files" in capsys.readouterr().err


def test_a_benchmark_keeps_what_it_prints(tmp_path, capsys, monkeypatch):
    """The file has the tables as they were printed, and the command without the file's own name."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "memory", "--quick", "--json", "a b.json", "--cells", "gru"])
    report = Report("memory", Output(json=tmp_path / "file.json"))
    report.show(Table(["row", "ms", "ratio"], [["lstm", 1234.5, Ratio(2.0, 1.5, 2.5)], ["gru", 0.0123, "-"]]))
    report.say("A sentence.")
    assert report.finish() == 0
    facts = json.loads((tmp_path / "file.json").read_text())
    rows = [["row", "ms", "ratio"], ["lstm", "1,234", "2.00 [1.50, 2.50]"], ["gru", "0.0123", "-"]]
    assert facts["shown"] == [rows, "A sentence."]
    assert facts["command"] == "python -m benchmarks memory --quick --cells gru"
    aligned = ["row       ms              ratio", "lstm   1,234  2.00 [1.50, 2.50]", "gru   0.0123                  -"]
    assert "\n".join(aligned) in capsys.readouterr().out


def test_the_page_of_measurements_is_run_again(tmp_path, monkeypatch):
    """Each command once, with a file for each; a file of the same command is kept, and a failure ends the run."""
    calls, status = [], [0]

    def run(command, **_):
        assert command[:3] == [sys.executable, "-m", "benchmarks"] and command[-2] == "--json"
        calls.append(" ".join(command[3:-2]))
        file = Path(command[-1])
        file.write_text(json.dumps({"command": f"python -m benchmarks {calls[-1]}"}))
        return subprocess.CompletedProcess(command, status[0])

    monkeypatch.setattr(measure.subprocess, "run", run)
    folder = tmp_path / "results"
    assert main(["measure", str(folder)]) == 0 and calls == [*measure.PAGE.values()]
    assert len([*folder.iterdir()]) == len(measure.PAGE)
    assert main(["measure", str(folder)]) == 0 and len(calls) == len(measure.PAGE)
    next(iter(folder.iterdir())).write_text("{}")
    status[0] = 1
    assert main(["measure", str(folder)]) == 2 and len(calls) == len(measure.PAGE) + 1


@pytest.mark.parametrize("arguments", measure.PAGE.values())
def test_options_of_the_page_are_known(arguments, monkeypatch):
    """The command line is read by tyro as it is when the benchmark runs, which is left out here."""
    name, *_ = words = shlex.split(arguments)
    given = {}
    real = COMMANDS[name]

    @functools.wraps(real)
    def stub(*args, **options):
        given.update(inspect.signature(real).bind(*args, **options).arguments)
        return 0

    monkeypatch.setitem(COMMANDS, name, stub)
    assert main(words) == 0 and not given["output"].quick
    with pytest.raises(SystemExit):
        main([*words, "--no-such-option"])


def test_a_learning_that_was_stopped_goes_on_with_the_next_row(tmp_path, monkeypatch):
    learnt = []

    def learn(cell, problem, *_):
        if len(learnt) == 3:
            raise KeyboardInterrupt
        learnt.append((cell.name, problem.kind))
        return {"accuracy": 0.5, "spread": 0.0, "constant": 0.1, "learnt": "never", "rate": 1e-3, "seconds": 1.0}

    monkeypatch.setattr(sequence, "_learn", learn)
    file = tmp_path / "a.json"

    def run(steps: int) -> int:
        words = f"sequence --no-costs --cells rnn gru --names copy recall --lengths 64 --steps {steps} --json {file}"
        monkeypatch.setattr(sys, "argv", ["benchmarks", *words.split()])
        return main(words.split())

    with pytest.raises(KeyboardInterrupt):
        run(7)
    assert learnt == [("rnn", "copy"), ("gru", "copy"), ("rnn", "recall")] and not file.exists()
    learnt.clear()
    assert run(7) == 0 and learnt == [("gru", "recall")]
    assert len(json.loads(file.read_text())["rows"]) == 4 and [*tmp_path.iterdir()] == [file]
    learnt.clear()
    with pytest.raises(KeyboardInterrupt):
        run(8)  # another command: nothing is kept
    assert learnt == [("rnn", "copy"), ("gru", "copy"), ("rnn", "recall")]

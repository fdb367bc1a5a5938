"""The command line, from outside: subprocesses that train, translate, forecast, are killed and go on."""

import dataclasses
import inspect
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from jaxseq import __version__, checkpoint, cli
from jaxseq.apps import compilation, run_folder
from jaxseq.apps.forecast.tutorial.config import TutorialConfig
from jaxseq.apps.options import readable
from jaxseq.apps.translate.command import GROUPS
from jaxseq.apps.translate.config import TranslateConfig

SUBJECTS = {"我": "I", "你": "you", "他": "he", "她": "she", "我们": "we", "他们": "they"}
VERBS = {"看": "see", "听": "hear", "喜欢": "like", "找": "look for"}
OBJECTS = {"书": "books", "狗": "dogs", "鱼": "fish"}
PAIRS = [
    (f"{who} {does} {what}.", f"{subject}{verb}{thing}。")
    for subject, who in SUBJECTS.items()
    for verb, does in VERBS.items()
    for thing, what in OBJECTS.items()
]
SMALL = "--steps 60 --report-every 20 --hidden 8 --embedding 8 --batch 8 --buckets 1 --validation 0.1".split(" ")


def jaxseq(*args, cwd, check=True, stdin="", **options):
    """Run the command as a user would; no traceback ever."""
    command = [sys.executable, "-m", "jaxseq", *map(str, args)]
    env = options.pop("env", os.environ)
    env = {name: value for name, value in env.items() if name != compilation.OFF}  # kept for the tests that follow
    done = subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, text=True, check=False, timeout=300, env=env, **options
    )
    assert "Traceback" not in done.stderr, done.stderr
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    lines = [f"{en}\t{zh}" for en, zh in PAIRS]
    (folder / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """Train once; a name of its own for stdout."""
    done = jaxseq("train", "--data", "pairs.tsv", *SMALL, "--out", "run", cwd=folder)
    (folder / "stdout.txt").write_text(done.stdout)
    return folder / "run"


def test_train_leaves_a_complete_run(trained, folder):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "config.json", "model.safetensors", "last.safetensors", "metrics.jsonl", "source.vocab.json",
        "target.vocab.json", "tokenisers.json", "loss.png", "attention.png", "README.md",
    }  # fmt: skip
    assert [r.step for r in run_folder.metrics(trained)] == [20, 40, 60]
    shown = (folder / "stdout.txt").read_text()
    assert re.search(r"step +60 +loss \d+\.\d+ +validation \d", shown) and "BLEU" in shown
    assert (trained / "attention.png").read_bytes().startswith(b"\x89PNG")
    card = (trained / "README.md").read_text(encoding="utf-8")  # the main settings, and those that were given
    assert all(f"| {row} |\n" in card for row in ("hidden | 8", "report_every | 20", "buckets | 1", "cell | gru"))
    assert "| clip |" not in card and f"lists all {len(dataclasses.fields(TranslateConfig))}" in card


def test_translate_by_argument_file_and_standard_input(trained, folder):
    (folder / "lines.txt").write_text("我看书。\n\n他听鱼。\n", encoding="utf-8")
    by_argument = jaxseq("translate", "run", "我看书。", "他听鱼。", cwd=folder).stdout
    by_file = jaxseq("translate", "run", "--file", "lines.txt", cwd=folder).stdout
    by_input = jaxseq("translate", "run", cwd=folder, stdin="我看书。\n他听鱼。\n").stdout
    first, second = by_argument.splitlines()
    assert by_file.splitlines() == [first, "", second] and by_input.splitlines() == [first, second]


def test_what_nobody_sees_is_not_translated(trained, folder):
    done = jaxseq("translate", "run", "我看书。", "我\u200b看书。", cwd=folder)
    seen, unseen = done.stdout.splitlines()
    assert seen == unseen and "unknown" not in done.stderr


def test_translate_as_json_with_a_picture_and_an_unknown_word(trained, folder):
    done = jaxseq(
        "translate", "run", "我看猫。", "--json", "--attention", "map.svg", "--gates", "gates.png", cwd=folder
    )
    (one,) = json.loads(done.stdout)
    assert one["source_tokens"] == ["我", "看", "<unk>", "。", "<eos>"] and one["unknown"] == ["猫"]
    assert len(one["weights"]) == len(one["target_tokens"]) and one["log_prob"] < 0
    assert all(abs(sum(row) - 1) < 1e-2 for row in one["weights"])
    assert "unknown, read as <unk>: 猫" in done.stderr and (folder / "map.svg").is_file()
    assert (folder / "gates.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate(trained, folder):
    facts = json.loads(jaxseq("evaluate", "run", "--json", "--examples", "3", cwd=folder).stdout)
    assert facts["pairs"] == round(len(PAIRS) * 0.1) and len(facts["examples"]) == 3
    assert 0 <= facts["bleu"] <= 100 and "version:" in facts["bleu_signature"] and facts["unknown"] == 0
    on_all = json.loads(jaxseq("evaluate", "run", "--data", "pairs.tsv", "--json", cwd=folder).stdout)
    assert on_all["pairs"] == len(PAIRS)
    assert "> " in jaxseq("evaluate", "run", cwd=folder).stdout


@pytest.mark.parametrize("preset", ["tutorial-plain", "tutorial-attention"])
def test_the_tutorials_translators(folder, preset):
    small = ["--steps", "20", "--report-every", "10", "--hidden", "8", "--no-prefix-filter", "--source-tokens", "chars"]
    out = json.loads(jaxseq(
        "train", "--preset", preset, "--data", "pairs.tsv", *small, "--out", preset, "--json", cwd=folder
    ).stdout)  # fmt: skip
    assert out["steps"] == 20 and out["evaluation"]["data"].endswith("trained on")
    assert (folder / preset / "attention.png").exists() == (preset == "tutorial-attention")
    done = jaxseq("translate", preset, "我看书。", "--attention", f"{preset}.png", cwd=folder)
    assert ("wrote" in done.stderr) == (folder / f"{preset}.png").exists() == (preset == "tutorial-attention")


def state(run: Path) -> tuple[bytes, list]:
    """Everything that must not differ: arrays of the last checkpoint, the best one's, and reports without times."""
    tensors = [checkpoint._read(run / name)[0] for name in ("last.safetensors", "model.safetensors")]
    raw = b"".join(tree[name].tobytes() for tree in tensors for name in sorted(tree))
    return raw, [(r.step, r.loss, r.validation_loss, r.gradient_norm) for r in run_folder.metrics(run)]


def test_a_run_that_is_killed_at_a_random_moment_resumes_exactly(trained, folder):
    """60 steps; and 60 steps with a SIGKILL between the first report and the last; and as often as it survives."""
    command = [sys.executable, "-m", "jaxseq", "train", "--data", "pairs.tsv", *SMALL, "--out", "killed"]
    command[command.index("--report-every") + 1] = "20"
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(run_folder.metrics(folder / "killed")) < 1 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(random.random() * 0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was too fast to be killed: nothing is tested"
    assert len(run_folder.metrics(folder / "killed")) < 3 or not (folder / "killed" / "README.md").exists()
    jaxseq("train", "--resume", "killed", cwd=folder)
    assert state(folder / "killed") == state(trained)


def test_a_kill_between_the_first_report_and_its_checkpoint_leaves_no_report_twice(trained, folder):
    """The report of step 20 is written, the state of step 20 is not: training begins anew, and reports it once."""
    shutil.copytree(trained, folder / "between")
    (folder / "between" / "last.safetensors").unlink()
    lines = (trained / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "between" / "metrics.jsonl").write_text(lines[0])
    jaxseq("train", "--resume", "between", cwd=folder)
    assert state(folder / "between") == state(trained)


def test_ctrl_c_saves_and_says_how_to_go_on(trained, folder):
    command = [sys.executable, "-m", "jaxseq", "train", "--data", "pairs.tsv", *SMALL, "--out", "stopped"]
    command[command.index("--steps") + 1] = "100000"
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while len(run_folder.metrics(folder / "stopped")) < 1:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED and "Traceback" not in errors
    assert re.search(r"stopped at step \d+ of 100000; everything is saved.*jaxseq train --resume stopped", errors)
    last = run_folder.metrics(folder / "stopped")[-1].step
    assert checkpoint.facts(folder / "stopped" / "model.safetensors")["step"] <= last


def test_a_loss_that_explodes_says_what_is_left(folder):
    done = jaxseq(
        "train", "--data", "pairs.tsv", *SMALL, "--learning-rate", "3e38", "--clip", "0", "--optimizer", "sgd",
        "--warmup", "0", "--out", "exploded", cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == cli.FAILED
    assert re.search(r"at step \d+ the loss is (nan|inf).*Nothing was saved yet. Try a lower", done.stderr)


# --- forecast


def test_a_forecast_of_the_shipped_series_goes_on_with_new_rows(folder):
    """From a folder that has nothing, as a user would; what is written is tested with the command itself."""
    quick = ["--networks", "0", "--origins", "3", "--horizon", "3"]
    facts = json.loads(jaxseq("forecast", *quick, "--out", "passengers", "--json", cwd=folder).stdout)
    error = {row["forecast"]: row["mase"] for row in facts["table"]}
    assert error["forecaster"] < min(error["naive"], error["seasonal naive"], error["drift"])
    assert facts["frequency"] == "MS" and facts["future"][0]["time"] == "1961-01-01 00:00:00"
    (folder / "more.csv").write_text("month,passengers\n1961-01,450\n1961-02,430\n")
    done = jaxseq("forecast", "--run", "passengers", "--data", "more.csv", cwd=folder)
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == [
        "time",
        "1961-03-01",
        "1961-04-01",
        "1961-05-01",
    ]


@pytest.mark.parametrize("preset", ["tutorial-lstm", "tutorial-gru"])
def test_the_tutorials_forecasts(folder, preset):
    facts = json.loads(jaxseq("forecast", "--preset", preset, "--out", preset, "--json", cwd=folder).stdout)
    assert facts["losses"][-1] < facts["losses"][0] and len(facts["losses"]) == 8
    names = {path.name for path in (folder / preset).iterdir()}
    assert names == {
        "config.json", "model.safetensors", "metrics.jsonl", "predictions.csv", "forecast.png", "loss.png", "README.md",
    }  # fmt: skip
    rmse = {(row["name"], row["mode"]): row["mase"] for row in facts["table"]}
    ratio = rmse[preset.removeprefix("tutorial-"), "free-running"] / rmse["naive", "free-running"]
    text = (folder / preset / "README.md").read_text()
    assert f" is {ratio:.2f} times the naive forecast (" in text
    assert (
        "(104 to 413 are 0 to 1)" in text and facts["losses"][7] < 0.02
    )  # in the tutorial's units, as its figures are
    rows = [re.split("  +", line) for line in text.splitlines()]
    ours, theirs, last = [row[1:] for row in rows if len(row) == 3 and row[1].startswith("0.0")][:3]
    assert theirs == (["0.0020", "0.0173"] if preset == "tutorial-lstm" else ["0.0019", "0.0137"])
    assert ours == [f"{facts['losses'][7]:.4f}", f"{facts['test_loss']:.4f}"] and last == ["0.0063", "0.0262"]


def test_a_fit_of_the_tutorial_that_explodes_replaces_nothing(folder, capsys):
    run = folder / "wild"
    with run_folder.building(run, "forecast", TutorialConfig()):
        pass
    wild = ["--preset", "tutorial-gru", "--optimizer", "sgd", "--learning-rate", "1e30"]
    assert cli.main(["forecast", *wild, "--out", str(run), "--overwrite"]) == cli.FAILED
    assert "became infinite or NaN" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in run.iterdir()] == ["config.json"]


# --- the rest


def test_a_corpus_is_added_by_hand_and_then_found_by_name(folder, monkeypatch):
    lines = [
        f"{en} ({n})\t{zh}{n}\tCC-BY 2.0 (France) Attribution: tatoeba.org #{n}" for n in range(400) for en, zh in PAIRS
    ]
    with zipfile.ZipFile(folder / "cmn-eng.zip", "w") as archive:
        archive.writestr("cmn.txt", "\n".join(lines))
    here = os.environ | {"JAXSEQ_CACHE": str(folder / "cache")}
    missing = jaxseq("train", "--data", "cmn-eng", cwd=folder, check=False, env=here)
    assert missing.returncode == cli.FAILED and "jaxseq data get cmn-eng" in missing.stderr
    done = jaxseq("data", "add", "cmn-eng", "cmn-eng.zip", "--json", cwd=folder, env=here)
    assert json.loads(done.stdout)["pairs"] == len(lines)


def helped(capsys, *args: str) -> str:
    """Return what --help shows, in this process."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([*args, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_version_help_and_doctor(folder, capsys):
    assert jaxseq("--version", cwd=folder).stdout == f"jaxseq {__version__}\n"
    assert "doctor" in jaxseq(cwd=folder).stdout
    for command in cli.COMMANDS:
        shown = helped(capsys, command)
        assert f"Example: jaxseq {command}" in shown
        undescribed = re.findall(r"(--[\w-]+) [A-Z]+\s+\(default", shown)
        assert not undescribed
        assert not re.search(r"\(default:\s+(\)|''|None)", shown)  # (default: none)
    assert json.loads(jaxseq("doctor", "--json", cwd=folder).stdout)["jaxseq"] == __version__


def test_the_list_of_commands_gives_each_the_first_sentence_of_its_help(capsys):
    shown = re.sub(r"[│\s]+", " ", helped(capsys))
    for name in cli.COMMANDS:
        command = cli.command(name)
        first = inspect.getdoc(getattr(command, "func", command)).partition("\n\n")[0]
        assert f"• {name} {' '.join(first.split())}" in shown
    assert shown.count("Example: ") == 1


def test_a_help_names_the_values_of_an_option_in_a_word(capsys):
    """Where tyro writes {None}|PATH and [STR [STR ...]]."""
    shown = helped(capsys, "translate")
    assert re.search(r"--file PATH\s", shown) and re.search(r"--ensemble PATH \.\.\.\s", shown)
    assert re.search(r"jaxseq translate \[-h\] \[OPTIONS\] PATH \[STR \.\.\.\]\s", shown) and "None}" not in shown
    assert re.search(r"--data STR \.\.\.\s", helped(capsys, "train")) and "--columns STR STR" in helped(capsys, "train")
    assert re.search(r"--data STR \.\.\.\s", helped(capsys, "score"))
    assert readable("{None}|{a,b}") == "{a,b}" and readable("INT|{[STR [STR ...]]}") == "INT|{[STR [STR ...]]}"


@pytest.mark.parametrize(("command", "other"), [("train", "tutorial-gru"), ("forecast", "tutorial-plain")])
def test_a_preset_of_another_command_is_unknown(capsys, command, other):
    assert cli.main([command, "--preset", other]) == cli.FAILED
    error = capsys.readouterr().err
    assert f"unknown preset '{other}'" in error and other not in error.partition("known: ")[2]


def test_every_command_is_a_function_of_a_module_with_its_help():
    for name in cli.COMMANDS:
        command = cli.command(name)
        function = getattr(command, "func", command)  # of a partial, which gives the preset's defaults
        assert function.__qualname__ == function.__name__  # not inside another
        text = inspect.getdoc(function)  # whose indentation Python 3.13 has taken away already
        assert f"Example: jaxseq {name}" in text
        described = set(re.findall(r"^ {2}(\w+): ", text, re.MULTILINE))
        assert described == set(inspect.signature(function).parameters)


def test_the_options_of_train_are_in_groups(capsys):
    """Which together are all settings, each once."""
    groups = [set(names) for names in ([f.name for f in dataclasses.fields(group)] for group in GROUPS.values())]
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(dataclasses.fields(TranslateConfig))
    shown = helped(capsys, "train")
    assert all(f" {name} options " in shown for name in GROUPS)


def test_a_preset_shows_its_own_defaults(capsys):
    shown = helped(capsys, "train", "--preset", "tutorial-attention")
    assert re.search(r"--steps INT\s+Total train steps. \(default: 20000\)", shown)
    assert "(default: 0.1)" in helped(capsys, "forecast", "--preset=tutorial-gru")
    assert re.search(r"--steps INT\s+Total train steps. \(default: 3000\)", helped(capsys, "train"))


def test_a_reader_that_goes_away_is_no_error(trained, folder):
    command = f"{sys.executable} -m jaxseq translate run 我看书。 | true"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_no_permission_and_no_folder(folder, capsys):
    for out in ("/proc/nowhere/run", "/dev/full/run"):
        error = refused(capsys, "train", "--data", folder / "pairs.tsv", *SMALL, "--out", out)
        assert re.search(r"cannot write /(proc|dev)", error)


# --- what cannot be used: in this process, since each is over before anything is compiled -----------------------------


def refused(capsys, *args) -> str:
    assert cli.main([str(a) for a in args]) == cli.FAILED
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("jaxseq: ") and len(shown.err.splitlines()) == 1
    return shown.err


GOOD = "\n".join(f"{en}\t{zh}" for en, zh in PAIRS)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", "", r"pairs.tsv is empty; expected text"),
        (b"\x00\x01", "", r"is a binary file \(a zero byte at 0\)"),
        ("他\t我".encode("gb18030"), "", r"line 1: not UTF-8.*iconv"),
        (GOOD + "\nonly one\nand another", "", r"line 73: expected en<TAB>zh.*got 1 column. Lines like it: 2"),
        (GOOD + "\nHi.\t", "", r"line 73: .*an empty side"),
        (
            GOOD + "\n\u0301\t他。",
            "--normalise tutorial",
            r"line 73: the pair .* has a side that is empty after normalis",
        ),
        (GOOD, "--prefix-filter", r"no pair is left of 72: .*Loosen the filter"),
        (GOOD, "--max-tokens 2", r"no pair is left of 72: 72 pairs are longer than --max-tokens 2"),
        ("Hi.\t你好。\nHi.\t您好。", "", r"too small to split: 2 pairs.*--validation 0"),
        (GOOD, "--target cn", r"expected a header line that names zh and cn; got none"),
        (GOOD, "--source en", r"--target must be another language than source; got en"),
        (GOOD, "--hidden 0", r"--hidden must be at least 1; got 0"),
        (GOOD, "--batch -3", r"--batch must be at least 1; got -3"),
        (GOOD, "--max-tokens 500", r"--max-tokens must be at least 2 and at most 319; got 500"),
        (GOOD, "--preset tutorial-attention --max-tokens 10", r"--max-tokens must be at least 2 and at most 9; got 10"),
        (GOOD, f"--seed {2**32}", r"--seed must be from 0 to 4294967295; got 4294967296"),
        (GOOD, "--seed -1", r"--seed must be from 0 to 4294967295; got -1"),
        (GOOD, "--learning-rate nan", r"--learning-rate must be above 0 and finite; got nan"),
        (GOOD, "--learning-rate -1", r"--learning-rate must be above 0 and finite; got -1"),
        (GOOD, "--dropout 1", r"--dropout must be at least 0 and below 1; got 1"),
        (GOOD, "--cell lstn", r"unknown cell 'lstn': did you mean 'lstm'.* more, which `jaxseq cells` lists"),
        (GOOD, "--source-tokens char", r"unknown source tokens 'char': did you mean 'chars'"),
        (GOOD, "--attention multihead", r"unknown attention 'multihead': did you mean 'multi_head'"),
        (GOOD, "--attention positional", r"needs the model tutorial-attention"),
        (GOOD, "--forcing linaer", r"unknown teacher forcing schedule 'linaer': did you mean 'linear'"),
        (GOOD, "--preset tutorial", r"unknown preset 'tutorial': did you mean 'tutorial-"),
        (GOOD, "--preset tutorial-gru", r"unknown preset 'tutorial-gru': did you mean 'tutorial-plain'"),
    ],
)
def test_training_that_cannot_be(tmp_path, monkeypatch, capsys, content, options, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = refused(capsys, "train", "--data", "pairs.tsv", *options.split())
    assert re.search(message, error), error
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.tsv"]  # nothing half-made is left


THREE = "v\n" + "1\n2\n3\n" * 30


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("day,place\n2001-01-01,x\n", "", r"no column of numbers to forecast: place"),
        ("v\n" + "1\n2\n3\n" * 3, "--horizon 4", r"has 9 rows, and a test part of 4 leaves 5 to fit to; 8 are needed"),
        ("v\n" + "5\n" * 60, "", r"series 'v' is constant \(5\)"),
        ("v\n" + "5\n" * 45 + "4\n" * 15, "", r"series 'v' is constant \(5\)"),  # in the rows before the test part
        ("v\n" + "1\ninf\n3\n" * 30, "", r"column 'v' has an infinite value"),
        (THREE, "--target w", r"unknown column 'w'"),
        (THREE, "--hidden 0", r"--hidden must be at least 1; got 0"),
        (THREE, "--horizon 0", r"--horizon must be at least 1 step; got 0"),
        (THREE, "--origins 0", r"--origins must be at least 1; got 0"),
        (THREE, "--networks -1", r"--networks must be at least 0; got -1"),
        (THREE, "--levels 80 100", r"an interval's level is above 0 and below 100 per cent; got 100"),
        (THREE, "--decimal ;", r"--decimal must be a point or a comma; got ;"),
        (THREE, "--cell lstn", r"unknown cell 'lstn': did you mean 'lstm'"),
        (THREE, "--frequency D", r"has no column of dates, so no --frequency"),
        (THREE, f"--seed {2**32}", r"--seed must be from 0 to 4294967295; got 4294967296"),
        (THREE, "--run .", r"is not a run"),
        (THREE, "--preset tutorial-gru --window 0", r"--window must be at least 1; got 0"),
        (THREE, "--preset tutorial-gru --test 1.5", r"--test must be above 0 and below 1.*got 1.5"),
        (THREE, "--preset tutorial-gru --learning-rate nan", r"learning rate: expected a number above 0, got nan"),
        (THREE[:40], "--preset tutorial-gru", r"has 19 rows; .* leave too few to train on. Give more rows or a short"),
    ],
)
def test_forecasts_that_cannot_be(tmp_path, monkeypatch, capsys, content, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(content)
    error = refused(capsys, "forecast", "--data", "a.csv", *options.split())
    assert re.search(message, error), error
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trane"], r"unknown command 'trane': did you mean 'train'\? known: bench, cells, convert"),
        (["translate", "nowhere", "我"], r"nowhere is not a run: there is no file .*config.json"),
        (
            ["translate", "我看书。"],
            r"there is no run '我看书。'; name the run, then the text: jaxseq transl",
        ),
        (["translate", "nowhere", "我", "--attention", "a/b.png"], r"a is not a writable folder.* with --attention"),
        (["translate", "nowhere", "我", "--gates", "b.gif"], r"unknown picture format 'gif'"),
        (["evaluate", "nowhere"], r"nowhere is not a run"),
        (["forecast", "my sales.csv"], r"forecast reads a file with --data: jaxseq forecast --data 'my sales.csv'$"),
        (["train", "a.tsv", "--steps", "3"], r"train reads a file with --data: jaxseq train --data a.tsv --steps 3$"),
        (["train", "--resume", "nowhere"], r"nowhere is not a run"),
        (["train", "--data", "nope.tsv"], r"there is no file 'nope.tsv'"),
        (["train", "--data", "zh-ne"], r"did you mean 'zh-en'"),
        (["data", "fetch", "cmn-eng"], r"unknown action 'fetch'"),
        (["data", "add", "cmn-eng"], r"which file\? For example: jaxseq data add cmn-eng cmn-eng.zip"),
    ],
)
def test_commands_that_cannot_be(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refused(capsys, *args))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "--stepz", "4"], "--steps INT"),
        (["train", "--steps", "four"], "Error parsing --steps: expected a whole number; got 'four'"),
        (["translate", "run", "--temperature", "x"], "Error parsing --temperature: expected a number; got 'x'"),
        (["forecast", "--horizon", "1.5"], "Error parsing --horizon: expected a whole number; got '1.5'"),
        (["evaluate"], "PATH"),
    ],
)
def test_options_that_cannot_be(capsys, args, message):
    """The error names the help of that command, and options of no other."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(args)
    shown = re.sub(r"[│\s]+", " ", capsys.readouterr().err)
    assert stopped.value.code == cli.FAILED and message in shown
    assert re.findall(r"jaxseq (?:\w+ )?--help", shown) == [f"jaxseq {args[0]} --help"]


def swapped(raw: bytes, a: str, b: str) -> bytes:
    tokens = json.loads(raw)
    return json.dumps([{a: b, b: a}.get(token, token) for token in tokens]).encode()


def damage(run: Path, name: str, change) -> None:
    (run / name).write_bytes(change((run / name).read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.safetensors", lambda raw: raw[:-9], r"is damaged"),
        ("model.safetensors", lambda raw: raw[:-9] + b"\x01" + raw[-8:], r"was altered"),
        ("config.json", lambda raw: raw.replace(b'"hidden": 8', b'"hidden": 9'), r"holds another architecture"),
        ("config.json", lambda raw: raw.replace(b'"translation"', b'"forecast"'), r"is a forecast run; expected a tr"),
        (
            "config.json",
            lambda raw: raw.replace(b'"hidden"', b'"hiden"'),
            r"unknown setting 'hiden': did you mean 'hidden'",
        ),
        ("config.json", lambda raw: raw[:40], r"config.json is damaged"),
        (
            "source.vocab.json",
            lambda raw: raw.replace('"书",\n'.encode(), b""),
            r"holds another architecture",
        ),
        (
            "source.vocab.json",
            lambda raw: swapped(raw, "书", "狗"),
            r"the vocabularies are not those that model.safetensors was trained with",
        ),
        (
            "source.vocab.json",
            lambda raw: raw.replace("书".encode(), "狗".encode()),
            r"vocab.json is damaged: duplicate token '狗'",
        ),
        ("source.vocab.json", lambda raw: b"[", r"source.vocab.json is damaged: not JSON"),
    ],
)
def test_runs_that_were_damaged(trained, tmp_path, capsys, name, change, message):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    damage(run, name, change)
    error = refused(capsys, "translate", run, "我看书。")
    assert re.search(message, error), error


@pytest.fixture
def copied(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    shutil.copy(trained.parent / "pairs.tsv", tmp_path / "pairs.tsv")
    return tmp_path / "run"


def test_a_run_does_not_go_on_with_other_pairs(copied, monkeypatch, capsys):
    monkeypatch.chdir(copied.parent)
    text = Path("pairs.tsv").read_text(encoding="utf-8")
    # As many tokens as before, so that the checkpoint would fit: every 狗 would be read as another word's number.
    for changed in (text.replace("狗", "犬"), "\n".join(reversed(text.split("\n"))), text + "\n" + text.split("\n")[0]):
        Path("pairs.tsv").write_text(changed, encoding="utf-8")
        assert "the pairs of pairs.tsv are not those that run was started with" in refused(
            capsys, "train", "--resume", "run"
        )


def test_a_finished_run_without_its_metrics(copied):
    (copied / "metrics.jsonl").unlink()
    done = jaxseq("train", "--resume", "run", cwd=copied.parent, check=False)
    assert done.returncode == cli.FAILED and "metrics.jsonl is missing or damaged" in done.stderr, done.stderr


def test_settings_beside_a_run_that_has_its_own(capsys):
    refusal = refused(capsys, "train", "--resume", "runs/a", "--batch", "9")
    assert "--resume runs/a goes on with the settings of that run; leave out --batch (got 9)" in refusal
    refusal = refused(capsys, "forecast", "--run", "runs/b", "--cell", "lstm")
    assert "--run runs/b forecasts with the settings of that run; leave out --cell (got lstm)" in refusal
    assert "not both" in refused(capsys, "translate", "runs/a", "我", "--file", "lines.txt")


def test_streams_that_are_closed_or_know_no_chinese(trained, folder):
    command = f"{sys.executable} -m jaxseq translate run <&-"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == cli.FAILED and "there is no text to translate" in done.stderr, done.stderr
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert "> \\u" in jaxseq("evaluate", "run", cwd=folder, env=ascii_only).stdout


def test_what_a_good_run_refuses(trained, capsys, monkeypatch, tmp_path):
    assert "is empty; give text" in refused(capsys, "translate", trained, "  ")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "there is no text to translate; give sentences as arguments" in refused(capsys, "translate", trained)
    assert "sentence 1 ('\\u200b\\ufeff') is empty" in refused(capsys, "translate", trained, "\u200b\ufeff")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n  \n"))
    assert cli.main(["translate", str(trained)]) == 0 and capsys.readouterr().out == "\n\n"
    assert "--examples must be at least 0" in refused(capsys, "evaluate", trained, "--examples", "-1")
    assert "is a translation run; expected a forecaster run" in refused(capsys, "forecast", "--run", trained)
    monkeypatch.chdir(trained.parent)
    again = refused(capsys, "train", "--data", "pairs.tsv", *SMALL, "--out", "run")
    assert "the run run exists" in again and "--overwrite" in again and "--resume run" in again
    assert "no suffix" in refused(capsys, "translate", trained, "我看书。", "--attention", tmp_path / "map")

"""The commands study and inspect, on runs and on small models trained for them."""

import json
import re

import numpy as np
import pytest

from jaxseq import cli
from jaxseq.tasks import forecast as forecasting
from jaxseq.tasks import study as studying
from jaxseq.tasks import translate as translation
from jaxseq.tasks.config import TranslateConfig

pytestmark = [pytest.mark.xdist_group("study command"), pytest.mark.usefixtures("as_users_have_it")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A forecast and a translator, hardly trained."""
    folder = tmp_path_factory.mktemp("runs")
    forecasting.train(forecasting.ForecastConfig(epochs=2, hidden=4, seeds=2, cell="lstm"), folder / "forecast")
    pairs = [("i see", "我看"), ("you see", "你看"), ("i hear a dog", "我听狗"), ("you hear", "你听")]
    (folder / "pairs.tsv").write_text("\n".join("\t".join(pair) for pair in pairs), encoding="utf-8")
    small = {"steps": 2, "report_every": 2, "hidden": 6, "embedding": 5, "batch": 4, "buckets": 1, "validation": 0}
    translation.train(TranslateConfig(data=str(folder / "pairs.tsv"), **small), folder / "translator")
    return folder


def data_of(file):
    text = file.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_a_translator_is_studied(runs, capsys):
    out = runs / "t.html"
    assert cli.main(["study", str(runs / "translator"), "--text", "我看猫", "你听", "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert "checks hold" in said.out and "unknown, read as <unk>: 猫" in said.err
    data = data_of(out)
    names = [part["name"] for part in data["parts"]]
    assert names == ["decoder", "encoder", "encoder, backwards"]
    decoder, encoder, back = data["parts"]
    assert encoder["inputs"][0] == ["我", "看", "<unk>", "<eos>"] == back["inputs"][0][::-1]
    assert decoder["attention"]["source"][1] == ["你", "听", "<eos>"] and decoder["why"] == "reads"
    assert decoder["attention"]["parts"]["shape"][-1] == 4 and decoder["flow"] is not None
    assert encoder["live"]["cell"] == "gru" and encoder["lengths"] == [4, 3]
    checked = {(check["id"], check["part"]) for check in data["checks"]}
    assert {("attention_sum", "decoder"), ("ledger", "encoder"), ("flow", "decoder")} <= checked


def test_a_forecast_is_studied(runs, capsys):
    out = runs / "f.html"
    assert cli.main(["study", str(runs / "forecast"), "--rows", "100,120", "-o", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == len(out.read_bytes()) < 2_000_000 and all(check["ok"] for check in facts["checks"])
    (part,) = data_of(out)["parts"]
    assert part["kind"] == "value" and part["B"] == 2 and np.sum(part["scored"]) == 2
    assert part["inputs"][0][0] == "1956-05-01"  # a year before row 100, which is 1957-05


def test_a_small_model_is_trained_and_studied(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(studying.SIZES, "copy", {"lag": 2, "length": 2, "symbols": 2})
    out = tmp_path / "c.html"
    options = ["--cell", "lstm", "--task", "copy", "--steps", "4", "--hidden", "4", "-o", str(out)]
    assert cli.main(["study", *options]) == 0
    data = data_of(out)
    assert [part["name"] for part in data["parts"]] == ["lstm", "gru", "rnn"] and data["compare"]
    assert all(part["replay"]["steps"][0] == 0 and part["flow"] and part["jacobian"] for part in data["parts"])
    assert data["parts"][2]["keep"] is None and data["parts"][0]["words"] == ["a", "b"]


def test_inspect_shows_the_same_in_a_terminal(runs, capsys):
    assert cli.main(["inspect", str(runs / "forecast"), "--rows", "100"]) == 0
    said = capsys.readouterr().out
    assert "f: 1 retains" in said and "|dL/dc|" in said and ("█" in said or "▓" in said)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["study", "nowhere"], "nowhere is not a run: cannot read"),
        (["study", "{forecast}", "--text", "a"], "is a forecast, which reads --rows"),
        (["study", "{translator}", "--rows", "3"], "is a translator, which reads --text"),
        (["study", "{translator}", "--text", "看" * 400], "has 400 tokens, the most is"),
        (["study", "{translator}", "--task", "copy"], "is a run with its own data"),
        (["study", "{forecast}", "--rows", "3"], "row 3 cannot be studied"),
        (["study", "{forecast}", "--rows", "a:b"], "--rows is a number"),
        (["study", "{forecast}", "--rows", "50:90"], "names 40 rows; give 1 to 8"),
        (["study", "--text", "a"], "--text and --rows are for a run"),
        (["study", "--task", "cpoy"], "unknown task 'cpoy': did you mean 'copy'"),
        (["study", "--cell", "lsmt"], "did you mean 'lstm'"),
        (["study", "--cell", "conv_lstm"], "cannot run over a series"),
        (["study", "{forecast}", "-o", "{forecast}"], "is a folder; name a file with -o"),
        (["inspect", "nowhere"], "nowhere is not a run"),
    ],
)
def test_what_cannot_be_studied(runs, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    places = {"forecast": runs / "forecast", "translator": runs / "translator"}
    assert cli.main([str(arg).format(**places) for arg in args]) == cli.FAILED
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_runs_that_cannot_be_studied(runs, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"kind": "poem", "format": 1, "jaxseq": "0", "config": {}}')
    for run, message in [(other, "is a poem run, which cannot be studied"), (tmp_path, "is not a run")]:
        assert cli.main(["study", str(run), "-o", str(tmp_path / "x.html")]) == cli.FAILED
        assert message in capsys.readouterr().err
    (other / "config.json").write_text("{")
    assert cli.main(["study", str(other), "-o", str(tmp_path / "x.html")]) == cli.FAILED
    assert "is damaged" in capsys.readouterr().err and not (tmp_path / "x.html").exists()

"""The command `jaxseq forecast`: what it writes and says, how it goes on, and that nothing is lost."""

import csv
import dataclasses
import inspect
import json
import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from benchmarks.forecast import forecast as measurement
from jaxseq import InputError, cli, fonts
from jaxseq.apps import run_folder
from jaxseq.apps.forecast import classical, combined, picture, report
from jaxseq.apps.forecast.backtest import backtest, compared
from jaxseq.apps.forecast.config import ForecastConfig
from jaxseq.apps.forecast.forecaster import fit, load
from jaxseq.apps.forecast.panel import read

pytestmark = pytest.mark.usefixtures("as_users_have_it")
QUICK = ["--networks", "0", "--origins", "4", "--horizon", "3"]
HEAD = "日期,销量"


def rows(first: int, last: int) -> list[str]:
    """Months with a season and a trend, from the number of the first to before the last."""
    noise = np.random.default_rng(0).normal(size=200)
    return [
        f"{2015 + n // 12}年{n % 12 + 1}月,{200 + n + 30 * np.sin(n / 2) + 5 * noise[n]:.3f}"
        for n in range(first, last)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "sales.csv").write_text("\n".join([HEAD, *rows(0, 60)]), encoding="utf-8")
    (folder / "later.csv").write_text("\n".join([HEAD, *rows(58, 62)]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made(folder):
    """Forecast once, statsforecast left out, from within the folder, with or without a Chinese font."""
    usual = jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with pytest.MonkeyPatch.context() as patch, usual[0], usual[1], usual[2]:
        patch.chdir(folder)
        patch.setattr(classical, "usable", lambda *_: ((), ""))
        patch.setattr(fonts, "_warned", {"CJK"})
        assert cli.main(["forecast", "--data", "sales.csv", *QUICK, "--out", "deep/down/run"]) == 0
    return folder / "deep/down/run"


def test_the_files_of_a_run(made):
    names = {path.name for path in made.iterdir()}
    assert names == {
        "config.json", "model.safetensors", "predictions.csv", "scores.csv", "future.csv", "forecast.png", "README.md",
    }  # fmt: skip
    assert [path.name for path in made.parent.iterdir()] == ["run"]  # and nothing temporary beside it


def test_the_future_is_what_the_python_function_forecasts(made, folder):
    with open(made / "future.csv", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["time", "mean", "0.025", "0.1", "0.9", "0.975"]
    assert [row["time"] for row in found] == ["2020-01-01", "2020-02-01", "2020-03-01"]
    want = fit(folder / "sales.csv", 3, networks=0).predict()
    got = np.array([[float(v) for name, v in row.items() if name != "time"] for row in found])
    np.testing.assert_allclose(got[:, 0], want.mean[0], rtol=1e-8)
    np.testing.assert_allclose(got[:, 1:], want.quantiles[0], rtol=1e-8)


def test_the_scores_are_those_of_the_predictions(made):
    """Computed here from the two files and the data."""
    made_by = pd.read_csv(made / "predictions.csv")
    table = pd.read_csv(made / "scores.csv").set_index("forecast")
    values = np.array([float(row.split(",")[1]) for row in rows(0, 60)])
    assert len(made_by) == 4 * 3 and made_by["origin"].iloc[0] == "2018-09-01"
    np.testing.assert_allclose(made_by["actual"].iloc[:3], values[45:48])
    scale = np.abs(values[12:45] - values[:33]).mean()
    for name in ("forecaster", "naive", "seasonal naive", "drift", "linear autoregression"):
        error = made_by[name] - made_by["actual"]
        np.testing.assert_allclose(table.loc[name, "rmse"], np.sqrt((error**2).mean()), rtol=1e-6)
        np.testing.assert_allclose(table.loc[name, "mase"], error.abs().mean() / scale, rtol=1e-6)
    inside = (made_by["actual"] >= made_by["0.1"]) & (made_by["actual"] <= made_by["0.9"])
    np.testing.assert_allclose(table.loc["forecaster", "coverage80"], 100 * inside.mean(), rtol=1e-6)


def test_what_is_said(made):
    text = (made / "README.md").read_text(encoding="utf-8")
    for line in ("销量: 60 rows, 2015-01-01 to 2019-12-01", "  monthly (MS); season 12 rows",
                 "backtest: 4 origins, 2018-09-01 to 2019-09-01, 3 steps from each"):  # fmt: skip
        assert f"\n{line}" in text
    assert "The forecaster's MASE is" in text and "\n2020-01-01" in text


def test_a_run_goes_on_from_any_folder(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["forecast", "--run", str(made), "--horizon", "2", "--levels", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "time,mean,0.25,0.75" and len(lines) == 3 and lines[1].startswith("2020-01-01,")


def test_a_run_goes_on_with_new_rows(made, folder, capsys):
    assert cli.main(["forecast", "--run", str(made), "--data", str(folder / "later.csv"), "--json"]) == 0
    shown = capsys.readouterr()
    assert "later.csv: 2 rows later than the run's last, 2019-12-01" in shown.err
    got = json.loads(shown.out)
    assert [row["time"] for row in got] == ["2020-03-01 00:00:00", "2020-04-01 00:00:00", "2020-05-01 00:00:00"]
    whole = folder / "whole.csv"
    whole.write_text("\n".join([HEAD, *rows(0, 62)]), encoding="utf-8")
    want = load(made / "model.safetensors").predict(read(whole)).mean[0]
    np.testing.assert_allclose([row["mean"] for row in got], want, rtol=1e-9)


def test_rows_that_were_revised_since_are_named(made, folder, tmp_path, capsys):
    """The run goes on from the rows that it knows, and says so; equal ones are not mentioned."""
    changed = rows(50, 62)
    month, value = changed[3].split(",")
    changed[3], changed[5] = f"{month},{float(value) + 1:.3f}", changed[5].split(",")[0] + ","
    (tmp_path / "revised.csv").write_text("\n".join([HEAD, *changed]), encoding="utf-8")
    assert cli.main(["forecast", "--run", str(made), "--data", str(tmp_path / "revised.csv")]) == 0
    revised = capsys.readouterr()
    assert "2 values up to the run's last row are not those that it was fitted to, the first on" in revised.err
    assert f" on 2019-06-01, {float(value) + 1:g} instead of {float(value):g}; it goes on from those it" in revised.err
    assert cli.main(["forecast", "--run", str(made), "--data", str(folder / "later.csv")]) == 0
    same = capsys.readouterr()
    assert "fitted to" not in same.err and same.out == revised.out


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("日期,销售\n2020年1月,3\n", "", "unknown column '销量'"),
        (
            HEAD + "\n2020年1月1日,3\n2020年1月2日,4\n2020年1月3日,4\n",
            "",
            "expected rows that continue monthly .MS.; .*got daily",
        ),
        (HEAD + "\n2020年1月,3\n2020年2月,4\n", "--horizon 4", "was fitted for 1 to 3 steps; got a horizon of 4"),
        (HEAD + "\n2020年1月,3\n2020年2月,4\n", "--networks 3", "settings of that run; leave out --networks"),
        (HEAD + "\n2020年1月,3\n2020年2月,4\n", "--levels 100", "level is above 0 and below 100 per cent; got 100"),
    ],
)
def test_what_a_run_does_not_go_on_with(made, tmp_path, capsys, content, options, message):
    (tmp_path / "new.csv").write_text(content, encoding="utf-8")
    told = refused(capsys, "forecast", "--run", made, "--data", tmp_path / "new.csv", *options.split())
    assert re.search(message, told), told


def refused(capsys, *args) -> str:
    assert cli.main([str(a) for a in args]) == cli.FAILED
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("jaxseq: ") and len(shown.err.splitlines()) == 1
    return shown.err


def test_a_refusal_touches_no_run(made, folder, monkeypatch, capsys):
    """Whether it comes before training, in the backtest, or while the files are written."""
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in made.iterdir()}
    (folder / "constant.csv").write_text("v\n" + "5\n" * 60)
    again = ["forecast", "--data", "sales.csv", *QUICK, "--out", made]
    assert "--overwrite" in refused(capsys, *again)
    assert "is constant" in refused(capsys, "forecast", "--data", "constant.csv", "--out", made, "--overwrite")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(picture, "draw", full)
    monkeypatch.setattr(classical, "usable", lambda *_: ((), ""))
    assert "no space left" in refused(capsys, *again, "--overwrite")
    assert {path: path.read_bytes() for path in made.iterdir()} == before
    assert [path.name for path in made.parent.iterdir()] == ["run"]


def test_a_run_replaces_another_when_it_is_whole(tmp_path):
    run = tmp_path / "a" / "run"
    with run_folder.building(run, "x", ForecastConfig()) as folder:
        (folder / "old").write_text("old")
        assert not run.exists()
    with run_folder.building(run, "x", ForecastConfig(), overwrite=True) as folder:
        (folder / "new").write_text("new")
        assert (run / "old").exists()
    assert {path.name for path in run.iterdir()} == {"config.json", "new"}
    with pytest.raises(KeyboardInterrupt), run_folder.building(tmp_path / "b" / "c" / "run", "x", ForecastConfig()):
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "run", "config.json", "new"}
    with pytest.raises(InputError, match=r"the run .* exists"), run_folder.building(run, "x", ForecastConfig()):
        pass


def test_numbers_have_the_digits_that_count():
    shown = [report.number(v) for v in (123456.789, 12.3456, 0.00123456, 0.0, float("nan"), float("inf"))]
    assert shown == ["123457", "12.35", "0.001235", "0", "", "inf"]
    assert report.numbers([10.349, 0.0, 153.84, float("nan")], 5) == ["10.35", "0.00", "153.84", ""]
    assert report.numbers([3.0, 0.0, -1e-17], 5) == ["3", "0", "0"]
    assert report.numbers([1e-20, 0.0], 4) == ["1.000e-20", "0.000e+00"] and report.number(1.5e300) == "1.500e+300"
    assert report.aligned([["", "a", "b"], ["销量", "1.5", ""], ["plain", "10", ""]]) == [
        "         a", "销量   1.5", "plain   10",
    ]  # fmt: skip


def test_a_table_of_several_series_keeps_the_digits_of_the_small_ones():
    frame = pd.DataFrame(
        {"series": ["big", "small"], "time": [1, 1], "mean": [909465.2, 0.9874], "0.1": [899163.9, 0.985]}
    )
    assert report.rows_of(frame) == [
        "series  time     mean      0.1", "big        1   909465   899164", "small      1  0.98740  0.98500",
    ]  # fmt: skip
    assert report.rows_of(frame.drop(columns="series"))[2].split() == ["1", "1", "1"]


def test_the_last_origins_do_not_overlap():
    assert picture.last_origins(np.array([0, 4, 5, 9, 12, 14]), 5) == [1, 3, 5]
    assert picture.last_origins(np.array([7]), 5) == [0]


class Repeats:
    """A model of statsforecast's kind that forecasts the last value, or the one a season before."""

    def __init__(self, season_length):
        self.season = season_length

    def fit(self, y):
        self.seen = len(y)
        return self

    def forward(self, y, h):
        assert np.isfinite(y).all() and len(y) >= self.seen
        return {"mean": np.full(h, y[-self.season])}


class Fails(Repeats):
    def fit(self, y):
        raise RuntimeError("did not converge")


def test_models_of_statsforecast_are_fitted_once_and_applied_from_every_origin(monkeypatch):
    models = types.SimpleNamespace(AutoETS=Repeats, AutoTheta=Fails)
    monkeypatch.setitem(sys.modules, "statsforecast", types.SimpleNamespace(models=models))
    values = np.stack([np.arange(12.0), np.where(np.arange(12) < 3, np.nan, 10 * np.arange(12.0))], axis=1)
    values[6, 0] = np.nan
    found = classical.paths(("AutoETS", "AutoTheta"), values, np.array([7, 9]), 8, 2, 2)
    # The value one season before the first step; the missing one is that of a season before it and the change since.
    np.testing.assert_array_equal(found["AutoETS"][..., 0], [[4 + 2, 60], [8, 80]])
    assert np.isnan(found["AutoTheta"]).all()


def test_when_statsforecast_is_compared(monkeypatch):
    monkeypatch.setattr(classical.importlib.util, "find_spec", lambda name: None)
    assert 'pip install "jaxseq[forecast]"' in classical.usable(1, 100, 12)[1]
    monkeypatch.setattr(classical.importlib.util, "find_spec", lambda name: name)
    assert classical.usable(1, 100, 12) == (classical.MODELS, "")
    for sizes in ((21, 100, 12), (1, 3001, 12), (1, 1000, 52)):
        assert classical.usable(*sizes)[0] == ()


def test_two_origins_are_too_few_for_a_test():
    values = np.random.default_rng(0).normal(size=40).cumsum()
    assert "; 1 origin is too few to test" in backtest(values, 2, networks=0, origins=1).verdict()
    assert "; 2 origins are too few to test" in backtest(values, 2, networks=0, origins=2).verdict()
    assert re.search(r"\(p [=<] ", backtest(values, 2, networks=0, origins=3).verdict())


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (0.9, 1.0, "0.900, 10% below that of drift (1.000)"),
        (0.501, 0.5, "0.501, level with that of drift (0.500)"),
        (1.5, 0.6, "1.500, 150% above that of drift (0.600)"),
        (1.8, 0.6, "1.800, 3.0 times that of drift (0.600)"),
        (1036.6, 1.0, "1,037, 1,037 times that of drift (1.000)"),
        (2e-5, 0.5, "2.0e-05, less than 1% of that of drift (0.500)"),
        (0.2, 0.0, "0.200, and drift is exact"),
    ],
)
def test_the_verdict_compares_in_per_cent_or_in_multiples(ours, theirs, told):
    assert compared(ours, theirs, "drift") == f"The forecaster's MASE is {told}"


@pytest.mark.parametrize(
    ("gain", "stopped", "told"),
    [
        (np.inf, 0, "the gru network did not help: its weight went to the simple forecasts."),
        (0.98, 3, "the gru network took 2.0% off the error; its weight is 20% among 7 forecasts."),
        (1.02, 3, "the gru network makes the error 2.0% larger; up to 3% it stays; its weight"),
        (1.0001, 3, "the gru network did not change the error; its weight"),
        (0.98, 0, "the network's line alone, before its gru had learned, took 2.0% off the error; its weight"),
    ],
)
def test_the_verdict_says_what_the_network_did(gain, stopped, told):
    result = backtest(np.random.default_rng(0).normal(size=40).cumsum(), 2, networks=0, origins=3)
    fitted = result.forecaster
    rmse = np.array([[3.0]] * 6 + [[2.0]]) if np.isfinite(gain) else fitted.model.rmse
    model = fitted.model._replace(gain=np.array(gain), stopped=np.array(stopped), rmse=rmse, evidence=np.array(1.0))
    options = fitted.options._replace(networks=5)
    verdict = result._replace(forecaster=fitted._replace(model=model, options=options)).verdict()
    assert f"At the validation origins {told}" in verdict


def test_many_series_have_one_table_and_their_names_in_every_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classical, "usable", lambda *_: ((), ""))
    noise = np.random.default_rng(1).normal(size=(40, 8))
    noise[:, 7] = 0  # this one repeats, so that the seasonal naive forecast has no error to compare with
    noise[-1, 7] = 1
    lines = [f"s{s},{t},{10 * s + t % 4 + noise[t, s]:.3f}" for s in range(8) for t in range(40)]
    Path("long.csv").write_text("\n".join(["shop,step,y", *lines]))
    options = ["--id", "shop", "--target", "y", "--seasons", "4", "--networks", "0", "--origins", "2"]
    assert cli.main(["forecast", "--data", "long.csv", *options, "--out", "run"]) == 0
    shown = capsys.readouterr().out
    assert "\nmeans over 7 series, without s7, which repeat exactly; scores.csv has each\n" in shown
    assert "% of 7 series." in shown and "inf" not in shown
    future = pd.read_csv("run/future.csv")
    assert list(future)[:3] == ["series", "time", "mean"] and len(future) == 8 * 4  # a season ahead
    assert cli.main(["forecast", "--run", "run"]) == 0
    assert capsys.readouterr().out == Path("run/future.csv").read_text()


def test_a_network_is_trained_saved_and_loaded(tmp_path, monkeypatch, capsys):
    """The whole of it once, on few rows; a saved run forecasts what the run did."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classical, "usable", lambda *_: ((), ""))
    Path("a.csv").write_text("\n".join(["日期,sales", *rows(0, 60)]), encoding="utf-8")
    small = "--networks 1 --hidden 2 --horizon 2 --origins 3 --seasons 4".split()
    assert cli.main(["forecast", "--data", "a.csv", *small, "--out", "run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["seasons"] == [4] and "network" in facts["verdict"]
    assert cli.main(["forecast", "--run", "run", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose([r["mean"] for r in again], [r["mean"] for r in facts["future"]], rtol=1e-6)


def test_a_run_that_names_code_is_loaded_only_where_it_is_trusted(made, tmp_path):
    """In config.json and in the model's own file."""
    forecaster = load(made / "model.safetensors")
    forecaster = forecaster._replace(options=forecaster.options._replace(cell="evil.py:cell"))
    forecaster.save(tmp_path / "evil.safetensors")
    with pytest.raises(InputError, match="loading it runs that code"):
        load(tmp_path / "evil.safetensors")
    assert load(tmp_path / "evil.safetensors", "evil.py:cell").options.cell == "evil.py:cell"  # without networks


def test_the_guides_code_runs_and_its_options_exist(capsys):
    guide = (Path(combined.__file__).parents[2] / "guide" / "forecasting.md").read_text(encoding="utf-8")
    (program,) = (block.split("```")[0] for block in guide.split("```python\n")[1:])
    exec(program, {})
    said = capsys.readouterr().out
    assert "0.025" in said and said.rstrip().endswith("No network was asked for.")
    named = {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]*)", guide)}
    measured = set(inspect.signature(measurement).parameters)  # in the table of figures
    settings = {field.name for field in dataclasses.fields(ForecastConfig)}
    assert named and named <= settings | measured | {"run", "overwrite", "resume"}

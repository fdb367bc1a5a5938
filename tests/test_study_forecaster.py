"""The commands study and inspect on a run of the forecaster: its network over the last window of some series."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxseq import cli
from jaxseq._unroll import unroll
from jaxseq.apps import run_folder
from jaxseq.apps.forecast import combined, network
from jaxseq.apps.forecast.calendar import Calendar
from jaxseq.apps.forecast.config import KIND, ForecastConfig
from jaxseq.apps.forecast.fit import gathered
from jaxseq.apps.forecast.forecaster import fit
from jaxseq.apps.study.forecaster import of_forecaster
from jaxseq.cells import CELLS
from jaxseq.study import report

pytestmark = [pytest.mark.xdist_group("study command"), pytest.mark.usefixtures("as_users_have_it")]


def write_run(folder, cell="lstm", trained=True, **settings):
    """A run of three series, one of them short, with networks whose readout is not 0."""
    frames, draw = [], np.random.default_rng(0)
    for name, rows in (("北", 60), ("south", 60), ("new", 14)):
        begun = "2019-01-01" if name == "south" else "2019-03-01"  # it ends half a season before the others
        days = pd.date_range(begun, periods=60, freq="MS")[60 - rows :]
        frames.append(pd.DataFrame({"unique_id": name, "ds": days, "y": 50 + draw.normal(size=rows).cumsum()}))
    made = fit(pd.concat(frames), 3, season=4, networks=0, hidden=5, cell=cell)
    if trained:
        options = made.options._replace(networks=2)
        design = combined.design_of(options, 60, 0)
        line = jnp.ones((len(design.lags), 3), jnp.float32) / len(design.lags)
        drawn = jax.vmap(lambda key: network.init(key, CELLS[cell], design, line))(jax.random.split(jax.random.key(0)))
        W = jax.random.normal(jax.random.key(1), drawn.head.W.shape)
        model = made.model._replace(network=drawn._replace(head=drawn.head._replace(W=W)), stopped=np.array(3))
        made = made._replace(options=options, model=model)
    run_folder.create(folder, KIND, ForecastConfig(data="sales.csv", cell=cell, networks=2 * trained))
    made.save(folder / run_folder.MODEL)
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        made = write_run(folder)
    return folder, made


def test_a_forecaster_is_studied(run, capsys, tmp_path):
    out = tmp_path / "f.html"
    assert cli.main(["study", str(run[0]), "--series", "北", "new", "-o", str(out), "--json"]) == 0
    shown = capsys.readouterr()
    facts = json.loads(shown.out)
    assert facts["bytes"] == len(out.read_bytes()) < report.LIMIT and all(check["ok"] for check in facts["checks"])
    assert "loss" in {check["id"] for check in facts["checks"]}
    assert "weight in the forecast of the next rows: 0% of 北, 0% of new; simple forecasts have the rest" in shown.err
    text = out.read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    (part,) = data["parts"]
    assert part["name"] == "lstm" and part["outcome"]["kind"] == "value" and part["lengths"] == [24, 13]
    assert part["inputs"][0][-1] == part["inputs"][1][-1] == "2024-01-01" and part["inputs"][0][0] == "2022-02-01"
    assert part["inputs"][1][0] == "2023-01-01"
    assert np.sum(part["outcome"]["scored"]) == 24 + 13
    assert data["about"]["command"] == f"jaxseq study {run[0]} --series '北' new"


def test_what_the_part_reads_is_what_the_forecaster_reads(run):
    """The line and the readout together are the forecast of one step that the forecaster makes."""
    folder, made = run
    (part,) = of_forecaster(folder, ["south"]).parts
    _, outs = unroll(part.cell, part.params, part.xs, mask=part.mask)
    rows = [np.r_[np.full(60 - len(one.values), np.nan), one.values] for one in made.panel.series]
    z = made.model.scaling.forward(np.stack(rows, axis=1))[:, 1:2]
    design = combined.design_of(made.options, 60, 0)
    window = gathered(design, z, np.zeros((60, 1, 0)), np.array([0]), np.array([0]), np.array([58]))
    window = window._replace(phase=window.phase - np.int32(2))
    first = jax.tree.map(lambda a: a[:1], made.model.network)
    forecast = np.asarray(network.compiled(part.cell, design)(first, window))[0, 0]  # of the last row
    actual = z[59, 0]
    error = np.asarray(part.predict(outs) - part.targets)[-1, 0, 0]
    np.testing.assert_allclose(error, forecast - actual, atol=2e-5)


def test_a_network_that_is_not_used_is_said_to_be(run, monkeypatch):
    """Training may stop at once, with a readout of 0: the gates of such a page are those that were drawn."""
    idle = run[1]._replace(model=run[1].model._replace(stopped=np.array(0)))
    assert "stopped at once" not in of_forecaster(run[0], ["new"]).subtitle
    monkeypatch.setattr("jaxseq.apps.study.forecaster.load", lambda *_: idle)
    studied = of_forecaster(run[0], ["new"])
    assert "the readout is 0, and the cell adds nothing to the line: the gates below" in studied.subtitle
    assert "读出层为 0" in studied.subtitle_zh and any("stopped at once" in note for note in studied.notes)


def test_a_forecaster_is_inspected(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert cli.main(["inspect", str(run[0]), "--units", "2"]) == 0
    text = capsys.readouterr().out
    assert "forecaster of 北, south, new (sales.csv)" in text and "2022-02-01" in text
    assert "  f  1 retains, 0 forgets; half-life at the right" in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--series nroth", "unknown series 'nroth'"),
        ("--series a b c d e f g h i", "--series names 9; give 1 to 8"),
        ("--rows 30", "is a forecaster, which takes --series; leave out --rows"),
        ("--text a", "is a forecaster, which takes --series; leave out --text"),
        ("--cell lstm", "has its own cell; leave out --cell lstm"),
    ],
)
def test_what_of_a_forecaster_cannot_be_studied(run, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", str(run[0]), *args.split()]) == cli.FAILED
    said = capsys.readouterr()
    assert message in said.err and len(said.err.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("networks", "why"), [(0, "--networks 0; forecast again with"), (5, "did not help, .*again")])
def test_a_run_without_a_network(tmp_path, capsys, networks, why):
    write_run(tmp_path / "run", trained=False)
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    about["config"]["networks"] = networks
    (tmp_path / "run" / "config.json").write_text(json.dumps(about))
    for command in ("inspect", "study"):
        assert cli.main([command, str(tmp_path / "run")]) == cli.FAILED
        said = capsys.readouterr().err
        assert re.search(f"has no network to study: .*{why}", said) and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("calendar", "last"),
    [
        (Calendar("MS"), "2024-02-01"),
        (Calendar("MS", shift=14), "2024-02-15"),
        (Calendar("B"), "2024-02-02"),
        (Calendar("h", open=(9, 10, 33, 34)), "2024-02-06 10:00"),
        (Calendar("W-SUN"), "2024-02-04"),
    ],
)
def test_the_last_stamps_are_those_before_the_next(calendar, last):
    found = calendar.last_stamps(pd.Timestamp(last), 7)
    assert len(found) == 7 and found[-1] == pd.Timestamp(last)
    pd.testing.assert_index_equal(calendar.next_stamps(found[0], 6), found[1:])

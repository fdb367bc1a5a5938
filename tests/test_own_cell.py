"""A cell of one's own: run by the applications from a file, and never because a saved run says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, cli
from jaxseq.apps import compilation, run_folder
from jaxseq.apps.custom import check_reads_series, check_translates, find_cell
from jaxseq.cells import CELLS, conv_lstm, gru, gru_d, lstm, phased_lstm, retention
from jaxseq.testing import check_cell

PAGE = Path(__file__).parents[1] / "jaxseq" / "guide" / "custom.md"


def example() -> str:
    """The guide's cell, as a reader would copy it."""
    return PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mycell.py").write_text(example(), encoding="utf-8")
    find_cell.cache_clear()
    return tmp_path


def test_the_guides_cell_takes_at_most_25_lines_and_obeys_the_laws(mine) -> None:
    lines = [line for line in example().splitlines() if line.strip() and not line.startswith(("#", '"""'))]
    assert len(lines) <= 25
    check_cell(find_cell("mycell.py:leaky"), laws=["loop", "recurrences", "padding", "dtype", "finite", "repeats"])


FORECAST = ["--preset", "tutorial-gru", "--hidden", "4", "--epochs", "3", "--seeds", "1", "--window", "4"]


def test_a_forecast_with_a_cell_of_ones_own(mine, as_users_have_it, capsys) -> None:
    assert cli.main(["forecast", "--cell", "mycell.py:leaky", *FORECAST, "--out", "run"]) == 0
    assert cli.main(["forecast", "--run", "run", "--horizon", "2"]) == cli.FAILED
    refused = capsys.readouterr().err
    assert "loading it runs that code. If you trust it, name it: --cell mycell.py:leaky" in refused
    assert cli.main(["forecast", "--run", "run", "--horizon", "2", "--cell", "mycell.py:leaky"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert cli.main(["forecast", "--run", "run", "--horizon", "2", "--cell", "other.py:leaky"]) == cli.FAILED


def test_a_run_that_names_code_does_not_run_it(mine, as_users_have_it, capsys) -> None:
    """The file that config.json names would leave a mark if it were imported."""
    assert cli.main(["forecast", "--cell", "gru", *FORECAST, "--out", "run"]) == 0
    Path("evil.py").write_text("open('mark', 'w').close()\n")
    about = json.loads(Path("run/config.json").read_text())
    about["config"]["cell"] = "evil.py:cell"
    Path("run/config.json").write_text(json.dumps(about))
    assert cli.main(["forecast", "--run", "run"]) == cli.FAILED
    assert "trained with a custom cell" in capsys.readouterr().err and not Path("mark").exists()


TRAIN = "--steps 4 --report-every 2 --hidden 4 --embedding 4 --batch 4 --buckets 1 --validation 0.2 --warmup 0".split()


def test_a_translator_with_a_cell_of_ones_own(mine, capsys) -> None:
    """From outside: training compiles in threads, which do not see how strict the tests are set."""

    kept = {name: value for name, value in os.environ.items() if name != compilation.OFF}

    def jaxseq(*args: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "jaxseq", *args]
        return subprocess.run(command, capture_output=True, text=True, cwd=mine, env=kept)

    Path("pairs.tsv").write_text("".join(f"word{n} here\t字{n}\n" for n in range(20)), encoding="utf-8")
    own = ["--cell", "mycell.py:leaky"]
    done = jaxseq("train", "--data", "pairs.tsv", *TRAIN, *own, "--out", "run")
    assert done.returncode == 0, done.stderr
    for command in (["translate", "run", "字1"], ["train", "--resume", "run"]):
        assert cli.main(command) == cli.FAILED and "If you trust it, name it" in capsys.readouterr().err
        assert jaxseq(*command, *own).returncode == 0
    assert [r.step for r in run_folder.metrics("run")] == [2, 4]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch", "unknown cell 'nosuch'"),
        ("nofile.py:cell", r"cannot import nofile.py \(FileNotFoundError: there is no file"),
        ("no.such.module:cell", r"cannot import no.such.module \(ModuleNotFoundError"),
        ("mycell.py:leakey", r"unknown cell in mycell.py 'leakey': did you mean 'leaky'\? known: leaky$"),
        ("mycell.py:equations", "expected a Cell, such as jaxseq.cells.lstm; got function"),
        ("broken.py:cell", r"cannot import broken.py \(SyntaxError"),
    ],
)
def test_a_cell_that_is_not_there_is_refused(mine, name: str, message: str) -> None:
    Path("broken.py").write_text("def (\n")
    with pytest.raises(InputError, match=message):
        find_cell(name)


def test_a_module_of_the_current_folder_is_found(mine) -> None:
    (mine / "package_of_mine.py").write_text(example(), encoding="utf-8")
    assert find_cell("package_of_mine:leaky").name == "leaky"


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_runs_over_a_series_or_says_why_not(name: str) -> None:
    cell = CELLS[name]
    if cell.spatial:
        with pytest.raises(InputError, match="it needs pictures"):
            check_reads_series(cell, 3, 4)
    else:
        check_reads_series(cell, 3, 4)


def test_what_can_be_a_translators_cell_and_what_cannot() -> None:
    for cell in (lstm, gru):
        check_translates(cell)
    for cell in (phased_lstm, gru_d, conv_lstm, retention):
        with pytest.raises(InputError, match=f"--cell {cell.name} cannot be used in a translator"):
            check_translates(cell)


def test_a_cell_with_times_forecasts(mine, as_users_have_it) -> None:
    assert cli.main(["forecast", "--cell", "phased_lstm", *FORECAST, "--out", "run"]) == 0
    assert cli.main(["forecast", "--run", "run", "--horizon", "2"]) == 0


def test_leaky_by_its_closed_form(mine, as_users_have_it) -> None:
    """Without input and recurrent weights the guide's cell decays by its rate."""
    cell = find_cell("mycell.py:leaky")
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 2, 3))
    carry = cell.initial_carry(params, (4,))._replace(h=jnp.ones((4, 3)))
    np.testing.assert_array_equal(cell.step(params, carry, jnp.ones((4, 2)))[1], np.full((4, 3), 0.5))


def test_the_laws_of_devices_hold_where_there_is_one():
    """As on most laptops; the other tests have eight."""
    program = "from jaxseq.cells import gru; from jaxseq.testing import check_cell; "
    program += "check_cell(gru, laws=['explicit mesh', 'auto mesh', 'shard_map'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

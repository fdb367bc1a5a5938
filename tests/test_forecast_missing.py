"""What stands for a missing value: text that says so, codes that the user declares, and codes that look like it."""

import numpy as np
import pandas as pd
import pytest

from jaxseq import InputError, cli
from jaxseq.apps.forecast import classical
from jaxseq.apps.forecast.config import ForecastConfig
from jaxseq.apps.forecast.panel import read
from jaxseq.apps.forecast.sentinels import LOOKS_LIKE, suspected

WAVE = 20 + 5 * np.sin(np.arange(40.0))


def with_codes(codes: dict[int, float], base: np.ndarray = WAVE) -> np.ndarray:
    values = base.copy()
    values[list(codes)] = list(codes.values())
    return values


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (WAVE, []),
        (with_codes({3: -999, 9: -999}), ["-999 (2 values"]),
        (with_codes({3: -9999}), ["-9999 (1 value;"]),
        (with_codes({3: 99999, 4: -999, 5: 99999}), ["-999 (1 value;", "99999 (2 values"]),
        (with_codes({3: 999.9, 4: 999.9}), ["999.9 (2 values"]),
        (with_codes({3: 99, 4: 99}), ["99 (2 values"]),
        (with_codes({3: 99}), []),  # once, a high value
        (with_codes({3: -32768, 7: -32768}), ["-32768 (2 values"]),
        (with_codes({3: 1e20}), ["1e+20 (1 value;"]),
        (with_codes({3: -1234, 4: -1234}), []),  # a number that is not in use as a code
        (with_codes({3: 999, 9: 999}, 40 * WAVE), []),  # within what the others do
        (np.full(20, -9999.0), []),  # nothing else to compare with
    ],
)
def test_codes_far_outside_the_rest_are_pointed_out(values, codes):
    lines = suspected("t", values)
    assert len(lines) == len(codes)
    for line, code in zip(lines, codes, strict=True):
        assert line.startswith(f"t: {code}") and LOOKS_LIKE in line and "--missing" in line


def table(values, head="date,temp") -> str:
    days = pd.date_range("2020-01-01", periods=len(values)).strftime("%Y-%m-%d")
    return head + "\n" + "".join(f"{day},{value}\n" for day, value in zip(days, values, strict=True))


def test_a_code_is_data_until_it_is_declared(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(table(with_codes({3: -999, 9: -999, 20: 9999}).round(2)))
    panel = read(path)
    assert panel.series[0].values[3] == -999 and np.isfinite(panel.series[0].values).all()
    assert sum(LOOKS_LIKE in note for note in panel.notes) == 2
    panel = read(path, missing=(-999, 9999))
    assert np.flatnonzero(np.isnan(panel.series[0].values)).tolist() == [3, 9, 20]
    assert "temp: -999 is missing by --missing: 2 values" in panel.notes
    assert "temp: 9999 is missing by --missing: 1 value" in panel.notes
    assert not any(LOOKS_LIKE in note for note in panel.notes)
    assert any(note.startswith("temp: 3 of 40 values missing") for note in panel.notes)


def test_covariates_too(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(table([f"{v},{w}" for v, w in zip(WAVE, with_codes({2: -99, 5: -99}), strict=True)], "d,y,sun"))
    assert any(note.startswith("sun: -99 (2 values") for note in read(path, past=("sun",)).notes)
    panel = read(path, past=("sun",), missing=(-99,))
    assert panel.series[0].past.min() > 0 and "covariates: 2 missing values, filled with the one before" in panel.notes


@pytest.mark.parametrize("marker", ["NA", "n/a", "-", "null", "?", "NaN", "#N/A", "缺失", "."])
def test_text_that_says_missing_is_read_so_and_counted(tmp_path, marker):
    cells = [f"{v:.2f}" for v in WAVE]
    cells[4] = cells[7] = marker
    cells[9] = ""
    (tmp_path / "a.csv").write_text(table(cells), encoding="utf-8")
    panel = read(tmp_path / "a.csv")
    assert np.flatnonzero(np.isnan(panel.series[0].values)).tolist() == [4, 7, 9]
    assert f"temp: read as missing: {marker!r} (2)" in panel.notes


@pytest.mark.usefixtures("as_users_have_it")
def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classical, "usable", lambda *_: ((), ""))
    (tmp_path / "a.csv").write_text(table(with_codes({30: -999, 33: -999, 38: -9999}).round(2)))
    quick = ["forecast", "--data", "a.csv", "--networks", "0", "--origins", "2", "--horizon", "2", "--out"]
    assert cli.main([*quick, "plain"]) == 0
    shown = capsys.readouterr().out
    assert "-999 (2 values" in shown and LOOKS_LIKE in shown
    assert cli.main([*quick, "told", "--missing", "-999", "-9999"]) == 0
    shown = capsys.readouterr().out
    assert "temp: -999 is missing by --missing: 2 values" in shown and LOOKS_LIKE not in shown
    assert cli.main(["forecast", "--run", "told", "--data", "a.csv"]) == 0  # the run knows the codes
    assert "temp: -9999 is missing by --missing: 1 value" in capsys.readouterr().err
    with pytest.raises(InputError, match="--missing must be finite numbers"):
        ForecastConfig(missing=(float("nan"),)).check()

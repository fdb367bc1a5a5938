"""Files that cannot be read rightly: each is refused in one sentence that says what and where, and nothing else."""

import gzip
import itertools

import numpy as np
import pandas as pd
import pytest

from jaxseq import InputError, cli
from jaxseq.apps.forecast.panel import read

GOOD = "date,sales\n" + "".join(f"2015-{m:02d}-01,{m * 1.5}\n" for m in range(1, 13))
LINES = GOOD.splitlines()


def changed(line: int, text: str) -> str:
    """The good file with another text in a line, counted from 1."""
    return "\n".join(text if n == line else old for n, old in enumerate(LINES, 1)) + "\n"


BLOCKS = "shop,date,y\n" + "".join(f"{s},2015-{m:02d}-01,{m + n}\n" for n, s in enumerate("ab") for m in range(1, 13))
MALFORMED = [
    (b"", "a.csv is empty"),
    (b"  \n\n ", "a.csv is empty"),
    (b"\xef\xbb\xbf", "a.csv is empty"),
    (b"\x89PNG\r\n\x1a\n\0\0", "is a picture"),
    (b"PK\x03\x04\0\0", "is an Excel workbook or a zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1", "an Excel workbook of the old kind"),
    (b"%PDF-1.7", "is a PDF"),
    (b"SQLite format 3\0", "is a database"),
    (b"PAR1 and no more", "Parquet"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
    (b"\x1f\x8b\x08broken", "a damaged gzip file"),
    (gzip.compress(GOOD.encode())[:-9], "a damaged gzip file"),
    (gzip.compress(b""), "is empty"),
    (b"a,b\n1,\0\n", "is a binary file .a zero byte at 6"),
    (bytes(range(1, 32)) * 40, "is a binary file"),
    (GOOD.encode("utf-16")[:-1], "is broken utf-16 text"),
    ("<!doctype html><html></html>", "is an HTML or XML page"),
    ('{"date": 1}', "is JSON"),
    ('[{"date": 1}]', "is JSON"),
    ("# a\n# b\n", "comments only"),
    ("date,sales\n", "a header and no rows"),
    ("2015-01-01,3\n2015-02-01,4\n", "line 1: there is no header; got '2015-01-01, 3'"),
    ("1,2\n3,4\n", "line 1: there is no header"),
    ("north,2015-01-01,3\nnorth,2015-02-01,4\n", "line 1: there is no header"),
    ("5.5\n6.5\n", "line 1: there is no header"),
    ("shop,2015-01,2015-02,2015-03\na,1,2,3\nb,4,5,6\n", "dates run across the header"),
    ("country,2001,2002,2003\na,1,2,3\nb,4,5,6\n", "dates run across the header"),
    ("date,a,a\n2015-01-01,1,2\n", "line 1: two columns are named 'a'"),
    (changed(5, "2015-04-01"), "line 5: expected 2 cells as in the header, got 1. Lines like it: 1"),
    (changed(13, "2015-12-01"), "It is the last line: was the file cut off"),
    (changed(5, "2015-04-01,6,7"), "line 5: expected 2 cells as in the header, got 3"),
    (GOOD.replace(".", ","), "line 2: expected 2 cells as in the header, got 3.* put quotes around the number"),
    (changed(5, '2015-04-01,"6'), r"line 5: a quote \(.\) is opened and never closed"),
    (changed(5, f"2015-04-01,{'9' * 200_000}x"), "line 5 or below: field larger than field limit"),
    (changed(5, "2015-04-01,six"), "line 5: column 'sales' has 'six', expected a number; cells like it: 1"),
    (changed(5, "2015-04-01,1.2.3"), "line 5: column 'sales' has '1.2.3', expected a number"),
    (changed(5, "2015-04-01,inf"), "line 5: column 'sales' has an infinite value"),
    (changed(5, "2015-04-01,-Infinity"), "line 5: column 'sales' has an infinite value"),
    (changed(5, "2015-04-01,1e999"), "line 5: column 'sales' has an infinite value"),
    (changed(5, "2015-04-01,5%"), "column 'sales' has cells with the units '%' and ''"),
    ("d,v\n2015-01-01,$5\n2015-01-02,€6\n", "column 'v' has cells with the units"),
    (
        'd,v\n2015-01-01,"1,234"\n2015-01-02,"2,345"\n',
        "line 2: column 'v' has '1,234', which may be 1234 .* or 1.234",
    ),
    (changed(5, "May,6"), r"line 5: 'May' in column 'date' is not a date in the format of the others"),
    (changed(5, ",6"), "line 5: column 'date' has no date"),
    (changed(5, "2015-04-31,6"), "line 5: '2015-04-31' in column 'date' is not a date"),
    (changed(5, "2015-13-01,6"), "line 5: '2015-13-01' in column 'date' is not a date"),
    (changed(5, "9999-04-01,6"), "line 5: '9999-04-01' in column 'date' is not a date; .*Years 1000 to 2999"),
    (changed(5, "2015-04-01 25:00,6"), "line 5: '2015-04-01 25:00' in column 'date' is not a date"),
    (changed(5, "2015-04-01T00:00Z,6"), "others in the column have an offset"),
    (changed(5, "04/01/2015,6"), "line 5: '04/01/2015' in column 'date' is not a date in the format of the others"),
    (changed(5, "2015-03-01,6"), r"line 5: 2015-03-01 occurs twice \(first in line 4\)"),
    ("d,v\n9999-12-31T23:59:59-14:00,1\n9999-12-31T23:59:59-14:00,2\n", "is not a date"),
    ("date,v\nmoonday,1\ntuesmoon,2\n", "line 2: 'moonday' in column 'date' is not understood as a date"),
    ("date,v\n2015-01-01,1\n", "there is 1 date"),
    ("d,v\n2015-01-01,1\n2015-01-02,2\n2015-01-17,3\n2015-03-01,4\n2015-03-08,5\n", "the rows have no common step"),
    ("d,v\n01/02/2015,1\n02/02/2015,2\n03/02/2015,3\n", "may be 2015-0"),
    (BLOCKS, "Column 'shop' looks like an id of 2 series: say --id shop"),
    ("t,v\n2024-10-27 01:00,1\n2024-10-27 02:00,2\n2024-10-27 02:00,3\n", "an hour comes twice where clocks go back"),
    ("name,place\nx,y\nz,w\n", r"no column of numbers to forecast: name \(text, such as 'x'\); place"),
    ("date,v\n2015-01-01,\n2015-02-01,NA\n", r"no column of numbers to forecast: v \(empty\)"),
    ("date\n2015-01-01\n2015-02-01\n", "no column of numbers to forecast: the file has only dates"),
    ("date,index\n2015-01-01,0\n2015-02-01,1\n", r"no column of numbers to forecast: index \(row numbers\)"),
]
OPTIONS = [
    ({"date": "dat"}, "unknown column 'dat': did you mean 'date'"),
    ({"target": ("sale",)}, "unknown column 'sale': did you mean 'sales'"),
    ({"id": "shop"}, "unknown column 'shop'"),
    ({"date": "sales"}, "line 2: '1.5' in column 'sales' is not understood as a date"),
    ({"target": ("date",)}, "column 'date' has '2015-01-01', expected a number"),
    ({"target": ("sales",), "past": ("sales",)}, "column 'sales' is named twice"),
    ({"date_format": "%d.%m.%Y"}, "line 2: '2015-01-01' in column 'date' is not a date of the form %d.%m.%Y"),
    ({"date_format": "%Q"}, "--date-format %Q is not a date format"),
    ({"frequency": "fortnight"}, "unknown --frequency fortnight"),
    ({"frequency": "ME"}, "--frequency ME has no row at 2015-01-01"),
    ({"seasons": (0,)}, "a season has 1 row or more; got 0"),
    ({"decimal": "?"}, "--decimal is the mark before decimals"),
    ({"decimal": ","}, "'1.5', not a number with --decimal ,"),
]


@pytest.mark.parametrize(("content", "message"), MALFORMED, ids=itertools.count())
def test_malformed_files(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_the_command_refuses_each_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.csv"
    for content, _ in MALFORMED:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert cli.main(["forecast", "--data", "a.csv", "--out", "deep/run"]) == cli.FAILED
        shown = capsys.readouterr()
        assert shown.out == "" and shown.err.startswith("jaxseq: ") and len(shown.err.splitlines()) == 1
        assert "Error" not in shown.err and "Traceback" not in shown.err
        assert [one.name for one in tmp_path.iterdir()] == ["a.csv"]


RISING = [f"{10 + i / 7:.4f}" for i in range(60)]
UNFIT = [
    (["5"] * 60, "", "series 'v' is constant (5) in the 60 values"),
    (["0"] * 60, "", "series 'v' is constant (0)"),
    (["5"] * 45 + RISING[45:], "", "is constant (5) in the 45 values that it is fitted to"),
    (RISING[:5], "", "series 'v' has 5 values; a forecast needs 8 or more"),
    (RISING[:8], "", "the shortest series has 8 rows, and a test part of 2 leaves 6"),
    (RISING, "--horizon 60", "a test part of 60 leaves 0"),
    (["1e308", *["-1e308"] * 59], "", "squares leave the range of floating point"),
    (["1e-320", *["2e-320"] * 59], "", "squares leave the range of floating point"),
    (RISING, "--horizon 0", "--horizon must be at least 1 step; got 0"),
    (RISING, "--networks -1", "--networks must be at least 0; got -1"),
    (RISING, "--origins 0", "--origins must be at least 1; got 0"),
    (RISING, "--levels 101", "level is above 0 and below 100 per cent; got 101"),
    (RISING, "--cell grv", "unknown cell 'grv': did you mean 'gru'"),
    (RISING, "--cell no.py:cell", "cannot import no.py"),
    (RISING, "--past v", "no column of numbers to forecast: every other column is an id or a covariate"),
    (RISING, "--out a.csv", "a.csv exists and is not a run"),
    (RISING, "--run .", ". is not a run"),
]


@pytest.mark.parametrize(("cells", "options", "message"), UNFIT)
@pytest.mark.usefixtures("as_users_have_it")
def test_what_is_read_and_yet_cannot_be_forecast(tmp_path, monkeypatch, capsys, cells, options, message):
    """Before training, whatever it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxseq.apps.forecast.combined.fit", None)
    rows = "".join(f"{2000 + i // 12}-{i % 12 + 1:02d}-01,{cell}\n" for i, cell in enumerate(cells))
    (tmp_path / "a.csv").write_text("date,v\n" + rows)
    assert cli.main(["forecast", "--data", "a.csv", "--out", "run", *options.split()]) == cli.FAILED
    shown = capsys.readouterr()
    assert message in shown.err and shown.out == "" and len(shown.err.splitlines()) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_options_that_do_not_fit_the_file(tmp_path, options, message):
    path = tmp_path / "a.csv"
    path.write_text(GOOD)
    with pytest.raises(InputError, match=message):
        read(path, **options)


def test_what_is_no_file(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder; expected a table"):
        read(tmp_path)
    with pytest.raises(InputError, match="/dev/zero is a device"):
        read("/dev/zero")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame(), "has no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "columns of 2 levels"),
        (pd.DataFrame({"ds": pd.to_datetime(["2020-01-01", None]), "y": [1, 2]}), "row 1: column 'ds' has no date"),
        (pd.DataFrame({"y": [1.0, np.inf]}), "row 1: column 'y' has an infinite value"),
        (pd.DataFrame({"y": [1j, 2j]}), "no column of numbers"),
    ],
)
def test_frames_that_cannot_be_read(frame, message):
    with pytest.raises(InputError, match=message):
        read(frame)

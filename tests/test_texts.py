"""Text made safe for terminals, tables and figures, and that nothing is printed past the functions that do it."""

import ast
import csv
import io
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import jaxseq
from jaxseq import plots
from jaxseq.apps.forecast.run import as_csv
from jaxseq.apps.forecast.tutorial.compare import predictions_csv
from jaxseq.apps.forecast.tutorial.data import Series
from jaxseq.apps.shown import Shown, show
from jaxseq.cli import main
from jaxseq.errors import InputError, choose, quoted
from jaxseq.texts import csv_cell, printable, tell

PRINTING = ("print", "sys.stderr.write", "sys.stdout.write")
HOSTILE = "\x1b]0;title\x07\x1b[31m\x9b2J\r\u202egnp.exe"


def test_control_characters_are_shown_and_not_sent(capsys):
    shown = printable(HOSTILE)
    assert shown == "\\u001b]0;title\\u0007\\u001b[31m\\u009b2J\\u000d\\u202egnp.exe"
    assert printable("tab\tline\n中文 é 👩‍👧") == "tab\tline\n中文 é 👩‍👧"
    show(Shown({"name": HOSTILE}, f"text {HOSTILE}", [HOSTILE]), as_json=True)
    got = capsys.readouterr()
    assert json.loads(got.out) == {"name": HOSTILE}  # escapes are those of JSON
    assert not set(got.out + got.err) & set("\x1b\x07\x9b\r\u202e")


def test_a_coloured_text_keeps_its_colours_alone(capsys):
    ours = "\x1b[38;5;54m█\x1b[0m\x1b[38;2;1;22;255m█\x1b[0m"
    show(Shown({}, f"{ours}{HOSTILE}", coloured=True), as_json=False)
    assert capsys.readouterr().out == f"{ours}{printable(HOSTILE)}\n"
    show(Shown({}, ours), as_json=False)
    assert "\x1b" not in capsys.readouterr().out


def test_a_word_of_a_thousand_characters_is_cut(capsys):
    tell("a " + "x" * 1000 + " b")
    assert capsys.readouterr().err == f"jaxseq: a {'x' * 200}…{'x' * 199} b\n"
    with pytest.raises(InputError) as caught:
        choose("cell", "x" * 10**6, {"gru": 1})
    assert len(str(caught.value)) < 200
    assert quoted("y" * 61) == "'" + "y" * 29 + "…" + "y" * 28 + "'"


def test_messages_about_a_hostile_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["translate", HOSTILE, "a"], ["forecast", "--data", HOSTILE], ["cells", HOSTILE]):
        assert main(command) == 2
        got = capsys.readouterr()
        assert "1b]0;title" in got.err and not set(got.out + got.err) & set("\x1b\x07\x9b\r")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+1+1", "'+1+1"), ("-1+1", "'-1+1"), ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"), ("\t=1", "'\t=1"), ("＝1", "'＝1"), ("-1.5e3", "-1.5e3"), ("+4", "+4"), ("a=b", "a=b"),
        ("\x1b[31m", "\\u001b[31m"),
    ],
)  # fmt: skip
def test_cells_of_csv(text, cell):
    assert csv_cell(text) == cell


def test_tables_of_forecasts_hold_no_formulas():
    frame = pd.DataFrame({"series": ["=1+1", "b"], "time": [1, 2], "=cmd|' /C calc'!A0": [-0.5, 1.0]})
    rows = list(csv.reader(io.StringIO(as_csv(frame))))
    assert rows == [["series", "time", "'=cmd|' /C calc'!A0"], ["'=1+1", "1", "-0.5"], ["b", "2", "1"]]
    data = Series(("@a",), None, np.arange(3.0)[:, None], 1)
    rows = list(csv.reader(io.StringIO(predictions_csv(data, 2, {"naive": np.ones((1, 1))}))))
    assert rows[0] == ["time", "'@a", "naive @a"]


def test_names_that_matplotlib_reads_as_mathematics(tmp_path):
    """ "$x_$" is bad mathematics, at which matplotlib raises ValueError when it draws; a dollar is a dollar."""
    bad = "$x_$"
    figure, ax = plt.subplots()
    ax.set_title(bad)
    with pytest.raises(ValueError, match="x_"):
        figure.savefig(io.BytesIO())
    plt.close(figure)
    ax = plots.forecast(range(4), np.arange(4.0), 2, {bad: np.ones(2)}, name=bad + "y" * 1000)
    assert len(ax.get_ylabel()) == plots.LONGEST
    ax.set(title=bad, xlabel=bad)
    ax.annotate(bad, (0, 0))
    ax.set_xticks([0, 1], [bad, bad])
    ax.figure.suptitle(bad)
    plots.save(ax, tmp_path / "a.png")
    plots.save(plots.gates({bad: np.ones((2, 3))}, [bad, "\x1b"]), tmp_path / "b.png")


def test_numbers_at_a_logarithmic_axis_are_still_set_as_powers(tmp_path):
    figure, ax = plt.subplots()
    ax.set(yscale="log", ylim=(1e-3, 1e3))
    plots.save(figure, tmp_path / "a.svg")
    assert all(label.get_parse_math() for label in ax.get_yticklabels())


def test_nothing_is_printed_but_by_texts():
    """`print` and `write` to a stream are in `texts` alone, apart from tools for developers and examples."""
    package, found = Path(jaxseq.__file__).parent, []
    for path in package.rglob("*.py"):
        where = path.relative_to(package).as_posix()
        if where.startswith(("bench/", "examples/")) or where == "texts.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTING:
                found.append(f"{where}:{node.lineno}")
    assert not found

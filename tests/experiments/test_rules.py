"""The rule by which claims are judged, on made-up numbers; and the command, with a made-up experiment."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from scipy import stats

from jaxseq import cli
from jaxseq.errors import InputError
from jaxseq.experiments import EXPERIMENTS, report
from jaxseq.experiments.base import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    REPRODUCED,
    Experiment,
    Found,
    above,
    below,
    interval,
    less,
    more,
    overall,
    unjudged,
    verdict,
)


@pytest.mark.parametrize("margins", [[0.1, -0.2, 0.4, 0.5, 0.3], [3.0, 3.5, 2.0, 4.0, 1.0, 2.2, 7.0]])
def test_the_interval_is_students(margins):
    want = stats.t.interval(0.95, len(margins) - 1, stats.tmean(margins), stats.sem(margins))
    assert interval(margins) == pytest.approx(want)


@pytest.mark.parametrize(
    ("margins", "want"),
    [
        ([1, 2, 3, 4, 5], REPRODUCED),
        ([-1, -2, -3, -4, -5], NOT_REPRODUCED),
        ([1, 1, 1, 1, -9], INCONCLUSIVE),  # most seeds agree, one is far off
        ([0, 0, 0, 0, 0], INCONCLUSIVE),  # nothing to tell apart
        ([2, 2, 2, 2, 2], REPRODUCED),
        ([1, 2, 3, 4], INCONCLUSIVE),  # too few seeds
        ([1, 2, 3, 4, float("nan")], INCONCLUSIVE),
        ([1, 2, 3, 4, float("inf")], INCONCLUSIVE),
        ([2.45, 0, 1, 1, 1], REPRODUCED),  # the interval begins at 0.0027
        ([2.5, -0.05, 1, 1, 1], INCONCLUSIVE),  # and here at -0.05
        ([], INCONCLUSIVE),
    ],
)
def test_the_verdict_on_margins(margins, want):
    assert verdict(margins) == want


@pytest.mark.parametrize(
    ("verdicts", "want"),
    [
        ([REPRODUCED, "", REPRODUCED], REPRODUCED),
        ([REPRODUCED, INCONCLUSIVE], INCONCLUSIVE),
        ([INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED], NOT_REPRODUCED),
        (["", ""], INCONCLUSIVE),
    ],
)
def test_a_claim_holds_where_all_its_parts_do(verdicts, want):
    assert overall(verdicts) == want


def test_a_seed_that_tells_nothing_leaves_the_part_open():
    row = more("x", [2.0] * 5, "y", [1.0] * 5)
    assert row.verdict == REPRODUCED and row.where([True] * 5).verdict == REPRODUCED
    assert row.where([True, True, True, True, False]).verdict == INCONCLUSIVE
    assert above("x", [1.0, 2.0, float("nan")], 0.0).measured == "1.5; 1 of 3 tell nothing"


def test_which_side_of_a_bound_agrees():
    values = [1.0, 2.0, 3.0, 2.0, 2.0]
    assert above("x", values, 0.0).verdict == REPRODUCED and above("x", values, 4.0).verdict == NOT_REPRODUCED
    assert below("x", values, 4.0).verdict == REPRODUCED and below("x", values, 0.0).verdict == NOT_REPRODUCED
    others = [v - 0.5 for v in values]
    assert more("x", values, "y", others).margins == (0.5,) * 5
    assert less("x", values, "y", others).verdict == NOT_REPRODUCED


def test_pairs_are_compared_seed_by_seed():
    """Two quantities whose spread over seeds is wide, but whose difference in each seed is not."""
    values = [1.0, 10.0, 100.0, 1000.0, 10000.0]
    assert more("x", [v + 1 for v in values], "y", values).verdict == REPRODUCED


def test_what_is_beside_the_claim_does_not_count():
    assert unjudged("x", [1.0, 2.0]).verdict == "" and unjudged("x", 3.0).measured == "3"
    assert Found((above("x", [1.0] * 5, 0.0), unjudged("y", [0.0] * 5)), lambda figure: None).verdict == REPRODUCED


class Numbers(NamedTuple):
    seeds: int = 5
    offset: float = 1.0


def _draw(figure):
    figure.subplots().plot([0, 1])


@pytest.fixture
def made_up(monkeypatch):
    def run(settings):
        rows = (
            above("height", [settings.offset + 0.1 * n for n in range(settings.seeds)], 0.0),
            unjudged("width", [1, 2]),
        )
        return Found(rows, _draw)

    one = Experiment("made-up", "It is high.", "Nobody 1900", run, Numbers(), Numbers(offset=-2.0), "jaxseq cells")
    monkeypatch.setitem(EXPERIMENTS, "made-up", one)
    for name in set(EXPERIMENTS) - {"made-up"}:
        monkeypatch.delitem(EXPERIMENTS, name)
    return one


@pytest.mark.usefixtures("made_up")
def test_the_command_shows_and_keeps_what_was_found(tmp_path, capsys):
    out = tmp_path / "found"
    assert cli.main(["experiment", "made-up", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    for text in ("made-up: reproduced", "It is high.", "Nobody 1900", "1.2 ± 0.16", "above 0", "5 seeds", "full"):
        assert text in shown.out
    assert "made-up: 5 seeds" in shown.err
    assert (out / "made-up.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads((out / "made-up.json").read_text("utf-8"))
    assert facts["verdict"] == REPRODUCED and facts["rows"][0]["values"][0] == 1.0 and not facts["quick"]


def test_what_was_trained_has_a_page_and_a_verdict_also_without_it(made_up, monkeypatch, tmp_path, capsys):
    def page_of(title, subtitle, command, networks):
        if "broken" in networks:
            raise InputError("its weights are no numbers")
        text = f"{title}, {subtitle}, {command}"
        return SimpleNamespace(save=lambda path: path.write_text(text))

    monkeypatch.setattr(report, "page_of", page_of)
    at = str(tmp_path / "made-up.html")
    for networks, page in ((("fine",), at), (("fine", "broken"), at), (("broken", "fine"), None), ((), None)):
        one = made_up._replace(run=lambda s, networks=networks: made_up.run(s)._replace(networks=networks))
        monkeypatch.setitem(EXPERIMENTS, "made-up", one)
        facts = report.experiment("made-up", tmp_path, quick=True).facts
        assert facts["page"] == page and facts["verdict"] == NOT_REPRODUCED
    page = (tmp_path / "made-up.html").read_text()
    assert page == f"made-up: not reproduced, It is high., jaxseq experiment made-up --quick --out {tmp_path}"
    said = capsys.readouterr().err
    assert said.count("no study page of all 2 networks: its weights are no numbers") == 2
    assert said.count("no study page of made-up: its weights") == 1


@pytest.mark.usefixtures("made_up")
def test_all_quick_and_json_and_the_table(tmp_path, capsys):
    args = ["experiment", "all", "--quick", "--out", str(tmp_path)]
    assert cli.main([*args, "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["verdict"] == NOT_REPRODUCED and facts["quick"] and facts["settings"]["offset"] == -2.0
    assert cli.main([*args, "--markdown"]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[2]
        .startswith("| made-up | It is high. (Nobody 1900) | 1 not reproduced | not reproduced | 5 | ")
    )


def test_what_cannot_be_run(tmp_path, capsys):
    assert cli.main(["experiment", "countin", "--out", str(tmp_path)]) == 2
    assert "did you mean 'counting'?" in capsys.readouterr().err
    if Path("/proc/self").is_dir():  # a folder in which nobody may write
        assert cli.main(["experiment", "vanishing", "--quick", "--out", "/proc/self"]) == 2
        assert "cannot write /proc/self" in (said := capsys.readouterr().err) and "seeds" not in said
    (tmp_path / "file").write_text("")
    assert cli.main(["experiment", "counting", "--out", str(tmp_path / "file")]) == 2
    assert "Traceback" not in (said := capsys.readouterr().err) and "file" in said


@pytest.mark.parametrize("one", EXPERIMENTS.values(), ids=list(EXPERIMENTS))
def test_enough_seeds_are_run_to_conclude_something(one):
    assert min(one.full.seeds, one.quick.seeds) >= 5
    assert type(one.full) is type(one.quick) and one.full != one.quick
    assert one.claim.endswith(".") and any(year in one.source for year in ("1997", "20"))

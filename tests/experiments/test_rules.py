"""The rule by which claims are judged, on made-up numbers; and the command, with a made-up experiment."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np
import pytest
from scipy import stats

from jaxseq import cli
from jaxseq.errors import InputError
from jaxseq.experiments import EXPERIMENTS, report
from jaxseq.experiments.base import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    NOT_AT_THIS_SCALE,
    NOT_REPRODUCED,
    REPRODUCED,
    Experiment,
    Found,
    Row,
    above,
    below,
    beyond,
    check,
    fisher,
    further,
    judge,
    less,
    more,
    overall,
    unjudged,
    verdicts,
)
from jaxseq.experiments.significance import holm, of_mean, of_order


def verdict(row):
    (found,) = verdicts([row])
    return found


@pytest.mark.parametrize("margins", [[0.1, -0.2, 0.4, 0.5, 0.3], [3.0, 3.5, 2.0, 4.0, 1.0, 2.2, 7.0]])
def test_the_test_of_a_mean_is_students(margins):
    found, want = of_mean(margins), stats.ttest_1samp(margins, 0)
    assert found.p == pytest.approx(want.pvalue)
    assert (found.low, found.high) == pytest.approx(want.confidence_interval(0.95))
    assert found.effect == pytest.approx(np.mean(margins) / np.std(margins, ddof=1))


@pytest.mark.parametrize("seed", range(4))
def test_the_test_of_an_order_is_the_sign_test(seed):
    """scipy's binomial test of the untied signs, and its interval of the median by order statistics."""
    margins = np.round(np.random.default_rng(seed).normal(0.5, 1, 10 + seed), 1)
    margins[:2] = 0
    found, untied = of_order(margins), margins[margins != 0]
    assert found.p == pytest.approx(stats.binomtest(int((untied > 0).sum()), len(untied), 0.5).pvalue)
    want = stats.quantile_test(margins, q=0, p=0.5).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((want.low, want.high))
    assert found.middle == np.median(margins)


def test_an_order_does_not_depend_on_how_far_beyond_the_cap_a_value_is():
    reaches = [64.0] * 9 + [8.0]
    near, far = (of_order(further("x", reaches, "y", [16.0] * 9 + [v], 64.0).margins) for v in (9.0, 60.0))
    assert near.p == far.p == pytest.approx(stats.binomtest(9, 10, 0.5).pvalue)


@pytest.mark.parametrize("seed", range(3))
def test_the_correction_is_holms(seed):
    """By its definition: reject in rising order of p while p <= level / (number of parts left)."""
    ps = np.random.default_rng(seed).uniform(0, 0.1, 6)
    corrected = np.array(holm(ps))
    for level in (0.01, 0.05, 0.2):
        rejected, order = set(), np.argsort(ps)
        for rank, n in enumerate(order):
            if ps[n] > level / (len(ps) - rank):
                break
            rejected.add(n)
        assert {*np.flatnonzero(corrected <= level)} == rejected


def test_a_part_that_is_clear_alone_may_not_be_among_many():
    """One of 20 parts with p = 0.04 is what chance gives."""
    margins = [2.45, 0.0, 1.0, 1.0, 1.0]
    alone = judge([Row("x", "y", (), tuple(margins))])
    assert alone[0][0] == REPRODUCED and alone[0][1] == pytest.approx(stats.ttest_1samp(margins, 0).pvalue)
    noise = [Row(f"x{n}", "y", (), (1.0, -1.0, 1.0, -1.0, 0.1)) for n in range(19)]
    among = judge([Row("x", "y", (), tuple(margins)), *noise])
    assert among[0] == (INCONCLUSIVE, pytest.approx(20 * alone[0][1]))


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
    assert verdict(Row("x", "above 0", (), tuple(margins))) == want


@pytest.mark.parametrize(
    ("verdicts", "want"),
    [
        ([REPRODUCED, "", REPRODUCED], REPRODUCED),
        ([REPRODUCED, INCONCLUSIVE], INCONCLUSIVE),
        ([INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED], NOT_REPRODUCED),
        (["", ""], INCONCLUSIVE),
        ([HOLDS], INCONCLUSIVE),  # a theorem is no evidence
        ([REPRODUCED, HOLDS], REPRODUCED),
        ([NOT_REPRODUCED, FAILS], INCONCLUSIVE),  # the code is wrong
    ],
)
def test_a_claim_holds_where_all_its_parts_do(verdicts, want):
    assert overall(verdicts) == want


def test_a_theorem_must_hold_in_every_seed_and_is_not_counted_among_the_parts():
    rows = [check(below("x", [-1.0] * 5, 0.0)), above("y", [1.0, 2.0, 3.0, 4.0, 5.0], 0.0)]
    found = judge(rows)
    assert [v for v, _ in found] == [HOLDS, REPRODUCED] and np.isnan(found[0][1])
    assert found[1][1] == pytest.approx(of_mean([1.0, 2.0, 3.0, 4.0, 5.0]).p)  # of one part, not of two
    assert verdict(check(below("x", [-1.0] * 9 + [0.1], 0.0))) == FAILS
    assert verdict(check(below("x", [-1.0, float("nan")], 0.0))) == FAILS


def test_a_seed_that_tells_nothing_leaves_the_part_open():
    row = more("x", [2.0] * 5, "y", [1.0] * 5)
    assert verdict(row) == REPRODUCED and verdict(row.where([True] * 5)) == REPRODUCED
    assert verdict(row.where([True, True, True, True, False])) == INCONCLUSIVE
    assert above("x", [1.0, 2.0, float("nan")], 0.0).measured == "1.5; 1 of 3 tell nothing"


def test_which_side_of_a_bound_agrees():
    values = [1.0, 2.0, 3.0, 2.0, 2.0]
    assert verdict(above("x", values, 0.0)) == REPRODUCED and verdict(above("x", values, 4.0)) == NOT_REPRODUCED
    assert verdict(below("x", values, 4.0)) == REPRODUCED and verdict(below("x", values, 0.0)) == NOT_REPRODUCED
    others = [v - 0.5 for v in values]
    assert more("x", values, "y", others).margins == (0.5,) * 5
    assert verdict(less("x", values, "y", others)) == NOT_REPRODUCED


def test_reaches_are_compared_by_their_order_and_ties_at_the_cap_count_for_neither():
    """10 seeds: 6 ahead, 4 tied at the cap."""
    row = further("x", [64.0] * 10, "y", [16.0] * 6 + [64.0] * 4, 64.0)
    assert row.margins == (2.0,) * 6 + (0.0,) * 4 and row.tested.p == pytest.approx(2 * 0.5**6)
    assert row.measured == "median 64, 64 to 64, 10 at the cap"
    assert "6 of 10 agree, 4 tied" in row.evidence and row.evidence.startswith("×4 [")
    assert verdict(further("x", [64.0] * 10, "y", [64.0] * 10, 64.0)) == INCONCLUSIVE
    assert beyond("x", [0.0, 32.0], 16.0, 64.0).margins == (-5.0, 1.0)  # nothing counts as one half


def test_correlations_are_compared_on_fishers_scale():
    row = fisher("x", [0.9, 1.0], "y", [0.5, 1.0])
    assert row.margins == pytest.approx((np.arctanh(0.9) - np.arctanh(0.5), 0.0)) and row.values == (0.9, 1.0)


def test_pairs_are_compared_seed_by_seed():
    """Two quantities whose spread over seeds is wide, but whose difference in each seed is not."""
    values = [1.0, 10.0, 100.0, 1000.0, 10000.0]
    assert verdict(more("x", [v + 1 for v in values], "y", values)) == REPRODUCED


def test_what_is_beside_the_claim_does_not_count():
    assert verdict(unjudged("x", [1.0, 2.0])) == "" and unjudged("x", 3.0).measured == "3"
    assert Found((above("x", [1.0] * 5, 0.0), unjudged("y", [0.0] * 5)), lambda figure: None).verdict == REPRODUCED


class Numbers(NamedTuple):
    seeds: int = 5
    first: int = 0
    offset: float = 1.0


def _draw(figure):
    figure.subplots().plot([0, 1])


@pytest.fixture
def made_up(monkeypatch):
    def run(settings):
        rows = (
            above("height", [settings.offset - 0.02 * settings.first + 0.1 * n for n in range(settings.seeds)], 0.0),
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
    wanted = "made-up: reproduced", "It is high.", "Nobody 1900", "1.2 ± 0.16", "above 0", "5 seeds", "full"
    for text in (*wanted, "1.2 [1, 1.4], d = 7.6", "p (Holm)"):
        assert text in shown.out
    assert "made-up: 5 seeds" in shown.err
    assert (out / "made-up.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads((out / "made-up.json").read_text("utf-8"))
    assert facts["verdict"] == REPRODUCED and facts["rows"][0]["values"][0] == 1.0 and not facts["quick"]


@pytest.mark.usefixtures("made_up")
def test_blocks_of_seeds_show_whether_the_verdict_is_stable(tmp_path, capsys):
    """Of the second block every height is 2 lower, of the third 4."""
    assert cli.main(["experiment", "made-up", "--out", str(tmp_path), "--blocks", "3"]) == 0
    *_, claim, part = capsys.readouterr().out.splitlines()
    assert claim == "| **made-up** | the claim | reproduced | not reproduced | not reproduced | no |"
    cells = (
        "reproduced, 1.2 [1, 1.4], d = 7.6",
        *(f"not reproduced, {m}" for m in ("-0.8 [-0.996, -0.604], d = -5.1", "-2.8 [-3, -2.6], d = -18")),
    )
    assert part == f"| made-up | height above 0 | {' | '.join(cells)} | no |"
    facts = json.loads((tmp_path / "made-up.json").read_text("utf-8"))
    assert [block["first"] for block in (facts, *facts["blocks"])] == [0, 100, 200]
    assert facts["verdict"] == REPRODUCED and facts["figure"] and facts["blocks"][0]["figure"] is None
    assert cli.main(["experiment", "made-up", "--out", str(tmp_path), "--blocks", "0"]) == 2
    assert "blocks must be at least 1" in capsys.readouterr().err


def test_blocks_that_the_folder_has_are_not_run_again(made_up, monkeypatch, tmp_path, capsys):
    """Interrupted in the second block of three, then resumed; other settings and versions are run anew."""
    runs = []

    def counted(settings, last=None):
        runs.append(settings.first)
        if settings.first == last:
            raise KeyboardInterrupt
        return made_up.run(settings)

    def command(*options):
        runs.clear()
        assert cli.main(["experiment", "made-up", "--out", str(tmp_path), "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    monkeypatch.setitem(EXPERIMENTS, "made-up", made_up._replace(run=lambda s: counted(s, last=100)))
    with pytest.raises(KeyboardInterrupt):
        report.experiment("made-up", tmp_path, blocks=3)
    assert json.loads((tmp_path / "made-up.json").read_text("utf-8"))["blocks"] == []
    monkeypatch.setitem(EXPERIMENTS, "made-up", made_up._replace(run=counted))
    whole = command("--blocks", "3", "--resume")
    assert runs == [100, 200] and [block["first"] for block in (whole, *whole["blocks"])] == [0, 100, 200]
    assert command("--blocks", "3", "--resume") == whole and runs == []
    assert command("--resume")["blocks"] == [] and runs == []  # the file keeps all three
    assert command("--blocks", "3", "--resume") == whole and runs == []
    assert command("--quick", "--resume")["quick"] and runs == [0]
    command("--resume"), command("--resume")
    assert runs == []
    facts = json.loads((tmp_path / "made-up.json").read_text("utf-8"))
    facts["machine"]["versions"]["jax"] = "0.0.1"
    (tmp_path / "made-up.json").write_text(json.dumps(facts))
    command("--resume")
    assert runs == [0]
    (tmp_path / "made-up.json").write_text("{")
    command("--resume")
    assert runs == [0]
    command()
    assert runs == [0]


@pytest.mark.usefixtures("made_up")
def test_a_claim_that_fails_far_below_its_sources_scale_fails_at_this_scale(made_up):
    small = made_up._replace(scale="the source has 10,000 times as much")
    for offset, want in ((-2.0, NOT_AT_THIS_SCALE), (1.0, REPRODUCED)):
        found = made_up.run(Numbers(offset=offset))
        assert small.verdict(found) == want
    assert made_up.verdict(made_up.run(Numbers(offset=-2.0))) == NOT_REPRODUCED


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
    assert cli.main([*args, "--markdown"]) == 0
    assert f"jax {jax.__version__}" in capsys.readouterr().out.splitlines()[-1]


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

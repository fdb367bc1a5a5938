"""The guide's tables are of the experiments as they are, and its verdicts follow from its parts."""

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

import jaxseq
from jaxseq.apps.experiment import experiment
from jaxseq.experiments import EXPERIMENTS
from jaxseq.experiments.base import NOT_AT_THIS_SCALE, NOT_REPRODUCED, VERDICTS, overall

GUIDE = (Path(jaxseq.__file__).parent / "guide" / "experiments.md").read_text(encoding="utf-8")


def table(head: str) -> list[list[str]]:
    """Return the rows of the table whose first line begins so, without head and line."""
    lines = GUIDE[GUIDE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


CLAIMS = {row[0]: row[1:] for row in table("| experiment | claim |")}
BLOCKS = table("| experiment | part |")
WITHOUT = re.findall(r"^Without a verdict here: (.*)\.$", GUIDE, re.MULTILINE)
"""Experiments that the guide says have not been run."""


def parts_of(name: str) -> list[list[str]]:
    """Return the verdicts on each part of a claim, block by block, without their evidence."""
    return [[cell.partition(",")[0] for cell in row[2:-1]] for row in BLOCKS if row[0] == name]


@pytest.mark.parametrize(
    "one", [one for one in EXPERIMENTS.values() if one.name not in WITHOUT], ids=lambda one: one.name
)
def test_the_table_says_what_the_experiment_is_and_what_its_parts_say(one):
    claim, counts, verdict, seeds, *_ = CLAIMS[one.name]
    assert claim.startswith(one.claim) and int(seeds) == one.quick.seeds
    (of_blocks,) = ([v for v in row[2:-1] if v] for row in BLOCKS if row[0] == f"**{one.name}**")
    parts = parts_of(one.name)
    assert {verdict for part in parts for verdict in part if verdict} <= {*VERDICTS}
    found = Counter(part[0] for part in parts)
    assert counts == ", ".join(f"{found[v]} {v}" for v in VERDICTS if found[v])
    for n, said in enumerate(of_blocks):
        follows = overall([part[n] for part in parts])
        assert said == (NOT_AT_THIS_SCALE if one.scale and follows == NOT_REPRODUCED else follows)
    assert verdict == of_blocks[0]


def test_the_column_same_says_whether_the_blocks_agree():
    for row in BLOCKS:
        verdicts = [cell.partition(",")[0] for cell in row[2:-1] if cell]
        assert row[-1] == ("" if len(verdicts) == 1 else "yes" if len({*verdicts}) == 1 else "no")


def test_no_experiment_is_left_out_and_options_exist():
    assert {*CLAIMS} == {*EXPERIMENTS} - {*WITHOUT}
    assert {*WITHOUT} <= {*EXPERIMENTS}
    options = {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]*)", GUIDE)}
    assert options <= {*inspect.signature(experiment).parameters}

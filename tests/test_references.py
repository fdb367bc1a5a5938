"""Every cell of `CELLS` is compared with an independent reference: a NumPy loop of its paper, or torch's own cell.

The tests are asked themselves: those that call `check_against` are run with a recorder in its place, and torch's are
read off their table.
"""

import importlib
import inspect
import itertools
from pathlib import Path
from types import ModuleType

import pytest

from jaxseq.cells import CELLS

FAMILIES = sorted(path.stem for path in Path(__file__).parent.glob("test_family_*.py"))


def cases(function) -> list[dict]:
    """The keyword arguments that pytest would call a parametrized test with."""
    axes = []
    for mark in getattr(function, "pytestmark", []):
        names, values = mark.args[:2]
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        axes.append([dict(zip(names, value if len(names) > 1 else [value], strict=True)) for value in values])
    return [{name: value for part in parts for name, value in part.items()} for parts in itertools.product(*axes)]


def compared_in(module: ModuleType, monkeypatch) -> set[str]:
    """Names of the cells that a module's tests give to `check_against`."""
    seen = set()
    monkeypatch.setattr(module, "check_against", lambda cell, step, **given: seen.add(cell.name) or 0.0)
    for name, test in vars(module).items():
        if name.startswith("test_") and "check_against(" in inspect.getsource(test):
            for arguments in cases(test):
                test(**arguments)
    return seen


def against_torch() -> set[str]:
    pytest.importorskip("torch")
    module = importlib.import_module("torch_parity.test_cells")
    (mark,) = (m for m in module.test_equals_torch.pytestmark if m.args[0] == "name")
    return {module.KINDS[name][0].name for name in mark.args[1]}


def test_every_cell_has_an_independent_reference(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "torch_parity"))
    compared = against_torch()
    for family in FAMILIES:
        compared |= compared_in(importlib.import_module(family), monkeypatch)
    missing = sorted(set(CELLS) - compared)
    assert not missing, f"compare {', '.join(missing)} with a NumPy loop: see check_against in tests/reference.py"


def test_the_search_for_references_finds_what_a_test_compares_and_nothing_else(monkeypatch) -> None:
    module = importlib.import_module(FAMILIES[0])
    seen = compared_in(module, monkeypatch)
    assert seen and seen <= set(CELLS) and "lstm_mc" not in seen

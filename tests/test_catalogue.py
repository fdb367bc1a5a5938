"""What the catalogue says of a cell is true of the cell."""

import json
import re
from pathlib import Path

import jax
import pytest

import jaxseq.cells
from jaxseq import InputError, cli
from jaxseq.apps import catalogue
from jaxseq.cells import CELLS, gru, lstm

cells = pytest.mark.parametrize("name", CELLS)


def test_the_page_in_the_package_is_the_one_that_the_command_writes() -> None:
    page = Path(jaxseq.cells.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert page == catalogue.table(), "write it anew: jaxseq cells --markdown > jaxseq/cells/README.md"


@cells
def test_an_entry_is_complete(name: str) -> None:
    row = catalogue.entry(CELLS[name])
    assert row.name == name and row.gates and row.state
    assert 1990 <= int(row.year) <= 2026
    assert len(row.reference) > 20


@cells
def test_the_formula_counts_the_parameters(name: str) -> None:
    """At sizes that it was not fitted to."""
    formula = catalogue.formula(CELLS[name])
    if " at D = " in formula:
        pytest.fail(f"{name}: no polynomial counts its parameters: {formula}")
    D, H = 5, 100
    python = re.sub(r"(\d) (?=[DH])|(?<=[DH]) (?=[DH])", r"\1*", formula).replace("^", "**")
    counted = sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda k: CELLS[name].init(k, D, H), jax.random.key(0)))
    )
    assert eval(python, {"D": D, "H": H}) == counted


def test_entries_of_the_cells_that_everybody_knows() -> None:
    assert catalogue.entry(lstm)[:5] == (
        "lstm",
        "1997",
        ("i", "f", "g", "o"),
        "h [H], c [H]",
        "",
    )
    assert catalogue.formula(lstm) == "4 D H + 4 H^2 + 4 H"
    assert catalogue.formula(gru) == "3 D H + 3 H^2 + 4 H"


def test_latex_on_the_command_line_is_the_equations_and_needs_a_name(capsys) -> None:
    assert cli.main(["cells", "rnn", "--latex"]) == 0
    text = capsys.readouterr().out
    assert text == (
        "\\begin{align}\n"
        "a_{t} &= x_{t} \\, W + h_{t-1} \\, U + b \\\\\n"
        "h_{t} &= \\tanh\\left(a_{t}\\right)\n"
        "\\end{align}\n"
    )
    assert cli.main(["cells", "rnn", "--latex", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "rnn", "latex": text.rstrip("\n")}]
    assert cli.main(["cells", "--latex"]) == cli.FAILED
    said = capsys.readouterr()
    assert said.out == "" and "name it: jaxseq cells lstm --latex" in said.err
    assert cli.main(["cells", "rnm", "--latex"]) == cli.FAILED
    assert "unknown cell 'rnm': did you mean 'rnn'" in capsys.readouterr().err


def test_one_cells_page_has_its_equations_and_its_code(capsys) -> None:
    assert cli.main(["cells", "gru"]) == 0
    shown = capsys.readouterr().out
    assert "h' = (1 - z) * n + z * h" in shown and "n = jnp.tanh(wx_n + r * uh_n)" in shown
    assert "reference   Cho et al. 2014" in shown and "import" not in shown


@cells
def test_every_cell_has_a_page(name: str) -> None:
    page = catalogue.page(name)
    assert "Reference" in page and "def " in page


def test_the_list_names_every_cell(capsys) -> None:
    assert cli.main(["cells"]) == 0
    shown = capsys.readouterr().out
    assert f"{len(CELLS)} cells" in shown and all(re.search(rf"^{name} ", shown, re.MULTILINE) for name in CELLS)
    assert cli.main(["cells", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(CELLS)


def test_an_unknown_cell_is_named_with_the_nearest(capsys) -> None:
    assert cli.main(["cells", "lstn"]) == cli.FAILED
    assert "did you mean 'lstm'" in capsys.readouterr().err
    with pytest.raises(InputError, match="unknown cell"):
        catalogue.page("lstn")

"""The catalogue of cells, read off the cells themselves, so that it cannot differ from the code."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxseq.cells import CELLS, Cell
from jaxseq.cells._init import takes
from jaxseq.errors import InputError, choose
from jaxseq.initializers import zeros
from jaxseq.notation import Params
from jaxseq.trees import named_leaves

# the monomials that the counts of recurrent cells are made of
TERMS = {
    "D H^2": lambda D, H: D * H**2,
    "H^3": lambda D, H: H**3,
    "D H": lambda D, H: D * H,
    "H^2": lambda D, H: H**2,
    "D^2": lambda D, H: D**2,
    "D": lambda D, H: D,
    "H": lambda D, H: H,
    "": lambda D, H: 1,
}
# Twelve equations for eight unknowns, so that a formula that fits all of them fits by more than chance. No D equals an
# H, H/2 or 2H: `_shape` names the axes by their sizes.
SIZES = [(D, H) for D in (7, 11, 13) for H in (20, 40, 60, 80)]


class Entry(NamedTuple):
    """A line of the catalogue.

    Fields:
      name: in `CELLS`.
      year: of its paper.
      gates: the named quantities of a step, in their order.
      state: the leaves of the carry with their shapes, batch axes left out.
      linear: whether the new state is linear in the old, and how (see `Cell`).
      reference: where the equations come from.
    """

    name: str
    year: str
    gates: tuple[str, ...]
    state: str
    linear: str
    reference: str


@functools.lru_cache(maxsize=256)  # all cells of `CELLS`, and no cell for ever
def entry(cell: Cell) -> Entry:
    """Return a cell's line of the catalogue; nothing is computed, shapes are enough."""
    D, H = SIZES[0]
    params = _params(cell, D, H)
    gates = cell.shapes(params, D)[2]
    carry = jax.eval_shape(lambda p: cell.initial_carry(p, ()), params)
    # the first year of a reference is that of the paper
    found = re.search(r"\b(19|20)\d\d\b", cell.reference)
    return Entry(
        cell.name,
        found.group() if found else "",
        tuple(named_leaves(gates)),
        ", ".join(f"{name} {_shape(leaf.shape, D, H)}" for name, leaf in named_leaves(carry).items()),
        cell.linear,
        cell.reference,
    )


def _params(cell: Cell, D: int, H: int) -> Params:
    """Return the shapes of a cell's params, all of which zeros have too: they are traced in a third of the time."""
    draws = {name: zeros for name in ("kernel", "recurrent") if takes(cell.init, name)}
    return jax.eval_shape(lambda key: cell.init(key, D, H, **draws), jax.random.key(0))


def _shape(shape: tuple[int, ...], D: int, H: int) -> str:
    letters = {D: "D", H: "H", H // 2: "H/2", 2 * H: "2H"}
    return f"[{', '.join(letters.get(n, str(n)) for n in shape)}]"


def formula(cell: Cell) -> str:
    """Return the number of parameters as a polynomial of D (input) and H (hidden size): ``4 D H + 4 H^2 + 4 H``.

    It is fitted to counts at twelve sizes and holds at all of them; where no such polynomial does, the counts of two
    sizes are given instead.
    """
    counts = [sum(leaf.size for leaf in jax.tree.leaves(_params(cell, D, H))) for D, H in SIZES]
    basis = np.array([[term(D, H) for term in TERMS.values()] for D, H in SIZES], float)
    # least squares leaves errors of about 1e-12: rounded, then made fractions, as some have halves and quarters
    fitted = [Fraction(c).limit_denominator(64) for c in np.linalg.lstsq(basis, np.array(counts, float))[0].round(6)]
    # in whole numbers and fractions: a formula that holds only nearly is not shown
    exact = all(
        sum(c * t(D, H) for c, t in zip(fitted, TERMS.values(), strict=True)) == n
        for (D, H), n in zip(SIZES, counts, strict=True)
    )
    if not exact:
        return " ".join(
            f"{n:,} at D = {D}, H = {H};" for (D, H), n in (list(zip(SIZES, counts, strict=True))[i] for i in (0, -1))
        )[:-1]
    shown = [f"{'' if c == 1 and term else c} {term}".strip() for c, term in zip(fitted, TERMS, strict=True) if c]
    return " + ".join(shown).replace("+ -", "- ") or "0"


def table(cells: Mapping[str, Cell] = CELLS) -> str:
    """Return the catalogue as a Markdown page."""
    rows = [entry(cell) for cell in cells.values()]
    lines = [
        f"# {len(rows)} cells",
        "",
        "Written by `jaxseq cells --markdown`; a test keeps it equal to the code. `jaxseq cells NAME` shows a cell's",
        "equations and code. D is the size of the input, H the hidden size; batch axes are left out. A state that is",
        "linear in the old one unit by unit (elementwise) can be computed in parallel over time.",
        "",
        "| name | year | gates | parameters | state | linear | reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells_of_row = (
            f"`{row.name}`",
            row.year,
            " ".join(row.gates),
            formula(cells[row.name]),
            row.state,
            row.linear,
            row.reference,
        )
        # a bar within a cell would begin another column
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells_of_row) + " |")
    return "\n".join(lines) + "\n"


def listing(cells: Mapping[str, Cell] = CELLS) -> str:
    """Return the catalogue for a terminal: two lines a cell."""
    rows = [entry(cell) for cell in cells.values()]
    width = max(len(row.name) for row in rows)
    text = []
    for row in rows:
        linear = f", linear ({row.linear})" if row.linear else ""
        text.append(f"{row.name:<{width}}  {row.year}  gates {' '.join(row.gates)}; state {row.state}{linear}")
        text.append(f"{'':<{width}}        {row.reference}")
    text.append(f"\n{len(rows)} cells; equations, code and number of parameters of one: jaxseq cells NAME")
    return "\n".join(text)


def page(name: str) -> str:
    """Return everything about one cell: its facts, its equations and the code that computes them.

    Raises:
      InputError: for an unknown name, with the nearest.
    """
    cell = choose("cell", name, CELLS, "`jaxseq cells`")
    row = entry(cell)
    # each cell has a module of its own, and that module's docstring is its equations
    module = inspect.getmodule(cell.equations)
    facts = {
        "gates": " ".join(row.gates), "parameters": formula(cell), "state": row.state,
        "linear": row.linear or "no", "reference": row.reference, "module": module.__name__ if module else "",
    }  # fmt: skip
    shown = "\n".join(f"{key:<10}  {value}" for key, value in facts.items())
    equations = (inspect.getdoc(module) or "") if module else ""
    return "\n\n".join([f"{name}\n{'=' * len(name)}\n{shown}", equations, _code(module)])


def equations(name: str | None) -> str:
    """Return the equations of a cell in LaTeX.

    Raises:
      InputError: without a name, and for an unknown one, with the nearest.
    """
    from jaxseq.study._latex import latex  # loads the rest of the study, which the catalogue does without

    if name is None:
        raise InputError("cells --latex prints the equations of one cell; name it: jaxseq cells lstm --latex")
    return latex(choose("cell", name, CELLS, "`jaxseq cells`"))


def _code(module: Any) -> str:
    """Return the source of a cell's file, without its imports and the parts that `page` already shows."""
    tree = ast.parse(source := inspect.getsource(module))
    # body[0] is the docstring, which `page` prints as the equations
    shown = [node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(source.splitlines()[shown[0].lineno - 1 :])

"""Data with which the page runs a part's cell again: its step as a program, weights, inputs and the first state.

The program is one of a single row. The input is given as it is where it is small, and as its input terms elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._unroll import Trace
from jaxseq.attention import reading
from jaxseq.cells import Cell
from jaxseq.cells._recipe import is_made
from jaxseq.errors import InputError
from jaxseq.notation import Tree
from jaxseq.program import Program, program, values_of
from jaxseq.program._lines import CODE, TEXT, Equations, Writer
from jaxseq.program._symbols import Names
from jaxseq.study.part import Part
from jaxseq.trees import at, named_leaves

FEATURES = 32
"""The most numbers of an input that the page gets unchanged."""

APART = 1e-3
"""How far the program of a part may be from its run, relative to numbers above 1; float32 alone does not get there."""


class Live(NamedTuple):
    """The data with which a page runs a part again.

    Fields:
      program: its step, as data.
      weights: each leaf of its parameters, flat; None for one that the program does not use.
      data: the source that the cell reads, one array for each leaf.
      start: the first state, one array for each leaf.
      x: the input, or its input terms, likewise.
      W: of the readout; None without one.
      b: see W.
      labels: of inputs that may replace another; None without them.
      swaps: these inputs, one array for each leaf of `x`.
    """

    program: dict[str, Any]
    weights: list[np.ndarray | None]
    data: Annotated[tuple[np.ndarray, ...], "B ..."]
    start: Annotated[tuple[np.ndarray, ...], "B ..."]
    x: Annotated[tuple[np.ndarray, ...], "T B ..."]
    W: np.ndarray | None
    b: np.ndarray | None
    labels: list[str] | None
    swaps: tuple[np.ndarray, ...]


def live(part: Part, seen: Any) -> dict[str, Any]:
    """Return the data to run the part again, and its equations, or why it cannot be run; this never fails.

    Args:
      part: the part.
      seen: its run, as `jaxseq.trace` returns it.
    """
    try:
        found, equations = _live(part, seen)
        return {"live": found, "lines": equations, "why": "", "why_text": ""}
    # any failure, whatever its kind: the page then lacks live runs and says why, and all else is shown
    except Exception as error:
        return {"live": None, "lines": None, "why": "program", "why_text": f"{error}".splitlines()[0][:300]}


def row_of(cell: Cell, row: int | slice) -> Cell:
    """Return a cell that reads the source of one row, or of some; a cell that reads nothing is returned as it is."""
    if not is_made(cell):
        return cell
    recipe = cell.recipe
    assert recipe is not None
    # a cell that reads a source holds it with all rows; the page's program is one of a single row
    if recipe.factory is reading:
        inner, memory = recipe.args
        own = lambda one: at(one, row) if one.mask.ndim == 2 else one  # noqa: E731
        memories = tuple(one and own(one) for one in memory) if type(memory) is tuple else own(memory)
        return reading(row_of(inner, row), memories)
    leaves, structure = jax.tree.flatten((recipe.args, dict(recipe.options)), is_leaf=is_made)
    rows = [row_of(leaf, row) if is_made(leaf) else leaf for leaf in leaves]
    if all(a is b for a, b in zip(rows, leaves, strict=True)):
        return cell
    args, options = jax.tree.unflatten(structure, rows)
    return recipe.factory(*args, **options)


def reads_source(cell: Cell) -> bool:
    """Return whether a cell reads a source that has rows of its own."""
    return row_of(cell, 0) is not cell


def _live(part: Part, seen: Any) -> tuple[Live, list[dict[str, Any]]]:
    cell, params = part.cell, part.params
    B = jax.tree.leaves(part.xs)[0].shape[1]
    # an embedding of hundreds of numbers makes a page large: its input terms are then kept instead of x and W
    small = sum(a[0, 0].size for a in jax.tree.leaves(part.xs)) <= FEATURES
    xs = part.xs if small else cell.input_terms(params, part.xs)
    start = part.start()
    rows = [row_of(cell, row) for row in range(B)]
    reads = any(row is not cell for row in rows)
    made = [program(rows[e], params, at(start, e), at(xs, 0, e), terms=not small) for e in range(B if reads else 1)]
    # without a source all rows share one program
    made *= 1 if reads else B
    # the page has one program for all rows, and only data that differ
    if any(one != made[0] for one in made[1:]):
        raise InputError(f"{cell.name}: its rows are computed by different operations")
    # before anything is packed: a program that differs from the run must not reach a page
    _check(part, made, params, start, xs, seen)
    # W is not used where input terms are given: it need not be on the page
    used = {n for op in made[0].ops for n in op.inputs}
    kinds = [given.kind for given in made[0].inputs]
    leaves = [np.asarray(leaf, np.float32).reshape(-1) for leaf in jax.tree.leaves(params)]
    flat = lambda tree: tuple(np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(tree))  # noqa: E731
    # inputs of several leaves, such as times, have no single array to put in
    swaps = part.swaps if part.swaps and cell.takes_array else None
    given: Tree = ()
    if swaps is not None:
        given = jnp.stack([jnp.asarray(x) for x in swaps.values()])
        given = given if small else cell.input_terms(params, given)
    found = Live(
        program=made[0].to_json(), weights=[leaf if n in used else None for n, leaf in enumerate(leaves)],
        data=tuple(np.stack([one.data[k] for one in made]).astype(np.float32) for k in range(kinds.count("data"))),
        start=flat(start), x=flat(xs), W=None if part.head is None else np.asarray(part.head[0]),
        b=None if part.head is None else np.asarray(part.head[1]),
        labels=None if swaps is None else list(swaps), swaps=flat(given),
    )  # fmt: skip
    return found, lines(made[0])


def _check(part: Part, made: list[Program], params: Any, start: Any, xs: Any, seen: Trace) -> None:
    """Check that the program of each row gives the gates of its first step.

    Raises:
      InputError: where it does not.
    """
    real = np.asarray(part.real())
    for row, one in enumerate(made):
        # padding computes nothing to compare with
        if not real[0, row]:
            continue
        values = values_of(one, params, at(start, row), at(xs, 0, row))
        named = {**named_leaves(seen.gates), **named_leaves(seen.carries)}
        for name, n in {**one.carry, **one.gates}.items():
            if name in one.carry and name in one.gates:
                continue  # a state and a gate of one name: `named` holds only one of them
            want = np.asarray(named[name][0, row], np.float64)
            error = np.abs(values[n].reshape(want.shape) - want) / np.maximum(1, np.abs(want))
            if not error.max(initial=0) <= APART:
                raise InputError(
                    f"{part.cell.name}: as a program, {name} of its first step is {error.max():.1g} from the run"
                )


def lines(found: Program) -> list[dict[str, Any]]:
    """Return the equations of a program for the page.

    Returns:
      for each its name, the number of its value, and its right-hand side three times: in words (``form``), and with
      the number of a value in braces where its number belongs, in words (``numbers``) and in Python (``code``); the
      products in it with the words for their two factors.
    """
    equations = Equations(found)
    names = Names(equations, TEXT)

    def hole(n: int) -> str | None:
        op = equations.op(n)
        leaf = op is None or names(n) is not None or op.op in ("dot", *_SHAPED) or not equations.moves[n]
        return f"{{{n}}}" if leaf and not (op is not None and op.op == "constant") else None

    made = []
    for line in equations.lines:
        found_products = []
        for n in equations.inside(line.value):
            op = equations.op(n)
            if op is not None and op.op == "dot" and (n == line.value or n not in equations.names):
                left, right = (names(m) or Writer(equations, TEXT, names).expression(m) for m in op.inputs)
                found_products.append([n, left, right])
        op = equations.op(line.value)
        whole = op is not None and op.op in ("dot", *_SHAPED)  # of one unit it is a number, computed from all of them
        made.append({
            "name": line.name, "shown": names.line(line.name), "value": line.value,
            "form": Writer(equations, TEXT, names).expression(line.value),
            "numbers": f"{{{line.value}}}" if whole else Writer(equations, TEXT, hole).expression(line.value),
            "code": f"{{{line.value}}}" if whole else Writer(equations, CODE, hole).expression(line.value),
            "products": found_products,
        })  # fmt: skip
    return made


_SHAPED = (
    "reshape", "transpose", "broadcast", "slice", "take", "pad", "concatenate", "reduce_sum", "reduce_prod",
    "reduce_max", "reduce_min", "argmax", "cumsum", "cumprod", "expm",
)  # fmt: skip
"""Operations that are not number by number: in a line of one unit their result is one number."""

"""The equations of one step for one unit, with their numbers, and a NumPy program that computes the same.

All of it is read off the cell's program (`jaxseq.program`), so that it holds for every cell: the products of the inputs
with the weights, the gates, the states, the output, with the largest terms of each sum. The numbers are of the arrays
given, computed again in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._unroll import trace
from jaxseq.cells import Cell, lift_sequence
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.program import Program, program, values_of
from jaxseq.program._lines import CODE, HELPERS, SUM, Equations, Writer
from jaxseq.program._numpy import ELEMENTWISE
from jaxseq.program._symbols import identifier, symbol
from jaxseq.study.live import row_of
from jaxseq.study.timelines import gates_of
from jaxseq.trees import at, named_leaves


class Term(NamedTuple):
    """A summand of a line: its text, ``"h[3] * U_f[3, 1]"``, and its value."""

    label: str
    value: float


class Line(NamedTuple):
    """One equation.

    Fields:
      name: of its result: ``"f"`` a gate, ``"a_f"`` the sum that it squashes, ``"u_n"`` a sum within one,
        ``"c_new"`` a state, ``"out"`` the output where it is not a state.
      equation: as in the program, ``"x @ W_f + h @ U_f + b_f"``; empty for a number taken from the run.
      value: its number.
      terms: the largest summands by size, the largest first; none where the line is not a sum.
      others: the sum of the summands that are not shown.
    """

    name: str
    equation: str
    value: float
    terms: tuple[Term, ...] = ()
    others: float = 0.0


class Explanation(NamedTuple):
    """One step of one unit.

    Fields:
      lines: in the order in which they are computed; the last is the state of the unit that others see.
      program: NumPy that computes the last line from the numbers of the run and prints it; None where the step is not
        one of a program.
      result: the number that the program prints, as the run had it.
      note: a remark for the reader; empty where the lines are the whole of the step.
    """

    lines: tuple[Line, ...]
    program: str | None
    result: float
    note: str


def explain(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    step: int,
    unit: int,
    row: int = 0,
    most: int = 5,
) -> Explanation:
    """Return the equations of one step for one unit, with their numbers.

    In a stack the lines are those of all layers, with the layer in their names, and the unit is that of each. A cell
    that reads a source has the lines of its attention, as far as they are numbers of a unit.

    Args:
      cell: a Cell.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``, True where a step is real.
      step: 0 to T - 1.
      unit: 0 to H - 1.
      row: of the batch.
      most: how many terms of a sum are named.

    Raises:
      InputError: if there is no such step, row or unit, the step is padding, or a number of it is NaN or infinite.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import rnn
      >>> params = rnn.init(jax.random.key(0), 3, 5)
      >>> seen = explain(rnn, params, jnp.ones((7, 2, 3)), step=1, unit=2)
      >>> [f"{line.name} = {line.equation}" for line in seen.lines]
      ['a = x @ W + h @ U + b', 'h_new = np.tanh(a)']
    """
    xs = lift_sequence(cell, xs)
    first = jax.tree.leaves(xs)[0]
    for what, n, size in (("step", step, first.shape[0]), ("row", row, first.shape[1])):
        if not 0 <= n < size:
            raise InputError(f"explain: there are the {what}s 0 to {size - 1}; got {n}")
    if mask is not None and not bool(mask[step, row]):
        raise InputError(f"explain: step {step} of row {row} is padding, and computes nothing")
    # the program is one of a single row without a batch axis; the run keeps a batch of 1
    alone, cell = row_of(cell, row), row_of(cell, slice(row, row + 1))
    only = lambda tree: jax.tree.map(lambda a: a[:, row : row + 1], tree)  # noqa: E731
    # one row only: the other rows of a batch need not be run
    xs, mask = only(xs), None if mask is None else mask[:, row : row + 1]
    rows = lambda tree: jax.tree.map(lambda a: a[row : row + 1], tree)  # noqa: E731
    carry = cell.initial_carry(params, (1,)) if carry is None else rows(carry)
    seen = trace(cell, params, xs, carry, mask=mask)[1]
    # the carry before a step is that of the last real step
    past = np.arange(step) if mask is None else np.flatnonzero(np.asarray(mask)[:step, 0])
    before = at(seen.carries, past[-1]) if len(past) else carry
    for what, tree in (("params", params), ("the carry", before), ("x", at(xs, step))):
        _check_finite(what, tree)
    # without the batch axis, as the program takes them
    now, x = jax.tree.map(lambda a: a[0], before), at(xs, step, 0)
    outs = {name: np.asarray(a[step, 0]) for name, a in named_leaves(seen.outs).items()}
    shown = next((name for name, a in outs.items() if a.ndim == 1), None)
    try:
        found = program(alone, params, now, x)
    except InputError as error:
        # the cell has an operation that no program has: named quantities are still shown
        return _read_off(cell, params, at(xs, slice(step, step + 1)), before, unit, f"{error}")
    if shown is None:
        raise InputError(f"explain: the output of {cell.name} has no single axis of units")
    _check_unit(unit, len(outs[shown]))
    script = _Script(found, values_of(found, params, now, x), unit, most)
    return script.explanation(found.out[shown], float(outs[shown][unit]))


def _check_finite(what: str, tree: Tree) -> None:
    for name, leaf in named_leaves(tree).items():
        if wrong := int((~jnp.isfinite(leaf)).sum()):
            raise InputError(
                f"explain: {wrong} of {leaf.size} numbers of {f'{what} {name}'.strip()} are NaN or infinite; look for "
                "their cause"
            )


def _check_unit(unit: int, H: int) -> None:
    if not 0 <= unit < H:
        raise InputError(f"explain: there are the units 0 to {H - 1}; got {unit}")


COMPUTED = {*ELEMENTWISE, "constant", "broadcast"}
"""Operations whose result for a unit the program computes from numbers of that unit."""


class _Read(NamedTuple):
    """One line, with the numbers of the run that it needs, by name, and remarks on them."""

    line: Line
    given: dict[str, Any]
    notes: list[str]


class _Script:
    """The lines of a step for one unit, with their values, and the program they make."""

    def __init__(self, found: Program, values: list[np.ndarray], unit: int, most: int) -> None:
        self.equations, self.values, self.unit, self.most = Equations(found, inner=True), values, unit, most
        self.given: dict[str, Any] = {}
        self.notes: list[str] = []

    def explanation(self, target: int, result: float) -> Explanation:
        """Return all lines, that of `target` last, and the program that prints it."""
        eq = self.equations
        read = {one.value: self._read(one.value) for one in eq.lines if self._is_ours(one.value)}
        # at the end, since the program prints it
        last = read.pop(target, None) or self._read(target)
        # lines of other outputs, such as gates that this number does not use, are left out of the program
        needed = self._needed(target)
        used = [*(one for n, one in read.items() if n in needed), last]
        code = [f"{one.line.name} = {one.line.equation}" for one in used]
        # only helpers that a line calls, such as sigmoid
        helpers = [text for word, text in HELPERS.items() if any(f"{word}(" in one for one in code)]
        # each number of the run is written once, though several lines read it
        numbers = {name: value for one in used for name, value in one.given.items()}
        given = [f"{name} = {_literal(value)}" for name, value in numbers.items()]
        # a whole program: a reader can paste it into Python and get the number
        text = "\n".join(["import numpy as np", "", *given, "", *helpers, *code, f"print({last.line.name})", ""])
        lines = (*(one.line for one in read.values()), last.line)
        return Explanation(lines, text, result, " ".join(dict.fromkeys(note for one in used for note in one.notes)))

    def _read(self, n: int) -> _Read:
        # collected anew for each line, so that unused lines leave nothing behind
        self.given, self.notes = {}, []
        return _Read(self._line(n), self.given, self.notes)

    def _needed(self, target: int) -> set[int]:
        found, waiting = set(), [target]
        while waiting:
            n = waiting.pop()
            for m in self.equations.inside(n):
                if m in self.equations.names and m not in found and m != n:
                    found.add(m)
                    waiting.append(m)
        return found

    def _is_ours(self, n: int) -> bool:
        """Return whether a value is one number, or one for each unit."""
        value = self.values[n]
        return value.size == 1 or (value.ndim == 1 and self.unit < len(value))

    def _number(self, n: int) -> float:
        # a number for the layer, or the unit's own
        value = self.values[n].reshape(-1)
        return float(value[0] if len(value) == 1 else value[self.unit])

    def _line(self, n: int) -> Line:
        equation = self._equation(n)
        terms = self._terms(n)
        total = self._number(n)
        # by size: a sum of H terms is mostly a few of them
        shown = sorted(terms, key=lambda term: -abs(term.value))[: self.most]
        # by difference, so that the shown terms and the rest add up to the line exactly
        others = total - sum(t.value for t in shown) if terms else 0.0
        return Line(self._name(n), equation, total, tuple(shown), others)

    def _equation(self, n: int) -> str:
        op = self.equations.op(n)
        if op is None:
            return str(self._leaf(n))
        if factors := self._factors(n):
            (left, a), (right, b) = factors
            return f"{self._give(left, a)} @ {self._give(right, b)}"
        if op.op in COMPUTED:
            return Writer(self.equations, CODE, self._leaf).expression(n)
        self.notes.append(f"{self._name(n)} is {Writer(self.equations, CODE, self._words).expression(n)}, as computed.")
        return self._give(f"v{n}", self._number(n))

    def _name(self, n: int) -> str:
        eq = self.equations
        if n in eq.names:
            return identifier(eq.names[n])
        if n in eq.pieces:
            given, suffix = eq.pieces[n]
            return identifier(symbol(eq.input_name(given), CODE, *suffix.split(".")[-1:]))
        return identifier(eq.input_name(n)) if n < eq.first else identifier(Writer(eq, CODE, self._words).expression(n))

    def _words(self, n: int) -> str | None:
        known = n in self.equations.names or n in self.equations.pieces or n < self.equations.first
        return self._name(n) if known else None

    def _give(self, name: str, value: Any) -> str:
        self.given[name] = value
        return name

    def _leaf(self, n: int) -> str | None:
        """Return the name of a value in the program; None for one that is computed there."""
        eq, op = self.equations, self.equations.op(n)
        if n in eq.names and self._is_ours(n):
            return self._name(n)
        if n in eq.pieces or op is None:
            kind = eq.program.inputs[n].kind if op is None else ""
            # h_old: the new h is a line of its own, with the plain name
            ending = {"carry": "_old", "x": "_here"}.get(kind, "")
            return self._give(f"{self._name(n)}{ending}", self._number(n))
        if factors := self._factors(n):
            (left, a), (right, b) = factors
            return f"{self._give(left, a)} @ {self._give(right, b)}"
        if op.op in COMPUTED:
            return None
        text = Writer(eq, CODE, self._words).expression(n)
        self.notes.append(f"v{n} is {text}, as computed from all units.")
        return self._give(f"v{n}", self._number(n))

    def _factors(self, n: int) -> list[tuple[str, np.ndarray]]:
        """Return the names and numbers of a vector and of a unit's column of a matrix, whose product a value is."""
        op = self.equations.op(n)
        # a vector by a matrix, without batch axes
        if op is None or op.op != "dot" or op.attributes["batch"] != ((), ()):
            return []
        a, b = op.inputs
        if op.attributes["contract"] != ((0,), (0,)) or (self.values[a].ndim, self.values[b].ndim) != (1, 2):
            return []
        if self._words(a) is None or a in self.equations.names:
            self.notes.append(f"{self._name(a)} is {self._text(a)} of all units, as computed.")
        return [(self._vector(a), self.values[a]), (self._name(b), self.values[b][:, self.unit])]

    def _text(self, n: int) -> str:
        return self._words(n) or Writer(self.equations, CODE, self._words).expression(n)

    def _vector(self, n: int) -> str:
        """Return the name of a whole vector, since the bare name may be that of the unit's number."""
        name = self._name(n)
        return f"{name}_all" if n in self.equations.names else name

    def _terms(self, n: int) -> list[Term]:
        """Return the terms of a line that is a sum; nothing for another line."""
        op = self.equations.op(n)
        if op is None or op.op not in (*SUM, "dot"):
            return []
        made: list[Term] = []
        for sign, m in self.equations.summands(n):
            minus = "-" if sign < 0 else ""
            if factors := self._factors(m):
                (left, a), (right, b) = factors
                made += [
                    Term(f"{minus}{left}[{k}] * {right}[{k}, {self.unit}]", sign * float(v * w))
                    for k, (v, w) in enumerate(zip(a, b, strict=True))
                ]
                continue
            place = f"[{self.unit}]" if self._words(m) and m not in self.equations.names else ""
            made.append(Term(f"{minus}{self._text(m)}{place}", sign * self._number(m)))
        return made if len(made) > 1 else []


def _literal(value: Any) -> str:
    if np.ndim(value) == 0:
        return repr(float(value))
    return f"np.array([{', '.join(repr(float(v)) for v in value)}])"


def _read_off(cell: Cell, params: Params, xs: Tree, carry: Carry, unit: int, why: str) -> Explanation:
    """Return the named quantities of a step as the run had them."""
    named = {name: np.asarray(gate) for name, gate in gates_of(cell, params, xs, carry).items()}
    # [1, 1, H] after a run of one step of one row
    ours = {name: a for name, a in named.items() if a.ndim == 3}
    _check_unit(unit, max((a.shape[-1] for a in ours.values()), default=0))
    lines = [Line(n, "", float(a[0, 0, unit])) for n, a in ours.items() if a.shape[-1] > unit]
    note = f"The lines are the values that {cell.name} names, as the run had them: {why}."
    return Explanation(tuple(lines), None, lines[-1].value if lines else float("nan"), note)

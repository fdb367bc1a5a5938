"""The equations of one step for one unit, with their numbers, and a NumPy program that computes the same.

For lstm, gru, gru_cho and rnn every line is there, from the products of the inputs on, with the largest of its terms.
For any other cell the lines are its named quantities as the run had them, and the account of its state where a gate
retains; a note says so. The numbers are of the arrays given, computed again in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._unroll import trace
from jaxseq.cells import Cell, gru, gru_cho, lift_sequence, lstm, rnn, rnn_relu
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.study.look import look_for
from jaxseq.study.memory import keeps_seen
from jaxseq.study.timelines import Show, gates_of, ledger, show_seen
from jaxseq.trees import at, named_leaves


class Term(NamedTuple):
    """A summand of a line: what it is, ``"h[3] * U_f[3, 1]"``, and its value."""

    label: str
    value: float


class Line(NamedTuple):
    """One equation.

    Fields:
      name: what it computes, ``"a_f"``.
      equation: as in the program, ``"x @ W_f + h @ U_f + b_f"``; empty for a number taken from the run.
      value: its number.
      terms: the largest summands by size, the largest first; none where the line is no sum.
      others: what the summands that are not shown add up to.
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
      program: NumPy that computes the last line from the numbers of the run and prints it; None where the equations
        are not known and no gate retains.
      result: the number that the program prints, as the run had it.
      note: what a reader must know of it; empty where the lines are the whole of the step.
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

    A cell with attention is explained in full as the cell it is: its input is x and the context side by side, its
    input matrix W on top of C. So is a layer of a stack, its input the output of the layer below.

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
    only = lambda tree: jax.tree.map(lambda a: a[:, row : row + 1], tree)  # noqa: E731
    xs, mask = only(xs), None if mask is None else mask[:, row : row + 1]
    rows = lambda tree: jax.tree.map(lambda a: a[row : row + 1], tree)  # noqa: E731
    carry = cell.initial_carry(params, (1,)) if carry is None else rows(carry)
    seen = trace(cell, params, xs, carry, mask=mask)[1]
    past = np.arange(step) if mask is None else np.flatnonzero(np.asarray(mask)[:step, 0])
    before = at(seen.carries, past[-1]) if len(past) else carry
    for what, tree in (("params", params), ("the carry", before), ("x", at(xs, step))):
        _check_finite(what, tree)
    for known, write, note in _WRITTEN:
        if cell.equations is known.equations and cell.hidden_terms is known.hidden_terms:
            _check_unit(unit, before.h.shape[-1])
            program = _Program(unit, most)
            write(program, *jax.tree.map(_exact, (params, at(before, 0), at(xs, step, 0))))
            return Explanation(tuple(program.lines), program.text(), float(seen.outs[step, 0, unit]), note)
    return _read_off(cell, params, at(xs, slice(step, step + 1)), before, unit)


def _exact(a: Array) -> np.ndarray:
    return np.asarray(a).astype(np.float64)


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


class _Program:
    """Lines with their values, and the program they make."""

    def __init__(self, unit: int, most: int) -> None:
        self.unit, self.most = unit, most
        self.given: dict[str, Any] = {}
        self.lines: list[Line] = []
        self.functions: list[str] = []

    def give(self, name: str, value: Any) -> Any:
        """Note an array or a number that the program starts from."""
        self.given[name] = value
        return value

    def line(self, name: str, equation: str, value: float | list[Term]) -> float:
        """Add a line that has a value, or terms that add up to it; return the value."""
        terms = value if isinstance(value, list) else []
        total = float(sum(term.value for term in terms)) if terms else float(value)  # type: ignore[arg-type]
        shown = sorted(terms, key=lambda term: -abs(term.value))[: self.most]
        self.lines.append(
            Line(name, equation, total, tuple(shown), total - sum(t.value for t in shown) if terms else 0.0)
        )
        return total

    def products(self, name: str, vector: np.ndarray, matrix: str, column: np.ndarray) -> list[Term]:
        """Note a vector and a column of a matrix, and return the terms of their product."""
        self.give(name, vector)
        self.give(matrix, column)
        return self.terms(f"{name}[{{}}]", vector, matrix, column)

    def terms(self, label: str, vector: np.ndarray, matrix: str, column: np.ndarray) -> list[Term]:
        """Return the terms of a product of a vector with a column of a matrix, by name and place."""
        pairs = enumerate(zip(vector, column, strict=True))
        return [Term(f"{label.format(n)} * {matrix}[{n}, {self.unit}]", float(a * b)) for n, (a, b) in pairs]

    def bias(self, name: str, value: float) -> list[Term]:
        """Note a bias, and return it as a term."""
        return [Term(f"{name}[{self.unit}]", float(self.give(name, value)))]

    def text(self) -> str:
        """Return the program; it prints the last line's value."""
        given = [f"{name} = {_literal(value)}" for name, value in self.given.items()]
        code = [f"{line.name} = {line.equation}" for line in self.lines]
        return "\n".join(
            ["import numpy as np", "", *given, "", *self.functions, *code, f"print({self.lines[-1].name})", ""]
        )


SIGMOID = "sigmoid = lambda a: (1 + np.tanh(a / 2)) / 2"


def _sigmoid(a: Any) -> Any:
    return (1 + np.tanh(a / 2)) / 2


def _tanh(a: float) -> float:
    return float(np.tanh(a))


def _literal(value: Any) -> str:
    if np.ndim(value) == 0:
        return repr(float(value))
    return f"np.array([{', '.join(repr(float(v)) for v in value)}])"


def _rnn(activation: str, squash: Callable[[float], float]) -> Callable[..., None]:
    def write(p: _Program, params: Any, k: Any, x: np.ndarray) -> None:
        j = p.unit
        terms = p.products("x", x, "W", params.W[:, j]) + p.products("h", k.h, "U", params.U[:, j])
        a = p.line("a", "x @ W + h @ U + b", terms + p.bias("b", params.b[j]))
        p.line("h_new", activation, squash(a))

    return write


def _lstm(p: _Program, params: Any, k: Any, x: np.ndarray) -> None:
    i, f, g, o = (_gate(p, params, k, x, "ifgo", gate, "np.tanh" if gate == "g" else "sigmoid") for gate in "ifgo")
    c = p.give("c", float(k.c[p.unit]))
    new = p.line("c_new", "f * c + i * g", [Term("f * c (retained)", f * c), Term("i * g (written)", i * g)])
    p.line("h_new", "o * np.tanh(c_new)", o * _tanh(new))


def _gru(p: _Program, params: Any, k: Any, x: np.ndarray) -> None:
    r, z = (_gate(p, params, k, x, "rzn", gate, "sigmoid") for gate in "rz")
    j, column = p.unit, 2 * len(k.h) + p.unit
    from_h = p.products("h", k.h, "U_n", params.U[:, column]) + p.bias("b_hn", params.b_hn[j])
    u = p.line("u_n", "h @ U_n + b_hn", from_h)
    from_x = p.products("x", x, "W_n", params.W[:, column]) + p.bias("b_n", params.b[column])
    a = p.line("a_n", "x @ W_n + b_n + r * u_n", [*from_x, Term("r * u_n", r * u)])
    _interpolated(p, k, z, p.line("n", "np.tanh(a_n)", _tanh(a)))


def _gru_cho(p: _Program, params: Any, k: Any, x: np.ndarray) -> None:
    H, j = len(k.h), p.unit
    z = _gate(p, params, k, x, "rzn", "z", "sigmoid")
    r = p.give("r", _sigmoid(x @ params.W[:, :H] + k.h @ params.U[:, :H] + params.b[:H]))
    terms = p.products("x", x, "W_n", params.W[:, 2 * H + j])
    terms += p.terms("r[{0}] * h[{0}]", r * k.h, "U_n", p.give("U_n", params.U_n[:, j]))
    a = p.line("a_n", "x @ W_n + (r * h) @ U_n + b_n", terms + p.bias("b_n", params.b[2 * H + j]))
    _interpolated(p, k, z, p.line("n", "np.tanh(a_n)", _tanh(a)))


def _gate(p: _Program, params: Any, k: Any, x: np.ndarray, packed: str, gate: str, squash: str) -> float:
    """Add the two lines of a gate, given the order in which the weights of the gates are packed."""
    column = packed.index(gate) * len(k.h) + p.unit
    terms = p.products("x", x, f"W_{gate}", params.W[:, column])
    terms += p.products("h", k.h, f"U_{gate}", params.U[:, column])
    terms += p.bias(f"b_{gate}", params.b[column])
    a = p.line(f"a_{gate}", f"x @ W_{gate} + h @ U_{gate} + b_{gate}", terms)
    if squash == "sigmoid" and SIGMOID not in p.functions:
        p.functions.append(SIGMOID)
    return p.line(gate, f"{squash}(a_{gate})", _tanh(a) if squash == "np.tanh" else _sigmoid(a))


def _interpolated(p: _Program, k: Any, z: float, n: float) -> None:
    """Add the last line of a GRU."""
    h = p.give("h_old", float(k.h[p.unit]))
    terms = [Term("z * h_old (retained)", z * h), Term("(1 - z) * n (written)", (1 - z) * n)]
    p.line("h_new", "(1 - z) * n + z * h_old", terms)


_WRITTEN: tuple[tuple[Cell, Callable[..., None], str], ...] = (
    (lstm, _lstm, ""),
    (gru, _gru, ""),
    (
        gru_cho,
        _gru_cho,
        "The candidate of a unit is computed from the reset gates r of all, which the program is given.",
    ),
    (rnn, _rnn("np.tanh(a)", _tanh), ""),
    (rnn_relu, _rnn("np.maximum(a, 0)", lambda a: max(a, 0.0)), ""),
)
"""Which cells are written out, by what, and what a reader must know of it."""


def _read_off(cell: Cell, params: Params, xs: Tree, carry: Carry, unit: int) -> Explanation:
    """Return named quantities of a step as the run had them, and the account of its state where a gate retains."""
    named = {name: np.asarray(gate) for name, gate in gates_of(cell, params, xs, carry).items()}
    seen = look_for(cell, params, xs, carry)
    keep = next(iter(keeps_seen(seen)), None)
    account = None if keep is None else ledger(cell, params, xs, carry, keep=keep)
    sizes = [a.shape[-1] for a in named.values()] if account is None else [account.new.shape[-1]]
    _check_unit(unit, max(sizes))
    lines = [Line(n, "", float(a[0, 0, unit])) for n, a in named.items() if a.ndim == 3 and a.shape[-1] > unit]
    note = (
        f"The lines are what {cell.name} names, as the run had it: how each comes of inputs and weights is not "
        "written out for this cell, only for lstm, gru, gru_cho and rnn."
    )
    if keep is None or account is None or account.new.ndim != 3:
        return Explanation(tuple(lines), None, lines[-1].value if lines else float("nan"), f"{note} No gate retains.")
    leaf = keep.leaf.rpartition(".")[2]
    number = lambda a: float(np.asarray(a).astype(np.float64)[0, 0, unit])  # noqa: E731
    gate = np.broadcast_to(named[keep.gate], account.new.shape)[0, 0, unit]
    retained = 1 - float(gate) if keep.inverted else float(gate)
    p = _Program(unit, 2)
    p.given["keep"], p.given["written"] = retained, number(account.written)
    old = p.give(f"{leaf}_old", _old(carry, keep.leaf, unit))
    terms = [Term(f"keep * {leaf}_old (retained)", retained * old), Term("written", p.given["written"])]
    state = p.line(f"{leaf}_new", f"keep * {leaf}_old + written", terms)
    result = number(account.new)
    show = show_seen(seen, keep.leaf)
    if show is not None and not (leaf == "h" and show == Show(keep.leaf, None, "none")):
        state = _shown(p, show, f"{leaf}_new", state, named, unit)
        result = number(account.shown)
    sign = f"1 - {keep.gate}" if keep.inverted else keep.gate
    return Explanation((*lines, *p.lines), p.text(), result, f"{note} What retains is {sign}, here called keep.")


def _shown(p: _Program, show: Show, name: str, state: float, named: dict, unit: int) -> float:
    """Add the line of what is shown of a state."""
    squashed, value = (f"np.tanh({name})", _tanh(state)) if show.squash == "tanh" else (name, state)
    if show.gate is None:
        return p.line("h_new", squashed, value)
    gate = p.give("shown_by", float(named[show.gate][0, 0, unit]))
    return p.line("h_new", f"shown_by * {squashed}", gate * value)


def _old(carry: Carry, leaf: str, unit: int) -> float:
    return float(named_leaves(carry)[leaf][0, unit])

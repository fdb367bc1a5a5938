"""Compute a step of a cell from the equations in its docstring, in NumPy. No code of the cell is read.

Only the docstrings of the cell and of its params are, and the names of fields; see `docstring_notation`.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.special
from docstring_notation import Equation, Node, Unreadable, constants, read

Value = Any
"""A number, a row ``[1, N]``, a matrix ``[M, N]``, a picture ``[rows, columns, N]`` or a filter."""

COMPUTED: dict[str, Callable[..., Value]] = {
    "tanh": np.tanh, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sign": np.sign, "conj": np.conj,
    "Re": np.real, "Im": np.imag,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "erf": scipy.special.erf,
    "softplus": lambda a: np.log1p(np.exp(a)),
    "relu": lambda a: np.maximum(a, 0),
    "silu": lambda a: a / (1 + np.exp(-a)),
    "max": np.maximum, "min": np.minimum,
    "softmax": lambda a: np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True),
    "cumsum": lambda a: np.cumsum(a, axis=-1),
    "sum": np.sum, "across": lambda a: a.sum(axis=-1)[None], "mean": np.mean, "var": np.var,
    "rows": lambda a: a.reshape(math.isqrt(a.size), -1),
    "flat": lambda a: a.reshape(1, -1),
    "first": lambda a: a[:1],
    "queue": lambda a, last: np.concatenate([a[1:], last]),
    "roll": lambda a: np.roll(a, 1, axis=-1),
    "above": lambda a: np.triu(a, 1),
    "expm": scipy.linalg.expm,
}  # fmt: skip


class Block(NamedTuple):
    """A part of a parameter: of this field, along this axis, from and to."""

    field: str
    axis: int
    start: int
    stop: int


def _terms(size: str) -> list[str]:
    """Return the sizes of the blocks in an axis such as ``4H + 2M``: H H H H M M."""
    found = []
    for term in size.split("+"):
        match = re.fullmatch(r"(\d*) ?((?:[A-Za-z](?:\^2)?)?)", term.strip())
        if not match:
            return []
        found += [match[2]] * int(match[1] or 1) if match[2] else [match[1]]
    return found


def packing(
    docstring: str, shapes: Mapping[str, tuple[int, ...]], sizes: dict[str, int], order: str | None
) -> tuple[dict[str, Block], list[str]]:
    """Return where each block is in the params, by its name, and the letters of the first that has several.

    Args:
      docstring: of the params: ``W [D, 4H]``, ``b [4H]`` and the order of the blocks.
      shapes: of each field.
      sizes: of letters such as D and H; those that the shapes tell are added.
      order: of a cell that has only these of the blocks.
    """
    sizes |= {f"{letter}^2": number**2 for letter, number in sizes.items()}
    declared, pending = [], list[tuple[str, list[str]]]()
    for m in re.finditer(r"``([^`]+)``|\(([^()`]*)\)|(in the order|packs) ([^.;,:]*)|([;.])", docstring):
        if m[1]:
            if shape := re.fullmatch(r"([\w, ]+?) \[(.*)\]", m[1]):
                pending += [(field, shape[2].split(", ")) for field in shape[1].split(", ")]
        elif m[5]:
            declared += [(field, shape, [], False) for field, shape in pending]
            pending = []
        else:
            letters = (m[2] or m[4]).split()
            fits = [any(len(_terms(size)) == len(letters) for size in shape) for _, shape in pending]
            if pending and fits[-1]:
                here = [
                    (f, s, letters if fit else [], m[3] == "packs") for (f, s), fit in zip(pending, fits, strict=True)
                ]
                declared, pending = declared + here, []
    declared += [(field, shape, [], False) for field, shape in pending]
    blocks, first = dict[str, Block](), list[str]()
    for field, shape, *_ in declared[::-1]:  # letters that only a later shape tells
        _agree(shape, shapes.get(field, ()), sizes)
    for field, shape, letters, full in declared:
        if order and letters:
            kept = [letter for letter in letters if letter in order.split()]
            shape = [f"{len(kept)}H" if size == f"{len(letters)}H" else size for size in shape]
            letters = kept
        if field not in shapes or not _agree(shape, shapes[field], sizes):
            continue
        axes = [axis for axis in range(len(shape)) if len(_terms(shape[axis])) == len(letters)]
        if letters and axes:
            axis = axes[-1]
            ends = np.cumsum([0] + [sizes.get(term) or int(term) for term in _terms(shape[axis])])
            first = first or (letters if len(letters) > 1 and not full else [])
            for letter, start, stop in zip(letters, ends[:-1], ends[1:], strict=True):
                block = Block(field, axis, int(start), int(stop))
                if full:
                    blocks[letter] = block
                else:
                    blocks[f"{field}_{letter}"] = block
                    blocks.setdefault(f"{field.partition('_')[0]}_{letter}", block)
    return blocks, first


def _agree(shape: list[str], actual: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Return whether a shape of letters is the actual one; a letter that is not known yet is solved for."""
    if len(shape) != len(actual):
        return False
    for size, number in zip(shape, actual, strict=True):
        terms = _terms(size)
        unknown = {term for term in terms if not term.isdigit() and term not in sizes}
        rest = number - sum(int(term) if term.isdigit() else sizes.get(term, 0) for term in terms)
        if len(unknown) == 1 and rest > 0 and rest % terms.count(min(unknown)) == 0:
            sizes[min(unknown)] = rest // terms.count(min(unknown))
        elif rest or unknown:
            return False
    return True


def as_value(a: Any) -> Value:
    """Return an array of one row of a batch as the equations see it: a vector is a row, a single head is left out."""
    a = np.asarray(a)
    return a[None] if a.ndim == 1 else a[0] if a.ndim == 3 and a.shape[0] == 1 else a


class Step:
    """One step of one row, each name computed when it is asked for."""

    def __init__(
        self,
        equations: dict[str, Equation],
        fields: dict[str, Any],
        inputs: dict[str, Any],
        carry: dict[str, Any],
        blocks: dict[str, Block],
        letters: list[str],
        numbers: Mapping[str, float],
    ) -> None:
        self.equations, self.inputs, self.carry = equations, inputs, carry
        self.fields, self.blocks, self.letters, self.numbers = fields, blocks, letters, numbers
        self.known: dict[str, Value] = {}
        self.used, self.open = set[str](), set[str]()

    def value(self, name: str) -> Value:
        if name not in self.known:
            if name in self.open:
                raise Unreadable(f"{name} depends on itself")
            self.open.add(name)
            self.known[name] = self._find(name)
            self.open.remove(name)
        return self.known[name]

    def _find(self, name: str) -> Value:
        base, _, letter = name.rpartition("_")
        if name in self.equations and self.equations[name].arguments is None:
            return self._equation(name, {})
        if name.endswith("-"):
            return as_value(self.carry[name[:-1]])
        for given in (self.inputs, self.carry):
            if name in given:
                return as_value(given[name])
        if f"{name}'" in self.equations and [*self.carry] == ["re", "im"]:
            return as_value(self.carry["re"]) + 1j * as_value(self.carry["im"])
        if name in self.blocks:
            field, axis, start, stop = self.blocks[name]
            return as_value(np.take(self.fields[field], np.arange(start, stop), axis=axis))
        if f"{name}_re" in self.blocks:
            return self.value(f"{name}_re") + 1j * self.value(f"{name}_im")
        if name in self.fields:
            return as_value(self.fields[name])
        if base in self.equations and letter in self.letters:
            return np.split(self.value(base), len(self.letters), axis=-1)[self.letters.index(letter)]
        if name in self.numbers:
            return self.numbers[name]
        if name == "I":
            return np.eye(int(self.numbers["H"]))
        if name in ("i", "e"):
            return {"i": 1j, "e": np.e}[name]
        raise Unreadable(f"{name} is nowhere defined")

    def _equation(self, name: str, local: dict[str, Value]) -> Value:
        self.used.add(name)
        cases = [(test and self._compute(test, local), self._compute(value, local))
                 for test, value in self.equations[name].cases]  # fmt: skip
        *tested, (_, result) = cases
        for test, value in reversed(tested):
            result = np.where(test, value, result)
        return result

    def _compute(self, node: Node, local: dict[str, Value]) -> Value:
        kind, *parts = node
        if kind == "number":
            return parts[0]
        if kind == "name":
            return local[parts[0]] if parts[0] in local else self.value(parts[0])
        if kind == "call":
            name, *values = parts
            values = [self._compute(value, local) for value in values]
            if name in COMPUTED:
                return _called(name, values)
            return self._equation(name, dict(zip(self.equations[name].arguments or (), values, strict=True)))
        values = [self._compute(part, local) for part in parts]
        return np.concatenate(values, axis=-1) if kind == "side by side" else OPERATIONS[kind](*values)


def _called(name: str, values: list[Value]) -> Value:
    """Return a function's value."""
    try:
        return COMPUTED[name](*values)
    except (TypeError, ValueError) as error:  # too few arguments, or a matrix that is not square
        raise Unreadable(f"{name}: {error}") from error


def _alike(operation: Callable[[Value, Value], Value]) -> Callable[[Value, Value], Value]:
    """Refuse two values of different shapes, except a number, a column to a matrix, a row to a picture."""

    def checked(a: Value, b: Value) -> Value:
        one, other = np.shape(a), np.shape(b)
        column = len(one) == len(other) == 2 and one[1] == 1 and one[0] == other[0]
        picture = {len(one), len(other)} == {2, 3} and one[-1] == other[-1]
        if 1 not in (np.size(a), np.size(b)) and one != other and not column and not picture:
            raise Unreadable(f"shapes {one} and {other}")
        return operation(a, b)

    return checked


def _product(a: Value, b: Value) -> Value:
    """Return the product of matrices, or with a number."""
    if 1 in (np.size(a), np.size(b)):
        return a * b
    if np.shape(a)[-1] != np.shape(b)[0]:
        raise Unreadable(f"product of shapes {np.shape(a)} and {np.shape(b)}")
    return a @ b


def _convolved(a: Value, W: Value) -> Value:
    """Return a picture's convolution (unflipped) with the same padding."""
    w = W.shape[0]
    padded = np.pad(a, [((w - 1) // 2, w // 2)] * 2 + [(0, 0)])
    rows, columns = a.shape[:2]
    return sum(padded[r : r + rows, c : c + columns] @ W[r, c] for r in range(w) for c in range(w))


OPERATIONS: dict[str, Callable[..., Value]] = {
    "+": _alike(np.add), "-": _alike(np.subtract), "*": _alike(np.multiply), "/": _alike(np.divide),
    "^": _alike(np.power), "mod": _alike(np.mod), "<": _alike(np.less), ">": _alike(np.greater),
    "<=": _alike(np.less_equal), ">=": _alike(np.greater_equal), "@": _product, "**": _convolved,
    "abs": np.abs, "transposed": np.transpose,
}  # fmt: skip


def of_cell(equations: list[Equation], name: str) -> dict[str, Equation]:
    """Return a cell's equations by what they define: the shared ones, unless it has its own."""
    chosen: dict[str, Equation] = {}
    for own in (False, True):
        mine = [e for e in equations if bool(e.cells) == own and (not own or name in e.cells)]
        if len({e.name for e in mine}) < len(mine):
            raise Unreadable("a name is defined twice")
        chosen |= {e.name: e for e in mine}
    return chosen


def _output(equations: Mapping[str, Equation], carry: Mapping[str, Any]) -> str:
    """Return the name of the output."""
    for name in ("y", "h", "h'", "o"):
        if name in equations and name not in carry:
            return name
    raise Unreadable("no output")


def _results(step: Step, gates: Iterable[str]) -> dict[str, Value]:
    """Return the new carry, the output and the gates that the equations name."""
    results = {"out": step.value(_output(step.equations, step.carry))}
    if [*step.carry] == ["re", "im"]:
        (state,) = (name for name in step.equations if name.endswith("'"))
        results |= {"carry.re": np.real(step.value(state)), "carry.im": np.imag(step.value(state))}
    else:
        for field in step.carry:
            # x-, the input of the step before, is the carry's x; the next step's is this step's input
            name = f"{field}'" if f"{field}'" in step.equations or field not in step.inputs else field
            if name not in step.equations and name not in step.inputs:
                raise Unreadable(f"no equation for {name}")
            results[f"carry.{field}"] = step.value(name)
    for gate in gates:
        part = {"_re": np.real, "_im": np.imag}.get(gate[-3:])
        for name in (gate, gate.replace("_hat", "^").replace("_master", "~"), f"{gate}'", gate[:-3] if part else ""):
            if name in step.equations:
                value = step.value(name)
                results[f"gates.{gate}"] = part(value) if part and name != gate else value
                break
    return results


def step(
    docstring: str,
    params_docstring: str,
    name: str,
    names: Iterable[str],
    params: Mapping[str, np.ndarray],
    carry: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    gates: Iterable[str],
    sizes: Mapping[str, int],
    options: Mapping[str, float] | None = None,
) -> Iterator[dict[str, Value]]:
    """Yield what the docstring says of a step, row by row: ``{"out": ..., "carry.h": ..., "gates.f": ...}``.

    Args:
      docstring: of the cell.
      params_docstring: of its params.
      name: of the cell.
      names: of all cells.
      params: by field.
      carry: by field, each ``[B, ...]``.
      inputs: by name, such as x, each ``[B, ...]``.
      gates: whose values are returned where the docstring names them; ``x_hat`` may be x^, ``f_master`` f~.
      sizes: of D and H.
      options: of ``.with_``, instead of the defaults that the docstring tells.

    Raises:
      Unreadable: where the docstring does not say it, or says something that no result depends on.
    """
    equations, orders = read(docstring, names)
    mine, known = of_cell(equations, name), dict(sizes)
    shapes = {field: np.shape(a) for field, a in params.items()}
    blocks, letters = packing(inspect.cleandoc(params_docstring), shapes, known, orders.get(name))
    numbers = {**known, **constants(docstring), **(options or {})}
    for row in range(len(inputs["x"])):
        given = ({key: a[row] for key, a in part.items()} for part in (inputs, carry))
        one = Step(mine, dict(params), *given, blocks, letters, numbers)
        with np.errstate(all="ignore"):
            results = _results(one, gates)
        if unused := {*mine} - one.used:
            raise Unreadable(f"nothing depends on {', '.join(sorted(unused))}")
        yield results

"""A program as equations: selects the values that become lines, and writes each as text, LaTeX or NumPy."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jaxseq.program._base import Op, Program
from jaxseq.program._numpy import BINARY, UNARY

SUM = ("add", "sub", "neg")


class Line(NamedTuple):
    """One equation of a step.

    Fields:
      name: name of the quantity: ``"f"`` a gate, ``"c'"`` a leaf of the new carry, ``"out"`` the output, ``"s_1"`` a
        value that several others need, ``"a_f"`` the sum that gate f squashes, ``"u_f"`` a sum within it.
      value: index of its value.
    """

    name: str
    value: int


class Style(NamedTuple):
    """A style of writing expressions.

    Fields:
      times: sign between factors.
      product: sign between a vector and a matrix.
      functions: names of operations that differ from the op's.
      quotient: format of a quotient of two expressions; None for ``a / b``.
      power: format of a power of two expressions.
      absolute: format of an absolute value.
    """

    times: str
    product: str
    functions: dict[str, str]
    quotient: Callable[[str, str], str] | None
    power: Callable[[str, str], str]
    absolute: Callable[[str], str]


_SIGNS = {"eq": "=", "ne": "≠", "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "and": "∧", "or": "∨", "xor": "⊕"}
TEXT = Style(
    "⊙", "",
    {"logistic": "σ", "reduce_sum": "Σ", "reduce_prod": "Π", "reduce_max": "max", "reduce_min": "min", **_SIGNS},
    None, lambda a, b: f"{a} ^ {b}", lambda a: f"| {a} |",
)  # fmt: skip
"""Plain text with spaces between words, as on the page."""

_KNOWN = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "max", "min")
TEX = Style(
    r"\odot", r"\,",
    {
        **{op: rf"\{op}" for op in _KNOWN}, "logistic": r"\sigma", "reduce_sum": r"\textstyle\sum",
        "reduce_prod": r"\textstyle\prod", "reduce_max": r"\max", "reduce_min": r"\min", "eq": "=", "ne": r"\neq",
        "lt": "<", "le": r"\leq", "gt": ">", "ge": r"\geq", "and": r"\wedge", "or": r"\vee", "xor": r"\oplus",
    },
    lambda a, b: rf"\frac{{{a}}}{{{b}}}", lambda a, b: f"{{{a}}}^{{{b}}}", lambda a: rf"\left|{a}\right|",
)  # fmt: skip
"""LaTeX."""

_NUMPY = {
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "max": "np.maximum", "min": "np.minimum",
    "logistic": "sigmoid", "rem": "np.fmod", "abs": "np.abs", "asin": "np.arcsin", "acos": "np.arccos",
    "atan": "np.arctan", "atan2": "np.arctan2", "select": "np.where", "is_finite": "np.isfinite",
    "and": "*", "or": "np.maximum", "xor": "!=",
}  # fmt: skip
_CODE = {
    **{op: f"np.{op}" for op in UNARY if op not in ("neg", "copy")}, **_NUMPY, "softplus": "softplus", "rsqrt": "rsqrt",
    "erfc": "erfc",
    "not": "1 - ", "round": "np.round",
}  # fmt: skip
CODE = Style("*", "@", _CODE, None, lambda a, b: f"{a} ** {b}", lambda a: f"np.abs({a})")
"""Python with NumPy."""

HELPERS = {
    "sigmoid": "sigmoid = lambda a: (1 + np.tanh(a / 2)) / 2",
    "softplus": "softplus = lambda a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))",
    "rsqrt": "rsqrt = lambda a: 1 / np.sqrt(a)",
    "erfc": "import math\nerfc = np.vectorize(math.erfc)",
}
"""Definitions of functions in `CODE` that NumPy lacks."""


class Equations:
    """The equations of a program.

    Args:
      program: the program of a step, with or without batch axes.
      inner: whether a gate's pre-activation gets its own line, as does each sum of products within one.
    """

    def __init__(self, program: Program, *, inner: bool = False) -> None:
        self.program = program
        self.first = len(program.inputs)
        self.moves = program.moving()
        self.users: Counter[int] = Counter(n for op in program.ops for n in op.inputs)
        named: dict[int, str] = {}
        for kind, names in (("gate", program.gates), ("carry", program.carry), ("out", program.out)):
            for name, n in names.items():
                if n >= self.first:
                    named.setdefault(n, name if kind == "gate" else f"{name}'" if kind == "carry" else name or "out")
        self.names = named
        for n in self._shared():
            named.setdefault(n, "s")
        if inner:
            self._inner()
        self._number()
        self.lines = self._ordered()
        self.pieces = self._pieces()

    def op(self, n: int) -> Op | None:
        """Return the operation that computes a value; None for an input."""
        return self.program.ops[n - self.first] if n >= self.first else None

    def is_product(self, n: int) -> bool:
        """Return whether a value is a product of a varying value with a matrix or vector."""
        op = self.op(n)
        return op is not None and op.op == "dot" and self.moves[n]

    def inside(self, n: int) -> Iterator[int]:
        """Yield the values in a line's expression, itself first; stop at values that are lines."""
        waiting = list(self._inputs(n))
        yield n
        while waiting:
            m = waiting.pop(0)
            yield m
            if m not in self.names:
                waiting += self._inputs(m)

    def summands(self, n: int, sign: int = 1) -> list[tuple[int, int]]:
        """Return the ``(sign, value)`` summands of a line, or of a value within one."""
        op = self.op(n)
        if op is None or op.op not in SUM:
            return [(sign, n)]
        found = []
        for k, m in enumerate(op.inputs):
            own = -sign if op.op == "neg" or (op.op == "sub" and k == 1) else sign
            found += [(own, m)] if m in self.names else self.summands(m, own)
        return found

    def _inputs(self, n: int) -> tuple[int, ...]:
        op = self.op(n)
        return () if op is None else op.inputs

    def _shared(self) -> list[int]:
        """Return the values that are used several times and are more than a word."""
        found = []
        for op in self.program.ops:
            if self.users[op.output] > 1 and self.moves[op.output] and op.output not in self.names:
                size, has_product = self._size(op.output)
                if size > 2 or has_product:
                    found.append(op.output)
        return found

    def _size(self, n: int) -> tuple[int, bool]:
        """Return an expression's elementwise operation count, up to named values, and whether it has a product."""
        op = self.op(n)
        if op is None or op.op == "constant" or not self.moves[n]:
            return 0, False
        inner = [self._size(m) for m in op.inputs if m not in self.names]
        plain = op.op in ("reshape", "broadcast", "slice", "transpose", "copy")
        return (not plain) + sum(size for size, _ in inner), op.op == "dot" or any(has for _, has in inner)

    def _has_product(self, n: int) -> bool:
        """Return whether one of the summands is a product."""
        return any(self.is_product(m) for _, m in self.summands(n))

    def _inner(self) -> None:
        """Name the sums of products within a function or another product."""
        for op in self.program.ops:
            if op.op in SUM or op.op == "dot" or not self.moves[op.output]:
                continue
            for n in op.inputs:
                if n not in self.names and self.moves[n] and self._has_product(n) and n >= self.first:
                    self.names[n] = "a" if op.op in UNARY or op.op in ("max", "min") else "u"

    def _number(self) -> None:
        """Name values that have only a letter after the first line that needs them, or by number."""
        taken = set(self.names.values())
        for n in sorted(self.names):
            letter = self.names[n]
            if letter not in ("a", "u", "s") or n in self.program.gates.values():
                continue
            line = None if letter == "s" else self._line_of(n)
            wanted = f"{letter}_{line}" if line else f"{letter}_1"
            count = 1
            while wanted in taken:
                count += 1
                wanted = f"{letter}_{line}{count}" if line else f"{letter}_{count}"
            taken.add(wanted)
            self.names[n] = wanted

    def _ordered(self) -> list[Line]:
        """Return the lines: gates, then states, then outputs, each after the lines that it needs."""
        found: dict[int, Line] = {}

        def add(n: int) -> None:
            if n in self.names and n not in found:
                for m in self.inside(n):
                    if m != n:
                        add(m)
                found[n] = Line(self.names[n], n)

        for names in (self.program.gates, self.program.carry, self.program.out):
            for n in names.values():
                add(n)
        return list(found.values())

    def _line_of(self, n: int) -> str | None:
        """Return the gate or leaf computed from a value through unnamed values."""
        for op in self.program.ops:
            if n in op.inputs:
                name = self.names.get(op.output)
                if name is None or (name in ("a", "u", "s") and op.output not in self.program.gates.values()):
                    found = self._line_of(op.output)
                    if found is not None:
                        return found
                else:
                    return name.rstrip("'") or "out"
        return None

    def _pieces(self) -> dict[int, tuple[int, str]]:
        """Return for each slice of an input: the input, and the gate or leaf that needs it. W_f belongs to f."""
        found: dict[int, tuple[int, str]] = {}
        gates = self.program.gates.values()
        for line in sorted(self.lines, key=lambda line: line.value not in gates):
            base = line.name if line.value in gates else re.sub(r"^[au]_", "", line.name).rstrip("'")
            for n in self.inside(line.value):
                op = self.op(n)
                if op is None or op.op != "slice" or n in found:
                    continue
                given = op.inputs[0]
                if given < self.first and self.program.inputs[given].kind in ("params", "data", "wx"):
                    wanted, count = (given, base), 1
                    while wanted in found.values():
                        count += 1
                        wanted = (given, f"{base}{count}")
                    found[n] = wanted
        return found

    def input_name(self, n: int) -> str:
        """Return the name of an input: "U", "h", "x"; "0.U" in a stack."""
        kind, name, _ = self.program.inputs[n]
        if kind == "data" and name.isdigit():
            return f"m{name}"
        return name or {"wx": "z"}.get(kind, kind)


class Writer:
    """Writes expressions in a style.

    Args:
      equations: the equations to write.
      style: their style.
      leaf: the text of a value that is not expanded; None means its expression.
    """

    def __init__(self, equations: Equations, style: Style, leaf: Callable[[int], str | None]) -> None:
        self.equations, self.style, self.leaf = equations, style, leaf

    def expression(self, n: int) -> str:
        """Return the text of a line's right-hand side."""
        return self._op(n)[0]

    def _text(self, n: int) -> tuple[str, int]:
        """Return an expression and its precedence: 0 comparison, 1 sum, 2 product, 3 power, 4 word."""
        found = self.leaf(n)
        return (found, 0 if found.startswith("-") else 4) if found is not None else self._op(n)

    def _bound(self, n: int, least: int) -> str:
        text, binds = self._text(n)
        return text if binds >= least else self._grouped(text)

    def _grouped(self, text: str) -> str:
        return rf"\left({text}\right)" if self.style is TEX else f"( {text} )" if self.style is TEXT else f"({text})"

    def _op(self, n: int) -> tuple[str, int]:
        op = self.equations.op(n)
        assert op is not None
        name, inputs = op.op, op.inputs
        if name == "constant":
            text = number(op.attributes["value"], self.style)
            return text, 1 if text.startswith("-") else 4
        if name in SUM:
            return self._sum(n), 1
        if name == "mul":
            return f" {self.style.times} ".join(self._bound(m, 2) for m in inputs), 2
        if name == "div":
            if self.style.quotient:
                return self.style.quotient(self._text(inputs[0])[0], self._text(inputs[1])[0]), 2
            return f"{self._bound(inputs[0], 2)} / {self._bound(inputs[1], 3)}", 2
        if name == "dot":
            return re.sub(" +", " ", f"{self._bound(inputs[0], 3)} {self.style.product} {self._bound(inputs[1], 3)}"), 2
        if name == "pow":
            return self.style.power(self._bound(inputs[0], 4), self._bound(inputs[1], 4)), 3
        if name == "abs":
            return self.style.absolute(self._text(inputs[0])[0]), 4
        if name in ("reshape", "broadcast", "transpose", "copy") or (name == "slice" and self.style is CODE):
            return self._text(inputs[0])
        return self._function(op)

    def _function(self, op: Op) -> tuple[str, int]:
        name, inputs = op.op, op.inputs
        called = self.style.functions.get(
            name, rf"\mathrm{{{name}}}".replace("_", r"\_") if self.style is TEX else name
        )
        if (name in BINARY and not called[-1:].isalpha()) or called in (r"\neq", r"\leq", r"\geq", r"\wedge", r"\vee",
                                                                       r"\oplus"):  # fmt: skip
            a, b = (self._bound(m, 1) for m in inputs)
            return (f"({a} {called} {b})", 4) if self.style is CODE else (f"[ {a} {called} {b} ]", 4)
        if name == "not" and self.style is CODE:
            return f"1 - {self._bound(inputs[0], 2)}", 1
        if name == "slice":
            return f"{self._bound(inputs[0], 4)}{_range(op, self.style)}", 4
        separator = " ; " if name == "concatenate" else " , " if self.style is TEXT else ", "
        inner = separator.join(self._text(m)[0] for m in inputs)
        if name == "concatenate":
            return (rf"\left[{inner}\right]" if self.style is TEX else f"[ {inner} ]"), 4
        return (f"{called} ( {inner} )" if self.style is TEXT else f"{called}{self._grouped(inner)}"), 4

    def _sum(self, n: int) -> str:
        """Return a sum as text: products first, parameters last, subtracted terms after added ones."""
        eq = self.equations

        def order(item: tuple[int, int]) -> int:
            op = eq.op(item[1])
            fixed = not eq.moves[item[1]] and (op is None or op.op != "constant")
            return 0 if eq.is_product(item[1]) else 2 if fixed else 1

        found = sorted(eq.summands(n), key=order)
        first = next((k for k, (sign, _) in enumerate(found) if sign > 0), 0)
        found.insert(0, found.pop(first))
        minus = "−" if self.style is TEXT else "-"
        text = ""
        for sign, m in found:
            word = self._bound(m, 2)
            if not text:
                text = word if sign > 0 else f"{minus} {word}" if self.style is TEXT else f"{minus}{word}"
            else:
                text += f" {'+' if sign > 0 else minus} {word}"
        return text


def _range(op: Op, style: Style) -> str:
    """Return the index ranges of a slice, along the axes that it cuts."""
    start, stop = op.attributes["start"], op.attributes["stop"]
    cut = f"{start[-1]}:{stop[-1]}" if start else ""
    return rf"_{{[{cut}]}}" if style is TEX else f"_[{cut}]"


LARGEST = 3.4e38


def number(value: float | list, style: Style) -> str:
    """Return a constant as text."""
    if isinstance(value, list):
        return r"\mathbf{k}" if style is TEX else "k"
    # masked scores have the largest float32
    if not math.isfinite(value) or (style is not CODE and abs(value) >= LARGEST):
        word = r"\infty" if style is TEX else "∞" if style is TEXT else "np.inf"
        return "np.nan" if math.isnan(value) else f"-{word}" if value < 0 else word
    if style is CODE:
        return repr(float(value))
    text = f"{value:.6g}"
    return (
        re.sub(r"e([+-])0*(\d+)", lambda m: rf" \cdot 10^{{{m[1].strip('+')}{m[2]}}}", text) if style is TEX else text
    )

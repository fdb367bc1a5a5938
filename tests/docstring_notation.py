"""Read the equations in a cell's docstring: their notation, and what they say as trees.

The notation, in the indented lines of the docstring:

  ``f = sigmoid(x W_f + h U_f + b_f)    text``   two or more spaces end an equation; another one, or text, may follow
  ``x W``, ``k^T v``, ``2 phi``                  a product of matrices (vectors are rows), or with a number
  ``*``, ``/``, ``a^2``, ``max(a, b)``, ``|a|``  element by element; ``x ** W`` is a convolution
  ``h'``, ``h``, ``x-``                          the new state, the old one, the last step's input
  ``W_f``, ``a_f``                               the block f of a parameter, or of a value that has the same blocks
  ``hard(a) = max(0, ...)``                      a function; ``(i, f, o)`` are three values side by side
  ``k = a   where p < q``                        a case; further cases follow in deeper lines, the last ``otherwise``
  ``mut1:  r = ...``                             of this cell alone, as are deeper lines below; replaces a shared one

The output is y, else h, else h', else o. The order of blocks is in the docstring of the params: letters in brackets,
"in the order i f g o" or, with names in full, "packs W_x e_x". A line of a cell may say "blocks f g o" at its end.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

Node = tuple[Any, ...]
"""An expression: its kind and its parts."""

TOKEN = re.compile(
    r" *(?:(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>[A-Za-z]\w*(?:~|\^(?![\w(])|-(?=[ )]))?'?)"
    r"|(?P<sign>\*\*|<=|>=|[-+*/^(),;|<>=])|(?P<other>\S))"
)
BINARY = [["<", ">", "<=", ">="], ["+", "-"], ["*", "/", "mod"], ["**", "@"]]  # the loosest first
WORDS = {"mod", "where", "otherwise"}
FUNCTIONS = {*"tanh exp erf log sqrt sign conj Re Im sigmoid softplus relu silu max min softmax cumsum".split()}
FUNCTIONS |= {*"sum across mean var above expm rows flat first queue roll".split()}
"""Across is the row of the sums of a matrix's rows, above the part of a matrix above its diagonal, expm the matrix
exponential, Re and Im the real and imaginary part; rows makes a square matrix of a vector, flat a vector of a matrix;
first is the first row of a matrix, queue drops it and appends another; roll moves each entry of a row to the next
place."""


class Unreadable(ValueError):  # noqa: N818 - it is no mistake of a program
    """The docstring says something that this notation does not have, or too little for a step."""


class Token(NamedTuple):
    """A piece of a line: its kind, its text, whether two or more spaces are before it, and where it ends."""

    kind: str
    text: str
    apart: bool
    end: int


@dataclasses.dataclass
class Equation:
    """``name(arguments) = cases``, of these cells or of all; each case is ``(condition or None, expression)``."""

    name: str
    arguments: tuple[str, ...] | None
    cases: list[tuple[Node | None, Node]]
    cells: tuple[str, ...]
    span: tuple[int, int]


class Reader:
    """Reads one line from the left: equations, then text."""

    def __init__(self, line: str, functions: set[str]) -> None:
        self.line, self.functions, self.at, self.depth = line, functions | FUNCTIONS, 0, 0
        self.tokens = []
        for match in TOKEN.finditer(line):
            text = match.group().lstrip()
            apart = len(match.group()) - len(text) > 1
            self.tokens.append(Token(str(match.lastgroup), text, apart, match.end()))

    def ahead(self, more: int = 0) -> Token:
        place = self.at + more
        return self.tokens[place] if place < len(self.tokens) else Token("end", "", True, len(self.line))

    def take(self, text: str) -> bool:
        found = self.ahead().text == text
        self.at += found
        return found

    def need(self, text: str) -> None:
        if not self.take(text):
            raise Unreadable(f"{text!r} expected before {self.ahead().text!r} in: {self.line.strip()}")

    def head(self) -> tuple[str, tuple[str, ...] | None] | None:
        """Take ``name =`` or ``name(a, b) =``; return None where no equation begins."""
        match = re.match(r" *([A-Za-z]\w*[~^]?'?)(\([\w,; ]+\))? *=(?!=)", self.line[self.begin :])
        if not match or match[1] in WORDS:
            return None
        while self.ahead().text != "=":
            self.at += 1
        self.at += 1
        return match[1], tuple(re.findall(r"\w+", match[2])) if match[2] else None

    @property
    def begin(self) -> int:
        return self.tokens[self.at - 1].end if self.at else 0

    def expression(self, level: int = 0) -> Node:
        if level == len(BINARY):
            return self.power()
        if level == 2 and self.take("-"):
            return ("-", ("number", 0.0), self.expression(level))
        left = self.expression(level + 1)
        while True:
            token = self.ahead()
            if token.text in BINARY[level]:
                self.at += 1
                left = (token.text, left, self.expression(level + 1))
            elif level == len(BINARY) - 1 and self.goes_on(token):
                left = ("@", left, self.expression(level + 1))
            else:
                return left

    def goes_on(self, token: Token) -> bool:
        """Return whether a factor follows without a sign between."""
        apart = token.apart and not self.depth
        return not apart and token.text not in WORDS and (token.kind in ("name", "number") or token.text == "(")

    def power(self) -> Node:
        base = self.factor()
        while self.take("^"):
            base = ("transposed", base) if self.take("T") else ("^", base, self.factor())
        return base

    def factor(self) -> Node:
        token = self.ahead()
        self.at += 1
        if token.kind == "number":
            return ("number", float(token.text))
        if token.text == "|":
            return ("abs", self.inside("|")[0])
        if token.text == "(":
            items = self.inside(")")
            return items[0] if len(items) == 1 else ("side by side", *items)
        if token.text in self.functions and self.take("("):
            return ("call", token.text, *self.inside(")"))
        if token.kind != "name" or token.text in WORDS:
            raise Unreadable(f"a value expected before {token.text!r} in: {self.line.strip()}")
        return ("name", token.text)

    def inside(self, closing: str) -> list[Node]:
        self.depth += 1
        items = [self.expression()]
        while self.take(",") or self.take(";"):
            items.append(self.expression())
        self.need(closing)
        self.depth -= 1
        return items

    def case(self) -> tuple[Node | None, Node]:
        """Read an expression and its condition, if it has one."""
        value = self.expression()
        return (self.expression() if self.take("where") else None), value


def read(docstring: str, names: Iterable[str]) -> tuple[list[Equation], dict[str, str]]:
    """Return the equations of a docstring, and the blocks of cells as lines of theirs give them.

    Args:
      docstring: of a cell's file.
      names: of all cells, which may be labels.
    """
    known, equations, blocks = {*names}, list[Equation](), dict[str, str]()
    functions = {*re.findall(r"^ {4,}(?:\w+: +)?([A-Za-z]\w*)\([\w,; ]+\) *= ", docstring, re.MULTILINE)}
    cells, indent, start = (), 0, 0
    for line in docstring.splitlines():
        depth, offset = len(line) - len(line.lstrip()), start
        start += len(line) + 1
        if depth < 4 or not line.strip() or re.match(r" *(>>>|\.\.\.) ", line):
            continue
        if depth <= indent:
            cells, indent = (), 0
        label = re.match(r"( +)(\w+(?:, \w+)*): +", line)
        if label and {*label[2].split(", ")} <= known:
            cells, indent, offset = tuple(label[2].split(", ")), depth, offset + label.end()
            line = line[label.end() :]
        found, rest = _equations_of(line, functions, cells, offset, equations[-1:])
        equations += found
        if order := re.search(r"blocks (\w( \w)*)$", rest):
            blocks |= dict.fromkeys(cells, order[1])
    return equations, blocks


def _equations_of(
    line: str, functions: set[str], cells: tuple[str, ...], offset: int, last: list[Equation]
) -> tuple[list[Equation], str]:
    """Return the equations of one line, and the text after them; a further case goes to the last one before."""
    reader, found = Reader(line, functions), list[Equation]()
    while True:
        begin = reader.begin
        if head := reader.head():
            found.append(Equation(*head, [reader.case()], cells, (offset + begin, offset + reader.begin)))
        elif not found and last and last[0].cases[-1][0]:
            last[0].cases.append(reader.case())
            last[0].span = last[0].span[0], offset + reader.begin
            return [], line[reader.begin :]
        elif found:
            return found, line[begin:]
        else:
            raise Unreadable(f"no equation: {line.strip()}")
        if not reader.take(",") and not reader.ahead().apart and not reader.take("otherwise"):
            raise Unreadable(f"{reader.ahead().text!r} is unexpected in: {line.strip()}")


def constants(docstring: str) -> dict[str, float]:
    """Return the options that ``.with_`` takes, with their defaults: "takes dt (0.5 by default), a and b (1)"."""
    text = docstring.partition(".with_`` takes")[2]
    found = re.findall(r"(\w+(?: and \w+)?) \((\d+(?:\.\d+)?)(?! to)\b", text)
    return {name: float(number) for names, number in found for name in names.split(" and ")}

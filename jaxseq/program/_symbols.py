"""Names of a program's quantities in text, LaTeX and Python."""

from __future__ import annotations

import keyword
import re

from jaxseq.program._lines import CODE, TEX, TEXT, Equations, Style

GREEK = set(
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega".split()
)
"""Words that LaTeX sets as Greek letters; so does the page, in draw.js."""


def symbol(name: str, style: Style, *more: str) -> str:
    r"""Return a name with the layer as superscript, and as subscripts the text after an underscore, then `more`.

    Layers of a stack are counted from 1. In Python, where a name is a word, they are subscripts too, counted from 0 as
    in the names of parameters.

    Example:
      >>> symbol("0.b_hn", TEX, "t"), symbol("0.cell.U", TEXT, "r"), symbol("0.U", CODE, "f")
      ('b^{(1)}_{\\mathrm{hn},t}', 'U^1_r', 'U_0,f')
    """
    *path, word = name.split(".")
    base, *marks = word.split("_")
    inside = [one for one in path if not one.isdigit() and (one != "cell" or style is CODE)]
    layer = ".".join(one if style is CODE else str(int(one) + 1) for one in path if one.isdigit())
    marks = [mark for mark in (*([layer] if style is CODE else []), *inside, *marks, *more) if mark]
    if style is not TEX:
        above = f"^{layer}" if layer and style is TEXT else ""
        return base + above + (f"_{','.join(marks)}" if marks else "")
    below = ",".join(_letters(mark) for mark in marks)
    return _letters(base) + (f"^{{({layer})}}" if layer else "") + (f"_{{{below}}}" if marks else "")


def _letters(word: str) -> str:
    if word.endswith("'"):
        return f"{_letters(word[:-1])}'"
    if word in GREEK:
        return f"\\{word}"
    return word if len(word) == 1 or not word.isalpha() else rf"\mathrm{{{word}}}"


class Names:
    """The names of the values of some equations, in a style: f_t, h_{t-1}, U_f."""

    def __init__(self, equations: Equations, style: Style) -> None:
        self.equations, self.style = equations, style
        self.before = "t−1" if style is TEXT else "t-1"

    def __call__(self, n: int) -> str | None:
        """Return the name of a value, or None for an expression."""
        eq = self.equations
        if n in eq.pieces:
            given, suffix = eq.pieces[n]
            layers = eq.input_name(given).split(".")[:-1]
            rest = suffix.split(".")[-1].split("_") if layers else re.split(r"[._]", suffix)
            return symbol(eq.input_name(given), self.style, *rest, *self._time(given, "t"))
        if n in eq.names:
            return self.line(eq.names[n])
        if n < eq.first:
            return symbol(eq.input_name(n), self.style, *self._time(n, self.before))
        return None

    def line(self, name: str) -> str:
        """Return the name of a line: a gate's name, c_t for the new c, y_t for the output."""
        word = name.rstrip("'")
        # if a gate and a state have the same name, the state is marked
        mark = "'" if word != name and word in self.equations.program.gates else ""
        *layers, last = ("y" if word == "out" else word).split(".")
        base, below, rest = last.partition("_")
        return symbol(".".join([*layers, f"{base}{mark}{below}{rest}"]), self.style, "t")

    def _time(self, n: int, before: str) -> list[str]:
        kind = self.equations.program.inputs[n].kind
        return {"carry": [before], "x": ["t"], "wx": ["t"]}.get(kind, [])


def identifier(text: str) -> str:
    """Return a name as a Python identifier."""
    word = re.sub(r"\W+", "_", text.replace("'", "_new")).strip("_") or "value"
    word = f"_{word}" if word[0].isdigit() else word
    return f"{word}_" if keyword.iskeyword(word) else word

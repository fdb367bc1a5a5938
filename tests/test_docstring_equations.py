"""The equations that `help(cell)` prints are run, and are what the cell computes."""

from __future__ import annotations

import functools
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from docstring_equations import as_value, of_cell, step
from docstring_notation import Unreadable, constants, read

from jaxseq.cells import CELLS, Cell
from jaxseq.cells._recipe import registered

D, H, B = 3, 4, 6
POSITIVE = ("tau", "r_on")  # a period, and a share of it
UNREADABLE = {
    "clockwork": "periods, and zeros of U, are those of modules of units",
    "hyper_lstm": "one equation for each y in i f g o; embeddings have three axes",
    "ltc": "an equation that is repeated N times in each step",
    "rhn": "equations of a layer l, repeated for each layer",
    "rhn_coupled": "equations of a layer l, repeated for each layer",
}
"""Cells whose docstrings have more than the notation, and what that is."""
UNNAMED = {name: {"gates.re", "gates.im", "gates.skip"} for name in ("lru", "s5")}
UNNAMED["deltaproduct"] = {"gates.k", "gates.v", "gates.beta"}  # of all writes, which the equations name one by one
UNNAMED |= {name: {"gates.force", "gates.skip"} for name in ("linoss_im", "linoss_imex")}
"""Parts of a sum that the trace has and the equations do not name; all other gates are named."""
READABLE = [name for name in CELLS if name not in UNREADABLE]


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """Return the constants that a readable cell's `with_` takes."""
    factory = CELLS[name].recipe.factory
    return {} if factory is registered or name in UNREADABLE else dict(inspect.signature(factory).parameters)


@functools.cache
def variant(name: str) -> Cell:
    """Return the cell with constants other than the defaults, no two alike."""
    others = {key: 0.37 + 0.06 * k for k, key in enumerate(options_of(name))}
    whole = {key: option.default + 1 for key, option in options_of(name).items() if isinstance(option.default, int)}
    return CELLS[name].with_(**others | whole)


@functools.cache
def drawn(name: str) -> tuple[Any, Any, Any]:
    """Return random params, carry and x; those that `init` draws have zeros in them."""
    rng, cell = np.random.default_rng(sum(map(ord, name))), variant(name)
    draw = functools.partial(jax.tree.map, lambda shape: rng.uniform(-1.5, 1.5, shape.shape))
    params = draw(jax.eval_shape(lambda key: cell.init(key, D, H, dtype=jnp.float64), jax.random.key(0)))
    fields = params._asdict()
    params = params._replace(**{field: abs(fields[field]) for field in POSITIVE if field in fields})
    batch = (B, *(2, 3)[: cell.spatial])
    carry = draw(jax.eval_shape(lambda params: cell.initial_carry(params, batch), params))
    xs = jax.ShapeDtypeStruct((1, *batch, D), jnp.float64)
    return params, carry, draw(jax.eval_shape(lambda xs: jax.tree.map(lambda a: a[0], cell.lift(xs)), xs))


@functools.cache
def computed(name: str) -> dict[str, np.ndarray]:
    """Return the new carry, the output and the gates that the cell computes."""
    cell = variant(name)
    # compiled, which takes half the time of the same operations one after the other
    step = jax.jit(lambda params, carry, x: cell.advance(params, carry, cell.input_terms(params, x)))
    carry, out, gates = step(*drawn(name))
    values = {f"carry.{key}": a for key, a in carry._asdict().items()} | {"out": out}
    return jax.tree.map(np.asarray, values | {f"gates.{key}": a for key, a in gates._asdict().items()})


def said(docstring: str, name: str, gates: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield what a docstring says of the same step, row by row."""
    params, carry, x = drawn(name)
    return step(
        docstring, CELLS[name].params_type.__doc__, name, CELLS, params._asdict(), carry._asdict(),
        x._asdict() if hasattr(x, "_asdict") else {"x": x}, gates, {"D": D, "H": H},
        {key: variant(name).recipe.args[k] for k, key in enumerate(options_of(name))},
    )  # fmt: skip


def errors(docstring: str, name: str) -> Iterator[dict[str, float]]:
    """Yield how far each value of a step is from the docstring's, relative to values above 1, row by row."""
    gates = [key.removeprefix("gates.") for key in computed(name) if key.startswith("gates.")]
    for row, values in enumerate(said(docstring, name, gates)):
        expected = {key: as_value(computed(name)[key][row]) for key in values}
        yield {key: distance(value, expected[key]) for key, value in values.items()}


def distance(value: Any, expected: np.ndarray) -> float:
    """Return the largest error, absolute below 1 and relative above; infinite for nan."""
    error = np.abs(np.broadcast_to(value, expected.shape) - expected) / np.maximum(np.abs(expected), 1)
    return float(np.max(np.nan_to_num(error, nan=np.inf)))


@pytest.mark.parametrize("name", READABLE)
def test_a_step_is_what_the_docstring_says(name: str) -> None:
    """The new carry, the output and every gate, in float64; and the constants are those that are told as defaults."""
    for found in errors(CELLS[name].__doc__, name):
        assert max(found.values()) < 1e-12, {key: error for key, error in found.items() if error >= 1e-12}
        assert {*computed(name)} - {*found} == UNNAMED.get(name, set())
    told = constants(CELLS[name].__doc__)
    assert all(told[key] == option.default for key, option in options_of(name).items())


def changes(docstring: str, name: str) -> Iterator[str]:
    """Yield a docstring with one sign, function, prime, block or gate of the cell's equations changed, for each."""
    equations = [*of_cell(read(docstring, CELLS)[0], name).values()]
    defined = [equation.name for equation in equations if not equation.arguments]
    swaps = [
        (r" \+ ", [" - "]), (r" - ", [" + "]), (r" \* ", [" + ", " / "]), (r" / ", [" * "]), (r" \*\* ", [" * "]),
        (r"(?<=\w)'", [""]), (r"\bsigmoid\b", ["tanh"]), (r"\btanh\b", ["sigmoid"]), (r"\brelu\b", ["tanh"]),
        (r"\^T", [""]), (r"\d+(?:\.\d+)?", ["7"]), (r"(?<=\w)- (?=\w)", [" "]), (r" < ", [" > "]),
        (r"\bmax\b", ["min"]), (r"\bmin\b", ["max"]), (r"(?<=[WUVbp]_)\w+", ["i", "n", "z"]),
    ]  # fmt: skip
    swaps += [(rf"(?<![\w']){re.escape(one)}(?![\w'~^-])", [other]) for one, other in itertools.pairwise(defined)]
    for equation in equations:
        start, stop = equation.span
        start = docstring.index("=", start) + 1
        for pattern, others in swaps:
            for match in re.compile(pattern).finditer(docstring, start, stop):
                for other in {*others} - {match.group()}:
                    yield docstring[: match.start()] + other + docstring[match.end() :]


CHANGED = ["lstm", "gru", "lstm_fgr", "mut3", "phased_lstm", "conv_gru", "deltanet", "s5", "exp_rnn", "sgu"]


@pytest.mark.parametrize("name", CHANGED)
def test_a_change_in_a_docstring_is_noticed(name: str) -> None:
    docstring = CELLS[name].__doc__
    changed = [*changes(docstring, name)]
    assert len(changed) > 12
    for other in changed:
        lines = [line.strip() for line in {*other.splitlines()} - {*docstring.splitlines()}]
        try:
            assert any(max(found.values()) > 1e-9 for found in errors(other, name)), lines
        except Unreadable:
            assert lines


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("lstm", "i f g o", "f i g o"), ("gru_cho", "(r z)", "(z r)"), ("s5", "B_re B_im", "B_im B_re")],
)
def test_another_order_of_blocks_is_noticed(name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    docstring = CELLS[name].params_type.__doc__
    assert docstring.count(old) == 1
    monkeypatch.setattr(CELLS[name].params_type, "__doc__", docstring.replace(old, new))
    assert any(max(found.values()) > 1e-3 for found in errors(CELLS[name].__doc__, name))


def test_the_list_of_unreadable_docstrings_is_right() -> None:
    """A cell on it cannot be read; all others can, as the test above shows. Most can."""
    assert {*UNREADABLE} <= {*CELLS} and len(UNREADABLE) <= 14
    for name in UNREADABLE:
        with pytest.raises(Unreadable):
            next(said(CELLS[name].__doc__, name))


def test_what_the_notation_does_not_have_is_refused() -> None:
    """Each with what is wrong."""
    block = "A cell.\n\n    a = x W + h U + b\n    h' = tanh(a)"
    assert all(max(found.values()) < 1e-12 for found in errors(block, "rnn"))
    for old, new, message in [
        ("tanh(a)", "tanh(a) ]", "unexpected"),
        ("tanh(a)", "tanh(q)", "q is nowhere defined"),
        ("tanh(a)", "tanh(h')", "depends on itself"),
        ("tanh(a)", "tanh(a)\n    q = a", "nothing depends on q"),
        ("h U", "U h", "product of shapes"),
        ("x W +", "x *", "shapes"),
        ("    h' = tanh(a)", "    then a tanh", "no equation"),
        ("a = ", "a = 1\n    a = ", "defined twice"),
        ("h' =", "c' =", "no output"),
    ]:
        assert old in block
        with pytest.raises(Unreadable, match=message):
            next(errors(block.replace(old, new), "rnn"))

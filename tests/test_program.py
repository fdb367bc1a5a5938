"""Programs of cells against JAX: their NumPy, their JavaScript, and what they say in LaTeX."""

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseq.study
from jaxseq import InputError
from jaxseq.attention import additive, location, reading, with_attention
from jaxseq.cells import CELLS, Cell, gru, lstm, stack
from jaxseq.interventions import clamp, hold_at, intervene
from jaxseq.program import OPERATIONS, program, run_numpy
from jaxseq.program._lines import TEX
from jaxseq.program._symbols import symbol
from jaxseq.study._latex import align, latex
from jaxseq.trees import named_leaves

pytestmark = pytest.mark.xdist_group("programs")  # each cell is compiled once

D, H, B = 3, 4, 2


def filled(tree, seed=0):
    """Numbers in [0.1, 0.9) in the shapes of a tree, positive for the cells that take a root or a logarithm."""
    draw = np.random.default_rng(seed).uniform

    def fill(leaf):
        values = draw(0.1, 0.9, leaf.shape)
        return np.asarray(values > 0.5 if leaf.dtype == bool else values, leaf.dtype)

    return jax.tree.map(fill, tree)


class Case(NamedTuple):
    """A cell, a step of it, what JAX makes of it, and of it with one gate held."""

    cell: Cell
    params: object
    carry: object
    x: object
    want: tuple
    gate: str
    held: tuple | None


def drawn(cell: Cell, **options):
    """Parameters, carry and input of one step, without drawing by JAX, which would compile for each shape."""
    places = (2, 2)[: cell.spatial]
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(lambda key: cell.init(key, D, H, dtype=jnp.float64, **options), key)
    xs = jax.eval_shape(lambda: cell.lift(jnp.ones((1, B, *places, D), jnp.float64)))
    params, xs = filled(params), filled(xs, 1)
    reads = cell.remember is not None
    if reads:
        memory = cell.remember(params, jnp.asarray(filled(jax.ShapeDtypeStruct((5, B, 2), jnp.float64), 3)),
                               jnp.asarray(np.arange(5)[:, None] < [5, 3]))  # fmt: skip
        cell = reading(cell, memory)
    carry = filled(jax.eval_shape(lambda p: cell.initial_carry(p, (B, *places)), params), 2)
    return cell, params, carry, jax.tree.map(lambda a: a[0], xs)


def step_of(cell, params, carry, x):
    return cell.advance(params, carry, cell.input_terms(params, x))


def everything(params, carry, wx, uh):
    """Return what a custom cell might compute: functions, indices, a loop and a choice that no cell of ours has."""
    a = wx + uh
    h = jnp.tan(a / 4) + jnp.sinh(a) / jnp.cosh(carry.h) - jnp.arctan2(a, carry.h) + jnp.cbrt(a) + jnp.exp2(-a)
    h += jnp.arcsin(carry.h / 2) + jnp.arctan(a) + jnp.floor(3 * a) - jnp.ceil(2 * a) + a**-3 + jnp.log2(1 + a * a)
    h = jnp.clip(h, -0.75, 0.75) + jnp.cumprod(carry.h, axis=-1) - jnp.cumsum(a, axis=-1)[..., ::-1]
    best = jnp.argmax(a, axis=-1, keepdims=True)
    h = jnp.where(
        jnp.broadcast_to(jnp.arange(H), a.shape) == jnp.broadcast_to(best, a.shape),
        h,
        h.at[..., 1].set(jnp.max(a, axis=-1) * jnp.prod(a, axis=-1)),
    )
    h, several = jax.lax.scan(lambda h, w: (jnp.tanh(h * w[0]) + w[1], h.sum(-1)), h, params.U[:3], reverse=True)
    h = h + several.min(0)[:, None] + jnp.take(a, jnp.array([2, 0, 1, 3]), axis=-1)
    h = jax.lax.cond(a[0, 0] > carry.h[0, 0], lambda h: h + 1, lambda h: 2 * h, h)
    h = h + jax.nn.softplus(a) * jax.nn.gelu(a, approximate=True) + jax.nn.softmax(h, axis=-1)
    h = h + jax.nn.gelu(6 * h, approximate=False) + jax.lax.erfc(3 * a) - jax.lax.erf(a - carry.h)
    return type(carry)(h), h, {"a": a}


OTHERS = {
    "custom": lambda: (CELLS["rnn"].replace(equations=everything, name="custom"), {}),
    "stack": lambda: (stack(lstm, gru, lstm), {}),
    "attention": lambda: (with_attention(lstm, additive), {"value_size": 2, "units": 3}),
    "attention with a state": lambda: (with_attention(gru, location), {"value_size": 2, "units": 3}),
    "clamped": lambda: (clamp(lstm, f={1: 0.25}, o=jnp.array([0.1, 0.2, 0.3, 0.4])), {}),
    "clamped stack": lambda: (intervene(stack(gru, gru), {"1.z": hold_at(0.9)}), {}),
    "attention under a layer": lambda: (stack(with_attention(gru, additive), lstm), {"value_size": 2, "units": 3}),
}


@functools.cache
def case(name: str) -> Case:
    cell, options = (CELLS[name], {}) if name in CELLS else OTHERS[name]()
    cell, params, carry, x = drawn(cell, **options)
    shown = jax.eval_shape(lambda *a: step_of(cell, *a), params, carry, x)[2]
    # half of the cells are run with a gate held as well: compiling is what these tests cost
    # (of minimal_rnn a gate is computed from another's own value in the input terms, which no hold changes)
    with_held, gate = name in (*OTHERS, "minimal_rnn") or list(CELLS).index(name) % 2 == 0, ""

    def both(params, carry, x):
        nonlocal gate
        plain = step_of(cell, params, carry, x)
        for gate in named_leaves(shown) if with_held else ():
            try:
                return plain, step_of(intervene(cell, {gate: hold_at(0.25)}), params, carry, x)
            except InputError:  # nothing is computed from this one
                continue
        gate = ""
        return plain, None

    want, held = jax.jit(both)(params, carry, x)
    return Case(cell, params, carry, x, want, gate, held)


def assert_equal(got, want, rtol=1e-12):
    for found, tree in zip(got, want, strict=True):
        wanted = named_leaves(tree)
        assert set(found) == set(wanted)
        for name, values in wanted.items():
            assert np.isfinite(values).all(), name
            np.testing.assert_allclose(found[name], np.asarray(values, float), rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("name", [*CELLS, *OTHERS])
def test_numpy_equals_jax(name):
    """In float64, as it is and with a gate held at 0.25."""
    one = case(name)
    found = program(one.cell, one.params, one.carry, one.x)
    assert_equal(run_numpy(found, one.params, one.carry, one.x), one.want)
    if one.gate:
        assert_equal(run_numpy(found, one.params, one.carry, one.x, held={one.gate: 0.25}), one.held)
    assert {op.op for op in found.ops} <= set(OPERATIONS)
    text = align(found)
    assert text.count("{") == text.count("}") and text.count(r"\left") == text.count(r"\right")
    assert all(f"{symbol(gate, TEX, 't')} &=" in text for gate in found.gates)


def javascript(script: str, given: object) -> object:
    """What JavaScript prints that has program.js loaded and `given` as its data."""
    path = Path(jaxseq.study.__file__).parent / "page" / "program.js"
    names = "{ readied, runStep, runProgram, readOut, lossOf }"
    text = f"const {names} = require({json.dumps(str(path))});"
    text += f'const given = JSON.parse(require("fs").readFileSync(0, "utf8"));{script}'
    done = subprocess.run(["node", "-e", text], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def flat(tree) -> list[list[float]]:
    return [np.asarray(leaf, float).ravel().tolist() for leaf in jax.tree.leaves(tree)]


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to run JavaScript with")
def test_javascript_equals_jax():
    """Of all cells in one process: carry, output and gates, and with a gate held."""
    names = [*CELLS, *OTHERS]
    given = []
    for one in map(case, names):
        found = program(one.cell, one.params, one.carry, one.x)
        given.append({
            "program": found.to_json(), "carry": flat(one.carry), "x": flat(one.x),
            "weights": [*flat(one.params), *[[]] * len(flat((one.carry, one.x))), *flat(found.data)],
            "held": {found.gates[one.gate]: [{"unit": None, "value": 0.25}]} if one.gate else {},
        })  # fmt: skip
    runs = javascript(
        """const list = (o) => Object.fromEntries(Object.entries(o).map(([n, a]) => [n, Array.from(a)]));
        console.log(JSON.stringify(given.map(({ program, weights, carry, x, held }) => {
          const ready = readied(program, weights);
          return [{}, held].map((h) => { const run = runProgram(ready, [x], carry, h);
            return [list(run.carry), list(run.out), list(run.gates)]; }); })));""",
        given,
    )
    for name, run in zip(names, runs, strict=True):
        one = case(name)
        for found, want in zip(run, (one.want, one.held), strict=True):
            for leaves, tree in zip(found, want or (), strict=bool(want)):
                for leaf, values in named_leaves(tree).items():
                    message = f"{name}: {leaf}"
                    np.testing.assert_allclose(leaves[leaf], np.ravel(values), rtol=1e-9, atol=1e-9, err_msg=message)


LATEX = {
    "lstm": r"""
i_{t} &= \sigma\left(x_{t} \, W_{i} + h_{t-1} \, U_{i} + b_{i}\right) \\
f_{t} &= \sigma\left(x_{t} \, W_{f} + h_{t-1} \, U_{f} + b_{f}\right) \\
g_{t} &= \tanh\left(x_{t} \, W_{g} + h_{t-1} \, U_{g} + b_{g}\right) \\
o_{t} &= \sigma\left(x_{t} \, W_{o} + h_{t-1} \, U_{o} + b_{o}\right) \\
c_{t} &= f_{t} \odot c_{t-1} + i_{t} \odot g_{t} \\
h_{t} &= o_{t} \odot \tanh\left(c_{t}\right)
""",
    "gru": r"""
r_{t} &= \sigma\left(x_{t} \, W_{r} + h_{t-1} \, U_{r} + b_{r}\right) \\
z_{t} &= \sigma\left(x_{t} \, W_{z} + h_{t-1} \, U_{z} + b_{z}\right) \\
n_{t} &= \tanh\left(x_{t} \, W_{n} + r_{t} \odot \left(h_{t-1} \, U_{n} + b_{\mathrm{hn}}\right) + b_{n}\right) \\
h_{t} &= \left(1 - z_{t}\right) \odot n_{t} + z_{t} \odot h_{t-1}
""",
    "mgu": r"""
f_{t} &= \sigma\left(x_{t} \, W_{f} + h_{t-1} \, U + b_{f}\right) \\
n_{t} &= \tanh\left(x_{t} \, W_{n} + \left(f_{t} \odot h_{t-1}\right) \, U_{n} + b_{n}\right) \\
h_{t} &= \left(1 - f_{t}\right) \odot h_{t-1} + f_{t} \odot n_{t}
""",
    "sru": r"""
f_{t} &= \sigma\left(x_{t} \, W_{f} + v_{f} \odot c_{t-1} + b_{f}\right) \\
r_{t} &= \sigma\left(x_{t} \, W_{r} + v_{r} \odot c_{t-1} + b_{r}\right) \\
""",
    "slstm": r"""
c_{t} &= f_{t} \odot c_{t-1} + i_{t} \odot g_{t} \\
n_{t} &= f_{t} \odot n_{t-1} + i_{t} \\
h_{t} &= o_{t} \odot \frac{c_{t}}{n_{t}}
""",
}
"""Equations of the papers; of the last two some of them."""


@pytest.mark.parametrize("name", LATEX)
def test_latex_is_what_the_papers_have(name):
    text, wanted = latex(CELLS[name]), LATEX[name].strip()
    if name in ("sru", "slstm"):
        assert wanted in text
    else:
        assert text == f"\\begin{{align}}\n{wanted}\n\\end{{align}}"


def test_greek_letters_are_letters_small_and_capital():
    assert symbol("Delta", TEX, "t") == r"\Delta_{t}" and symbol("0.beta", TEX) == r"\beta^{(1)}"
    assert r"h_{t} &= A_{\mathrm{bar},t} \odot h_{t-1} + \Delta_{t} \odot u_{t} \odot B_{t}" in latex(CELLS["mamba"])


def test_a_source_has_its_names_and_a_mask_of_scores_infinity():
    text = align(program(*(one := case("attention"))[:4]))
    assert r"\mathrm{keys}" in text and r"\mathrm{values}" in text and r"-\infty" in text and "38" not in text
    assert [given.name for given in program(*one[:4]).inputs if given.kind == "data"] == ["keys", "values", "mask"]


def test_what_a_program_cannot_say_is_named():
    """The primitive and the cell, where a step sorts, looks up a place that it computed, or draws."""
    for what, change in {
        "'sort'": jnp.sort,
        "'gather'": lambda a: jnp.take_along_axis(a, jnp.argmax(a, -1, keepdims=True), -1) + a,
        "'while'": lambda a: jax.lax.while_loop(lambda h: h.sum() < 1, lambda h: h + 1, a),
    }.items():

        def equations(params, carry, wx, uh, change=change):
            carry, out, gates = CELLS["rnn"].equations(params, carry, wx, uh)
            return carry, change(out), gates

        cell = CELLS["rnn"].replace(equations=equations, name="mine")
        with pytest.raises(InputError, match=f"mine: the primitive {what}"):
            program(*drawn(cell))
    cell, params, carry, x = drawn(lstm)
    with pytest.raises(InputError, match=r"this program takes x  of shape \(2, 3\); got \(3, 3\)"):
        run_numpy(program(cell, params, carry, x), params, carry, np.ones((3, 3)))

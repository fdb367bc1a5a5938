"""Gates changed from outside equal the cell's equations written with the change in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid, unpack
from test_laws import NEWER

from jaxseq import InputError, trace, unroll
from jaxseq.cells import CELLS, gru, lstm, rnn, stack
from jaxseq.cells._gru import GRUCarry
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.interventions import clamp, hold_at, intervene
from jaxseq.testing import assert_close, check_cell


def lstm_step(change):
    """The LSTM as a NumPy loop, whose gates go through `change` as soon as they are known."""

    def step(p, k, x):
        W, U, b = (unpack(a, "i f g o") for a in p)
        pre = {n: x @ W[n] + k.h @ U[n] + b[n] for n in "ifgo"}
        gates = change({n: np.tanh(a) if n == "g" else sigmoid(a) for n, a in pre.items()})
        c = gates["f"] * k.c + gates["i"] * gates["g"]
        h = gates["o"] * np.tanh(c)
        return LSTMCarry(h, c), h

    return step


def test_a_gate_held_at_a_number() -> None:
    check_against(clamp(lstm, f=1.0), lstm_step(lambda g: {**g, "f": 1.0}))


def test_some_units_of_a_gate_held() -> None:
    def change(g):
        o = g["o"].copy()
        o[[0, 3]] = 0.0, 0.25
        return {**g, "o": o}

    check_against(clamp(lstm, o={0: 0.0, -2: 0.25}), lstm_step(change))


def test_a_gate_made_of_another() -> None:
    """The input gate as one minus the forget gate, whichever of them the cell computes first."""
    check_against(intervene(lstm, {"i": lambda _, gate: 1 - gate("f")}), lstm_step(lambda g: {**g, "i": 1 - g["f"]}))
    check_against(intervene(lstm, {"f": lambda _, gate: 1 - gate("i")}), lstm_step(lambda g: {**g, "f": 1 - g["i"]}))


def test_two_changes_of_which_one_uses_the_other() -> None:
    cell = intervene(lstm, {"i": lambda _, gate: 1 - gate("f"), "f": lambda f, _: f * 0.5})
    check_against(cell, lstm_step(lambda g: {**g, "f": g["f"] * 0.5, "i": 1 - g["f"] * 0.5}))


def test_what_depends_on_a_changed_gate_is_computed_anew() -> None:
    """The reset gate of a GRU enters its candidate."""

    def step(p, k, x):
        W, U, b = (unpack(a, "r z n") for a in p[:3])
        z = sigmoid(x @ W["z"] + k.h @ U["z"] + b["z"])
        n = np.tanh(x @ W["n"] + b["n"] + 0.5 * (k.h @ U["n"] + p.b_hn))
        h = (1 - z) * n + z * k.h
        return GRUCarry(h), h

    check_against(clamp(gru, r=0.5), step)


def test_a_clamped_cell_obeys_the_laws() -> None:
    more = ["recurrences"] * (not NEWER)
    check_cell(clamp(lstm, f=0.9, i={0: 0.5}), laws=["batch", "dtype", *more])
    check_cell(intervene(stack(lstm, gru), {"1.z": hold_at(0.5)}), laws=["batch", "dtype", *more])


def test_the_trace_shows_the_changed_gate() -> None:
    params = gru.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    _, seen = trace(clamp(gru, z=0.25), params, jnp.ones((7, 2, 3)))
    np.testing.assert_array_equal(seen.gates.z, np.full((7, 2, 5), 0.25))


@pytest.mark.parametrize("name", CELLS)
def test_every_cells_gates_can_be_changed_to_themselves(name: str) -> None:
    """A change that changes nothing runs every cell through the machinery, to the same numbers."""
    cell = CELLS[name]
    params = cell.init(jax.random.key(0), 3, 4, dtype=jnp.float64)
    xs = cell.lift(jnp.ones((2, *[2] * (1 + cell.spatial), 3)))
    start = cell.initial_carry(params, jax.tree.leaves(xs)[0].shape[1:-1])
    x = jax.tree.map(lambda a: a[0], xs)
    want = cell.equations(params, start, cell.input_terms(params, x), cell.hidden_terms(params, start))
    gates = [jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in jax.tree.leaves_with_path(want[2])]
    used = []
    for gate in gates:
        changed = intervene(cell, {gate: lambda value, _: value * 1})
        try:
            got = changed.equations(params, start, cell.input_terms(params, x), cell.hidden_terms(params, start))
        except InputError:  # nothing is computed from it: it is there to be seen
            continue
        used.append(gate)
        assert_close(f"{name} {gate}", got, want)
    assert used, f"no gate of {name} can be changed: {gates}"


def run(cell) -> None:
    unroll(cell, cell.init(jax.random.key(0), 3, 5, dtype=jnp.float64), jnp.ones((7, 2, 3)))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (clamp(lstm, q=1.0), r"unknown gate of lstm 'q': known: f, g, i, o"),
        (clamp(lstm, f={5: 1.0}), r"f has the units 0 to 4, got 5"),
        (clamp(lstm, f=jnp.ones(3)), r"f has the shape \(2, 5\), which \(3,\) does not broadcast to"),
        (intervene(lstm, {"f": lambda f, _: f[..., :2]}), r"f is float64 of shape \(2, 5\); the change made it .*2, 2"),
        (intervene(lstm, {"i": lambda _, g: g("f"), "f": lambda _, g: g("i")}), r"changes of i and f need each other"),
        (intervene(lstm, {"i": lambda _, g: g("z")}), r"unknown gate of lstm 'z'"),
        (
            lstm.replace(
                equations=lambda *a: (lambda out: (*out[:2], out[2]._replace(f=out[2].f * 2)))(lstm.equations(*a))
            ),
            None,
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_is_refused(cell, message) -> None:
    if message is None:
        cell, message = clamp(cell, f=1.0), r"nothing in a step is computed from 'f'.*change another of i, f, g, o"
    with pytest.raises(InputError, match=message):
        run(cell)


def test_rnn_has_a_preactivation_to_change() -> None:
    params = rnn.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    _, outs = unroll(clamp(rnn, a=0.3), params, jnp.ones((7, 2, 3)))
    np.testing.assert_allclose(outs, np.full((7, 2, 5), np.tanh(0.3)), rtol=1e-12)

"""What gates do is found from numbers: whatever their letters are, and whatever is wrapped around the cell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from jaxseq.attention import additive, with_attention
from jaxseq.cells import CELLS, Cell, Hidden, gru, init_of, lstm, stack, zeros_carry
from jaxseq.guide import FOLDER
from jaxseq.interventions import clamp
from jaxseq.notation import Array
from jaxseq.study import ROLES, constant_map, plots, roles_in, roles_of
from jaxseq.study.part import said_of

WANT = {
    "lstm": {"i": "write", "f": "retain", "g": "candidate", "o": "show"},
    "gru": {"r": "reset", "z": "retain", "n": "candidate"},
    "gru_cho": {"r": "reset", "z": "retain", "n": "candidate"},
    "gru1": {"r": "reset", "z": "overwrite", "n": "candidate"},  # the same letter does the opposite
    "mgu": {"f": "overwrite", "n": "candidate"},
    "lightru": {"n": "candidate", "f": "overwrite"},
    "lem": {"s": "overwrite", "r": "overwrite", "n_c": "candidate", "n_h": "candidate"},  # y' = (1 - r) y + r n
    "on_lstm": {"g": "candidate", "o": "show", "f_hat": "retain", "i_hat": "write"},
    "lstm_mc": {"m": "candidate"},  # c' = (1 - o) m: what o shows has left the state
    "janet": {"f": "retain", "w": "write", "g": "candidate"},
    "cfn": {"i": "write", "g": "candidate"},  # retains tanh(h), which is no gate times h
    "slstm": {"i": "write", "f": "retain", "g": "candidate", "o": "show"},  # i is an exponential, and beyond 1
    "rnn": {"a": "pre-activation"},
    "rnn_relu": {"a": "pre-activation"},  # twice the input is twice the state, and no candidate
    "intersection_rnn": {"z": "retain", "n": "candidate"},  # z_y and n_y are of the output alone
    "lru": {"re": "candidate", "im": "candidate"},
    "hgrn": {"c_re": "candidate", "c_im": "candidate", "f": "retain", "g": "show"},  # f exp(i theta) times the old one
}
"""Each as its paper's equations have it."""


@pytest.mark.parametrize("name", WANT)
def test_roles_are_those_of_the_equations(name) -> None:
    found = roles_of(CELLS[name])
    assert found == WANT[name] and set(found.values()) <= set(ROLES)


class Renamed(NamedTuple):
    """An LSTM's i, f, g and o by letters that other cells give to other things."""

    f: Array
    o: Array
    r: Array
    i: Array


def renamed(scale=1.0):
    def equations(params, carry, wx, uh):
        carry, out, gates = lstm.equations(params, carry, wx, uh)
        return carry, scale * out, Renamed(*gates)

    return lstm.replace(equations=equations, name="renamed")


def test_a_custom_cells_gates_are_named_by_what_they_do() -> None:
    assert roles_of(renamed()) == {"f": "write", "o": "retain", "r": "candidate", "i": "show"}
    # what it puts out is half of h, and shown by the same gate
    assert roles_of(renamed(0.5))["i"] == "show"


class Pair(NamedTuple):
    """Two gates and a candidate."""

    a: Array
    b: Array
    n: Array


def of_three(equations):
    """A cell of three affine parts and one state."""
    terms = {"W": "D 3H", "U": "H 3H", "b": "3H"}
    Params = NamedTuple("Params", [(name, Array) for name in terms])  # type: ignore[misc]

    def step(params, carry, wx, uh):
        h, gates = equations(carry.h, *jnp.split(wx + uh, 3, axis=-1))
        return Hidden(h), h, Pair(*gates)

    affine_of = lambda params, x: x @ params.W + jnp.broadcast_to(params.b, (*x.shape[:-1], *params.b.shape))  # noqa: E731
    return Cell(
        init_of(Params, **terms),
        zeros_carry(Hidden),
        affine_of,
        lambda params, carry: carry.h @ params.U,
        step,
        "three",
    )


def test_an_exponential_gate_writes_though_it_goes_beyond_one() -> None:
    def equations(h, a, b, n):
        a, b, n = jax.nn.sigmoid(a), jnp.exp(b), jnp.tanh(n)
        return a * h + b * n, (a, b, n)

    assert roles_of(of_three(equations)) == {"a": "retain", "b": "write", "n": "candidate"}


def test_two_gates_that_retain_together_are_not_said_to_show() -> None:
    """The state is its own output: what scales the old one within it is no output gate, and neither retains alone."""

    def equations(h, a, b, n):
        a, b, n = jax.nn.sigmoid(a), jax.nn.sigmoid(b), jnp.tanh(n)
        return a * b * h + n, (a, b, n)

    assert roles_of(of_three(equations)) == {"n": "candidate"}


def test_the_guides_own_cell_overwrites_by_a() -> None:
    """h' = (1 - a) h + a n, whose a is the letter of an RNN's pre-activation."""
    page = (FOLDER / "custom.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    assert roles_of(names["leaky"]) == {"a": "overwrite", "n": "candidate"}


def test_a_cell_that_retains_without_a_gate_has_none_that_does() -> None:
    params = CELLS["lru"].init(jax.random.key(0), 3, 4)
    assert not {"retain", "overwrite"} & set(roles_of(CELLS["lru"]).values())
    assert constant_map(CELLS["lru"], params, jax.numpy.ones((3, 1, 3), jax.numpy.float32)) is not None


def test_layers_have_their_own_and_attention_changes_none() -> None:
    cell = stack(with_attention(gru, additive), lstm)
    want = {f"0.{name}": role for name, role in WANT["gru"].items()}
    want |= {f"1.{name}": role for name, role in WANT["lstm"].items()}
    assert roles_in(cell, None, None) == want == roles_of(stack(gru, lstm))
    assert roles_of(clamp(lstm, o=1.0))["f"] == "retain"


def test_a_label_is_the_layer_the_letter_and_the_role() -> None:
    assert [said_of(name) for name in ("f", "0.r", "1.0.z", "h.1")] == ["f", "layer 1: r", "layer 2.1: z", "h.1"]
    assert plots.label_of("1.r", {"1.r": "overwrite"}) == "layer 2: r  overwrite"
    assert plots.label_of("0.a", {}) == "layer 1: a" == plots.label_of("0.a", None)

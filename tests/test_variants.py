"""Variants of cells by `with_`, and the inits of all cells: options, sizes, signatures, pickling."""

import inspect
import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, unroll
from jaxseq.attention import additive, with_attention
from jaxseq.cells import (
    CELLS,
    Cell,
    Size,
    checked_init,
    clockwork,
    cornn,
    gru,
    hidden_product,
    init_of,
    input_affine,
    lstm,
    phased_lstm,
    rnn,
    stack,
    zeros_carry,
)
from jaxseq.initializers import constant, glorot, identity, normal, orthogonal, ring, spectral_radius, uniform, zeros
from jaxseq.interventions import clamp

KEY = jax.random.key(0)
OPTIONS = {
    "antisymmetric_rnn": {"epsilon": 0.1},
    "antisymmetric_rnn_gated": {"gamma": 0.1},
    "clockwork": {"periods": (1, 3)},
    "cornn": {"dt": 0.1},
    "esn": {"leak": 0.5},
    "lem": {"dt": 0.5},
    "lipschitz_rnn": {"beta_A": 0.5},
    "ltc": {"unfolds": 2},
    "miru": {"reset": 0.25},
    "miru1": {"retain": 0.25},
    "phased_lstm": {"leak": 0.5},
    "scrn": {"alpha": 0.5},
    "tau_gru": {"delay": 3},
    "unicornn": {"alpha": 0.5},
}


def refused(message: str):
    return pytest.raises(InputError, match=message)


def test_these_are_all_cells_with_options() -> None:
    assert set(OPTIONS) == {name for name, cell in CELLS.items() if cell.recipe.make() and cell._call()[1]}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_variant_is_cached_compares_pickles_and_computes_something_else(name: str) -> None:
    cell, options = CELLS[name], OPTIONS[name]
    variant = cell.with_(**options)
    assert variant is cell.with_(**options) and variant != cell and variant.name == name
    assert pickle.loads(pickle.dumps(variant)) is variant and pickle.loads(pickle.dumps(cell)) is cell
    assert variant.with_() is variant
    params = cell.init(KEY, 3, 8)
    xs = jax.random.normal(KEY, (9, 2, 3), jnp.float32)
    assert float(jnp.abs(unroll(cell, params, xs)[1] - unroll(variant, params, xs)[1]).max()) > 1e-4


def test_a_variant_of_a_variant_keeps_its_other_options() -> None:
    assert cornn.with_(dt=0.1).with_(gamma=2.0) == cornn.with_(gamma=2.0, dt=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: clockwork.with_(periods=(3, 1)), r"periods must rise, such as \(1, 2, 4, 8\); got \(3, 1\)"),
        (lambda: clockwork.with_(periods=(0, 1)), r"periods\[0\] must be a whole number above 0; got 0"),
        (lambda: clockwork.with_(periods=()), r"periods must rise"),
        (lambda: cornn.with_(dt=0.0), r"cornn.with_: dt must be a number above 0; got 0.0"),
        (lambda: cornn.with_(gamma=-1), r"gamma must be a number at least 0; got -1"),
        (lambda: cornn.with_(dt="fast"), r"dt must be a number above 0; got 'fast'"),
        (lambda: phased_lstm.with_(leak=2.0), r"leak must be a number at least 0 and at most 1; got 2.0"),
        (lambda: phased_lstm.with_(leak=float("nan")), r"leak must be a number"),
        (lambda: CELLS["tau_gru"].with_(delay=1.5), r"delay must be a whole number above 0; got 1.5"),
        (lambda: clockwork.with_(period=(1,)), r"unknown option 'period': did you mean 'periods'\? known: periods"),
        (lambda: lstm.with_(forget_bias=2.0), r"option of init: lstm.init\(key, input_size, hidden_size, forget_bias="),
        (lambda: lstm.with_(depth=2), r"unknown option 'depth': lstm has no options for its equations"),
        (lambda: stack(lstm, gru).with_(depth=2), r"stack\(lstm, gru\).with_: unknown option 'depth': known: every"),
        (
            lambda: with_attention(lstm, additive).with_(depth=2),
            r"with_attention has no options; its parts are lstm, additive",
        ),
        (lambda: stack(clockwork, gru).with_(periods=(1,)), r"give clockwork.with_\(periods=...\) to stack instead"),
        (
            lambda: clamp(clockwork, runs=1.0).with_(periods=(1,)),
            r"give clockwork.with_\(periods=...\) to clamp instead",
        ),
        (lambda: CELLS["lstn"], r"unknown cell 'lstn': did you mean 'lstm'"),
    ],
)
def test_options_and_names_that_do_not_exist_are_refused(make, message: str) -> None:
    with refused(message):
        make()


def test_with_changes_the_gates_that_a_clamp_holds() -> None:
    assert clamp(lstm, f=1.0).with_(f=0.5) == clamp(lstm, f=0.5)
    assert clamp(cell=lstm, f=0.5) == clamp(lstm, f=0.5) and clockwork.with_(periods=(1, 2, 4, 8)) == clockwork
    assert clamp(lstm, f=1.0).with_(i=0.5) == clamp(lstm, f=1.0, i=0.5)


def test_an_unknown_cell_is_a_key_error_too_and_lookups_are_those_of_a_dict() -> None:
    with pytest.raises(KeyError, match="did you mean 'gru'"):
        CELLS["gruu"]
    assert CELLS.get("gruu") is None and "gruu" not in CELLS and list(CELLS) == sorted(CELLS)


# ------------------------------------------------------------------------------------------------------------- inits


@pytest.mark.parametrize("name", CELLS)
def test_every_init_checks_sizes_and_options_and_shows_them(name: str) -> None:
    init = CELLS[name].init
    for sizes in ((0, 5), (3, 0), (2.5, 5), (3, "5"), (True, 5)):
        with refused(r"(input|hidden)_size must be a whole number above 0; got"):
            init(KEY, *sizes)
    with refused(r"key must be a random key, such as jax.random.key\(0\); got 'no'"):
        init("no", 3, 5)
    shown = inspect.signature(init).parameters
    assert list(shown)[:3] == ["key", "input_size", "hidden_size"] and "dtype" in shown
    assert all(p.kind is p.KEYWORD_ONLY for p in list(shown.values())[3:])
    with refused(r"unknown option 'dtyp': did you mean 'dtype'"):
        init(KEY, 3, 5, dtyp=jnp.float32)
    every = {n: p.default for n, p in shown.items() if p.kind is p.KEYWORD_ONLY}
    for a, b in zip(jax.tree.leaves(init(KEY, 3, 5)), jax.tree.leaves(init(KEY, 3, 5, **every)), strict=True):
        np.testing.assert_array_equal(a, b)  # what is shown is what is done


def test_a_signature_prints_its_defaults() -> None:
    shown = str(inspect.signature(lstm.init))
    assert "kernel: 'Initializer' = glorot" in shown and "forget_bias: 'float' = 1.0) -> 'LSTMParams'" in shown
    assert "heads: 'int' = 1" in str(inspect.signature(CELLS["mlstm"].init))
    assert "window: 'int' = 3" in str(inspect.signature(CELLS["conv_gru"].init))
    assert "depth: 'int' = 3" in str(inspect.signature(CELLS["rhn"].init))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("conv_gru", {"window": 0}, "window must be a whole number above 0; got 0"),
        ("deltanet", {"key_size": 0}, "key_size must be a whole number above 0; got 0"),
        ("gla", {"rank": 0.5}, "rank must be a whole number above 0; got 0.5"),
        ("hyper_lstm", {"hyper": 0}, "hyper must be a whole number above 0; got 0"),
        ("lmu", {"theta": 0}, "theta must be a number above 0; got 0"),
        ("lru", {"r_min": 0.9, "r_max": 0.5}, "r_max must be a number at least 0.9 and at most 1; got 0.5"),
        ("lstmp", {"projection": 0}, "projection must be a whole number above 0; got 0"),
        ("mlstm", {"heads": 2}, "heads must divide the hidden size 5; got 2"),
        ("on_lstm", {"chunk": 2}, "chunk must divide the hidden size 5; got 2"),
        ("phased_lstm", {"periods": (9, 1)}, r"periods must be two numbers above 0, the shorter first; got \(9, 1\)"),
        ("retention", {"gamma": 2}, "gamma must be a number at least 0 and at most 1; got 2"),
        ("rhn", {"depth": 0}, "depth must be a whole number above 0; got 0"),
        ("s5", {"step_min": 0.0}, "step_min must be a number above 0; got 0.0"),
    ],
)
def test_options_of_inits_are_checked(name: str, options, message: str) -> None:
    with refused(message):
        CELLS[name].init(KEY, 3, 5, **options)


class Gated(NamedTuple):
    W: jax.Array
    U: jax.Array
    b: jax.Array
    p: jax.Array


def test_letters_sums_and_added_biases() -> None:
    init = init_of(
        Gated, added={"shift": (2.0, "b[1] p[0]")}, sizes={"M": Size("narrow", part=2)}, whole="U",
        W="D 2H+3M", U="M 2H", b="2H", p=("3M", constant(1.0)),
    )  # fmt: skip
    params = init(KEY, 3, 4, kernel=orthogonal)
    assert [a.shape for a in params] == [(3, 14), (2, 8), (8,), (6,)]
    np.testing.assert_array_equal(params.b, [0, 0, 0, 0, 2, 2, 2, 2])
    np.testing.assert_array_equal(params.p, [3, 3, 1, 1, 1, 1])
    np.testing.assert_allclose(params.U @ params.U.T, np.eye(2), atol=1e-6)  # drawn as one matrix
    blocks = np.split(np.asarray(params.W), [4, 8, 10, 12], axis=1)
    for block in blocks:  # and W block by block
        small = block if block.shape[0] <= block.shape[1] else block.T
        np.testing.assert_allclose(small @ small.T, np.eye(len(small)), atol=1e-6)
    assert init(KEY, 3, 4, narrow=1).U.shape == (1, 8)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"W": "D H", "U": "H H", "b": "H"}, "Gated has the fields W, U, b, p; got shapes for W, U, b. Give one for"),
        ({"W": "D H", "U": "H H", "b": "H", "p": "H"}, r"p needs an initializer, such as p=\('H', uniform\(0.1\)\)"),
        ({"W": "D Q", "U": "H H", "b": "H", "p": ("H", zeros)}, "one of the letters D, H, such as 4H; got 'Q'"),
    ],
)
def test_shapes_that_cannot_be_read_are_refused(shapes, message: str) -> None:
    with refused(message):
        init_of(Gated, **shapes)


def test_a_hand_written_init_shows_the_options_that_it_passes_on() -> None:
    inner = init_of(Gated, W="D H", U="H H", b="H", p=("H", zeros))

    @checked_init("mine", inner)
    def init(key, input_size, hidden_size, *, scale: float = 2.0, **options):
        return jax.tree.map(lambda a: scale * a, inner(key, input_size, hidden_size, **options))

    assert {"scale", "kernel", "dtype"} <= set(inspect.signature(init).parameters)
    np.testing.assert_array_equal(init(KEY, 2, 3, scale=1.0, bias=constant(3.0)).b, [3, 3, 3])
    with refused("init of mine: unknown option 'scal': did you mean 'scale'"):
        init(KEY, 2, 3, scal=1.0)


@pytest.mark.parametrize("draw", [glorot, zeros, normal, uniform(0.1), identity(), spectral_radius(0.9), ring()])
def test_initializers_pickle_and_compare(draw) -> None:
    assert pickle.loads(pickle.dumps(draw)) == draw and hash(draw) == hash(draw)


def test_initializers_print_as_they_are_called() -> None:
    assert repr(glorot) == "glorot" and repr(spectral_radius(0.9)) == "spectral_radius(rho=0.9, draw=normal)"
    assert uniform(0.1) == uniform(0.1) != uniform(0.2)


def own_equations(params, carry, wx, uh):
    h = wx + uh + jnp.broadcast_to(params.p, uh.shape) * carry.h
    return type(carry)(h), h, (h,)


def test_a_users_cell_with_initializers_can_be_pickled() -> None:
    init = init_of(Gated, W="D H", U="H H", b="H", p=("H", uniform(0.1)))
    carry = zeros_carry(type(rnn.initial_carry(rnn.init(KEY, 1, 1))))
    cell = Cell(init, carry, input_affine, hidden_product, own_equations, "mine", Gated)
    again = pickle.loads(pickle.dumps(cell))
    assert again == cell
    params = again.init(KEY, 3, 4)
    np.testing.assert_array_equal(params.p, cell.init(KEY, 3, 4).p)
    assert unroll(again, params, jnp.ones((2, 3), jnp.float32))[1].shape == (2, 4)

"""Gates of several axes, of heads or places: each of their numbers is a unit, counted row by row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import trace, unroll
from jaxseq.cells import CELLS
from jaxseq.interventions import hold_at, intervene
from jaxseq.study import Batch, Part, atlas, patching, pooled
from jaxseq.study.memory import keeps_of
from jaxseq.study.subject import _units, look
from jaxseq.testing import Subject, draw
from jaxseq.trees import named_leaves

HEADS = CELLS["gated_deltanet"]
T, B, H = 5, 2, 6


@pytest.fixture(scope="module")
def run():
    """A cell of two heads of three units each, with random weights and inputs, and its run."""
    params = HEADS.init(jax.random.key(0), 3, H, dtype=jnp.float64, heads=2)
    xs = jax.random.normal(jax.random.key(1), (T, B, 3), jnp.float64)
    return params, xs, jax.jit(lambda: trace(HEADS, params, xs)[1])()


UNITS = {
    "lstm": H,
    "hyper_lstm": H,  # and a smaller one for each gate
    "gated_deltanet": H,
    "deltaproduct": H,  # k and v are those of two writes
    "mlstm": 1,  # a gate for the head retains
    "mamba": 16 * H,  # a gate for each of 16 numbers of a unit retains
    "conv_gru": 6 * H,  # of 2 x 3 places
}


@pytest.mark.parametrize("name", UNITS)
def test_units_are_the_numbers_of_the_gate_that_retains_or_else_of_most(name) -> None:
    cell = CELLS[name]

    def quantities(key):
        params = cell.init(key, 3, H, dtype=jnp.float64)
        seen = trace(cell, params, cell.lift(jnp.ones((T, B, *(2, 3)[: cell.spatial], 3))))[1]
        return named_leaves(seen.gates), named_leaves(seen.carries)

    gates, carries = jax.eval_shape(quantities, jax.eval_shape(lambda: jax.random.key(0)))
    kept = [gates[keep.gate].shape[2:] for keep in keeps_of(cell)]
    assert _units([a.shape[2:] for a in (*gates.values(), *carries.values())], kept) == UNITS[name]


def test_a_layer_without_any_has_none() -> None:
    assert _units([(), ()], []) == 0


def test_a_page_has_them_along_one_axis_and_names_what_it_leaves_out(run) -> None:
    params, xs, seen = run
    subject = look(Part("heads", HEADS, params, xs), briefly=True)[0].subject
    assert list(subject.gates) == ["q", "k", "v", "error"] and not subject.carries
    for name, values in subject.gates.items():
        np.testing.assert_allclose(values, getattr(seen.gates, name).reshape(T, B, H), rtol=1e-12)
    assert subject.others == {"S": [2, 3, 3], "alpha": [2, 1], "beta": [2, 1]}
    assert subject.live is not None and sorted(subject.order) == list(range(H))


def test_each_has_a_half_life() -> None:
    """Of HGRN2, whose f retains the rows of a matrix for each head."""
    cell = CELLS["hgrn2"]
    params = cell.init(jax.random.key(0), 3, H, dtype=jnp.float64, heads=2)
    xs = jax.random.normal(jax.random.key(1), (T, B, 3), jnp.float64)
    f = np.asarray(trace(cell, params, xs)[1].gates.f).reshape(T * B, H)
    (life,) = pooled(cell, params, [Batch(xs)]).half_lives.values()
    mean = np.log(f).mean(0)
    np.testing.assert_allclose(life.geometric_mean, np.exp(mean), rtol=1e-10)
    np.testing.assert_allclose(life.half_life, np.log(0.5) / mean, rtol=1e-10)


def test_one_is_held_in_the_atlas(run) -> None:
    params, xs, seen = run
    loss = lambda carry, outs: (outs**2).sum()  # noqa: E731
    found = atlas(HEADS, params, xs, loss=loss, gates=["v"], values=(1.0, "mean"))
    v = np.asarray(seen.gates.v)
    assert found.loss["v"].shape == (2, H)
    for k, value in enumerate((1.0, v[:, :, 1, 1].mean())):
        held = intervene(HEADS, {"v": lambda old, gate, value=value: old.at[..., 1, 1].set(value)})
        want = loss(*unroll(held, params, xs)) - loss(None, seen.outs)
        np.testing.assert_allclose(found.loss["v"][k, 4], want, rtol=1e-9)
        np.testing.assert_allclose(found.values["v"][k, 4], value, rtol=1e-12)


def test_those_of_another_run_are_put_at_a_step(run) -> None:
    """As the pieces of the run one after the other, with v of the other run held in the middle one."""
    params, xs, seen = run
    other = xs.at[2].add(1.0)
    loss = lambda carry, outs: (outs**2).sum((0, 2))  # noqa: E731
    found = patching(HEADS, params, xs, other=other, loss=loss, names=["v"], steps=[2], whole=True)
    v = trace(HEADS, params, other)[1].gates.v[2]
    carry, first = unroll(HEADS, params, xs[:2])
    carry, middle = unroll(intervene(HEADS, {"v": hold_at(v)}), params, xs[2:3], carry)
    _, last = unroll(HEADS, params, xs[3:], carry)
    want = loss(None, jnp.concatenate([first, middle, last])) - loss(None, seen.outs)
    np.testing.assert_allclose(found.effects["v"][0, 0], want, rtol=1e-9)
    assert np.abs(want).min() > 1e-6


def test_a_cell_of_pictures_starts_at_every_place() -> None:
    cell = CELLS["conv_gru"]
    params, xs, _ = draw(Subject(cell, hidden_size=2), 3, (2,))
    start = Part("pictures", cell, params, xs).start()
    assert start.h.shape == (2, *xs.shape[2:-1], 2)


def test_states_that_are_not_shown_are_said_to_be_retained_without_a_gate() -> None:
    """S4D multiplies N numbers of each unit by the same ones at each step, of modulus exp(-Delta exp(log_decay))."""
    cell = CELLS["s4d"]
    params = cell.init(jax.random.key(0), 3, 2, dtype=jnp.float64, state_size=4)
    subject = look(Part("s4d", cell, params, jnp.ones((T, B, 3))), briefly=True)[0].subject
    assert list(subject.gates) == ["u"] and subject.others == {"re": [2, 4], "im": [2, 4]}
    moduli = np.exp(-np.exp(params.log_step)[:, None] * np.exp(params.log_decay))
    assert subject.retained.leaves == ["re", "im"]
    np.testing.assert_allclose(subject.retained.moduli, (moduli.min(), moduli.max()), rtol=1e-9)

"""Cells whose input is more than an array: their types, and arrays that are lifted, wherever a cell is run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import (
    InputError,
    bidirectional,
    init_bidirectional,
    init_layers,
    layers,
    study,
    trace,
    unroll,
)
from jaxseq.cells import (
    CELLS,
    Inflow,
    Observed,
    Scored,
    Spaced,
    Stamped,
    augru,
    cfc,
    clockwork,
    drop_between,
    gru,
    gru_d,
    lstm,
    lstm_mc,
    ltc,
    phased_lstm,
    stack,
)
from jaxseq.regularisers import draw_zoneout, zoneout

T, B, D, H = 5, 3, 4, 6
KEY = jax.random.key(0)
xs = jax.random.normal(KEY, (T, B, D), jnp.float32)
one = jnp.ones((T, B, 1), jnp.float32)
TYPES = {
    phased_lstm: Stamped(xs, jnp.broadcast_to(jnp.arange(T, dtype=jnp.float32)[:, None, None], (T, B, 1))),
    clockwork: Stamped(xs, jnp.broadcast_to(jnp.arange(T, dtype=jnp.float32)[:, None, None], (T, B, 1))),
    cfc: Spaced(xs, one),
    ltc: Spaced(xs, one),
    augru: Scored(xs, one),
    gru_d: Observed(xs, jnp.ones_like(xs), jnp.ones_like(xs)),
    lstm_mc: Inflow(xs, xs[..., :1]),
}
cells = pytest.mark.parametrize("cell", TYPES, ids=lambda cell: cell.name)


def close(got, want) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)


def test_these_are_all_cells_that_take_more_than_an_array() -> None:
    assert {cell.name for cell in TYPES} == {name for name, cell in CELLS.items() if not cell.takes_array}


@cells
def test_an_array_is_lifted(cell) -> None:
    params = cell.init(KEY, D, H)
    want = unroll(cell, params, TYPES[cell])
    close(unroll(cell, params, xs), want)
    close(trace(cell, params, xs)[1].outs, want[1])
    close(jax.jit(lambda xs: unroll(cell, params, xs))(xs), want)
    both = init_bidirectional(KEY, cell, D, H)
    close(bidirectional(cell, both, xs), bidirectional(cell, both, TYPES[cell]))


@cells
def test_a_step_lifts_an_array_unless_it_needs_a_stamp(cell) -> None:
    params = cell.init(KEY, D, H)
    carry = cell.initial_carry(params, (B,))
    step = jax.tree.map(lambda a: a[0], TYPES[cell])
    if isinstance(step, Stamped):
        with pytest.raises(InputError, match=rf"{cell.name}: a single step needs its time stamp: give Stamped\(x, t\)"):
            cell.step(params, carry, xs[0])
    else:
        close(cell.step(params, carry, xs[0]), cell.step(params, carry, step))
        close(cell.step(params, jax.tree.map(lambda a: a[0], carry), xs[0, 0])[1], cell.step(params, carry, step)[1][0])


@cells
@pytest.mark.parametrize("other", TYPES.values(), ids=lambda x: type(x).__name__)
def test_the_input_of_another_cell_is_refused(cell, other) -> None:
    params = cell.init(KEY, D, H)
    right = type(TYPES[cell])
    if isinstance(other, right):
        unroll(cell, params, other)
        return
    named = rf"{cell.name} takes {right.__name__}\(.*; got {type(other).__name__}\("
    with pytest.raises(InputError, match=rf"unroll\({cell.name}\): {named}"):
        unroll(cell, params, other)
    with pytest.raises(InputError, match=rf"{cell.name}.step: {named}"):
        cell.step(params, cell.initial_carry(params, (B,)), jax.tree.map(lambda a: a[0], other))


def test_a_cell_of_arrays_refuses_them_and_a_tuple_has_no_meaning() -> None:
    with pytest.raises(InputError, match=r"unroll\(lstm\): lstm takes one array; got Spaced\(x, dt\): pass its x"):
        unroll(lstm, lstm.init(KEY, D, H), TYPES[cfc])
    with pytest.raises(InputError, match=r"cfc takes Spaced\(x, dt\), dt the time since the last step, .*; got tuple"):
        unroll(cfc, cfc.init(KEY, D, H), (xs, one))


def test_stamps_go_on_in_a_second_piece_only_if_they_are_given() -> None:
    params = clockwork.init(KEY, D, H)
    want, stamped = unroll(clockwork, params, xs)[1], TYPES[clockwork]
    carry, _ = unroll(clockwork, params, xs[:3])
    rest = jax.tree.map(lambda a: a[3:], stamped)
    close(unroll(clockwork, params, rest, carry)[1], want[3:])
    assert np.abs(unroll(clockwork, params, xs[3:], carry)[1] - want[3:]).max() > 1e-3  # from 0 again


@pytest.mark.parametrize("lowest", [gru, *TYPES], ids=lambda cell: cell.name)
@pytest.mark.parametrize("above", TYPES, ids=lambda cell: cell.name)
def test_a_stack_equals_two_unrolls_in_sequence(lowest, above) -> None:
    if isinstance(TYPES[above], Stamped) and not isinstance(TYPES.get(lowest), Stamped):
        with pytest.raises(InputError, match=f"stack: {above.name}, layer 1, takes time stamps"):
            stack(lowest, above)
        return
    cell = stack(lowest, above)
    params = cell.init(KEY, D, (H, 5))
    given = TYPES.get(lowest, xs)
    if isinstance(given, Spaced):
        given = given._replace(dt=jnp.linspace(0.1, 2, T * B, dtype=jnp.float32).reshape(T, B, 1))
    _, below = unroll(lowest, params[0], given)
    timed = isinstance(given, Stamped | Spaced) and isinstance(given, type(TYPES[above]))  # times are passed on
    _, want = unroll(above, params[1], given._replace(x=below) if timed else below)
    close(unroll(cell, params, given)[1], want)


def test_wrapped_inputs_are_lifted_inside() -> None:
    cell = stack(cfc, cfc)
    params = cell.init(KEY, D, H)
    dropped = drop_between(KEY, 0.5, params, xs)
    close(unroll(cell, params, dropped), unroll(cell, params, dropped._replace(x=TYPES[cfc])))
    with pytest.raises(InputError, match=r"stack\(cfc, cfc\) takes Spaced.*got Stamped"):
        unroll(cell, params, dropped._replace(x=TYPES[clockwork]))
    noisy = zoneout(cfc, 0.5)
    noise = draw_zoneout(KEY, noisy, params[0], xs)
    close(unroll(noisy, params[0], noise), unroll(noisy, params[0], noise._replace(x=TYPES[cfc])))


def test_layers_lift_each_their_own() -> None:
    several = (phased_lstm, cfc, gru_d)
    params = init_layers(KEY, several, D, H, both_ways=(True, False, False))
    _, outs = layers(several, params, xs)
    _, a = bidirectional(phased_lstm, params[0], TYPES[phased_lstm])
    _, b = unroll(cfc, params[1], Spaced(a, one))
    close(outs, unroll(gru_d, params[2], b)[1])


@pytest.mark.parametrize("cell", [phased_lstm, cfc, gru_d], ids=lambda cell: cell.name)
@pytest.mark.parametrize(
    "look",
    [
        lambda *run: study.explain(*run, step=2, unit=1).result,
        lambda *run: study.flow(*run, loss=lambda carry, outs: (outs**2).sum()),
        lambda *run: study.step_jacobians(*run),
        lambda *run: study.lyapunov(*run, count=2),
        lambda *run: np.array([len(study.keeps_in(*run)), *(ord(keep.leaf) for keep in study.keeps_in(*run))]),
    ],
    ids=["explain", "flow", "step_jacobians", "lyapunov", "keeps_in"],
)
def test_study_lifts_an_array_before_it_looks_at_single_steps(cell, look) -> None:
    params = cell.init(KEY, D, H)
    close(look(cell, params, xs), look(cell, params, TYPES[cell]))
    close(look(cell, params, np.asarray(xs)), look(cell, params, TYPES[cell]))


def test_an_input_of_a_users_own_type_passes() -> None:
    """A custom cell may take any tree, and an own lift says what an array becomes."""
    twice = gru.replace(name="twice", input_terms=lambda p, x: gru.input_terms(p, x["a"] + x["b"]))
    params = gru.init(KEY, D, H)
    close(unroll(twice, params, {"a": xs, "b": xs}), unroll(gru, params, 2 * xs))
    lifted = twice.replace(lift=lambda xs: {"a": xs, "b": xs})
    close(unroll(lifted, params, xs), unroll(gru, params, 2 * xs))
    carry = gru.initial_carry(params, (B,))
    close(lifted.step(params, carry, xs[0]), gru.step(params, carry, 2 * xs[0]))

"""Values of one run put into another, against the runs themselves and networks whose information sits in one unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, trace, unroll
from jaxseq.cells import CELLS, gru, lstm, rnn_relu, stack
from jaxseq.cells._rnn import RNNParams
from jaxseq.interventions import at_steps, clamp, hold_at, intervene_at
from jaxseq.study import patching, what_if
from jaxseq.study.gradients import showing_states
from jaxseq.testing import Subject, assert_close, draw
from jaxseq.trees import named_leaves

T, B = 5, 2
MASK = jnp.array([[1, 1], [1, 1], [1, 1], [1, 0], [1, 0]], bool)


def two_runs(cell, dtype=None):
    params, xs, carry = draw(Subject(cell), T, (B,), dtype=dtype)
    other = xs.at[:2].add(jnp.asarray(1, xs.dtype))  # the same from step 2 on
    return params, xs, carry, other


def test_patching_all_states_gives_the_other_run_and_nothing_ones_own() -> None:
    cell = stack(gru, lstm)
    params, xs, carry, other = two_runs(cell)

    @jax.jit
    def found():
        states = tuple(named_leaves(trace(cell, params, xs, carry)[1].carries))
        return patching(cell, params, xs, carry, other=other, other_carry=carry, loss=squares_after, names=[states])

    def squares_after(carry, outs):  # from step 2 on, where both runs read the same
        return (outs[2:] ** 2).sum((0, 2))

    @jax.jit
    def plain():
        gates = named_leaves(trace(cell, params, other, carry)[1].gates)
        none = unroll(intervene_at(cell), params, at_steps(cell, xs, np.zeros(T, bool), gates), carry)
        return unroll(cell, params, xs, carry), unroll(cell, params, other, carry), none

    seen = found()
    (effect,) = seen.effects.values()
    assert effect.shape == (T, 1, B) and float(jnp.abs(seen.other - seen.own).min()) > 1e-3
    np.testing.assert_allclose(effect[1, 0], seen.other - seen.own, rtol=1e-10)  # all that B remembers of its inputs
    own, theirs, nothing = plain()
    np.testing.assert_allclose(seen.own, squares_after(*own), rtol=1e-12)
    np.testing.assert_allclose(seen.other, squares_after(*theirs), rtol=1e-12)
    share = next(iter(seen.shares().values()))
    np.testing.assert_allclose(share[1], 1, rtol=1e-9)
    assert_close("nothing", nothing, own, 1e-14)


def test_a_shift_register_holds_the_input_in_one_unit_at_each_step() -> None:
    """Unit k passes its number to unit k + 1: what came in at step 0 is in unit t at step t, and shown by the last."""
    shift = jnp.eye(T, k=1, dtype=jnp.float64)
    params = RNNParams(jnp.eye(1, T, dtype=jnp.float64), shift, jnp.zeros(T, jnp.float64))
    xs, other = jnp.ones((T, 1, 1)), jnp.ones((T, 1, 1)).at[0].set(4.0)
    loss = lambda carry, outs: outs[-1, 0, -1]  # noqa: E731
    found = jax.jit(lambda: patching(rnn_relu, params, xs, other=other, loss=loss, together=7))()
    np.testing.assert_array_equal(found.effects["h"], 3 * np.eye(T))
    np.testing.assert_array_equal(found.shares()["h"], np.eye(T))
    np.testing.assert_array_equal(found.effects["a"], 3 * np.eye(T))  # relu passes it on as it is
    assert (float(found.own), float(found.other)) == (1.0, 4.0) and not found.unused


def test_a_gate_at_the_last_step_has_the_effect_that_the_equation_says() -> None:
    """Of c = f c' + i g: (f_B - f_A) c'_A for each unit, at each row's own last step."""
    params, xs, carry, other = two_runs(lstm)
    loss = lambda carry, outs: carry.c.sum(-1)  # noqa: E731
    found = jax.jit(
        lambda: patching(lstm, params, xs, carry, other=other, other_carry=carry, mask=MASK, loss=loss, names=["f"])
    )()
    one, two = (trace(lstm, params, x, carry, mask=MASK)[1] for x in (xs, other))
    for row, last in ((0, 4), (1, 2)):
        want = (two.gates.f - one.gates.f)[last, row] * one.carries.c[last - 1, row]
        np.testing.assert_allclose(found.effects["f"][last, :, row], want, rtol=1e-10)
    assert not found.effects["f"][3:, :, 1].any()  # padding


def test_without_a_loss_it_is_how_far_outputs_move_and_chosen_ones_are_the_same() -> None:
    params, xs, carry, other = two_runs(gru)
    at = np.zeros((T, 1, 5), bool)
    at[3, 0, 4] = True

    @jax.jit
    def runs():
        options = {"other": other, "other_carry": carry, "mask": MASK, "names": ["z"]}
        found = patching(gru, params, xs, carry, **options)
        some = patching(gru, params, xs, carry, **options, steps=[3, 1], units=[4])
        one, two = (trace(gru, params, x, carry, mask=MASK)[1] for x in (xs, other))
        given = at_steps(gru, xs, at, {"z": two.gates.z})
        return found, some, one.outs, two.outs, unroll(intervene_at(gru), params, given, carry, mask=MASK)[1]

    found, some, outs, others, patched = runs()
    np.testing.assert_allclose(some.effects["z"], found.effects["z"][np.array([3, 1]), 4:], rtol=1e-12)
    np.testing.assert_allclose(found.other, np.sqrt(np.sum((outs - others) ** 2) / 5 / 8), rtol=1e-12)
    np.testing.assert_allclose(some.effects["z"][0, 0], np.sqrt(np.sum((outs - patched) ** 2) / 5 / 8), rtol=1e-12)


def test_changes_at_steps_are_pieces_run_one_after_the_other() -> None:
    params, xs, carry, _ = two_runs(lstm)
    held = clamp(lstm, f=1.0)

    cell = intervene_at(lstm, {"f": hold_at(1.0)})
    by_row = np.zeros((T, B), bool)
    by_row[2:4, 1] = True

    @jax.jit
    def runs():
        first, a = unroll(lstm, params, xs[:2], carry)
        second, b = unroll(held, params, xs[2:4], first)
        last, c = unroll(lstm, params, xs[4:], second)
        chosen = (unroll(cell, params, at_steps(lstm, xs, at), carry) for at in ([2, 3], by_row))
        backwards = unroll(cell, params, at_steps(lstm, xs, [2, 3]), carry, reverse=True)[1]
        turned = unroll(cell, params, at_steps(lstm, xs[::-1], [1, 2]), carry)[1]
        plain = unroll(lstm, params, xs, carry)[1]
        return (last, jnp.concatenate([a, b, c])), *chosen, plain, backwards, turned

    pieces, by_number, by_row_, plain, backwards, turned = runs()
    assert_close("numbers", by_number, pieces, 1e-13)
    np.testing.assert_allclose(by_row_[1][:, 1], pieces[1][:, 1], rtol=1e-12)
    np.testing.assert_allclose(by_row_[1][:, 0], plain[:, 0], rtol=1e-12)
    np.testing.assert_allclose(backwards, turned[::-1], rtol=1e-12)
    with pytest.raises(InputError, match="give changes"):
        what_if(lstm, params, xs, carry, swapped=xs * 2, at=[1])
    found = what_if(lstm, params, xs, carry, changes={"f": 1.0}, at=[2, 3])
    np.testing.assert_allclose(found.changed, pieces[1], rtol=1e-12)


def test_gradients_and_vmap_reach_the_values_and_the_steps() -> None:
    params, xs, carry, _ = two_runs(gru)
    cell = intervene_at(gru)

    def loss(values, step):
        return (unroll(cell, params, at_steps(gru, xs, step, {"z": values}), carry)[1] ** 2).sum()

    values = jnp.full((T, B, 5), 0.3)
    each = jax.jit(jax.vmap(loss, (None, 0)))(values, jnp.arange(T))
    value, slopes = jax.jit(jax.value_and_grad(loss))(values, 3)
    np.testing.assert_allclose(each[3], value, rtol=1e-12)
    assert not slopes[jnp.array([0, 1, 2, 4])].any()
    e = 1e-6
    nudged = jnp.stack([values.at[3, 1, 2].add(d) for d in (e, -e)])
    by = jax.jit(jax.vmap(loss, (0, None)))(nudged, jnp.int32(3))
    np.testing.assert_allclose(slopes[3, 1, 2], (by[0] - by[1]) / (2 * e), rtol=1e-6)


def test_a_state_wider_than_the_params_is_put_exactly() -> None:
    cell = CELLS["lru"]
    params, xs, carry, other = two_runs(cell, jnp.bfloat16)

    @jax.jit
    def runs():
        end = trace(cell, params, other, carry)[1].carries
        given = at_steps(cell, xs, [1], named_leaves(end))
        return end.re, trace(intervene_at(showing_states(cell, gates=False)), params, given, carry)[1].carries.re

    want, got = runs()
    assert want.dtype == jnp.float32
    np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"other": jnp.ones((4, B, 3))}, r"other must be of the shape of xs, \(5, 2, 3\); got \(4, 2, 3\)"),
        ({"names": ["f"]}, "unknown gate or state of gru 'f'"),
        ({"steps": [5]}, "steps must be from 0 to 4; got 5"),
        ({"units": [5]}, "h has the units 0 to 4; got 5"),
        ({"together": 0}, "together must be at least 1"),
        (
            {"loss": lambda carry, outs: outs.sum(-1)},
            r"one number, or one for each row, \(2,\); got the shape .5, 2",
        ),
    ],
)
def test_what_cannot_be_patched_is_refused(options, message) -> None:
    params, xs, carry, other = two_runs(gru)
    with pytest.raises(InputError, match=message):
        patching(gru, params, xs, carry, **{"other": other, **options})


@pytest.mark.parametrize(
    ("at", "values", "changes", "message"),
    [
        ([5], {}, {"z": hold_at(0.0)}, "steps must be from 0 to 4; got 5"),
        (np.ones((4,), bool), {}, {"z": hold_at(0.0)}, r"at must be \[T\], .* = \(5, 2\); got the shape \(4,\)"),
        (np.ones(5), {}, {"z": hold_at(0.0)}, "numbers of steps, or bool; got float64"),
        ([0], {"z": jnp.ones((5, 3, 5))}, {}, r"must begin with the axes of time and batch, \(5, 2\)"),
        ([0], {"z": jnp.ones((5, 2, 5), int)}, {}, "values of z must be real"),
        ([0], {"z": jnp.ones((5, 2, 4))}, {}, r"z has the shape \(2, 5\) in a step; got a value of the shape \(2, 4\)"),
        ([0], {}, {}, "nothing is changed"),
        ([0], {"z": jnp.ones((5, 2, 5))}, {"z": hold_at(0.0)}, "z has both values and a change"),
        ({"r": [0]}, {}, {"z": hold_at(0.0)}, "at_steps did not get the steps of z"),
    ],
)
def test_steps_that_cannot_be_are_refused(at, values, changes, message) -> None:
    params, xs, carry, _ = two_runs(gru)
    with pytest.raises(InputError, match=message):
        unroll(intervene_at(gru, changes), params, at_steps(gru, xs, at, values), carry)

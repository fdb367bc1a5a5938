"""Effects of changes against networks built so that the effect is known, and against single runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, trace, unroll
from jaxseq.cells import CELLS, gru, lstm, stack
from jaxseq.interventions import clamp, intervene
from jaxseq.study import atlas, held_gates, what_if
from jaxseq.testing import Subject, assert_close, draw


def squares(carry, outs):
    return (outs**2).sum()


def test_a_change_is_a_run_of_the_changed_cell() -> None:
    params, xs, carry = draw(Subject(lstm), 4, (2,))
    mask = jnp.array([[1, 1], [1, 1], [1, 0], [1, 0]], bool)
    changes = {"f": 1.0, "o": {2: 0.0}, "i": lambda i, gate: 1 - gate("g")}
    found = jax.jit(lambda: what_if(lstm, params, xs, carry, mask=mask, changes=changes, loss=squares))()
    cell = intervene(clamp(lstm, f=1.0, o={2: 0.0}), {"i": lambda i, gate: 1 - gate("g")})
    want = unroll(cell, params, xs, carry, mask=mask)[1]
    assert_close("changed", found.changed, want)
    assert_close("outs", found.outs, unroll(lstm, params, xs, carry, mask=mask)[1])
    np.testing.assert_allclose(found.changed_loss, (want**2).sum(), rtol=1e-12)
    np.testing.assert_allclose(found.loss, (found.outs**2).sum(), rtol=1e-12)
    rms = np.sqrt(((np.asarray(found.outs) - np.asarray(want)) ** 2).mean(-1))
    np.testing.assert_allclose(found.moved, rms, rtol=1e-12)
    assert not found.moved[2:, 1].any() and (found.moved[:, 0] > 0).all()


def test_a_swapped_input_moves_nothing_before_it() -> None:
    params, xs, carry = draw(Subject(gru), 5, (2,))
    found = what_if(gru, params, xs, carry, swapped=xs.at[2, 1].set(0.0))
    assert not found.moved[:2].any() and not found.moved[:, 0].any() and (found.moved[2:, 1] > 0).all()
    assert found.loss is None
    stacked = stack(gru, lstm)
    params, xs, carry = draw(Subject(stacked), 3, (2,))
    assert what_if(stacked, params, xs, carry, changes={"1.f": 0.0, "0.z": {1: 1.0}}).moved.max() > 0


def test_the_atlas_of_units_that_do_not_speak_to_each_other() -> None:
    """Without U, closing a unit's output gate takes away that unit's output and nothing else."""
    params, xs, carry = draw(Subject(lstm), 6, (3,))
    params = params._replace(U=jnp.zeros_like(params.U))
    found = jax.jit(lambda: atlas(lstm, params, xs, carry, loss=squares, gates=["o", "f"]))()
    outs = np.asarray(unroll(lstm, params, xs, carry)[1])
    assert not found.unused and found.loss is not None
    np.testing.assert_allclose(found.loss["o"][0], -(outs**2).sum((0, 1)), rtol=1e-10)
    np.testing.assert_allclose(found.moved["o"][0], np.sqrt((outs**2).mean((0, 1)) / 5), rtol=1e-10)
    with_all = np.tanh(np.asarray(trace(lstm, params, xs, carry)[1].carries.c))
    np.testing.assert_allclose(found.loss["o"][1], (with_all**2 - outs**2).sum((0, 1)), rtol=1e-10)


def test_the_atlas_is_clamps_one_at_a_time() -> None:
    params, xs, carry = draw(Subject(gru), 5, (2,))
    mask = jnp.array([[1, 1], [1, 1], [1, 1], [1, 0], [1, 0]], bool)
    values = (0.0, "mean", 0.3)
    found = atlas(gru, params, xs, carry, mask=mask, loss=squares, units=[3, 1], values=values, together=4)
    seen = trace(gru, params, xs, carry, mask=mask)[1]
    assert found.loss is not None and list(found.loss) == ["r", "z", "n"]
    for name in found.loss:
        gate = np.asarray(getattr(seen.gates, name))[np.asarray(mask)]

        for column, unit in enumerate((3, 1)):

            @jax.jit
            def clamped(value, name=name, unit=unit):
                return what_if(gru, params, xs, carry, mask=mask, changes={name: {unit: value}}, loss=squares)

            for row, value in enumerate(values):
                at = gate[:, unit].mean() if value == "mean" else value
                np.testing.assert_allclose(found.values[name][row, column], at, rtol=1e-12)
                alone = clamped(at)
                np.testing.assert_allclose(found.loss[name][row, column], alone.changed_loss - alone.loss, atol=1e-12)
                moved = np.sqrt((np.asarray(alone.moved) ** 2).sum() / 8)
                np.testing.assert_allclose(found.moved[name][row, column], moved, rtol=1e-10, atol=1e-14)


def test_a_state_is_held_where_it_is_computed() -> None:
    """Unit 1 of c at 0.5 shows as o tanh(0.5); of h at 0.5 it shows as it is, and c knows of it a step later."""
    params, xs, carry = draw(Subject(lstm), 3, (2,))

    @jax.jit
    def runs():
        o = trace(lstm, params, xs, carry)[1].gates.o
        return o, [what_if(lstm, params, xs, carry, changes={name: {1: 0.5}}) for name in "ch"]

    o, (held, shown) = runs()
    np.testing.assert_allclose(held.changed[0, :, 1], np.asarray(o)[0, :, 1] * np.tanh(0.5), rtol=1e-12)
    assert (shown.changed[..., 1] == 0.5).all()
    np.testing.assert_array_equal(shown.changed[0, :, [0, 2, 3, 4]], shown.outs[0, :, [0, 2, 3, 4]])
    assert (np.asarray(shown.changed)[1:, :, 0] != np.asarray(shown.outs)[1:, :, 0]).all()
    found = atlas(lstm, params, xs, carry, gates=["h"], units=[1], values=(0.5,))
    np.testing.assert_allclose(found.moved["h"], np.sqrt((np.asarray(shown.moved) ** 2).mean())[None, None], rtol=1e-12)


def test_gates_that_are_only_shown_are_told_apart() -> None:
    def equations(params, carry, wx, uh):
        carry, out, named = lstm.equations(params, carry, wx, uh)
        return carry, out, named._replace(f=named.f * 2)

    params, xs, carry = draw(Subject(lstm, hidden_size=2), 3, (2,))
    found = jax.jit(lambda: atlas(lstm.replace(equations=equations), params, xs, carry, values=(0.0,)))()
    assert list(found.unused) == ["f"] and set(found.moved) == {"i", "g", "o"} and found.loss is None


def test_a_change_without_a_result_is_undefined_and_counted() -> None:
    """An sLSTM whose input gate writes nothing has c = n = 0 and shows 0 / 0; one unit is enough to lose the loss."""
    cell = CELLS["slstm"]
    params, xs, carry = draw(Subject(cell), 4, (2,))
    carry = carry._replace(c=0 * carry.c, n=0 * carry.n)

    @jax.jit
    def look():
        given = cell, params, xs, carry
        return (
            what_if(*given, changes={"i": 0.0}),
            atlas(*given, loss=squares, gates=["i", "o"], values=(0.0, 1.0)),
            held_gates(*given, loss=squares, gates=["i", "o"]),
        )

    alone, found, whole = look()
    assert alone.undefined.all() and alone.undefined.shape == (4, 2)
    assert {name: int(count) for name, count in found.undefined.items()} == {"i": 5, "o": 0}
    assert np.isnan(found.loss["i"][0]).all() and np.isfinite(found.loss["i"][1]).all()
    assert np.isnan(whole["i"][0]) and np.isfinite(whole["i"][1]) and np.isfinite(whole["o"]).all()


def test_each_layers_gates_are_held_as_what_if_holds_them() -> None:
    both = stack(gru, lstm)
    params, xs, carry = draw(Subject(both), 5, (2,))

    @jax.jit
    def look():
        given = both, params, xs, carry
        alone = [what_if(*given, changes={name: v}, loss=squares) for name, v in (("0.z", 1.0), ("1.f", 0.0))]
        return held_gates(*given, loss=squares), [one.changed_loss - one.loss for one in alone]

    found, (below, above) = look()
    assert list(found) == sorted(["0.r", "0.z", "0.n", "1.i", "1.f", "1.g", "1.o"])  # jit sorts them
    np.testing.assert_allclose([found["0.z"][1], found["1.f"][0]], [below, above], rtol=1e-10)


def test_what_cannot_be_changed_is_refused() -> None:
    params, xs, carry = draw(Subject(gru), 3, (2,))
    with pytest.raises(InputError, match="unknown gate of gru 'f': known: h, n, r, z"):
        what_if(gru, params, xs, carry, changes={"f": 1.0})
    with pytest.raises(InputError, match="give changes"):
        what_if(gru, params, xs, carry)
    with pytest.raises(InputError, match=r"swapped must be of the shape of xs, \(3, 2, 3\); got \(2, 2, 3\)"):
        what_if(gru, params, xs, carry, swapped=xs[1:])
    for options, message in (
        ({"gates": ["o"]}, "unknown gate or state of gru 'o'"),
        ({"units": [5]}, r"r has the units 0 to 4; got \[5\]"),
        ({"values": ("middle",)}, "values must be numbers or \"mean\"; got 'middle'"),
        ({"together": 0}, "together must be at least 1; got 0"),
        ({"loss": lambda carry, outs: outs.sum(-1)}, r"the loss must be one number; got the shape \(3, 2\)"),
    ):
        with pytest.raises(InputError, match=message):
            atlas(gru, params, xs, carry, **options)

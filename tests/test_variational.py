"""Variational dropout: its mask is data of the cell, so that params are the cell's own, in every recurrence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, stack, unroll
from jaxseq.attention import additive, location, reading, with_attention
from jaxseq.cells import CELLS, gru, lstm
from jaxseq.recurrence import EXACT
from jaxseq.regularisers import draw_variational, variational
from jaxseq.testing import Subject, assert_close, assert_same, draw

KEY = jax.random.key(3)
T, B, D, H = 6, 4, 3, 5


def problem(cell):
    return draw(Subject(cell, D, H), T, (B,))


def row_by_row(cell):
    """A row's mask on h is the same as on the rows of U: each row is run by the cell itself, with a U of its own."""

    def one(params, xs, carry, keep):
        return unroll(cell, params._replace(U=params.U * jnp.broadcast_to(keep[:, None], params.U.shape)), xs, carry)

    return jax.vmap(one, in_axes=(None, 1, 0, 0), out_axes=(0, 1))


def test_a_mask_drops_units_and_scales_those_it_keeps() -> None:
    keep = np.asarray(draw_variational(KEY, 0.4, lstm, problem(lstm).params, (B,)))
    np.testing.assert_allclose(np.unique(keep), [0, 1 / 0.6])
    assert keep.shape == (B, H) and keep.dtype == np.float64 and 0.2 < (keep == 0).mean() < 0.6


def test_a_mask_of_ones_is_the_cell_and_its_params_are_the_cells() -> None:
    params, xs, carry = problem(gru)
    ones = variational(gru, jnp.ones((B, H), jnp.float64))
    assert_close("ones", unroll(ones, params, xs, carry), unroll(gru, params, xs, carry), 1e-12)
    assert ones.init is gru.init and ones.params_type is gru.params_type and repr(ones) == "<Cell variational gru>"


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("cell", [gru, lstm], ids=lambda cell: cell.name)
def test_the_same_units_are_dropped_at_every_step_under_every_recurrence(cell, name: str) -> None:
    params, xs, carry = problem(cell)
    keep = draw_variational(KEY, 0.4, cell, params, (B,))

    def run(params, xs, carry, keep):
        return unroll(variational(cell, keep), params, xs, carry, recurrence=EXACT[name])

    assert_same(name, run, row_by_row(cell), params, xs, carry, keep)


def test_masks_by_vmap() -> None:
    params, xs, carry = problem(lstm)
    keys = jax.random.split(KEY, 3)

    def run(key):
        keep = draw_variational(key, 0.4, lstm, params, (B,))
        return unroll(variational(lstm, keep), params, xs, carry)[1]

    assert_close("vmap", jax.jit(jax.vmap(run))(keys), jnp.stack([run(key) for key in keys]))


def test_layers_of_a_stack_each_with_its_own() -> None:
    cell = stack(lstm, gru)
    params, xs, carry = draw(Subject(cell, D, (H, 2)), T, (B,))
    keys = jax.random.split(KEY)
    keeps = [draw_variational(keys[n], 0.5, one, params[n], (B,)) for n, one in enumerate(cell.layers)]
    below = unroll(variational(lstm, keeps[0]), params[0], xs, carry[0])[1]
    want = unroll(variational(gru, keeps[1]), params[1], below, carry[1])[1]
    got = unroll(stack(variational(lstm, keeps[0]), variational(gru, keeps[1])), params, xs, carry)[1]
    assert_close("stack", got, want)


def reader(attention):
    cell = with_attention(gru, attention)
    params = cell.init(KEY, D, H, value_size=2, units=3, dtype=jnp.float64)
    return reading(cell, cell.remember(params, jnp.ones((7, B, 2)))), params


def test_around_attention_the_query_is_not_dropped() -> None:
    """h is dropped on its way into U alone: as with the cell inside made variational."""
    outer, params = reader(additive)
    keep, xs = draw_variational(KEY, 0.5, outer, params, (B,)), jnp.ones((T, B, D))
    inner = with_attention(variational(gru, keep), additive)
    memory = inner.remember(params, jnp.ones((7, B, 2)))
    assert_close("outside", unroll(variational(outer, keep), params, xs), unroll(reading(inner, memory), params, xs))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_variational(KEY, 1.0, gru, problem(gru).params, (B,)), r"at least 0 and below 1"),
        (lambda: draw_variational(KEY, 0.5, CELLS["sru"], problem(CELLS["sru"]).params, (B,)),
         r"variational: needs a cell whose carry has an h.*the carry of sru is SRUCarry\(c\)"),
        (lambda: draw_variational(KEY, 0.5, stack(gru), (problem(gru).params,), (B,)),
         r"carry of stack\(gru\) is tuple"),
        (lambda: draw_variational(KEY, 0.5, *reader(location), (B,)), r"make that one variational: with_attention\("),
        (lambda: unroll(variational(gru, jnp.ones((2, H))), *problem(gru)), r"mask must be \(4, 5\).*got \(2, 5\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()

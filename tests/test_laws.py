"""Every cell, alone and stacked, under every recurrence, obeys every law; and the laws notice cells that do not."""

import jax
import jax.numpy as jnp
import pytest

from jaxseq.attention import additive, with_attention
from jaxseq.cells import CELLS, Cell, gru, lstm, rnn, stack
from jaxseq.recurrence import scan
from jaxseq.testing import LAWS, check_cell

ALL = [*CELLS.values(), stack(lstm, gru), stack(gru, CELLS["gru_cho"], rnn)]


@pytest.mark.parametrize("cell", ALL, ids=lambda cell: cell.name)
@pytest.mark.parametrize("law", LAWS)
def test_law(cell: Cell, law: str) -> None:
    check_cell(cell, laws={law: LAWS[law]})


def forgets_the_mask(cell, params, carry, xs, mask, reverse):
    return scan(cell, params, carry, xs, None, reverse)


def forgets_to_reverse(cell, params, carry, xs, mask, reverse):
    return scan(cell, params, carry, xs, mask, False)


def loses_gradients(cell, params, carry, xs, mask, reverse):
    return scan(cell, jax.lax.stop_gradient(params), carry, xs, mask, reverse)


@pytest.mark.parametrize("broken", [forgets_the_mask, forgets_to_reverse, loses_gradients])
def test_a_broken_recurrence_is_noticed(broken) -> None:
    with pytest.raises(AssertionError, match="breaks the law 'steps'"):
        check_cell(lstm, recurrences={"broken": broken})


BROKEN = {
    "input_terms_by_step": gru._replace(input_terms=lambda p, x: gru.input_terms(p, x) + x.mean()),
    "batching": gru._replace(hidden_terms=lambda p, k: gru.hidden_terms(p, k) + k.h.mean()),
    "dtypes": gru._replace(
        gates=lambda p, k, wx, uh: jax.tree.map(lambda a: a.astype(jnp.float32), gru.gates(p, k, wx, uh))
    ),
}


@pytest.mark.parametrize("law", BROKEN)
def test_a_broken_cell_is_noticed(law: str) -> None:
    with pytest.raises((AssertionError, TypeError)):
        check_cell(BROKEN[law], laws={law: LAWS[law]})


def test_equal_stacks_are_one_value() -> None:
    assert stack(lstm, gru) is stack(lstm, gru)


def test_attention_cell_equals_a_loop_of_steps() -> None:
    cell = with_attention(gru, additive)
    keys = jax.random.split(jax.random.key(0), 3)
    params = cell.init(keys[0], 3, 5, value_size=4, units=6, dtype=jnp.float64)
    values = jax.random.normal(keys[1], (7, 2, 4), jnp.float64)
    params = params._replace(memory=additive.remember(params.attention, values, None))
    xs = jax.random.normal(keys[2], (4, 2, 3), jnp.float64)
    from jaxseq import unroll

    carry = cell.initial_carry(params, (2,))
    _, outs = unroll(cell, params, carry, xs)
    for t, x in enumerate(xs):
        carry, out = cell.step(params, carry, x)
        assert jnp.abs(outs.h[t] - out.h).max() < 1e-12
        assert jnp.abs(outs.weights[t].sum(-1) - 1).max() < 1e-12

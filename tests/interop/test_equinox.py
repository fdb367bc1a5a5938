"""equinox's cells against ours, in float64: values, and gradients of their weights, the carry and the input."""

import equinox
import jax
import jax.numpy as jnp
import pytest
from problem import D, H, T, random, start

from jaxseq import Bidirectional, InputError, unroll
from jaxseq.cells import GRUCarry, LSTMCarry, gru, lstm, rnn, stack
from jaxseq.interop.equinox import from_equinox, to_equinox
from jaxseq.testing import assert_same, noisy

KINDS = {"lstm": equinox.nn.LSTMCell, "gru": equinox.nn.GRUCell}


def theirs(module, carry, xs):
    state, outs = (carry.h, carry.c) if isinstance(carry, LSTMCarry) else carry.h, []
    for x in xs:
        state = jax.vmap(module)(x, state)
        outs.append(state[0] if isinstance(state, tuple) else state)
    return LSTMCarry(*state) if isinstance(state, tuple) else GRUCarry(state), jnp.stack(outs)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_equals_equinox_and_comes_back(name, use_bias):
    module = KINDS[name](D, H, use_bias, jnp.float64, key=jax.random.key(0))
    module = noisy(jax.random.key(1), module)
    cell, params = from_equinox(module)
    assert cell.name == name
    ours = lambda module, carry, xs: unroll(from_equinox(module)[0], from_equinox(module)[1], xs, carry)  # noqa: E731
    assert_same(name, ours, theirs, module, start(cell, params), random(2, T, 4, D))
    back = to_equinox(cell, params, use_bias=use_bias)
    assert equinox.tree_equal(back, module)
    assert from_equinox(to_equinox(cell, params))[1][0].tolist() == params[0].tolist()


def test_what_equinox_has_not_is_refused():
    params = lstm.init(jax.random.key(0), D, H)
    with pytest.raises(InputError, match="bias out, and here it is not zero"):
        to_equinox(lstm, params, use_bias=False)
    with pytest.raises(InputError, match="no such layer as rnn; there are: lstm, gru"):
        to_equinox(rnn, rnn.init(jax.random.key(0), D, H))
    with pytest.raises(InputError, match="single layers in one direction"):
        to_equinox(lstm, Bidirectional(params, params))
    two = stack(gru, gru)
    with pytest.raises(InputError, match="single layers"):
        to_equinox(two, two.init(jax.random.key(0), D, H))
    with pytest.raises(InputError, match="expected LSTMParams"):
        to_equinox(lstm, gru.init(jax.random.key(0), D, H))
    with pytest.raises(InputError, match="expected an equinox"):
        from_equinox(equinox.nn.Linear(2, 2, key=jax.random.key(0)))

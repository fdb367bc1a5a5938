"""haiku's cores against ours, in float64: values and gradients with respect to their weights, the carry, the input."""

import haiku
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problem import B, D, H, T, random, start

from jaxseq import InputError, stack, unroll
from jaxseq.cells import CELLS, LSTMCarry, gru, lstm
from jaxseq.interop.haiku import from_haiku, to_haiku
from jaxseq.testing import assert_same, difference, noisy

CORES = {
    "rnn_relu": haiku.VanillaRNN,
    "rnn_relu, one bias": lambda H: haiku.VanillaRNN(H, double_bias=False),
    "lstm": haiku.LSTM,
    "gru_cho": haiku.GRU,
}


def transformed(make):
    def run(xs, carry):
        state = haiku.LSTMState(*carry) if isinstance(carry, LSTMCarry) else carry.h
        outs, last = haiku.dynamic_unroll(make(H), xs, state)
        return type(carry)(*last) if isinstance(carry, LSTMCarry) else type(carry)(last), outs

    return haiku.without_apply_rng(haiku.transform(run))


@pytest.mark.parametrize("core", CORES)
def test_equals_haiku_and_comes_back(core):
    name = core.partition(",")[0]
    cell = CELLS[name]
    carry, xs = start(cell, cell.init(jax.random.key(0), D, H, dtype=jnp.float64)), random(2, T, B, D)
    made = transformed(CORES[core])
    weights = noisy(jax.random.key(3), made.init(jax.random.key(1), xs, carry))
    assert jax.tree.leaves(weights)[0].dtype == jnp.float64
    assert_same(core, lambda w, *rest: unroll(cell, from_haiku(w, name)[1], *rest), made.apply, weights, xs, carry)

    params = from_haiku(weights, name)[1]
    back = to_haiku(cell, params)
    assert difference(from_haiku(back, name)[1], params)[0] <= (1e-15 if name == "lstm" else 0)
    if name != "rnn_relu":  # where two biases are one
        assert difference(back, weights)[0] <= (1e-15 if name == "lstm" else 0)
    elif "one bias" not in core:
        assert not back["vanilla_rnn/linear_1"]["b"].any()


def test_a_core_of_a_larger_model():
    def run(xs):
        core = haiku.DeepRNN([haiku.LSTM(H, name="low"), haiku.LSTM(H + 1, name="top")])
        return haiku.dynamic_unroll(core, xs, core.initial_state(B))[0]

    made, xs = haiku.without_apply_rng(haiku.transform(run)), random(2, T, B, D)
    weights = made.init(jax.random.key(1), xs)
    params = tuple(from_haiku(weights, "lstm", prefix)[1] for prefix in ("low", "top"))
    got = unroll(stack(lstm, lstm), params, xs)[1]
    want = made.apply(weights, xs)
    assert difference(got, want.astype(got.dtype))[0] < 1e-9
    with pytest.raises(InputError, match="a layer is under 'low' and 'top': give one as prefix"):
        from_haiku(weights, "lstm")
    with pytest.raises(InputError, match="no array begins with 'topp'; did you mean 'top'"):
        from_haiku(weights, "lstm", "topp")
    assert to_haiku(lstm, params[0], "low").keys() == {"low/linear"}


def test_what_haiku_has_not_is_refused():
    with pytest.raises(InputError, match="no such layer as gru; there are: rnn_relu, lstm, conv_lstm, gru_cho"):
        to_haiku(gru, gru.init(jax.random.key(0), D, H))
    with pytest.raises(InputError, match="no layer 'gru': did you mean 'gru_cho'"):
        from_haiku({}, "gru")
    with pytest.raises(InputError, match="'linear/b' is missing; there are: none"):
        from_haiku({}, "lstm")
    with pytest.raises(InputError, match=r"linear/b has the shape \(4,\), expected \[4H\], where H = 2"):
        from_haiku({"lstm/linear": {"w": jnp.ones((5, 8)), "b": jnp.ones(4)}}, "lstm")
    with pytest.raises(InputError, match=r"linear/w has the shape \(2, 8\), expected \[D\+H, 4H\]"):
        from_haiku({"lstm/linear": {"w": jnp.ones((2, 8)), "b": jnp.ones(8)}}, "lstm")
    double = {"lstm/linear": {"w": np.ones((5, 8)), "b": np.ones(8)}}
    with pytest.raises(InputError, match="linear/w is float64, and JAX would make it float32"), jax.enable_x64(False):
        from_haiku(double, "lstm")
    with pytest.raises(InputError, match="several dtypes, float32 and float64"):
        from_haiku({"lstm/linear": {"w": np.ones((5, 8)), "b": np.ones(8, np.float32)}}, "lstm")


def test_convolutional():
    cell = CELLS["conv_lstm"]
    carry = start(cell, cell.init(jax.random.key(0), D, H, dtype=jnp.float64))
    carry = jax.tree.map(lambda a: jnp.sin(jnp.arange(1.0, B * 4 * 5 * H + 1)).reshape(B, 4, 5, H), carry)
    xs = random(2, T, B, 4, 5, D)
    made = transformed(lambda H: haiku.Conv2DLSTM((4, 5), H, (3, 2)))
    weights = noisy(jax.random.key(3), made.init(jax.random.key(1), xs, carry))
    run = lambda w, *rest: unroll(cell, from_haiku(w, "conv_lstm")[1], *rest)  # noqa: E731
    assert_same("conv", run, made.apply, weights, xs, carry)
    params = from_haiku(weights, "conv_lstm")[1]
    back = to_haiku(cell, params)
    assert back.keys() == weights.keys()
    assert difference(from_haiku(back, "conv_lstm")[1], params)[0] < 1e-15
    with pytest.raises(InputError, match="no peepholes to hold p"):
        to_haiku(cell, params._replace(p=params.p + 1))

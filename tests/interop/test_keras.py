"""keras' layers against ours: values and gradients with respect to their weights, the carry, the input.

On JAX, keras computes tanh in float32, whatever the dtype of its layer (3.15). Here it is JAX's own, so that the layers
can be compared in float64; networks of several layers are compared in float32 as keras computes them.
"""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import layers as kl
from problem import B, D, H, T, random, start

from jaxseq import Bidirectional, InputError, bidirectional, layers, stack, unroll
from jaxseq.cells import LSTMCarry, gru, gru_cho, lstm, rnn, rnn_relu
from jaxseq.interop.keras import from_keras, to_keras
from jaxseq.testing import assert_same, difference, noisy

KINDS = {
    "SimpleRNN": (rnn, kl.SimpleRNN, {}),
    "SimpleRNN relu": (rnn_relu, kl.SimpleRNN, {"activation": "relu"}),
    "LSTM": (lstm, kl.LSTM, {}),
    "LSTM unit_forget_bias=False": (lstm, kl.LSTM, {"unit_forget_bias": False}),
    "GRU": (gru, kl.GRU, {}),
    "GRU reset_after=False": (gru_cho, kl.GRU, {"reset_after": False}),
}
COMMON = {"return_sequences": True, "return_state": True}


@pytest.fixture
def float64_tanh(monkeypatch):
    monkeypatch.setattr(keras.src.backend.numpy, "tanh", jnp.tanh)


def weights_of(layer):
    made = noisy(jax.random.key(3), [v.value for v in layer.trainable_variables])
    layer.set_weights([np.asarray(a) for a in made])
    return made


def converted(layer, weights):
    """from_keras with other weights in the layer's variables."""
    with keras.StatelessScope(state_mapping=list(zip(layer.trainable_variables, weights, strict=True))):
        return from_keras(layer)


def time_first(a):
    return jnp.swapaxes(a, 0, 1)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_keras_and_comes_back(kind, both, use_bias, float64_tanh):
    cell, make, options = KINDS[kind]
    layer = make(H, use_bias=use_bias, dtype="float64", **options, **COMMON)
    if both:
        layer = kl.Bidirectional(layer, dtype="float64")
    layer.build((B, T, D))
    weights = weights_of(layer)
    fixed = [v.value for v in layer.non_trainable_variables]

    def theirs(weights, xs, carry):
        # the carry's leaves are keras' states, in its order
        (outs, *states), _ = layer.stateless_call(weights, fixed, time_first(xs), initial_state=jax.tree.leaves(carry))
        return jax.tree.unflatten(jax.tree.structure(carry), states), time_first(outs)

    def ours(weights, xs, carry):
        cell, params = converted(layer, weights)
        return (bidirectional if both else unroll)(cell, params, xs, carry)

    got, params = from_keras(layer)
    assert got == cell
    one = start(cell, params.forward if both else params)
    carry = Bidirectional(one, jax.tree.map(jnp.cos, one)) if both else one
    assert_same(kind, ours, theirs, weights, random(2, T, B, D), carry)

    back = to_keras(cell, params, use_bias=use_bias)
    again, read = from_keras(back)
    assert again == cell and difference(read, params)[0] == 0
    if "GRU" not in kind.split()[0] or "reset_after" in kind or not use_bias:  # where no two biases are one
        assert difference([jnp.asarray(v.value) for v in back.trainable_variables], weights)[0] == 0
    else:
        second = back.trainable_variables[2].value[1]
        assert not second[: 2 * H].any() and second[2 * H :].all()


def test_networks_of_several_layers():
    xs = random(2, T, B, D).astype(jnp.float32)
    cells = kl.RNN([kl.LSTMCell(H), kl.GRUCell(4)], **COMMON)
    cells.build((B, T, D))
    weights_of(cells)
    cell, params = from_keras(cells)
    assert cell == stack(lstm, gru)
    outs, low, (top,) = cells(time_first(xs))
    (got_low, got_top), got = unroll(cell, params, xs)
    assert difference((LSTMCarry(*low), top, time_first(outs)), (got_low, got_top.h, got))[0] < 1e-6

    model = keras.Sequential([
        keras.Input((None, D)),
        kl.Bidirectional(kl.GRU(H, return_sequences=True)),
        kl.Bidirectional(kl.LSTM(4, return_sequences=True)),
        kl.SimpleRNN(5, return_sequences=True),
    ])  # fmt: skip
    weights_of(model)
    cell, params = from_keras(model)
    assert cell == (gru, lstm, rnn)
    got = layers(cell, params, xs)[1]
    assert difference(got, time_first(model(time_first(xs))))[0] < 1e-6
    back = to_keras(cell, params)
    assert difference(got, time_first(back(time_first(xs))))[0] < 1e-6
    assert difference(from_keras(back)[1], params)[0] == 0
    assert difference(from_keras(back.layers)[1], params)[0] == 0
    two = stack(lstm, gru_cho)
    params = two.init(jax.random.key(0), D, (4, 5))
    assert difference(from_keras(to_keras(two, params))[1], params)[0] == 0


def test_what_cannot_be_represented_is_refused():
    def built(layer):
        layer.build((B, T, D))
        return layer

    with pytest.raises(InputError, match="has recurrent_activation=hard_sigmoid, our cells have sigmoid"):
        from_keras(built(kl.LSTM(H, recurrent_activation="hard_sigmoid")))
    with pytest.raises(InputError, match="has activation=gelu, our cells have tanh or relu"):
        from_keras(built(kl.SimpleRNN(H, activation="gelu")))
    with pytest.raises(InputError, match="go_backwards does not belong to a cell"):
        from_keras(built(kl.GRU(H, go_backwards=True)))
    with pytest.raises(InputError, match="merge_mode='sum'"):
        from_keras(built(kl.Bidirectional(kl.GRU(H), merge_mode="sum")))
    unlike = kl.Bidirectional(kl.GRU(H), backward_layer=kl.LSTM(H, go_backwards=True))
    with pytest.raises(InputError, match="same cell; got gru, lstm"):
        from_keras(built(unlike))
    with pytest.raises(InputError, match="no weights yet"):
        from_keras(kl.GRU(H))
    with pytest.raises(InputError, match="expected a SimpleRNN, an LSTM, a GRU"):
        from_keras(kl.Dense(3))
    params = lstm.init(jax.random.key(0), D, H)
    with pytest.raises(InputError, match="bias out, and here it is not zero"):
        to_keras(lstm, params, use_bias=False)
    with pytest.raises(InputError, match="expected a tuple of 2 params"):
        to_keras((lstm, lstm), (params,))


@pytest.mark.parametrize("use_bias", [True, False])
def test_convolutional(use_bias, float64_tanh):
    options = {"padding": "same", "use_bias": use_bias, "dtype": "float64", **COMMON}
    layer = kl.ConvLSTM2D(H, (3, 2), **options)
    layer.build((B, T, 4, 5, D))
    weights = weights_of(layer)
    fixed = [v.value for v in layer.non_trainable_variables]

    def theirs(weights, xs, carry):
        (outs, *states), _ = layer.stateless_call(weights, fixed, time_first(xs), initial_state=list(carry))
        return type(carry)(*states), time_first(outs)

    cell, params = from_keras(layer)
    carry, xs = noisy(jax.random.key(4), cell.initial_carry(params, (B, 4, 5))), random(2, T, B, 4, 5, D)
    assert_same("conv", lambda w, *rest: unroll(cell, converted(layer, w)[1], *rest), theirs, weights, xs, carry)
    back = to_keras(cell, params, use_bias=use_bias, picture=(4, 5))
    assert difference([v.value for v in back.trainable_variables], weights)[0] == 0
    assert difference(from_keras(back)[1], params)[0] == 0

    with pytest.raises(InputError, match="must be given for a conv_lstm"):
        to_keras(cell, params)
    with pytest.raises(InputError, match="no peepholes to hold p, and here it is not zero"):
        to_keras(cell, params._replace(p=params.p + 1), picture=(4, 5))
    strided = kl.ConvLSTM2D(H, 3, **options | {"padding": "valid"})
    strided.build((B, T, 4, 5, D))
    with pytest.raises(InputError, match="pictures of one size"):
        from_keras(strided)

"""flax' cells, linen's and nnx', against ours in float64: values, and gradients of weights, carry and input."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx
from problem import B, D, H, T, random, start

from jaxseq import Bidirectional, InputError, bidirectional, stack, unroll
from jaxseq.cells import LSTMCarry, gru, gru_cho, lstm, rnn
from jaxseq.interop.flax import from_linen, from_nnx, to_linen, to_nnx
from jaxseq.testing import assert_same, difference, noisy

CELLS = {
    "SimpleCell": {},
    "SimpleCell relu": {"activation_fn": jax.nn.relu},
    "SimpleCell residual": {"residual": True},
    "LSTMCell": {},
    "OptimizedLSTMCell": {},
    "GRUCell": {},
}
LINEN = CELLS | {"MGUCell": {}, "MGUCell reset_gate=False": {"reset_gate": False}}


def their_state(carry):
    return (carry.c, carry.h) if isinstance(carry, LSTMCarry) else carry.h


def our_carry(kind, state):
    return LSTMCarry(*state[::-1]) if kind is LSTMCarry else kind(state)


def unrolled(step, carry, xs):
    state, outs = their_state(carry), []
    for x in xs:
        state, out = step(state, x)
        outs.append(out)
    return our_carry(type(carry), state), jnp.stack(outs)


@pytest.mark.parametrize("name", LINEN)
def test_equals_linen_and_comes_back(name):
    module = getattr(linen, name.split()[0])(H, param_dtype=jnp.float64, **LINEN[name])
    xs = random(2, T, B, D)
    state = module.initialize_carry(jax.random.key(0), (B, D))
    variables = noisy(jax.random.key(3), module.init(jax.random.key(1), state, xs[0]))
    cell, params = from_linen(module, variables)
    ours = lambda v, carry, xs: unroll(cell, from_linen(module, v)[1], xs, carry)  # noqa: E731
    theirs = lambda v, carry, xs: unrolled(lambda s, x: module.apply(v, s, x), carry, xs)  # noqa: E731
    assert_same(name, ours, theirs, variables, start(cell, params), xs)

    back, written = to_linen(cell, params, optimized=name != "LSTMCell")
    assert from_linen(back, written)[0] == cell
    assert difference(from_linen(back, written)[1], params)[0] == 0
    if name not in ("SimpleCell residual", "MGUCell"):  # which come back as a plain cell that does the same
        assert type(back) is type(module)
        assert difference(written, variables)[0] == 0


@pytest.mark.parametrize("name", CELLS)
def test_equals_nnx_and_comes_back(name):
    options = {"dtype": jnp.float64, "param_dtype": jnp.float64, **CELLS[name]}
    module = getattr(nnx, name.split()[0])(D, H, rngs=nnx.Rngs(0), **options)
    graph, weights, rest = nnx.split(module, nnx.Param, ...)
    weights = noisy(jax.random.key(3), weights)
    cell, params = from_nnx(nnx.merge(graph, weights, rest))
    ours = lambda w, carry, xs: unroll(cell, from_nnx(nnx.merge(graph, w, rest))[1], xs, carry)  # noqa: E731
    theirs = lambda w, carry, xs: unrolled(nnx.merge(graph, w, rest), carry, xs)  # noqa: E731
    assert_same(name, ours, theirs, weights, start(cell, params), random(2, T, B, D))

    back = to_nnx(cell, params, optimized=name != "LSTMCell")
    assert from_nnx(back)[0] == cell
    assert difference(from_nnx(back)[1], params)[0] == 0
    if name != "SimpleCell residual":
        assert type(back) is type(module)
        assert difference(nnx.to_pure_dict(nnx.state(back, nnx.Param)), nnx.to_pure_dict(weights))[0] == 0


@pytest.mark.parametrize("cell", [lstm, gru, rnn], ids=lambda cell: cell.name)
def test_both_directions(cell):
    made = (noisy(jax.random.key(k), cell.init(jax.random.key(k), D, H, dtype=jnp.float64)) for k in (0, 1))
    params, xs = Bidirectional(*made), random(2, T, B, D)
    want = bidirectional(cell, params, xs)
    module, variables = to_linen(cell, params)
    last, outs = module.apply(variables, xs, return_carry=True)
    ours = lambda last: Bidirectional(*(our_carry(type(want[0].forward), state) for state in last))  # noqa: E731
    assert difference((ours(last), outs), want)[0] < 1e-9
    assert difference(from_linen(module, variables)[1], params)[0] == 0
    rnn_module = module.forward_rnn
    assert difference(from_linen(rnn_module, {"params": variables["params"]["forward_rnn"]})[1], params.forward)[0] == 0

    if cell is gru:
        params = Bidirectional(*(p._replace(b_hn=jnp.zeros_like(p.b_hn)) for p in params))
        want = bidirectional(cell, params, xs)
    module = to_nnx(cell, params)
    last, outs = module(xs, return_carry=True)
    assert difference((ours(last), outs), want)[0] < 1e-9
    assert difference(from_nnx(module)[1], params)[0] == 0
    assert difference(from_nnx(module.backward_rnn)[1], params.backward)[0] == 0


def test_what_flax_has_not_is_refused():
    params = gru.init(jax.random.key(0), D, H)
    with pytest.raises(InputError, match="no bias to hold b_hn, and here it is not zero"):
        to_nnx(gru, params._replace(b_hn=params.b_hn + 1))
    cho = gru_cho.init(jax.random.key(0), D, H)
    two = stack(gru, gru)
    for to in (to_linen, to_nnx):
        with pytest.raises(InputError, match="no such layer as gru_cho"):
            to(gru_cho, cho)
        with pytest.raises(InputError, match="no stack"):
            to(two, two.init(jax.random.key(0), D, H))
    hard = linen.LSTMCell(H, gate_fn=jax.nn.hard_sigmoid)
    with pytest.raises(InputError, match=r"LSTMCell has gate_fn=.*hard_sigmoid.*, our cells have sigmoid"):
        from_linen(hard, {})
    with pytest.raises(InputError, match="reverse=True does not belong to a cell"):
        from_linen(linen.RNN(hard, reverse=True), {})
    with pytest.raises(InputError, match="another merge_fn"):
        from_linen(linen.Bidirectional(linen.RNN(hard), linen.RNN(hard), merge_fn=jnp.add), {})
    with pytest.raises(InputError, match="expected a cell, one of SimpleCell"):
        from_linen(linen.Dense(3), {})
    own = type("LSTMCell", (linen.LSTMCell,), {})
    with pytest.raises(InputError, match=r"expected a cell, .*test_flax.LSTMCell"):
        from_linen(own(H), {})
    rngs = nnx.Rngs(0)
    with pytest.raises(InputError, match=r"activation_fn=.*gelu"):
        from_nnx(nnx.OptimizedLSTMCell(D, H, activation_fn=jax.nn.gelu, rngs=rngs))
    ahead, behind = nnx.RNN(nnx.LSTMCell(D, H, rngs=rngs)), nnx.RNN(nnx.GRUCell(D, H, rngs=rngs))
    with pytest.raises(InputError, match="must be the same cell; got lstm and gru"):
        from_nnx(nnx.Bidirectional(ahead, behind))
    with pytest.raises(InputError, match="another merge_fn"):
        from_nnx(nnx.Bidirectional(ahead, ahead, merge_fn=jnp.add))
    with pytest.raises(InputError, match="unknown array 'ix/kernel': did you mean"):
        from_linen(linen.LSTMCell(H), {"params": {"ix": {"kernel": jnp.ones((D, H))}}})


@pytest.mark.parametrize("use_bias", [True, False])
def test_convolutional(use_bias):
    module = linen.ConvLSTMCell(H, (3, 2), use_bias=use_bias, param_dtype=jnp.float64)
    xs = random(2, T, B, 4, 5, D)
    state = module.initialize_carry(jax.random.key(0), xs.shape[1:])
    variables = noisy(jax.random.key(3), module.init(jax.random.key(1), state, xs[0]))
    cell, params = from_linen(module, variables)
    carry = noisy(jax.random.key(7), cell.initial_carry(params, xs.shape[1:-1]))
    ours = lambda v, carry, xs: unroll(cell, from_linen(module, v)[1], xs, carry)  # noqa: E731
    theirs = lambda v, carry, xs: unrolled(lambda s, x: module.apply(v, s, x), carry, xs)  # noqa: E731
    assert_same("conv", ours, theirs, variables, carry, xs)

    back, written = to_linen(cell, params)
    assert difference(from_linen(back, written)[1], params)[0] < 1e-15
    assert not written["params"]["hh"]["bias"].any()
    assert difference(written["params"]["hh"]["kernel"], variables["params"]["hh"]["kernel"])[0] == 0
    with pytest.raises(InputError, match="no peepholes to hold p, and here it is not zero"):
        to_linen(cell, params._replace(p=params.p + 1))
    with pytest.raises(InputError, match="padding 'SAME', no strides"):
        from_linen(linen.ConvLSTMCell(H, (3, 2), padding="VALID"), variables)

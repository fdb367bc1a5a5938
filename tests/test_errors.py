"""What the library says when it is given something that does not fit: what, expected, got, what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import Bidirectional, InputError, attention, bidirectional, decode, forcing, trace, unroll
from jaxseq.attention import ATTENTIONS, additive, positional, with_attention
from jaxseq.cells import CELLS, GRUCarry, activate, drop_between, gru, lstm, stack
from jaxseq.dropout import keep_mask
from jaxseq.errors import choose
from jaxseq.recurrence import checkpointed
from jaxseq.seq2seq import translator

T, B, D, H = 6, 3, 2, 4
params = gru.init(jax.random.key(0), D, H)
xs = jnp.ones((T, B, D), jnp.float32)
carry = gru.initial_carry(params, (B,))
mask = jnp.ones((T, B), bool)


def refused(message: str):
    return pytest.raises(InputError, match=message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"xs": jnp.ones((B, D, T), jnp.float32)}, r"6 features on its last axis, params expect 2. .*time .* first"),
        ({"xs": jnp.ones((T, B, 7), jnp.float32)}, r"7 features on its last axis, params expect 2"),
        ({"xs": jnp.ones(D, jnp.float32)}, r"x must be \[T, B, D\].*got the shape \(2,\)"),
        ({"xs": jnp.ones((T, B, D), int)}, r"x has dtype int64.*embed tokens first"),
        ({"xs": xs.astype(jnp.bfloat16)}, r"x has dtype bfloat16, params have float32; nothing is promoted"),
        ({"xs": np.ones((T, B, D))}, r"x has dtype float64, params have float32"),
        ({"mask": jnp.ones((B, T), bool)}, r"mask must be \[T, B\] = \(6, 3\).*try mask.T"),
        (
            {"mask": jnp.ones((T, B + 1), bool)},
            r"mask must be \[T, B\].*as xs; got the shape \(6, 4\)\.(\n|$)",
        ),
        ({"mask": jnp.ones((T, B))}, r"mask must be bool .*got float64 \(6, 3\). Try mask.astype\(bool\)"),
        ({"mask": jnp.ones((T, B), int)}, r"mask must be bool"),
        ({"carry": gru.initial_carry(params, (B + 1,))}, r"carry.h must be float32 of shape \(3, 4\).*got.*\(4, 4\)"),
        ({"carry": GRUCarry(carry.h.astype(jnp.bfloat16))}, r"carry.h must be float32.*got bfloat16"),
        ({"carry": lstm.initial_carry(lstm.init(jax.random.key(0), D, H), (B,))}, r"carry is that of another cell"),
        ({"carry": carry.h}, r"expected GRUCarry\(h\), got array\(3, 4\); start from gru.initial_carry\(params"),
        ({"carry": ()}, r"expected GRUCarry\(h\), got tuple\(\)"),
        ({"params": lstm.init(jax.random.key(0), D, H)}, r"params are not this cell's: expected GRUParams, got LSTMP"),
        ({"params": params._asdict()}, r"params are not this cell's: expected GRUParams, got dict"),
        ({"params": params._replace(U=params.U.astype(jnp.bfloat16))}, r"params must share one floating dtype; got bf"),
    ],
)
def test_unroll(given, message):
    arguments = {"params": params, "carry": carry, "xs": xs, "mask": mask, **given}
    with refused(message):
        unroll(gru, **arguments)
    with refused(message):  # at trace time as well
        jax.jit(lambda arguments: unroll(gru, **arguments))(arguments)


@pytest.mark.parametrize(
    ("carry", "x", "message"),
    [
        (carry, jnp.ones((B, 5), jnp.float32), r"gru: x has 5 features on its last axis.*x is \[B, D\]"),
        (carry, jnp.ones((B + 2, D), jnp.float32), r"carry.h must be float32 of shape \(5, 4\)"),
        (carry, jnp.float32(1), r"x must be \[B, D\]"),
    ],
)
def test_step(carry, x, message):
    with refused(message):
        gru.step(params, carry, x)


def test_params_of_another_cell_that_would_fit():
    """With H = 4 the packed block of an rnn cuts into four gates of one unit each, which broadcast."""
    own = CELLS["rnn"].init(jax.random.key(0), D, 4)
    with refused(r"lstm: the params are not this cell's: expected LSTMParams, got RNNParams\(W, U, b\); make them wi"):
        lstm.step(own, lstm.initial_carry(own, (B,)), xs[0])


SOURCE, SEEN = jnp.zeros((5, B), int), jnp.ones((5, B), bool)
small = translator()


def decoding(**given):
    model_params = small.init(jax.random.key(0), 7, 7, embedding=2, hidden=2)
    encoded = small.encode(model_params, SOURCE, SEEN)
    return small.decode(model_params, encoded, **{"inputs": jnp.zeros((4, B), int), **given})


def loop(carry, tokens):
    return carry, jnp.zeros((tokens.shape[0], 5)), ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stack(), r"expected at least one cell, got none"),
        (lambda: stack("gru"), r"stack: cell must be a Cell, such as jaxseq.cells.lstm; got 'gru'"),
        (lambda: translator(cell="gru"), r"translator: cell must be a Cell"),
        (lambda: with_attention(stack(gru, gru), additive), r"expected one layer.*got stack\(gru, gru\)"),
        (lambda: unroll("lstm", params, xs), r"cell must be a Cell.*got 'lstm'. By name: jaxseq.cells.CELLS"),
        (lambda: trace("lstm", params, xs), r"trace: cell must be a Cell"),
        (lambda: unroll(gru, params, xs, recurrence="scan"), r"a function.*got 'scan'.*known: scan, .*newton"),
        (lambda: activate(xs, "sigmoid tahn"), r"unknown activation 'tahn': did you mean 'tanh'\? known: none, relu, "),
        (lambda: unroll(gru, params, xs.tolist()), r"x must be an array \[T, B, D\]; got list. Convert it: jnp"),
        (lambda: unroll(gru, params, None), r"got None where xs belongs; the order is \(cell, params, xs, car"),
        (lambda: unroll(gru, params, carry, xs), r"got a carry where xs belongs; the order is \(cell, params, "),
        (lambda: unroll(stack(gru, gru), params, xs), r"expected a tuple of 2, one for each layer, got GRUPar"),
        (lambda: unroll(stack(gru, gru), (params,), xs), r"expected a tuple of 2, one for each layer, got tuple"),
        (lambda: unroll(stack(gru, lstm), (params, params), xs), r"layer 1: the params.*expected LSTMParams"),
        (lambda: bidirectional(gru, params, xs), r"params must be Bidirectional\(forward.*got GRUParams"),
        (lambda: bidirectional(gru, Bidirectional(params, params), xs, carry), r"carry must be Bidirectional\(forw"),
        (lambda: gru.init(jax.random.key(0), 0, 4), r"GRUParams: input_size must be a whole number above 0; got 0"),
        (lambda: lstm.init(jax.random.key(0), 3, 2.5), r"hidden_size must be a whole number above 0; got 2.5"),
        (lambda: stack(gru, CELLS["phased_lstm"]), r"phased_lstm, layer 1, takes time stamps, and the lowest"),
        (lambda: stack(gru, gru).init(jax.random.key(0), D, (H,)), r"expected 2 hidden sizes.*got \(4,\)"),
        (lambda: drop_between(jax.random.key(0), 1.0, (params, params), xs), r"at least 0 and below 1.*got 1.0"),
        (lambda: keep_mask(jax.random.key(0), -0.1, (2,), float), r"at least 0 and below 1.*got -0.1"),
        (lambda: checkpointed(gru, params, xs, carry, segment=0), r"at least 1 step; got 0"),
        (lambda: choose("cell", "gru", dict.fromkeys(map(str, range(20)))), r"known: (\d+,? ){8}and 12 more$"),
        (lambda: choose("a", "b", dict.fromkeys(map(str, range(20))), "`x`"), "and 12 more, which `x` lists$"),
        (lambda: choose("law", "lop", {"loop": 1, "batch": 2}), r"unknown law 'lop': did you mean 'loop'\? known: ba"),
        (lambda: choose("attention", "zzz", ATTENTIONS), r"unknown attention 'zzz': known: additive, concat, coverage"),
        (lambda: with_attention(gru, additive).step(
            with_attention(gru, additive).init(jax.random.key(0), D, H, value_size=2, units=2), carry, xs[0]),
         r"there is no source to read; give it to the cell: unroll\(reading\(cell"),
        (lambda: positional.remember(positional.init(jax.random.key(0), 2, 2, 3), jnp.ones((4, B, 2)), None),
         r"at most 3 positions, got 4"),
        (lambda: additive.remember(additive.init(jax.random.key(0), 2, 2, 3), jnp.ones((4, B, 2)), mask),
         r"attention: mask must be \[T, B\] = \(4, 3\)"),
        (lambda: attention.additive.remember(None, jnp.ones((4, B, 2)), jnp.ones((4, B))), r"mask must be bool"),
        (lambda: translator(layers=0), r"at least 1 layer; got 0"),
        (lambda: small.encode(None, jnp.zeros((5, B)), SEEN), r"source must be int \[S, B\], time first; got float64"),
        (lambda: small.encode(None, SOURCE, SEEN.T), r"mask must be bool \(5, 3\), as source; got bool \(3, 5\)"),
        (lambda: small.encode(None, SOURCE, SOURCE), r"mask must be bool"),
        (lambda: decoding(inputs=jnp.zeros(4, int)), r"inputs must be int \[T, B\]"),
        (lambda: decoding(forced=jnp.ones((4, B))), r"forced must be bool \(4, 3\)"),
        (lambda: decoding(forced=jnp.ones((3, B), bool)), r"forced must be bool \(4, 3\).*got bool \(3, 3\)"),
        (lambda: decode.greedy(loop, (), jnp.zeros(B), eos=1, max_length=3), r"start must be int \[B\].*got float64"),
        (lambda: decode.greedy(loop, (), jnp.zeros(B, int), eos=1, max_length=0), r"at least 1, got 0"),
        (lambda: decode.sample(loop, (), jnp.zeros(B, int), key=None, temperature=0.0, eos=1, max_length=3),
         r"temperature must be above 0, got 0.0; for the likeliest token use greedy"),
        (lambda: forcing.schedule("linnear"), r"unknown teacher forcing schedule 'linnear': did you mean 'linear'"),
        (lambda: forcing.schedule("linear", 1.5), r"must be in \[0, 1\]; got start 1.5"),
        (lambda: forcing.schedule("linear", steps=0), r"at least 1 step; got 0"),
        (lambda: forcing.draw(jax.random.key(0), 0.5, (T, B), "word"), r"unknown teacher forcing unit 'word'"),
    ],
)  # fmt: skip
def test_the_rest(call, message):
    with refused(message):
        call()

"""Batches spread over devices: on an Explicit mesh and in `jax.shard_map`, values and gradients as on one device."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxseq import bidirectional, decode, init_bidirectional, init_layers, layers, trace, unroll
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import gru, lstm, stack
from jaxseq.seq2seq import translator
from jaxseq.testing import assert_close

T, B, D, H, S = 4, 4, 3, 4, 5
KEYS = jax.random.split(jax.random.key(0), 6)
BY_ROW = PartitionSpec(None, "batch")
XS, SOURCE = jax.random.normal(KEYS[0], (T, B, D)), jax.random.normal(KEYS[1], (S, B, D))
MASK, RESETS = jax.random.bernoulli(KEYS[2], 0.7, (T, B)), jax.random.bernoulli(KEYS[3], 0.4, (T, B))
SIZES = {"value_size": D, "units": H, "dtype": jnp.float64}
reader = stack(lstm, with_attention(gru, additive))


def a_cell(run, cell):
    return cell.init(KEYS[4], D, H, dtype=jnp.float64), functools.partial(run, cell)


def read(params, xs, source, mask, resets):
    cell = reading(reader, reader.remember(params, source))
    return unroll(cell, params, xs, mask=mask, resets=resets)


def over(run, cell, params, xs, source, mask, resets):
    return run(cell, params, xs, mask=mask, resets=resets)


DRIVEN = {
    "lstm": lambda: a_cell(functools.partial(over, unroll), lstm),
    "gru, reversed": lambda: a_cell(functools.partial(over, functools.partial(unroll, reverse=True)), gru),
    "trace": lambda: a_cell(functools.partial(over, trace), lstm),
    "stack with attention": lambda: (reader.init(KEYS[4], D, H, **SIZES), read),
    "bidirectional": lambda: (
        init_bidirectional(KEYS[4], gru, D, H, dtype=jnp.float64),
        functools.partial(over, bidirectional, gru),
    ),
    "layers": lambda: (
        init_layers(KEYS[4], (gru, lstm), D, H, both_ways=(True, False), dtype=jnp.float64),
        functools.partial(over, layers, (gru, lstm)),
    ),
}


def mesh(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((2,), ("batch",), axis_types=(kind,))


def explicit(function, params, *data):
    """Return ``function(params, *data)`` with rows on two devices, whose types say so."""
    with jax.set_mesh(mesh(AxisType.Explicit)) as _:
        here = jax.sharding.get_mesh()
        spread = [jax.device_put(a, NamedSharding(here, BY_ROW)) for a in data]
        return jax.device_get(jax.jit(function)(jax.device_put(params, NamedSharding(here, PartitionSpec())), *spread))


def mapped(function, out_specs, params, *data):
    """Return the same of a function that runs on each device for its own rows."""
    specs = (PartitionSpec(), *[BY_ROW] * len(data))
    return jax.jit(jax.shard_map(function, mesh=mesh(AxisType.Auto), in_specs=specs, out_specs=out_specs))(
        params, *data
    )


def total(function, params, *data):
    return sum((a**2).sum() for a in jax.tree.leaves(function(params, *data)))


def check(function, params, *data):
    slope = jax.value_and_grad(functools.partial(total, function))

    def summed(params, *data):  # params are the same everywhere: JAX sums their gradients over the devices
        value, gradient = slope(params, *data)
        return jax.lax.psum(value, "batch"), gradient

    want = jax.device_get(jax.jit(slope)(params, *data))
    assert_close("Explicit", explicit(slope, params, *data), want)
    assert_close("shard_map", jax.device_get(mapped(summed, PartitionSpec(), params, *data)), want)


@pytest.mark.parametrize("make", DRIVEN.values(), ids=DRIVEN)
def test_rows_on_two_devices(make) -> None:
    params, function = make()
    check(function, params, XS, SOURCE, MASK, RESETS)


MODEL = translator(gru)
WEIGHTS = MODEL.init(KEYS[5], 9, 8, embedding=H, hidden=H, dtype=jnp.float64)
WORDS = jax.random.randint(KEYS[0], (S, B), 3, 9)
REAL = jnp.arange(S)[:, None] < jnp.array([[5, 2, 3, 4]])
TARGET = jax.random.randint(KEYS[1], (T, B), 3, 8)


@pytest.mark.parametrize("forced", [False, True])
def test_a_translator_on_two_devices(forced: bool) -> None:
    def logits(params, source, mask, inputs, given):
        return MODEL.decode(params, MODEL.encode(params, source, mask), inputs, given if forced else None)[1][0]

    check(logits, WEIGHTS, WORDS, REAL, TARGET, RESETS)


@pytest.mark.parametrize("starts", ["as the source", "everywhere"])
@pytest.mark.parametrize("write", [decode.greedy, functools.partial(decode.sample, key=jax.random.key(7))])
def test_decoding_on_two_devices(write, starts: str) -> None:
    def translate(params, source, mask):
        encoded = MODEL.encode(params, source, mask)
        start = jnp.ones_like(source[0]) if starts == "as the source" else jnp.ones(source.shape[1], int)
        written = write(MODEL.step(params, encoded), encoded.carry, start, eos=2, max_length=6)
        return written.tokens, written.log_probs, written.seen

    want = jax.device_get(jax.jit(translate)(WEIGHTS, WORDS, REAL))
    assert_close("Explicit", explicit(translate, WEIGHTS, WORDS, REAL), want)
    if getattr(write, "func", None) is None:  # a device that draws for its own rows draws other numbers
        got = mapped(translate, BY_ROW, WEIGHTS, WORDS, REAL)
        assert_close("shard_map", jax.device_get(got), want)

"""Mistakes of a first day: each is answered in one sentence that says what to do."""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxseq
from jaxseq import bidirectional, init_bidirectional, init_layers, layers, length_mask, unroll
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import Observed, Spaced, Stamped, cfc, gru, gru_d, lstm, phased_lstm
from jaxseq.errors import InputError
from jaxseq.interventions import clamp, intervene
from jaxseq.regularisers import zoneout
from jaxseq.testing import check_cell

T, B, D, H, S, K = 6, 3, 2, 4, 5, 2
f32 = jnp.float32
key = jax.random.key(0)
xs, times = jnp.ones((T, B, D), f32), jnp.ones((T, B), f32)
params = lstm.init(key, D, H, dtype=f32)
both = init_layers(key, (lstm, gru), D, H, dtype=f32)
reader = with_attention(gru, additive)
weights = reader.init(key, D, H, value_size=K, units=4, dtype=f32)


def memory(B):
    return reader.remember(weights, jnp.ones((S, B, K), f32))


def run(cell, xs):
    return unroll(cell, cell.init(key, D, H, dtype=f32), xs)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: unroll(lstm, params, xs, times > 0), "lstm: got a mask where the carry belongs; give it by name"),
        (
            lambda: run(phased_lstm, Stamped(xs, times)),
            "t must have the shape (6, 3, 1), for x of (6, 3, 2); got (6, 3): give t",
        ),
        (lambda: run(cfc, Spaced(xs, times.T[..., None])), "dt must have the shape (6, 3, 1)"),
        (lambda: run(gru_d, Observed(xs, xs, times[..., None])), "delta must have the shape (6, 3, 2)"),
        (lambda: lstm.initial_carry(params, 4), "initial_carry: batch_shape must be a tuple, such as (4,)"),
        (lambda: lstm.initial_carry(params, xs[0]), "initial_carry: batch_shape must be a tuple, such as (4,)"),
        (lambda: lstm.init(key, D, H, dtype=int), "init of LSTMParams: dtype must be a floating one"),
        (lambda: length_mask(4, jnp.array([1, 2])), "length_mask: T must be a whole number; got ArrayImpl"),
        (lambda: init_bidirectional(lstm, key, D, H), "init_bidirectional(key, cell, ...): cell must be a Cell"),
        (lambda: init_layers(key, lstm, D, H), "cells must be a tuple of Cells, such as (lstm, gru); got Cell"),
        (lambda: layers(lstm, both, xs), "layers: cells must be a tuple of Cells, such as (lstm, gru); got Cell"),
        (lambda: layers((lstm,), both, xs), "params must be a tuple of 1, one for each cell; got tuple of 2"),
        (lambda: layers((lstm, gru), both, None, xs), "The order is (cells, params, xs, carry=None)"),
        (lambda: bidirectional(lstm, both[0], None, xs), "The order is (cell, params, xs, carry=None)"),
        (lambda: with_attention(additive, gru), "with_attention: cell must be a Cell"),
        (lambda: with_attention(gru, "additive"), "attention must be an Attention, such as jaxseq.attention.additive"),
        (lambda: reading(memory(B), reader), "reading(cell, memory): cell must be a Cell"),
        (lambda: reader.remember(weights, jnp.ones((S, B, 9), f32)), "the source must be [S, B, K] with K = 2"),
        (
            lambda: unroll(reading(reader, memory(B + 1)), weights, xs),
            "source has the batch axes (4,), the carry has (3,)",
        ),
        (lambda: clamp(lstm), "clamp: name at least one gate"),
        (lambda: intervene("lstm", {}), "intervene: cell must be a Cell"),
        (lambda: zoneout("lstm", 0.1), "zoneout: cell must be a Cell"),
        (lambda: check_cell("lstm"), "check_cell: cell must be a Cell"),
    ],
)
def test_a_mistake_is_answered(mistake, message):
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        mistake()
    assert len(str(raised.value)) < 250


def test_what_was_meant_works():
    assert run(phased_lstm, Stamped(xs, times[..., None]))[1].shape == (T, B, H)
    with jax.numpy_rank_promotion("allow"):
        one = reader.remember(weights, jnp.ones((S, K), f32))  # a source without batch axes is read by every row
        assert unroll(reading(reader, one), weights, xs)[1].weights.shape == (T, B, S)
        wide = jnp.ones((T, 2, B, D), f32)  # and one of B rows by further axes before them
        assert unroll(reading(reader, memory(B)), weights, wide)[1].weights.shape == (T, 2, B, S)


def test_heavier_parts_need_no_import_of_their_own():
    assert jaxseq.study.half_life and jaxseq.testing.check_cell is check_cell
    with pytest.raises(AttributeError, match="has no attribute 'stduy'"):
        _ = jaxseq.stduy

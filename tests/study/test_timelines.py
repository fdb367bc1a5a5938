"""Timelines and ledgers against the equations written out, and against a network constructed to count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import sigmoid, unpack

from jaxseq import InputError, trace
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import CELLS, gru, lstm, rnn, stack
from jaxseq.interventions import clamp
from jaxseq.study import (
    Keep,
    Show,
    by_half_life,
    by_likeness,
    correlation,
    gates_of,
    half_life,
    keeps_of,
    ledger,
    show_of,
)
from jaxseq.testing import Subject, draw, holes


def problem(name, T=6, B=4):
    return draw(Subject(CELLS[name]), T, (B,))


def test_the_ledger_of_an_lstm_is_its_equations() -> None:
    params, xs, carry = problem("lstm")
    account = ledger(lstm, params, xs, carry)
    W, U, b = (unpack(np.asarray(a), "i f g o") for a in params)
    h, c = np.asarray(carry.h), np.asarray(carry.c)
    for t, x in enumerate(np.asarray(xs)):
        i, f, g, o = (x @ W[n] + h @ U[n] + b[n] for n in "ifgo")
        kept, written = sigmoid(f) * c, sigmoid(i) * np.tanh(g)
        c = kept + written
        h = sigmoid(o) * np.tanh(c)
        for got, want in zip(account[:5], (kept, written, c, np.tanh(c), h), strict=True):
            np.testing.assert_allclose(got[t], want, rtol=1e-12, atol=1e-14)


def test_the_ledger_of_a_gru_is_its_equations() -> None:
    params, xs, carry = problem("gru")
    account = ledger(gru, params, xs, carry)
    gates, seen = gates_of(gru, params, xs, carry), trace(gru, params, xs, carry)[1]
    old = np.concatenate([carry.h[None], seen.carries.h[:-1]])
    np.testing.assert_allclose(account.kept, gates["z"] * old, rtol=1e-12)
    np.testing.assert_allclose(account.written, (1 - gates["z"]) * gates["n"], rtol=1e-12)
    np.testing.assert_allclose(account.shown, seen.outs, rtol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "lstm_peephole", "gru_cho", "mgu", "sru", "slstm", "min_gru"])
def test_the_identities_hold_in_float32(name: str, as_users_have_it) -> None:
    cell = CELLS[name]
    params, xs, carry = draw(Subject(cell), 6, (4,), jnp.float32)
    account = jax.jit(lambda *args: ledger(cell, *args))(params, xs, carry)
    assert account.errors.new < 1e-6 and (account.errors.shown is None or account.errors.shown < 1e-6)
    assert np.abs(account.kept).max() > 1e-3 and np.abs(account.written).max() > 1e-3


def test_an_error_is_seen() -> None:
    """A gate that does not retain, passed off as the one that does."""
    params, xs, carry = problem("lstm")
    assert ledger(lstm, params, xs, carry, keep=Keep("c", "i")).errors.new > 1e-2


def test_padding_has_no_account() -> None:
    params, xs, carry = problem("lstm")
    mask = holes(6, (4,))
    account = ledger(lstm, params, xs, carry, mask=mask)
    for line in account[:5]:
        assert not np.asarray(line)[~np.asarray(mask)].any()
    assert account.errors.new < 1e-12 and account.errors.shown < 1e-12
    real = np.asarray(mask)[:, 1]
    t = next(t for t in range(2, 6) if real[t] and not real[t - 1])  # just after padding
    held = trace(lstm, params, xs[:t], carry, mask=mask[:t])[0].c[1]
    f = gates_of(lstm, params, xs, carry, mask=mask)["f"]
    np.testing.assert_allclose(account.kept[t, 1], f[t, 1] * held, rtol=1e-12)


def test_every_layer_has_its_ledger() -> None:
    cell = stack(lstm, gru)
    params, xs, carry = draw(Subject(cell), 4, (2,))
    seen = trace(cell, params, xs, carry)[1]
    below, top = (ledger(cell, params, xs, carry, keep=keep) for keep in keeps_of(cell))
    np.testing.assert_allclose(below.new, seen.carries[0].c, rtol=1e-12)
    np.testing.assert_allclose(below.shown, seen.carries[0].h, rtol=1e-12)
    np.testing.assert_allclose(top.new, seen.outs, rtol=1e-12)


def test_a_cell_with_attention_has_one() -> None:
    cell = with_attention(lstm, additive)
    params = cell.init(jax.random.key(0), 3, 5, value_size=4, units=6)
    source = jax.random.normal(jax.random.key(1), (9, 2, 4), jnp.float32)
    cell = reading(cell, cell.remember(params, source))
    xs = jax.random.normal(jax.random.key(2), (7, 2, 3), jnp.float32)
    account = jax.jit(lambda p: ledger(cell, p, xs))(params)
    np.testing.assert_allclose(account.kept[1:], trace(cell, params, xs)[1].gates.f[1:] * account.new[:-1], rtol=1e-6)
    assert account.errors.new < 1e-6 and account.errors.shown < 1e-6


def test_cells_without_one_say_so() -> None:
    assert ledger(rnn, *problem("rnn")) is None
    assert show_of(lstm, "c") == Show("c", "o", "tanh") == show_of(clamp(lstm, f=1.0), "c")
    assert show_of(CELLS["lstm_noaf"], "c") == Show("c", "o", "none")
    assert show_of(gru, "h") == Show("h", None, "none")
    assert show_of(CELLS["sru"], "c") is None  # adds a highway
    with pytest.raises(InputError, match="unknown part of the carry"):
        ledger(lstm, *problem("lstm"), keep=Keep("d", "f"))


def test_units_are_sorted_by_half_life() -> None:
    keep = jnp.broadcast_to(jnp.array([0.5, 0.99, 1.0, 0.9]), (7, 2, 4))
    assert by_half_life(half_life(keep)).tolist() == [2, 1, 3, 0]
    assert by_half_life(jnp.array([jnp.nan, 2.0, 3.0])).tolist() == [2, 1, 0]


def test_units_that_move_alike_are_next_to_one_another() -> None:
    """Three planted groups, mixed; padding has no part."""
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat([0, 1, 2], 5))
    values = rng.normal(size=(12, 2, 3))[..., group] * rng.uniform(0.5, 2, 15) + 0.3 * rng.normal(size=(12, 2, 15))
    mask = np.arange(12)[:, None] < [12, 8]
    values[~mask] = 1e3 * rng.normal(size=(4, 15))
    order = by_likeness(values, mask)
    assert sorted(order) == list(range(15)) and (np.diff(group[order]) != 0).sum() == 2
    assert by_likeness(values[..., :2]).tolist() == [0, 1]
    assert sorted(by_likeness(np.zeros((4, 1, 5)))) == list(range(5))


def test_correlation_is_pearsons() -> None:
    values = jax.random.normal(jax.random.key(0), (6, 4, 3), jnp.float64).at[..., 2].set(7.0)
    target = jax.random.normal(jax.random.key(1), (6, 4), jnp.float64)
    mask = holes(6, (4,))
    got = correlation(values, target, mask)
    for unit in range(2):
        want = np.corrcoef(np.asarray(values)[..., unit][np.asarray(mask)], np.asarray(target)[np.asarray(mask)])[0, 1]
        np.testing.assert_allclose(got[unit], want, rtol=1e-12)
    assert got[2] == 0.0


def test_a_network_made_to_count_counts() -> None:
    """Gates open, candidate +1 on a and -1 on b: c is exactly #a - #b, and its account says + 1 or - 1 a step."""
    big = 50.0
    params = lstm.init(jax.random.key(0), 2, 1, dtype=jnp.float64)
    W = jnp.zeros((2, 4)).at[:, 2].set(jnp.array([big, -big]))
    params = params._replace(W=W, U=jnp.zeros_like(params.U), b=jnp.array([big, big, 0.0, big]))
    letters = np.array([[0] * 5 + [1] * 5, [0, 1] * 5]).T
    count = np.cumsum(np.where(letters == 0, 1.0, -1.0), axis=0)
    account = ledger(lstm, params, jax.nn.one_hot(letters, 2, dtype=jnp.float64))
    np.testing.assert_allclose(account.new[..., 0], count, atol=1e-9)
    np.testing.assert_allclose(account.written[..., 0], np.where(letters == 0, 1.0, -1.0), atol=1e-9)
    np.testing.assert_allclose(correlation(account.new, jnp.asarray(count)), 1.0, rtol=1e-9)

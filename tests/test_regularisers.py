"""Regularisers: masked steps against the papers' equations, evaluation against the expectation, gradients by laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_laws import NEWER

from jaxseq import InputError, regularisers as reg, unroll
from jaxseq.cells import gru, gru_cho, lstm, rnn
from jaxseq.recurrence import EXACT, clipped, scan
from jaxseq.testing import Subject, assert_close, check_cell, cotangent, differentiate, draw, loop

KEY = jax.random.key(3)
T, B, D, H = 6, 4, 3, 5


def problem(cell):
    return draw(Subject(cell, D, H), T, (B,))


def test_without_a_mask_the_cell_is_as_it_was() -> None:
    params, xs, carry = problem(gru)
    dropout = reg.recurrent_dropout(gru, "n")
    assert_close("recurrent dropout", unroll(dropout, params, xs, carry), unroll(gru, params, xs, carry))


@pytest.mark.parametrize("cell", [reg.recurrent_dropout(lstm), reg.zoneout(lstm, 0.3)], ids=lambda c: c.name)
def test_the_wrapped_cell_obeys_the_laws_at_evaluation(cell) -> None:
    laws = ["batch", "dtype", "traces once", *["recurrences"] * (not NEWER)]
    check_cell(cell, laws=laws)


def noisy_cases():
    dropout, zone = reg.recurrent_dropout(lstm), reg.zoneout(lstm, {"h": 0.3, "c": 0.5})
    yield dropout, lambda params, xs: reg.draw_recurrent_dropout(KEY, 0.25, dropout, params, xs)
    yield zone, lambda params, xs: reg.draw_zoneout(KEY, zone, params, xs)


@pytest.mark.parametrize(("cell", "noise"), list(noisy_cases()), ids=["recurrent dropout", "zoneout"])
@pytest.mark.parametrize("name", EXACT)
def test_every_recurrence_works_through_the_noise(cell, noise, name: str) -> None:
    params, xs, carry = problem(lstm)
    xs = noise(params, xs)
    for reverse in (False, True):
        f, g = (functools.partial(r, cell, reverse=reverse) for r in (EXACT[name], loop))
        assert_close(name, differentiate(f, params, xs, carry), differentiate(g, params, xs, carry))


def test_recurrent_dropout_scales_what_is_written() -> None:
    """Semeniuta et al., eq. 9: c' = f c + i d(g)."""
    cell = reg.recurrent_dropout(lstm)
    params, xs, carry = problem(lstm)
    noise = reg.draw_recurrent_dropout(KEY, 0.25, cell, params, xs)
    (mask,) = noise.masks
    np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.75])
    got, _ = cell.step(params, carry, reg.Noise(xs[0], (mask[0],)))
    _, _, gates = lstm.advance(params, carry, lstm.input_terms(params, xs[0]))
    c = gates.f * carry.c + gates.i * mask[0] * gates.g
    assert_close("carry", (got.h, got.c), (gates.o * jnp.tanh(c), c), 1e-12)


def test_zoneout_keeps_units_as_they_were() -> None:
    """Krueger et al., section 3.3: c and h have masks of their own, and h is computed from the c that is not kept."""
    cell = reg.zoneout(lstm, {"h": 0.3, "c": 0.5})
    params, xs, carry = problem(lstm)
    noise = reg.draw_zoneout(KEY, cell, params, xs)
    new, _ = lstm.step(params, carry, xs[0])
    got, out = cell.step(params, carry, reg.Noise(xs[0], tuple(m[0] for m in noise.masks)))
    for leaf, mask, rate in zip(("h", "c"), noise.masks, (0.3, 0.5), strict=True):
        want = jnp.where(mask[0] < rate, getattr(carry, leaf), getattr(new, leaf))
        assert_close(leaf, getattr(got, leaf), want, 1e-12)
        assert abs(float((mask < rate).mean()) - rate) < 0.1
    assert_close("out", out, got.h, 0.0)


@pytest.mark.parametrize("cell", [lstm, gru, rnn, gru_cho], ids=lambda c: c.name)
def test_zoneout_at_evaluation_is_the_expectation(cell) -> None:
    params, xs, carry = problem(cell)
    new, _ = cell.step(params, carry, xs[0])
    want = jax.tree.map(lambda old, n: 0.2 * old + 0.8 * n, carry, new)
    assert_close("expectation", reg.zoneout(cell, 0.2).step(params, carry, xs[0])[0], want, 1e-12)
    zoned = reg.zoneout(cell, 0.2)
    keys = jax.random.split(KEY, 4000)
    many = jax.vmap(lambda k: zoned.step(params, carry, reg.draw_zoneout(k, zoned, params, xs[0]))[0])(keys)
    spread = jax.tree.map(lambda m, w: float(jnp.abs(m.mean(0) - w).max()), many, want)
    assert max(jax.tree.leaves(spread)) < 0.06  # four standard errors of 4,000 draws, for states of about 1


def test_drop_weights_masks_recurrent_matrices_alone() -> None:
    params, _, _ = problem(gru_cho)
    dropped = reg.drop_weights(KEY, 0.5, params)
    for name in params._fields:
        before, after = np.asarray(getattr(params, name)), np.asarray(getattr(dropped, name))
        if not name.startswith("U"):
            np.testing.assert_array_equal(after, before)
            continue
        assert 0.3 < (after == 0).mean() < 0.7
        np.testing.assert_allclose(after[after != 0], 2 * before[after != 0])


def test_drop_inputs_and_words_drop_whole_features_and_rows() -> None:
    xs = np.asarray(reg.drop_inputs(KEY, 0.5, jnp.ones((T, 40, D), jnp.float64)))
    assert (xs == xs[:1]).all() and set(np.unique(xs)) == {0.0, 2.0}
    table = np.asarray(reg.drop_words(KEY, 0.5, jnp.ones((50, 7), jnp.float64)))
    assert (table == table[:, :1]).all() and set(np.unique(table)) == {0.0, 2.0}


def test_penalties_are_means_over_real_steps() -> None:
    rng = np.random.default_rng(0)
    outs, lengths = rng.normal(size=(T, 3, H)), [6, 1, 4]
    mask = np.arange(T)[:, None] < np.asarray(lengths)
    rows = [outs[:n, b] for b, n in enumerate(lengths)]
    every, steps = np.concatenate(rows), np.concatenate([np.diff(row, axis=0) for row in rows])
    np.testing.assert_allclose(reg.activation_penalty(jnp.asarray(outs), jnp.asarray(mask)), (every**2).mean())
    np.testing.assert_allclose(reg.change_penalty(jnp.asarray(outs), jnp.asarray(mask)), (steps**2).mean())
    np.testing.assert_allclose(reg.activation_penalty(jnp.asarray(outs)), (outs**2).mean())
    np.testing.assert_allclose(reg.change_penalty(jnp.asarray(outs)), (np.diff(outs, axis=0) ** 2).mean())
    assert float(reg.change_penalty(jnp.ones((1, 2, 3), jnp.float64))) == 0


@pytest.mark.parametrize("reverse", [False, True])
def test_clipped_holds_the_carrys_gradient_within_limits_at_every_step(reverse: bool) -> None:
    """Against a loop over the steps, backwards, each with its own vjp."""
    params, xs, carry = problem(gru)
    run = functools.partial(clipped, limit=0.05)
    (last, outs), (dparams, dxs, dcarry) = differentiate(
        lambda p, x, k: unroll(gru, p, x, k, reverse=reverse, recurrence=run), params, xs, carry
    )
    assert_close("values", (last, outs), unroll(gru, params, xs, carry, reverse=reverse))
    order = list(range(T))[:: -1 if reverse else 1]
    carries = [carry]
    for t in order:
        carries.append(gru.step(params, carries[-1], xs[t])[0])
    g = jax.tree.map(cotangent, last)
    given, total, by_x = cotangent(outs), jax.tree.map(jnp.zeros_like, params), {}
    for n, t in reversed(list(enumerate(order))):
        _, pull = jax.vjp(gru.step, params, carries[n], xs[t])
        of_params, g, by_x[t] = pull((g, given[t]))
        g = jax.tree.map(lambda a: jnp.clip(a, -0.05, 0.05), g)
        total = jax.tree.map(jnp.add, total, of_params)
    assert_close("params", dparams, total)
    assert_close("carry", dcarry, g)
    assert_close("xs", dxs, jnp.stack([by_x[t] for t in range(T)]))
    assert float(jnp.abs(jax.tree.leaves(dcarry)[0]).max()) <= 0.05


def test_a_limit_that_nothing_reaches_clips_nothing() -> None:
    params, xs, carry = problem(lstm)
    run = functools.partial(clipped, limit=1e9, segment=3)
    f, g = (functools.partial(r, lstm) for r in (run, scan))
    assert_close("wide", differentiate(f, params, xs, carry), differentiate(g, params, xs, carry))


def one_step(cell, *masks):
    params, xs, carry = problem(lstm)
    return cell.step(params, carry, reg.Noise(xs[0], masks) if masks else xs[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reg.zoneout(lstm, 1.5), r"from 0 to 1, the probability of keeping; got 1.5"),
        (lambda: one_step(reg.zoneout(lstm, {"hh": 0.5})), r"unknown leaf of the carry of lstm 'hh'"),
        (lambda: reg.drop_inputs(KEY, 1.0, jnp.ones((2, 2, 2))), r"at least 0 and below 1"),
        (lambda: reg.drop_weights(KEY, 0.5, {"W": jnp.ones((2, 2))}), r"no recurrent matrix"),
        (lambda: one_step(reg.recurrent_dropout(lstm, "n"), jnp.ones((B, H))), r"unknown gate of lstm 'n'"),
        (lambda: clipped(gru, *problem(gru), limit=0.0), r"limit must be above 0.*got 0.0"),
        (lambda: clipped(gru, *problem(gru), segment=4), r"multiple of segment; got T = 6 and segm"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()

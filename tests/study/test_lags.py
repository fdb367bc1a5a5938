"""Words on gradients against closed forms: one loss, and the sum of losses that would mislead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.cells import lstm, rnn
from jaxseq.cells._rnn import RNNCarry, RNNGates
from jaxseq.study import flow, lags, lyapunov, slope, triangle, verdicts
from jaxseq.testing import Subject, draw

T = 30


def linear(params, carry, wx, uh):
    h = wx + uh
    return RNNCarry(h), h, RNNGates(h)


LINEAR = rnn.replace(equations=linear, name="linear")


def of_steps(carry, outs):
    return outs.sum(-1)


@pytest.mark.parametrize(("size", "word"), [(1.0, "steady"), (0.95, "steady"), (0.8, "vanishing"), (1.2, "exploding")])
def test_a_linear_network_has_the_word_of_its_matrix(size: float, word: str) -> None:
    """Of a turn times a size every gradient is multiplied by the size for each step back, and so is every change."""
    params, xs, carry = draw(Subject(LINEAR), T, (2,))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    params = params._replace(U=jnp.asarray(size * turn))

    @jax.jit
    def look():
        norms = triangle(LINEAR, params, xs, carry, losses=of_steps)["h"]
        whole = flow(LINEAR, params, xs, carry, loss=lambda carry, outs: outs.sum())
        return lags(norms), slope(whole.norms["h"]), lyapunov(LINEAR, params, xs, carry, count=1).exponents

    found, of_the_sum, exponents = look()
    np.testing.assert_allclose(found.slopes[1:], np.full((T - 1, 2), np.log(size)), atol=1e-10)
    np.testing.assert_allclose(exponents, np.full((2, 1), np.log(size)), atol=1e-10)  # the two agree
    assert found.spans[:, 0].tolist() == list(range(T)) and np.isnan(found.slopes[0]).all()
    for seen in verdicts(found):
        assert (seen.word, seen.span, seen.losses) == (word, T - 1, 15)
        np.testing.assert_allclose([seen.slope, seen.lowest, seen.highest], np.log(size), atol=1e-10)
    if size == 1:  # 15 losses lie after the middle and 30 after the first step: nothing explodes
        assert (T * of_the_sum > 1).all()


def test_no_gradient_grows_faster_than_the_exponent_and_long_lags_come_near_it() -> None:
    params, xs, carry = draw(Subject(lstm, hidden_size=8), 400, (2,))

    @jax.jit
    def look():
        norms = triangle(lstm, params, xs, carry, losses=of_steps, steps=[399])["h"]
        return norms, lags(norms, steps=[399]), lyapunov(lstm, params, xs, carry, count=1).exponents[:, 0]

    norms, found, exponents = look()
    growth = np.log(np.asarray(norms)[0, 0] / np.asarray(norms)[0, -1]) / 399
    assert (growth <= np.asarray(exponents) + 0.01).all() and (np.asarray(exponents) < -0.05).all()
    np.testing.assert_allclose(found.slopes[0], exponents, rtol=0.1)


def test_padding_is_no_lag_and_a_gradient_that_is_gone_has_vanished() -> None:
    norms = 0.9 ** np.abs(np.arange(T)[:, None] - np.arange(T)) * np.tri(T)
    norms = np.stack([norms, norms], -1)
    mask = np.arange(T)[:, None] < [T, 20]
    norms[:, 20:, 1] = 0
    norms[:, :4, 0] = 0
    found = jax.jit(lambda norms: lags(norms, jnp.asarray(mask)))(jnp.asarray(norms))
    assert (found.slopes[5:, 0] == -jnp.inf).all()
    np.testing.assert_allclose(found.slopes[2:20, 1], np.log(0.9), rtol=1e-9)
    assert found.spans[25].tolist() == [25, 19]
    gone, seen = verdicts(found)
    assert gone.word == "vanishing" and gone.slope == -np.inf and seen.word == "steady"
    some = lags(jnp.asarray(norms)[jnp.array([9, 29])], jnp.asarray(mask), steps=[9, 29])
    assert some.spans[:, 0].tolist() == [9, 29]


def test_without_a_lag_there_is_no_word() -> None:
    assert verdicts(lags(jnp.ones((1, 1, 1))))[0].word == "undefined"
    assert verdicts(lags(jnp.full((2, 2, 1), jnp.nan)))[0].word == "undefined"
    with pytest.raises(InputError, match=r"lags: expected norms \[S, T, B\].*got \(2, 3\)"):
        lags(jnp.ones((2, 3)))
    with pytest.raises(InputError, match=r"and S steps; got \(2, 3, 1\), \(3, 1\) and \(1,\)"):
        lags(jnp.ones((2, 3, 1)), steps=[1])

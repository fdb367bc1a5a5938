"""Automata read off networks that were built from automata; the guide reads one off a network that was trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.cells import rnn, rnn_relu
from jaxseq.cells._rnn import RNNCarry, RNNParams
from jaxseq.problems import TOMITA, Automaton
from jaxseq.study import extract_automaton

GAIN, NOISE = 6.0, 24


def network_of(automaton: Automaton, seed: int = 0):
    """A tanh network that is this automaton, with units of noise that move all others a little.

    Unit (q, a) is 1 where q is the state and a was read last, else -1: it is on if a is read and one of the units whose
    state leads to q by a was on. `NOISE` more units are a chaotic network of their own, driven by the input.
    """
    Q, A = automaton.transitions.shape
    rng = np.random.default_rng(seed)
    lead = np.zeros((Q, A, Q, A))
    for p in range(Q):
        for a in range(A):
            lead[p, :, automaton.transitions[p, a], a] = 1
    lead = lead.reshape(Q * A, Q * A)
    W = 2 * GAIN * np.tile(np.eye(A), (1, Q))
    b = GAIN * (lead.sum(0) - 3)
    n = Q * A
    U = np.block([[GAIN * lead, 0.3 * rng.normal(size=(n, NOISE))],
                  [0.15 * rng.normal(size=(NOISE, n)), 2 * rng.normal(size=(NOISE, NOISE)) / NOISE**0.5]])  # fmt: skip
    W = np.concatenate([W, rng.normal(size=(A, NOISE))], axis=1)
    params = RNNParams(*(jnp.asarray(a) for a in (W, U, np.concatenate([b, np.zeros(NOISE)]))))
    start = -np.ones(n + NOISE)
    start[automaton.start * A] = 1
    start[n:] = rng.normal(size=NOISE)
    on = jnp.asarray(np.repeat(np.asarray(automaton.accepting, float), A))
    accepts = lambda out: (jnp.where(out[:, :n] > 0, 1.0, 0.0) @ on) > 0  # noqa: E731
    return params, RNNCarry(jnp.asarray(start)), accepts


@pytest.mark.parametrize("grammar", TOMITA)
def test_a_network_built_from_an_automaton_gives_it_back(grammar: int) -> None:
    known = TOMITA[grammar]
    params, start, accepts = network_of(known, grammar)
    found = extract_automaton(
        rnn,
        params,
        jnp.eye(2),
        start,
        accepts=accepts,
        empty=bool(known.accepting[0]),
        symbols="01",
        length=12,
        words=30,
    )
    assert found.automaton.symbols == "01" and found.stable and found.disagreement == 0
    np.testing.assert_array_equal(found.automaton.transitions, known.transitions)
    np.testing.assert_array_equal(found.automaton.accepting, known.accepting)
    np.testing.assert_array_equal(found.agreement, np.ones(25))
    states, classes = found.states, found.classes
    assert len(states) == len(classes) > 300 and set(classes) == set(range(len(known.accepting)))
    assert states[classes == 0][:, 2 * len(known.accepting) :].std(0).mean() > 0.3  # no two alike
    assert len(np.unique(states.round(9), axis=0)) > 0.9 * len(states)


def test_more_is_split_only_where_states_disagree_and_most_is_a_limit() -> None:
    """A counter of ones has as many states as words have lengths: no automaton, and that is said."""
    params = rnn_relu.init(jax.random.key(0), 2, 1, dtype=jnp.float64)
    params = params._replace(W=jnp.array([[-1.0], [1.0]]), U=jnp.eye(1))
    options = {"accepts": lambda out: out[:, 0] > 0, "empty": False, "symbols": "01", "length": 6, "words": 10}
    found = extract_automaton(rnn_relu, params, jnp.eye(2), **options, most=4, rounds=1)
    assert not found.stable and len(found.suffixes) <= 6 and 0 < found.disagreement < 0.2
    assert len(found.automaton.accepting) < 9 and not found.automaton.accepts("1" * 20 + "0" * 12)


def test_what_cannot_be_extracted_is_refused() -> None:
    params, start, accepts = network_of(TOMITA[1])
    for options, message in (
        ({}, "give either begin, .* or empty"),
        ({"empty": True, "begin": jnp.zeros(2)}, "give either begin"),
        ({"begin": jnp.zeros(3)}, r"begin must be \[D\] = \(2,\); got the shape \(3,\)"),
        ({"empty": True, "symbols": "abc"}, "a name for each of 2 symbols; got 'abc'"),
        ({"empty": True, "words": 0}, "words must be at least 1; got 0"),
        ({"empty": True, "tolerance": -1}, "tolerance must be at least 0; got -1"),
        ({"empty": True, "accepts": lambda out: out[:, 0]}, r"accepts must return bool \[N\] = \(256,\); got float64"),
    ):
        with pytest.raises(InputError, match=message):
            extract_automaton(rnn, params, jnp.eye(2), start, **{"accepts": accepts, **options})
    with pytest.raises(InputError, match=r"the alphabet must be \[A, D\], the input of each symbol; got \(2,\)"):
        extract_automaton(rnn, params, jnp.zeros(2), start, accepts=accepts, empty=True)

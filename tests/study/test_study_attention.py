"""Statistics of attention against NumPy and known rows; scores taken apart add up to the attention's own weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.attention import ATTENTIONS, additive, masked_softmax
from jaxseq.attention._additive import score
from jaxseq.attention._luong import WINDOW
from jaxseq.study import coverage, decompose, diagonal_accuracy, entropy
from jaxseq.testing import noisy


def problem(name, Q=3, K=6, S=7, B=2, A=7):
    attention = ATTENTIONS[name]
    keys = jax.random.split(jax.random.key(1), 5)
    params = noisy(keys[0], attention.init(keys[1], Q, K, A, dtype=jnp.float64))
    mask = jnp.arange(S)[:, None] < jnp.array([7, 4])[None]
    memory = attention.remember(params, jax.random.normal(keys[2], (S, B, K), jnp.float64), mask)
    state = attention.initial_state(params, memory)
    query = jax.random.normal(keys[3], (B, Q), jnp.float64)
    for _ in range(2):  # so that an attention that looks back has something to see
        state, _ = attention.attend(params, memory, state, query)
    return attention, params, memory, state, query


SOFTMAX = ["additive", "concat", "coverage", "location", "dot", "scaled_dot", "general"]


@pytest.mark.parametrize("name", SOFTMAX)
def test_terms_add_up_to_scores_whose_softmax_is_the_weights(name: str) -> None:
    attention, params, memory, state, query = problem(name)
    seen = jax.jit(lambda *args: decompose(attention, *args))(params, memory, state, query)
    seen = jax.tree.map(np.asarray, seen)
    np.testing.assert_allclose(seen.terms.sum(-1) + seen.rest, seen.scores, rtol=1e-12)
    np.testing.assert_allclose(masked_softmax(seen.scores, memory.mask), seen.weights, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(seen.weights, attention.attend(params, memory, state, query)[1][1], rtol=1e-12)
    inside = seen.query + seen.source + (0 if seen.state is None else seen.state)
    parts = seen.query * seen.source if seen.state is None and "v" not in getattr(params, "_fields", ()) else None
    want = parts if parts is not None else np.asarray(params.v) * np.tanh(inside)
    np.testing.assert_allclose(seen.terms, want, rtol=1e-12)


def test_one_additive_score_by_hand() -> None:
    attention, params, memory, state, query = problem("additive")
    seen = decompose(attention, params, memory, state, query)
    W, U, v = map(np.asarray, params)
    b, j = 1, 2
    for a in range(len(v)):
        inside = np.asarray(query)[b] @ W[:, a] + np.asarray(memory.values)[b, j] @ U[:, a]
        np.testing.assert_allclose(seen.terms[b, j, a], v[a] * np.tanh(inside), rtol=1e-12)
    asked = np.broadcast_to(seen.query, seen.terms.shape)[b, j]
    np.testing.assert_allclose(asked, np.asarray(query)[b] @ W, rtol=1e-12)


def test_the_factors_of_a_product_are_the_query_and_the_source() -> None:
    attention, params, memory, state, query = problem("dot")
    seen = decompose(attention, params, memory, state, query)
    asked = np.broadcast_to(seen.query, seen.terms.shape)
    np.testing.assert_allclose(asked[1, 2], np.tile(query[1], 2), rtol=1e-12)  # both directions of the encoder
    np.testing.assert_allclose(np.broadcast_to(seen.source, seen.terms.shape), memory.values, rtol=1e-12)


def test_monotonic_stops_with_the_probability_its_scores_say() -> None:
    attention, params, memory, state, query = problem("monotonic")
    seen = decompose(attention, params, memory, state, query)
    p = np.where(memory.mask, jax.nn.sigmoid(seen.scores), 0.0)
    before, want = np.asarray(state), np.zeros_like(p)
    for b in range(p.shape[0]):
        q = 0.0
        for j in range(p.shape[1]):
            q = (1 - p[b, j - 1] if j else 0.0) * q + before[b, j]
            want[b, j] = p[b, j] * q
    np.testing.assert_allclose(seen.weights, want, rtol=1e-10)


def test_local_scores_are_products_within_their_window() -> None:
    attention, params, memory, state, query = problem("local_m")
    seen = decompose(attention, params, memory, state, query)
    want = masked_softmax(jnp.einsum("bsq,bq->bs", memory.keys, query), memory.mask)  # the window is wider than S
    np.testing.assert_allclose(masked_softmax(seen.scores, memory.mask), want, rtol=1e-12)
    assert attention.name in ATTENTIONS and seen.weights.shape == seen.scores.shape


def test_local_weights_fall_off_from_the_position_predicted() -> None:
    """log weight = score - 2 ((j - p) / D)^2 + constant, whose second difference along the source is -4 / D^2."""
    attention, params, memory, state, query = problem("local_p")
    seen = decompose(attention, params, memory, state, query)
    real = np.log(np.asarray(seen.weights)[0]) - np.asarray(seen.scores)[0]  # the row without padding
    np.testing.assert_allclose(np.diff(real, 2), -4 / WINDOW**2, rtol=1e-9)


def test_a_custom_attention_is_taken_apart_by_its_own_code() -> None:
    """A score of our own, 3 (v . tanh(...) - 2): no attention of that name is known."""
    _, params, memory, state, query = problem("additive")

    def attend(params, memory, state, query):
        scores = 3 * (jax.jit(score)(params, memory, query) - 2)
        weights = masked_softmax(scores, memory.mask)
        return state, (weights, weights)

    seen = decompose(additive.replace(attend=attend, name="mine"), params, memory, state, query)
    plain = decompose(additive, params, memory, state, query)
    np.testing.assert_allclose(seen.terms, 3 * plain.terms, rtol=1e-12)
    np.testing.assert_allclose(seen.scores, 3 * (plain.scores - 2), rtol=1e-12)
    np.testing.assert_allclose(seen.terms.sum(-1) + seen.rest, seen.scores, rtol=1e-12)
    assert seen.rest == -6.0 and plain.rest == 0.0


def test_others_are_refused() -> None:
    for name in ("multi_head", "positional"):
        with pytest.raises(InputError, match="one score"):
            decompose(*problem(name))


def test_entropy_and_coverage() -> None:
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(0), (5, 2, 4), jnp.float64))
    w = np.asarray(weights)
    np.testing.assert_allclose(entropy(weights), -(w * np.log(w)).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(entropy(jnp.full((1, 8), 0.125)), np.log(8), rtol=1e-6)
    assert entropy(jnp.eye(3)).tolist() == [0, 0, 0] and entropy(jnp.zeros((1, 3))).tolist() == [0]
    assert jnp.isfinite(jax.grad(lambda w: entropy(w).sum())(jnp.eye(3))).all()
    mask = jnp.array([[True, True], [True, False], [True, False], [False, False], [False, False]])
    np.testing.assert_allclose(coverage(weights), w.sum(0), rtol=1e-12)
    np.testing.assert_allclose(coverage(weights, mask).sum(-1), [3.0, 1.0], rtol=1e-12)  # one for each real step


def test_padding_gets_exactly_nothing() -> None:
    _, params, memory, state, query = problem("additive")
    _, (_, weights) = additive.attend(params, memory, state, query)
    assert not np.asarray(coverage(weights[None]))[1, 4:].any()
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-12)


def test_reversal_is_the_anti_diagonal() -> None:
    weights = jnp.eye(6)[::-1][:, None] * 0.9 + 0.1 / 6
    want = (5 - jnp.arange(6))[:, None]
    assert diagonal_accuracy(weights, want) == 1.0
    mask = (jnp.arange(6) < 3)[:, None]
    assert diagonal_accuracy(weights, want.at[0].set(0), mask).round(6) == jnp.asarray(2 / 3).round(6)

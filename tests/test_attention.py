"""Attention against NumPy loops over words; padding gets exactly nothing, and nothing is ever NaN."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxseq.attention import additive, masked_softmax, positional, with_attention
from jaxseq.cells import gru, gru_cho, lstm

S, B, K, Q, A = 5, 3, 4, 2, 6
rng = np.random.default_rng(0)
values, query = jnp.asarray(rng.normal(size=(S, B, K))), jnp.asarray(rng.normal(size=(B, Q)))
params = additive.init(jax.random.key(0), Q, K, A, dtype=jnp.float64)


@given(arrays(np.float64, (4, 5), elements=st.floats(-1e300, 1e300)), arrays(bool, (4, 5)))
def test_masked_softmax(scores, mask):
    got = np.asarray(masked_softmax(jnp.asarray(scores), jnp.asarray(mask)))
    for row, real, weights in zip(scores, mask, got, strict=True):
        want = np.zeros(5)
        if real.any():
            e = np.exp(row[real] - row[real].max())
            want[real] = e / e.sum()
        np.testing.assert_allclose(weights, want, rtol=1e-12, atol=1e-300)
        assert not weights[~real].any()


@given(arrays(bool, (S, B)))
def test_additive_is_the_papers_formula(mask):
    hidden = jnp.where(mask[..., None], values, jnp.full_like(values, jnp.nan))  # padding may hold anything
    memory = additive.remember(params, hidden, jnp.asarray(mask))
    context, weights = additive.attend(params, memory, query)
    W, U, v = (np.asarray(p) for p in params)
    for b in range(B):
        e = {j: np.tanh(query[b] @ W + values[j, b] @ U) @ v for j in range(S) if mask[j, b]}
        total = sum(np.exp(score) for score in e.values())
        want = np.array([np.exp(e[j]) / total if j in e else 0.0 for j in range(S)])
        np.testing.assert_allclose(weights[b], want, rtol=1e-12)
        np.testing.assert_allclose(context[b], want @ np.asarray(values[:, b]), rtol=1e-12, atol=1e-15)


def test_gradients_of_an_empty_source_are_numbers():
    mask = jnp.asarray(np.arange(S)[:, None] < np.array([S, 0, 2]))

    def total(params, values, query):
        context, weights = additive.attend(params, additive.remember(params, values, mask), query)
        return jnp.sin(context).sum() + (weights**2).sum()

    grads = jax.grad(total, argnums=(0, 1, 2))(params, values, query)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert not np.asarray(grads[1])[~np.asarray(mask)].any()


def test_without_a_batch_axis():
    memory = additive.remember(params, values[:, 0], None)
    context, weights = additive.attend(params, memory, query[0])
    whole, all_weights = additive.attend(params, additive.remember(params, values, None), query)
    np.testing.assert_allclose(context, whole[0], rtol=1e-12)
    np.testing.assert_allclose(weights, all_weights[0], rtol=1e-12)


def test_positional_never_looks_at_the_source():
    its = positional.init(jax.random.key(1), Q, K, 7, dtype=jnp.float64)
    mask = jnp.asarray(np.arange(S)[:, None] < np.array([S, 1, 2]))
    for source in (values, -values):
        memory = positional.remember(its, source, mask)
        context, weights = positional.attend(its, memory, query)
        scores = np.asarray(query @ its.W) + np.asarray(its.b)
        want = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(weights, want, rtol=1e-12)  # over all 7 positions, padding too
        read = np.where(mask[..., None], source, 0)
        np.testing.assert_allclose(context, np.einsum("bs,sbk->bk", want[:, :S], read), rtol=1e-12)


def test_the_context_enters_as_more_input():
    """Bahdanau et al. 2015, A.1.2 and A.2.2: one step of the decoder, put together by hand."""
    for cell in (gru, gru_cho, lstm):
        reading = with_attention(cell, additive)
        its = reading.init(jax.random.key(2), 3, Q, value_size=K, units=A, dtype=jnp.float64)
        its = its._replace(memory=additive.remember(its.attention, values, None))
        carry = jax.tree.map(lambda a: a + query, reading.initial_carry(its, (B,)))
        x = jnp.asarray(rng.normal(size=(B, 3)))
        context, _ = additive.attend(its.attention, its.memory, carry.h)
        wide = its.cell._replace(W=jnp.concatenate([its.cell.W, its.C]))
        _, want = cell.step(wide, carry, jnp.concatenate([x, context], axis=-1))
        _, out = reading.step(its, carry, x)
        np.testing.assert_allclose(out.h, want, rtol=1e-12)
        np.testing.assert_allclose(out.context, context, rtol=1e-12)

"""Minimum-risk training of a translator: what a step computes, and that it lowers the risk."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import decode
from jaxseq.apps.text import EOS, PAD, SOS
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import Batch, take
from jaxseq.apps.translate.risk import drawn, risk_loss
from jaxseq.apps.translate.train import loss_of
from jaxseq.errors import InputError
from jaxseq.risk import sentence_bleu

V = 9
CONFIG = TranslateConfig(loss="risk", embedding=6, hidden=5, risk_samples=6, risk_sharpness=0.5, dropout=0.3)
SOURCE = jnp.array([[4, 5, 6, 7], [6, 2, 8, 5], [2, 0, 4, 2], [0, 0, 2, 0]], jnp.int32)
TARGETS = jnp.array([[5, 6, 7, 4], [7, 2, 4, 8], [2, 0, 6, 5], [0, 0, 5, 2], [0, 0, 2, 0]], jnp.int32)


def made():
    model = CONFIG.build()
    params = model.init(jax.random.key(0), V, V, embedding=6, hidden=5, counts=jnp.arange(V))
    return model, jax.tree.map(lambda a: 1.5 * a, params)


def test_a_step_is_the_expected_risk_of_what_was_drawn():
    """Each candidate is scored by itself, step by step, and the sum over the set is written out."""
    model, params = made()
    inputs = jnp.concatenate([jnp.full((1, 4), SOS, jnp.int32), TARGETS[:-1]])
    batch, key = Batch(SOURCE, inputs, TARGETS), jax.random.key(3)
    got = jax.jit(lambda params: risk_loss(model, CONFIG, params, batch, key))(params)

    @jax.jit
    def candidates(params):
        return drawn(model, params, model.encode(params, SOURCE, SOURCE != PAD), TARGETS, CONFIG.risk_samples, key)

    @jax.jit
    def alone(source, row):
        """The log-probability of one candidate, step by step."""
        encoded = model.encode(params, source, source != PAD)
        step = model.step(params, encoded)
        _, (logits, _) = decode.teacher_forced(step, encoded.carry, jnp.array([SOS]), row)
        return decode.score(logits, row, row != PAD).totals[0]

    tokens, risks = candidates(params)
    assert tokens.shape == (5, 7, 4) and not ((tokens == SOS) | (tokens[:1] == PAD)).any()
    np.testing.assert_array_equal(tokens[:, -1], TARGETS)  # the reference is a candidate
    words = [jnp.where(a == EOS, PAD, a) for a in (tokens, jnp.broadcast_to(TARGETS[:, None], tokens.shape))]
    np.testing.assert_allclose(risks, 1 - jax.jit(sentence_bleu)(*words, *(a > 0 for a in words)), atol=1e-6)
    np.testing.assert_allclose(risks[-1], 0, atol=1e-6)
    twice = 0
    for b in range(4):
        chances = {}
        for n in range(7):
            row = tuple(tokens[:, n, b].tolist())
            log_p = float(alone(SOURCE[:, b : b + 1], tokens[:, n, b : b + 1]))
            twice += row in chances
            chances[row] = (np.exp(CONFIG.risk_sharpness * log_p), float(risks[n, b]))
        weights, own = np.array(list(chances.values())).T
        np.testing.assert_allclose(got[b], (weights * own).sum() / weights.sum(), rtol=1e-5)
    assert twice  # so that a set differs from a list


def test_training_lowers_the_risk():
    model, params = made()
    data, rows = (SOURCE, TARGETS), jnp.arange(4)
    loss = loss_of(model, CONFIG)

    @jax.jit
    def descend(params, key):
        (_, (risk, tokens)), grads = jax.value_and_grad(loss, has_aux=True)(params, data, rows, key, jnp.int32(0))
        return jax.tree.map(lambda p, g: p - g, params, grads), (risk, tokens)

    risks = []
    for key in jax.random.split(jax.random.key(1), 150):
        params, (risk, tokens) = descend(params, key)
        risks.append(float(risk))
    assert int(tokens) == 14
    assert np.mean(risks[-20:]) < 0.6 * np.mean(risks[:20])


def test_a_row_that_is_empty_does_not_count():
    model, params = made()
    key, rows = jax.random.key(2), jnp.array([1, -1])
    got = loss_of(model, CONFIG)(params, (SOURCE, TARGETS), rows, key, jnp.int32(0))[0]
    each = risk_loss(model, CONFIG, params, take((SOURCE, TARGETS), rows), jax.random.split(key, 3)[1])
    np.testing.assert_allclose(got, each[0], rtol=1e-6)
    assert 0.01 < got < 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sampled": 5}, "--sampled must be 0 with --loss risk; got 5"),
        ({"model": "tutorial-plain"}, "--loss must be tokens or sentences with the tutorial's models; got risk"),
        ({"risk_samples": 0}, "--risk-samples must be at least 1; got 0"),
        ({"risk_sharpness": 0.0}, "--risk-sharpness must be above 0 and finite; got 0.0"),
    ],
)
def test_what_is_refused(settings, says):
    with pytest.raises(InputError, match=says):
        dataclasses.replace(CONFIG, **settings).check()

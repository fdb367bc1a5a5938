"""Minimum risk against a loop over every candidate of a tiny vocabulary, and sentence BLEU against sacrebleu."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from jaxseq import InputError
from jaxseq.risk import first_of_equal, minimum_risk, sentence_bleu

REFERENCE = [1, 2, 1]
EVERY = [row for n in (1, 2, 3) for row in itertools.product((1, 2), repeat=n)]
"""Every sentence of up to three of two words; 0 ends a sentence, and is padding."""


def padded(rows, T):
    """Rows of token numbers as int [T, B], 0 below each end."""
    out = np.zeros((T, len(rows)), np.int32)
    for column, row in enumerate(rows):
        out[: len(row), column] = row
    return jnp.asarray(out)


def bleu(row, reference):
    """Sacrebleu's, from 0 to 1, of token numbers as words."""
    words = lambda numbers: " ".join(f"w{n}" for n in numbers)  # noqa: E731
    return BLEU(tokenize="none", effective_order=True).sentence_score(words(row), [words(reference)]).score / 100


def test_sentence_bleu_is_sacrebleus():
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 4, rng.integers(1, 13)).tolist() for _ in range(60)]
    references = [
        row[: rng.integers(1, 13)] if n % 2 else rng.integers(1, 4, rng.integers(1, 10)).tolist()
        for n, row in enumerate(rows)
    ]
    rows += [[7], [1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6]]  # no match, clipped counts, each n-gram once
    references += [[1, 2], [1, 1], [1, 2, 3, 4, 5, 6]]
    tokens, wanted = padded(rows, 12), padded(references, 14)
    got = jax.jit(sentence_bleu)(tokens, wanted, tokens > 0, wanted > 0)
    want = [bleu(row, reference) for row, reference in zip(rows, references, strict=True)]
    assert min(want) == 0 and max(want) == pytest.approx(1) and sum(0.05 < w < 0.6 for w in want) > 10
    np.testing.assert_allclose(got, want, atol=1e-6)
    one = sentence_bleu(tokens[:, 3], wanted[:, 3], tokens[:, 3] > 0, wanted[:, 3] > 0)  # without a batch
    np.testing.assert_allclose(one, want[3], atol=1e-6)
    nothing = sentence_bleu(tokens[:, :1], wanted[:, :1], jnp.zeros((12, 1), bool), wanted[:, :1] > 0)
    assert nothing.tolist() == [0.0]


def test_minimum_risk_and_its_gradient_equal_a_loop_over_every_candidate():
    """Of a bigram model: ``table[a, b]`` is the logit of word b after word a."""
    rng = np.random.default_rng(1)
    table, sharpness = rng.normal(size=(3, 3)), 0.7
    risks = [1 - bleu(row, REFERENCE) for row in EVERY]

    def looped(table):
        log_p = table - np.log(np.exp(table).sum(1, keepdims=True))
        chances = []
        for row in EVERY:
            path = [0, *row, 0]
            chances.append(math.exp(sum(log_p[a, b] for a, b in itertools.pairwise(path))) ** sharpness)
        return sum(chance * risk for chance, risk in zip(chances, risks, strict=True)) / sum(chances)

    tokens = padded(EVERY, 4)
    drawn = jnp.concatenate([tokens, tokens[:, 2:5]], axis=1)[..., None]  # three were drawn twice
    counted = first_of_equal(drawn)
    assert counted[:, 0].tolist() == [True] * len(EVERY) + [False] * 3
    wanted = jnp.broadcast_to(padded([REFERENCE], 3), (3, drawn.shape[1]))
    ours = 1 - sentence_bleu(drawn[..., 0], wanted, drawn[..., 0] > 0, wanted > 0)
    np.testing.assert_allclose(ours[: len(EVERY)], risks, atol=1e-6)

    def risk(table):
        before = jnp.concatenate([jnp.zeros_like(tokens[:1]), tokens[:-1]])
        real = jnp.arange(4)[:, None] <= jnp.asarray([[len(row) for row in EVERY]])
        log_p = jnp.where(real, jax.nn.log_softmax(table)[before, tokens], 0.0).sum(0)
        log_p = jnp.concatenate([log_p, jnp.full(3, jnp.nan)])[:, None]  # one that is not counted never matters
        return minimum_risk(log_p, jnp.asarray([*risks, *risks[2:5]])[:, None], sharpness, counted)[0]

    value, gradient = jax.value_and_grad(risk)(jnp.asarray(table))
    np.testing.assert_allclose(value, looped(table), rtol=1e-12)
    h, differences = 1e-6, np.zeros_like(table)
    for place in np.ndindex(3, 3):
        step = np.zeros_like(table)
        step[place] = h
        differences[place] = (looped(table + step) - looped(table - step)) / (2 * h)
    assert np.abs(differences).max() > 0.01
    np.testing.assert_allclose(gradient, differences, atol=1e-8)


def test_what_is_refused_and_a_source_without_candidates():
    log_probs, risks = jnp.zeros((2, 3)), jnp.ones((2, 3))
    none = jnp.zeros((2, 3), bool)
    value, gradient = jax.value_and_grad(lambda a: minimum_risk(a, risks, 0.5, none).sum())(log_probs)
    assert value == 0 and not gradient.any()
    with pytest.raises(InputError, match=r"must have one shape \[N, B\]; got \(2, 3\), \(3, 2\)"):
        minimum_risk(log_probs, risks.T)
    with pytest.raises(InputError, match="sharpness must be above 0, got 0"):
        minimum_risk(log_probs, risks, 0)
    tokens = padded([[1, 2]], 2)
    with pytest.raises(InputError, match=r"reference_mask must be bool \(2, 1\); got float"):
        sentence_bleu(tokens, tokens, tokens > 0, jnp.ones((2, 1)))

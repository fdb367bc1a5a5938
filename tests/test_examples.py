"""The examples that need jax, optax and numpy alone: each finds what it says, in a small version of itself."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import bidirectional, init_bidirectional, length_mask
from jaxseq.cells import lstm
from jaxseq.examples import char_lm, classify, descriptions, ensemble, memory_rl, meta, online, packed, stream

pytestmark = pytest.mark.usefixtures("as_users_have_it")


def test_the_list_names_every_example_with_one_line():
    printed = subprocess.check_output([sys.executable, "-m", "jaxseq.examples"], text=True)
    listed = [line for line in printed.splitlines() if line.startswith("  ")]
    assert len(listed) == len(descriptions()) >= 1
    for line, (name, text) in zip(listed, descriptions().items(), strict=True):
        assert line.split()[0] == name and line.endswith(text) and text.endswith(".") and len(line) <= 120


def test_stream():
    found = stream.main(steps=200, eager_steps=5)
    assert found["difference"] < 1e-6
    assert found["in_place"]


def test_online():
    online_, one_step = online.main(steps=3000).values()
    assert online_[-1] < 0.3 < 0.8 < one_step[-1]


def test_memory_rl():
    ends, never, always = np.asarray(memory_rl.main(rows=32, seeds=1)).mean(1)
    assert ends > 0.95
    assert 0.55 < never < 0.85
    assert 0.42 < always < 0.58


def test_packed():
    found = packed.main(count=5, T=100, hidden=8)
    assert found["with"] < 1e-5
    assert found["without"] > 0.01
    mask = packed.pack(packed.sentences(40), 128)[2]
    assert mask.sum() == sum(len(document) - 1 for document in packed.sentences(40))
    assert mask.mean() > 0.85


def test_ensemble():
    found = ensemble.main(networks=6, steps=150)
    errors = np.asarray(found["errors"])
    assert len(set(errors.tolist())) == 6
    assert errors.min() < 0.03  # always answering 1 has 1/6
    assert 0 < errors.argmin() < 5, "the best learning rate is neither the smallest nor the largest"
    assert errors[0] > 0.1


def test_char_lm():
    unigram, carried, cut, uncut, anew = char_lm.main(hidden=64, epochs=1).values()
    assert carried < unigram - 1
    assert carried < anew - 0.05
    assert uncut < anew - 0.05
    assert cut > anew + 0.1, "trained as if the state were new in each chunk"


def test_classify():
    majority, bag, padded, real = classify.main(steps=150).values()
    assert majority == pytest.approx(0.5) and bag == pytest.approx(0.5)
    assert padded < 0.55
    assert real > 0.6


def test_the_last_real_outputs_are_the_carries():
    key = jax.random.key(0)
    params = (jax.random.normal(key, (5, 2 * classify.H)), init_bidirectional(key, lstm, 2 * classify.H, classify.H))
    words, lengths = jnp.array([[1, 2, 3], [4, 1, 1], [2, 0, 3], [0, 0, 1]]), jnp.array([3, 2, 4])
    got = classify.summary("last real steps", params, words, lengths)
    carry, _ = bidirectional(lstm, params[1], params[0][words], mask=length_mask(lengths, 4))
    np.testing.assert_allclose(got, jnp.concatenate([carry.forward.h, carry.backward.h], -1), atol=1e-6)


def test_meta():
    found = meta.main(updates=60, steps=2)
    assert found["learned"] < 0.75 * found["fresh"]

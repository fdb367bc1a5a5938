"""How a translator's training starts: its output bias says how common each target token is."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.errors import InputError
from jaxseq.seq2seq import translator
from jaxseq.tasks import translate
from jaxseq.tasks import translator as translating
from jaxseq.tasks.config import PRESETS, TranslateConfig

PAIRS = [("i see a dog", "我看狗"), ("you see a dog", "你看狗"), ("you hear", "你听"), ("i see a fish now", "我看鱼")]
STILL = {"steps": 1, "batch": 2, "validation": 0.0, "learning_rate": 1e-30, "embedding": 4, "hidden": 4}
"""A training that changes no parameter: what it saves is what it started from."""


def started(folder, config):
    """Return the translator as its training starts."""
    (folder / "pairs.tsv").write_text("\n".join("\t".join(pair) for pair in PAIRS), encoding="utf-8")
    translate.train(config, folder / "run")
    return translating.load(folder / "run")


@pytest.mark.usefixtures("in_every_thread")
@pytest.mark.parametrize("buckets", [1, 2])
def test_training_starts_at_the_smoothed_frequencies_of_the_target_tokens(buckets, tmp_path):
    config = TranslateConfig(data=str(tmp_path / "pairs.tsv"), buckets=buckets, min_count=2, **STILL)
    model = started(tmp_path, config)
    words = collections.Counter(word for english, _ in PAIRS for word in english.split())
    want = {word: count + 1 for word, count in words.items() if count >= 2}
    rare = sum(count for count in words.values() if count < 2)
    want |= {"<pad>": 1, "<sos>": 1, "<eos>": len(PAIRS) + 1, "<unk>": rare + 1}
    assert rare == 3 and set(want) == set(model.target.tokens)
    total = sum(want.values())
    frequencies = jax.nn.softmax(model.params.logits.b)
    np.testing.assert_allclose(frequencies, [want[token] / total for token in model.target.tokens], rtol=1e-5)


@pytest.mark.usefixtures("in_every_thread")
@pytest.mark.parametrize("preset", ["tutorial-plain", "tutorial-attention"])
def test_the_tutorials_start_as_they_are_drawn(preset, tmp_path):
    settings = {**STILL, "prefix_filter": False, "data": str(tmp_path / "pairs.tsv")}
    model = started(tmp_path, dataclasses.replace(PRESETS[preset], **settings))
    key = jax.random.split(jax.random.key(0))[0]
    want = model.model.init(key, len(model.source), len(model.target), hidden=4)
    jax.tree.map(np.testing.assert_array_equal, model.params, want)


def test_counts_change_the_bias_and_nothing_else():
    model, key, counts = translator(), jax.random.key(0), np.array([0, 0, 3, 0, 5])
    for dtype in (jnp.float64, jnp.bfloat16):
        sizes = {"embedding": 3, "hidden": 4, "dtype": dtype}
        without, given = model.init(key, 7, 5, **sizes), model.init(key, 7, 5, counts=jnp.asarray(counts), **sizes)
        assert not without.logits.b.any() and given.logits.b.dtype == dtype
        np.testing.assert_allclose(np.exp(given.logits.b.astype(float)) * 13, counts + 1, rtol=2e-2)
        jax.tree.map(
            np.testing.assert_array_equal,
            given._replace(logits=given.logits._replace(b=0)),
            without._replace(logits=without.logits._replace(b=0)),
        )
    with pytest.raises(InputError, match=r"one number for each of the 5 target tokens; got shape \(4,\)"):
        model.init(key, 7, 5, counts=jnp.asarray(counts[1:]))

"""A translator: how its training starts, and that a translation does not depend on its neighbours in a batch."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.affine import Affine
from jaxseq.apps.text import EOS, Vocabulary
from jaxseq.apps.translate import model as translating, train as translate
from jaxseq.apps.translate.config import PRESETS, TranslateConfig
from jaxseq.apps.translate.data import preparations
from jaxseq.apps.translate.decoding import Decoding
from jaxseq.errors import InputError
from jaxseq.seq2seq import translator

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
    assert rare == 3 and set(want) == set(model.target.vocabulary.tokens)
    total = sum(want.values())
    frequencies = jax.nn.softmax(model.params.logits.b)
    np.testing.assert_allclose(
        frequencies, [want[token] / total for token in model.target.vocabulary.tokens], rtol=1e-5
    )


@pytest.mark.usefixtures("in_every_thread")
@pytest.mark.parametrize("preset", ["tutorial-plain", "tutorial-attention"])
def test_the_tutorials_start_as_they_are_drawn(preset, tmp_path):
    settings = {**STILL, "prefix_filter": False, "data": str(tmp_path / "pairs.tsv")}
    model = started(tmp_path, dataclasses.replace(PRESETS[preset], **settings))
    key = jax.random.split(jax.random.key(0))[0]
    want = model.model.init(key, len(model.source.vocabulary), len(model.target.vocabulary), hidden=4)
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


def endless(model):
    """Return a translator of random weights that hardly ever ends a sentence."""
    config = TranslateConfig(model=model, embedding=6, hidden=8, cell="lstm")
    source, target = Vocabulary("我你他看听找狗鱼书。"), Vocabulary("i you he see hear seek dog fish book .".split())
    seq2seq = config.build()
    params = seq2seq.init(jax.random.key(0), len(source), len(target), embedding=6, hidden=8)
    logits = Affine(5 * params.logits.W, params.logits.b.at[EOS].set(-100))  # large weights: words differ by position
    return translating.Translator(
        config, seq2seq, params._replace(logits=logits), *preparations(config, source, target)
    )


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(("beam", "lengths"), [(1, [1, 4, 9, 10, 30]), (3, [2, 4, 8])])
def test_a_translation_does_not_depend_on_its_neighbours(beam, lengths):
    """Alone, and in a batch with others, shorter and longer: to be exact, of the same and of other padded lengths."""
    ours, how = endless("translator"), Decoding(beam=beam)
    sentences = [("我看鱼你听他找书狗。" * 3)[:length] for length in lengths]
    alone = [ours.translate([sentence], how)[0] for sentence in sentences]
    among = ours.translate([*sentences, "你听鱼", "他看书狗鱼。", *["你" * 300] * (beam == 1)], how)
    for length, one, other in zip(lengths, alone, among, strict=False):
        padded = next(n for n in translating.LENGTHS if n > length)
        assert len(one.target_tokens) == 2 * padded + 10 and len(set(one.target_tokens)) > 1
        assert other.target_tokens == one.target_tokens and other.text == one.text
        np.testing.assert_allclose(other.log_prob, one.log_prob, rtol=1e-4)
        np.testing.assert_allclose(other.weights, one.weights, atol=1e-5)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize("model", ["tutorial-plain", "tutorial-attention"])
def test_the_tutorials_models_write_at_most_10_tokens(model):
    tutorials = endless(model)
    neighbours = ["我看鱼", "他看书狗鱼。" * 5] if model == "tutorial-plain" else ["我看鱼"]
    how = Decoding(beam=1)
    alone, among = tutorials.translate(["你听他"], how), tutorials.translate(["你听他", *neighbours], how)
    assert alone[0].target_tokens == among[0].target_tokens
    assert [len(each.target_tokens) for each in among] == [10] * len(among)

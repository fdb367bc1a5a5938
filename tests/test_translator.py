"""A translator: how its training starts, and that a translation does not depend on its neighbours in a batch."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.affine import Affine
from jaxseq.apps.text import EOS, Vocabulary
from jaxseq.apps.translate import batches, model as translating, train as translate
from jaxseq.apps.translate.config import PRESETS, TranslateConfig
from jaxseq.apps.translate.data import Batch, preparations, take
from jaxseq.apps.translate.decoding import Decoding
from jaxseq.apps.translate.token_losses import saturation, token_losses
from jaxseq.errors import InputError
from jaxseq.seq2seq import translator
from jaxseq.train import TrainState, chunk, optimizer

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
        padded = next(n for n in batches.LENGTHS if n > length)
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


@pytest.mark.usefixtures("as_users_have_it")
def test_a_translator_wakes_up_on_a_vocabulary_of_zipfs_law():
    """300 steps on 5,000 words, as frequent as in texts: the loss is far below that of frequencies, 6.1.

    With a bias of 0 at first it is above them (6.2), and 99.9% of the features and 99.7% of the states are saturated.
    """
    V, S, steps, N = 5000, 7, 300, 4000
    rng, share = np.random.default_rng(0), 1 / np.arange(1, V + 1)
    source = rng.choice(V, (S, N), p=share / share.sum())
    targets = source[::-1]  # word by word, backwards
    model, counts = translator(), np.bincount(targets.ravel(), minlength=V)
    loss, optimise = translate.loss_of(model, TranslateConfig(label_smoothing=0.0)), optimizer("adam", 4e-3, warmup=50)
    data = tuple(jnp.asarray(side + 4, jnp.int32) for side in (source, targets))  # ids 0 to 3 are no words
    sizes = {"embedding": 32, "hidden": 32, "counts": jnp.pad(jnp.asarray(counts), (4, 0))}
    params = model.init(jax.random.key(0), V + 4, V + 4, **sizes)
    rows = jnp.asarray(rng.integers(0, N, (steps, 32)), jnp.int32)
    state, seen = chunk(loss, optimise)(TrainState.create(params, optimise), data, rows, jax.random.key(1))
    unigram = -np.sum(counts[counts > 0] / counts.sum() * np.log(counts[counts > 0] / counts.sum()))
    last = float(seen.loss[-20:].mean())
    assert float(seen.loss[0]) < unigram + 0.3 and last < unigram - 1.5, (unigram, last)
    batch = take(data, jnp.arange(64))
    found = saturation(model, state.params, batch)
    assert found.features < 0.6 and found.states < 0.4, found


@pytest.mark.usefixtures("in_every_thread")
def test_options_of_the_model_are_trained_saved_and_loaded(tmp_path):
    options = {"decoder_layers": 2, "layers": 2, "residual": True, "layer_norm": True, "tie": "target"}
    losses = {"input_feeding": True, "sampled": 3, "coverage_loss": 1.0, "word_dropout": 0.1}
    config = TranslateConfig(data=str(tmp_path / "pairs.tsv"), buckets=1, **STILL, **options, **losses)
    model = started(tmp_path, config)
    assert model.config == config and len(model.params.bridge) == 2
    done = model.translate(["我看狗"])[0]
    assert done.weights.shape == (len(done.target_tokens), 4) and done.weights[0].sum() == pytest.approx(1, abs=1e-5)
    tokens, gates, _ = model.gates("我看狗")
    assert len(tokens) == len(gates["z"]) == 4


def test_coverage_and_sampled_words_enter_what_is_minimised():
    batch = Batch(jnp.full((4, 2), 4), jnp.full((3, 2), 1), jnp.full((3, 2), 5))
    config = TranslateConfig(coverage_loss=2.0)
    model = config.build()
    params = model.init(jax.random.key(0), 9, 9, embedding=4, hidden=4)
    encoded = model.encode(params, batch.source, batch.source != 0)
    loss, nll = token_losses(model, config, params, encoded, batch)
    plain = token_losses(model, dataclasses.replace(config, coverage_loss=0.0), params, encoded, batch)
    _, (logits, weights) = model.decode(params, encoded, batch.inputs)
    before = np.cumsum(weights, 0) - np.asarray(weights)
    np.testing.assert_allclose(loss - plain[0], 2 * np.minimum(weights, before).sum(-1), atol=1e-6)
    np.testing.assert_array_equal(nll, plain[1])
    np.testing.assert_allclose(nll, -jax.nn.log_softmax(logits)[..., 5], rtol=1e-6)
    sampled = dataclasses.replace(config, coverage_loss=0.0, sampled=3000)
    drawn, _ = token_losses(model, sampled, params, encoded, batch, key=jax.random.key(0))
    np.testing.assert_allclose(drawn, nll, rtol=0.1)
    np.testing.assert_array_equal(token_losses(model, sampled, params, encoded, batch)[1], nll)  # validation
    for settings in ({"sampled": 3}, {"coverage_loss": 1.0}):
        with pytest.raises(InputError, match="0 with the tutorial's models"):
            dataclasses.replace(PRESETS["tutorial-attention"], **settings).check()
    assert not TranslateConfig().notes(20_000) and "20,001 words" in TranslateConfig().notes(20_001)[0]

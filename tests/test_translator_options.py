"""The translator's options: every combination decodes step by step as it does at once, and trains."""

import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxseq import InputError, decode, unroll
from jaxseq.apps.tutorial import attentive, plain
from jaxseq.attention import ATTENTIONS, additive, coverage, coverage_loss
from jaxseq.cells import gru, lstm, stack
from jaxseq.seq2seq import Bias, Readout, saturation, source_vectors, translator
from jaxseq.seq2seq._decoder import feeding, normalised, residual

V, EOS = 9, 2
SOURCE = jnp.array([[3, 4, 5], [6, 2, 7], [8, 0, 2], [2, 0, 0]])  # [S, B], 0 is padding
INPUTS = jnp.array([[1, 1, 1], [3, 5, 8], [7, 2, 4], [4, 4, 6], [2, 3, 3]])  # [T, B]

OPTIONS = [
    {"decoder_layers": 2},
    {"decoder_layers": 3, "layers": 2, "residual": True, "layer_norm": True},
    {"tie": "target"},
    {"tie": "all", "input_feeding": True},
    {"decoder_layers": 2, "layers": 2, "residual": True, "layer_norm": True, "tie": "all", "input_feeding": True},
]
IDS = ["-".join(option) for option in OPTIONS]


def made(cell=gru, attention=additive, seed=0, **options):
    model = translator(cell, attention, **options)
    params = model.init(jax.random.key(seed), V, V, embedding=6, hidden=5, units=4, dtype=jnp.float64)
    keys = iter(jax.random.split(jax.random.key(seed + 1), 100))
    # no parameter is left at a constant, and states differ enough to write different words
    return model, jax.tree.map(lambda a: 2 * a + 0.3 * jax.random.normal(next(keys), a.shape, a.dtype), params)


def encoded(model, params, source=SOURCE, key=None):
    return model.encode(params, source, source != 0, key)


@pytest.mark.parametrize(
    ("cell", "options"), [*((gru, one) for one in OPTIONS), (lstm, OPTIONS[-1])], ids=[*IDS, f"lstm-{IDS[-1]}"]
)
def test_decoding_step_by_step_is_decoding_at_once(cell, options):
    model, params = made(cell, coverage, **options)
    seen = encoded(model, params)
    carry, (logits, weights) = model.decode(params, seen, INPUTS)
    targets = jnp.concatenate([INPUTS[1:], INPUTS[:1]])
    last, (said, looked) = decode.teacher_forced(model.step(params, seen), seen.carry, INPUTS[0], targets)
    for got, want in ((logits, said), (weights, looked), *zip(*map(jax.tree.leaves, (carry, last)), strict=True)):
        np.testing.assert_allclose(got, want, atol=1e-12)
    _, (features, _) = model.decode_features(params, seen, INPUTS)
    W, b = model.output(params)
    np.testing.assert_allclose(features @ W + b[None, None], logits, atol=1e-12)


@pytest.mark.parametrize("model", [plain, attentive(), translator(tie="target")], ids=["plain", "attentive", "tied"])
def test_the_readout_is_made_of_features_and_output(model):
    """Of the tutorial's models too; it is a value, so that equal models are equal, and it can be pickled with them."""
    params = model.init(jax.random.key(0), 9, 11, embedding=5, hidden=5, dtype=float)
    source, inputs = jnp.ones((4, 2), int), jnp.arange(6).reshape(3, 2)
    seen = model.encode(params, source, source > 0)
    _, (logits, _) = model.decode(params, seen, inputs)
    _, (features, _) = model.decode_features(params, seen, inputs)
    W, b = map(np.asarray, model.output(params))
    np.testing.assert_allclose(logits, np.einsum("tbf,fv->tbv", features, W) + b, atol=1e-12)
    assert model.readout == Readout(model.features, model.output)
    halved = model._replace(readout=Readout(lambda *args: model.features(*args) / 2, model.output))
    np.testing.assert_allclose(halved.decode(params, seen, inputs)[1][0], (np.asarray(logits) + b) / 2, atol=1e-12)


def test_inputs_that_are_not_fed_are_in_the_vocabulary_too():
    model, params = made()
    seen, wrong = encoded(model, params), INPUTS.at[2, 0].set(99)
    for whole in (model.decode, model.decode_features):
        with pytest.raises(
            InputError, match=r"decode: inputs: a token id must be from 0 to \d+, .* got 99 at \[2, 0\]"
        ):
            whole(params, seen, wrong, jnp.zeros(INPUTS.shape, bool))


@pytest.mark.parametrize("options", OPTIONS[-1:], ids=IDS[-1:])
def test_greedy_and_beam_write_what_the_model_itself_thinks_likeliest(options):
    model, params = made(**options)
    seen, start = encoded(model, params), jnp.ones(3, int)
    done = decode.greedy(model.step(params, seen), seen.carry, start, eos=EOS, max_length=6)
    one = decode.beam(model.step(params, seen), seen.carry, start, eos=EOS, max_length=6, size=1)
    np.testing.assert_array_equal(one.tokens[:, :, 0], done.tokens)
    inputs = jnp.concatenate([start[None], done.tokens[:-1].astype(start.dtype)])
    _, (logits, _) = model.decode(params, seen, inputs)
    real = np.arange(6)[:, None] < np.asarray(done.lengths)
    np.testing.assert_array_equal(np.where(real, logits.argmax(-1), 0), done.tokens)
    free = jnp.zeros_like(inputs, bool)
    _, (own, _) = model.decode(params, seen, inputs, free)  # fed its own tokens
    np.testing.assert_allclose(np.where(real[..., None], own, 0), np.where(real[..., None], logits, 0), atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS[-1:], ids=IDS[-1:])
def test_padding_and_neighbours_do_not_matter(options):
    model, params = made(lstm, **options)
    _, (logits, weights) = model.decode(params, encoded(model, params), INPUTS)
    longer = jnp.concatenate([SOURCE, jnp.zeros((3, 3), int)])
    _, (padded, looked) = model.decode(params, encoded(model, params, longer), INPUTS)
    np.testing.assert_allclose(padded, logits, atol=1e-12)
    np.testing.assert_allclose(looked[..., :4], weights, atol=1e-12)
    for b in range(3):
        one = slice(b, b + 1)
        _, (alone, _) = model.decode(params, encoded(model, params, SOURCE[:, one]), INPUTS[:, one])
        np.testing.assert_allclose(alone, logits[:, one], atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS[-1:], ids=IDS[-1:])
def test_gradients_with_dropout_reach_every_parameter(options):
    model, params = made(lstm, dropout=0.2, word_dropout=0.1, **options)
    k_encode, k_decode = jax.random.split(jax.random.key(3))

    @jax.jit
    def loss(params):
        _, (logits, _) = model.decode(params, encoded(model, params, key=k_encode), INPUTS, None, k_decode)
        return (jax.nn.log_softmax(logits) ** 2).mean()

    for path, grad in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert np.isfinite(grad).all() and np.abs(grad).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("attention", ["dot", "local_m", "monotonic", "multi_head"])  # one of each form
def test_every_attention_reads_in_the_lowest_layer(attention):
    model = translator(gru, ATTENTIONS[attention], decoder_layers=2, input_feeding=True)
    params = jax.jit(lambda key: model.init(key, V, V, embedding=6, hidden=5, units=4))(jax.random.key(0))
    _, (logits, weights) = jax.jit(lambda p: model.decode(p, encoded(model, p), INPUTS))(params)
    assert logits.shape == (5, 3, V) and weights.shape == (5, 3, 4) and np.isfinite(logits).all()
    cost = coverage_loss(weights)
    assert (np.asarray(cost) >= 0).all() and (np.asarray(cost) <= 1 + 1e-6).all() and not cost[0].any()


def test_the_default_model_has_the_params_it_had():
    _, params = made()
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)}
    assert {".source", ".target", ".bridge.h.W", ".decoder.cell.W", ".decoder.C", ".deep.W", ".logits.W"} <= names
    assert len(names) == 24


def test_ties_hold_one_array_in_the_scale_of_each_use():
    E = 64
    for tie, count in (("none", 3), ("target", 2), ("all", 1)):
        model = translator(tie=tie)
        params = model.init(jax.random.key(0), 500, 500, embedding=E, hidden=4)
        assert sum(500 in a.shape and a.ndim == 2 for a in jax.tree.leaves(params)) == count
        words = jnp.arange(500)
        for vectors in (source_vectors(params, words[None])[0], model.embed(params, words)):
            np.testing.assert_allclose(vectors.std(), 0.1, rtol=0.05)
        if tie != "none":
            table = params.source if tie == "all" else params.target
            assert isinstance(params.logits, Bias)
            np.testing.assert_array_equal(model.output(params).W, table.T)
            np.testing.assert_allclose(table.std(), E**-0.5, rtol=0.05)
            np.testing.assert_allclose(model.embed(params, words), table * 0.8, rtol=1e-12)
    with pytest.raises(InputError, match="got 5 source and 6 target"):
        translator(tie="all").init(jax.random.key(0), 5, 6)
    with pytest.raises(InputError, match="tie of embeddings"):
        translator(tie="both")
    with pytest.raises(InputError, match="the decoder needs at least 1 layer; got 0"):
        translator(decoder_layers=0)


def test_the_wrappers_are_their_equations():
    xs, key = jax.random.normal(jax.random.key(0), (6, 2, 5)), jax.random.key(1)
    cell = stack(normalised(lstm), residual(normalised(lstm)), every=True)
    params = cell.init(key, 5, 4, dtype=jnp.float64)
    params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(key, a.shape), params)
    _, (low, top) = unroll(cell, params, xs)

    def norm(x, p):
        x = np.asarray(x)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return jnp.asarray(x * np.asarray(p.gain) + np.asarray(p.shift))

    _, below = unroll(lstm, params[0].cell, norm(xs, params[0]))
    _, above = unroll(lstm, params[1].cell, norm(below, params[1]))
    np.testing.assert_allclose(low, below, atol=1e-12)
    np.testing.assert_allclose(top, above + below, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS[-1:], ids=IDS[-1:])
def test_models_export_for_any_size_and_decoders_pickle(options):
    model, params = made(dropout=0.3, **options)
    again = pickle.loads(pickle.dumps(model))
    assert again.decoder == model.decoder and again.step(params, encoded(again, params)) is not None
    assert translator(gru, additive, dropout=0.3, **options) is model

    def run(params, source, inputs):
        seen = model.encode(params, source, source != 0)
        done = decode.greedy(model.step(params, seen), seen.carry, inputs[0], eos=EOS, max_length=4)
        return model.decode(params, seen, inputs)[1][0], done.tokens

    S, T, B = export.symbolic_shape("S, T, B")
    sizes = [jax.ShapeDtypeStruct((n, B), INPUTS.dtype) for n in (S, T)]
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)
    leaves, structure = jax.tree.flatten(like)
    program = export.export(jax.jit(lambda leaves, *data: run(jax.tree.unflatten(structure, leaves), *data)))(
        leaves, *sizes
    )
    got = program.call(jax.tree.leaves(params), SOURCE[:, :2], INPUTS[:, :2])
    for a, b in zip(got, run(params, SOURCE[:, :2], INPUTS[:, :2]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_word_dropout_drops_whole_words_in_training_alone():
    model = translator(word_dropout=0.5)
    params = model.init(jax.random.key(0), V, V, embedding=6, hidden=5)
    tokens = jnp.full((40, 20), 3)
    y = np.asarray(model.embed(params, tokens, jax.random.key(1)))
    dropped = (y == 0).all(-1)
    assert 0.4 < dropped.mean() < 0.6
    np.testing.assert_allclose(y[~dropped], np.broadcast_to(2 * params.target[3], y[~dropped].shape), rtol=1e-12)
    np.testing.assert_array_equal(model.embed(params, tokens)[0, 0], params.target[3])


@pytest.mark.parametrize("layers", [1, 2])
def test_saturation_counts_features_and_states_of_real_tokens(layers):
    model, params = made(lstm, decoder_layers=layers, input_feeding=layers == 2)
    mask = INPUTS != 2
    carry, hs = encoded(model, params).carry, []
    for t in range(len(INPUTS)):  # a loop of steps
        carry, _ = model.step(params, encoded(model, params))(carry, INPUTS[t])
        own = carry.decoder if layers == 2 else (carry,)
        hs.append(np.concatenate([one.h for one in own], -1))
    _, (features, _) = model.decode_features(params, encoded(model, params), INPUTS)
    for scale in (1, 30):
        found = saturation(model, params, SOURCE, SOURCE != 0, INPUTS, mask)
        if scale == 1:
            real = np.asarray(mask)
            np.testing.assert_allclose(found.states, (np.abs(np.stack(hs))[real] > 0.98).mean(), atol=1e-6)
            np.testing.assert_allclose(found.features, (np.abs(features)[real] > 0.98).mean(), atol=1e-6)
            params = jax.tree.map(lambda a: 30 * a, params)
    assert found.features > 0.9


def test_input_feeding_gives_the_next_step_the_features():
    """A loop in NumPy of the decoder with one layer: the features of a step enter the gates of the next."""
    model, params = made(gru, input_feeding=True)
    assert model.decoder == feeding(model.decoder.recipe.args[0])
    seen = encoded(model, params)
    own, memory = jax.tree.map(np.asarray, (params.decoder, seen.memory))
    cell, C, attention = own.decoder.cell, own.decoder.C, own.decoder.attention
    h, fed = np.asarray(seen.carry.h), np.zeros((3, 6))
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    _, (logits, _) = model.decode(params, seen, INPUTS)
    W, b = jax.tree.map(np.asarray, model.output(params))
    for t in range(len(INPUTS)):
        y = np.asarray(params.target)[INPUTS[t]]
        scores = np.tanh((h @ attention.W)[:, None] + memory.keys) @ attention.v
        scores = np.where(memory.mask, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        context = np.einsum("bs,bsk->bk", weights, memory.values)
        wx = y @ cell.W + cell.b + context @ C + fed @ own.F
        uh = h @ cell.U
        r, z = sigmoid(wx[:, :5] + uh[:, :5]), sigmoid(wx[:, 5:10] + uh[:, 5:10])
        n = np.tanh(wx[:, 10:] + r * (uh[:, 10:] + cell.b_hn))
        h = (1 - z) * n + z * h
        fed = np.tanh(np.concatenate([h, context, y], -1) @ own.deep.W + own.deep.b)
        np.testing.assert_allclose(logits[t], fed @ W + b, atol=1e-12)


def test_there_is_a_case_for_every_option():
    used = set(itertools.chain.from_iterable(OPTIONS))
    assert used == {"decoder_layers", "layers", "residual", "layer_norm", "tie", "input_feeding"}

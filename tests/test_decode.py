"""Decoding over a toy language, whose every probability is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, decode, seq2seq
from jaxseq.decode import ensemble, forbid, greedy, sample, score, teacher_forced, top_k, top_p

PAD, EOS, SOS = 0, 1, 2
V = 6
# row: the token before; column: the next. 2 -> 3 -> 4 -> 5 -> 1, and 0 is never likely.
CHAIN = np.full((V, V), -2.0)
for before, after in ((2, 3), (3, 4), (4, 5), (5, 1), (1, 3), (0, 0)):
    CHAIN[before, after] = 3.0
CHAIN = jnp.asarray(CHAIN)


def step(carry, tokens):
    """Count the calls, and show them beside the tokens fed."""
    return carry + 1, (CHAIN[tokens], {"fed": tokens, "count": carry})


def run(start, max_length=10, **options):
    return jax.jit(lambda s: greedy(step, jnp.zeros_like(s), s, eos=EOS, max_length=max_length, pad=PAD))(
        jnp.asarray(start, jnp.int32)
    )


def test_greedy_follows_the_chain_and_pads_after_eos():
    got = run([2, 4, 5])
    assert got.tokens.T.tolist()[0] == [3, 4, 5, 1, 0, 0, 0, 0, 0, 0]
    assert got.tokens.T.tolist()[1] == [5, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert got.lengths.tolist() == [4, 2, 1]
    log_p = float(jax.nn.log_softmax(CHAIN[2])[3])
    np.testing.assert_allclose(got.log_probs[:, 1], [log_p] * 2 + [0] * 8, rtol=1e-12)
    assert got.seen["fed"].T.tolist()[0] == [2, 3, 4, 5, 0, 0, 0, 0, 0, 0]
    assert got.tokens.dtype == got.lengths.dtype == jnp.int32


def test_it_stops_when_every_row_has_ended():
    """The longest row ends after four steps: the step function is not run a fifth time."""
    assert int(run([2, 5]).seen["count"].max()) == 3


def test_it_stops_at_max_length():
    got = run([2], max_length=2)
    assert got.tokens[:, 0].tolist() == [3, 4] and got.lengths.tolist() == [2]


def test_ties_and_int64_starts():
    flat = jax.jit(lambda s: greedy(lambda c, t: (c, (jnp.zeros((2, V)), ())), (), s, eos=EOS, max_length=1))
    assert flat(jnp.array([2, 3])).tokens.tolist() == [[0, 0]]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sample_draws_from_the_softmax(temperature):
    B = 20_000
    draw = jax.jit(
        lambda key: sample(
            step, jnp.zeros(B, int), jnp.full(B, 2), key=key, temperature=temperature, eos=EOS, max_length=1
        )
    )
    got = draw(jax.random.key(0))
    share = np.bincount(got.tokens[0], minlength=V) / B
    want = np.asarray(jax.nn.softmax(CHAIN[2] / temperature))
    assert np.abs(share - want).max() < 4 * np.sqrt(0.25 / B)
    np.testing.assert_allclose(got.log_probs[0], jax.nn.log_softmax(CHAIN[2])[got.tokens[0]], rtol=1e-12)


def test_sample_is_a_function_of_its_key_and_differs_between_steps():
    def flat(carry, tokens):
        return carry, (jnp.zeros((tokens.shape[0], 50)), ())

    def draw(seed):
        return sample(flat, (), jnp.full(4, 2), key=jax.random.key(seed), eos=49, max_length=8).tokens

    np.testing.assert_array_equal(draw(0), draw(0))
    assert (draw(0) != draw(1)).any() and len(np.unique(draw(0))) > 8


def test_with_a_key_for_each_row_the_others_do_not_matter():
    def flat(carry, tokens):
        return carry, (jnp.zeros((*tokens.shape, 50)), ())

    keys = jax.random.split(jax.random.key(0), 4)
    draw = lambda keys: sample(flat, (), jnp.full(len(keys), 2), key=keys, eos=49, max_length=8).tokens  # noqa: E731
    together = draw(keys)
    for row in range(4):
        np.testing.assert_array_equal(draw(keys[row : row + 1])[:, 0], together[:, row])
    assert len(np.unique(together, axis=1).T) == 4
    with pytest.raises(InputError, match=r"key must be one key, or one for each row \(3,\); got \(4,\)"):
        sample(flat, (), jnp.full(3, 2), key=keys, eos=49, max_length=8)
    raw = jax.random.PRNGKey(0)  # two numbers and one key
    assert sample(flat, (), jnp.full(2, 2), key=raw, eos=49, max_length=8).tokens.shape == (8, 2)


def test_low_temperature_is_greedy():
    start = jnp.array([2, 4])
    cold = sample(
        step, jnp.zeros(2, int), start, key=jax.random.key(0), temperature=1e-3, eos=EOS, max_length=6, pad=PAD
    )
    np.testing.assert_array_equal(cold.tokens, run([2, 4], max_length=6).tokens)


def test_rows_do_not_matter_to_each_other():
    together, alone = run([2, 4, 5]), [run([s]) for s in (2, 4, 5)]
    for b, one in enumerate(alone):
        np.testing.assert_array_equal(together.tokens[:, b], one.tokens[:, 0])
    assert decode.Decoded._fields == ("tokens", "log_probs", "lengths", "seen")


def total(table, start=(2, 4)):
    """The log-probability of what is generated, by a table of logits."""
    return greedy(lambda k, t: (k, (table[t], t)), (), jnp.array(start), eos=EOS, max_length=5).log_probs.sum()


def test_a_gradient_says_what_to_do_instead():
    both = jnp.stack([CHAIN, CHAIN])
    for pull, table in ((jax.grad(total), CHAIN), (jax.grad(jax.jit(total)), CHAIN), (jax.vmap(jax.grad(total)), both)):
        with pytest.raises(InputError, match=r"no gradient in reverse mode.*REINFORCE"):
            pull(table)
    assert jax.grad(lambda a: a.sum() + jax.lax.stop_gradient(total(a)))(CHAIN).sum() == CHAIN.size


def test_forward_mode_is_that_of_the_chosen_tokens():
    """Row 2 takes 3, 4, 5, 1 and row 4 takes 5, 1: each step adds the derivative of its log-softmax."""
    along = jnp.asarray(np.random.default_rng(0).normal(size=CHAIN.shape))
    steps = [(2, 3), (3, 4), (4, 5), (5, 1), (4, 5), (5, 1)]
    log_p = lambda table: sum(jax.nn.log_softmax(table[a])[b] for a, b in steps)  # noqa: E731
    want = jax.jvp(log_p, (CHAIN,), (along,))
    np.testing.assert_allclose(jax.jvp(jax.jit(total), (CHAIN,), (along,)), want, rtol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(total)(CHAIN), jax.grad(log_p)(CHAIN), rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(total)(jnp.stack([CHAIN, 2 * CHAIN]))[0], want[0], rtol=1e-12)


def test_a_models_own_tokens_are_those_of_its_logits_dropout_included():
    """Fed by hand with what its own logits say, under the same key, the model gives the same logits and gradients."""
    model = seq2seq.translator(dropout=0.5)
    params = model.init(jax.random.key(0), 7, V, embedding=6, hidden=8)
    params = params._replace(target=20 * params.target, logits=jax.tree.map(lambda a: 5 * a, params.logits))
    source, inputs = jnp.ones((4, 3), int), jnp.asarray(np.random.default_rng(0).integers(V, size=(7, 3)))
    forced = jnp.asarray(np.random.default_rng(1).random((7, 3)) < 0.3).at[:, 0].set(True)
    key = jax.random.key(1)

    def decoded(params, inputs, forced):
        encoded = model.encode(params, source, source > 0)
        return model.decode(params, encoded, inputs, forced, key)[1][0]

    logits = decoded(params, inputs, forced)
    own = jnp.concatenate([inputs[:1], jnp.argmax(logits, axis=-1)[:-1]])
    fed = jnp.where(forced.at[0].set(True), inputs, own)
    assert len(np.unique(own)) > 2 and (fed != inputs).sum() > 5
    np.testing.assert_allclose(logits, decoded(params, fed, jnp.ones_like(forced)), rtol=1e-10)
    got, want = (
        jax.grad(lambda p, given=given: (decoded(p, *given) ** 2).sum())(params)
        for given in ((inputs, forced), (fed, jnp.ones_like(forced)))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), got, want)


@pytest.mark.parametrize("returned", [lambda k, row: (k, row), lambda k, row: (k, row, ()), lambda k, row: row])
def test_a_step_that_returns_something_else_is_told_what_to_return(returned):
    wrong = lambda carry, tokens: returned(carry, CHAIN[tokens])  # noqa: E731
    with pytest.raises(InputError, match=r"must return \(carry, \(logits, seen\)\), with logits \[2, V\].*'float64'"):
        greedy(wrong, (), jnp.array([3, 4]), eos=EOS, max_length=3)


def test_tokens_outside_the_vocabulary_are_refused_where_they_are_known():
    with pytest.raises(InputError, match=rf"start: a token id .* from 0 to {V - 1}, .*; got 9 at \[1\]"):
        total(CHAIN, (2, 9))
    model = seq2seq.translator()
    params = model.init(jax.random.key(0), 7, V, embedding=3, hidden=4)
    source, inputs = jnp.ones((4, 2), int), jnp.ones((3, 2), int)
    encoded = model.encode(params, source, source > 0)
    with pytest.raises(InputError, match=r"from 0 to 6, for a vocabulary of 7; got 7 at \[3, 1\]"):
        model.encode(params, source.at[3, 1].set(7), source > 0)
    for forced in (None, jnp.ones((3, 2), bool)):
        with pytest.raises(InputError, match=rf"for a vocabulary of {V}; got -2 at \[1, 0\]"):
            model.decode(params, encoded, inputs.at[1, 0].set(-2), forced)
    clipped = jax.jit(seq2seq.lookup)(params.target, jnp.array([-2, V]))
    np.testing.assert_array_equal(clipped, params.target[jnp.array([0, V - 1])])


PROBS = np.array([[0.05, 0.4, 0.15, 0.1, 0.25, 0.05], [0.3, 0.3, 0.2, 0.1, 0.1, 0.0]])


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ([forbid(1, 4)], [[0, 2, 3, 5], [0, 2, 3, 5]]),
        ([top_k(1)], [[1], [0, 1]]),
        ([top_k(3)], [[1, 2, 4], [0, 1, 2]]),
        ([top_k(9)], [range(6), range(6)]),
        ([top_p(0.3)], [[1], [0, 1]]),
        ([top_p(0.64)], [[1, 4], [0, 1, 2]]),
        ([top_p(0.66)], [[1, 2, 4], [0, 1, 2]]),
        ([top_p(0.85)], [[1, 2, 3, 4], [0, 1, 2, 3, 4]]),
        ([forbid(1), top_k(3), top_p(0.51)], [[2, 4], [0, 2]]),
        ([top_k(3), forbid(1), top_p(0.51)], [[4], [0]]),
    ],
)
def test_filters_leave_exactly_these_probabilities(filters, kept):
    """The distribution that is drawn from: the model's, of what is kept, divided by its sum."""
    got = jnp.log(PROBS)
    for keep in filters:
        got = jax.jit(keep)(got)
    want = np.array(
        [[p if v in row else 0.0 for v, p in enumerate(line)] for row, line in zip(kept, PROBS, strict=True)]
    )
    np.testing.assert_allclose(jax.nn.softmax(got), want / want.sum(-1, keepdims=True), rtol=1e-12)
    assert keep(jnp.log(PROBS).astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_sample_draws_what_its_filters_leave_at_its_temperature():
    """Of softmax(log p / 2), the square roots, 1 and 4 are the nucleus of 0.5: 0.4 ** 0.5 to 0.25 ** 0.5."""
    count = 20_000
    fair = lambda carry, tokens: (carry, (jnp.broadcast_to(jnp.log(PROBS[0]), (count, V)), ()))  # noqa: E731
    options = {"key": jax.random.key(0), "temperature": 2.0, "eos": EOS, "max_length": 1}
    got = sample(fair, (), jnp.full(count, 2), filters=(top_k(3), forbid(2), top_p(0.9)), **options)
    assert set(got.tokens[0].tolist()) == {1, 4}
    want = np.sqrt(0.4) / (np.sqrt(0.4) + np.sqrt(0.25))
    assert abs(float((got.tokens == 1).mean()) - want) < 4 * np.sqrt(0.25 / count)
    np.testing.assert_allclose(got.log_probs[0], np.log(PROBS[0])[got.tokens[0]], rtol=1e-12)  # without them
    hot = sample(fair, (), jnp.full(count, 2), filters=(top_p(0.5),), **options)
    cold = sample(fair, (), jnp.full(count, 2), filters=(top_p(0.5),), **{**options, "temperature": 0.5})
    assert set(hot.tokens[0].tolist()) == {1, 2, 4} and set(cold.tokens[0].tolist()) == {1}


def test_a_prefix_is_written_first_and_the_rest_follows_from_it():
    prefix = np.array([[5, 4, -1], [-1, -1, 3]])
    write = {
        "greedy": lambda: greedy(step, jnp.zeros(3, int), jnp.full(3, 2), eos=EOS, max_length=4, prefix=prefix),
        "sample": lambda: sample(
            step, jnp.zeros(3, int), jnp.full(3, 2), eos=EOS, max_length=4, prefix=prefix, key=jax.random.key(0),
            temperature=1e-3,
        ),
    }  # fmt: skip
    for run in write.values():
        got = jax.jit(run)()
        assert got.tokens.T.tolist() == [[5, 1, 0, 0], [4, 5, 1, 0], [3, 3, 4, 5]]
        log_p = jax.nn.log_softmax(CHAIN)
        np.testing.assert_allclose(got.log_probs[:2, 0], [log_p[2, 5], log_p[5, 1]], rtol=1e-12)
    with pytest.raises(InputError, match=r"prefix must be int \[P, \*\(3,\)\].*got int64 \(2, 2\)"):
        greedy(step, jnp.zeros(3, int), jnp.full(3, 2), eos=EOS, max_length=4, prefix=prefix[:, :2])


def test_a_forbidden_token_is_not_written():
    got = greedy(step, jnp.zeros(1, int), jnp.array([2]), eos=EOS, max_length=3, filters=(forbid(3, 5),))
    assert not set(got.tokens[:, 0].tolist()) & {3, 5}
    for wrong, message in ((lambda: top_k(0), "at least 1, got 0"), (lambda: top_p(1.5), "at most 1, got 1.5")):
        with pytest.raises(InputError, match=message):
            wrong()


def test_scores_of_given_targets():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(3, 2, V)), np.array([[2, 3], [1, 4], [-9, 1]])
    mask = np.array([[True, True], [True, True], [False, True]])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    got = jax.jit(score)(logits, targets, mask)
    first, second = p[0, 0, 2] * p[1, 0, 1], p[0, 1, 3] * p[1, 1, 4] * p[2, 1, 1]
    np.testing.assert_allclose(got.totals, np.log([first, second]), rtol=1e-12)
    np.testing.assert_allclose(got.perplexity, [first ** (-1 / 2), second ** (-1 / 3)], rtol=1e-12)
    np.testing.assert_allclose(got.log_probs[:, 0], [np.log(p[0, 0, 2]), np.log(p[1, 0, 1]), 0], rtol=1e-12)
    assert got.lengths.tolist() == [2, 3]
    assert score(jnp.asarray(logits), jnp.asarray(targets), jnp.zeros((3, 2), bool)).perplexity.tolist() == [1, 1]
    small = score(jnp.zeros((3000, 1, V), jnp.bfloat16), jnp.zeros((3000, 1), int), jnp.ones((3000, 1), bool))
    np.testing.assert_allclose(small.totals, 3000 * small.log_probs[0].astype(jnp.float32), rtol=1e-6)
    with pytest.raises(InputError, match=r"mask must be bool \(3, 2\), as targets"):
        score(logits, targets, mask[:2])


def test_teacher_forcing_a_step_is_decoding_at_once_and_has_its_gradient():
    model = seq2seq.translator()
    params = model.init(jax.random.key(0), 7, V, embedding=3, hidden=4, dtype=jnp.float64)
    source, targets = jnp.ones((4, 2), int), jnp.array([[3, 4], [5, 1], [1, 0]])
    inputs = jnp.concatenate([jnp.full((1, 2), 2), targets[:-1]])

    def by_steps(params):
        encoded = model.encode(params, source, source > 0)
        return teacher_forced(model.step(params, encoded), encoded.carry, inputs[0], targets)[1]

    def at_once(params):
        return model.decode(params, model.encode(params, source, source > 0), inputs)[1]

    total = lambda run: jax.value_and_grad(lambda p: score(run(p)[0], targets, targets > 0).totals.sum())  # noqa: E731
    for got, want in ((by_steps(params), at_once(params)), (total(by_steps)(params), total(at_once)(params))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), got, want)


def test_an_ensemble_writes_what_the_mean_of_probabilities_says():
    """Each member alone prefers another token; a carry of one is not the other's."""
    likes = lambda p: lambda n, t: (n + 1, (jnp.broadcast_to(jnp.log(jnp.array(p)), (1, 3)), n))  # noqa: E731
    members = [likes([0.6, 0.0, 0.4]), likes([0.0, 0.55, 0.45])]
    start = (jnp.array([0]), jnp.array([10]))
    for weights, mean in ((None, [0.3, 0.275, 0.425]), ([3, 1], [0.45, 0.1375, 0.4125]), ([0, 2], [0.0, 0.55, 0.45])):
        carry, (logits, seen) = ensemble(members, weights)(start, jnp.array([0]))
        np.testing.assert_allclose(jnp.exp(logits), [mean], rtol=1e-12, atol=1e-300)
        assert jax.tree.map(lambda a: a.item(), (carry, seen)) == ((1, 11), (0, 10))
    got = greedy(ensemble(members), start, jnp.array([0]), eos=2, max_length=3)
    assert got.tokens[:, 0].tolist() == [2, 0, 0]
    for wrong, weights in (([], None), (members, [1.0]), (members, [1, -1]), (members, [0, 0])):
        with pytest.raises(InputError, match=rf"got {len(wrong)} steps and weights"):
            ensemble(wrong, weights)
    with pytest.raises(InputError, match=r"same vocabulary.*\(1, 3\), \(1, 6\)"):
        ensemble([members[0], step])(start, jnp.array([0]))

"""Beam search against every sequence there is, and against a beam written with lists."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.decode import Hypotheses, beam, ensemble, forbid, greedy, score, teacher_forced
from jaxseq.testing import assert_close

PAD, EOS, SOS, B, S, H = 0, 1, 2, 4, 3, 5
LENGTHS = np.array([3, 1, 2, 3])
MASK = np.arange(S) < LENGTHS[:, None]


class Toy(NamedTuple):
    """A model with a state, which reads a source that each row has for itself: ``h' = tanh(h A + E[token] + context)``.

    `source` and `mask` are closed over by its step, as an encoded sentence is.
    """

    A: np.ndarray
    E: np.ndarray
    W: np.ndarray
    source: np.ndarray
    mask: np.ndarray
    ends: float
    """Added to the logit of EOS."""

    def step(self, h, tokens):
        weights = jax.nn.softmax(jnp.where(self.mask, jnp.einsum("bh,bsh->bs", h, self.source), -jnp.inf))
        h = jnp.tanh(h @ self.A + jnp.asarray(self.E)[tokens] + jnp.einsum("bs,bsh->bh", weights, self.source))
        return h, ((h @ self.W).at[..., EOS].add(self.ends), weights)

    def row(self, b, tokens):
        """Return log-probabilities ``[V]`` of what follows these tokens, and the weights ``[S]`` of that step."""
        h = np.ones(H)
        for token in (SOS, *tokens):
            source = self.source[b][self.mask[b]]
            weights = np.exp(source @ h)
            weights /= weights.sum()
            h = np.tanh(h @ self.A + self.E[token] + weights @ source)
        logits = h @ self.W
        logits[EOS] += self.ends
        return logits - np.log(np.exp(logits).sum()), np.pad(weights, (0, S - len(weights)))


def toy(V, seed, ends=0.0):
    """Return a model whose every entry is drawn."""
    draw = lambda *shape: np.random.default_rng([seed, *shape]).normal(size=shape)  # noqa: E731
    return Toy(draw(H, H), draw(V, H), 2 * draw(H, V), draw(B, S, H), MASK, ends)


def search(model, rows=slice(None), **options):
    model = model._replace(source=model.source[rows], mask=model.mask[rows])
    count = len(model.source)
    if options.get("coverage_penalty"):
        options["source_mask"] = jnp.asarray(model.mask)

    @jax.jit
    def run(h, start):
        return beam(model.step, h, start, eos=EOS, pad=PAD, **options)

    return jax.device_get(run(jnp.ones((count, H)), jnp.full(count, SOS)))


def total(model, b, tokens, alpha, beta):
    """Return log-probability and score of a sequence of one row, step by step from the formulas."""
    log_p, covered = 0.0, np.zeros(S)
    for t, token in enumerate(tokens):
        following, weights = model.row(b, tokens[:t])
        log_p, covered = log_p + following[token], covered + weights
    return log_p, log_p / ((5 + len(tokens)) / 6) ** alpha + beta * np.log(np.minimum(covered[MASK[b]], 1)).sum()


def by_lists(model, b, K, T, n_best, alpha=0.0, beta=0.0, early_stopping=True, **_):
    """Beam search of one row with lists of ``(log-probability, tokens)``; return ``(score, tokens)`` and the steps."""
    alive, ended = [(0.0, ())], []
    lp = lambda n: ((5 + n) / 6) ** alpha  # noqa: E731
    for t in range(T):
        longer = [(p + q, (*y, v)) for p, y in alive for v, q in enumerate(model.row(b, y)[0])]
        longer.sort(key=lambda found: -found[0])
        ended += [(total(model, b, y, alpha, beta)[1], y) for p, y in longer[:K] if y[-1] == EOS]
        ended = sorted(ended, key=lambda found: -found[0])[:K]
        alive = [found for found in longer if found[1][-1] != EOS][:K]
        best = max((p / lp(n) for p, _ in alive[:1] for n in range(t + 2, T + 1)), default=-np.inf)
        if (early_stopping and len(ended) == K) or (len(ended) >= n_best and ended[n_best - 1][0] >= best):
            return ended[:n_best], t + 1
    unended = sorted(((total(model, b, y, alpha, beta)[1], y) for _, y in alive), key=lambda found: -found[0])
    return (ended + unended)[:n_best], T


def assert_found(got: Hypotheses, b: int, want, T: int) -> None:
    assert len(want) <= got.scores.shape[-1]
    for n, (value, tokens) in enumerate(want):
        assert got.tokens[:, b, n].tolist() == [*tokens, *[PAD] * (T - len(tokens))], (b, n)
        assert got.lengths[b, n] == len(tokens)
        np.testing.assert_allclose(got.scores[b, n], value, rtol=1e-9, atol=1e-9)


PENALTIES = [(0.0, 0.0), (0.8, 0.0), (-0.5, 0.0), (1.0, 0.4)]


@pytest.mark.parametrize(("alpha", "beta"), PENALTIES)
def test_a_beam_of_all_sequences_finds_the_best_of_them(alpha, beta):
    V, T, n_best = 4, 3, 8
    model = toy(V, seed=1, ends=0.7)
    ended = [(*y, EOS) for n in range(T) for y in itertools.product([0, 2, 3], repeat=n)]
    got = search(
        model, max_length=T, size=V**T, n_best=n_best, length_penalty=alpha, coverage_penalty=beta, early_stopping=False
    )
    for b in range(B):
        every = sorted(((total(model, b, y, alpha, beta)[1], y) for y in ended), key=lambda found: -found[0])
        assert_found(got, b, every[:n_best], T)
    firsts = {tuple(got.tokens[:, b, 0].tolist()) for b in range(B)}
    assert len(firsts) > 1  # rows read sources of their own


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize(("alpha", "beta"), PENALTIES)
def test_a_small_beam_is_that_of_lists(alpha, beta, early_stopping):
    V, T, K, n_best = 7, 7, 3, 2
    model, steps = toy(V, seed=3, ends=1.0), []

    def counted(h, tokens):
        jax.debug.callback(lambda h: steps.append(1), h)
        return model.step(h, tokens)

    options = {"n_best": n_best, "early_stopping": early_stopping}
    found = [by_lists(model, b, K, T, alpha=alpha, beta=beta, **options) for b in range(B)]
    penalties = {"length_penalty": alpha, "coverage_penalty": beta, "source_mask": jnp.asarray(MASK) if beta else None}
    run = jax.jit(lambda h, s: beam(counted, h, s, eos=EOS, max_length=T, size=K, **options, **penalties))
    got = jax.device_get(run(jnp.ones((B, H)), jnp.full(B, SOS)))
    jax.effects_barrier()
    for b in range(B):
        assert_found(got, b, found[b][0], T)
    assert len(steps) == K * max(took for _, took in found)  # the loop ends when the last row can gain nothing


def test_a_beam_of_one_is_greedy():
    model, T = toy(9, seed=5, ends=0.5), 8
    once = greedy(model.step, jnp.ones((B, H)), jnp.full(B, SOS), eos=EOS, max_length=T)
    one = search(model, max_length=T, size=1)
    assert len(set(once.lengths.tolist())) > 1
    np.testing.assert_array_equal(one.tokens[..., 0], once.tokens)
    np.testing.assert_array_equal(one.lengths[..., 0], once.lengths)
    assert_close("log_probs", one.log_probs[..., 0], once.log_probs, 1e-12)
    assert_close("seen", one.seen[:, :, 0], once.seen, 1e-12)
    penalised = search(model, max_length=T, size=1, length_penalty=1.0)
    np.testing.assert_array_equal(penalised.tokens, one.tokens)


def test_scores_are_teacher_forced_log_probabilities_and_what_was_seen_belongs_to_them():
    model, T, N = toy(6, seed=7), 6, 4
    got = search(model, max_length=T, size=N, n_best=N)
    real = np.arange(T)[:, None, None] < got.lengths
    assert len(np.unique(got.lengths)) > 1
    for n in range(N):
        tokens = jnp.asarray(got.tokens[..., n])
        _, (logits, weights) = teacher_forced(model.step, jnp.ones((B, H)), jnp.full(B, SOS), tokens)
        scores = score(logits, tokens, jnp.asarray(real[..., n]))
        assert_close("scores", got.scores[:, n], scores.totals, 1e-12)
        assert_close("log_probs", got.log_probs[..., n], scores.log_probs, 1e-12)
        assert_close("seen", got.seen[..., n, :], np.where(real[..., n, None], weights, 0), 1e-12)
        for b in range(B):
            length = int(got.lengths[b, n])
            np.testing.assert_allclose(
                got.scores[b, n], total(model, b, tuple(tokens[:length, b].tolist()), 0, 0)[0], rtol=1e-9
            )


def test_the_best_are_distinct_and_in_order_and_rows_do_not_matter_to_each_other():
    model, T, N = toy(6, seed=7, ends=1.0), 6, 4
    options = {"max_length": T, "size": 4, "n_best": N, "length_penalty": 0.6, "coverage_penalty": 0.2}
    together = search(model, **options)
    for b in range(B):
        alone = search(model, rows=slice(b, b + 1), **options)
        for whole, part in zip(together, alone, strict=True):
            axis = whole.ndim - 2 if whole is together.scores or whole is together.lengths else 1
            assert_close("alone", np.take(whole, [b], axis=axis), part, 1e-12)
        assert len({tuple(y) for y in together.tokens[:, b].T.tolist()}) == N
    ended = (together.tokens == EOS).any(0)
    assert ended.any() and not ended.all()
    order = np.lexsort([-together.scores, ~ended])  # by the last key first
    np.testing.assert_array_equal(order, np.broadcast_to(np.arange(N), order.shape))
    padded = model._replace(  # two more source positions, which are not there
        source=np.pad(model.source, ((0, 0), (0, 2), (0, 0)), constant_values=7.0),
        mask=np.pad(model.mask, ((0, 0), (0, 2))),
    )
    longer = search(padded, **options)
    assert_close("padded", longer[:4], together[:4], 1e-12)


def table(log_p):
    """Return a step whose next token depends on the last alone."""
    return lambda carry, tokens: (carry, (jnp.asarray(log_p)[tokens], ()))


def test_a_row_that_ends_at_once_one_that_never_does_and_one_that_has_fewer():
    """After 2 comes EOS, after 3 only 3; after 4 come 3 or EOS. There is one sequence, one, and three."""
    P = np.eye(6)[[0, 0, 1, 3, 1, 0]]
    P[4] = [0, 0.75, 0, 0.25, 0, 0]
    got = jax.jit(
        lambda s: beam(table(np.log(P, where=P > 0, out=np.full(P.shape, -np.inf))), (), s, eos=EOS, max_length=4,
                       size=3, n_best=3, length_penalty=1.0)
    )(jnp.array([2, 3, 4]))  # fmt: skip
    assert got.tokens[:, :, 0].T.tolist() == [[1, 0, 0, 0], [3, 3, 3, 3], [1, 0, 0, 0]]
    assert got.tokens[:, 2, 1].tolist() == [3, 3, 3, 3]
    assert got.lengths.tolist() == [[1, 0, 0], [4, 0, 0], [1, 4, 0]]
    np.testing.assert_allclose(got.scores[2, :2], [np.log(0.75), np.log(0.25) / (9 / 6)], rtol=1e-12)
    assert (np.isneginf(got.scores) == [[0, 1, 1], [0, 1, 1], [0, 0, 1]]).all()
    assert not got.tokens[:, 0, 1:].any() and not got.log_probs[:, 0, 1:].any()


def test_what_has_not_ended_comes_after_what_has_though_it_may_score_higher():
    P = np.full((4, 4), [1e-9, 0.01, 0.0, 0.99])
    P[:, 2] = 1e-9
    got = beam(table(np.log(P)), (), jnp.array([2]), eos=EOS, max_length=3, size=2, n_best=2, early_stopping=False)
    assert got.tokens[:, 0].T.tolist() == [[1, 0, 0], [3, 1, 0]]
    short = beam(table(np.log(P)), (), jnp.array([2]), eos=EOS, max_length=1, size=2, n_best=2)
    assert short.tokens[:, 0].T.tolist() == [[1], [3]] and short.scores[0, 0] < short.scores[0, 1]


def test_a_slot_that_ends_leaves_room_and_what_is_long_can_still_win():
    """The search goes on as long as a length up to the longest allows a better score, whichever way alpha points."""
    P = np.zeros((7, 7))
    P[2, [1, 3, 4]], P[3, [1, 5]], P[4, 1], P[5, 1] = (0.4, 0.35, 0.25), (0.3, 0.7), 1, 1
    found = lambda P, **options: beam(table(np.log(np.maximum(P, 1e-300))), (), jnp.array([2]), eos=EOS, **options)  # noqa: E731
    two = found(P, max_length=3, size=2, n_best=2, early_stopping=False)
    assert two.tokens[:, 0].T.tolist() == [[1, 0, 0], [4, 1, 0]]

    chain = np.eye(7, k=1)
    chain[6], chain[2] = np.eye(7)[1], [0, 0.55, 0, 0.45, 0, 0, 0]
    for early, tokens, value in ((False, [3, 4, 5, 6, 1], np.log(0.45) / (10 / 6)), (True, [1], np.log(0.55))):
        long = found(chain, max_length=9, size=1, length_penalty=1.0, early_stopping=early)
        assert long.tokens[:, 0, 0].tolist() == tokens + [0] * (9 - len(tokens))
        np.testing.assert_allclose(long.scores[0, 0], value, rtol=1e-12)

    P = np.zeros((7, 7))
    P[2, [1, 3]], P[3, 1] = (0.2, 0.8), 1
    short = found(P, max_length=100, size=2, length_penalty=-1.0, early_stopping=False)
    assert short.tokens[:2, 0, 0].tolist() == [3, 1]
    np.testing.assert_allclose(short.scores[0, 0], np.log(0.8) * 7 / 6, rtol=1e-12)


def test_prefixes_and_forbidden_tokens():
    model, T = toy(6, seed=11, ends=1.0), 5
    prefix = np.array([[3, -1, EOS, 4], [5, -1, -1, -1]])
    got = search(model, max_length=T, size=3, n_best=3, prefix=prefix, filters=(forbid(2, 0),))
    free = search(model, max_length=T, size=3, n_best=3, filters=(forbid(2, 0),))
    assert got.tokens[:2, 0].tolist() == [[3] * 3, [5] * 3] and got.tokens[0, 3].tolist() == [4] * 3
    assert got.tokens[:, 2, 0].tolist() == [EOS, 0, 0, 0, 0] and got.lengths[2].tolist() == [1, 0, 0]
    for mine, its in zip(got[:3], free[:3], strict=True):
        np.testing.assert_array_equal(np.moveaxis(mine, -2, 0)[1], np.moveaxis(its, -2, 0)[1])
    real = np.arange(T)[:, None, None] < got.lengths
    assert not np.isin(got.tokens[real], [0, 2]).any()
    for b in (0, 3):
        tokens = tuple(got.tokens[: got.lengths[b, 0], b, 0].tolist())
        np.testing.assert_allclose(got.scores[b, 0], total(model, b, tokens, 0, 0)[0], rtol=1e-9)


def test_any_batch_axes_vmap_and_any_carry():
    """A row alone, rows in a square and rows mapped; the carry holds integers and a history as well."""
    V, T = 6, 5
    table = jnp.asarray(np.random.default_rng(0).normal(size=(V, V, V)))

    def step(carry, tokens):
        before, history, n = carry
        history = jnp.roll(history, 1, axis=-1).at[..., 0].set(tokens)
        return (tokens, history, n + 1), (table[before, tokens], {"history": history, "n": n})

    def run(start):
        carry = (start, jnp.zeros((*start.shape, T), start.dtype), jnp.zeros(start.shape, jnp.int8))
        return beam(step, carry, start, eos=EOS, max_length=T, size=3, n_best=2, length_penalty=0.5)

    starts = jnp.array([[2, 3], [4, 5]], jnp.int32)
    square, flat, alone = jax.jit(lambda s: (run(s), run(s.reshape(4)), run(s[1, 0])))(starts)
    mapped = jax.jit(jax.vmap(jax.vmap(run)))(starts)
    for field, per_step in zip(Hypotheses._fields, (True, False, False, True, True), strict=True):
        for a, b, c, d in zip(
            *(jax.tree.leaves(getattr(r, field)) for r in (square, flat, alone, mapped)), strict=True
        ):
            rows = a.reshape(T, 4, *a.shape[3:]) if per_step else a.reshape(4, *a.shape[2:])
            assert_close(field, rows, b, 1e-12)
            assert_close(field, rows[:, 2] if per_step else rows[2], c, 1e-12)
            assert_close(field, a, jnp.moveaxis(d, 2, 0) if per_step else d, 1e-12)
    best, length = square.tokens[:, 0, 0, 0], int(square.lengths[0, 0, 0])
    history = square.seen["history"][length - 1, 0, 0, 0]
    assert history[:length].tolist() == [*best[: length - 1][::-1].tolist(), 2]  # each hypothesis carries its own
    assert square.seen["n"][:length, 0, 0, 0].tolist() == list(range(length))


def test_an_ensemble_searches_by_the_mean_of_probabilities():
    T, one, other = 4, toy(5, seed=1), toy(5, seed=2)

    class Both:
        @staticmethod
        def row(b, tokens):
            return np.log(0.25 * np.exp(one.row(b, tokens)[0]) + 0.75 * np.exp(other.row(b, tokens)[0])), np.ones(S)

    h = jnp.ones((B, H))
    got = beam(
        ensemble([one.step, other.step], [1, 3]), (h, h), jnp.full(B, SOS), eos=EOS, max_length=T, size=3, n_best=2
    )
    for b in range(B):
        assert_found(got, b, by_lists(Both, b, 3, T, 2)[0], T)
    assert [a.shape for a in got.seen] == [(T, B, 2, S)] * 2


def test_lower_precision_sums_in_float32():
    """A thousand steps of log-probability -0.25 are -250: bfloat16 would stop where a step is below its rounding."""
    P = jnp.log(jnp.array([np.exp(-0.25), 1e-30, 1 - np.exp(-0.25)], jnp.float32)).astype(jnp.bfloat16)
    flat = lambda carry, tokens: (carry, (jnp.broadcast_to(P, (*tokens.shape, 3)), ()))  # noqa: E731
    got = beam(flat, (), jnp.array([0]), eos=1, max_length=1000, size=1)
    assert got.scores.dtype == jnp.float32 and got.log_probs.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.scores, 1000 * jax.nn.log_softmax(P.astype(jnp.float32))[0], rtol=1e-4)


def test_what_does_not_fit_is_refused():
    step, start = table(np.zeros((6, 6))), jnp.array([2])
    options = {"eos": EOS, "max_length": 3, "size": 2}
    for wrong, message in [
        ({"n_best": 3}, r"n_best must be from 1 to size; got n_best 3 and size 2"),
        ({"coverage_penalty": -1.0}, r"must not be negative; got -1"),
        ({"coverage_penalty": 1.0}, r"needs attention weights .* the step returns \[\]"),
        ({"prefix": np.zeros((4, 1), int)}, r"P at most max_length = 3.*got int64 \(4, 1\)"),
        ({"prefix": np.array([[6]])}, r"prefix: a token id must be from 0 to 5"),
        ({"filters": (forbid(6),)}, r"forbid: a token id must be from 0 to 5"),
    ]:
        with pytest.raises(InputError, match=message):
            beam(step, (), start, **{**options, **wrong})
    with pytest.raises(InputError, match=r"begin with the batch axes of start, \(1,\).* got a leaf of shape \(\)"):
        beam(step, jnp.float32(0), start, **options)
    with pytest.raises(InputError, match=r"beam have no gradient in reverse mode"):
        jax.grad(lambda a: beam(table(a), (), start, **options).scores.sum())(np.eye(6))
    tangent = jax.jvp(lambda a: beam(table(a), (), start, **options).scores, (np.eye(6),), (np.ones((6, 6)),))[1]
    np.testing.assert_allclose(tangent, 0, atol=1e-12)

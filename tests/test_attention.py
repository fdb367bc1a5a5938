"""Every attention: padding gets exactly nothing, nothing is ever NaN, and special cases agree with one another.

Their equations are checked in torch_parity/test_attentions.py, by loops over words; here additive's by one in NumPy.
"""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from test_laws import NEWER

from jaxseq import InputError, decode, unroll
from jaxseq.apps import run_folder
from jaxseq.apps.translate import model as translating, train as translate
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.attention import (
    ATTENTIONS,
    AttentionCarry,
    additive,
    concat,
    coverage,
    coverage_loss,
    dot,
    general,
    local_m,
    local_p,
    location,
    masked_softmax,
    monotonic,
    multi_head,
    positional,
    reading,
    scaled_dot,
    with_attention,
)
from jaxseq.cells import CELLS, gru, gru_cho, lstm
from jaxseq.recurrence import deferred, scan
from jaxseq.seq2seq import translator
from jaxseq.testing import assert_close, assert_same, holes, loop, noisy

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
    _, (context, weights) = additive.attend(params, memory, (), query)
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
        _, (context, weights) = additive.attend(params, additive.remember(params, values, mask), (), query)
        return jnp.sin(context).sum() + (weights**2).sum()

    grads = jax.grad(total, argnums=(0, 1, 2))(params, values, query)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert not np.asarray(grads[1])[~np.asarray(mask)].any()


def test_positional_never_looks_at_the_source():
    its = positional.init(jax.random.key(1), Q, K, 7, dtype=jnp.float64)
    mask = jnp.asarray(np.arange(S)[:, None] < np.array([S, 1, 2]))
    for source in (values, -values):
        memory = positional.remember(its, source, mask)
        _, (context, weights) = positional.attend(its, memory, (), query)
        scores = np.asarray(query @ its.W) + np.asarray(its.b)
        want = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(weights, want, rtol=1e-12)  # over all 7 positions, padding too
        read = np.where(mask[..., None], source, 0)
        np.testing.assert_allclose(context, np.einsum("bs,sbk->bk", want[:, :S], read), rtol=1e-12)


def test_the_context_enters_as_more_input():
    """Bahdanau et al. 2015, A.1.2 and A.2.2: one step of the decoder, put together by hand."""
    for cell in (gru, gru_cho, lstm):
        attending = with_attention(cell, additive)
        its = attending.init(jax.random.key(2), 3, Q, value_size=K, units=A, dtype=jnp.float64)
        memory = additive.remember(its.attention, values)
        reader = reading(attending, memory)
        carry = jax.tree.map(lambda a: a + query, reader.initial_carry(its, (B,)))
        x = jnp.asarray(rng.normal(size=(B, 3)))
        _, (context, _) = additive.attend(its.attention, memory, (), carry.h)
        wide = its.cell._replace(W=jnp.concatenate([its.cell.W, its.C]))
        _, want = cell.step(wide, carry, jnp.concatenate([x, context], axis=-1))
        _, out = reader.step(its, carry, x)
        np.testing.assert_allclose(out.h, want, rtol=1e-12)
        np.testing.assert_allclose(out.context, context, rtol=1e-12)


# --- laws of every attention -----------------------------------------------------------------------------------------

EVERY = {
    **ATTENTIONS,
    "monotonic, hard": monotonic.with_(hard=True),
    "local_m, narrow": local_m.with_(window=1),
}
SOME = ["additive", "location", "monotonic", "multi_head"] if NEWER else []  # of those that Python 3.11 runs
STATEFUL = ["local_m", "location", "coverage", "monotonic"]
STEPS = 3


def read_on(attention, params, queries, values, mask):
    """Contexts ``[T, B, K]`` and weights ``[T, B, S]`` of queries ``[T, B, Q]``, the state passed on; and the state."""
    memory = attention.remember(params, values, mask)
    state, seen = attention.initial_state(params, memory), []
    for one in queries:
        state, (context, weights) = attention.attend(params, memory, state, one)
        seen.append((context, weights))
    contexts, weights = (jnp.stack(a) for a in zip(*seen, strict=True))
    return contexts, weights, state


def drawn(attention, length=S):
    """Params without a zero in them, queries of several steps, and a source."""
    keys = jax.random.split(jax.random.key(5), 4)
    units = 8 if attention is not positional else length
    its = noisy(keys[0], attention.init(keys[1], Q, K, units, dtype=jnp.float64))
    return its, jax.random.normal(keys[2], (STEPS, 4, Q)), jax.random.normal(keys[3], (length, 4, K))


@pytest.mark.parametrize(
    ("name", "side"),
    [(name, "after") for name in EVERY] + [(name, "before") for name in EVERY if name != "positional"],
)  # positional counts positions from the first, padding or not
def test_padding_changes_nothing(name, side):
    """Values and gradients equal those of each sentence alone, with no batch axis; NaN may stand in the padding."""
    attention, lengths = EVERY[name], (5, 0, 2, 1)
    its, queries, source = drawn(attention)
    mask = jnp.arange(S)[:, None] < jnp.asarray(lengths)[None]
    place = {n: slice(n) if side == "after" else slice(S - n, S) for n in lengths}
    if side == "before":
        mask = mask[::-1]

    def padded(its, queries, source):
        source = jnp.where(mask[..., None], source, jnp.full_like(source, jnp.nan))
        contexts, weights, _ = read_on(attention, its, queries, source, mask)
        return contexts, weights if attention is not positional else weights[..., :0]

    def alone(its, queries, source):
        contexts, weights = jnp.zeros((STEPS, 4, K)), jnp.zeros((STEPS, 4, S))
        for b, n in enumerate(lengths):
            if n:
                read, got, _ = read_on(attention, its, queries[:, b], source[place[n], b], None)
                contexts, weights = contexts.at[:, b].set(read), weights.at[:, b, place[n]].set(got[:, :n])
        return contexts, weights if attention is not positional else weights[..., :0]

    assert_same(f"{name}, padded {side}", padded, alone, its, queries, source)
    contexts, weights = padded(its, queries, source)
    assert not np.asarray(contexts[:, 1]).any(), "a source of length 0 has something to read"
    if attention is not positional:
        assert not np.asarray(weights)[:, ~np.asarray(mask).T].any(), "padding gets weight"


@pytest.mark.parametrize("name", EVERY)
def test_weights_sum_to_one(name):
    attention = EVERY[name]
    its, queries, source = drawn(attention)
    _, weights, _ = read_on(attention, its, queries, source, None)
    total = np.asarray(weights.sum(-1))
    assert (np.asarray(weights) >= 0).all() and (total <= 1 + 1e-12).all()
    if name not in ("local_p", "monotonic", "monotonic, hard"):
        np.testing.assert_allclose(total, 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", EVERY)
def test_dtype_is_that_of_the_params(name, dtype):
    attention = EVERY[name]
    its = attention.init(jax.random.key(0), Q, K, 8, dtype=dtype)
    source, one = jnp.ones((S, B, K), dtype), jnp.ones((B, Q), dtype)

    def step():
        memory = attention.remember(its, source, None)
        state = attention.initial_state(its, memory)
        return state, attention.attend(its, memory, state, one)

    first, (state, (context, weights)) = jax.eval_shape(step)
    assert context.dtype == weights.dtype == dtype and context.shape == (B, K)
    described = jax.tree.map(lambda a: (a.shape, a.dtype), (first, state))
    assert described[0] == described[1], "the state's type changes"
    assert all(a.shape[0] == B for a in jax.tree.leaves(first))


@pytest.mark.parametrize("name", SOME or EVERY)
def test_in_a_cell_every_attention_is_driven_as_any_cell(name):
    """The default recurrence against a loop of steps, masked: outputs, final carry, gradients of all that is learnt."""
    attention = EVERY[name]
    cell, keys = with_attention(gru, attention), jax.random.split(jax.random.key(1), 4)
    own = noisy(keys[0], cell.init(keys[1], 2, 3, value_size=6, units=8, dtype=jnp.float64))
    source, real = jax.random.normal(keys[2], (S, 2, 6)), jnp.arange(S)[:, None] < jnp.array([[5, 3]])
    xs, mask = jax.random.normal(keys[3], (3, 2, 2)), holes(3, (2,)).at[:2, 0].set(True)

    def driven(run):
        def outcome(cell_params, attention_params, C, source, xs):
            memory = attention.remember(attention_params, source, real)
            its = own._replace(cell=cell_params, attention=attention_params, C=C)
            reader = reading(cell, memory)
            return run(reader, its, xs, reader.initial_carry(its, (2,)), mask=mask)

        return outcome

    assert_same(name, driven(unroll), driven(loop), own.cell, own.attention, own.C, source, xs)


# --- the state in the carry ------------------------------------------------------------------------------------------


def test_the_carry_is_the_cells_own_where_there_is_no_state():
    for attention in ATTENTIONS.values():
        cell = with_attention(lstm, attention)
        its = cell.init(jax.random.key(0), 3, Q, value_size=K, units=8, dtype=jnp.float64)
        reader = reading(cell, cell.remember(its, values))
        carry = reader.initial_carry(its, (B,))
        stateful = attention.name in STATEFUL
        assert isinstance(carry, AttentionCarry) == stateful and carry.h.shape == (B, Q)
        new, _ = reader.step(its, carry, jnp.ones((B, 3)))
        assert isinstance(new, AttentionCarry) == stateful
        if stateful:
            unbatched = reading(cell, cell.remember(its, values[:, 0]))
            assert jax.tree.map(jnp.shape, unbatched.initial_carry(its, (B,))) == jax.tree.map(jnp.shape, carry)
            with pytest.raises(InputError, match=rf"{attention.name} attention: the source has the batch axes \(3,\)"):
                reader.initial_carry(its, (B + 1,))


@pytest.mark.parametrize("name", [*STATEFUL, "monotonic, hard"])
def test_decoding_carries_the_state(name):
    """What greedy decoding and sampling saw at each step is what the whole target, fed back, sees."""
    model = translator(gru, EVERY[name])
    its = noisy(jax.random.key(3), model.init(jax.random.key(0), 9, 7, embedding=4, hidden=4, dtype=jnp.float64))
    source = jnp.asarray([[3, 4, 5, 6, 2], [5, 2, 0, 0, 0]]).T

    @jax.jit
    def outcomes(its):
        encoded, start, both = model.encode(its, source, source != 0), jnp.ones(2, int), []
        step, options = model.step(its, encoded), {"eos": -1, "max_length": 5}
        for out in (
            decode.greedy(step, encoded.carry, start, **options),
            decode.sample(step, encoded.carry, start, key=jax.random.key(1), **options),
        ):
            inputs = jnp.concatenate([start[None], out.tokens[:-1].astype(start.dtype)])
            _, (logits, weights) = model.decode(its, encoded, inputs)
            both += [(out.seen, weights), (out.log_probs, log_prob(logits, out.tokens))]
        free = model.decode(its, encoded, jnp.ones((5, 2), int), jnp.zeros((5, 2), bool))[1][1]
        return [*both, (decode.greedy(step, encoded.carry, start, **options).seen, free)]

    for got, want in outcomes(its):
        assert_close(name, got, want)


def log_prob(logits, tokens):
    return jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], axis=-1)[..., 0]


# --- one attention as a special case of another ----------------------------------------------------------------------


def same(one, its, other, others):
    queries, source = drawn(additive)[1:]
    mask = jnp.arange(S)[:, None] < jnp.array([[5, 0, 2, 1]])
    got, want = read_on(one, its, queries, source, mask), read_on(other, others, queries, source, mask)
    assert_close(f"{one.name} as {other.name}", got[:2], want[:2])


def test_special_cases():
    p, its = drawn(additive)[0], drawn(location)[0]
    same(concat, drawn(concat)[0]._replace(W=jnp.concatenate([p.W, p.U]), v=p.v), additive, p)
    plain = {"W": p.W, "U": p.U, "v": p.v, "b": jnp.zeros_like(p.v)}
    same(location, its._replace(**plain, L=jnp.zeros_like(its.L)), additive, p)
    same(coverage, drawn(coverage)[0]._replace(**plain, w=jnp.zeros_like(p.v)), additive, p)
    g = drawn(general)[0]
    same(local_m, g, general, g)  # the window is wider than the source
    same(general, g._replace(W=jnp.concatenate([jnp.eye(Q)] * 2, axis=1)), dot, ())
    one = drawn(multi_head)[0]._replace(
        W=jnp.concatenate([jnp.eye(Q)] * 2, 1)[:, None],
        U=jnp.eye(K)[:, None],
        V=jnp.eye(K)[:, None],
        O=jnp.eye(K)[None],
    )
    same(multi_head, one, scaled_dot, ())


def test_local_attention_looks_nowhere_else():
    narrow = local_m.with_(window=1)
    its, queries, source = drawn(narrow, length=3)
    _, weights, _ = read_on(narrow, its, jnp.concatenate([queries, queries]), source, None)
    want = [[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1]] + 2 * [[0, 0, 0]]  # then the source is behind
    np.testing.assert_array_equal(np.asarray(weights > 0), np.asarray(want, bool)[:, None].repeat(4, 1))


def test_coverage_loss():
    a = np.random.default_rng(2).dirichlet(np.ones(S), (4, B))
    want = [[sum(min(a[t, b, j], a[:t, b, j].sum()) for j in range(S)) for b in range(B)] for t in range(4)]
    np.testing.assert_allclose(coverage_loss(jnp.asarray(a)), want, rtol=1e-12)


# --- monotonic attention as the process that it is -------------------------------------------------------------------


def walk(z):
    """Algorithm 1 of Raffel et al.: where each output step stops, given which words would stop it; None for nowhere."""
    at, stops = 0, []
    for row in z:
        while at is not None and not row[at]:
            at = at + 1 if at + 1 < len(row) else None
        stops.append(at)
    return stops


def chances(its, queries, source):
    """p of every step and word, ``[T, S]``, from the equations."""
    W, U, b, v, g, r = (np.asarray(a) for a in its)
    e = [
        [g * (v / np.sqrt((v**2).sum())) @ np.tanh(s @ W + h @ U + b) + r for h in source] for s in np.asarray(queries)
    ]
    return 1 / (1 + np.exp(-np.asarray(e)))


def test_monotonic_is_the_expectation_of_its_walks():
    """All 2^(T S) outcomes of stopping or not, each with its probability."""
    its, queries, source = drawn(monotonic, length=3)
    p = chances(its, queries[:, 0], np.asarray(source[:, 0]))
    want = np.zeros((STEPS, 3))
    for outcome in itertools.product([0, 1], repeat=STEPS * 3):
        z = np.reshape(outcome, (STEPS, 3))
        probability = np.where(z, p, 1 - p).prod()
        for t, at in enumerate(walk(z)):
            if at is not None:
                want[t, at] += probability
    contexts, weights, _ = read_on(monotonic, its, queries[:, 0], source[:, 0], None)
    np.testing.assert_allclose(weights, want, rtol=1e-12)
    np.testing.assert_allclose(contexts, want @ np.asarray(source[:, 0]), rtol=1e-12)


@pytest.mark.parametrize("r", [-1.0, 0.0, 0.5])
def test_hard_decoding_is_the_limit_of_the_expectation(r):
    its, queries, source = drawn(monotonic)
    its = its._replace(r=jnp.asarray(r), g=jnp.asarray(2.0))
    sharp = its._replace(r=its.r * 1e6, g=its.g * 1e6)
    _, weights, _ = read_on(monotonic.with_(hard=True), its, queries, source, None)
    np.testing.assert_allclose(weights, read_on(monotonic, sharp, queries, source, None)[1], atol=1e-12)
    for b in range(4):
        stops = walk(chances(its, queries[:, b], np.asarray(source[:, b])) > 0.5)
        want = np.stack([np.arange(S) == (-1 if at is None else at) for at in stops])
        np.testing.assert_array_equal(weights[:, b], want)


# --- sizes and options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: dot.init(jax.random.key(0), 2, 3, 4),
            r"dot attention: .*or a multiple; got 3 and 2.*general takes any",
        ),
        (
            lambda: multi_head.with_(heads=3).init(jax.random.key(0), 2, 3, 4),
            r"units must be a multiple of the 3 heads; got 4",
        ),
        (lambda: multi_head.with_(heads=0), r"at least 1 head, got 0"),
        (lambda: local_m.with_(window=0), r"local_m attention: the window must be at least 1 position.*got 0"),
        (lambda: local_p.with_(window=0), r"local_p attention: the window must be"),
        (lambda: location.with_(width=4), r"of an odd width; got 10 of width 4"),
    ],
)
def test_what_cannot_be(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_heads_by_default():
    sizes = {units: multi_head.init(jax.random.key(0), 2, 3, units).W.shape for units in (192, 12, 6, 5, 1)}
    assert sizes == {192: (2, 8, 24), 12: (2, 4, 3), 6: (2, 2, 3), 5: (2, 1, 5), 1: (2, 1, 1)}


def test_a_run_from_before_there_was_a_choice_is_additive(tmp_path):
    path = run_folder.create(tmp_path / "run", translate.KIND, TranslateConfig())
    about = json.loads((path / run_folder.CONFIG).read_text())
    del about["config"]["attention"]
    about["format"] = 1
    (path / run_folder.CONFIG).write_text(json.dumps(about))
    assert run_folder.read_config(path, translate.KIND, TranslateConfig) == TranslateConfig(attention="additive")


@pytest.mark.parametrize("name", SOME or [name for name in ATTENTIONS if name != "positional"])
def test_every_attention_trains_and_translates(name, tmp_path, in_every_thread):
    subjects, verbs = {"我": "i", "你": "you", "他": "he"}, {"看": "see", "听": "hear", "找": "seek"}
    pairs = [f"{who} {does}\t{subject}{verb}" for subject, who in subjects.items() for verb, does in verbs.items()]
    (tmp_path / "pairs.tsv").write_text("\n".join(pairs), encoding="utf-8")
    config = TranslateConfig(
        data=str(tmp_path / "pairs.tsv"), attention=name, embedding=4, hidden=4, steps=12, report_every=6, batch=4,
        buckets=1, validation=0.0, learning_rate=0.02, warmup=0, dropout=0.0, label_smoothing=0.0,
    )  # fmt: skip
    reports = translate.train(config, tmp_path / "run").reports
    assert reports[-1].loss < reports[0].loss
    (done,) = translating.load(tmp_path / "run").translate(["我看"])
    assert done.weights.shape == (len(done.target_tokens), 3) and np.isfinite(done.weights).all()


def test_hyphens_are_read_as_underscores() -> None:
    """As people type options, and as runs were saved before."""
    assert TranslateConfig(attention="multi-head") == TranslateConfig(attention="multi_head")
    TranslateConfig(attention="local-m").check()


def test_not_around_what_takes_times_or_has_no_h() -> None:
    for other in ("phased_lstm", "conv_lstm", "gru_d"):
        with pytest.raises(InputError, match=f"those of {other} are not, or its input is more than an array"):
            with_attention(CELLS[other], additive).init(jax.random.key(0), 3, 5, value_size=4, units=6)


def test_a_source_without_positions_has_a_gradient() -> None:
    cell = with_attention(gru, additive)
    params = cell.init(jax.random.key(0), 3, 4, value_size=3, units=2, dtype=jnp.float64)

    def loss(params, recurrence):
        reader = reading(cell, cell.remember(params, jnp.ones((0, 2, 3))))
        outs = unroll(reader, params, jnp.ones((3, 2, 3)), recurrence=recurrence)[1]
        return sum((a**2).sum() for a in jax.tree.leaves(outs))

    assert_close("S = 0", jax.grad(loss)(params, deferred), jax.grad(loss)(params, scan))

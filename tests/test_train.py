"""Training: a chunk equals optax steps one by one, order is a function of the seed, stopping and saving as promised."""

import math
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, strategies as st

from jaxseq import InputError, checkpoint, order
from jaxseq.losses import masked_mean
from jaxseq.optimizers import on_plateau, scale_of
from jaxseq.records import Metrics
from jaxseq.train import Interrupted, Listener, NonFiniteError, Record, TrainState, chunk, fit, optimizer

rng = np.random.default_rng(0)
DATA = jnp.asarray(rng.normal(size=(20, 3))), jnp.asarray(rng.normal(size=20))
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def promotion():
    """Allow promotion: optax multiplies its own step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def loss(params, data, rows, key, step):
    """Linear regression with noisy inputs, so that key and step matter."""
    x, y = data[0][rows], data[1][rows]
    x = x + 0.1 * jax.random.normal(key, x.shape, x.dtype)
    value = jnp.mean((x @ params["w"] - y) ** 2) + 1e-3 * step.astype(jnp.float64)
    return value, (value, jnp.asarray(rows.size))


def start(optimise, ema=False):
    return TrainState.create({"w": jnp.zeros(3)}, optimise, ema=ema)


def train(steps, state=None, record=Record(), optimise=None, **options):  # noqa: B008
    optimise = optimise or optimizer("adam", 0.1)
    state = state or start(optimise, "ema" in options)
    ema = options.pop("ema", 0.0)
    run = options.pop("run", None) or chunk(options.pop("loss", loss), optimise, ema=ema)
    stream = order.chunks([20], 4, 5, seed=1, start=int(state.step) // 5)
    options = {"report_every": 10, **options}
    return fit(
        state, lambda s, _, rows: run(s, DATA, jnp.asarray(rows), KEY), stream, steps=steps, record=record, **options
    )


def test_a_chunk_is_optax_step_by_step():
    optimise = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1))
    rows = next(order.chunks([20], 4, 5, seed=1))[1]
    state, seen = chunk(loss, optimizer("adam", 0.1, clip=0.5))(start(optimise), DATA, jnp.asarray(rows), KEY)
    params, opt_state = {"w": jnp.zeros(3)}, optimise.init({"w": jnp.zeros(3)})
    for n, batch in enumerate(rows):
        key = jax.random.fold_in(KEY, jnp.int32(n))
        (value, _), grads = jax.value_and_grad(loss, has_aux=True)(params, DATA, batch, key, jnp.int32(n))
        updates, opt_state = optimise.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(seen.loss[n], value, rtol=1e-12)
        np.testing.assert_allclose(seen.gradient_norm[n], optax.tree.norm(grads), rtol=1e-12)
    np.testing.assert_allclose(state.params["w"], params["w"], rtol=1e-10)
    assert int(state.step) == 5 and seen.tokens.tolist() == [4] * 5


def test_tied_parameters_are_refused_by_name():
    tied = jnp.ones(3)
    with pytest.raises(InputError, match=r"params\['embed'\] and params\['out'\]\[0\] are the same array"):
        TrainState.create({"embed": tied, "out": (tied, jnp.ones(2))}, optimizer("adam", 0.1))
    apart = TrainState.create({"embed": tied, "out": (jnp.copy(tied), 2, 2)}, optimizer("sgd", 0.1))
    assert jax.jit(lambda state: state, donate_argnums=0)(apart).params["out"][0].shape == (3,)


def test_a_stop_a_save_and_a_resume_change_no_bit(tmp_path):
    whole, record = train(40)
    half, half_ledger = train(20)
    checkpoint.save(tmp_path / "half.safetensors", half)
    again = checkpoint.load(tmp_path / "half.safetensors", start(optimizer("adam", 0.1)))
    resumed, resumed_ledger = train(40, again, half_ledger)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    assert resumed_ledger._replace(elapsed=0) == record._replace(elapsed=0)


def test_reports_count_what_happened():
    reports = []

    class Ears(Listener):
        def report(self, report):
            reports.append(report)

    train(30, validate=lambda params: float(params["w"].sum()), listener=Ears())
    assert [r.step for r in reports] == [10, 20, 30]
    assert all(r.tokens_per_second > 0 and r.gradient_norm > 0 and math.isfinite(r.loss) for r in reports)
    assert reports[0].elapsed < reports[1].elapsed < reports[2].elapsed


def test_early_stopping_keeps_the_best():
    losses = iter([3.0, 2.0, 2.5, 2.1, 1.0])
    saved = []
    _, record = train(
        100, validate=lambda _: next(losses), patience=2, save=lambda s, record, r, best: saved.append((r.step, best))
    )
    assert saved == [(10, True), (20, True), (30, False), (40, False)]
    assert (record.best, record.best_step, record.stale) == (2.0, 20, 2)


def test_a_loss_that_is_no_number_stops_before_it_is_saved():
    def bad(params, data, rows, key, step):
        value, (_, tokens) = loss(params, data, rows, key, step)
        value = value * jnp.where(step == 12, jnp.nan, 1.0)
        return value, (value, tokens)

    saved = []
    with pytest.raises(NonFiniteError, match=r"at step 13 .*of step 10 is kept.*lower learning rate.*--clip 1"):
        train(40, loss=bad, save=lambda s, record, r, best: saved.append(r.step))
    assert saved == [10]


@pytest.mark.parametrize("ema", [{}, {"ema": 0.9}])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_parameters_that_are_no_numbers_are_never_saved(bad, ema):
    """The last update before a report breaks them: the loss and the gradient of its step are finite."""

    def update(updates, count, params=None):
        return jax.tree.map(lambda a: jnp.where(count == 19, bad, a), updates), count + 1

    breaks = optax.chain(optimizer("sgd", 0.01), optax.GradientTransformation(lambda _: jnp.int32(0), update))
    saved, validated = [], []
    with pytest.raises(NonFiniteError, match=r"after step 20 parameters are not finite, the first in .*w.*step 10 is"):
        train(
            40, optimise=breaks, save=lambda s, record, r, best: saved.append(int(s.step)),
            validate=lambda _: validated.append(1) or 1.0, **ema,
        )  # fmt: skip
    assert saved == [10] and validated == [1]


def test_parameters_are_checked_when_ctrl_c_saves_between_two_reports():
    def update(updates, count, params=None):
        return jax.tree.map(lambda a: jnp.where(count == 4, jnp.nan, a), updates), count + 1

    breaks, saved = optax.GradientTransformation(lambda _: jnp.int32(0), update), []
    with pytest.raises(NonFiniteError, match=r"after step 5 parameters are not finite.*Nothing was saved yet"):
        train(40, optimise=breaks, listener=Stop(5), save=lambda *given: saved.append(given))
    assert not saved


class Stop(Listener):
    """Presses Ctrl-C after some steps."""

    def __init__(self, at):
        self.at = at

    def advance(self, steps, loss):
        self.at -= steps
        if self.at <= 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("found", [math.inf, math.nan])
def test_a_validation_loss_that_is_no_number_is_no_best(found):
    losses, saved = iter([2.0, found]), []
    with pytest.raises(NonFiniteError, match=f"after step 20 the validation loss is {found}. The check"):
        train(40, validate=lambda _: next(losses), save=lambda s, record, r, best: saved.append((r.step, best)))
    assert saved == [(10, True)]


def test_ctrl_c_finishes_the_chunk_and_saves():
    class Impatient(Listener):
        def advance(self, steps, loss):
            os.kill(os.getpid(), signal.SIGINT)

    saved = []
    with pytest.raises(Interrupted, match="stopped at step 5 of 40"):
        train(40, listener=Impatient(), save=lambda s, record, r, best: saved.append((int(s.step), r, best)))
    assert saved == [(5, None, False)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # given back


class Stops(Listener):
    """Presses Ctrl-C at some steps, and keeps what it hears."""

    def __init__(self, *at):
        self.at, self.done, self.heard = at, 0, []

    def started(self, steps, done):
        self.done = done

    def advance(self, steps, loss):
        self.done += steps
        if self.done in self.at:
            signal.raise_signal(signal.SIGINT)

    def report(self, metrics):
        self.heard.append(metrics)


EXACT = {"ema and plateau": {"ema": 0.9, "schedule": "plateau"}, "patience": {"patience": 3}}


@pytest.mark.parametrize("option", EXACT)
@pytest.mark.parametrize("at", [(10,), (5, 25, 35)])
def test_ctrl_c_anywhere_and_a_resume_change_no_bit(option, at, tmp_path):
    """Also between reports: a report there would count as one that got no better."""
    given, path = dict(EXACT[option]), tmp_path / "last.safetensors"
    schedule = given.pop("schedule", "constant")
    ema = given.get("ema", 0.0)
    optimise, validated = optimizer("adam", 0.1, schedule=schedule), {10: 3.0, 20: 4.0, 30: 5.0, 40: 3.5, 50: 2.0}
    run = chunk(loss, optimise, ema=ema)

    def trained(listener, state=None, record=Record()):  # noqa: B008
        steps_of = {}

        def save(state, record, metrics, best):
            checkpoint.save(path, state, ledger=record._asdict())

        def candidate(state):
            steps_of["now"] = int(state.step)
            return state.validated

        listener.started(50, 0 if state is None else int(state.step))
        lower = on_plateau(1, 0.5) if schedule == "plateau" else lambda opt_state, _: opt_state
        return train(
            50, state, record, optimise, candidate=candidate, validate=lambda _: validated[steps_of["now"]], save=save,
            adapt=lower, listener=listener, run=run, **given,
        )  # fmt: skip

    whole = Stops()
    want, record = trained(whole)
    parts, state, ledger = Stops(*at), None, Record()
    for _ in at:
        with pytest.raises(Interrupted):
            trained(parts, state, ledger)
        like = start(optimise, ema > 0)
        state, ledger = checkpoint.load(path, like), Record.of(checkpoint.facts(path)["ledger"])
    got, resumed = trained(parts, state, ledger)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert resumed._replace(elapsed=0) == record._replace(elapsed=0)
    steady = [(m.step, m.loss, m.validation_loss, m.gradient_norm) for m in whole.heard]
    assert steady == [(m.step, m.loss, m.validation_loss, m.gradient_norm) for m in parts.heard]
    assert int(want.step) == (40 if option == "patience" else 50)
    assert float(scale_of(want.opt_state)) == (0.125 if schedule == "plateau" else 1.0)


def test_a_moving_average_is_its_equation_and_is_what_is_validated():
    seen, validated = [], []
    decay = 0.7
    state, _ = train(
        40, ema=decay, report_every=5, validate=lambda p: validated.append(np.array(p["w"])) or 1.0,
        candidate=lambda s: seen.append(np.array(s.params["w"])) or s.validated,
    )  # fmt: skip
    one_by_one, params = [], start(optimizer("adam", 0.1), True)
    run, stream = chunk(loss, optimizer("adam", 0.1), ema=decay), order.chunks([20], 4, 5, seed=1)
    for _ in range(8):
        for row in next(stream)[1]:
            params, _ = run(params, DATA, jnp.asarray(row[None]), KEY)
            one_by_one.append(np.array(params.params["w"]))
    average, early = one_by_one[0], []
    for t, w in enumerate(one_by_one, 1):
        d = min(decay, (1 - 1 / t) ** 7.94)
        average = d * average + (1 - d) * w
        early.append(average)
    np.testing.assert_allclose(state.ema["w"], average, rtol=1e-9)
    np.testing.assert_allclose(validated, early[4::5], rtol=1e-9)
    np.testing.assert_allclose(seen, one_by_one[4::5], rtol=1e-9)
    assert np.abs(early[0] - one_by_one[0]).max() == 0 and np.abs(average - w).max() > 1e-3
    np.testing.assert_allclose(train(40)[0].params["w"], state.params["w"], rtol=1e-12)  # trained as without


@pytest.mark.parametrize("by_tokens", [True, False])
def test_accumulated_steps_are_steps_of_a_batch_so_many_times_as_large(by_tokens):
    """Parts have different numbers of tokens, one has none: a mean of their means would be another number."""
    lengths = jnp.asarray([0, 0, 5, 1, 2, 4, 3, 1, 1, 2, 5, 5])
    data = jnp.asarray(rng.normal(size=(12, 5))), jnp.asarray(rng.normal(size=(12, 5)))

    def of_tokens(params, data, rows, key, step):
        x, y = data[0][rows], data[1][rows]
        real = jnp.arange(5)[None] < lengths[rows][:, None]
        errors = (jnp.tanh(x * params["w"][None]) - y) ** 2
        value = masked_mean(errors, real) if by_tokens else jnp.where(real, errors, 0).sum(1).mean()
        return value, (value, real.sum())

    rows = jnp.asarray([np.arange(12), [4, 7, 8, 1, 10, 2, 3, 9, 5, 0, 6, 11]])
    optimise, results = optimizer("adam", 0.1, clip=0.1), []
    for parts in (1, 2, 6):
        state = TrainState.create({"w": jnp.ones(5)}, optimise)
        run = chunk(of_tokens, optimise, accumulate=parts, by_tokens=by_tokens)
        results.append(run(state, data, rows, KEY))
    for state, steps in results[1:]:
        np.testing.assert_allclose(state.params["w"], results[0][0].params["w"], rtol=1e-10)
        for got, want in zip(steps, results[0][1], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10)


def test_parts_of_a_step_have_noise_of_their_own():
    rows, params = jnp.arange(8), {"w": jnp.ones(3)}
    optimise = optimizer("sgd", 0.1)
    state, _ = chunk(loss, optimise, accumulate=2)(TrainState.create(params, optimise), DATA, rows[None], KEY)
    step_key = jax.random.fold_in(KEY, jnp.int32(0))
    grads = [
        jax.grad(lambda p, n=n: loss(p, DATA, rows[4 * n :][:4], jax.random.fold_in(step_key, n), jnp.int32(0))[0])(
            {"w": jnp.ones(3)}
        )["w"]
        for n in (0, 1)
    ]
    np.testing.assert_allclose(state.params["w"], 1 - 0.1 * (grads[0] + grads[1]) / 2, rtol=1e-10)


def test_reports_carry_what_is_measured_and_may_be_judged_by_it():
    bleu, heard = iter([10.0, 30.0, 20.0]), []

    class Ears(Listener):
        def report(self, metrics):
            heard.append(metrics)

    _, record = train(
        30, validate=lambda _: 1.0, measure=lambda metrics, state, params: {"bleu": next(bleu), "at": metrics.step},
        judge=lambda metrics: -metrics.more["bleu"], listener=Ears(),
    )  # fmt: skip
    assert (record.best, record.best_step, record.stale) == (-30.0, 20, 1)
    assert [m.more for m in heard] == [{"bleu": b, "at": n} for b, n in ((10, 10), (30, 20), (20, 30))]
    assert heard[0].flat()["bleu"] == 10 and "more" not in heard[0].flat()
    assert Metrics.of(heard[0].flat()) == heard[0]


def test_the_learning_rate_warms_up_and_falls():
    state = start(sgd := optimizer("sgd", 1.0, schedule="cosine", warmup=4, steps=10))
    sizes = []
    for _ in range(10):
        updates, opt_state = sgd.update({"w": jnp.ones(3)}, state.opt_state, state.params)
        state = state._replace(opt_state=opt_state)
        sizes.append(-float(updates["w"][0]))
    np.testing.assert_allclose(sizes[:5], [0, 0.25, 0.5, 0.75, 1.0], atol=1e-6)
    assert sizes[4:] == sorted(sizes[4:], reverse=True) and sizes[-1] < 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("adam", -1.0), "expected a number above 0, got -1.0"),
        (("adam", math.nan), "expected a number above 0, got nan"),
        (("adma", 0.1), "unknown optimizer 'adma': did you mean 'adam'"),
    ],
)
def test_optimizers_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=message):
        optimizer(*arguments)


# --- the order of the data -------------------------------------------------------------------------------------------

sizes = st.lists(st.integers(1, 30), min_size=1, max_size=3)


def some(sizes, batch, steps, seed, start, count, **options):
    stream = order.chunks(sizes, batch, steps, seed, start=start, **options)
    return [next(stream) for _ in range(count)]


@given(sizes, st.integers(1, 7), st.integers(1, 4), st.integers(0, 9), st.integers(0, 6), st.booleans())
def test_starting_late_is_skipping(sizes, batch, steps, seed, start, replacement):
    whole = some(sizes, batch, steps, seed, 0, start + 3, replacement=replacement)[start:]
    late = some(sizes, batch, steps, seed, start, 3, replacement=replacement)
    for (a, rows), (b, same) in zip(whole, late, strict=True):
        assert a == b and rows.dtype == np.int32 and rows.shape == (steps, batch)
        np.testing.assert_array_equal(rows, same)


@given(sizes, st.integers(1, 7), st.integers(1, 4), st.integers(0, 9))
def test_each_example_is_seen_once_before_any_twice(sizes, batch, steps, seed):
    seen = [[] for _ in sizes]
    for bucket, rows in some(sizes, batch, steps, seed, 0, 40):
        seen[bucket].extend(rows.ravel().tolist())
    for size, rows in zip(sizes, seen, strict=True):
        for epoch in range(len(rows) // size):
            assert sorted(rows[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_buckets_get_their_share():
    counts = np.bincount([b for b, _ in some([100, 300, 600], 10, 2, 0, 0, 100)])
    assert counts.tolist() == [10, 30, 60]


def test_another_seed_is_another_order():
    a, b = (np.concatenate([r.ravel() for _, r in some([50], 5, 2, seed, 0, 5)]) for seed in (0, 1))
    assert (a != b).any()


@given(st.integers(1, 3000), st.integers(1, 500), st.integers(1, 50))
def test_chunks_divide_both(steps, report_every, most):
    length = order.chunk_length(steps, report_every, most)
    assert steps % length == report_every % length == 0 and length <= most

"""Losses against NumPy loops and optax, and nothing on padding matters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from jaxseq import InputError, forcing, losses, problems, regularisers
from jaxseq.jaxprs import equations

T, B, V = 5, 3, 7
rng = np.random.default_rng(0)
logits, targets = jnp.asarray(rng.normal(size=(T, B, V)) * 3), jnp.asarray(rng.integers(0, V, (T, B)))
masks = arrays(bool, (T, B))


def test_cross_entropy_equals_optax():
    np.testing.assert_allclose(
        losses.cross_entropy(logits, targets),
        optax.softmax_cross_entropy_with_integer_labels(logits, targets),
        rtol=1e-12,
    )
    for e in (0.1, 0.5):
        smooth = optax.smooth_labels(jax.nn.one_hot(targets, V), e)
        np.testing.assert_allclose(
            losses.cross_entropy(logits, targets, e), optax.softmax_cross_entropy(logits, smooth), rtol=1e-12
        )


@given(masks)
def test_masked_mean_is_over_real_tokens_even_beside_nan(mask):
    each = losses.cross_entropy(logits, targets)
    spoilt = jnp.where(mask, each, jnp.full_like(each, jnp.nan))
    value, grads = jax.value_and_grad(lambda a: losses.masked_mean(a, jnp.asarray(mask)))(spoilt)
    want = np.asarray(each)[mask].mean() if mask.any() else 0.0
    np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(grads, mask / max(mask.sum(), 1), rtol=1e-12)


@given(masks, st.integers(0, V - 1))
def test_until_own_eos_is_the_tutorials_break(forced, eos):
    got = np.asarray(losses.until_own_eos(logits, jnp.asarray(forced), eos))
    for b in range(B):
        alive = True
        for t in range(T):
            assert got[t, b] == alive
            alive = alive and not (int(logits[t, b].argmax()) == eos and not forced[t, b])


@given(masks, masks)
def test_per_sentence_divides_by_the_full_length(counted, mask):
    each = np.asarray(losses.cross_entropy(logits, targets))
    minimised, reported = losses.per_sentence(jnp.asarray(each), jnp.asarray(counted), jnp.asarray(mask))
    sums = [each[:, b][counted[:, b] & mask[:, b]].sum() for b in range(B)]
    np.testing.assert_allclose(minimised, np.mean(sums), rtol=1e-12)
    np.testing.assert_allclose(
        reported, np.mean([s / max(mask[:, b].sum(), 1) for b, s in enumerate(sums)]), rtol=1e-12
    )


def test_mean_squared_error():
    a, b = rng.normal(size=(2, 4, 3))
    np.testing.assert_allclose(losses.mean_squared_error(jnp.asarray(a), jnp.asarray(b)), ((a - b) ** 2).mean())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
def test_half_precision_is_summed_in_float32(dtype):
    """Each value is that of the same numbers in float64, rounded once."""
    size, once = 3000, float(jnp.finfo(dtype).eps) / 2
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)  # noqa: E731
    wide = lambda a: np.asarray(a, np.float64)  # noqa: E731
    close = lambda got, want: (  # noqa: E731
        np.testing.assert_allclose(wide(got), want, rtol=1.01 * once),
        np.testing.assert_equal(np.dtype(got.dtype), np.dtype(dtype)),
    )
    logits, targets = draw(size, 2, 50), jnp.asarray(rng.integers(0, 50, (size, 2)))
    for e in (0.0, 0.1):
        close(losses.cross_entropy(logits, targets, e), losses.cross_entropy(wide(logits), targets, e))
    each, mask = jnp.abs(draw(size, 2)), jnp.asarray(rng.random((size, 2)) < 0.9)
    close(losses.masked_mean(each, mask), wide(each)[np.asarray(mask)].mean())
    weighed = [wide(a) for a in losses.per_sentence(each[:90], mask[:90], mask[:90])]
    np.testing.assert_allclose(weighed, losses.per_sentence(wide(each[:90]), mask[:90], mask[:90]), rtol=1.01 * once)
    close(losses.mean_squared_error(each, each[::-1]), ((wide(each) - wide(each)[::-1]) ** 2).mean())
    ones, near = (
        jnp.ones(size, dtype),
        jnp.full(size, 1.5 * once, dtype),
    )  # a difference that has no half-precision form
    want = jnp.asarray(((1 - wide(near)) ** 2).mean(), dtype)
    assert losses.mean_squared_error(ones, near) == want
    real = mask[:, :1]
    close(
        regularisers.activation_penalty(each[:, None], real), regularisers.activation_penalty(wide(each)[:, None], real)
    )
    task = problems.copy(2, length=2, symbols=4)
    batch = task.draw(jax.random.key(0), 257)
    outputs = jax.nn.one_hot(batch.targets, 4, dtype=dtype).at[-1, 0].multiply(-1)
    close(task.accuracy(outputs, batch), 1 - 1 / (2 * 257))


def test_a_target_that_is_no_token_is_refused_where_it_is_known():
    wrong = targets.at[2, 1].set(V)
    with pytest.raises(InputError, match=rf"targets: .* from 0 to {V - 1}, .* vocabulary of {V}; got {V} at \[2, 1\]"):
        losses.cross_entropy(logits, wrong)
    with pytest.raises(InputError, match=r"got -1 at \[0, 0\]"):
        losses.cross_entropy(logits, np.asarray(targets.at[0, 0].set(-1)))
    got = jax.jit(losses.cross_entropy)(logits, wrong)
    assert jnp.isnan(got).sum() == 1 and jnp.isnan(got[2, 1])


def test_schedules_of_teacher_forcing():
    at = lambda schedule, step: float(schedule(jnp.int32(step)))  # noqa: E731
    constant = forcing.schedule("constant", 0.5)
    assert at(constant, 0) == at(constant, 10**6) == 0.5
    linear = forcing.schedule("linear", 0.9, 0.1, 100)
    np.testing.assert_allclose([at(linear, s) for s in (0, 25, 100, 10**6)], [0.9, 0.7, 0.1, 0.1], rtol=1e-6)
    sigmoid = forcing.schedule("inverse-sigmoid", 1.0, 0.0, 1000)
    k = 107.00128942808259  # k ln k = 500
    for step in (0, 100, 500, 1000):
        np.testing.assert_allclose(at(sigmoid, step), k / (k + np.exp(step / k)), rtol=1e-5)
    np.testing.assert_allclose(at(sigmoid, 500), 0.5, rtol=1e-5)
    assert 0 <= at(sigmoid, 10**7) < 1e-6


def test_forcing_is_drawn_per_step_or_per_sequence():
    key = jax.random.key(0)
    by_step = np.asarray(forcing.draw(key, jnp.float32(0.3), (200, 100)))
    by_row = np.asarray(forcing.draw(key, jnp.float32(0.3), (200, 100), "sequence"))
    assert abs(by_step.mean() - 0.3) < 0.02 and by_step.any(0).all()
    assert (by_row == by_row[0]).all() and 0.1 < by_row[0].mean() < 0.5


def an_output_layer(V: int = 6):
    keys = jax.random.split(jax.random.key(3), 4)
    shapes = ((7, 3, 4), (4, V), (V,))
    layer = [jax.random.normal(k, shape, jnp.float64) for k, shape in zip(keys[:3], shapes, strict=True)]
    return *layer, jax.random.randint(keys[3], (7, 3), 0, V)


@pytest.mark.parametrize("block", [1, 3, 7, None])
def test_blocks_of_steps_have_the_loss_and_gradient_of_the_whole(block):
    *layer, words = an_output_layer()

    def whole(x, W, b):
        logits = x @ W + b[None, None]
        return losses.cross_entropy(logits, words, 0.2), losses.cross_entropy(logits, words)

    def blocks(x, W, b):
        return losses.output_loss(x, W, b, words, 0.2, block)

    for got, want in zip(blocks(*layer), whole(*layer), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    pull = lambda loss: jax.grad(lambda *a: (loss(*a)[0] ** 2).sum() + loss(*a)[1].sum(), (0, 1, 2))(*layer)  # noqa: E731
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), pull(blocks), pull(whole))
    with pytest.raises(InputError, match="output_loss: targets"):
        losses.output_loss(*layer, words.at[0, 0].set(6), block=block)


def test_logits_of_a_large_vocabulary_are_never_held_at_once():
    T, B, F, V = 24, 16, 4, 40_000
    like = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((T, B, F), (F, V), (V,))]
    words = jax.ShapeDtypeStruct((T, B), jnp.int32)
    gradient = jax.grad(lambda x, W, b, t: losses.output_loss(x, W, b, t)[0].sum(), (0, 1, 2))
    shapes = {out.aval.shape for eqn in equations(jax.make_jaxpr(gradient)(*like, words).jaxpr) for out in eqn.outvars}
    assert max(np.prod(shape) for shape in shapes if shape) <= losses.BLOCK < T * B * V


def test_the_sampled_sum_is_right_on_average_and_the_loss_of_many_words_is_the_whole():
    *layer, words = an_output_layer()
    x, W, b = layer
    logits = np.asarray(x @ W + b[None, None])
    target = np.take_along_axis(logits, np.asarray(words)[..., None], -1)[..., 0]
    drawn = losses.draw_negatives(jax.random.key(0), 20_000, 6)
    k = np.arange(6)
    q = np.log((k + 2) / (k + 1)) / np.log(7)  # Zipf's law as it is written down
    np.testing.assert_allclose(np.bincount(drawn.ids, minlength=6) / 20_000, q, atol=0.01)
    np.testing.assert_allclose(drawn.log_q, np.log(q)[drawn.ids], rtol=1e-5)

    expected = np.zeros((7, 3))  # over all that one draw can be
    for word in range(6):
        one = losses.Negatives(jnp.array([word]), jnp.log(jnp.array([q[word]])))
        expected += q[word] * np.exp(losses.sampled_loss(*layer, words, one) + target)
    np.testing.assert_allclose(expected, np.exp(logits).sum(-1), rtol=1e-12)

    both = [
        jax.value_and_grad(lambda *a, of=of: of(*a).sum(), (0, 1, 2))(*layer)
        for of in (
            lambda *a: losses.sampled_loss(*a, words, drawn),
            lambda x, W, b: losses.cross_entropy(x @ W + b[None, None], words),
        )
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.02, atol=0.05), *both)

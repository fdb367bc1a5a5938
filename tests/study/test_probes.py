"""Probes find units that were planted, and their controls do not; extremes and neighbours against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from jaxseq import InputError, length_mask, trace
from jaxseq.cells import gru, rnn, rnn_relu, stack
from jaxseq.cells._rnn import RNNParams
from jaxseq.study import Longer, nearest_states, probe, top_contexts
from jaxseq.study.probes import _fit, _score

H, DEPTH, COUNT = 8, 2, 5
"""Units of the planted network; the one that holds the depth of brackets, and the one that counts what was opened."""


def brackets(seed: int, T: int, B: int):
    """Balanced beginnings ``[T, B, 2]`` one-hot, their depth and the count of opening ones, and a mask of lengths."""
    rng = np.random.default_rng(seed)
    xs, depth = np.zeros((T, B, 2)), np.zeros((T + 1, B), int)
    for t in range(T):
        opens = (rng.random(B) < 0.5) | (depth[t] == 0)
        xs[t, np.arange(B), np.where(opens, 0, 1)] = 1
        depth[t + 1] = depth[t] + np.where(opens, 1, -1)
    mask = np.arange(T)[:, None] < rng.integers(T // 2, T + 1, size=B)
    return jnp.asarray(xs), depth[1:], xs[..., 0].cumsum(0), jnp.asarray(mask)


def planted() -> RNNParams:
    """A relu network: the depth in one unit, the count in another, the rest a small network of its own."""
    rng = np.random.default_rng(1)
    W, U = rng.normal(size=(2, H)), 0.15 * rng.normal(size=(H, H))
    U[:, [DEPTH, COUNT]] = U[[DEPTH, COUNT]] = 0
    U[DEPTH, DEPTH] = U[COUNT, COUNT] = 1
    W[:, DEPTH], W[:, COUNT] = (1, -1), (1, 0)
    return RNNParams(jnp.asarray(W), jnp.asarray(U), jnp.zeros(H))


@pytest.fixture(scope="module")
def found():
    xs, depth, _, mask = brackets(0, 12, 48)
    far_xs, far_depth, _, far_mask = brackets(1, 30, 20)

    @jax.jit
    def run():
        of_depth = probe(
            rnn_relu, planted(), xs, labels=jnp.asarray(depth, float), mask=mask,
            longer=Longer(far_xs, jnp.asarray(far_depth, float), far_mask), untrained=3, shuffles=2, penalty=1e-6,
        )  # fmt: skip
        deep = probe(
            rnn_relu, planted(), xs, labels=jnp.asarray(depth), mask=mask, classes=int(depth.max()) + 1, untrained=2,
            shuffles=1, longer=Longer(far_xs, jnp.asarray(far_depth), far_mask),
        )  # fmt: skip
        return of_depth, deep

    return run()


def test_a_planted_depth_is_found_and_untrained_networks_do_not_have_it(found) -> None:
    of_depth, _ = found
    assert list(of_depth.units) == [("h", unit) for unit in range(H)]
    assert min(of_depth.scores) > 1 - 1e-6  # fitted, held out and longer
    np.testing.assert_allclose(of_depth.weights[:, 0], np.eye(H)[DEPTH], atol=1e-4)
    np.testing.assert_allclose(of_depth.bias, 0, atol=1e-4)
    size = np.abs(of_depth.correlations[:, 0])
    assert size.argmax() == DEPTH and size[DEPTH] > 1 - 1e-12 > np.sort(size)[-2]
    assert of_depth.null.shape == (3, H, 1) and np.abs(of_depth.null).max() < 0.9
    assert of_depth.untrained.held_out.shape == (3,) and of_depth.untrained.longer.max() < 0.9
    assert of_depth.shuffled.held_out.shape == (2,) and of_depth.shuffled.held_out.max() < 0.1


def test_the_weights_are_those_of_ridge_regression_in_numpy() -> None:
    rng = np.random.default_rng(2)
    h, y, kept = rng.normal(size=(6, 10, H)) * np.arange(H), rng.normal(size=(6, 10)), rng.random((6, 10)) < 0.6
    y += h[..., 1]
    W, b = jax.jit(lambda: _fit(jnp.asarray(h), jnp.asarray(y), jnp.asarray(kept), None, 0.3))()
    X, t = h[kept], y[kept]
    sizes = np.where(X.std(0) > 0, X.std(0), 1)
    Z, z = (X - X.mean(0)) / sizes, (t - t.mean()) / t.std()
    w = np.linalg.solve(Z.T @ Z / len(Z) + 0.3 * np.eye(H), Z.T @ z / len(Z)) * t.std() / sizes
    np.testing.assert_allclose(W[:, 0], w, rtol=1e-9)
    np.testing.assert_allclose(b[0], t.mean() - X.mean(0) @ w, rtol=1e-9)
    left = y[~kept] - h[~kept] @ w - (t.mean() - X.mean(0) @ w)
    got = jax.jit(_score)(W, b, jnp.asarray(h), jnp.asarray(y), jnp.asarray(~kept))
    np.testing.assert_allclose(got, 1 - (left**2).sum() / ((~kept).sum() * y[~kept].var()), rtol=1e-9)


def test_classes_are_told_apart_and_chance_is_the_commonest(found) -> None:
    _, deep = found
    _, depth, _, mask = brackets(0, 12, 48)
    assert deep.scores.held_out > deep.untrained.held_out.max() > 0.2 and deep.shuffled.held_out.max() < 0.6
    assert deep.scores.held_out > 0.8 and deep.scores.held_out > deep.chance + 0.3
    apart = np.asarray(jax.random.permutation(jax.random.split(jax.random.key(0), 3)[0], 48)[:12])
    seen = depth[np.asarray(mask) & np.isin(np.arange(48), apart)]
    np.testing.assert_allclose(deep.chance, np.bincount(seen).max() / len(seen), rtol=1e-12)
    assert deep.correlations.shape == (H, depth.max() + 1)


def test_the_logistic_probe_is_at_the_minimum_that_scipy_finds() -> None:
    rng = np.random.default_rng(3)
    h, kept = rng.normal(size=(6, 12, H)) * np.arange(H), rng.random((6, 12)) < 0.7
    labels = np.clip(h[..., 1] + h[..., 2] / 2 + 1, 0, 2).astype(int)
    found = jax.jit(lambda: _fit(jnp.asarray(h), jnp.asarray(labels), jnp.asarray(kept), 3, 0.1))()
    X, t = h[kept], labels[kept]
    sizes = np.where(X.std(0) > 0, X.std(0), 1)
    Z = (X - X.mean(0)) / sizes

    def loss(flat):
        W = flat.reshape(H + 1, 3)
        return -log_softmax(Z @ W[:-1] + W[-1], 1)[np.arange(len(t)), t].mean() + 0.05 * (W[:-1] ** 2).sum()

    best = minimize(loss, np.zeros((H + 1) * 3), method="BFGS", tol=1e-9)
    W = np.asarray(found[0]) * sizes[:, None]
    b = np.asarray(found[1]) + X.mean(0) @ np.asarray(found[0])
    assert abs(loss(np.concatenate([W, b[None]]).ravel()) - best.fun) < 1e-6
    np.testing.assert_allclose(W, best.x.reshape(H + 1, 3)[:-1], atol=2e-3)


def test_what_is_held_out_is_not_fitted() -> None:
    """With as many units as sequences noise is learnt by heart where it was seen, and not where it was not."""
    rng = np.random.default_rng(5)
    xs, labels = jnp.asarray(rng.normal(size=(1, 16, 8))), jnp.asarray(rng.normal(size=(1, 16)))
    params = rnn.init(jax.random.key(0), 8, 16, dtype=jnp.float64)
    options = {"untrained": 1, "shuffles": 1, "penalty": 1e-8, "held_out": 0.5}
    found = jax.jit(lambda: probe(rnn, params, xs, labels=labels, **options))()
    assert found.scores.fitted > 0.99 and found.scores.held_out < 0


def test_an_untrained_network_is_made_like_the_trained_one() -> None:
    cell = stack(rnn, gru)
    params = cell.init(jax.random.key(0), 3, (4, 2), dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(1), (5, 8, 3))
    labels = xs[..., 0]
    found = jax.eval_shape(lambda: probe(cell, params, xs, labels=labels, names=["0.h", "1.z"], untrained=4))
    assert found.weights.shape == (6, 1) and found.null.shape == (4, 6, 1) and found.scores.longer is None
    assert list(found.units) == [*(("0.h", n) for n in range(4)), ("1.z", 0), ("1.z", 1)]
    bad = rnn_relu.replace(init=lambda key: None)
    with pytest.raises(InputError, match="give init, key -> params"):
        probe(bad, planted(), xs[..., :2], labels=xs[..., 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": jnp.zeros((12, 3))}, r"a label for each step, \(12, 48\); got the shape \(12, 3\)"),
        ({"labels": jnp.zeros((12, 48), complex)}, "must be real numbers or classes"),
        ({"held_out": 0.0}, "of 48 sequences, 0 would be held out"),
        ({"untrained": 0}, "untrained and shuffles must be at least 1"),
        ({"names": ["c"]}, "unknown gate or state of rnn_relu 'c'"),
        ({"longer": Longer(jnp.zeros((4, 2, 2)), jnp.zeros((4, 2), int))}, "longer: labels are int64; those of xs are"),
    ],
)
def test_what_cannot_be_probed_is_refused(options, message) -> None:
    xs, depth, _, mask = brackets(0, 12, 48)
    with pytest.raises(InputError, match=message):
        probe(rnn_relu, planted(), xs, **{"labels": jnp.asarray(depth, float), "mask": mask, **options})


# contexts and neighbours


def test_top_contexts_of_the_planted_depth_are_the_deepest_steps() -> None:
    xs, depth, _, mask = brackets(4, 12, 10)
    h = trace(rnn_relu, planted(), xs, mask=mask)[1].carries.h
    found = jax.jit(lambda: top_contexts(h, mask, count=5, before=3, after=1))()
    real = np.where(np.asarray(mask), depth, -1)
    assert found.highest.values.shape == (H, 5) and found.highest.windows.shape == (H, 5, 5)
    np.testing.assert_array_equal(found.highest.values[DEPTH], np.sort(real.ravel())[::-1][:5])
    assert (found.lowest.values[DEPTH] == 0).all()
    for row, step, value, window in zip(*(np.asarray(a)[DEPTH] for a in found.highest), strict=True):
        assert mask[step, row] and depth[step, row] == value == window[3]
        for offset in range(-3, 2):
            inside = 0 <= step + offset < 12 and mask[step + offset, row]
            want = depth[step + offset, row] if inside else np.nan
            np.testing.assert_array_equal(window[3 + offset], want)


def test_fewer_steps_than_contexts_are_said() -> None:
    mask = length_mask(jnp.array([1, 1]), 3)
    found = jax.jit(lambda: top_contexts(jnp.arange(6.0).reshape(3, 2, 1), mask, count=3))()
    assert found.highest.rows.tolist() == [[1, 0, -1]] and found.highest.steps.tolist() == [[0, 0, -1]]
    np.testing.assert_array_equal(found.lowest.values, [[0, 1, np.nan]])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_states_are_those_of_a_loop(metric: str) -> None:
    rng = np.random.default_rng(0)
    states, mask = rng.normal(size=(6, 4, 3)), rng.random((6, 4)) < 0.7
    queries = rng.normal(size=(2, 3))
    found = jax.jit(
        lambda: nearest_states(jnp.asarray(states), jnp.asarray(queries), jnp.asarray(mask), count=4, metric=metric)
    )()
    for q, query in enumerate(queries):
        apart = []
        for t, b in zip(*np.nonzero(mask), strict=True):
            s = states[t, b]
            far = np.linalg.norm(s - query)
            if metric == "cosine":
                far = 1 - s @ query / np.linalg.norm(s) / np.linalg.norm(query)
            apart.append((far, b, t))
        want = sorted(apart)[:4]
        np.testing.assert_allclose(found.distances[q], [w[0] for w in want], rtol=1e-10)
        assert [(int(b), int(t)) for b, t in zip(found.rows[q], found.steps[q], strict=True)] == [w[1:] for w in want]


def test_what_cannot_be_searched_is_refused() -> None:
    for call, message in (
        (lambda: top_contexts(jnp.ones((3, 2))), r"expected values \[T, B, H\]"),
        (lambda: top_contexts(jnp.ones((3, 2, 1)), count=0), "count must be at least 1"),
        (lambda: nearest_states(jnp.ones((3, 2, 4)), jnp.ones(3)), r"query must be \[4\] or \[Q, 4\]; got .* \(3,\)"),
        (lambda: nearest_states(jnp.ones((3, 2, 4)), jnp.ones(4), metric="l1"), "unknown metric 'l1'"),
    ):
        with pytest.raises(InputError, match=message):
            call()

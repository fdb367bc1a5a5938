"""Mixed precision in a translator's training: what is rounded, and that the loss falls as in float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.train import loss_of
from jaxseq.errors import InputError
from jaxseq.jaxprs import equations
from jaxseq.precision import PRODUCTS, mixed_function, product_p
from jaxseq.train import TrainState, chunk, optimizer

V, B = 12, 16
CONFIG = TranslateConfig(
    precision="bfloat16", embedding=8, hidden=8, dropout=0.0, layers=2, decoder_layers=2, layer_norm=True
)


def data(count=64):
    """Sources of 3 to 5 tokens, and as targets the same backwards."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(4, V, rng.integers(3, 6)) for _ in range(count)]
    sides = np.zeros((2, 6, count), np.int32)
    for n, row in enumerate(rows):
        sides[0, : len(row) + 1, n], sides[1, : len(row) + 1, n] = [*row, 2], [*row[::-1], 2]
    return jnp.asarray(sides[0]), jnp.asarray(sides[1])


def started(config, precision):
    config = dataclasses.replace(config, precision=precision)
    params = config.build().init(jax.random.key(0), V, V, embedding=config.embedding, hidden=config.hidden)
    return loss_of(config.build(training=True), config), params


@pytest.mark.parametrize(
    "settings", [{}, {"loss": "risk", "risk_samples": 2}, {"sampled": 5, "input_feeding": True, "tie": "target"}]
)
def test_every_product_of_a_step_is_rounded(settings):
    config = dataclasses.replace(CONFIG, **settings)
    found = {}
    for precision in ("bfloat16", "float32"):
        loss, params = started(config, precision)
        of = jax.make_jaxpr(lambda p: jax.value_and_grad(loss, has_aux=True)(  # noqa: B023
            p, data(), jnp.arange(B), jax.random.key(1), jnp.int32(0)
        ))  # fmt: skip
        closed = of(params)
        assert {a.dtype for a in closed.out_avals} <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.int64)}
        primitives = [eqn.primitive for eqn in equations(closed.jaxpr)]
        found[precision] = (sum(p in PRODUCTS for p in primitives), sum(p is product_p for p in primitives))
    plain, rounded = found["bfloat16"]
    assert rounded > 30 and plain == 0, found
    assert found["float32"][1] == 0


@pytest.mark.usefixtures("as_users_have_it")
def test_the_loss_falls_as_in_float32():
    curves, config = {}, dataclasses.replace(CONFIG, embedding=16, hidden=16, layers=1, decoder_layers=1)
    for precision in ("float32", "bfloat16"):
        loss, params = started(config, precision)
        step = optimizer("adam", 1e-2)
        run = chunk(loss, step)
        rows = jnp.asarray(np.random.default_rng(1).integers(0, 64, (150, B)), jnp.int32)
        state, seen = run(TrainState.create(params, step), data(), rows, jax.random.key(2))
        curves[precision] = np.asarray(seen.loss)
        assert {a.dtype for a in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
    apart = np.abs(curves["float32"] - curves["bfloat16"])
    assert curves["float32"][0] > 2.4 and curves["float32"][-20:].mean() < 1.2  # it learns
    assert 0 < apart[:20].max() < 0.01  # the same curve, rounded
    windows = apart[:140].reshape(-1, 20).mean(1)
    assert windows.max() < 0.1, windows


def test_a_function_is_rounded_where_it_depends_on_data():
    rng = np.random.default_rng(0)
    W, x = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    half = lambda a: np.asarray(a.astype(jnp.bfloat16), np.float64)  # noqa: E731
    product = mixed_function(lambda W, x: x @ W + (W.T @ W).sum())
    want = half(x) @ half(W) + np.asarray(W.T @ W, np.float64).sum()  # one of parameters alone is left
    np.testing.assert_allclose(product(W, x), want, rtol=1e-5)
    with pytest.raises(InputError, match="products must be a floating dtype of at most 16 bits"):
        mixed_function(lambda W, x: x @ W, jnp.float32)
    with pytest.raises(InputError, match="--precision must be float32 with the tutorial's models; got bfloat16"):
        dataclasses.replace(CONFIG, model="tutorial-plain").check()

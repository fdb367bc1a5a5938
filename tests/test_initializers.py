"""Distributions of what is drawn, against the formulas of the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.cells import gru, lstm, rnn_relu
from jaxseq.initializers import chrono, glorot, identity, lecun, normal, orthogonal, packed, uniform

KEY = jax.random.key(1)


def drawn(init, shape=(300, 200)) -> np.ndarray:
    return np.asarray(init(KEY, shape, jnp.float64))


@pytest.mark.parametrize(
    ("init", "deviation", "largest"),
    [
        (glorot, (2 / 500) ** 0.5, (6 / 500) ** 0.5),
        (lecun, (1 / 300) ** 0.5, 2 / 0.87962566103423978 * (1 / 300) ** 0.5),
        (uniform(0.25), 0.25 / 3**0.5, 0.25),
        (normal, 1.0, np.inf),
    ],
    ids=["glorot", "lecun", "uniform", "normal"],
)
def test_mean_deviation_and_bound(init, deviation: float, largest: float) -> None:
    a = drawn(init)
    assert abs(a.mean()) < 4 * deviation / a.size**0.5
    assert a.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(a).max() <= largest


@pytest.mark.parametrize("shape", [(20, 20), (20, 30), (30, 20)])
def test_orthogonal_rows_or_columns(shape) -> None:
    a = drawn(orthogonal, shape)
    small = a if shape[0] <= shape[1] else a.T
    np.testing.assert_allclose(small @ small.T, np.eye(len(small)), atol=1e-12)


def test_orthogonal_over_many_keys_never_batches_its_qr() -> None:
    """Two batched LAPACK calls at once can stop for ever on two cores (jaxlib 0.10 and 0.12)."""
    many = jax.vmap(lambda key: orthogonal(key, (6, 6), jnp.float32))
    keys = jax.random.split(KEY, 3)
    for key, a in zip(keys, many(keys), strict=True):
        np.testing.assert_array_equal(a, orthogonal(key, (6, 6), jnp.float32))
    calls = [line for line in jax.jit(many).lower(keys).as_text().splitlines() if "geqrf" in line]
    assert calls and all("6x6xf32" in line and "3x6x6xf32" not in line for line in calls)


def test_each_gates_block_is_orthogonal_by_itself() -> None:
    blocks = np.split(np.asarray(packed(orthogonal, KEY, (6, 6), 4, jnp.float64)), 4, axis=1)
    for a in blocks:
        np.testing.assert_allclose(a @ a.T, np.eye(6), atol=1e-12)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1


def test_identity_makes_an_irnn() -> None:
    params = rnn_relu.init(KEY, 3, 4, dtype=jnp.float64, recurrent=identity())
    np.testing.assert_array_equal(params.U, np.eye(4))
    np.testing.assert_array_equal(identity(0.01)(KEY, (3, 3), jnp.float64), 0.01 * np.eye(3))
    with pytest.raises(InputError, match=r"square matrix, \[H, H\]; got the shape \(2, 3\)"):
        identity()(KEY, (2, 3), jnp.float64)


def test_chrono_spreads_memory_evenly() -> None:
    """1 / (1 - f) of a gate left alone is uniform on [2, T_max]: mean, ends and a Kolmogorov-Smirnov distance."""
    H, longest = 4000, 50.0
    i, f, g, o = np.split(np.asarray(chrono(longest)(KEY, (4 * H,), jnp.float64)), 4)
    np.testing.assert_array_equal(i, -f)
    assert not g.any() and not o.any()
    memory = np.sort(1 / (1 - 1 / (1 + np.exp(-f))))
    assert memory[0] >= 2 and memory[-1] <= longest
    uniform_share = (memory - 2) / (longest - 2)
    assert np.abs(uniform_share - (np.arange(H) + 0.5) / H).max() < 1.63 / H**0.5  # 1% level


def test_chrono_replaces_the_forget_bias_of_a_cell() -> None:
    params = lstm.init(KEY, 3, 4, bias=chrono(50), forget_bias=0.0)
    i, f, _, _ = np.split(np.asarray(params.b), 4)
    np.testing.assert_array_equal(i, -f)


def test_chrono_of_a_gru_biases_the_gate_that_retains() -> None:
    params = gru.init(KEY, 1, 50, dtype=jnp.float64, bias=chrono(20, "r z n"))
    r, z, n = np.split(np.asarray(params.b), 3)
    assert not r.any() and not n.any() and (z > 0).all() and (z < np.log(19)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: chrono(2), "above 2 steps; got 2"), (lambda: chrono(9, "i g o"), "expected an f or a z")],
)
def test_chrono_refuses(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_the_forget_bias_is_one_unless_asked_otherwise() -> None:
    for options, want in (({}, 1.0), ({"forget_bias": 0.0}, 0.0), ({"forget_bias": 2.5}, 2.5)):
        b = np.asarray(lstm.init(KEY, 3, 4, **options).b)
        np.testing.assert_array_equal(b, np.repeat([0, want, 0, 0], 4))

"""Jacobians against a linear network's matrix, finite differences and the derivative of the whole run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from reference import sigmoid

from jaxseq import InputError, unroll
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import CELLS, gru, lstm, rnn
from jaxseq.cells._rnn import RNNCarry, RNNGates
from jaxseq.study import decimals, lyapunov, parts, products, spectrum, step_jacobians
from jaxseq.testing import Subject, draw


def linear(params, carry, wx, uh):
    return RNNCarry(wx + uh), wx + uh, RNNGates(wx + uh)


LINEAR = rnn.replace(equations=linear, name="linear")


def test_a_linear_network_has_its_matrix() -> None:
    params, xs, carry = draw(Subject(LINEAR), 3, (2,))
    J = jax.jit(lambda: step_jacobians(LINEAR, params, xs, carry))()
    np.testing.assert_allclose(J, np.broadcast_to(np.asarray(params.U).T, (3, 2, 5, 5)), rtol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_d"])
def test_cells_against_finite_differences(name: str) -> None:
    cell = CELLS[name]
    params, xs, carry = draw(Subject(cell, hidden_size=3), 3, (2,))
    mask = jnp.array([[True, True], [True, False], [True, True]])
    J = np.asarray(jax.jit(lambda: step_jacobians(cell, params, xs, carry, mask=mask))())
    chosen = step_jacobians(cell, params, xs, carry, mask=mask, at=[2])
    np.testing.assert_allclose(chosen[0], J[2], rtol=1e-12)
    np.testing.assert_array_equal(J[1, 1], np.eye(J.shape[-1]))
    step = jax.jit(lambda state, x: ravel_pytree(cell.step(params, unravel(state), x)[0])[0])
    for b in range(2):
        state, unravel = ravel_pytree(jax.tree.map(lambda a, b=b: a[b], carry))
        for t in range(3):
            if not mask[t, b]:
                continue
            x = jax.tree.map(lambda a, t=t, b=b: a[t, b], xs)
            for j in range(state.size):
                nudge = 1e-5 * jnp.eye(state.size)[j]
                column = (step(state + nudge, x) - step(state - nudge, x)) / 2e-5
                np.testing.assert_allclose(J[t, b, :, j], column, rtol=1e-6, atol=1e-9)
            state = step(state, x)


def test_parts_of_the_state() -> None:
    """With i, f, g, o that do not depend on h, dc'/dc is f on the diagonal."""
    params, xs, carry = draw(Subject(lstm), 2, (1,))
    params = params._replace(U=jnp.zeros_like(params.U))
    c = parts(lstm, params)["c"]
    J = step_jacobians(lstm, params, xs, carry)
    f = jax.nn.sigmoid(xs @ params.W + params.b[None, None])[..., 5:10]
    np.testing.assert_allclose(J[:, :, c, c], jax.vmap(jax.vmap(jnp.diag))(f), atol=1e-12)


def test_products_are_the_derivative_of_the_run() -> None:
    params, xs, carry = draw(Subject(lstm, hidden_size=3), 4, (1,))
    state, unravel = ravel_pytree(carry)

    def run(state, xs):
        return ravel_pytree(unroll(lstm, params, xs, unravel(state))[0])[0]

    @jax.jit
    def look():
        J = step_jacobians(lstm, params, xs, carry)
        return J, products(J, 4), products(J, 3), products(J, 1), *(jax.jacfwd(run)(state, xs[:t]) for t in (4, 3))

    J, four, three, one, of_four, of_three = look()
    np.testing.assert_allclose(four[0, 0], of_four, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(three[0, 0], of_three, rtol=1e-10, atol=1e-14)
    assert four.shape == (1, 1, 6, 6) and three.shape == (2, 1, 6, 6)
    np.testing.assert_array_equal(one, J)
    with pytest.raises(InputError, match="span must be from 1 to the number of steps, 4; got 5"):
        products(J, 5)


def test_spectrum() -> None:
    turn = 0.8 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    stretch = np.array([[0.5, 9.0], [0.0, -0.7]])
    found = spectrum(jnp.asarray(np.stack([turn, stretch])))
    np.testing.assert_allclose(found.radius, [0.8, 0.7], rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.angle(found.eigenvalues[0])), [0.3, 0.3], rtol=1e-12)
    np.testing.assert_allclose(found.eigenvalues[1], [-0.7, 0.5], rtol=1e-12)
    np.testing.assert_allclose(found.singular_values[0], [0.8, 0.8], rtol=1e-12)
    np.testing.assert_allclose(found.singular_values[1], np.linalg.svd(stretch, compute_uv=False), rtol=1e-12)


def test_a_linear_networks_exponents_are_its_eigenvalues_logarithms() -> None:
    params, xs, carry = draw(Subject(LINEAR), 300, (2,))
    values, vectors = np.array([1.1, -0.9, 0.6, 0.3, -0.1]), np.eye(5) + np.tri(5, k=-1)  # far from its singular values
    params = params._replace(U=jnp.asarray(vectors @ np.diag(values) @ np.linalg.inv(vectors)))
    found = jax.jit(lambda: lyapunov(LINEAR, params, xs, carry, count=3))()
    late = found.growth[100:].mean(0)  # when the directions have been found
    np.testing.assert_allclose(late, np.broadcast_to(np.log([1.1, 0.9, 0.6]), (2, 3)), rtol=1e-9)
    np.testing.assert_allclose(found.exponents, found.growth.mean(0), rtol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "minimal_rnn"])
def test_exponents_are_the_singular_values_of_the_whole_product(name: str) -> None:
    """By NumPy, of a product that is formed, on paths too short to forget where directions start."""
    params, xs, carry = draw(Subject(CELLS[name], hidden_size=12), 9, (2,))
    mask = jnp.arange(9)[:, None] < jnp.array([[9, 6]])

    @jax.jit
    def look():
        given = CELLS[name], params, xs, carry
        return (
            lyapunov(*given, mask=mask, count=2, sweeps=40),
            lyapunov(*given, mask=mask, count=2),
            step_jacobians(*given, mask=mask),
        )

    exact, usual, J = look()
    for b, steps in enumerate((9, 6)):
        product = np.linalg.multi_dot(np.asarray(J)[::-1, b])
        want = np.log(np.linalg.svd(product, compute_uv=False)[:2]) / steps
        np.testing.assert_allclose(exact.exponents[b], want, rtol=1e-7)
        np.testing.assert_allclose(usual.exponents[b], want, atol=0.1 / steps)  # of the digits that are printed
    np.testing.assert_allclose(np.asarray(usual.growth).sum(0) / [[9], [6]], usual.exponents, rtol=1e-12)
    assert not np.asarray(usual.growth)[6:, 1].any()


def test_digits_are_those_that_a_change_of_basis_leaves() -> None:
    """``ln s / T`` of a matrix and of the same map in a basis of condition number e differ by at most 1 / T."""
    rng = np.random.default_rng(0)
    map_, turn = rng.normal(size=(4, 4)), np.linalg.qr(rng.normal(size=(4, 4)))[0]
    basis = turn @ np.diag(np.exp([0, 0.3, 0.6, 1.0]))
    for T in (7, 10, 99, 100):
        power = [np.linalg.matrix_power(a, T) for a in (map_, np.linalg.inv(basis) @ map_ @ basis)]
        first, second = (np.log(np.linalg.norm(a, 2)) / T for a in power)
        assert 0 < abs(first - second) <= 1 / T <= max(10.0 ** -decimals(T), 1 / 7)
    assert [decimals(T) for T in (1, 9, 10, 99, 100, 1000)] == [1, 1, 1, 1, 2, 3]


def test_all_exponents_sum_to_the_determinants() -> None:
    params, xs, carry = draw(Subject(lstm, hidden_size=2), 9, (2,))
    mask = jnp.arange(9)[:, None] < jnp.array([[9, 6]])
    given = params, xs, carry

    @jax.jit
    def look():
        return lyapunov(lstm, *given, mask=mask, count=99), step_jacobians(lstm, *given, mask=mask)

    found, J = look()
    _, logs = np.linalg.slogdet(np.asarray(J))
    np.testing.assert_allclose(found.growth.sum(-1), logs, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.exponents.sum(-1), logs.sum(0) / np.array([9, 6]), rtol=1e-8)


def test_a_larger_forget_bias_moves_eigenvalues_to_one() -> None:
    """Can, Krishnamurthy & Schwab 2020. At rest i and o are 1/2, and they are 0 and ``f + u/4`` for each u of g's U."""
    xs, H = jnp.zeros((3, 1, 4)), 6
    params = lstm.init(jax.random.key(0), 4, H, dtype=jnp.float64)
    params = params._replace(U=params.U / 10)
    u = np.linalg.eigvals(np.asarray(params.U)[:, 2 * H : 3 * H])
    values = jax.jit(lambda params: spectrum(step_jacobians(lstm, params, xs, at=[2])).eigenvalues[0, 0])
    apart = []
    for bias in (0.0, 2.0, 5.0):
        found = np.asarray(values(params._replace(b=jnp.zeros(4 * H).at[H : 2 * H].set(bias))))
        want = sigmoid(bias) + u / 4
        assert np.abs(found[:H, None] - want).min(0).max() < 1e-9 and np.abs(found[H:]).max() < 1e-6
        apart.append(np.abs(found[:H] - 1).mean())
    assert apart[0] > 0.4 > 0.2 > apart[1] > 0.05 > apart[2], apart


def test_rows_whose_sources_differ_have_their_own() -> None:
    """The memory that attention reads has one source for each row."""
    cell = with_attention(gru, additive)
    params = cell.init(jax.random.key(0), 3, 2, value_size=4, units=6, dtype=jnp.float64)
    source, xs = jax.random.normal(jax.random.key(1), (5, 2, 4)), jax.random.normal(jax.random.key(2), (3, 2, 3))

    @jax.jit
    def look(source, xs):
        reader = reading(cell, cell.remember(params, source))
        return step_jacobians(reader, params, xs), lyapunov(reader, params, xs)

    for row in (0, 1):
        alone = look(source[:, row : row + 1], xs[:, row : row + 1])
        np.testing.assert_allclose(look(source, xs)[0][:, row], alone[0][:, 0], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(look(source, xs)[1].growth[:, row], alone[1].growth[:, 0], rtol=1e-8)
    assert np.abs(alone[0] - look(source[:, :1], xs[:, 1:])[0]).max() > 1e-3  # another memory, another Jacobian


def test_pictures_have_one_state_for_all_places() -> None:
    cell = CELLS["conv_gru"]
    params, xs, carry = draw(Subject(cell, hidden_size=1), 2, (1,))
    places = jax.tree.leaves(xs)[0].shape[2:-1]
    J = jax.jit(lambda: step_jacobians(cell, params, xs, carry))()
    N = int(np.prod(places))
    assert J.shape == (2, 1, N, N) and parts(cell, params, places) == {"h": slice(0, N)}


def test_what_is_too_large_is_refused_with_its_size() -> None:
    params = jax.eval_shape(lambda: gru.init(jax.random.key(0), 3, 512))
    xs = jax.ShapeDtypeStruct((1000, 2, 3), jnp.float32)
    with pytest.raises(InputError, match=r"1000 steps of 2 rows with 512 x 512 numbers take 1.95 GiB.*`lyapunov`"):
        jax.eval_shape(lambda params, xs: step_jacobians(gru, params, xs), params, xs)
    jax.eval_shape(lambda params, xs: step_jacobians(gru, params, xs, at=range(0, 1000, 10)), params, xs)
    with pytest.raises(InputError, match="count must be at least 1"):
        lyapunov(gru, gru.init(jax.random.key(0), 3, 2), jnp.ones((2, 1, 3), jnp.float32), count=0)
    with pytest.raises(InputError, match="sweeps must be at least 0; got -1"):
        lyapunov(gru, gru.init(jax.random.key(0), 3, 2), jnp.ones((2, 1, 3), jnp.float32), sweeps=-1)
    with pytest.raises(InputError, match="at must have steps from 0 to 1; got 2"):
        step_jacobians(gru, gru.init(jax.random.key(0), 3, 2), jnp.ones((2, 1, 3), jnp.float32), at=[2])


def test_half_precision_is_factored_in_single() -> None:
    low = jnp.array([[0.0, -2.0], [2.0, 0.0]], jnp.bfloat16)
    np.testing.assert_allclose(spectrum(low).radius, 2, rtol=1e-6)
    params, xs, carry = draw(Subject(LINEAR), 9, (2,), jnp.bfloat16)
    params = params._replace(U=jnp.eye(5, dtype=jnp.bfloat16) / 2)
    np.testing.assert_allclose(lyapunov(LINEAR, params, xs, carry).exponents, np.full((2, 5), np.log(0.5)), rtol=5e-3)

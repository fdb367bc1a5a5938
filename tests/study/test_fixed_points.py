"""Fixed points against closed forms: a linear network, a bistable unit, a slow point, a line attractor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, trace
from jaxseq.cells import CELLS, gru, rnn
from jaxseq.cells._rnn import RNNCarry, RNNGates
from jaxseq.study import KINDS_OF_POINTS, fixed_points
from jaxseq.testing import Subject, draw

STEEP = np.arctanh(np.sqrt(0.5))  # tanh' = 1/2 there, so that a unit of weight 2 has the slope 1
UPPER = 0.9575040240772687  # of h = tanh(2 h)


def linear(params, carry, wx, uh):
    return RNNCarry(wx + uh), wx + uh, RNNGates(wx + uh)


LINEAR = rnn.replace(equations=linear, name="linear")


@pytest.fixture(scope="module")
def find():
    """Return the points of a linear network of 3 units, compiled once."""
    xs = jax.random.normal(jax.random.key(0), (4, 2, 2), jnp.float64)
    look = jax.jit(lambda params, x: fixed_points(LINEAR, params, xs, x=x, count=8, descent=200))
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] + 0.3

    def found(third, x=(0.5, -1.0), bias=0.2, size=0.9):
        turn = size * np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, third / size]])
        U = basis @ turn @ np.linalg.inv(basis)
        params = rnn.init(jax.random.key(1), 2, 3, dtype=jnp.float64)
        params = params._replace(U=jnp.asarray(U), b=jnp.full(3, bias))
        return params, look(params, jnp.asarray(x))

    return found


@pytest.mark.parametrize(
    ("third", "size", "kind", "angle"),
    [(0.5, 0.9, "stable", 0.3), (1.2, 0.9, "saddle", 0.0), (-1.2, 0.9, "saddle", np.pi), (0.5, 1.0, "centre", 0.3)],
)
def test_a_linear_networks_point_is_its_closed_form(find, third, size, kind, angle):
    params, found = find(third, size=size)
    want = np.linalg.solve(np.eye(3) - params.U.T, np.array([0.5, -1.0]) @ params.W + params.b)
    assert found.real.tolist() == [True] + [False] * 7 and found.found[0] == 8 and found.total == 1
    np.testing.assert_allclose(found.states[0], want, rtol=1e-10)
    np.testing.assert_allclose(found.jacobians[0], params.U.T, atol=1e-12)
    assert found.speed[0] < 1e-24 and found.fixed[0] and KINDS_OF_POINTS[found.kind[0]] == kind
    np.testing.assert_allclose(found.angle[0], angle, atol=1e-9)
    assert found.unstable[0] == int(abs(third) > 1)
    pair = size * np.exp(0.3j)
    sizes = sorted([third, pair, pair.conjugate()], key=lambda v: (-abs(v), v.imag))
    np.testing.assert_allclose(sorted(found.eigenvalues[0], key=lambda v: (-abs(v).round(9), v.imag)), sizes, atol=1e-9)
    vectors = np.asarray(found.eigenvectors[0])
    np.testing.assert_allclose(np.asarray(params.U).T @ vectors, vectors * np.asarray(found.eigenvalues[0]), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), 1, rtol=1e-12)
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0)
    np.testing.assert_allclose(np.angle(largest), 0, atol=1e-12)
    for unused in (found.states, found.jacobians, found.eigenvalues, found.eigenvectors, found.speed, found.found):
        assert not np.asarray(unused[1:]).any()
    assert found.kind[1:].tolist() == [-1] * 7


def test_a_line_attractor(find):
    """An eigenvalue 1 and nothing that drives along it: every start comes to a point of its own on one line."""
    params, found = find(1.0, x=(0.0, 0.0), bias=0.0)
    real = np.asarray(found.real)
    states = np.asarray(found.states)[real]
    assert real.sum() > 3 and found.fixed[found.real].all()
    assert {KINDS_OF_POINTS[kind] for kind in found.kind[found.real].tolist()} == {"line attractor"}
    np.testing.assert_allclose(states @ np.asarray(params.U), states, atol=1e-9)
    assert np.linalg.matrix_rank(states, tol=1e-6) == 1
    np.testing.assert_allclose(np.abs(found.eigenvalues[0, 0]), 1, atol=1e-9)
    apart = np.linalg.norm(states[:, None] - states[None], axis=-1) + 9 * np.eye(len(states))
    assert apart.min() > 1e-3 and found.found.sum() == 8


@pytest.fixture(scope="module")
def unit():
    """Return the points of one tanh unit with weight 2 and a bias, from states all over [-1, 1]."""
    starts = RNNCarry(jnp.linspace(-0.95, 0.95, 20)[:, None])
    params = rnn.init(jax.random.key(0), 1, 1, dtype=jnp.float64)._replace(U=jnp.array([[2.0]]))
    xs = jnp.zeros((0, 20, 1))
    return jax.jit(lambda b: fixed_points(rnn, params._replace(b=b), xs, starts, count=20, descent=0, polish=60))


def test_a_bistable_unit_has_three_points(unit):
    found = unit(jnp.array([0.0]))
    order = np.argsort(np.where(found.real, found.states[:, 0], np.inf))[:3]
    np.testing.assert_allclose(np.tanh(2 * UPPER), UPPER, rtol=1e-15)
    assert found.total == 3 and found.real.sum() == 3 and found.fixed.sum() == 3 and found.found.sum() == 20
    np.testing.assert_allclose(found.states[order, 0], [-UPPER, 0, UPPER], atol=1e-12)
    assert [KINDS_OF_POINTS[k] for k in found.kind[order].tolist()] == ["stable", "unstable", "stable"]
    slopes = 2 * (1 - np.array([UPPER, 0, UPPER]) ** 2)
    np.testing.assert_allclose(found.eigenvalues[order, 0].real, slopes, atol=1e-10)


def test_points_beyond_the_most_are_counted():
    starts = RNNCarry(jnp.array([[-0.9], [0.9], [0.1]]))
    params = rnn.init(jax.random.key(0), 1, 1, dtype=jnp.float64)._replace(U=jnp.array([[2.0]]))
    given = {"count": 3, "descent": 0, "polish": 60, "most": 2}
    found = jax.jit(lambda: fixed_points(rnn, params, jnp.zeros((0, 3, 1)), starts, **given))()
    assert found.total == 3 and found.real.tolist() == [True, True] and found.states.shape == (2, 1)


def test_a_slow_point_is_where_the_speed_is_least(unit):
    """Past the bifurcation two points are gone; q still has a minimum where the slope of the step is 1."""
    b = 0.55
    found = unit(jnp.array([b]))
    real = np.asarray(found.real)
    place = (-STEEP - b) / 2
    slow = int(np.argmin(np.abs(np.asarray(found.states[:, 0]) - place) + 9 * ~real))
    np.testing.assert_allclose(found.states[slow, 0], place, atol=2e-5)
    np.testing.assert_allclose(found.speed[slow], (-np.sqrt(0.5) - place) ** 2 / 2, rtol=1e-7)
    np.testing.assert_allclose(found.eigenvalues[slow, 0].real, 1, atol=1e-4)
    assert not found.fixed[slow] and found.fixed[0] and found.total == 2


def test_adam_alone_comes_near():
    """Its minimum is that of the closed form; a start that Gauss-Newton is not needed for."""
    params = rnn.init(jax.random.key(0), 1, 1, dtype=jnp.float64)._replace(U=jnp.array([[2.0]]))
    starts = RNNCarry(jnp.array([[0.7], [-0.2]]))
    found = jax.jit(lambda: fixed_points(rnn, params, jnp.zeros((0, 2, 1)), starts, polish=0, apart=1e-2))()
    np.testing.assert_allclose(sorted(found.states[:, 0].tolist()), [0, UPPER], atol=1e-5)


def test_it_begins_at_real_states_only():
    """With nothing to do, the points are the states that were visited: NaN in padding is not among them."""
    params, xs, carry = draw(Subject(gru), 6, (3,), jnp.bfloat16)
    mask = jnp.arange(6)[:, None] < jnp.array([6, 2, 0])[None]
    spoilt = jnp.where(mask[..., None], xs, jnp.nan)
    found = jax.jit(
        lambda xs: fixed_points(gru, params, xs, carry, mask=mask, count=21, most=21, descent=0, polish=0, apart=0.0)
    )(spoilt)
    assert found.states.dtype == jnp.float32 and found.eigenvalues.dtype == jnp.complex64
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), (params, xs, carry))
    states = np.concatenate([wide[2].h[None], trace(gru, *wide, mask=mask)[1].carries.h])
    want = states[np.concatenate([np.ones((1, 3), bool), mask])]
    got = np.asarray(found.states)[np.asarray(found.real)]
    assert found.total == 11 and len(got) == 11
    np.testing.assert_allclose(np.sort(got, axis=0), np.sort(want, axis=0), rtol=1e-5, atol=1e-6)


def test_noise_moves_the_starts():
    params = rnn.init(jax.random.key(0), 1, 1, dtype=jnp.float64)
    alike = RNNCarry(jnp.full((400, 1), 0.5))
    given = {"count": 400, "most": 400, "descent": 0, "polish": 0, "apart": 0.0, "noise": 0.1, "together": 400}
    found = jax.jit(lambda: fixed_points(rnn, params, jnp.zeros((0, 400, 1)), alike, **given))()
    assert found.total == 400
    np.testing.assert_allclose([found.states.mean(), found.states.std()], [0.5, 0.1], atol=0.015)


def test_what_it_cannot_do_is_refused():
    params, xs = rnn.init(jax.random.key(0), 3, 5, dtype=jnp.float64), jnp.ones((2, 2, 3))
    with pytest.raises(InputError, match=r"x must be one input \(3,\), without time and batch; got \(2, 3\)"):
        fixed_points(rnn, params, xs, x=xs[0])
    with pytest.raises(InputError, match="count must be a whole number from 1; got 0"):
        fixed_points(rnn, params, xs, count=0)
    with pytest.raises(InputError, match="polish must be a whole number from 0; got -1"):
        fixed_points(rnn, params, xs, polish=-1)
    cell = CELLS["gru_d"]
    with pytest.raises(InputError, match="give x, the input to hold: the Observed of one step and one row"):
        fixed_points(cell, cell.init(jax.random.key(0), 3, 5, dtype=jnp.float64), cell.lift(xs))
    with pytest.raises(InputError, match="the cell works on pictures"):
        fixed_points(CELLS["conv_gru"], None, xs)

    def counting(params, carry, wx, uh):
        new, out, named = rnn.equations(params, carry[0], wx, uh)
        return (new, carry[1] + 1), out, named

    counter = rnn.replace(
        equations=counting,
        hidden_terms=lambda params, carry: rnn.hidden_terms(params, carry[0]),
        initial_carry=lambda params, rows=(): (rnn.initial_carry(params, rows), jnp.zeros(rows, jnp.int32)),
    )
    with pytest.raises(InputError, match="the carry holds int32, such as a counter of steps"):
        fixed_points(counter, params, xs)

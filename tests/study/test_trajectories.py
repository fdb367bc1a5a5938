"""Principal components against NumPy; a rotation stays a circle; figures draw the numbers they are given."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxseq import InputError, trace
from jaxseq.cells import lstm, rnn
from jaxseq.cells._rnn import RNNCarry, RNNGates
from jaxseq.colours import INKS
from jaxseq.study import (
    Components,
    FixedPoints,
    Trajectories,
    plot_fixed_points,
    plot_trajectories,
    principal,
    project,
    trajectories,
)
from jaxseq.testing import Subject, draw, holes


def linear(params, carry, wx, uh):
    return RNNCarry(wx + uh), wx + uh, RNNGates(wx + uh)


LINEAR = rnn.replace(equations=linear, name="linear")


@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 2, 6)])  # more states than numbers, and fewer
def test_principal_components_are_those_of_numpy(shape):
    rng = np.random.default_rng(0)
    states = rng.normal(size=shape) @ np.diag(np.arange(1.0, shape[-1] + 1))
    mask = np.ones(shape[:-1], bool)
    mask[-1, 0] = False
    spoilt = jnp.asarray(np.where(mask[..., None], states, np.nan))
    found = jax.jit(lambda states: principal(states, 2, mask=jnp.asarray(mask)))(spoilt)
    real = states[mask]
    values, axes = np.linalg.eigh(np.cov(real.T))
    np.testing.assert_allclose(found.mean, real.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variances, values[::-1][:2], rtol=1e-10)
    np.testing.assert_allclose(found.shares, values[::-1][:2] / values.sum(), rtol=1e-10)
    for got, want in zip(found.axes, axes.T[::-1], strict=False):
        want = want * np.sign(want[np.abs(want).argmax()])
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(project(found, jnp.asarray(real)), (real - real.mean(0)) @ found.axes.T, atol=1e-12)
    ways = project(found, jnp.asarray(real), directions=True)  # without the mean, which is not 0
    np.testing.assert_allclose(ways, real @ found.axes.T, atol=1e-12)


def test_a_rotation_stays_a_circle():
    """Two dimensions that turn by 0.3, hidden in five."""
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    turn = np.zeros((5, 5))
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    params = rnn.init(jax.random.key(0), 1, 5, dtype=jnp.float64)._replace(U=jnp.asarray(basis @ turn @ basis.T))
    carry = RNNCarry(jnp.asarray(2 * basis[:, :1].T))
    T = 60  # nearly three turns
    found = jax.jit(lambda: trajectories(LINEAR, params, jnp.zeros((T, 1, 1)), carry, count=2))()
    centre = -np.asarray(found.components.axes @ found.components.mean)
    around = np.asarray(found.points[:, 0]) - centre
    np.testing.assert_allclose(np.linalg.norm(around, axis=-1), 2, rtol=1e-10)
    angle = np.unwrap(np.arctan2(around[:, 1], around[:, 0]))
    np.testing.assert_allclose(np.abs(np.diff(angle)), 0.3, rtol=1e-10)
    np.testing.assert_allclose(found.components.shares.sum(), 1, rtol=1e-12)


def test_a_part_of_the_state_and_padding():
    params, xs, carry = draw(Subject(lstm), 6, (4,))
    mask = holes(6, (4,))
    spoilt = jnp.where(mask[..., None], xs, jnp.nan)

    @jax.jit
    def look(xs):
        both = [trajectories(lstm, params, xs, carry, mask=mask, count=2, leaf=leaf) for leaf in (None, "c")]
        return both, trace(lstm, params, xs, carry, mask=mask)[1].carries

    (whole, part), seen = look(spoilt)
    real = np.asarray(mask)
    states = np.concatenate([seen.h, seen.c], -1)[real]  # the order of `parts`
    for found, columns in ((whole, slice(0, 10)), (part, slice(5, 10))):
        centred = states[:, columns] - states[:, columns].mean(0)
        axes = np.linalg.svd(centred)[2][:2]
        axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(-1)[:, None], -1))
        np.testing.assert_allclose(found.components.axes[:, columns], axes, atol=1e-10)
        np.testing.assert_allclose(found.points[real], centred @ axes.T, atol=1e-10)
        assert not np.asarray(found.points)[~real].any()
    assert not np.asarray(part.components.axes[:, :5]).any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="count must be from 1 to 3, for 8 states of 3 numbers; got 4"):
        principal(jnp.ones((4, 2, 3)), 4)
    with pytest.raises(InputError, match="expected a mask bool"):
        principal(jnp.ones((4, 2, 3)), 1, mask=jnp.ones(4, bool))
    with pytest.raises(InputError, match=r"expected states \[..., 3\]"):
        project(Components(np.zeros(3), np.eye(3), np.ones(3), np.ones(3)), jnp.ones(4))
    params = rnn.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    with pytest.raises(InputError, match="unknown part of the carry of rnn 'c'"):
        jax.eval_shape(lambda: trajectories(rnn, params, jnp.ones((4, 2, 3)), leaf="c"))


@pytest.fixture
def points():
    """Two points in the plane, a saddle and a stable one, and a row that is not used."""
    vectors = np.zeros((3, 2, 2), complex)
    vectors[0], vectors[1] = [[0, 1], [1, 0]], np.eye(2)
    values = np.array([[1.5, 0.5], [0.5 + 0.2j, 0.5 - 0.2j], [0, 0]])
    states = np.array([[0.5, 0.5], [1.0, 0.0], [0, 0]])
    number = np.zeros(3)
    real = np.array([True, True, False])
    return FixedPoints(
        states, number, real, real, number, vectors, values, jnp.asarray(vectors), np.array([3, 0, -1]), number, number,
        np.array(2),
    )  # fmt: skip


def test_figures_draw_their_numbers(points):
    paths = np.random.default_rng(0).normal(size=(5, 2, 2))
    real = np.ones((5, 2), bool)
    real[3:, 1] = False
    components = Components(jnp.zeros(2), jnp.eye(2), np.ones(2), np.array([0.75, 0.25]))
    ax = plot_trajectories(Trajectories(paths, real, components), colours=[3, 7], label="class", points=points)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), paths[real])
    np.testing.assert_array_equal(ax.collections[0].get_array(), np.where(real, [3, 7], 0)[real])
    assert ax.get_xlabel() == "component 1 (75%)"
    named = {line.get_label(): line.get_xydata() for line in ax.lines}
    np.testing.assert_allclose([named["saddle"][0], named["stable"][0]], [[0.5, 0.5], [1, 0]])
    arrow = next(line for line in ax.lines if line.get_linewidth() == 1.2 and line.get_color() == INKS[3]).get_xydata()
    np.testing.assert_allclose(arrow[:, 0], 0.5)  # along the second axis: the eigenvector of the larger eigenvalue
    np.testing.assert_allclose(np.diff(arrow[:, 1]), 0.2 * np.ptp(paths[real]))
    ax = plot_fixed_points(points)
    named = {line.get_label(): line.get_xdata() + 1j * line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(named["saddle"], [1.5, 0.5])
    np.testing.assert_allclose(named["stable"], [0.5 + 0.2j, 0.5 - 0.2j])
    plt.close("all")
    with pytest.raises(InputError, match=r"colours must be \[T, B\] = \(5, 2\) or \[B\]; got \(5,\)"):
        plot_trajectories(Trajectories(paths, real, components), colours=np.ones(5))
    with pytest.raises(InputError, match="no point was found"):
        plot_fixed_points(points._replace(real=np.zeros(3, bool)))

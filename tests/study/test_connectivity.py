"""Gradients by inputs against finite differences and a network that copies; completeness of integrated gradients."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxseq import InputError, unroll
from jaxseq.cells import CELLS, lstm, rnn
from jaxseq.cells._rnn import RNNCarry, RNNGates
from jaxseq.study import connectivity, integrated_gradients, plot_connectivity, plot_integrated
from jaxseq.testing import Subject, draw, holes


def linear(params, carry, wx, uh):
    return RNNCarry(wx + uh), wx + uh, RNNGates(wx + uh)


LINEAR = rnn.replace(equations=linear, name="linear")


def of_steps(carry, outs):
    return (outs**2).sum(-1)


def test_a_network_that_copies_looks_back_by_its_lag():
    """Four units in a row hand the input on: unit 3 shows that of three steps ago."""
    params = rnn.init(jax.random.key(0), 1, 4, dtype=jnp.float64)
    params = params._replace(W=jnp.eye(1, 4), U=jnp.eye(4, k=1), b=jnp.zeros(4))
    xs = jax.random.normal(jax.random.key(1), (8, 2, 1), jnp.float64)
    found = jax.jit(lambda: connectivity(LINEAR, params, xs, losses=lambda carry, outs: outs[..., 3]))()
    lag = np.eye(8, k=-3)[..., None]
    np.testing.assert_allclose(found.norms, np.broadcast_to(lag, (8, 8, 2)), atol=1e-12)
    np.testing.assert_allclose(found.products, lag * xs[None, ..., 0], atol=1e-12)


def test_rows_are_finite_differences():
    params, xs, carry = draw(Subject(lstm, hidden_size=4), 5, (2,))
    mask = jnp.array([[True, True], [True, True], [False, True], [True, True], [True, False]])
    spoilt = jnp.where(mask[..., None], xs, jnp.nan)
    look = jax.jit(
        lambda xs: connectivity(lstm, params, xs, carry, losses=of_steps, mask=mask, steps=[3, 1], together=2)
    )
    found = look(spoilt)
    run = jax.jit(lambda xs: of_steps(*unroll(lstm, params, xs, carry, mask=mask)))
    slopes = np.zeros((5, 2, 3, 2))  # of the losses of steps 3 and 1
    for t, b, d in np.ndindex(5, 2, 3):
        ahead, behind = (run(xs.at[t, b, d].add(by)) for by in (1e-5, -1e-5))
        slopes[t, b, d] = (ahead - behind)[np.array([3, 1]), b] / 2e-5
    np.testing.assert_allclose(found.norms, np.moveaxis(np.linalg.norm(slopes, axis=2), -1, 0), rtol=1e-6, atol=1e-9)
    products = (slopes * np.where(mask[..., None], xs, 0)[..., None]).sum(2)
    np.testing.assert_allclose(found.products, np.moveaxis(products, -1, 0), rtol=1e-6, atol=1e-9)
    assert not np.asarray(found.norms[1, 2:]).any()  # the loss of step 1 sees nothing later


def test_an_input_of_several_parts_is_seen_by_its_x():
    cell = CELLS["augru"]
    params, xs, carry = draw(Subject(cell, hidden_size=3), 3, (2,))
    found = jax.jit(lambda: connectivity(cell, params, xs, carry, losses=of_steps, steps=[2]))()
    loss = lambda x: of_steps(*unroll(cell, params, xs._replace(x=x), carry))[2].sum()  # noqa: E731
    by_x = jax.jit(jax.grad(loss))(xs.x)
    np.testing.assert_allclose(found.norms[0], np.linalg.norm(by_x, axis=-1), rtol=1e-10)


def test_integrated_gradients_of_a_square_are_exact():
    """For L = (a x + b)^2 with one weight a step, the attribution is (x - x') a ((a x + b) + (a x' + b))."""
    U = 0.8
    params = rnn.init(jax.random.key(0), 1, 1, dtype=jnp.float64)
    params = params._replace(W=jnp.ones((1, 1)), U=jnp.full((1, 1), U), b=jnp.full(1, 0.1))
    xs = jax.random.normal(jax.random.key(1), (5, 2, 1), jnp.float64)
    mask = jnp.array([[True, True]] * 3 + [[True, False]] * 2)
    spoilt = jnp.where(mask[..., None], xs, jnp.nan)
    given = {"loss": lambda c, o: c.h[:, 0] ** 2, "mask": mask, "baseline": jnp.array([0.5]), "points": 1}
    found = jax.jit(lambda xs: integrated_gradients(LINEAR, params, xs, **given))(spoilt)
    for b, T in ((0, 5), (1, 3)):
        a = U ** np.arange(T - 1, -1.0, -1.0)
        x, rest = np.asarray(xs[:T, b, 0]), 0.1 * a.sum()
        ends = a @ x + rest, a.sum() * 0.5 + rest
        np.testing.assert_allclose(found.steps[:T, b], (x - 0.5) * a * sum(ends), rtol=1e-10)
        np.testing.assert_allclose([found.loss[b], found.baseline_loss[b]], np.square(ends), rtol=1e-10)
        assert not np.asarray(found.steps[T:, b]).any()
    np.testing.assert_allclose(found.gap, 0, atol=1e-12)


def test_attributions_are_complete():
    """To the precision of the integral, which more points improve; and the gap says how far they are not."""
    params, xs, carry = draw(Subject(lstm), 6, (4,))
    mask = holes(6, (4,))

    def look(points):
        return integrated_gradients(lstm, params, 2 * xs, carry, loss=lambda c, o: o.sum(), mask=mask, points=points)

    rough, fine = jax.jit(lambda: (look(1), look(40)))()
    for found, atol in ((rough, 10), (fine, 1e-9)):
        np.testing.assert_allclose(found.gap, found.features.sum() - (found.loss - found.baseline_loss), atol=1e-12)
        assert abs(found.gap) < atol
    assert abs(rough.gap) > 1e-3
    np.testing.assert_allclose(fine.loss, unroll(lstm, params, 2 * xs, carry, mask=mask)[1].sum(), rtol=1e-12)
    assert not np.asarray(fine.features)[~np.asarray(mask)].any()


def test_what_does_not_fit_is_refused():
    params, xs = rnn.init(jax.random.key(0), 3, 5, dtype=jnp.float64), jnp.ones((4, 2, 3))
    with pytest.raises(InputError, match=r"the losses must be \[T, B\] with T = 4"):
        connectivity(rnn, params, xs, losses=lambda carry, outs: outs.sum())
    with pytest.raises(InputError, match="steps must be from 0 to 3; got 4"):
        connectivity(rnn, params, xs, losses=of_steps, steps=[4])
    with pytest.raises(InputError, match="xs must be one array of floats"):
        connectivity(rnn, params, jnp.ones((4, 2), int), losses=of_steps)
    with pytest.raises(
        InputError, match=r"the loss must be one number, or one for each row \(2,\); got the shape \(4, 2"
    ):
        integrated_gradients(rnn, params, xs, loss=of_steps)
    with pytest.raises(InputError, match="the baseline must broadcast to x"):
        integrated_gradients(rnn, params, xs, loss=of_steps, baseline=jnp.ones(2))
    with pytest.raises(InputError, match="mask"):
        integrated_gradients(rnn, params, xs, loss=of_steps, mask=jnp.ones((2, 4), bool))


def test_figures_draw_their_numbers():
    from jaxseq.study import Connectivity, Integrated

    rng = np.random.default_rng(0)
    norms, products = np.where(np.tri(4)[..., None] > 0, rng.uniform(0.1, 1, (4, 4, 2)), 0), rng.normal(size=(4, 4, 2))
    ax = plot_connectivity(Connectivity(norms, products), row=1, tokens=list("abcd"))
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    np.testing.assert_allclose(10**shown, np.where(norms[..., 1] > 0, norms[..., 1], np.nan))
    assert [text.get_text() for text in ax.get_xticklabels()] == list("abcd")
    ax = plot_connectivity(Connectivity(norms, products), products=True)
    np.testing.assert_allclose(ax.images[0].get_array(), products[..., 0])
    steps = rng.normal(size=(4, 2))
    found = Integrated(steps[..., None], steps, np.ones(2), np.zeros(2), np.array([0.0, 1e-3]))
    ax = plot_integrated(found, row=1)
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], steps[:, 1])
    assert "gap 1.0e-03" in ax.get_legend().get_texts()[0].get_text()
    with pytest.raises(InputError, match="a token for each of 4 inputs; got 3"):
        plot_integrated(found, tokens=list("abc"))
    plt.close("all")

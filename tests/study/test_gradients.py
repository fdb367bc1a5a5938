"""Gradients by the states against closed forms, finite differences, and runs cut in two."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import sigmoid, unpack

from jaxseq import InputError, unroll
from jaxseq.cells import CELLS, gru, lstm, rnn, stack
from jaxseq.cells._rnn import RNNCarry, RNNGates
from jaxseq.interventions import clamp
from jaxseq.study import flow, lyapunov, slope, step_jacobians, triangle
from jaxseq.study.gradients import named_leaves
from jaxseq.testing import Subject, draw


def linear(params, carry, wx, uh):
    return RNNCarry(wx + uh), wx + uh, RNNGates(wx + uh)


class Late(NamedTuple):
    h: jax.Array
    before: jax.Array


def late(params, carry, wx, uh):
    """A cell that hands on a leaf as it is, and uses it as well: its new `before` is the old h."""
    h = jnp.tanh(wx + uh + carry.before * carry.h)
    return Late(h, carry.h), h, RNNGates(wx + uh)


LINEAR = rnn.replace(equations=linear, name="linear")
LATE = rnn.replace(
    equations=late, name="late", initial_carry=lambda params, batch=(): Late(*[jnp.zeros((*batch, 5))] * 2)
)


def test_a_linear_network_has_powers_of_its_matrix() -> None:
    params, xs, carry = draw(Subject(LINEAR), 6, (2,))
    v = jnp.arange(1.0, 6.0)
    found = jax.jit(lambda: flow(LINEAR, params, xs, carry, loss=lambda carry, outs: (carry.h @ v).sum()))()
    U, want = np.asarray(params.U), np.arange(1.0, 6.0)
    for t in reversed(range(6)):
        np.testing.assert_allclose(found.gradients["h"][t], np.broadcast_to(want, (2, 5)), rtol=1e-12)
        np.testing.assert_allclose(found.norms["h"][t], np.linalg.norm(want), rtol=1e-12)
        want = U @ want


def test_a_cell_state_is_kept_by_the_product_of_its_forget_gates() -> None:
    """A scalar LSTM that writes nothing and shows all: dc_T/dc_t is the product of f after t."""
    params, xs, carry = draw(Subject(lstm, hidden_size=1), 7, (3,))
    params = params._replace(U=jnp.zeros_like(params.U))
    cell = clamp(lstm, i=0.0, o=1.0)
    found = jax.jit(lambda: flow(cell, params, xs, carry, loss=lambda carry, outs: carry.c.sum()))()
    f = sigmoid(np.asarray(xs @ params.W + params.b[None, None])[..., 1])
    for t in range(7):
        np.testing.assert_allclose(found.gradients["c"][t, :, 0], f[t + 1 :].prod(0), rtol=1e-12)
    assert not np.asarray(found.gradients["h"][:-1]).any()


def test_an_lstm_against_finite_differences() -> None:
    """What is added to c_t shows in h_t too; what is added to h_t does not show in c_t."""
    T, H = 5, 3
    params, xs, carry = draw(Subject(lstm, hidden_size=H), T, (1,))
    W, U, b = (unpack(np.asarray(a), "i f g o") for a in params)

    def loss(nudge):
        h, c, total = np.asarray(carry.h[0]), np.asarray(carry.c[0]), 0.0
        for t in range(T):
            a = {n: np.asarray(xs[t, 0]) @ W[n] + h @ U[n] + b[n] for n in "ifgo"}
            c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * np.tanh(a["g"]) + nudge["c"][t]
            h = sigmoid(a["o"]) * np.tanh(c) + nudge["h"][t]
            total += (h**2 * np.arange(1, H + 1)).sum()
        return total

    def ours(carry, outs):
        return (outs**2 * jnp.arange(1.0, H + 1)[None, None]).sum()

    found = jax.jit(lambda: flow(lstm, params, xs, carry, loss=ours))()
    none = {"h": np.zeros((T, H)), "c": np.zeros((T, H))}
    np.testing.assert_allclose(found.loss, loss(none), rtol=1e-12)
    for leaf in none:
        for t in range(T):
            for unit in range(H):
                up, down = ({k: v.copy() for k, v in none.items()} for _ in range(2))
                up[leaf][t, unit], down[leaf][t, unit] = 1e-5, -1e-5
                slope = (loss(up) - loss(down)) / 2e-5
                np.testing.assert_allclose(found.gradients[leaf][t, 0, unit], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("cell", [LATE, CELLS["conv_gru"], CELLS["gru_d"], stack(rnn, gru)], ids=lambda c: c.name)
def test_a_run_cut_in_two_has_the_same_gradients(cell) -> None:
    """By the carry at the cut, where nothing of the same step is computed from it."""
    hidden = (4, 5) if isinstance(cell.params_type, tuple) else 5
    params, xs, carry = draw(Subject(cell, hidden_size=hidden), 4, (3,))
    mask = jnp.array([[1, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]], bool)

    def loss(carry, outs):
        return sum((a**2 * jnp.cos(a)).sum() for a in jax.tree.leaves(carry))

    found = jax.jit(lambda: flow(cell, params, xs, carry, mask=mask, loss=loss))()

    def rest(carry):
        return loss(*unroll(cell, params, jax.tree.map(lambda a: a[2:], xs), carry, mask=mask[2:]))

    @jax.jit
    def cut():
        half, _ = unroll(cell, params, jax.tree.map(lambda a: a[:2], xs), carry, mask=mask[:2])
        return jax.grad(rest)(half)

    want = named_leaves(cut())
    if cell.name.startswith("stack"):
        del want["0.h"]  # the layer above sees it in its own step
    for name, gradient in want.items():
        g = found.gradients[name]
        np.testing.assert_allclose(g[1, [0, 2]], gradient[jnp.array([0, 2])], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(g[0, 1], gradient[1], rtol=1e-9, atol=1e-12)  # row 1 rests at step 1
        assert not np.asarray(g)[~np.asarray(mask)].any()
        norms = np.sqrt((np.asarray(g) ** 2).reshape(4, 3, -1).sum(-1))
        np.testing.assert_allclose(found.norms[name], norms, rtol=1e-12)


def test_the_triangle_is_the_flow_of_each_steps_loss() -> None:
    params, xs, carry = draw(Subject(lstm), 4, (2,))

    def losses(carry, outs):
        return (outs**3).sum(-1)

    whole = jax.jit(lambda: triangle(lstm, params, xs, carry, losses=losses, together=3))()
    of = jax.jit(lambda s: flow(lstm, params, xs, carry, loss=lambda carry, outs: losses(carry, outs)[s].sum()).norms)
    for s in range(4):
        for name, norms in of(s).items():
            np.testing.assert_allclose(whole[name][s], norms, rtol=1e-10, atol=1e-14)
            assert not np.asarray(whole[name])[s, s + 1 :].any()
    some = jax.jit(lambda: triangle(lstm, params, xs, carry, losses=losses, steps=[3, 1]))()
    np.testing.assert_allclose(some["c"], whole["c"][jnp.array([3, 1])], rtol=1e-10)


def test_the_slope_of_powers_is_their_logarithm() -> None:
    lags = np.arange(9, -1, -1.0)[:, None]
    norms = 3 * np.array([[0.9, 1.2]]) ** lags
    growth = jax.jit(slope)
    np.testing.assert_allclose(growth(jnp.asarray(norms)), np.log([0.9, 1.2]), rtol=1e-10)
    norms[[2, 5]] = 0  # padding
    np.testing.assert_allclose(growth(jnp.asarray(norms)), np.log([0.9, 1.2]), rtol=1e-10)
    norms[:9, 0] = 0
    assert np.isnan(growth(jnp.asarray(norms))).tolist() == [True, False]


def test_norms_of_what_has_nearly_vanished_are_right() -> None:
    """Squares of 1e-30 are 0 in float32, and a norm of 0 would hide how gradients vanish."""
    params, xs, _ = draw(Subject(LINEAR), 16, (1,), jnp.float32)
    params = params._replace(U=0.01 * jnp.eye(5, dtype=jnp.float32))
    norms = jax.jit(lambda: flow(LINEAR, params, xs, loss=lambda carry, outs: carry.h.sum()))().norms["h"]
    np.testing.assert_allclose(norms[:, 0], np.sqrt(5) * 100.0 ** -np.arange(15.0, -1, -1), rtol=1e-4)
    growth = jax.jit(slope)
    np.testing.assert_allclose(growth(norms), np.log(0.01), rtol=1e-4)
    assert np.isnan(growth(jnp.asarray(np.where(np.arange(16)[:, None] == 3, np.nan, norms))))


def test_a_counter_in_the_carry_has_no_gradient() -> None:
    """A cell of one's own may count its steps; here h_t = x_t + h / (n + 1)."""

    def equations(params, carry, wx, uh):
        h = wx + carry.h / (carry.before + 1).astype(wx.dtype)
        return Late(h, carry.before + 1), h, RNNGates(h)

    def start(params, batch=()):
        return Late(jnp.zeros((*batch, 5)), jnp.zeros((*batch, 1), jnp.int32))

    params, xs, _ = draw(Subject(rnn), 5, (2,))
    cell = rnn.replace(equations=equations, name="counting", initial_carry=start)

    @jax.jit
    def look():
        found = flow(cell, params, xs, loss=lambda carry, outs: carry.h.sum())
        return found, step_jacobians(cell, params, xs), lyapunov(cell, params, xs, count=9).exponents

    found, J, exponents = look()
    assert list(found.gradients) == ["h"]
    np.testing.assert_allclose(found.gradients["h"][:, 0, 0], [1 / 120, 1 / 60, 1 / 20, 1 / 5, 1], rtol=1e-12)
    np.testing.assert_allclose(J, np.broadcast_to(np.eye(5), (5, 2, 5, 5)) / np.arange(1, 6)[:, None, None, None])
    np.testing.assert_allclose(exponents, np.full((2, 5), -np.log(120) / 5), rtol=1e-12)


def test_what_is_at_padded_steps_never_matters() -> None:
    params, xs, carry = draw(Subject(lstm), 4, (2,))
    mask = jnp.array([[1, 1], [0, 1], [1, 1], [1, 0]], bool)

    @jax.jit
    def look(xs):
        found = flow(lstm, params, xs, carry, mask=mask, loss=lambda carry, outs: (outs**2).sum())
        return found, step_jacobians(lstm, params, xs, carry, mask=mask), lyapunov(lstm, params, xs, carry, mask=mask)

    there = jnp.where(mask[..., None], xs, jnp.full_like(xs, jnp.nan))
    for a, b in zip(jax.tree.leaves(look(xs)), jax.tree.leaves(look(there)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_losses_of_the_wrong_shape_are_refused() -> None:
    params, xs, _ = draw(Subject(gru), 4, (2,))
    with pytest.raises(InputError, match=r"flow\(gru\): the loss must be one number; got the shape \(4, 2\)"):
        flow(gru, params, xs, loss=lambda carry, outs: outs.sum(-1))
    with pytest.raises(InputError, match=r"triangle\(gru\): the losses must be \[T, B\] with T = 4"):
        triangle(gru, params, xs, losses=lambda carry, outs: outs.sum())
    with pytest.raises(InputError, match=r"triangle\(gru\): steps must be from 0 to 3; got 4"):
        triangle(gru, params, xs, losses=lambda carry, outs: outs.sum(-1), steps=[1, 4])
    with pytest.raises(InputError, match=r"unroll\(gru\): x has 2 features on its last axis, params expect 3"):
        flow(gru, params, xs[..., :2], loss=lambda carry, outs: outs.sum())

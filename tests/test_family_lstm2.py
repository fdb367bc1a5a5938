"""Cells after the LSTM (pooling, strongly typed, conserving, exponential, convolutional) against NumPy loops.

Each loop is written from the paper's equations, in the paper's arrangement, apart from our code.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid, unpack

from jaxseq import unroll
from jaxseq.cells import CELLS
from jaxseq.cells.min_lstm import min_lstm
from jaxseq.cells.parts import Hidden
from jaxseq.cells.qrnn import QRNN1Carry, QRNNCarry, qrnn, qrnn_1
from jaxseq.cells.sru import SRUCarry, sru, sru_2017
from jaxseq.cells.strongly_typed import TGRUCarry, TLSTMCarry, t_gru, t_lstm, t_rnn

LINEAR = ["sru_2017", "qrnn_1", "min_lstm", "t_rnn"]


@pytest.mark.parametrize("D", [3, 5], ids=["projected", "skipped as it is"])
def test_sru(D: int) -> None:
    def step(p, k, x):
        W, b, v = unpack(p.W, "g f r" if x.shape == k.c.shape else "g f r s"), unpack(p.b, "f r"), unpack(p.v, "f r")
        f = sigmoid(W["f"].T @ x + v["f"] * k.c + b["f"])
        c = f * k.c + (1 - f) * (W["g"].T @ x)
        r = sigmoid(W["r"].T @ x + v["r"] * k.c + b["r"])
        return SRUCarry(c), r * c + (1 - r) * (W["s"].T @ x if "s" in W else x)

    check_against(sru, step, sizes=(7, 4, D, 5))


@pytest.mark.parametrize("D", [3, 5], ids=["projected", "skipped as it is"])
def test_sru_2017(D: int) -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "g f r" if x.shape == k.c.shape else "g f r s"), unpack(p.b, "f r")
        f, r = (sigmoid(W[n].T @ x + b[n]) for n in "fr")
        c = f * k.c + (1 - f) * (W["g"].T @ x)
        return SRUCarry(c), r * np.tanh(c) + (1 - r) * (W["s"].T @ x if "s" in W else x)

    check_against(sru_2017, step, sizes=(7, 4, D, 5))


def test_qrnn() -> None:
    def step(p, k, x):
        both = np.concatenate([p.V, p.W])  # the window, oldest first
        W, b, window = unpack(both, "z f o"), unpack(p.b, "z f o"), np.concatenate([k.x, x])
        z = np.tanh(window @ W["z"] + b["z"])
        f, o = (sigmoid(window @ W[n] + b[n]) for n in "fo")
        c = f * k.c + (1 - f) * z
        return QRNNCarry(c, x), o * c

    check_against(qrnn, step)


def test_qrnn_1() -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "z f o"), unpack(p.b, "z f o")
        z = np.tanh(x @ W["z"] + b["z"])
        f, o = (sigmoid(x @ W[n] + b[n]) for n in "fo")
        c = f * k.c + (1 - f) * z
        return QRNN1Carry(c), o * c

    check_against(qrnn_1, step)


def test_qrnn_is_a_convolution_over_time() -> None:
    """The whole sequence at once: numpy's convolution of each feature with each filter, then pooling."""
    with jax.enable_x64(True):
        params = qrnn.init(jax.random.key(0), 3, 4, dtype=jnp.float64)
        xs = np.asarray(jax.random.normal(jax.random.key(1), (6, 1, 3), jnp.float64))
        _, outs = unroll(qrnn, params, None, jnp.asarray(xs))
    V, W = np.asarray(params.V), np.asarray(params.W)
    a = sum(np.stack([np.convolve(xs[:, 0, d], [W[d, j], V[d, j]])[:6] for j in range(12)], axis=-1) for d in range(3))
    g, f, o = np.tanh(a[:, :4]), sigmoid(a[:, 4:8]), sigmoid(a[:, 8:])
    c = np.zeros(4)
    for t in range(6):
        c = f[t] * c + (1 - f[t]) * g[t]
        np.testing.assert_allclose(outs[t, 0], o[t] * c, atol=1e-14)


def test_min_lstm() -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "f i h"), unpack(p.b, "f i h")
        f, i = (sigmoid(x @ W[n] + b[n]) for n in "fi")
        h = f / (f + i) * k.h + i / (f + i) * (x @ W["h"] + b["h"])
        return Hidden(h), h

    check_against(min_lstm, step)


def test_min_lstm_is_finite_where_both_gates_are_shut() -> None:
    params = min_lstm.init(jax.random.key(0), 3, 5)
    params = params._replace(b=params.b.at[:10].set(-500.0))
    carry, _ = min_lstm.step(params, min_lstm.initial_carry(params, (2,)), jnp.ones((2, 3), jnp.float32))
    assert bool(jnp.isfinite(carry.h).all())


def test_t_rnn() -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "z f"), unpack(p.b, "z f")
        f = sigmoid(W["f"].T @ x + b["f"])
        h = f * k.h + (1 - f) * (W["z"].T @ x + b["z"])
        return Hidden(h), h

    check_against(t_rnn, step)


def typed(p, k, x):
    W, V, b = (unpack(a, "z f o") for a in p)
    z, f, o = (V[n].T @ k.x + W[n].T @ x + b[n] for n in "zfo")
    return z, sigmoid(f), np.tanh(o)


def test_t_gru() -> None:
    def step(p, k, x):
        z, f, o = typed(p, k, x)
        h = f * k.h + z * o
        return TGRUCarry(h, x), h

    check_against(t_gru, step)


def test_t_lstm() -> None:
    def step(p, k, x):
        z, f, o = typed(p, k, x)
        c = f * k.c + (1 - f) * z
        return TLSTMCarry(c, x), c * o

    check_against(t_lstm, step)


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_called_elementwise_linear_is(name: str) -> None:
    """The Jacobian of the new carry by the old one is diagonal, and the same everywhere."""
    cell = CELLS[name]
    assert cell.linear == "elementwise"
    with jax.enable_x64(True):
        params = cell.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
        carry = cell.initial_carry(params)
        x = jax.random.normal(jax.random.key(1), (3,), jnp.float64)
        jacobian = jax.jacobian(lambda carry: cell.step(params, carry, x)[0])
        (at_zero,), (at_one,) = (
            jax.tree.leaves(jacobian(jax.tree.map(lambda a, s=s: a + s, carry))) for s in (0.0, 1.0)
        )
    np.testing.assert_allclose(at_zero, at_one, atol=1e-14)
    np.testing.assert_allclose(at_zero, np.diag(np.diag(at_zero)), atol=1e-14)

"""Cells after the LSTM (pooling, strongly typed, conserving, exponential, convolutional) against NumPy loops.

Each loop is written from the paper's equations, in the paper's arrangement, apart from our code.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid, unpack

from jaxseq import InputError, trace, unroll
from jaxseq.cells import CELLS, lstm
from jaxseq.cells._conv_gru import conv_gru
from jaxseq.cells._conv_lstm import ConvLSTMParams, conv_lstm
from jaxseq.cells._hyper_lstm import HyperLSTMCarry, hyper_lstm
from jaxseq.cells._inputs import Inflow, Stamped
from jaxseq.cells._lstm import LSTMCarry, LSTMParams
from jaxseq.cells._lstm_mc import MCLSTMCarry, lstm_mc
from jaxseq.cells._min_lstm import min_lstm
from jaxseq.cells._mlstm import MLSTMCarry, mlstm
from jaxseq.cells._on_lstm import on_lstm
from jaxseq.cells._parts import Hidden
from jaxseq.cells._phased_lstm import phased_lstm
from jaxseq.cells._qrnn import QRNN1Carry, QRNNCarry, qrnn, qrnn_1
from jaxseq.cells._slstm import SLSTMCarry, slstm
from jaxseq.cells._sru import SRUCarry, sru, sru_2017
from jaxseq.cells._strongly_typed import TGRUCarry, TLSTMCarry, t_gru, t_lstm, t_rnn

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
        _, outs = unroll(qrnn, params, jnp.asarray(xs))
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


def softmax(a: np.ndarray) -> np.ndarray:
    return np.exp(a) / np.exp(a).sum()


def test_lstm_mc() -> None:
    def step(p, k, x):
        H = k.c.size
        names = ["i", "o", *(f"r{j}" for j in range(H))]
        W, U, b = (unpack(a, " ".join(names)) for a in p)
        a = {n: W[n].T @ x.x + U[n].T @ (k.c / np.abs(k.c).sum()) + b[n] for n in names}
        R = np.stack([softmax(a[f"r{j}"]) for j in range(H)], axis=1)  # as in the paper: columns add up to 1
        m = R @ k.c + softmax(a["i"]) * x.mass[0]
        o = sigmoid(a["o"])
        return MCLSTMCarry((1 - o) * m), o * m

    check_against(lstm_mc, step)


def test_lstm_mc_conserves_mass() -> None:
    """At every step: what came in, less what went out, is what the cells hold more than before."""
    T, B, D, H = 50, 3, 2, 6
    keys = jax.random.split(jax.random.key(0), 4)
    with jax.enable_x64(True):
        params = lstm_mc.init(keys[0], D, H, dtype=jnp.float64, output_bias=0.0)
        x = jax.random.normal(keys[1], (T, B, D), jnp.float64)
        mass = jax.random.exponential(keys[2], (T, B, 1), jnp.float64)
        start = MCLSTMCarry(jax.random.exponential(keys[3], (B, H), jnp.float64))
        _, seen = trace(lstm_mc, params, Inflow(x, mass), start)
    stored = np.concatenate([start.c[None], seen.carries.c]).sum(-1)
    np.testing.assert_allclose(np.diff(stored, axis=0), mass[..., 0] - seen.outs.sum(-1), atol=1e-14)
    np.testing.assert_allclose(seen.gates.R.sum(-1), 1, atol=1e-15)
    assert float(seen.carries.c.min()) >= 0  # and no cell owes any


def test_lstm_mc_starts_from_an_empty_store() -> None:
    params = lstm_mc.init(jax.random.key(0), 2, 4, dtype=jnp.float64)
    loss = lambda p, c: lstm_mc.step(p, c, jnp.ones((1, 2)))[1].sum()  # noqa: E731
    grads = jax.grad(loss, argnums=(0, 1))(params, lstm_mc.initial_carry(params, (1,)))
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_on_lstm(chunk: int) -> None:
    H, M = 6, 6 // chunk

    def cumax(a):
        e = np.exp(a - a.max())
        return np.array([e[: j + 1].sum() for j in range(e.size)]) / e.sum()

    def step(p, k, x):
        a = x @ p.W + k.h @ p.U + p.b
        i, f, g, o = (a[n * H : (n + 1) * H] for n in range(4))
        i, f, o = sigmoid(i), sigmoid(f), sigmoid(o)
        f_master = np.kron(cumax(a[4 * H : 4 * H + M]), np.ones(chunk))
        i_master = np.kron(1 - cumax(a[4 * H + M :]), np.ones(chunk))
        overlap = f_master * i_master
        c = (f * overlap + f_master - overlap) * k.c + (i * overlap + i_master - overlap) * np.tanh(g)
        h = o * np.tanh(c)
        return LSTMCarry(h, c), h

    check_against(on_lstm, step, sizes=(7, 4, 3, H), options={"chunk": chunk})


def test_on_lstm_refuses_chunks_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="chunk must divide the hidden size 5"):
        on_lstm.init(jax.random.key(0), 3, 5, chunk=2)


def phased_step(leak):
    def step(p, k, x):
        W, U, b = (unpack(a, "i f g o") for a in p[:3])
        peep = unpack(p.p, "i f o")
        a = {n: W[n].T @ x.x + U[n].T @ k.h + b[n] for n in "ifgo"}
        new = sigmoid(a["f"] + peep["f"] * k.c) * k.c + sigmoid(a["i"] + peep["i"] * k.c) * np.tanh(a["g"])
        shown = sigmoid(a["o"] + peep["o"] * new) * np.tanh(new)
        turns = (x.t[0] - p.s) / p.tau
        phase = turns - np.floor(turns)
        openness = np.empty_like(phase)
        for j, (phi, r_on) in enumerate(zip(phase, p.r_on, strict=True)):
            if phi < r_on / 2:
                openness[j] = 2 * phi / r_on
            elif phi < r_on:
                openness[j] = 2 - 2 * phi / r_on
            else:
                openness[j] = leak * phi
        c = openness * new + (1 - openness) * k.c
        h = openness * shown + (1 - openness) * k.h
        return LSTMCarry(h, c), h

    return step


@pytest.mark.parametrize("leak", [0.001, 0.3])
def test_phased_lstm(leak: float) -> None:
    check_against(
        phased_lstm if leak == 0.001 else phased_lstm.with_(leak=leak), phased_step(leak), sizes=(7, 4, 3, 12)
    )


def test_phased_lstm_keeps_its_state_while_shut_and_is_an_lstm_while_open() -> None:
    D, H = 3, 4
    params = phased_lstm.init(jax.random.key(0), D, H, dtype=jnp.float64)
    params = params._replace(tau=jnp.full(H, 10.0), s=jnp.zeros(H), r_on=jnp.full(H, 0.5))
    carry = LSTMCarry(*jax.random.normal(jax.random.key(1), (2, H), jnp.float64))
    x = jnp.ones(D)
    kept, _ = phased_lstm.with_(leak=0.0).step(params, carry, Stamped(x, jnp.full(1, 36.0)))  # phase 0.6
    for new, old in zip(kept, carry, strict=True):
        np.testing.assert_array_equal(new, old)
    got, _ = phased_lstm.step(params, carry, Stamped(x, jnp.full(1, 32.5)))  # phase 0.25, half of r_on: wide open
    want, _ = lstm.step(LSTMParams(params.W, params.U, params.b), carry, x)
    for new, other in zip(got, want, strict=True):
        np.testing.assert_allclose(new, other, atol=1e-15)


def test_slstm() -> None:
    """The paper's equations 8 to 14 without a stabiliser; c and n are compared in the scale that m keeps."""

    def step(p, k, x):
        W, U, b = (unpack(a, "i f z o") for a in p)
        a = {n: W[n].T @ x + U[n].T @ k.h + b[n] for n in "ifzo"}
        scale, m = np.exp(k.m), np.maximum(np.log(sigmoid(a["f"])) + k.m, a["i"])
        c = sigmoid(a["f"]) * (k.c * scale) + np.exp(a["i"]) * np.tanh(a["z"])
        n = sigmoid(a["f"]) * (k.n * scale) + np.exp(a["i"])
        h = sigmoid(a["o"]) * c / n
        return SLSTMCarry(h, c / np.exp(m), n / np.exp(m), m), h

    check_against(slstm, step)


@pytest.mark.parametrize("heads", [1, 2])
def test_mlstm(heads: int) -> None:
    """Equations 19 to 27 without a stabiliser, head by head."""

    def step(p, k, x):
        H = p.b.size // 4
        K = H // heads
        W, b = unpack(p.W, "q k v o"), unpack(p.b, "q k v o")
        a_i, a_f = np.split(x @ p.W_if + p.b_if, 2)
        q, key, v = (W[n].T @ x + b[n] for n in "qkv")
        key = key / np.sqrt(K)
        m = np.maximum(np.log(sigmoid(a_f)) + k.m, a_i)
        C, n, h = np.empty_like(k.C), np.empty_like(k.n), np.empty(H)
        for j in range(heads):
            own = slice(j * K, (j + 1) * K)
            memory = sigmoid(a_f[j]) * k.C[j] * np.exp(k.m[j]) + np.exp(a_i[j]) * np.outer(key[own], v[own])
            norm = sigmoid(a_f[j]) * k.n[j] * np.exp(k.m[j]) + np.exp(a_i[j]) * key[own]
            h[own] = q[own] @ memory / max(abs(norm @ q[own]), 1.0)
            C[j], n[j] = memory / np.exp(m[j]), norm / np.exp(m[j])
        out = sigmoid(W["o"].T @ x + b["o"]) * h
        return MLSTMCarry(C, n, m), out

    check_against(mlstm, step, sizes=(7, 4, 3, 6), options={"heads": heads})


@pytest.mark.parametrize("cell", [slstm, mlstm], ids=lambda cell: cell.name)
@pytest.mark.parametrize("size", [300.0, -300.0])
def test_exponential_gates_neither_overflow_nor_vanish(cell, size: float) -> None:
    """In float32 exp(300) is infinite and exp(-300) is 0: the stabiliser keeps both away, gradients too."""
    params = cell.init(jax.random.key(0), 3, 4)
    where = {"b": params.b.at[:4].set(size)} if cell is slstm else {"b_if": params.b_if.at[0].set(size)}
    xs = jax.random.normal(jax.random.key(1), (9, 2, 3), jnp.float32)
    run = lambda p: unroll(cell, p, xs)[1]  # noqa: E731
    outs, grads = run(params._replace(**where)), jax.grad(lambda p: run(p).sum())(params._replace(**where))
    assert all(bool(jnp.isfinite(a).all()) for a in (outs, *grads))


def test_mlstm_refuses_heads_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="heads must divide the hidden size 5"):
        mlstm.init(jax.random.key(0), 3, 5, heads=2)


def test_mlstm_is_attention_with_decay() -> None:
    """Written out over time it is one matrix over pairs of steps (section 2.3's parallel form, appendix A.2)."""
    T, D, H = 6, 3, 4
    with jax.enable_x64(True):
        params = mlstm.init(jax.random.key(0), D, H, dtype=jnp.float64)
        xs = jax.random.normal(jax.random.key(1), (T, 1, D), jnp.float64)
        _, seen = trace(mlstm, params, xs)
    x = np.asarray(xs[:, 0])
    q, k, v, o = np.split(x @ np.asarray(params.W) + np.asarray(params.b), 4, axis=-1)
    a_i, a_f = (x @ np.asarray(params.W_if) + np.asarray(params.b_if)).T
    kept = np.concatenate([[0], np.cumsum(np.log(sigmoid(a_f)))])
    weights = np.zeros((T, T))
    for t in range(T):
        for s in range(t + 1):
            weights[t, s] = np.exp(kept[t + 1] - kept[s + 1] + a_i[s]) * (q[t] @ k[s]) / np.sqrt(H)
    want = sigmoid(o) * (weights @ v) / np.maximum(np.abs(weights.sum(1)), 1)[:, None]
    np.testing.assert_allclose(seen.outs[:, 0], want, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"hyper": 3, "embedding": 2}], ids=["defaults", "sizes"])
def test_hyper_lstm(options) -> None:
    def step(p, k, x):
        _, N, H = p.S.shape[1:]
        seen = np.concatenate([k.h, x])
        W, b = unpack(np.concatenate([p.V_hat, p.W_hat]), "i f g o"), unpack(p.b_hat, "i f g o")
        U = unpack(p.U_hat, "i f g o")
        a = {n: U[n].T @ k.h_hat + W[n].T @ seen + b[n] for n in "ifgo"}
        c_hat = sigmoid(a["f"]) * k.c_hat + sigmoid(a["i"]) * np.tanh(a["g"])
        h_hat = sigmoid(a["o"]) * np.tanh(c_hat)

        y = {}
        for gate, n in enumerate("ifgo"):
            cut = lambda role, gate=gate: slice((4 * role + gate) * N, (4 * role + gate + 1) * N)  # noqa: E731
            z_h, z_x, z_b = (p.Z[:, cut(role)].T @ k.h_hat for role in range(3))
            d_h = p.S[0, gate].T @ (z_h + p.e[cut(0)])
            d_x = p.S[1, gate].T @ (z_x + p.e[cut(1)])
            own = slice(gate * H, (gate + 1) * H)
            # each row of the main matrices (a column, as they are kept) scaled, before it meets h or x
            y[n] = (p.U[:, own] * d_h).T @ k.h + (p.W[:, own] * d_x).T @ x + p.S[2, gate].T @ z_b + p.b[own]
        c = sigmoid(y["f"]) * k.c + sigmoid(y["i"]) * np.tanh(y["g"])
        h = sigmoid(y["o"]) * np.tanh(c)
        return HyperLSTMCarry(h, c, h_hat, c_hat), h

    check_against(hyper_lstm, step, options=options, sizes=(7, 4, 3, 8))


def test_hyper_lstm_that_is_not_steered_is_an_lstm() -> None:
    params = hyper_lstm.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    params = params._replace(Z=jnp.zeros_like(params.Z), b=jnp.arange(20.0))
    xs = jax.random.normal(jax.random.key(1), (6, 2, 3), jnp.float64)
    _, got = unroll(hyper_lstm, params, xs)
    _, want = unroll(lstm, LSTMParams(params.W, params.U, params.b), xs)
    np.testing.assert_allclose(got, want, atol=1e-14)


def correlate(x: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Place by place and tap by tap: ``[rows, columns, D]`` by ``[w, w, D, N]``, zeros around."""
    window, out = W.shape[0], np.zeros((*x.shape[:2], W.shape[-1]))
    for r, c in np.ndindex(*x.shape[:2]):
        for dr, dc in np.ndindex(window, window):
            at = r + dr - (window - 1) // 2, c + dc - (window - 1) // 2
            if 0 <= at[0] < x.shape[0] and 0 <= at[1] < x.shape[1]:
                out[r, c] += W[dr, dc].T @ x[at]
    return out


@pytest.mark.parametrize("window", [3, 2])
def test_conv_lstm(window: int) -> None:
    def step(p, k, x):
        W, U, b, peep = unpack(p.W, "i f c o"), unpack(p.U, "i f c o"), unpack(p.b, "i f c o"), unpack(p.p, "i f o")
        a = {n: correlate(x, W[n]) + correlate(k.h, U[n]) + b[n] for n in "ifco"}
        c = sigmoid(a["f"] + peep["f"] * k.c) * k.c + sigmoid(a["i"] + peep["i"] * k.c) * np.tanh(a["c"])
        h = sigmoid(a["o"] + peep["o"] * c) * np.tanh(c)
        return LSTMCarry(h, c), h

    check_against(conv_lstm, step, sizes=(4, 2, 3, 5), options={"window": window})


@pytest.mark.parametrize("window", [3, 2])
def test_conv_gru(window: int) -> None:
    def step(p, k, x):
        W, U, b = unpack(p.W, "r z n"), unpack(p.U, "r z"), unpack(p.b, "r z n")
        r = sigmoid(correlate(x, W["r"]) + correlate(k.h, U["r"]) + b["r"])
        z = sigmoid(correlate(x, -W["z"]) + correlate(k.h, -U["z"]) - b["z"])  # the paper's, which writes
        n = np.tanh(correlate(x, W["n"]) + correlate(r * k.h, p.U_n) + b["n"])
        h = (1 - z) * k.h + z * n
        return Hidden(h), h

    check_against(conv_gru, step, sizes=(4, 2, 3, 5), options={"window": window})


def test_conv_lstm_of_a_single_place_is_an_lstm() -> None:
    params = conv_lstm.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(1), (6, 2, 1, 1, 3), jnp.float64)
    _, got = unroll(conv_lstm, params, xs)
    _, want = unroll(lstm, LSTMParams(params.W[1, 1], params.U[1, 1], params.b), xs[:, :, 0, 0])
    np.testing.assert_allclose(got[:, :, 0, 0], want, atol=1e-14)


def test_conv_lstm_equals_keras(monkeypatch) -> None:
    """Without peepholes, values and gradients in float64."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        keras = pytest.importorskip("keras")
        if keras.backend.backend() != "jax":
            pytest.skip("keras was imported with another backend")
        # jnp.tanh, since that of keras 3.15 returns float32 for float64
        layer = keras.layers.ConvLSTM2D(
            5, 3, padding="same", activation=jnp.tanh, return_sequences=True, dtype="float64"
        )
        layer.build((2, 6, 4, 3, 2))
        keys = jax.random.split(jax.random.key(0), 4)
        W, U, b = (
            0.5 * jax.random.normal(k, v.shape, jnp.float64)
            for k, v in zip(keys[:3], layer.trainable_variables, strict=True)
        )
        xs = jax.random.normal(keys[3], (6, 2, 4, 3, 2), jnp.float64)

        def theirs(W, U, b, xs):
            seeds = [v.value for v in layer.non_trainable_variables]
            outs, _ = layer.stateless_call([W, U, b], seeds, jnp.moveaxis(xs, 0, 1))
            return jnp.moveaxis(outs, 1, 0)

        def ours(W, U, b, xs):
            return unroll(conv_lstm, ConvLSTMParams(W, U, b, jnp.zeros(15)), xs)[1]

        for f in (lambda f: f, lambda f: jax.grad(lambda *args: jnp.sin(f(*args)).sum(), argnums=(0, 1, 2, 3))):
            for a, other in zip(*(jax.tree.leaves(f(g)(W, U, b, xs)) for g in (ours, theirs)), strict=True):
                np.testing.assert_allclose(a, other, atol=1e-12, rtol=1e-12)

"""Cells whose memory is linear against NumPy written from the papers, and what the papers say of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import legendre
from reference import check_against, sigmoid
from scipy.linalg import expm

from jaxseq import unroll
from jaxseq.cells import deltanet, gla, lmu, lru, retention, rg_lru, s5
from jaxseq.cells._deltanet import Memory
from jaxseq.cells._lmu import LMUCarry
from jaxseq.cells._lru import ComplexCarry
from jaxseq.cells._parts import Hidden
from jaxseq.cells._retention import RetentionCarry
from jaxseq.initializers import legendre_scaled, legendre_window, ring, zero_order_hold
from jaxseq.recurrence import scan
from jaxseq.testing import Subject, draw

T = 9


def run(cell, **options):
    """One row of noisy parameters from a zero carry: params, ``xs [T, D]`` and outputs ``[T, H]``, in NumPy."""
    init = cell.init
    cell = cell.replace(init=lambda *args, **kwargs: init(*args, **kwargs, **options))
    params, xs, _ = draw(Subject(cell), T, ())
    outs = unroll(cell, params, xs, recurrence=scan)[1]
    return jax.tree.map(np.asarray, (params, xs, outs))


def complex_of(pair, axis=0):
    """The complex array whose real and imaginary part are packed along an axis."""
    re, im = np.split(pair, 2, axis=axis)
    return re + 1j * im


def test_lmu() -> None:
    def step(p, k, x):
        (W_x, e_x), (W_h, e_h) = ((a[:, :-1], a[:, -1]) for a in (p.W, p.U))
        u = e_x @ x + e_h @ k.h + p.e_m[:, 0] @ k.m
        m = p.A.T @ k.m + p.B * u
        h = np.tanh(W_x.T @ x + W_h.T @ k.h + p.W_m.T @ m)
        return LMUCarry(h, m), h

    check_against(lmu, step)
    check_against(lmu, step, options={"order": 4})


def test_lmu_starts_from_the_paper_s_system() -> None:
    d, theta = 6, 20.0
    A = np.array([[(2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1)) for j in range(d)] for i in range(d)]) / theta
    B = np.array([(2 * i + 1) * (-1) ** i for i in range(d)]) / theta
    params = lmu.init(jax.random.key(0), 3, 5, order=d, theta=theta, dtype=jnp.float64)
    np.testing.assert_allclose(params.A, expm(A).T, atol=1e-13)
    np.testing.assert_allclose(params.B, np.linalg.solve(A, (expm(A) - np.eye(d)) @ B), atol=1e-13)


def test_a_legendre_memory_holds_its_window() -> None:
    """A slow signal is read back, at any delay up to theta, from d numbers."""
    d, theta = 12, 50
    A, B = zero_order_hold(*legendre_window(d), 1 / theta)
    u = np.sin(np.arange(400) / 15)
    m = np.zeros(d)
    for value in u:
        m = A @ m + B * value
    delays = np.arange(5, 46)
    back = legendre.legval(2 * (delays + 0.5) / theta - 1, m)
    np.testing.assert_allclose(back, u[399 - delays], atol=2e-3)


@pytest.mark.parametrize("d", [1, 2, 30])
@pytest.mark.parametrize("step", [1e-3, 1.0, 40.0])
def test_zero_order_hold_is_the_exponential(d: int, step: float) -> None:
    for A, B in (legendre_scaled(d), legendre_window(d)):
        held, added = zero_order_hold(A, B, step / d**2)
        np.testing.assert_allclose(held, expm(A * step / d**2), atol=1e-10)
        np.testing.assert_allclose(A @ added, (held - np.eye(d)) @ B, atol=1e-9 * d**2)


def test_lru() -> None:
    def step(p, k, x):
        N = len(p.log_nu)
        B, C = complex_of(p.W[:, : 2 * N], 1), complex_of(p.C)
        s = np.exp(-np.exp(p.log_nu) + 1j * np.exp(p.log_theta)) * (k.re + 1j * k.im) + np.exp(p.log_gamma) * (B.T @ x)
        return ComplexCarry(s.real, s.imag), (C.T @ s).real + p.W[:, 2 * N :].T @ x

    check_against(lru, step)
    check_against(lru, step, options={"state_size": 4})


def test_lru_is_a_convolution() -> None:
    """With the kernel ``K_j = Re(C Lambda^j gamma B)``, from a zero state."""
    p, xs, outs = run(lru, state_size=4)
    B, C = complex_of(p.W[:, :8], 1), complex_of(p.C)
    nu, theta = np.exp(p.log_nu), np.exp(p.log_theta)
    kernel = [np.einsum("dn,n,nh->dh", B, np.exp(p.log_gamma + j * (1j * theta - nu)), C).real for j in range(T)]
    want = [sum(xs[t - j] @ kernel[j] for j in range(t + 1)) + xs[t] @ p.W[:, 8:] for t in range(T)]
    np.testing.assert_allclose(outs, want, atol=1e-12)


@pytest.mark.parametrize(("r_min", "r_max", "max_phase"), [(0.0, 1.0, 2 * np.pi), (0.8, 0.99, 0.3)])
def test_ring_is_uniform_in_area(r_min: float, r_max: float, max_phase: float) -> None:
    a, b = ring(r_min, r_max, max_phase)(jax.random.key(0), (2, 20000), jnp.float64)
    modulus, phase = np.exp(-np.exp(a)), np.exp(b)
    assert modulus.min() >= r_min and modulus.max() <= r_max and phase.max() <= max_phase
    for sample in ((modulus**2 - r_min**2) / (r_max**2 - r_min**2), phase / max_phase):
        away = np.abs(np.sort(sample) - (np.arange(20000) + 0.5) / 20000).max()
        assert away < 1.63 / np.sqrt(20000), "Kolmogorov-Smirnov at 1 %"
    assert abs(np.corrcoef(modulus, phase)[0, 1]) < 0.03
    assert np.isfinite(np.asarray(ring()(jax.random.key(1), (2, 4096), jnp.bfloat16), np.float32)).all()


def test_lru_starts_with_the_variance_of_its_input() -> None:
    """Which is what gamma is for: white noise of variance 1 gives states of variance 1."""
    params = lru.init(jax.random.key(0), 8, 4, r_min=0.5, r_max=0.9, state_size=64, dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(1), (3000, 8))
    carries = unroll(lru.replace(equations=shows_its_carry(lru)), params, xs, recurrence=scan)[1]
    assert 0.9 < float(jnp.mean(carries.re[200:] ** 2 + carries.im[200:] ** 2)) < 1.1


def shows_its_carry(cell):
    def gates(params, carry, wx, uh):
        new, _, named = cell.equations(params, carry, wx, uh)
        return new, new, named

    return gates


def test_rg_lru() -> None:
    def step(p, k, x):
        (W_r, W_i, W_u), (b_r, b_i, b_u) = np.split(p.W, 3, axis=1), np.split(p.b, 3)
        r, i, u = sigmoid(W_r.T @ x + b_r), sigmoid(W_i.T @ x + b_i), W_u.T @ x + b_u
        a = sigmoid(p.Lambda) ** (8 * r)
        h = a * k.h + np.sqrt(1 - a**2) * (i * u)
        return Hidden(h), h

    check_against(rg_lru, step)


def test_rg_lru_starts_slow() -> None:
    params = rg_lru.init(jax.random.key(0), 3, 20000, dtype=jnp.float64)
    a = np.sort(sigmoid(np.asarray(params.Lambda)) ** 8)
    assert a[0] >= 0.9 and a[-1] <= 0.999
    assert np.abs((a - 0.9) / 0.099 - (np.arange(20000) + 0.5) / 20000).max() < 1.63 / np.sqrt(20000)


def test_rg_lru_has_gradients_where_it_retains_all() -> None:
    """There the root of 1 - a^2 is at 0, where its slope is infinite."""
    params = rg_lru.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    shut = params._replace(b=params.b.at[:5].set(-2000.0))
    grads = jax.grad(lambda p: unroll(rg_lru, p, jnp.ones((4, 3)), Hidden(jnp.ones(5)))[1].sum())(shut)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))


def test_s5() -> None:
    def step(p, k, x):
        N = len(p.log_step)
        Lambda, Delta = -np.exp(p.log_decay) + 1j * p.frequency, np.exp(p.log_step)
        B, C = complex_of(p.W[:, : 2 * N], 1), complex_of(p.C)
        held = np.exp(Lambda * Delta)
        s = held * (k.re + 1j * k.im) + ((held - 1) / Lambda)[:, None] * B.T @ x
        return ComplexCarry(s.real, s.imag), 2 * (C.T @ s).real + p.W[:, 2 * N :].T @ x

    check_against(s5, step)
    check_against(s5, step, options={"state_size": 4})


def test_s5_starts_as_a_real_system_of_twice_the_size() -> None:
    """HiPPO-N with real matrices B and C: outputs equal those of the system before its diagonalisation."""
    N, D, H = 4, 3, 5
    params = s5.init(jax.random.key(0), D, H, state_size=N, step_min=0.05, step_max=0.05, dtype=jnp.float64)
    n = np.arange(2 * N)
    low = np.tril(-np.sqrt((2 * n[:, None] + 1) * (2 * n + 1)), -1) - np.diag(n + 1)
    A = low + np.outer(np.sqrt(n + 0.5), np.sqrt(n + 0.5))
    np.testing.assert_allclose(A + A.T, -np.eye(2 * N), atol=1e-12)
    frequencies = np.sort(np.linalg.eigvals(A).imag)[N:]
    np.testing.assert_allclose(np.sort(params.frequency), frequencies, atol=1e-12)
    k_B, k_C, _, _ = jax.random.split(jax.random.key(0), 4)
    B = np.asarray(jax.random.normal(k_B, (D, 2 * N), jnp.float64)) / np.sqrt(D)
    C = np.asarray(jax.random.normal(k_C, (2 * N, H), jnp.float64)) / np.sqrt(2 * N)
    held = expm(A * 0.05)
    added = np.linalg.solve(A, held - np.eye(2 * N)) @ B.T
    xs = np.random.default_rng(0).normal(size=(T, D))
    outs = unroll(s5, params, jnp.asarray(xs), recurrence=scan)[1]
    s = np.zeros(2 * N)
    for x, out in zip(xs, np.asarray(outs), strict=True):
        s = held @ s + added @ x
        np.testing.assert_allclose(out, C.T @ s + np.asarray(params.W)[:, 2 * N :].T @ x, atol=1e-12)


def test_retention() -> None:
    def step(p, k, x):
        q_re, q_im, k_re, k_im, v = np.split(x @ p.W, np.cumsum([len(p.theta)] * 4))
        S = p.gamma * np.exp(1j * p.theta)[:, None] * (k.re + 1j * k.im) + np.outer(k_re - 1j * k_im, v)
        return RetentionCarry(S.real, S.imag), ((q_re + 1j * q_im) @ S).real

    check_against(retention, step)
    check_against(retention, step, options={"key_size": 3})


def test_retention_is_attention_without_a_softmax() -> None:
    """The parallel form: ``(Q K^T * D) V`` with q and k turned by their places, in pairs of real features (xPos)."""
    p, xs, outs = run(retention, key_size=3)
    q_re, q_im, k_re, k_im, v = np.split(xs @ p.W, [3, 6, 9, 12], axis=-1)
    n = np.arange(T)[:, None]

    def turned(re, im):
        c, s = np.cos(n * p.theta), np.sin(n * p.theta)
        return np.concatenate([c * re - s * im, s * re + c * im], axis=-1)

    decay = np.where(n >= n.T, p.gamma ** np.maximum(n - n.T, 0), 0)
    np.testing.assert_allclose(outs, (turned(q_re, q_im) @ turned(k_re, k_im).T * decay) @ v, atol=1e-12)


def test_gla() -> None:
    def step(p, k, x):
        R, K = p.W_a.shape
        q, key, v, low = np.split(x @ p.W, [K, 2 * K, p.W.shape[1] - R])
        alpha = sigmoid(low @ p.W_a + p.b) ** (1 / 16)
        S = np.diag(alpha) @ k.S + np.outer(key, v)
        return Memory(S), q @ S

    check_against(gla, step)
    check_against(gla, step, options={"key_size": 3, "rank": 2})


def test_gla_is_attention_without_a_softmax() -> None:
    """The parallel form: ``((Q * A) (K / A)^T * causal) V`` with A the running product of alpha."""
    p, xs, outs = run(gla, key_size=3, rank=2)
    q, k, v, low = np.split(xs @ p.W, [3, 6, 11], axis=-1)
    A = np.cumprod(sigmoid(low @ p.W_a + p.b) ** (1 / 16), axis=0)
    np.testing.assert_allclose(outs, np.tril((q * A) @ (k / A).T) @ v, atol=1e-12)


def test_deltanet() -> None:
    def step(p, k, x):
        q, key = (a * sigmoid(a) for a in np.split(x @ p.W, 2))
        q, key = (a / np.sqrt(a @ a + 1e-6) for a in (q, key))
        *v, b = x @ p.W_v
        beta = sigmoid(b)
        S = (np.eye(len(key)) - beta * np.outer(key, key)) @ k.S + beta * np.outer(key, v)
        return Memory(S), q @ S

    check_against(deltanet, step)
    check_against(deltanet, step, options={"key_size": 4})


def test_deltanet_replaces_what_it_had_for_a_key() -> None:
    """With the rate at 1 the key reads the value just written, and what is orthogonal to it is as before."""
    params, xs, carry = draw(Subject(deltanet), 1, ())
    v = xs[0] @ params.W_v[:, :-1]
    wx = (xs[0] @ params.W, jnp.append(v, 40.0))
    new, _, named = deltanet.equations(params, carry, wx, ())
    np.testing.assert_allclose(named.k @ new.S, v, rtol=1e-5)
    other = jnp.ones(5) - named.k * (named.k.sum() / (named.k @ named.k))
    np.testing.assert_allclose(other @ new.S, other @ carry.S, atol=1e-12)

"""State-space cells against NumPy loops written from the papers' equations, and what the papers say of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid
from scipy.linalg import expm

from jaxseq import InputError, unroll
from jaxseq.cells import ffm, linoss_im, linoss_imex, mamba, mega_ema, s4d, s5
from jaxseq.cells._linoss import LinOSSCarry
from jaxseq.cells._lru import ComplexCarry
from jaxseq.cells._parts import Hidden
from jaxseq.recurrence import scan
from jaxseq.testing import Subject, draw

T = 9


def test_mamba() -> None:
    """Unit by unit and state by state, as algorithm 2 has it."""

    def step(p, k, x):
        H, N = k.h.shape
        u, low, B, C = np.split(p.W.T @ x, [H, p.W.shape[1] - 2 * N, p.W.shape[1] - N])
        Delta = np.log(1 + np.exp(p.W_Delta.T @ low + p.b))
        h, y = np.zeros((H, N)), p.skip * u
        for d in range(H):
            for n in range(N):
                h[d, n] = np.exp(Delta[d] * -np.exp(p.log_decay[d, n])) * k.h[d, n] + Delta[d] * B[n] * u[d]
                y[d] += C[n] * h[d, n]
        return Hidden(h), y

    check_against(mamba, step)
    check_against(mamba, step, options={"state_size": 3, "rank": 2})


def test_mamba_is_attention_with_a_decay() -> None:
    """Unrolled, y_t is a sum over s <= t of ``C_t exp(A (Delta_(s+1) + ... + Delta_t)) B_s Delta_s u_s``."""
    cell = mamba.replace(init=lambda *args, **rest: mamba.init(*args, **rest, state_size=3))
    p, xs, _ = jax.tree.map(np.asarray, draw(Subject(cell), T, ()))
    outs = unroll(mamba, p, jnp.asarray(xs), recurrence=scan)[1]
    H, N = p.log_decay.shape
    u, low, B, C = np.split(xs @ p.W, [H, H + 1, H + 1 + N], axis=-1)
    Delta = np.log1p(np.exp(low @ p.W_Delta + p.b))
    clock = np.cumsum(Delta, axis=0)
    decay = np.exp(-np.exp(p.log_decay) * (clock[:, None] - clock)[..., None])  # [t, s, H, N]
    weights = np.tril(np.ones((T, T)))[..., None] * np.einsum("tn,tshn,sn->tsh", C, decay, B)
    np.testing.assert_allclose(outs, np.einsum("tsh,sh->th", weights, Delta * u) + p.skip * u, atol=1e-12)


def test_mamba_starts_with_short_steps_and_real_poles() -> None:
    p = mamba.init(jax.random.key(0), 40, 5000, state_size=4, dtype=jnp.float64)
    Delta = np.sort(np.log1p(np.exp(p.b)))
    assert Delta[0] >= 0.001 and Delta[-1] <= 0.1
    share = np.log(Delta / 0.001) / np.log(100)
    assert np.abs(share - (np.arange(5000) + 0.5) / 5000).max() < 1.63 / np.sqrt(5000), "Kolmogorov-Smirnov at 1 %"
    np.testing.assert_allclose(np.exp(p.log_decay), np.broadcast_to([1, 2, 3, 4], (5000, 4)))


def test_s4d() -> None:
    """The matrices of each unit's system, its exponential and its inverse written out."""

    def step(p, k, x):
        H, N = k.re.shape
        u, C, s, y = p.W.T @ x, p.C[:, :N] + 1j * p.C[:, N:], np.zeros((H, N), complex), np.zeros(H)
        for d in range(H):
            A = np.diag(-np.exp(p.log_decay[d]) + 1j * p.frequency[d])
            held = expm(A * np.exp(p.log_step[d]))
            s[d] = held @ (k.re[d] + 1j * k.im[d]) + np.linalg.solve(A, held - np.eye(N)) @ np.ones(N) * u[d]
            y[d] = 2 * (C[d] @ s[d]).real + p.skip[d] * u[d]
        return ComplexCarry(s.real, s.imag), y

    check_against(s4d, step, options={"state_size": 3})


def test_s4d_is_a_convolution() -> None:
    """With the kernel ``K_j = 2 Re(sum C (A_bar - 1) / A A_bar^j)`` of each unit, from a zero state."""
    cell = s4d.replace(init=lambda *args, **rest: s4d.init(*args, **rest, state_size=3))
    p, xs, _ = jax.tree.map(np.asarray, draw(Subject(cell), T, ()))
    outs = unroll(s4d, p, jnp.asarray(xs), recurrence=scan)[1]
    A, C, u = -np.exp(p.log_decay) + 1j * p.frequency, p.C[:, :3] + 1j * p.C[:, 3:], xs @ p.W
    held = np.exp(A * np.exp(p.log_step)[:, None])
    kernel = [2 * (C * (held - 1) / A * held**j).sum(-1).real for j in range(T)]
    want = [sum(u[t - j] * kernel[j] for j in range(t + 1)) + p.skip * u[t] for t in range(T)]
    np.testing.assert_allclose(outs, want, atol=1e-12)


def test_s4d_starts_from_the_paper_s_spectra() -> None:
    """S4D-Lin is a Fourier series; S4D-Inv is close to the imaginary parts of HiPPO-LegS' normal part."""
    lin, inv = (s4d.init(jax.random.key(0), 2, 3, state_size=16, spectrum=which, dtype=jnp.float64)
                for which in ("lin", "inv"))  # fmt: skip
    np.testing.assert_allclose(lin.frequency, np.broadcast_to(np.pi * np.arange(16), (3, 16)))
    np.testing.assert_allclose(np.exp(lin.log_decay), 0.5)
    exact = s5.init(jax.random.key(0), 2, 3, state_size=16, dtype=jnp.float64).frequency
    np.testing.assert_allclose(np.sort(inv.frequency[0])[-4:], np.sort(exact)[-4:], rtol=0.2)
    with pytest.raises(InputError, match="unknown spectrum 'line': did you mean 'lin'"):
        s4d.init(jax.random.key(0), 2, 3, spectrum="line")


@pytest.mark.parametrize("cell", [linoss_im, linoss_imex], ids=lambda cell: cell.name)
def test_linoss(cell) -> None:
    """Both steps as linear systems of two unknowns, which the paper inverts by hand."""

    def step(p, k, x):
        N = len(p.A_hat)
        h, z = np.zeros(N), np.zeros(N)
        for n, (a, d) in enumerate(zip(p.A_hat, p.Delta_hat, strict=True)):
            A, Delta, force = max(a, 0), sigmoid(d), p.W[:, n] @ x
            # z' + Delta A h_force = z + Delta force, with h_force = h' if implicit; h' - Delta z' = h
            implicit = cell is linoss_im
            M = np.array([[1, Delta * A if implicit else 0], [-Delta, 1]])
            z[n], h[n] = np.linalg.solve(M, [k.z[n] + Delta * (force - (0 if implicit else A * k.h[n])), k.h[n]])
        return LinOSSCarry(h, z), p.C.T @ h + p.W[:, N:].T @ x

    check_against(cell, step)
    check_against(cell, step, options={"state_size": 3})


@pytest.mark.parametrize("cell", [linoss_im, linoss_imex], ids=lambda cell: cell.name)
def test_linoss_without_input_dissipates_or_keeps_its_energy(cell) -> None:
    params, _, carry = draw(Subject(cell), T, ())
    A, Delta = np.maximum(params.A_hat, 0), sigmoid(np.asarray(params.Delta_hat))
    start, end = (np.asarray(a) for a in carry), unroll(cell, params, jnp.zeros((T, 3)), carry, recurrence=scan)[0]
    energy = lambda h, z: A * h**2 + z**2  # noqa: E731
    if cell is linoss_im:  # each step divides both h sqrt(A) and z by the same root, and turns them
        np.testing.assert_allclose(energy(*end), energy(*start) / (1 + Delta**2 * A) ** T, atol=1e-12)
    else:
        kept = lambda h, z: energy(h, z) - Delta * A * h * z  # noqa: E731
        np.testing.assert_allclose(kept(*end), kept(*start), atol=1e-12)


def test_mega_ema() -> None:
    """Unit by unit, with the paper's u, alpha, delta and eta as vectors of its size h."""

    def step(p, k, x):
        u, h, y = p.W.T @ x, np.zeros_like(k.h), np.zeros(len(k.h))
        for j in range(len(h)):
            alpha, delta = sigmoid(p.alpha_hat[j]), sigmoid(p.delta_hat[j])
            h[j] = alpha * (p.beta[j] * u[j]) + (1 - alpha * delta) * k.h[j]
            y[j] = p.eta[j] @ h[j]
        return Hidden(h), y

    check_against(mega_ema, step)
    check_against(mega_ema, step, options={"state_size": 3})


def test_mega_ema_without_damping_is_a_moving_average() -> None:
    """With delta, beta and eta at 1: a constant input is approached as ``1 - (1 - alpha)^t``."""
    params = mega_ema.init(jax.random.key(0), 3, 5, state_size=1, dtype=jnp.float64)
    ones = jnp.ones_like(params.beta)
    params = params._replace(delta_hat=40 * ones, beta=ones, eta=ones)
    outs = unroll(mega_ema, params, jnp.ones((T, 3)), recurrence=scan)[1]
    alpha = sigmoid(np.asarray(params.alpha_hat))[:, 0]
    t = np.arange(1, T + 1)[:, None]
    np.testing.assert_allclose(outs, (1 - (1 - alpha) ** t) * np.asarray(params.W).sum(0), atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"memory_size": 3, "context_size": 2}], ids=["defaults", "sizes"])
def test_ffm(options) -> None:
    """Trace by trace and context by context, in complex numbers, as the authors' code has it."""

    def step(p, k, x):
        M, N, H = len(p.alpha), len(p.omega), len(p.b_z)
        v, a_w, a_o, r = np.split(p.W.T @ x + p.b, [M, 2 * M, 2 * M + H])
        s = np.zeros((M, N), complex)
        for m in range(M):
            for n in range(N):
                gamma = np.exp(-abs(p.alpha[m]) + 1j * p.omega[n])
                s[m, n] = gamma * (k.re[m, n] + 1j * k.im[m, n]) + sigmoid(a_w[m]) * v[m]
        of_re, of_im = np.split(p.C, 2)
        z = s.real.ravel() @ of_re - s.imag.ravel() @ of_im + p.b_z
        normal = (z - z.mean()) / np.sqrt(z.var() + 1e-5)
        return ComplexCarry(s.real, s.imag), sigmoid(a_o) * normal + (1 - sigmoid(a_o)) * r

    check_against(ffm, step, options=options)


def test_ffm_keeps_what_it_saw_and_how_long_ago() -> None:
    """A single input fades by traces and turns by contexts: after t steps by ``exp(-alpha t)`` and ``omega t``."""
    params = ffm.init(jax.random.key(0), 3, 5, memory_size=4, context_size=3, dtype=jnp.float64)
    xs = jnp.zeros((T, 3)).at[0].set(jnp.asarray([1.0, -2.0, 0.5]))
    first, last = (jax.tree.map(np.asarray, unroll(ffm, params, xs[:n], recurrence=scan)[0]) for n in (1, T))
    assert not np.any(first.im), "the phase tells the age"
    gamma = np.exp((T - 1) * (-np.asarray(params.alpha)[:, None] + 1j * np.asarray(params.omega)))
    np.testing.assert_allclose(last.re + 1j * last.im, gamma * first.re, atol=1e-14)


def test_ffm_starts_with_the_authors_rates_and_periods() -> None:
    params = ffm.init(jax.random.key(0), 2, 3, max_period=200.0, dtype=jnp.float64)
    rates, periods = np.asarray(params.alpha), 2 * np.pi / np.asarray(params.omega)
    assert (rates.shape, periods.shape) == ((32,), (4,))
    np.testing.assert_allclose(np.exp(-200 * rates[-1]), 0.01)
    np.testing.assert_allclose(np.diff(rates), (rates[-1] - 0.67) / 31)
    np.testing.assert_allclose(periods, [1, 1 + 199 / 3, 1 + 398 / 3, 200])

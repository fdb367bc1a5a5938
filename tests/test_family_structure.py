"""Cells without gates or with structure, against NumPy loops written from the papers' equations, and their theorems."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from reference import check_against, sigmoid, unpack

from jaxseq import trace, unroll
from jaxseq.cells import CELLS, indrnn, indrnn_tanh, minimal_rnn, modrelu_rnn, rnn
from jaxseq.cells._antisymmetric_rnn import antisymmetric_rnn, antisymmetric_rnn_gated
from jaxseq.cells._cfc import cfc
from jaxseq.cells._clockwork import clockwork
from jaxseq.cells._cornn import CoRNNCarry, CoRNNParams, cornn
from jaxseq.cells._esn import esn
from jaxseq.cells._exp_rnn import exp_rnn, materialise, orthogonal_matrix
from jaxseq.cells._fast_rnn import fast_grnn, fast_rnn
from jaxseq.cells._inputs import Spaced
from jaxseq.cells._lem import lem
from jaxseq.cells._lipschitz_rnn import lipschitz_rnn, symmetrised
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._ltc import ltc
from jaxseq.cells._parts import Hidden
from jaxseq.cells._scrn import SCRNCarry, scrn
from jaxseq.cells._unicornn import UnICORNNCarry, unicornn
from jaxseq.initializers import spectral_radius
from jaxseq.recurrence import scan
from jaxseq.testing import Subject, draw


def column(step):
    """Let a step be written on columns, as in the papers: ``W x`` with W transposed from ours."""
    return lambda p, k, x: step(jax.tree.map(lambda a: a.T, p), k, x)


@pytest.mark.parametrize(("cell", "sigma"), [(indrnn, lambda a: np.maximum(a, 0)), (indrnn_tanh, np.tanh)])
def test_indrnn(cell, sigma) -> None:
    @column
    def step(p, k, x):
        h = sigma(p.W @ x + np.diag(p.u) @ k.h + p.b)
        return Hidden(h), h

    check_against(cell, step)


def test_scrn() -> None:
    alpha = 0.8

    def step(p, k, x):
        B, A = unpack(p.W, "s h").values()
        bias = unpack(p.b, "s h")
        s = (1 - alpha) * (B.T @ x + bias["s"]) + alpha * k.s
        h = sigmoid(p.P.T @ s + A.T @ x + p.U.T @ k.h + bias["h"])
        return SCRNCarry(h, s), p.V_h.T @ h + p.V_s.T @ s

    check_against(scrn.with_(alpha=alpha), step)


def test_minimal_rnn() -> None:
    @column
    def step(p, k, x):
        z = np.tanh(p.W @ x + p.b)
        u = sigmoid(p.U @ k.h + p.U_z @ z + p.b_u)
        h = z + u * (k.h - z)
        return Hidden(h), h

    check_against(minimal_rnn, step)


def test_fast_rnn() -> None:
    @column
    def step(p, k, x):
        h = sigmoid(p.beta) * k.h + sigmoid(p.alpha) * np.tanh(p.U @ k.h + p.W @ x + p.b)
        return Hidden(h), h

    check_against(fast_rnn, step)


def test_fast_grnn() -> None:
    @column
    def step(p, k, x):
        bias = unpack(p.b, "z h")
        z = sigmoid(p.W @ x + p.U @ k.h + bias["z"])
        n = np.tanh(p.W @ x + p.U @ k.h + bias["h"])
        h = z * k.h + sigmoid(p.nu) * n + sigmoid(p.zeta) * n - sigmoid(p.zeta) * z * n
        return Hidden(h), h

    check_against(fast_grnn, step)


def test_antisymmetric_rnn() -> None:
    epsilon, gamma = 0.3, 0.2

    @column
    def step(p, k, x):
        h = k.h + epsilon * np.tanh((p.U - p.U.T - gamma * np.eye(5)) @ k.h + p.W @ x + p.b)
        return Hidden(h), h

    check_against(antisymmetric_rnn.with_(epsilon=epsilon, gamma=gamma), step)


def test_antisymmetric_rnn_gated() -> None:
    epsilon, gamma = 0.3, 0.2

    def step(p, k, x):
        V, bias = unpack(p.W, "z h"), unpack(p.b, "z h")
        recurrent = (p.U.T - p.U - gamma * np.eye(5)) @ k.h
        z = sigmoid(recurrent + V["z"].T @ x + bias["z"])
        h = k.h + epsilon * z * np.tanh(recurrent + V["h"].T @ x + bias["h"])
        return Hidden(h), h

    check_against(antisymmetric_rnn_gated.with_(epsilon=epsilon, gamma=gamma), step)


@pytest.mark.parametrize("cell", [antisymmetric_rnn, antisymmetric_rnn_gated])
def test_antisymmetric_matrices_have_eigenvalues_of_one_real_part(cell) -> None:
    """Read off the cell's own hidden terms, whose matrix is their Jacobian."""
    gamma = 0.07
    cell = cell.with_(gamma=gamma)
    params, _, carry = draw(Subject(cell, 3, 6), 1, ())
    M = jax.jacobian(lambda h: cell.hidden_terms(params, Hidden(h)))(carry.h)
    eigenvalues = np.linalg.eigvals(np.asarray(M))
    np.testing.assert_allclose(eigenvalues.real, -gamma, atol=1e-12)
    assert np.abs(eigenvalues.imag).max() > 0.1


def test_lipschitz_rnn() -> None:
    epsilon, beta_A, beta_B, gamma_A, gamma_B = 0.2, 0.7, 0.4, 0.1, 0.3

    def step(p, k, x):
        M_A, M_W = (m.T for m in unpack(p.U, "A W").values())
        A = (1 - beta_A) * (M_A + M_A.T) + beta_A * (M_A - M_A.T) - gamma_A * np.eye(5)
        W = (1 - beta_B) * (M_W + M_W.T) + beta_B * (M_W - M_W.T) - gamma_B * np.eye(5)
        h = k.h + epsilon * (A @ k.h + np.tanh(W @ k.h + p.W.T @ x + p.b))
        return Hidden(h), h

    check_against(
        lipschitz_rnn.with_(epsilon=epsilon, beta_A=beta_A, beta_B=beta_B, gamma_A=gamma_A, gamma_B=gamma_B), step
    )


def test_lipschitz_symmetries() -> None:
    M = jax.random.normal(jax.random.key(0), (6, 6), jnp.float64)
    antisymmetric, symmetric = (np.asarray(symmetrised(M, beta, 0.05)) for beta in (1.0, 0.0))
    np.testing.assert_allclose(np.linalg.eigvals(antisymmetric).real, -0.05, atol=1e-12)
    np.testing.assert_allclose(symmetric, symmetric.T)
    np.testing.assert_allclose(symmetric, M + M.T - 0.05 * np.eye(6), atol=1e-14)


def test_cornn() -> None:
    dt, gamma, epsilon = 0.2, 1.3, 0.7

    @column
    def step(p, k, x):
        force = np.tanh(p.U @ k.h + p.U_z @ k.z + p.W @ x + p.b)
        z = k.z + dt * force - dt * gamma * k.h - dt * epsilon * k.z
        y = k.h + dt * z
        return CoRNNCarry(y, z), y

    check_against(cornn.with_(dt=dt, gamma=gamma, epsilon=epsilon), step)


def oscillate(cell, steps: int = 1000):
    """Let oscillators swing without input and without coupling; return h and z ``[steps + 1, H]``."""
    params = CoRNNParams(*(jnp.zeros(shape, jnp.float64) for shape in [(3, 5), (5, 5), (5, 5), (5,)]))
    start = CoRNNCarry(jnp.linspace(-2, 1, 5, dtype=jnp.float64), jnp.linspace(0.5, 1, 5, dtype=jnp.float64))
    _, seen = trace(cell, params, jnp.zeros((steps, 3)), start)
    return [np.concatenate([np.asarray(a)[None], np.asarray(b)]) for a, b in zip(start, seen.carries, strict=True)]


def test_an_undamped_cornn_conserves_energy() -> None:
    dt, gamma = 0.05, 1.5
    h, z = oscillate(cornn.with_(dt=dt, gamma=gamma, epsilon=0.0))
    energy = (gamma * h**2 + z**2) / 2
    shadow = energy - gamma * dt * h * z / 2
    np.testing.assert_allclose(shadow, np.broadcast_to(shadow[0], shadow.shape), rtol=1e-11)
    assert np.abs(energy / energy[0] - 1).max() < gamma * dt  # first order in dt, and no drift:
    assert np.abs(energy[-100:].mean(0) / energy[:100].mean(0) - 1).max() < 0.02
    assert np.ptp(h, axis=0).min() > 1  # they do swing


def test_a_damped_cornn_comes_to_rest() -> None:
    h, z = oscillate(cornn.with_(dt=0.05, gamma=1.5, epsilon=0.5))
    assert np.abs(np.stack([h, z]))[:, -1].max() < 1e-4


def test_unicornn() -> None:
    dt, alpha = 0.3, 0.6

    @column
    def step(p, k, x):
        chosen = 0.5 + 0.5 * np.tanh(p.c / 2)
        z = k.z - dt * chosen * (np.tanh(p.u * k.h + p.W @ x + p.b) + alpha * k.h)
        y = k.h + dt * chosen * z
        return UnICORNNCarry(y, z), y

    check_against(unicornn.with_(dt=dt, alpha=alpha), step)


def test_unicornn_steps_keep_volumes_and_can_be_undone() -> None:
    dt, alpha = 0.4, 0.5
    cell = unicornn.with_(dt=dt, alpha=alpha)
    params, xs, carry = draw(Subject(cell, 3, 4), 50, ())
    step = lambda both, x: jnp.concatenate(cell.step(params, UnICORNNCarry(*jnp.split(both, 2)), x)[0])  # noqa: E731
    volume = jnp.linalg.det(jax.jacobian(step)(jnp.concatenate(carry), xs[0]))
    np.testing.assert_allclose(volume, 1, rtol=1e-12)
    h, z = unroll(cell, params, xs, carry)[0]
    for x in xs[::-1]:
        h = h - dt * jax.nn.sigmoid(params.c) * z
        force = jnp.tanh(params.u * h + x @ params.W + params.b) + alpha * h
        z = z + dt * jax.nn.sigmoid(params.c) * force
    np.testing.assert_allclose(jnp.stack([h, z]), jnp.stack(carry), rtol=1e-11)


def test_unicornn_conserves_its_hamiltonian() -> None:
    dt, alpha = 0.02, 0.5
    cell = unicornn.with_(dt=dt, alpha=alpha)
    params, xs, carry = draw(Subject(cell, 3, 4), 1, ())
    _, seen = trace(cell, params, jnp.broadcast_to(xs, (1500, 3)), carry)
    (W, u, _, b), (h, z), x = jax.tree.map(np.asarray, (params, seen.carries, xs[0]))
    H = (alpha * h**2 + z**2) / 2 + np.log(np.cosh(u * h + x @ W + b)) / u
    assert np.all(np.ptp(H, axis=0) < 0.05 * np.ptp(z**2 / 2, axis=0))


def test_lem() -> None:
    dt = 0.7

    def step(p, k, x):
        V, W, b = unpack(p.W, "1 2 z y"), unpack(p.U, "1 2 z"), unpack(p.b, "1 2 z y")
        step_z = dt * sigmoid(W["1"].T @ k.h + V["1"].T @ x + b["1"])
        step_y = dt * sigmoid(W["2"].T @ k.h + V["2"].T @ x + b["2"])
        z = (1 - step_z) * k.c + step_z * np.tanh(W["z"].T @ k.h + V["z"].T @ x + b["z"])
        y = (1 - step_y) * k.h + step_y * np.tanh(p.U_h.T @ z + V["y"].T @ x + b["y"])
        return LSTMCarry(y, z), y

    check_against(lem.with_(dt=dt), step)


def test_lem_stays_bounded() -> None:
    params, xs, _ = draw(Subject(lem, 3, 5), 200, (4,))
    _, seen = trace(lem, jax.tree.map(lambda a: 5 * a, params), xs)
    assert max(float(jnp.abs(a).max()) for a in seen.carries) <= 1


@pytest.mark.parametrize("H", [5, 8])
def test_clockwork(H: int) -> None:
    periods = (1, 2, 4)
    modules = np.array_split(np.arange(H), 3) if H == 8 else [[0, 1], [2, 3], [4]]
    sizes = [len(m) for m in modules]

    def step(p, k, x):
        x, t = x
        ends = np.cumsum([0, *sizes])
        h = k.h.copy()
        for i, T in enumerate(periods):
            if round(float(t[0])) % T:
                continue
            own = slice(ends[i], ends[i + 1])
            a = x @ p.W[:, own] + p.b[own]
            for j in range(i, len(periods)):  # slower modules, and itself
                other = slice(ends[j], ends[j + 1])
                a = a + k.h[other] @ p.U[other, own]
            h[own] = np.tanh(a)
        return Hidden(h), h

    check_against(clockwork.with_(periods=periods), step, sizes=(9, 4, 3, H))


def test_a_clockwork_of_period_one_is_an_elman_network() -> None:
    cell = clockwork.with_(periods=(1,))
    params, xs, carry = draw(Subject(cell, 3, 5), 6, (2,))
    got = unroll(cell, params, xs, carry)
    want = unroll(rnn, CELLS["rnn"].params_type(*params), xs.x, rnn.initial_carry(params, (2,))._replace(h=carry.h))
    np.testing.assert_allclose(got[1], want[1], rtol=1e-13)


def test_clockwork_modules_hold_between_their_ticks() -> None:
    params, xs, carry = draw(Subject(clockwork, 3, 8), 16, ())
    _, seen = trace(clockwork, params, xs.x, carry)
    for unit, period in enumerate((1, 1, 2, 2, 4, 4, 8, 8)):
        runs = np.arange(16) % period == 0
        np.testing.assert_array_equal(seen.gates.runs[:, unit], runs)
        changed = np.diff(np.asarray(seen.outs[:, unit])) != 0
        np.testing.assert_array_equal(changed, runs[1:])


def test_esn() -> None:
    @column
    def step(p, k, x):
        h = 0.6 * k.h + 0.4 * np.tanh(p.W @ x + p.U @ k.h + p.b)
        return Hidden(h), h

    check_against(esn.with_(leak=0.4), step)


def test_an_esn_forgets_where_it_started() -> None:
    params = esn.init(jax.random.key(0), 3, 40, dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(1), (400, 2, 3), jnp.float64).at[:, 1].set(0)
    xs = xs.at[:, 1].set(xs[:, 0])
    starts = Hidden(jnp.stack([jnp.ones(40), -jnp.ones(40)]))
    h = unroll(esn, params, xs, starts)[0].h
    np.testing.assert_allclose(h[0], h[1], atol=1e-6)


@pytest.mark.parametrize(
    ("H", "dtype", "error"), [(1, jnp.float64, 1e-12), (5, jnp.float64, 1e-6), (80, jnp.float32, 1e-5)]
)
def test_spectral_radius(H: int, dtype, error: float) -> None:
    M = jax.jit(lambda key: spectral_radius(0.9)(key, (H, H), dtype))(jax.random.key(3))
    assert M.dtype == dtype
    radius = np.abs(np.linalg.eigvals(np.asarray(M, np.float64))).max()
    np.testing.assert_allclose(radius, 0.9, rtol=error)


def test_spectral_radius_of_bfloat16() -> None:
    M = spectral_radius(1.2)(jax.random.key(0), (20, 20), jnp.bfloat16)
    assert M.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(np.asarray(M, np.float64))).max(), 1.2, rtol=0.02)


def test_modrelu_rnn() -> None:
    """Equation 8 of the paper for real numbers, whose phase is their sign."""

    def step(p, k, x):
        h = np.zeros_like(k.h)
        for j, a in enumerate(p.W.T @ x + p.U.T @ k.h):
            if abs(a) + p.b[j] >= 0:
                h[j] = (abs(a) + p.b[j]) * a / abs(a)
        return Hidden(h), h

    check_against(modrelu_rnn, step)


def test_exp_rnn() -> None:
    def step(p, k, x):
        S = np.zeros_like(p.A)
        for i in range(len(S)):
            for j in range(i + 1, len(S)):
                S[i, j], S[j, i] = p.A[i, j], -p.A[i, j]
        a = scipy.linalg.expm(S).T @ k.h + p.W.T @ x
        h = np.where(np.abs(a) + p.b >= 0, (np.abs(a) + p.b) * a / np.abs(a), 0)
        return Hidden(h), h

    check_against(exp_rnn, step)


def test_modrelu_rnn_materialised_equals_exp_rnn() -> None:
    params, xs, carry = draw(Subject(exp_rnn, 3, 5), 6, (2,))
    f = lambda p: jnp.sin(unroll(exp_rnn, p, xs, carry, recurrence=scan)[1]).sum()  # noqa: E731
    g = lambda p: jnp.sin(unroll(modrelu_rnn, materialise(p), xs, carry)[1]).sum()  # noqa: E731
    (got, got_grads), (want, want_grads) = (jax.jit(jax.value_and_grad(one))(params) for one in (g, f))
    np.testing.assert_allclose(got, want, rtol=1e-12)
    for a, b in zip(got_grads, want_grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_an_orthogonal_network_keeps_norms_over_1000_steps() -> None:
    params = exp_rnn.init(jax.random.key(0), 3, 6, dtype=jnp.float64)
    params = params._replace(A=params.A + jax.random.normal(jax.random.key(1), (6, 6), jnp.float64))
    start = Hidden(jax.random.normal(jax.random.key(2), (4, 6), jnp.float64))
    norm = jnp.linalg.norm(start.h, axis=-1)
    run = lambda cell, p: unroll(cell, p, jnp.zeros((1000, 4, 3)), start, recurrence=scan)[1]  # noqa: E731
    for outs in (run(modrelu_rnn, materialise(params)), run(exp_rnn, params)):
        np.testing.assert_allclose(jnp.linalg.norm(outs, axis=-1), jnp.broadcast_to(norm, (1000, 4)), rtol=1e-11)
    U = orthogonal_matrix(params.A)
    np.testing.assert_allclose(U @ U.T, np.eye(6), atol=1e-14)


def test_cfc() -> None:
    def step(p, k, x):
        x, t = x
        W, U, b = (unpack(a, "f g h") for a in p)
        f = W["f"].T @ x + U["f"].T @ k.h + b["f"]
        g, h = (np.tanh(W[n].T @ x + U[n].T @ k.h + b[n]) for n in "gh")
        new = g / (1 + np.exp(f * t)) + h * (1 - 1 / (1 + np.exp(f * t)))
        return Hidden(new), new

    check_against(cfc, step)


def test_cfc_is_between_its_two_states_by_the_time() -> None:
    params, xs, carry = draw(Subject(cfc, 3, 5), 1, ())
    at = lambda t: trace(cfc, params, Spaced(xs.x, jnp.full((1, 1), t)), carry)[1]  # noqa: E731
    now, later = at(0.0), at(1e6)
    np.testing.assert_allclose(now.outs, (now.gates.g + now.gates.k) / 2, rtol=1e-13)
    np.testing.assert_allclose(later.outs, jnp.where(later.gates.f < 0, later.gates.g, later.gates.k), rtol=1e-13)


@pytest.mark.parametrize("unfolds", [1, 6])
def test_ltc(unfolds: int) -> None:
    def step(p, k, x):
        x, t = x
        h = k.h
        for _ in range(unfolds):
            f = sigmoid(p.W.T @ x + p.U.T @ h + p.b)
            tau = 1 / np.log1p(np.exp(p.leak))
            dt = t / unfolds
            h = (h + dt * f * p.A) / (1 + dt * (1 / tau + f))
        return Hidden(h), h

    check_against(ltc.with_(unfolds=unfolds), step)


def test_ltc_converges_to_the_solution_of_its_equation() -> None:
    """The fused solver is of first order: twice the steps, half the error, against an independent ODE solver."""
    from scipy.integrate import solve_ivp

    params, xs, carry = draw(Subject(ltc, 3, 5), 1, ())
    W, U, b, A, leak = (np.asarray(a) for a in params)
    x, rate = np.asarray(xs.x[0]), np.log1p(np.exp(leak))

    def equation(_, h):
        f = sigmoid(x @ W + h @ U + b)
        return -(rate + f) * h + f * A

    want = solve_ivp(equation, (0, 1.5), np.asarray(carry.h), rtol=1e-10, atol=1e-12).y[:, -1]
    x1 = Spaced(xs.x[0], jnp.full((1,), 1.5))
    errors = [np.abs(np.asarray(ltc.with_(unfolds=n).step(params, carry, x1)[1]) - want).max() for n in (20, 40)]
    assert errors[0] < 0.02 and 1.8 < errors[0] / errors[1] < 2.2


def test_ltc_states_and_time_constants_stay_in_their_bounds() -> None:
    """Theorems 1 and 2 of the paper, for inputs and weights a hundred times as large as usual."""
    params, xs, _ = draw(Subject(ltc, 3, 5), 100, (4,))
    params = params._replace(W=100 * params.W, U=100 * params.U)
    _, seen = trace(ltc, params, xs.x)
    low, high = jnp.minimum(0, params.A), jnp.maximum(0, params.A)
    assert bool(((seen.outs >= low[None, None]) & (seen.outs <= high[None, None])).all())
    tau = 1 / jax.nn.softplus(params.leak)[None, None]
    assert bool(((seen.gates.tau >= tau / (1 + tau) * (1 - 1e-12)) & (seen.gates.tau <= tau)).all())

"""State-space cells against NumPy loops written from the papers' equations, and what the papers say of them."""

import jax
import jax.numpy as jnp
import numpy as np
from reference import check_against

from jaxseq import unroll
from jaxseq.cells import mamba
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
                h[d, n] = np.exp(Delta[d] * -np.exp(p.log_A[d, n])) * k.h[d, n] + Delta[d] * B[n] * u[d]
                y[d] += C[n] * h[d, n]
        return Hidden(h), y

    check_against(mamba, step)
    check_against(mamba, step, options={"state_size": 3, "rank": 2})


def test_mamba_is_attention_with_a_decay() -> None:
    """Unrolled: ``y_t = sum over s <= t of C_t exp(A (Delta_(s+1) + ... + Delta_t)) B_s Delta_s u_s``, plus the skip."""
    cell = mamba.replace(init=lambda *args, **rest: mamba.init(*args, **rest, state_size=3))
    p, xs, _ = jax.tree.map(np.asarray, draw(Subject(cell), T, ()))
    outs = unroll(mamba, p, jnp.asarray(xs), recurrence=scan)[1]
    H, N = p.log_A.shape
    u, low, B, C = np.split(xs @ p.W, [H, H + 1, H + 1 + N], axis=-1)
    Delta = np.log1p(np.exp(low @ p.W_Delta + p.b))
    clock = np.cumsum(Delta, axis=0)
    decay = np.exp(-np.exp(p.log_A) * (clock[:, None] - clock)[..., None])  # [t, s, H, N]
    weights = np.tril(np.ones((T, T)))[..., None] * np.einsum("tn,tshn,sn->tsh", C, decay, B)
    np.testing.assert_allclose(outs, np.einsum("tsh,sh->th", weights, Delta * u) + p.skip * u, atol=1e-12)


def test_mamba_starts_with_short_steps_and_real_poles() -> None:
    p = mamba.init(jax.random.key(0), 40, 5000, state_size=4, dtype=jnp.float64)
    assert p.W.shape == (40, 5000 + 3 + 8), "rank 3 for 40 features"
    Delta = np.sort(np.log1p(np.exp(p.b)))
    assert 0.001 <= Delta[0] and Delta[-1] <= 0.1
    share = np.log(Delta / 0.001) / np.log(100)
    assert np.abs(share - (np.arange(5000) + 0.5) / 5000).max() < 1.63 / np.sqrt(5000), "Kolmogorov-Smirnov at 1 %"
    np.testing.assert_allclose(np.exp(p.log_A), np.broadcast_to([1, 2, 3, 4], (5000, 4)))

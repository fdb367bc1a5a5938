"""Cells with a matrix for a memory against NumPy written from the papers, head by head, and what the papers say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid

from jaxseq import InputError, unroll
from jaxseq.cells import (
    CELLS,
    Memory,
    deltanet,
    deltaproduct,
    fast_weight,
    gated_deltanet,
    hgrn2,
    linear_transformer,
    longhorn,
    mamba2,
    rwkv6,
    rwkv7,
    titans,
    ttt_linear,
)
from jaxseq.cells._linear_transformer import NormalisedMemory
from jaxseq.cells._rwkv6 import RWKVCarry
from jaxseq.cells._titans import TitansCarry
from jaxseq.cells._ttt_linear import TTTLinearCarry
from jaxseq.recurrence import chunked, scan
from jaxseq.testing import Subject, draw

HEADS = pytest.mark.parametrize("heads", [1, 2])
SIZES = (7, 4, 3, 6)


def softplus(a):
    return np.log1p(np.exp(a))


def silu(a):
    return a * sigmoid(a)


def unit(a):
    return a / np.sqrt((a * a).sum(-1, keepdims=True) + 1e-6)


def per_head(heads, *rows):
    """Rows of all units, cut into those of each head."""
    return [row.reshape(heads, -1) for row in rows]


def norm(p, scale, shift):
    """The group norm of RWKV's heads, ``[N, K]`` to ``[H]``."""
    p = (p - p.mean(-1, keepdims=True)) / np.sqrt(p.var(-1, keepdims=True) + 64e-5)
    return p.reshape(-1) * scale + shift


@HEADS
def test_linear_transformer(heads: int) -> None:
    def step(p, k, x):
        q, key, v = per_head(heads, *np.split(x @ p.W + p.b.reshape(-1), 3))
        q, key = (np.where(a > 0, a + 1, np.exp(a)) for a in (q, key))
        S = k.S + np.stack([np.outer(a, b) for a, b in zip(key, v, strict=True)])
        z = k.z + key
        rows = [q[n] @ S[n] / (q[n] @ z[n]) for n in range(heads)]
        return NormalisedMemory(S, z), np.concatenate(rows)

    check_against(linear_transformer, step, sizes=SIZES, options={"heads": heads})


def test_linear_transformer_puts_out_averages_of_values() -> None:
    """With positive weights that sum to 1: a value that is the same at all steps is what comes out."""
    params, xs, _ = draw(Subject(linear_transformer, 3, 4), 6, (2,))
    params = params._replace(W=params.W.at[:, 8:].set(0.0))
    outs = unroll(linear_transformer, params, xs)[1]
    np.testing.assert_allclose(outs, np.broadcast_to(params.b[2], outs.shape), rtol=1e-12)


@HEADS
def test_mamba2(heads: int) -> None:
    def step(p, k, x):
        N = heads
        v, a_delta = np.split(x @ p.W, [6])
        B, C = np.split(x @ p.W_kq, 2)
        delta = softplus(a_delta + p.b)
        (v,) = per_head(N, v)
        S = np.stack(
            [np.exp(-np.exp(p.log_rate[n]) * delta[n]) * k.S[n] + np.outer(B, delta[n] * v[n]) for n in range(N)]
        )
        return Memory(S), np.concatenate([C @ S[n] + p.d[n] * v[n] for n in range(N)])

    check_against(mamba2, step, sizes=SIZES, options={"heads": heads})
    check_against(mamba2, step, sizes=SIZES, options={"heads": heads, "state_size": 4})


def test_mamba2_is_attention_with_a_mask_of_decays() -> None:
    """The duality of the title: ``(C B^T * L) delta v + d v`` with the semiseparable mask L."""
    params, xs, _ = draw(Subject(mamba2, 3, 4), 8, ())
    outs = unroll(mamba2, params, xs, recurrence=scan)[1]
    p, x = jax.tree.map(np.asarray, (params, xs))
    (v, a_delta), (B, C) = np.split(x @ p.W, [4], axis=-1), np.split(x @ p.W_kq, 2, axis=-1)
    delta = softplus(a_delta + p.b)
    since = np.cumsum(-np.exp(p.log_rate) * delta[:, 0])
    L = np.tril(np.exp(np.minimum(since[:, None] - since, 0)))
    np.testing.assert_allclose(outs, (C @ B.T * L) @ (delta * v) + p.d * v, atol=1e-12)


def test_mamba2_starts_with_the_authors_rates_and_steps() -> None:
    params = mamba2.init(jax.random.key(0), 2, 4000, heads=4000, state_size=1, dtype=jnp.float64)
    rate, step = np.exp(params.log_rate), np.log10(softplus(np.asarray(params.b)))
    for sample, low, high in ((rate, 1, 16), (step, -3, -1)):
        assert low - 1e-5 <= sample.min() and sample.max() <= high + 1e-5
        assert abs(sample.mean() - (low + high) / 2) < 0.03 * (high - low)


@HEADS
def test_gated_deltanet(heads: int) -> None:
    def step(p, k, x):
        N = heads
        q, key = (unit(silu(a)) for a in per_head(N, *np.split(x @ p.W, 2)))
        v, a, b = np.split(x @ p.W_v, [6, 6 + N])
        alpha, beta = np.exp(-np.exp(p.log_rate) * softplus(a + p.b)), sigmoid(b)
        (v,) = per_head(N, v)
        S = np.empty_like(k.S)
        for n in range(N):
            kept = np.eye(6 // N) - beta[n] * np.outer(key[n], key[n])
            S[n] = alpha[n] * kept @ k.S[n] + beta[n] * np.outer(key[n], v[n])
        return Memory(S), np.concatenate([q[n] @ S[n] for n in range(N)])

    check_against(gated_deltanet, step, sizes=SIZES, options={"heads": heads})


def test_gated_deltanet_without_a_gate_is_the_deltanet() -> None:
    params, xs, _ = draw(Subject(gated_deltanet, 3, 4), 6, (2,))
    outs = unroll(gated_deltanet, params._replace(log_rate=jnp.full((1,), -1e4)), xs)[1]
    plain = deltanet.init(jax.random.key(0), 3, 4, dtype=jnp.float64)
    plain = plain._replace(W=params.W, W_v=jnp.delete(params.W_v, 4, axis=1))
    np.testing.assert_allclose(outs, unroll(deltanet, plain, xs)[1], atol=1e-12)


@HEADS
@pytest.mark.parametrize("writes", [1, 2, 3])
def test_deltaproduct(heads: int, writes: int) -> None:
    def step(p, k, x):
        N, n = heads, writes
        q = unit(silu(x @ p.W).reshape(N, -1))
        keys, values = unit(silu(x @ p.W_k).reshape(n, N, -1)), (x @ p.W_v).reshape(n, N, -1)
        beta, S = 2 * sigmoid(x @ p.W_beta).reshape(n, N), k.S.copy()
        for j in range(n):
            for h in range(N):
                kept = np.eye(6 // N) - beta[j, h] * np.outer(keys[j, h], keys[j, h])
                S[h] = kept @ S[h] + beta[j, h] * np.outer(keys[j, h], values[j, h])
        return Memory(S), np.concatenate([q[h] @ S[h] for h in range(N)])

    check_against(deltaproduct, step, sizes=SIZES, options={"heads": heads, "writes": writes})


def test_two_reflections_turn_a_memory() -> None:
    """Rates of 2 along keys at an angle of 60 degrees: a third of a turn, which one write cannot make."""
    equations = deltaproduct.equations
    keys = jnp.asarray([[1.0, 0.0], [0.5, 0.75**0.5]])

    def transition(S):
        params = deltaproduct.init(jax.random.key(0), 2, 2, dtype=jnp.float64)
        access, _ = equations.access(params, deltaproduct.input_terms(params, jnp.zeros(2)), None)
        writes = [w._replace(key=k[None], erase=2 * k[None]) for w, k in zip(access.writes, keys, strict=True)]
        return access._replace(writes=tuple(writes)).take(S)[0]

    S = jax.random.normal(jax.random.key(1), (1, 2, 2), jnp.float64)
    once = transition(S)
    assert float(jnp.abs(once - S).max()) > 0.1
    np.testing.assert_allclose(transition(transition(once)), S, atol=1e-12)


@HEADS
def test_fast_weight(heads: int) -> None:
    def phi(a):
        r = np.concatenate([np.maximum(a, 0), np.maximum(-a, 0)], axis=-1)
        products = np.stack([r[..., i] * r[..., i - 1] for i in range(r.shape[-1])], axis=-1)
        return products / (products.sum(-1, keepdims=True) + 1e-6)

    def step(p, k, x):
        q, key = (phi(a) for a in per_head(heads, *np.split(x @ p.W, 2)))
        v, b = np.split(x @ p.W_v, [6])
        beta, (v,) = sigmoid(b), per_head(heads, v)
        S = np.stack([k.S[n] + beta[n] * np.outer(key[n], v[n] - key[n] @ k.S[n]) for n in range(heads)])
        return Memory(S), np.concatenate([q[n] @ S[n] for n in range(heads)])

    check_against(fast_weight, step, sizes=SIZES, options={"heads": heads})


@HEADS
def test_hgrn2(heads: int) -> None:
    def step(p, k, x):
        a_f, a_v, a_q = per_head(heads, *np.split(x @ p.W, 3))
        least = sigmoid(p.gamma)
        f = least + (1 - least) * sigmoid(a_f)
        S = np.stack([np.diag(f[n]) @ k.S[n] + np.outer(1 - f[n], silu(a_v[n])) for n in range(heads)])
        return Memory(S), np.concatenate([silu(a_q[n]) @ S[n] for n in range(heads)])

    check_against(hgrn2, step, sizes=SIZES, options={"heads": heads})


def test_hgrn2_retains_at_least_what_it_is_told() -> None:
    params = hgrn2.init(jax.random.key(0), 3, 4, least=0.75, dtype=jnp.float64)
    gates = hgrn2.advance(params, hgrn2.initial_carry(params), hgrn2.input_terms(params, jnp.full(3, -1e3)))[2]
    assert float(gates.f.min()) >= 0.75


@pytest.mark.parametrize("options", [{}, {"state_size": 4}], ids=["defaults", "sizes"])
def test_longhorn(options) -> None:
    def step(p, k, x):
        q, key = np.split(x @ p.W, 2)
        v, b = np.split(x @ p.W_v, 2)
        delta = sigmoid(b) / (1 + sigmoid(b) * (key @ key))
        S = np.empty_like(k.S)
        for i in range(len(key)):
            for j in range(len(v)):
                S[i, j] = (1 - delta[j] * key[i] ** 2) * k.S[i, j] + delta[j] * v[j] * key[i]
        return Memory(S), q @ S

    check_against(longhorn, step, options=options)


def test_longhorn_solves_its_regression() -> None:
    """A key with one feature, for which nothing was approximated: the minimum of the objective."""
    params = longhorn.init(jax.random.key(0), 3, 2, state_size=1, dtype=jnp.float64)
    x, S = jnp.asarray([0.3, -1.0, 0.7]), jnp.asarray([[0.4, -0.9]])
    new, _, gates = longhorn.advance(params, Memory(S), longhorn.input_terms(params, x))
    slope = 2 * (new.S - S) + 2 * (gates.beta * (gates.k @ new.S - gates.v) * gates.k)[None]
    np.testing.assert_allclose(slope, 0, atol=1e-12)


@HEADS
def test_rwkv6(heads: int) -> None:
    def step(p, k, x):
        W, lam, A, B = (dict(zip("rkvgw", np.split(a, n, axis=-1), strict=False))
                        for a, n in ((p.W, 4), (p.lambda_, 5), (p.A, 5), (p.B, 5)))  # fmt: skip
        lerp = lambda share: x + (k.x - x) * share  # noqa: E731
        m = {n: lerp(lam[n] + np.tanh(lerp(p.mu) @ A[n]) @ B[n]) for n in "rkvgw"}
        r, key, v, g = (m[n] @ W[n] for n in "rkvg")
        w = np.exp(-np.exp(p.lambda_d + np.tanh(m["w"] @ p.A_d) @ p.B_d))
        r, key, v, w = per_head(heads, r, key, v, w)
        wkv = [np.diag(p.u[n]) @ np.outer(key[n], v[n]) + k.S[n] for n in range(heads)]
        S = np.stack([np.diag(w[n]) @ k.S[n] + np.outer(key[n], v[n]) for n in range(heads)])
        read = np.stack([r[n] @ wkv[n] for n in range(heads)])
        return RWKVCarry(S, x), silu(g) * norm(read, p.s, p.b)

    check_against(rwkv6, step, sizes=SIZES, options={"heads": heads, "rank": 2, "decay_rank": 3})


@HEADS
def test_rwkv7(heads: int) -> None:
    def step(p, k, x):
        mu = dict(zip("rwkvag", np.split(p.mu, 6), strict=True))
        m = {n: x + (k.x - x) * mu[n] for n in "rwkvag"}
        r, key, v = (m[n] @ W for n, W in zip("rkv", np.split(p.W, 3, axis=1), strict=True))
        (A_w, A_a, A_g), (B_w, B_a, B_g) = np.split(p.A, 3, axis=1), np.split(p.B, 3, axis=1)
        lambda_w, lambda_a = np.split(p.lambda_, 2)
        w = np.exp(-np.exp(-0.5) * sigmoid(lambda_w + np.tanh(m["w"] @ A_w) @ B_w))
        a, g = sigmoid(lambda_a + m["a"] @ A_a @ B_a), sigmoid(m["g"] @ A_g) @ B_g
        kappa, replaced = key * p.xi, key * (1 + (a - 1) * p.alpha)
        r, v, w, a, kappa, replaced = per_head(heads, r, v, w, a, kappa, replaced)
        kappa, S = unit(kappa), np.empty_like(k.S)
        for n in range(heads):  # as the paper has it, whose states are value by key
            wkv = k.S[n].T @ (np.diag(w[n]) - np.outer(kappa[n], a[n] * kappa[n])) + np.outer(v[n], replaced[n])
            S[n] = wkv.T
        bonus = np.concatenate([(r[n] @ (p.u[n] * replaced[n])) * v[n] for n in range(heads)])
        read = np.stack([r[n] @ S[n] for n in range(heads)])
        return RWKVCarry(S, x), g * (norm(read, p.s, p.b) + bonus)

    check_against(rwkv7, step, sizes=SIZES, options={"heads": heads, "rank": 2})


@HEADS
def test_ttt_linear(heads: int) -> None:
    def step(p, k, x):
        K = 6 // heads
        q, key, v = per_head(heads, *np.split(x @ p.W, 3))
        eta = sigmoid(x @ p.W_eta + p.b_eta) / K
        S, c, out = k.S.copy(), k.c.copy(), np.empty((heads, K))
        for n in range(heads):
            y = key[n] @ S[n] + c[n]
            size = np.sqrt(y.var() + 1e-6)
            normal = (y - y.mean()) / size
            jacobian = (np.eye(K) - 1 / K - np.outer(normal, normal) / K) / size  # of normal, by y
            answer = key[n] + p.g[n] * normal + p.b[n]
            slope = jacobian @ np.diag(p.g[n]) @ (answer - v[n])
            S[n] -= eta[n] * np.outer(key[n], slope)
            c[n] -= eta[n] * slope
            z = q[n] @ S[n] + c[n]
            out[n] = q[n] + p.g[n] * (z - z.mean()) / np.sqrt(z.var() + 1e-6) + p.b[n]
        return TTTLinearCarry(S, c), out.reshape(-1)

    check_against(ttt_linear, step, sizes=SIZES, options={"heads": heads})


def test_ttt_linear_descends_the_gradient_of_its_loss() -> None:
    """JAX's own gradient of ``|f(k) - v|^2 / 2`` by the weights and biases of the model."""
    params, xs, carry = draw(Subject(ttt_linear, 3, 4), 1, ())
    new, _, gates = ttt_linear.advance(params, carry, ttt_linear.input_terms(params, xs[0]))

    def loss(model):
        y = (gates.k[:, None] @ model.S)[:, 0] + model.c
        normal = (y - y.mean(-1, keepdims=True)) / jnp.sqrt(y.var(-1, keepdims=True) + 1e-6)
        return ((gates.k + params.g * normal + params.b - gates.v) ** 2).sum() / 2

    slopes = jax.grad(loss)(carry)
    np.testing.assert_allclose(new.S, carry.S - gates.eta[..., None] * slopes.S, atol=1e-13)
    np.testing.assert_allclose(new.c, carry.c - gates.eta * slopes.c, atol=1e-13)


def test_ttt_linear_starts_from_weights_that_are_trained() -> None:
    params, xs, _ = draw(Subject(ttt_linear, 3, 4), 5, (2,))
    start = ttt_linear.initial_carry(params, (2,))
    np.testing.assert_array_equal(start.S, jnp.broadcast_to(params.S_0, start.S.shape))
    np.testing.assert_array_equal(start.c, jnp.broadcast_to(params.c_0, start.c.shape))
    slopes = jax.grad(lambda params: unroll(ttt_linear, params, xs)[1].sum())(params)
    assert float(jnp.abs(slopes.S_0).max()) > 1e-3 and float(jnp.abs(slopes.c_0).max()) > 1e-3


@HEADS
def test_titans(heads: int) -> None:
    def step(p, k, x):
        N = heads
        q, key, v = (silu(a) for a in per_head(N, *np.split(x @ p.W, 3)))
        q, key = unit(q), unit(key)
        alpha, eta, theta = np.split(sigmoid(x @ p.W_gates + p.b), 3)
        M, S = np.empty_like(k.M), np.empty_like(k.S)
        for n in range(N):  # as the paper has it, whose memory is value by key
            slope = 2 * np.outer(k.M[n].T @ key[n] - v[n], key[n])
            S[n] = (eta[n] * k.S[n].T - theta[n] * slope).T
            M[n] = (1 - alpha[n]) * k.M[n] + S[n]
        return TitansCarry(M, S), np.concatenate([q[n] @ M[n] for n in range(N)])

    check_against(titans, step, sizes=SIZES, options={"heads": heads})


def test_titans_surprise_is_the_gradient_of_its_loss() -> None:
    params, xs, carry = draw(Subject(titans, 3, 4), 1, ())
    new, _, gates = titans.advance(params, carry, titans.input_terms(params, xs[0]))
    slope = jax.grad(lambda M: (((gates.k[:, None] @ M)[:, 0] - gates.v) ** 2).sum())(carry.M)
    np.testing.assert_allclose(new.S, gates.eta[..., None] * carry.S - gates.theta[..., None] * slope, atol=1e-13)


def test_titans_starts_without_forgetting_much() -> None:
    params = titans.init(jax.random.key(0), 3, 4, heads=2, dtype=jnp.float64)
    gates = titans.advance(params, titans.initial_carry(params), titans.input_terms(params, jnp.zeros(3)))[2]
    np.testing.assert_allclose(gates.alpha, sigmoid(-4.0))
    np.testing.assert_allclose(jnp.stack([gates.eta, gates.theta]), 0.5)


OF_HEADS = "linear_transformer mamba2 gated_deltanet deltaproduct fast_weight hgrn2 rwkv6 rwkv7".split()
OF_HEADS += ["ttt_linear", "titans"]


@pytest.mark.parametrize("name", OF_HEADS)
def test_heads_have_to_divide_the_hidden_size(name: str) -> None:
    with pytest.raises(InputError, match="heads must divide the hidden size 5; got 2"):
        CELLS[name].init(jax.random.key(0), 3, 5, heads=2)


@pytest.mark.parametrize("name", ["mamba2", "rwkv7", "titans"])
def test_a_stream_is_the_whole_fed_in_chunks(name: str) -> None:
    """Step by step with a state of constant size, last input included, as one call in chunks."""
    cell = CELLS[name]
    params, xs, carry = draw(Subject(cell, 3, 4), 11, (2,))
    step, state, outs = jax.jit(cell.step), carry, []
    for x in xs:
        state, out = step(params, state, x)
        outs.append(out)
    end, whole = unroll(cell, params, xs, carry, recurrence=chunked)
    np.testing.assert_allclose(whole, jnp.stack(outs), atol=1e-12)
    for got, want in zip(jax.tree.leaves(end), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_heads_by_vmap_are_the_heads_of_a_cell() -> None:
    """A cell of one head, over params with a leading axis of heads, is the same as one whose params have all of them.

    Without a gate a gated DeltaNet is a DeltaNet, which takes one head.
    """
    N, K = 2, 3
    params, xs, _ = draw(Subject(gated_deltanet.replace(init=of_heads(gated_deltanet, N)), 4, N * K), 7, (2,))
    want = unroll(gated_deltanet, params._replace(log_rate=jnp.full((N,), -1e4)), xs)[1]
    of_head = lambda W, count: jnp.moveaxis(W.reshape(4, count, N, -1), 2, 0).reshape(N, 4, -1)  # noqa: E731
    v, _, beta = jnp.split(params.W_v, [N * K, N * K + N], axis=-1)
    each = deltanet.init(jax.random.key(0), 4, K, dtype=jnp.float64)
    each = each._replace(W=of_head(params.W, 2), W_v=jnp.concatenate([of_head(v, 1), of_head(beta, 1)], axis=-1))
    carry, outs = jax.vmap(lambda one: unroll(deltanet, one, xs))(each)
    assert carry.S.shape == (N, 2, K, K)
    np.testing.assert_allclose(jnp.concatenate(outs, axis=-1), want, atol=1e-12)


def of_heads(cell, heads):
    """The init of a cell with so many heads."""
    return lambda *args, **options: cell.init(*args, **options, heads=heads)

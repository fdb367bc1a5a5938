"""Linear attention and gates without a matrix product in the loop, against NumPy loops written from the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid, unpack

from jaxseq import InputError, unroll
from jaxseq.cells import hgrn, rwkv4
from jaxseq.cells._lru import ComplexCarry
from jaxseq.cells._rwkv4 import RWKV4Carry
from jaxseq.recurrence import scan
from jaxseq.testing import Subject, draw

T = 9


def test_rwkv4() -> None:
    """Without the shared exponent p, as the paper has it before it makes the sums stable."""

    def step(p, k, x):
        W, mu = unpack(p.W, "r k v"), unpack(p.mu, "r k v")
        r, key, v = (W[g].T @ (mu[g] * x + (1 - mu[g]) * k.x) for g in "rkv")
        a, b = k.a * np.exp(k.p), k.b * np.exp(k.p)
        h = sigmoid(r) * (a + np.exp(p.u + key) * v) / (b + np.exp(p.u + key))
        decay = np.exp(-np.exp(p.log_w))
        a, b = decay * a + np.exp(key) * v, decay * b + np.exp(key)
        shared = np.maximum(k.p - np.exp(p.log_w), key)
        return RWKV4Carry(a / np.exp(shared), b / np.exp(shared), shared, x), h

    check_against(rwkv4, step)


def test_rwkv4_is_attention_with_a_decay_and_does_not_overflow() -> None:
    """Unrolled from an empty state, as the paper's definition of wkv; keys of +-800 overflow without p."""
    p, xs, _ = jax.tree.map(np.asarray, draw(Subject(rwkv4), T, ()))
    W, mu = unpack(p.W, "r k v"), unpack(p.mu, "r k v")
    before = np.concatenate([np.zeros_like(xs[:1]), xs[:-1]])
    r, k, v = ((mu[g] * xs + (1 - mu[g]) * before) @ W[g] for g in "rkv")
    for scale in (1.0, 800.0):
        keys, w = scale * k, np.exp(p.log_w)
        wkv = []
        for t in range(T):
            exponents = np.array([keys[s] - (t - 1 - s) * w for s in range(t)] + [p.u + keys[t]])
            weights = np.exp(exponents - exponents.max(0))
            wkv.append((weights * v[: t + 1]).sum(0) / weights.sum(0))
        scaled = p._replace(W=np.concatenate([W["r"], scale * W["k"], W["v"]], axis=-1))
        outs = unroll(rwkv4, jax.tree.map(jnp.asarray, scaled), jnp.asarray(xs), recurrence=scan)[1]
        np.testing.assert_allclose(outs, sigmoid(r) * np.array(wkv), atol=1e-10)


def test_hgrn() -> None:
    def step(p, k, x):
        a, b = unpack(p.W, "re im f"), unpack(p.b, "re im f")
        a = {g: a[g].T @ x + b[g] for g in a}
        c = a["re"] * sigmoid(a["re"]) + 1j * a["im"] * sigmoid(a["im"])
        gamma = sigmoid(p.Gamma)
        decay = gamma + (1 - gamma) * sigmoid(a["f"])
        h = decay * np.exp(1j * p.theta) * (k.re + 1j * k.im) + (1 - decay) * c
        return ComplexCarry(h.real, h.imag), sigmoid(p.W_g.T @ x + p.b_g) * np.concatenate([h.real, h.imag])

    check_against(hgrn, step)


def test_hgrn_never_forgets_faster_than_its_bound() -> None:
    params = hgrn.init(jax.random.key(0), 3, 6, lower_bound=0.75, dtype=jnp.float64)
    shut = params._replace(b=params.b.at[12:].set(-60.0))
    carry = ComplexCarry(jnp.ones(6), jnp.zeros(6))
    end = unroll(hgrn, shut, jnp.zeros((T, 3)), carry, recurrence=scan)[0]
    np.testing.assert_allclose(np.hypot(*end), 0.75**T, rtol=1e-12)
    np.testing.assert_allclose(np.unwrap(np.arctan2(end.im, end.re))[0] % (2 * np.pi), T % (2 * np.pi), rtol=1e-9)
    with pytest.raises(InputError, match="lower_bound must be a number above 0 and at most 1; got 0"):
        hgrn.init(jax.random.key(0), 3, 6, lower_bound=0.0)

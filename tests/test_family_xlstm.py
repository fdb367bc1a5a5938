"""The blocks of xLSTM against NumPy written from the paper's figures, and what the paper says of them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from reference import check_against, sigmoid

from jaxseq import InputError, unroll
from jaxseq.cells import mlstm, mlstm_block, slstm_block, stack
from jaxseq.cells._mlstm_block import MLSTMBlockCarry
from jaxseq.cells._parts import blockwise
from jaxseq.cells._slstm_block import SLSTMBlockCarry
from jaxseq.recurrence import chunked
from jaxseq.testing import Subject, draw

HEADS = pytest.mark.parametrize("heads", [1, 2])


def silu(a):
    return a * sigmoid(a)


def norm(a):
    return (a - a.mean()) / np.sqrt(a.var() + 1e-5)


def by_blocks(a, W):
    """A row times a block-diagonal matrix, written out."""
    P, Q, R = W.shape
    whole = np.zeros((P * Q, P * R))
    for p in range(P):
        whole[p * Q : (p + 1) * Q, p * R : (p + 1) * R] = W[p]
    return (a @ whole).reshape(P, R)


def convolved(V, b, past, now):
    """A convolution over time of window 4, feature by feature, of which only the last value is wanted."""
    seen = np.concatenate([past, now[None]])
    return np.array([np.correlate(seen[:, j], V[:, j], "valid")[0] for j in range(len(now))]) + b


@HEADS
@pytest.mark.parametrize("blocks", [1, 3])
def test_mlstm_block(heads: int, blocks: int) -> None:
    """Figure 10, and section 2.3 without the stabiliser: C, n and m are compared as what they stand for."""

    def step(p, k, x):
        N, H = heads, 6
        u, z = np.split(norm(x) * p.gain_x @ p.W, 2)
        w = silu(convolved(p.V, p.b_w, k.past, u))
        q, key = (a.reshape(-1) for a in np.split(by_blocks(w, p.W_qk), 2, axis=-1))
        v = by_blocks(u, p.W_v).reshape(-1)
        a_i, a_f = np.split(np.concatenate([q, key, v]) @ p.W_if + p.b_if, 2)
        q, key, v = (a.reshape(N, -1) for a in (q, key / math.sqrt(H // N), v))
        C, n, m, h = np.empty_like(k.C), np.empty_like(k.n), np.empty_like(k.m), np.empty((N, H // N))
        for j in range(N):
            i, f = np.exp(a_i[j]), sigmoid(a_f[j])
            whole = f * np.exp(k.m[j]) * k.C[j].T + i * np.outer(v[j], key[j])  # as the paper has it: value by key
            keys = f * np.exp(k.m[j]) * k.n[j] + i * key[j]
            h[j] = norm(whole @ q[j] / max(abs(keys @ q[j]), 1))
            m[j] = max(np.log(f) + k.m[j], a_i[j])
            C[j], n[j] = whole.T / np.exp(m[j]), keys / np.exp(m[j])
        y = x + ((h.reshape(-1) * p.gain_h + p.skip * w) * silu(z)) @ p.W_down
        return MLSTMBlockCarry(C, n, m, np.concatenate([k.past[1:], u[None]])), y

    check_against(mlstm_block, step, sizes=(7, 4, 3, 6), options={"heads": heads, "blocks": blocks})


@HEADS
def test_slstm_block(heads: int) -> None:
    """Figure 9, and section 2.2 without the stabiliser: c, n and m are compared as what they stand for."""

    def step(p, k, x):
        N = heads
        x_hat = norm(x) * p.gain_x
        w = silu(convolved(p.V, p.b_w, k.past, x_hat))
        a_i, a_f = np.split(by_blocks(w, p.W_if), 2, axis=-1)
        a_g, a_o = np.split(by_blocks(x_hat, p.W_go), 2, axis=-1)
        mixed = np.split(by_blocks(k.h.reshape(-1), p.U), 4, axis=-1)
        biases = [b.reshape(N, -1) for b in np.split(p.b, 4)]
        a_i, a_f, a_g, a_o = (a + u + b for a, u, b in zip((a_i, a_f, a_g, a_o), mixed, biases, strict=True))
        i, f, g, o = np.exp(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * np.exp(k.m) * k.c + i * g
        n = f * np.exp(k.m) * k.n + i
        m = np.maximum(np.log(f) + k.m, a_i)
        h = o * c / n
        r = x + np.concatenate([norm(h[j]) for j in range(N)]) * p.gain_h
        gate, up = np.split(norm(r) * p.gain_r @ p.W, 2)
        y = r + (gate * scipy.special.ndtr(gate) * up) @ p.W_down
        past = np.concatenate([k.past[1:], x_hat[None]])
        return SLSTMBlockCarry(h, c / np.exp(m), n / np.exp(m), m, past), y

    check_against(slstm_block, step, sizes=(7, 4, 4, 6), options={"heads": heads})


@pytest.mark.parametrize("cell", [mlstm_block, slstm_block], ids=str)
def test_a_block_is_a_residual(cell) -> None:
    """Without its down-projections it passes its input on; the first block of a stack may be of either kind."""
    params, xs, _ = draw(Subject(cell, 4, 6), 5, (2,))
    params = params._replace(W_down=jnp.zeros_like(params.W_down))
    if cell is slstm_block:
        params = params._replace(gain_h=jnp.zeros_like(params.gain_h))
    np.testing.assert_array_equal(unroll(cell, params, xs)[1], xs)
    both = stack(cell, mlstm_block, slstm_block)
    params = both.init(jax.random.key(0), 4, (8, 8, 6), heads=2)
    assert both.output_size(params) == 4


def test_the_memory_of_the_block_is_the_mlstm() -> None:
    """Full matrices, a convolution that passes u on and a silu that is undone: what the mLSTM remembers of u."""
    D, H, N = 4, 6, 2
    params, xs, _ = draw(Subject(mlstm_block.replace(init=functools.partial(mlstm_block.init, heads=N)), D, H), 9, (2,))
    params = params._replace(
        V=jnp.zeros_like(params.V).at[-1].set(1.0), b_w=jnp.full((H,), 40.0),  # silu(40 + u) is 40 + u to 1e-16
        W_if=jnp.zeros_like(params.W_if),
    )  # fmt: skip
    end = unroll(mlstm_block, params, xs)[0]
    u = jax.jit(mlstm_block.input_terms)(params, xs).u
    alone = mlstm.init(jax.random.key(0), H, H, heads=N, dtype=jnp.float64)
    W_q, W_k = jnp.split(params.W_qk[0], 2, axis=-1)
    alone = alone._replace(
        W=jnp.concatenate([W_q, W_k, params.W_v[0], jnp.zeros((H, H))], axis=-1),
        b=jnp.concatenate([40 * W_q.sum(0), 40 * W_k.sum(0), jnp.zeros(2 * H)]),
        W_if=jnp.zeros((H, 2 * N)), b_if=params.b_if,
    )  # fmt: skip
    want = unroll(mlstm, alone, u)[0]
    for name in ("C", "n", "m"):
        np.testing.assert_allclose(getattr(end, name), getattr(want, name), rtol=1e-10, atol=1e-10)


def test_blocks_start_as_the_authors_do() -> None:
    params = mlstm_block.init(jax.random.key(0), 4, 8, heads=4, blocks=2)
    np.testing.assert_array_equal(params.b_if, [0, 0, 0, 0, 3, 3, 3, 3])
    assert not params.W_if.any() and params.W_qk.shape == (2, 4, 8)
    np.testing.assert_array_equal(jnp.concatenate([params.gain_x, params.gain_h, params.skip]), 1)
    params = slstm_block.init(jax.random.key(0), 4, 6, heads=2)
    np.testing.assert_array_equal(params.b, [0] * 4 + [1] * 4 + [0] * 8)
    assert params.U.shape == (2, 2, 8) and float(jnp.abs(params.V).max()) <= 0.5


def test_heads_and_blocks_have_to_divide_sizes() -> None:
    for cell, option, which in [
        (mlstm_block, "heads", "hidden size 5"),
        (mlstm_block, "blocks", "hidden size 5"),
        (slstm_block, "heads", "input size 3"),
    ]:
        with pytest.raises(InputError, match=f"{option} must divide the {which}; got 2"):
            cell.init(jax.random.key(0), 3, 5, **{option: 2})


@pytest.mark.parametrize("P", [1, 3])
def test_a_block_diagonal_product(P: int) -> None:
    a, W = (
        jax.random.normal(jax.random.key(n), shape, jnp.float64) for n, shape in enumerate([(5, 6), (P, 6 // P, 4)])
    )
    want = np.stack([by_blocks(row, np.asarray(W)) for row in np.asarray(a)])
    np.testing.assert_allclose(blockwise(a, W), want, atol=1e-14)


@HEADS
def test_a_stream_is_the_whole_fed_in_chunks(heads: int) -> None:
    """Step by step, the window included, as one call in chunks that are shorter than the window and longer."""
    params = mlstm_block.init(jax.random.key(0), 3, 4, heads=heads, dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(1), (11, 2, 3), jnp.float64)
    step, state, outs = jax.jit(mlstm_block.step), mlstm_block.initial_carry(params, (2,)), []
    for x in xs:
        state, out = step(params, state, x)
        outs.append(out)
    for size in (2, 8):
        end, whole = unroll(mlstm_block, params, xs, recurrence=functools.partial(chunked, size=size))
        np.testing.assert_allclose(whole, jnp.stack(outs), atol=1e-12)
        for got, want in zip(end, state, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-12)

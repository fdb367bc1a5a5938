"""Cells like the GRU with another mechanism (constant, bistable or single gates, highways, missing values, scores,
delays, a searched form) against NumPy loops written from the papers' equations, and their limits.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid, unpack

from jaxseq import trace, unroll
from jaxseq.cells import CELLS, gru
from jaxseq.cells._augru import augru
from jaxseq.cells._brc import brc, nbrc
from jaxseq.cells._gru import GRUParams
from jaxseq.cells._gru_d import GRUDCarry, gru_d
from jaxseq.cells._inputs import Observed, Scored
from jaxseq.cells._lightru import lightru
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._miru import miru, miru1
from jaxseq.cells._nas import nas
from jaxseq.cells._parts import Hidden
from jaxseq.cells._rhn import rhn, rhn_coupled
from jaxseq.cells._sgrn import sgrn
from jaxseq.cells._sgu import dsgu, sgu
from jaxseq.cells._star import star
from jaxseq.cells._tau_gru import TauGRUCarry, tau_gru
from jaxseq.testing import Subject, draw


def plain(h):
    """The carry and the output of a cell whose state is its output."""
    return Hidden(h), h


def test_lightru() -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "n f"), unpack(p.b, "n f")
        candidate = np.tanh(W["n"].T @ x + b["n"])
        f = sigmoid(W["f"].T @ x + p.U.T @ k.h + b["f"])
        return plain(k.h + f * (candidate - k.h))

    check_against(lightru, step)


@pytest.mark.parametrize(("retain", "reset"), [(0.5, 0.5), (0.9, 0.3)])
def test_miru(retain: float, reset: float) -> None:
    def step(p, k, x):
        candidate = np.tanh(p.b + (reset * k.h) @ p.U + x @ p.W)
        return plain(candidate + retain * (k.h - candidate))

    check_against(miru.with_(retain=retain, reset=reset) if retain != 0.5 else miru, step)


@pytest.mark.parametrize("retain", [0.5, 0.8])
def test_miru1(retain: float) -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "r n"), unpack(p.b, "r n")
        r = sigmoid(W["r"].T @ x + p.U.T @ k.h + b["r"])
        candidate = np.tanh(W["n"].T @ x + p.U_n.T @ (k.h * r) + b["n"])
        return plain(candidate + retain * (k.h - candidate))

    check_against(miru1.with_(retain=retain) if retain != 0.5 else miru1, step)


def hard_sigmoid(a):
    """Theano's: 0 below -2.5, 1 above 2.5, a line between."""
    return np.where(a < -2.5, 0.0, np.where(a > 2.5, 1.0, 0.2 * a + 0.5))


@pytest.mark.parametrize("cell", [sgu, dsgu], ids=lambda cell: cell.name)
def test_simple_gated_units(cell) -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "g z"), unpack(p.b, "g z")
        x_g = W["g"].T @ x + b["g"]
        z_g = np.tanh(p.U_g.T @ (k.h * x_g))
        z_out = sigmoid(p.U_o.T @ (k.h * z_g)) if cell is dsgu else np.log(1 + np.exp(k.h * z_g))
        z = hard_sigmoid(W["z"].T @ x + b["z"] + p.U.T @ k.h)
        return plain(k.h - z * k.h + z * z_out)

    check_against(cell, step)


@pytest.mark.parametrize("cell", [brc, nbrc], ids=lambda cell: cell.name)
def test_bistable_recurrent_cells(cell) -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "a c n"), unpack(p.b, "a c n")
        w = unpack(p.u if cell is brc else p.U, "a c")
        own = {n: w[n] * k.h if cell is brc else w[n].T @ k.h for n in "ac"}
        a = 1 + np.tanh(W["a"].T @ x + own["a"] + b["a"])
        c = sigmoid(W["c"].T @ x + own["c"] + b["c"])
        return plain(c * k.h + (1 - c) * np.tanh(W["n"].T @ x + k.h * a + b["n"]))

    check_against(cell, step)


def test_the_bistable_cell_holds_a_sign_without_input_and_a_monostable_one_forgets_it() -> None:
    """Feedback above 1: two stable states, the roots of h = tanh(a h); below 1: only 0."""
    params = jax.tree.map(jnp.zeros_like, brc.init(jax.random.key(0), 1, 2, dtype=jnp.float64))
    bias = jnp.arctanh(jnp.asarray([0.8, -0.2]))  # a = 1.8 in unit 0, 0.8 in unit 1
    params = params._replace(b=params.b.at[:2].set(bias))
    for start in (0.1, -0.7):
        last, _ = unroll(brc, params, jnp.zeros((500, 1)), Hidden(jnp.full((2,), start)))
        held, forgotten = np.asarray(last.h)
        assert np.sign(held) == np.sign(start) and abs(held) > 0.9
        assert abs(held - np.tanh(1.8 * held)) < 1e-12 and abs(forgotten) < 1e-12


def test_star() -> None:
    def step(p, k, x):
        W, b = unpack(p.W, "z k"), unpack(p.b, "z k")
        z = np.tanh(W["z"].T @ x + b["z"])
        gate = sigmoid(W["k"].T @ x + p.U.T @ k.h + b["k"])
        return plain(np.tanh((1 - gate) * k.h + gate * z))

    check_against(star, step)


def test_sgrn() -> None:
    def step(p, k, x):
        f = sigmoid(p.W.T @ x + p.U.T @ k.h + (p.b + p.b_f))
        return plain(np.tanh(f * k.h + (1 - f) * (p.W.T @ x + p.b)))

    check_against(sgrn, step)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("cell", [rhn, rhn_coupled], ids=lambda cell: cell.name)
def test_recurrent_highway(cell, depth: int) -> None:
    names = "h t c" if cell is rhn else "h t"

    def step(p, k, x):
        s = k.h
        for layer in range(1, depth + 1):
            R, b = (p.U, p.b) if layer == 1 else p.above[layer - 2]
            W, R, b = unpack(p.W, names), unpack(R, names), unpack(b, names)
            a = {n: (layer == 1) * (W[n].T @ x) + R[n].T @ s + b[n] for n in names.split()}
            h, t = np.tanh(a["h"]), sigmoid(a["t"])
            c = sigmoid(a["c"]) if "c" in a else 1 - t
            s = h * t + s * c
        return plain(s)

    check_against(cell, step, options={"depth": depth})


def test_recurrent_highway_traces_every_layer() -> None:
    """The last layer's state is the output; a transform gate that is shut passes the state on."""
    params = rhn_coupled.init(jax.random.key(0), 3, 5, dtype=jnp.float64, depth=4, transform_bias=-50.0)
    start = Hidden(jnp.linspace(-1, 1, 10).reshape(2, 5))
    last, seen = trace(rhn_coupled, params, jnp.ones((6, 2, 3)), start)
    assert [t.shape for t in seen.gates.t] == [(6, 2, 5)] * 4
    np.testing.assert_array_equal(seen.gates.s[-1], seen.outs)
    np.testing.assert_allclose(last.h, start.h, atol=1e-6)


def test_nas() -> None:
    def step(p, k, x):
        from_x, from_h = np.split(p.W.T @ x, 8), np.split(p.U.T @ k.h + p.b, 8)
        joined = [x_k * h_k if n == 3 else x_k + h_k for n, (x_k, h_k) in enumerate(zip(from_x, from_h, strict=True))]
        relu = lambda a: np.maximum(a, 0)  # noqa: E731
        first, second = np.tanh(sigmoid(joined[0]) * relu(joined[1])), np.tanh(sigmoid(joined[2]) + relu(joined[3]))
        third = np.tanh(np.tanh(joined[4]) * sigmoid(joined[5]))
        fourth = sigmoid(np.tanh(joined[6]) + sigmoid(joined[7]))
        c = second * np.tanh(first + k.c)
        h = np.tanh(np.tanh(third + fourth) * c)
        return LSTMCarry(h, c), h

    check_against(nas, step)


def gru_d_step(p, k, x):
    """Gates one by one, and a feature's value by whether it was seen, as in the paper's section 2.3."""
    W, V, b, U = unpack(p.W, "r z n"), unpack(p.V, "r z n"), unpack(p.b, "r z n"), unpack(p.U, "r z")
    fade = np.exp(-np.maximum(0, p.w_x * x.delta + p.b_x))
    imputed = p.mean + fade * (k.last - p.mean)
    filled = imputed + x.m * (x.x - imputed)
    old = k.h * np.exp(-np.maximum(0, p.W_h.T @ x.delta + p.b_h))
    common = {n: W[n].T @ filled + V[n].T @ x.m + b[n] for n in "rzn"}
    r, z = (sigmoid(common[n] + U[n].T @ old) for n in "rz")
    h = old + z * (np.tanh(common["n"] + p.U_n.T @ (r * old)) - old)
    return GRUDCarry(h, k.last + x.m * (x.x - k.last)), h


def test_gru_d() -> None:
    check_against(gru_d, gru_d_step)


def test_gru_d_with_a_mask_of_zeros_and_ones_never_reads_a_missing_value() -> None:
    (T, B, D, H), rng = (8, 3, 2, 4), np.random.default_rng(0)
    params, xs, carry = draw(Subject(gru_d, D, H), T, (B,))
    m = jnp.asarray(rng.random((T, B, D)) < 0.5, jnp.float64)
    xs = Observed(xs.x, m, jnp.abs(xs.delta))

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def total(params, x):
        last, outs = unroll(gru_d, params, Observed(x, xs.m, xs.delta), carry)
        return jnp.sin(outs).sum() + jnp.cos(last.last).sum(), outs

    (_, want), grads = total(params, xs.x)
    (_, got), same = total(params, jnp.where(m == 0, jnp.nan, xs.x))
    np.testing.assert_array_equal(got, want)
    jax.tree.map(np.testing.assert_array_equal, same, grads)
    k, rows = jax.tree.map(lambda a: np.asarray(a[0]), carry), []
    for t in range(T):
        k, h = gru_d_step(jax.tree.map(np.asarray, params), k, jax.tree.map(lambda a, t=t: np.asarray(a[t, 0]), xs))
        rows.append(h)
    np.testing.assert_allclose(got[:, 0], rows, atol=1e-12)


def test_gru_d_without_decay_and_mask_is_the_gru_of_2014_and_long_gaps_erase_its_past() -> None:
    params, xs, carry = draw(Subject(gru_d, 3, 5), 6, (2,))
    params = params._replace(w_x=params.w_x * 0, b_x=params.b_x * 0, W_h=params.W_h * 0, b_h=params.b_h * 0 - 1)
    params = params._replace(V=params.V * 0)
    cho, turned = CELLS["gru_cho"], jnp.repeat(jnp.asarray([1.0, -1.0, 1.0]), 5)  # our z = 1 - the paper's z
    theirs = cho.params_type(params.W * turned[None], params.U * turned[None, :10], params.U_n, params.b * turned)
    _, want = unroll(cho, theirs, xs.x, cho.initial_carry(theirs, (2,))._replace(h=carry.h))
    _, got = unroll(gru_d, params, xs.x, carry)
    np.testing.assert_allclose(got, want, atol=1e-12)

    fading = params._replace(W_h=params.W_h + 1, w_x=params.w_x + 1)
    gap = Observed(xs.x[:1], jnp.zeros_like(xs.x[:1]), jnp.full_like(xs.x[:1], 1e3))
    _, outs = unroll(gru_d, fading, gap, carry)
    _, fresh = unroll(gru_d, fading, gap)  # from zeros, the mean for the last value
    np.testing.assert_allclose(outs, fresh, atol=1e-12)


def test_augru() -> None:
    def step(p, k, x):
        W, U, b = (unpack(a, "r u n") for a in p)
        r, u = (sigmoid(W[n].T @ x.x + U[n].T @ k.h + b[n]) for n in "ru")
        candidate = np.tanh(W["n"].T @ x.x + r * (U["n"].T @ k.h) + b["n"])
        write = u * x.a[0]
        return plain(k.h + write * (candidate - k.h))

    check_against(augru, step)


def test_augru_of_score_1_is_the_gru_and_of_score_0_holds() -> None:
    params, xs, carry = draw(Subject(augru, 3, 5), 6, (2,))
    turned = jnp.repeat(jnp.asarray([1.0, -1.0, 1.0]), 5)  # z = 1 - u
    theirs = GRUParams(params.W * turned[None], params.U * turned[None], params.b * turned, jnp.zeros(5))
    _, want = unroll(gru, theirs, xs.x, gru.initial_carry(theirs, (2,))._replace(h=carry.h))
    _, got = unroll(augru, params, xs.x, carry)
    np.testing.assert_allclose(got, want, atol=1e-12)
    last, _ = unroll(augru, params, Scored(xs.x, jnp.zeros_like(xs.a)), carry)
    np.testing.assert_array_equal(last.h, carry.h)


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_tau_gru(delay: int) -> None:
    def step(p, k, x):
        W, b, R = unpack(p.W, "u g a z"), unpack(p.b, "u g a z"), unpack(p.U, "u g a")
        R, at = {**R, "z": p.U_z}, {"u": k.h, "g": k.h, "a": k.h, "z": k.past[0]}
        a = {n: W[n].T @ x + R[n].T @ at[n] + b[n] for n in "ugaz"}
        g = sigmoid(a["g"])
        h = (1 - g) * k.h + g * (np.tanh(a["u"]) + sigmoid(a["a"]) * np.tanh(a["z"]))
        return TauGRUCarry(h, np.stack([*k.past[1:], k.h])), h

    check_against(tau_gru if delay == 2 else tau_gru.with_(delay=delay), step)


def test_tau_gru_carries_the_states_of_the_last_steps() -> None:
    cell = tau_gru.with_(delay=3)
    params = cell.init(jax.random.key(0), 2, 4, dtype=jnp.float64)
    last, outs = unroll(cell, params, jnp.ones((7, 5, 2)))
    np.testing.assert_array_equal(last.past, jnp.stack([outs[3], outs[4], outs[5]], axis=1))

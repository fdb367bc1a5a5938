"""Cells like the GRU against NumPy loops written from the papers' equations, and against each other in the limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid, unpack

from jaxseq import trace, unroll
from jaxseq.cells import (
    CELLS,
    GRUCarry,
    GRUChoParams,
    GRUParams,
    RNNParams,
    atr,
    cfn,
    gru,
    gru1,
    gru2,
    gru3,
    gru_cho,
    intersection_rnn,
    ligru,
    mgu,
    mgu1,
    mgu2,
    mgu3,
    min_gru,
    mut1,
    mut2,
    mut3,
    ran,
    rnn,
    ugrnn,
)
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import Hidden
from jaxseq.testing import Subject, assert_close, draw


def problem(cell, size=3, hidden=5, T=6, seed=0):
    """Random params, carry and inputs, in the float64 that the tests run in."""
    return draw(Subject(cell, size, hidden, seed=seed), T, (4,))


def outs(cell, params, carry, xs):
    """The outputs of a cell that starts at ``carry.h``, whatever its own carry is called."""
    start = cell.initial_carry(params, xs.shape[1:-1])._replace(h=carry.h)
    return unroll(cell, params, xs, start)[1]


def joined(*parts):
    return jnp.concatenate(parts, axis=-1)


def halves(a):
    return jnp.split(a, 2, axis=-1)


# ----------------------------------------------------------------------------------------------- the papers' equations


def minimal(f):
    """A step of the minimal gated unit, given how its gate comes about."""

    def step(p, k, x):
        open_ = f(p, k.h, x)
        W_n, b_n = p.W[:, -k.h.size :], p.b[-k.h.size :]
        U_n = p.U_n if hasattr(p, "U_n") else p.U
        n = np.tanh(W_n.T @ x + U_n.T @ (open_ * k.h) + b_n)
        h = k.h + open_ * (n - k.h)
        return Hidden(h), h

    return step


def test_mgu() -> None:
    def f(p, h, x):
        return sigmoid(unpack(p.W, "f n")["f"].T @ x + p.U.T @ h + unpack(p.b, "f n")["f"])

    check_against(mgu, minimal(f))


def test_mgu1() -> None:
    check_against(mgu1, minimal(lambda p, h, x: sigmoid(p.U.T @ h + p.b_f)))


def test_mgu2() -> None:
    check_against(mgu2, minimal(lambda p, h, x: sigmoid(p.U.T @ h)))


def test_mgu3() -> None:
    check_against(mgu3, minimal(lambda p, h, x: sigmoid(p.b_f)))


def test_gru_cho() -> None:
    """Equations 5 to 8, unit by unit; the paper's indices run over columns."""

    def step(p, k, x):
        W, U, b = unpack(p.W, "r z h"), unpack(p.U, "r z"), unpack(p.b, "r z h")
        r, z = (sigmoid(W[n].T @ x + U[n].T @ k.h + b[n]) for n in "rz")
        h = np.empty_like(k.h)
        for j in range(h.size):
            candidate = np.tanh(W["h"][:, j] @ x + p.U_n[:, j] @ (r * k.h) + b["h"][j])
            h[j] = z[j] * k.h[j] + (1 - z[j]) * candidate
        return GRUCarry(h), h

    check_against(gru_cho, step)


def reduced(gate):
    """A step of a reduced GRU, given how a gate comes about, by its name."""

    def step(p, k, x):
        r, z = gate(p, k.h, "r"), gate(p, k.h, "z")
        U_n = p.U_n if hasattr(p, "U_n") else p.U
        n = np.tanh(p.W.T @ x + U_n.T @ (r * k.h) + p.b)
        h = k.h - z * k.h + z * n
        return Hidden(h), h

    return step


def test_gru1() -> None:
    def gate(p, h, name):
        return sigmoid(unpack(p.U, "r z")[name].T @ h + unpack(p.b_rz, "r z")[name])

    check_against(gru1, reduced(gate))


def test_gru2() -> None:
    check_against(gru2, reduced(lambda p, h, name: sigmoid(unpack(p.U, "r z")[name].T @ h)))


def test_gru3() -> None:
    check_against(gru3, reduced(lambda p, h, name: sigmoid(unpack(p.b_rz, "r z")[name])))


def mutated(gates):
    """A step of a mutated GRU, given r, z and what the input adds to the candidate."""

    def step(p, k, x):
        W, b = unpack(p.W, "r z n"), unpack(p.b, "r z n")
        U = unpack(p.U, "r z" if p.U.shape[1] > k.h.size else "r")
        r, z, into = gates(W, U, b, k.h, x)
        n = np.tanh(p.U_n.T @ (r * k.h) + into + b["n"])
        h = n * z + k.h * (1 - z)
        return Hidden(h), h

    return step


def mut1_gates(W, U, b, h, x):
    return sigmoid(x @ W["r"] + h @ U["r"] + b["r"]), sigmoid(x @ W["z"] + b["z"]), np.tanh(x @ W["n"])


def mut2_gates(W, U, b, h, x):
    r = sigmoid(x @ W["r"] + h @ U["r"] + b["r"])
    return r, sigmoid(x @ W["z"] + h @ U["z"] + b["z"]), x @ W["n"]


def mut3_gates(W, U, b, h, x):
    r = sigmoid(x @ W["r"] + h @ U["r"] + b["r"])
    return r, sigmoid(x @ W["z"] + np.tanh(h) @ U["z"] + b["z"]), x @ W["n"]


@pytest.mark.parametrize(("cell", "gates"), [(mut1, mut1_gates), (mut2, mut2_gates), (mut3, mut3_gates)])
def test_mut(cell, gates) -> None:
    check_against(cell, mutated(gates))


def test_mut1_and_mut2_begin_as_in_the_paper_where_the_input_is_as_wide_as_the_state() -> None:
    """There is then no matrix on x in the candidate of MUT1, and none in the reset gate of MUT2."""

    def step1(p, k, x):
        W, b = unpack(p.W, "r z n"), unpack(p.b, "r z n")
        r, z = sigmoid(x @ W["r"] + k.h @ p.U + b["r"]), sigmoid(x @ W["z"] + b["z"])
        h = np.tanh((r * k.h) @ p.U_n + np.tanh(x) + b["n"]) * z + k.h * (1 - z)
        return Hidden(h), h

    def step2(p, k, x):
        W, U, b = unpack(p.W, "r z n"), unpack(p.U, "r z"), unpack(p.b, "r z n")
        r, z = sigmoid(x + k.h @ U["r"] + b["r"]), sigmoid(x @ W["z"] + k.h @ U["z"] + b["z"])
        h = np.tanh((r * k.h) @ p.U_n + x @ W["n"] + b["n"]) * z + k.h * (1 - z)
        return Hidden(h), h

    for cell, step in ((mut1, step1), (mut2, step2)):
        params = cell.init(jax.random.key(0), 5, 5, dtype=jnp.float64)
        _, xs, carry = problem(cell, 5, 5)
        last, _ = unroll(cell, params, xs, carry)
        p, xs, h = jax.tree.map(np.asarray, (params, xs, carry.h))
        for b in range(4):
            k = Hidden(h[b])
            for t in range(len(xs)):
                k, _ = step(p, k, xs[t, b])
            np.testing.assert_allclose(last.h[b], k.h, rtol=0, atol=1e-12)


def test_ligru() -> None:
    def step(p, k, x):
        W, U, b = (unpack(a, "z n") for a in p)
        z = sigmoid(x @ W["z"] + k.h @ U["z"] + b["z"])
        n = np.maximum(0, x @ W["n"] + k.h @ U["n"] + b["n"])
        h = z * k.h + (1 - z) * n
        return Hidden(h), h

    check_against(ligru, step)


def test_min_gru() -> None:
    def step(p, k, x):
        W, b = (unpack(a, "z n") for a in p)
        z = sigmoid(x @ W["z"] + b["z"])
        h = k.h + z * (x @ W["n"] + b["n"] - k.h)
        return Hidden(h), h

    check_against(min_gru, step)


def test_ugrnn() -> None:
    def step(p, k, x):
        W, U, b = (unpack(a, "g c") for a in p)
        c = np.tanh(k.h @ U["c"] + x @ W["c"] + b["c"])
        g = sigmoid(k.h @ U["g"] + x @ W["g"] + b["g"])
        h = c + g * (k.h - c)
        return Hidden(h), h

    check_against(ugrnn, step)


def test_intersection_rnn() -> None:
    def step(p, k, x):
        W, U, b = (unpack(a, "gy gh y h") for a in (p.W, p.U, p.b))
        a = {name: k.h @ U[name] + x @ W[name] + b[name] for name in W}
        y_in, h_in = np.maximum(0, a["y"]), np.tanh(a["h"])
        gy, gh = sigmoid(a["gy"]), sigmoid(a["gh"])
        return Hidden(gh * k.h + (1 - gh) * h_in), gy * (p.P.T @ x) + (1 - gy) * y_in

    check_against(intersection_rnn, step)


def test_ran() -> None:
    def step(p, k, x):
        W, U, b = unpack(p.W, "i f c"), unpack(p.U, "i f"), unpack(p.b, "i f")
        content = W["c"].T @ x
        i, f = (sigmoid(U[n].T @ k.h + W[n].T @ x + b[n]) for n in "if")
        c = f * k.c + i * content
        return LSTMCarry(np.tanh(c), c), np.tanh(c)

    check_against(ran, step)


def test_atr() -> None:
    def step(p, k, x):
        from_x, from_h = p.W.T @ x + p.b, p.U.T @ k.h
        h = sigmoid(from_x + from_h) * from_x + sigmoid(from_x - from_h) * k.h
        return Hidden(h), h

    check_against(atr, step)


def test_cfn() -> None:
    def step(p, k, x):
        V, U, b = unpack(p.W, "theta eta w"), unpack(p.U, "theta eta"), unpack(p.b, "theta eta")
        theta, eta = (sigmoid(U[n].T @ k.h + V[n].T @ x + b[n]) for n in ("theta", "eta"))
        h = theta * np.tanh(k.h) + eta * np.tanh(V["w"].T @ x)
        return Hidden(h), h

    check_against(cfn, step)


# ------------------------------------------------------------------------------------------------ limits and identities


def test_mgu_is_a_gru_whose_two_gates_are_one() -> None:
    params, xs, carry = problem(mgu)
    (W_f, W_n), (b_f, b_n) = halves(params.W), halves(params.b)
    tied = GRUChoParams(joined(W_f, -W_f, W_n), joined(params.U, -params.U), params.U_n, joined(b_f, -b_f, b_n))
    assert_close("mgu, gru_cho", outs(mgu, params, carry, xs), outs(gru_cho, tied, carry, xs))


def test_mgu_is_an_elman_network_where_its_gate_is_open() -> None:
    params, xs, carry = problem(mgu)
    b_n = halves(params.b)[1]
    params = params._replace(b=joined(jnp.full_like(b_n, 60.0), b_n))
    simple = RNNParams(halves(params.W)[1], params.U_n, b_n)
    assert_close("mgu, rnn", outs(mgu, params, carry, xs), outs(rnn, simple, carry, xs))


def test_each_simplification_of_mgu_is_the_one_before_with_less() -> None:
    params, xs, carry = problem(mgu)
    (W_f, W_n), (b_f, b_n) = halves(params.W), halves(params.b)
    first = mgu1.init(jax.random.key(0), 3, 5)._replace(W=W_n, U=params.U, U_n=params.U_n, b=b_n, b_f=b_f)
    no_input = params._replace(W=joined(jnp.zeros_like(W_f), W_n))
    assert_close("mgu1", outs(mgu1, first, carry, xs), outs(mgu, no_input, carry, xs))
    second = mgu2.init(jax.random.key(0), 3, 5)._replace(W=W_n, U=params.U, U_n=params.U_n, b=b_n)
    no_bias = first._replace(b_f=jnp.zeros_like(b_f))
    assert_close("mgu2", outs(mgu2, second, carry, xs), outs(mgu1, no_bias, carry, xs))
    third = mgu3.init(jax.random.key(0), 3, 5)._replace(W=W_n, U=params.U_n, b=b_n, b_f=b_f)
    no_state = first._replace(U=jnp.zeros_like(params.U))
    assert_close("mgu3", outs(mgu3, third, carry, xs), outs(mgu1, no_state, carry, xs))


def test_reductions_of_the_gru_are_a_gru_with_less() -> None:
    """Our gru_cho retains where these write: their z is its 1 - z."""
    params, xs, carry = problem(gru1)
    (U_r, U_z), (b_r, b_z) = halves(params.U), halves(params.b_rz)
    nothing = jnp.zeros((3, 10))
    whole = GRUChoParams(joined(nothing, params.W), joined(U_r, -U_z), params.U_n, joined(b_r, -b_z, params.b))
    assert_close("gru1", outs(gru1, params, carry, xs), outs(gru_cho, whole, carry, xs))
    second = gru2.init(jax.random.key(0), 3, 5)._replace(W=params.W, U=params.U, U_n=params.U_n, b=params.b)
    no_bias = params._replace(b_rz=jnp.zeros_like(params.b_rz))
    assert_close("gru2", outs(gru2, second, carry, xs), outs(gru1, no_bias, carry, xs))
    third = gru3.init(jax.random.key(0), 3, 5)._replace(W=params.W, U=params.U_n, b=params.b, b_rz=params.b_rz)
    no_state = params._replace(U=jnp.zeros_like(params.U))
    assert_close("gru3", outs(gru3, third, carry, xs), outs(gru1, no_state, carry, xs))


def test_mut2_is_a_gru_whose_update_gate_writes() -> None:
    params, xs, carry = problem(mut2)
    sign = jnp.repeat(jnp.asarray([1.0, -1.0, 1.0]), 5)
    turned = lambda a: a * jnp.broadcast_to(sign[: a.shape[-1]], a.shape)  # noqa: E731
    whole = GRUChoParams(turned(params.W), turned(params.U), params.U_n, turned(params.b))
    assert_close("mut2, gru_cho", outs(mut2, params, carry, xs), outs(gru_cho, whole, carry, xs))


def test_ugrnn_is_a_gru_without_a_reset_gate() -> None:
    params, xs, carry = problem(ugrnn)
    wide = lambda a: joined(jnp.zeros((*a.shape[:-1], 5)), a)  # noqa: E731
    whole = GRUParams(wide(params.W), wide(params.U), wide(params.b).at[:5].set(60.0), jnp.zeros(5))
    assert_close("ugrnn, gru", outs(ugrnn, params, carry, xs), outs(gru, whole, carry, xs))


@pytest.mark.parametrize(("cell", "blocks"), [(ugrnn, 1), (intersection_rnn, 2)])
def test_the_constant_of_the_paper_is_in_the_bias_of_the_gates(cell, blocks: int) -> None:
    by_default, without = (cell.init(jax.random.key(0), 3, 5, **o) for o in ({}, {"forget_bias": 0.0}))
    assert (by_default.b[: 5 * blocks] == 1).all() and not by_default.b[5 * blocks :].any() and not without.b.any()


def test_intersection_rnn_lets_the_input_through_and_keeps_its_state() -> None:
    params, xs, carry = problem(intersection_rnn, 5, 5)
    start = intersection_rnn.init(jax.random.key(0), 5, 5, dtype=jnp.float64)
    params = params._replace(b=params.b.at[:10].set(60.0), P=start.P)
    last, ys = unroll(intersection_rnn, params, xs, carry)
    assert_close("output", ys, xs)
    assert_close("state", last, carry)


def test_min_gru_can_be_run_in_parallel_over_time() -> None:
    """Composing the affine maps of the steps in a tree gives what stepping gives: the paper's point."""
    params, xs, carry = problem(min_gru, T=16)
    z, n = halves(min_gru.input_terms(params, xs))
    z = jax.nn.sigmoid(z)

    def compose(first, then):
        return first[0] * then[0], then[0] * first[1] + then[1]

    scale, shift = jax.lax.associative_scan(compose, (1 - z, z * n))
    want = scale * jnp.broadcast_to(carry.h, scale.shape) + shift
    assert_close("min_gru", outs(min_gru, params, carry, xs), want)


def test_ran_is_a_sum_of_its_contents_weighted_by_its_gates() -> None:
    params, xs, carry = problem(ran)
    last, seen = trace(ran, params, xs, carry)
    i, f, g = seen.gates
    total = carry.c * jnp.prod(f, axis=0)
    for t in range(len(xs)):
        total = total + g[t] * i[t] * jnp.prod(f[t + 1 :], axis=0)
    assert_close("c", last.c, total)


def test_atr_has_equal_gates_where_it_has_no_state() -> None:
    params, xs, _ = problem(atr)
    _, seen = trace(atr, params, xs)
    assert_close("first step", seen.gates.i[0], seen.gates.f[0])
    assert_close(
        "twins", jax.scipy.special.logit(seen.gates.i) - jax.scipy.special.logit(seen.gates.f), 2 * seen.gates.q
    )


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_cfn_left_alone_goes_to_zero(scale: float) -> None:
    """Each unit shrinks at each step, and no slower than tanh over and over, whatever the parameters."""
    params, xs, carry = problem(cfn, T=400)
    params = jax.tree.map(lambda a: a * scale, params)
    hs = jnp.abs(joined_over_time(carry.h, outs(cfn, params, carry, jnp.zeros_like(xs))))
    assert (hs[1:] <= jnp.tanh(hs[:-1]) * (1 + 1e-14)).all()  # an open gate is 1, and leaves tanh but for rounding
    bound = jnp.max(hs[0])
    for _ in range(400):
        bound = jnp.tanh(bound)
    assert hs[-1].max() <= bound * (1 + 1e-12) and bound < 0.07


def joined_over_time(first, rest):
    return jnp.concatenate([first[None], rest])


def test_a_gru_left_alone_need_not() -> None:
    """So that the test above is one of the equations, and not of any cell that forgets."""
    params, xs, carry = problem(gru_cho, T=400)
    params = jax.tree.map(lambda a: a * 30.0, params)
    assert jnp.abs(outs(gru_cho, params, carry, jnp.zeros_like(xs))[-1]).max() > 0.5


@pytest.mark.parametrize(
    "name", "mgu mgu1 mgu2 mgu3 gru1 gru2 gru3 mut1 mut2 mut3 ligru min_gru ugrnn intersection_rnn ran atr cfn".split()
)
def test_any_size_will_do(name: str) -> None:
    for D, H in ((1, 1), (3, 1), (1, 5), (5, 3)):

        def run(D: int = D, H: int = H) -> jax.Array:
            params = CELLS[name].init(jax.random.key(0), D, H)
            return unroll(CELLS[name], params, jnp.ones((3, 2, D), jnp.float32))[1]

        assert jax.eval_shape(run).shape == (3, 2, H)

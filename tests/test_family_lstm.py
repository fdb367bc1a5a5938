"""Cells like the LSTM against NumPy loops written from the papers' equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check_against, sigmoid, unpack

from jaxseq import unroll
from jaxseq.cells import (
    janet,
    lstm,
    lstm_1997,
    lstm_cifg,
    lstm_fgr,
    lstm_layernorm,
    lstm_multiplicative,
    lstm_nested,
    lstm_nfg,
    lstm_niaf,
    lstm_nig,
    lstm_noaf,
    lstm_nog,
    lstm_peephole,
    lstm_residual,
    lstm_wmc,
    lstmp,
    mogrifier_lstm,
)
from jaxseq.cells._lstm import LSTMCarry, LSTMParams
from jaxseq.cells._lstm_nested import NestedLSTMCarry
from jaxseq.cells._lstm_peephole import PeepholeParams
from jaxseq.cells._lstm_peephole_ablations import FullGateRecurrenceCarry
from jaxseq.cells._parts import Hidden
from jaxseq.testing import Subject, draw


def test_lstm() -> None:
    def step(p, k, x):
        W, U, b = (unpack(a, "i f g o") for a in p)
        i, f, o = (sigmoid(x @ W[n] + k.h @ U[n] + b[n]) for n in "ifo")
        g = np.tanh(x @ W["g"] + k.h @ U["g"] + b["g"])
        c = f * k.c + i * g
        h = o * np.tanh(c)
        return LSTMCarry(h, c), h

    check_against(lstm, step)


def nets(p, names: str, x: np.ndarray, h: np.ndarray) -> dict[str, np.ndarray]:
    """The net inputs ``W x + R h + b`` of each block by name, one matrix-vector product at a time."""
    W, R, b = (unpack(a, names) for a in (p.W, p.U, p.b))
    return {n: b[n] + R[n].T @ h + W[n].T @ x for n in names.split()}


def test_lstm_1997() -> None:
    def logistic(a, low, high):
        return low + (high - low) / (1 + np.exp(-a))

    def step(p, k, x):
        net = nets(p, "i g o", x, k.h)
        c = k.c + logistic(net["i"], 0, 1) * logistic(net["g"], -2, 2)
        h = logistic(net["o"], 0, 1) * logistic(c, -1, 1)
        return LSTMCarry(h, c), h

    check_against(lstm_1997, step)


def test_lstm_peephole() -> None:
    def step(p, k, x):
        net, peep = nets(p, "i f g o", x, k.h), unpack(p.p, "i f")
        z = np.tanh(net["g"])
        i, f = (sigmoid(net[n] + peep[n] * k.c) for n in "if")
        c = z * i + k.c * f
        y = np.tanh(c) * sigmoid(net["o"] + p.p_o * c)
        return LSTMCarry(y, c), y

    check_against(lstm_peephole, step)


def test_lstmp() -> None:
    def step(p, k, x):
        net = nets(p, "i f g o", x, k.h)
        c = sigmoid(net["f"]) * k.c + sigmoid(net["i"]) * np.tanh(net["g"])
        r = p.W_r.T @ (sigmoid(net["o"]) * np.tanh(c))
        return LSTMCarry(r, c), r

    check_against(lstmp, step)
    check_against(lstmp, step, options={"projection": 3})
    check_against(lstmp, step, options={"projection": 7})


def test_lstm_layernorm() -> None:
    def normed(z, gain, shift):
        return gain * (z - np.mean(z)) / np.sqrt(np.var(z) + 1e-5) + shift

    def step(p, k, x):
        a = normed(p.U.T @ k.h, p.gain_h, p.shift_h) + normed(p.W.T @ x, p.gain_x, p.shift_x) + p.b
        a = unpack(a, "i f g o")
        c = sigmoid(a["f"]) * k.c + sigmoid(a["i"]) * np.tanh(a["g"])
        h = sigmoid(a["o"]) * np.tanh(normed(c, p.gain_c, p.shift_c))
        return LSTMCarry(h, c), h

    check_against(lstm_layernorm, step)


def test_janet() -> None:
    def step(p, k, x):
        net = nets(p, "f g", x, k.h)
        c = sigmoid(net["f"]) * k.h + (1 - sigmoid(net["f"] - 1.0)) * np.tanh(net["g"])
        return Hidden(c), c

    check_against(janet, step)


def greff(k, net, p_old: dict, p_o, *, z=None, i=None, f=None, o=None, out=np.tanh):
    """The vanilla LSTM of Greff et al., section II, but for what is given: their one change at a time."""
    z = np.tanh(net["g"]) if z is None else z
    i = sigmoid(net["i"] + p_old["i"] * k.c) if i is None else i
    f = sigmoid(net["f"] + p_old["f"] * k.c) if f is None else f
    c = z * i + k.c * f
    o = sigmoid(net["o"] + p_o * c) if o is None else o
    return LSTMCarry(out(c) * o, c), out(c) * o


VARIANTS = {
    # blocks, peepholes of the old cell, the change
    lstm_nig: ("f g o", "f", lambda net, peep, c: {"i": 1.0}),
    lstm_nfg: ("i g o", "i", lambda net, peep, c: {"f": 1.0}),
    lstm_nog: ("i f g", "i f", lambda net, peep, c: {"o": 1.0}),
    lstm_niaf: ("i f g o", "i f", lambda net, peep, c: {"z": net["g"]}),
    lstm_noaf: ("i f g o", "i f", lambda net, peep, c: {"out": lambda c: c}),
    lstm_cifg: ("i g o", "i", lambda net, peep, c: {"f": 1 - sigmoid(net["i"] + peep["i"] * c)}),
}


@pytest.mark.parametrize("cell", VARIANTS, ids=lambda cell: cell.name)
def test_ablations(cell) -> None:
    names, peepholes, change = VARIANTS[cell]

    def step(p, k, x):
        net, peep = nets(p, names, x, k.h), unpack(p.p, peepholes)
        return greff(k, net, peep, getattr(p, "p_o", None), **change(net, peep, k.c))

    check_against(cell, step)


def test_full_gate_recurrence() -> None:
    def step(p, k, x):
        net, (last_i, last_f, last_o) = nets(p, "i f g o", x, k.h), np.split(k.ifo, 3)
        for at, row in zip("ifo", np.split(p.R.T, 3), strict=True):  # R_i*, R_f*, R_o*
            from_i, from_f, from_o = np.split(row, 3, axis=1)
            net[at] = net[at] + from_i @ last_i + from_f @ last_f + from_o @ last_o
        new, y = greff(k, net, unpack(p.p, "i f"), p.p_o)
        i, f = (sigmoid(net[n] + unpack(p.p, "i f")[n] * k.c) for n in "if")
        o = sigmoid(net["o"] + p.p_o * new.c)
        return FullGateRecurrenceCarry(*new, np.concatenate([i, f, o])), y

    check_against(lstm_fgr, step)


def test_lstm_multiplicative() -> None:
    def step(p, k, x):
        W = unpack(p.W, "m i f g o")
        m = (W["m"].T @ x) * (p.U.T @ k.h)
        U, b = unpack(p.U_m, "i f g o"), unpack(p.b, "i f g o")
        i, f, h_hat, o = (W[n].T @ x + U[n].T @ m + b[n] for n in "ifgo")
        c = sigmoid(f) * k.c + sigmoid(i) * np.tanh(h_hat)
        h = np.tanh(c) * sigmoid(o)
        return LSTMCarry(h, c), h

    check_against(lstm_multiplicative, step)


def test_lstm_residual() -> None:
    def step(p, k, x):
        W, U, b, peep = unpack(p.W, "i f g o r"), unpack(p.U, "i f g o"), unpack(p.b, "i f g o"), unpack(p.p, "i f")
        a = {n: W[n].T @ x + U[n].T @ k.h + b[n] for n in "ifgo"}
        c = sigmoid(a["f"] + peep["f"] * k.c) * k.c + sigmoid(a["i"] + peep["i"] * k.c) * np.tanh(a["g"])
        o = sigmoid(a["o"] + p.p_o * c)
        m = p.W_p.T @ np.tanh(c)
        h = o * (m + W["r"].T @ x)
        return LSTMCarry(h, c), h

    check_against(lstm_residual, step)


def test_lstm_wmc() -> None:
    def step(p, k, x):
        net, memory = nets(p, "i f g o", x, k.h), unpack(p.U_c, "i f")
        i, f = (sigmoid(net[n] + np.tanh(memory[n].T @ k.c)) for n in "if")
        c = f * k.c + i * np.tanh(net["g"])
        h = sigmoid(net["o"] + np.tanh(p.U_oc.T @ c)) * np.tanh(c)
        return LSTMCarry(h, c), h

    check_against(lstm_wmc, step)


def test_lstm_nested() -> None:
    def step(p, k, x):
        outer = nets(p, "i f g o", x, k.h)
        x_tilde, h_tilde = sigmoid(outer["i"]) * outer["g"], sigmoid(outer["f"]) * k.c
        inside = LSTMParams(p.W_in, p.U_in, p.b_in)
        inner = nets(inside, "i f g o", x_tilde, h_tilde)
        n = sigmoid(inner["f"]) * k.n + sigmoid(inner["i"]) * np.tanh(inner["g"])
        c = sigmoid(inner["o"]) * np.tanh(n)
        h = sigmoid(outer["o"]) * np.tanh(c)
        return NestedLSTMCarry(h, c, n), h

    check_against(lstm_nested, step)


# --- identities and limits -------------------------------------------------------------------------------------------


def outputs(cell, params, carry, xs):
    return jax.tree.map(np.asarray, unroll(cell, params, xs, carry))


def assert_equal(cell, params, other, other_params, tolerance: float = 1e-12, T: int = 7) -> None:
    """Assert that two cells with the carry of `lstm` give the same outputs and final c."""
    _, xs, carry = draw(Subject(lstm), T, (4,))
    (a, outs), (b, other_outs) = outputs(cell, params, carry, xs), outputs(other, other_params, carry, xs)
    assert np.abs(outs - other_outs).max() <= tolerance
    assert np.abs(a.c - b.c).max() <= tolerance


def only(a, names: str, kept: str):
    """The blocks of a packed array that are kept, in their order."""
    return np.concatenate([unpack(np.asarray(a), names)[n] for n in kept.split()], axis=-1)


def test_without_peepholes_it_is_the_lstm() -> None:
    """NP, the eighth variant of Greff et al."""
    p = draw(Subject(lstm_peephole), 1, ()).params
    assert_equal(lstm_peephole, p._replace(p=0 * p.p, p_o=0 * p.p_o), lstm, LSTMParams(p.W, p.U, p.b))


def test_without_working_memory_it_is_the_lstm() -> None:
    p = draw(Subject(lstm_wmc), 1, ()).params
    assert_equal(lstm_wmc, p._replace(U_c=0 * p.U_c, U_oc=0 * p.U_oc), lstm, LSTMParams(p.W, p.U, p.b))


def test_a_projection_by_the_identity_is_the_lstm() -> None:
    init = lstmp.init
    full = lstmp.replace(init=lambda *args, **options: init(*args, projection=5, **options))
    p = draw(Subject(full), 1, ()).params
    assert_equal(lstmp, p._replace(W_r=jnp.eye(5)), lstm, LSTMParams(p.W, p.U, p.b))


@pytest.mark.parametrize(
    ("cell", "gate", "kept"),
    [(lstm_nig, 0, "f g o"), (lstm_nfg, 1, "i g o"), (lstm_nog, 3, "i f g")],
    ids=["nig", "nfg", "nog"],
)
def test_a_gate_that_is_always_open_is_none(cell, gate: int, kept: str) -> None:
    p = draw(Subject(lstm_peephole), 1, ()).params
    blocks = p._replace(**{n: only(getattr(p, n), "i f g o", kept) for n in ("W", "U", "b")})
    blocks = blocks._replace(p=only(p.p, "i f", " ".join(n for n in kept.split() if n in "if")))
    fewer = cell.params_type(*[getattr(blocks, n) for n in cell.params_type._fields])
    opened = p._replace(b=p.b.at[5 * gate : 5 * gate + 5].set(200.0))
    assert_equal(lstm_peephole, opened, cell, jax.tree.map(jnp.asarray, fewer))


def test_coupled_gates_are_opposite_weights() -> None:
    """1 - sigmoid(a) = sigmoid(-a)."""
    p = draw(Subject(lstm_cifg), 1, ()).params
    opposite = [jnp.insert(a, np.array([5] * 5), -a[..., :5], axis=-1) for a in (p.W, p.U, p.b)]
    assert_equal(lstm_cifg, p, lstm_peephole, PeepholeParams(*opposite, jnp.concatenate([p.p, -p.p]), p.p_o))


def test_gates_that_do_not_recur() -> None:
    p, xs, carry = draw(Subject(lstm_fgr), 7, (4,))
    last, outs = outputs(lstm_fgr, p._replace(R=0 * p.R), carry, xs)
    want, other = outputs(lstm_peephole, PeepholeParams(*p[:5]), LSTMCarry(carry.h, carry.c), xs)
    assert np.abs(outs - other).max() <= 1e-12 and np.abs(last.c - want.c).max() <= 1e-12


def test_the_constant_error_carousel() -> None:
    """Hochreiter & Schmidhuber's point: with the input gate shut, a cell and its error stay what they are."""
    params, xs, carry = draw(Subject(lstm_1997), 1000, (2,))
    shut = params._replace(b=params.b.at[:5].set(-200.0), W=params.W.at[:, :5].set(0), U=params.U.at[:, :5].set(0))
    kept, pull = jax.vjp(lambda c: unroll(lstm_1997, shut, xs, carry._replace(c=c))[0].c, carry.c)
    assert np.array_equal(kept, carry.c)
    assert np.array_equal(*pull(jnp.ones_like(kept)), np.ones_like(kept))


def test_layer_normalisation_is_invariant() -> None:
    """Ba et al., section 5.1: to a vector added to every unit's weights exactly, to their scale but for epsilon."""
    p = draw(Subject(lstm_layernorm), 1, ()).params
    shifted = p._replace(W=p.W + jnp.array([[0.3], [-1.0], [2.0]]), U=p.U - jnp.linspace(0, 1, 5)[:, None])
    assert_equal(lstm_layernorm, p, lstm_layernorm, shifted)
    large = p._replace(W=p.W * 1e4, U=p.U * 1e4)
    assert_equal(lstm_layernorm, large, lstm_layernorm, p._replace(W=p.W * 1e8, U=p.U * 1e8), 1e-9)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_mogrifier_lstm(rounds: int) -> None:
    """The paper's rounds by their numbers i, with a matrix Q^i or R^i for each."""

    def step(p, k, x):
        D, H = len(x), len(k.h)
        Q = dict(zip(range(1, rounds + 1, 2), np.split(p.Q, p.Q.shape[1] // D, axis=1), strict=True))
        R = dict(zip(range(2, rounds + 1, 2), np.split(p.R, max(p.R.shape[1] // H, 1), axis=1), strict=False))
        seen = {-1: x, 0: k.h}
        for i in range(1, rounds + 1):
            seen[i] = 2 * sigmoid((Q if i % 2 else R)[i].T @ seen[i - 1]) * seen[i - 2]
        last_x, last_h = (seen[max(i for i in seen if i % 2 == odd)] for odd in (1, 0))
        a = dict(zip("ifgo", np.split(p.W.T @ last_x + p.U.T @ last_h + p.b, 4), strict=True))
        c = sigmoid(a["f"]) * k.c + sigmoid(a["i"]) * np.tanh(a["g"])
        h = sigmoid(a["o"]) * np.tanh(c)
        return LSTMCarry(h, c), h

    check_against(mogrifier_lstm, step, options={"rounds": rounds})


def test_mogrifier_lstm_without_gating_is_an_lstm() -> None:
    """With Q = R = 0 each round multiplies by 2 sigmoid(0) = 1."""
    p = mogrifier_lstm.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    p, xs = p._replace(Q=0 * p.Q, R=0 * p.R), jax.random.normal(jax.random.key(1), (6, 2, 3), jnp.float64)
    want = unroll(lstm, LSTMParams(p.W, p.U, p.b), xs)[1]
    np.testing.assert_allclose(unroll(mogrifier_lstm, p, xs)[1], want, atol=1e-12)

"""Cells like the LSTM against NumPy loops written from the papers' equations."""

import numpy as np
import pytest
from reference import check_against, sigmoid, unpack

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
)
from jaxseq.cells.lstm import LSTMCarry, LSTMParams
from jaxseq.cells.lstm_nested import NestedLSTMCarry
from jaxseq.cells.lstm_peephole_ablations import FullGateRecurrenceCarry
from jaxseq.cells.parts import Hidden


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

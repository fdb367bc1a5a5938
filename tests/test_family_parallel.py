"""Cells made for Newton's method against NumPy loops written from the papers' equations."""

import numpy as np
from reference import check_against, sigmoid, unpack

from jaxseq.cells import para_gru, para_lstm
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._parts import Hidden


def test_para_gru() -> None:
    """The paper writes the diagonal matrix A of our vector u, B of our W, transposed."""

    def step(p, k, x):
        B, A, b = unpack(p.W, "r z n"), unpack(p.u, "r z n"), unpack(p.b, "r z n")
        z = sigmoid(np.diag(A["z"]) @ k.h + B["z"].T @ x + b["z"])
        r = sigmoid(np.diag(A["r"]) @ k.h + B["r"].T @ x + b["r"])
        candidate = np.tanh(np.diag(A["n"]) @ (k.h * r) + B["n"].T @ x + b["n"])
        h = k.h + z * (candidate - k.h)
        return Hidden(h), h

    check_against(para_gru, step)


def test_para_lstm() -> None:
    def step(p, k, x):
        B, A, b = unpack(p.W, "f g o"), unpack(p.u, "f g o"), unpack(p.b, "f g o")
        seen = {g: np.diag(A[g]) @ k.h + B[g].T @ x + b[g] for g in "fgo"}
        f = sigmoid(seen["f"] + np.diag(p.p_f) @ k.c)
        c = np.tanh(seen["g"]) + f * (k.c - np.tanh(seen["g"]))
        h = sigmoid(seen["o"] + np.diag(p.p_o) @ c) * np.tanh(c)
        return LSTMCarry(h, c), h

    check_against(para_lstm, step)

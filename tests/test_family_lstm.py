"""Cells like the LSTM against NumPy loops written from the papers' equations."""

import numpy as np
from reference import check_against, sigmoid, unpack

from jaxseq.cells import lstm
from jaxseq.cells.lstm import LSTMCarry


def test_lstm() -> None:
    def step(p, k, x):
        W, U, b = (unpack(a, "i f g o") for a in p)
        i, f, o = (sigmoid(x @ W[n] + k.h @ U[n] + b[n]) for n in "ifo")
        g = np.tanh(x @ W["g"] + k.h @ U["g"] + b["g"])
        c = f * k.c + i * g
        h = o * np.tanh(c)
        return LSTMCarry(h, c), h

    check_against(lstm, step)

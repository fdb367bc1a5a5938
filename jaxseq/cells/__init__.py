"""Recurrent cells, each a `Cell` value whose file reads like the paper's equations."""

from jaxseq.cells.base import Cell, activate, affine, blocks
from jaxseq.cells.gru import GRUCarry, GRUGates, GRUParams, gru
from jaxseq.cells.gru_cho import GRUChoParams, gru_cho
from jaxseq.cells.lstm import LSTMCarry, LSTMGates, LSTMParams, lstm
from jaxseq.cells.min_lstm import min_lstm
from jaxseq.cells.qrnn import qrnn, qrnn_1
from jaxseq.cells.rnn import RNNCarry, RNNGates, RNNParams, rnn, rnn_relu
from jaxseq.cells.sru import sru, sru_2017
from jaxseq.cells.stack import Dropped, drop_between, stack
from jaxseq.cells.strongly_typed import t_gru, t_lstm, t_rnn

CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        rnn,
        rnn_relu,
        lstm,
        gru,
        gru_cho,
        sru,
        sru_2017,
        qrnn,
        qrnn_1,
        min_lstm,
        t_rnn,
        t_gru,
        t_lstm,
    )
}
"""Every single-layer cell by name."""

__all__ = [
    "CELLS",
    "Cell",
    "Dropped",
    "GRUCarry",
    "GRUChoParams",
    "GRUGates",
    "GRUParams",
    "LSTMCarry",
    "LSTMGates",
    "LSTMParams",
    "RNNCarry",
    "RNNGates",
    "RNNParams",
    "activate",
    "affine",
    "blocks",
    "drop_between",
    "gru",
    "gru_cho",
    "lstm",
    "min_lstm",
    "qrnn",
    "qrnn_1",
    "rnn",
    "rnn_relu",
    "sru",
    "sru_2017",
    "stack",
    "t_gru",
    "t_lstm",
    "t_rnn",
]

"""Recurrent cells, each a `Cell` value whose file reads like the paper's equations."""

from jaxseq.cells.base import Cell, activate, affine, blocks
from jaxseq.cells.gru import GRUCarry, GRUGates, GRUParams, gru
from jaxseq.cells.gru_cho import GRUChoParams, gru_cho
from jaxseq.cells.lstm import LSTMCarry, LSTMGates, LSTMParams, lstm
from jaxseq.cells.rnn import RNNCarry, RNNGates, RNNParams, rnn, rnn_relu
from jaxseq.cells.stack import Dropped, drop_between, stack

CELLS: dict[str, Cell] = {cell.name: cell for cell in (rnn, rnn_relu, lstm, gru, gru_cho)}
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
    "rnn",
    "rnn_relu",
    "stack",
]

"""Recurrent cells, each a `Cell` value whose file reads like the paper's equations."""

from jaxseq.cells.atr import atr
from jaxseq.cells.base import Cell, activate, affine, blocks
from jaxseq.cells.cfn import cfn
from jaxseq.cells.deltanet import deltanet
from jaxseq.cells.gla import gla
from jaxseq.cells.gru import GRUCarry, GRUGates, GRUParams, gru
from jaxseq.cells.gru_cho import GRUChoParams, gru_cho
from jaxseq.cells.gru_reductions import gru1, gru2, gru3
from jaxseq.cells.intersection_rnn import intersection_rnn
from jaxseq.cells.ligru import ligru
from jaxseq.cells.lmu import lmu
from jaxseq.cells.lru import lru
from jaxseq.cells.lstm import LSTMCarry, LSTMGates, LSTMParams, lstm
from jaxseq.cells.mgu import mgu, mgu1, mgu2, mgu3
from jaxseq.cells.min_gru import min_gru
from jaxseq.cells.min_lstm import min_lstm
from jaxseq.cells.mut import mut1, mut2, mut3
from jaxseq.cells.qrnn import qrnn, qrnn_1
from jaxseq.cells.ran import ran
from jaxseq.cells.retention import retention
from jaxseq.cells.rg_lru import rg_lru
from jaxseq.cells.rnn import RNNCarry, RNNGates, RNNParams, rnn, rnn_relu
from jaxseq.cells.s5 import s5
from jaxseq.cells.sru import sru, sru_2017
from jaxseq.cells.stack import Dropped, drop_between, stack
from jaxseq.cells.strongly_typed import t_gru, t_lstm, t_rnn
from jaxseq.cells.ugrnn import ugrnn

CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        rnn,
        rnn_relu,
        lstm,
        gru,
        gru_cho,
        mgu,
        mgu1,
        mgu2,
        mgu3,
        gru1,
        gru2,
        gru3,
        mut1,
        mut2,
        mut3,
        ligru,
        min_gru,
        ugrnn,
        intersection_rnn,
        ran,
        atr,
        cfn,
        sru,
        sru_2017,
        qrnn,
        qrnn_1,
        min_lstm,
        t_rnn,
        t_gru,
        t_lstm,
        deltanet,
        gla,
        lmu,
        lru,
        retention,
        rg_lru,
        s5,
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
    "atr",
    "blocks",
    "cfn",
    "deltanet",
    "drop_between",
    "gla",
    "gru",
    "gru1",
    "gru2",
    "gru3",
    "gru_cho",
    "intersection_rnn",
    "ligru",
    "lmu",
    "lru",
    "lstm",
    "mgu",
    "mgu1",
    "mgu2",
    "mgu3",
    "min_gru",
    "min_lstm",
    "mut1",
    "mut2",
    "mut3",
    "qrnn",
    "qrnn_1",
    "ran",
    "retention",
    "rg_lru",
    "rnn",
    "rnn_relu",
    "s5",
    "sru",
    "sru_2017",
    "stack",
    "t_gru",
    "t_lstm",
    "t_rnn",
    "ugrnn",
]

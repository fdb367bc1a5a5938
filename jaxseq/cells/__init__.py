"""Recurrent cells, each a `Cell` value whose file reads like the paper's equations."""

from jaxseq.cells._antisymmetric_rnn import antisymmetric_rnn, antisymmetric_rnn_gated
from jaxseq.cells._atr import atr
from jaxseq.cells._augru import augru
from jaxseq.cells._base import Cell, activate, affine, blocks
from jaxseq.cells._brc import brc, nbrc
from jaxseq.cells._cfc import cfc
from jaxseq.cells._cfn import cfn
from jaxseq.cells._clockwork import clockwork
from jaxseq.cells._conv_gru import conv_gru
from jaxseq.cells._conv_lstm import conv_lstm
from jaxseq.cells._cornn import cornn
from jaxseq.cells._deltanet import deltanet
from jaxseq.cells._esn import esn
from jaxseq.cells._exp_rnn import exp_rnn, modrelu_rnn
from jaxseq.cells._fast_rnn import fast_grnn, fast_rnn
from jaxseq.cells._gla import gla
from jaxseq.cells._gru import GRUCarry, GRUGates, GRUParams, gru
from jaxseq.cells._gru_cho import GRUChoParams, gru_cho
from jaxseq.cells._gru_d import gru_d
from jaxseq.cells._gru_reductions import gru1, gru2, gru3
from jaxseq.cells._hyper_lstm import hyper_lstm
from jaxseq.cells._indrnn import indrnn, indrnn_tanh
from jaxseq.cells._intersection_rnn import intersection_rnn
from jaxseq.cells._janet import janet
from jaxseq.cells._lem import lem
from jaxseq.cells._lightru import lightru
from jaxseq.cells._ligru import ligru
from jaxseq.cells._lipschitz_rnn import lipschitz_rnn
from jaxseq.cells._lmu import lmu
from jaxseq.cells._lru import lru
from jaxseq.cells._lstm import LSTMCarry, LSTMGates, LSTMParams, lstm
from jaxseq.cells._lstm_1997 import lstm_1997
from jaxseq.cells._lstm_layernorm import lstm_layernorm
from jaxseq.cells._lstm_mc import lstm_mc
from jaxseq.cells._lstm_multiplicative import lstm_multiplicative
from jaxseq.cells._lstm_nested import lstm_nested
from jaxseq.cells._lstm_peephole import lstm_peephole
from jaxseq.cells._lstm_peephole_ablations import lstm_cifg, lstm_fgr, lstm_nfg, lstm_niaf, lstm_nig, lstm_noaf, lstm_nog
from jaxseq.cells._lstm_residual import lstm_residual
from jaxseq.cells._lstm_wmc import lstm_wmc
from jaxseq.cells._lstmp import lstmp
from jaxseq.cells._ltc import ltc
from jaxseq.cells._mgu import mgu, mgu1, mgu2, mgu3
from jaxseq.cells._min_gru import min_gru
from jaxseq.cells._min_lstm import min_lstm
from jaxseq.cells._minimal_rnn import minimal_rnn
from jaxseq.cells._miru import miru, miru1
from jaxseq.cells._mlstm import mlstm
from jaxseq.cells._mut import mut1, mut2, mut3
from jaxseq.cells._nas import nas
from jaxseq.cells._on_lstm import on_lstm
from jaxseq.cells._phased_lstm import phased_lstm
from jaxseq.cells._qrnn import qrnn, qrnn_1
from jaxseq.cells._ran import ran
from jaxseq.cells._retention import retention
from jaxseq.cells._rg_lru import rg_lru
from jaxseq.cells._rhn import rhn, rhn_coupled
from jaxseq.cells._rnn import RNNCarry, RNNGates, RNNParams, rnn, rnn_relu
from jaxseq.cells._s5 import s5
from jaxseq.cells._scrn import scrn
from jaxseq.cells._sgrn import sgrn
from jaxseq.cells._sgu import dsgu, sgu
from jaxseq.cells._slstm import slstm
from jaxseq.cells._sru import sru, sru_2017
from jaxseq.cells._stack import Dropped, drop_between, stack
from jaxseq.cells._star import star
from jaxseq.cells._strongly_typed import t_gru, t_lstm, t_rnn
from jaxseq.cells._tau_gru import tau_gru
from jaxseq.cells._ugrnn import ugrnn
from jaxseq.cells._unicornn import unicornn

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
        indrnn,
        indrnn_tanh,
        scrn,
        minimal_rnn,
        fast_rnn,
        fast_grnn,
        antisymmetric_rnn,
        antisymmetric_rnn_gated,
        lipschitz_rnn,
        cornn,
        unicornn,
        lem,
        clockwork,
        esn,
        exp_rnn,
        modrelu_rnn,
        cfc,
        ltc,
        lstm_mc,
        on_lstm,
        phased_lstm,
        slstm,
        mlstm,
        janet,
        lstm_1997,
        lstm_layernorm,
        lstm_peephole,
        lstmp,
        lstm_nig,
        lstm_nfg,
        lstm_nog,
        lstm_niaf,
        lstm_noaf,
        lstm_cifg,
        lstm_fgr,
        lstm_multiplicative,
        lstm_residual,
        lstm_wmc,
        lstm_nested,
        lightru,
        miru,
        miru1,
        sgu,
        dsgu,
        brc,
        nbrc,
        star,
        rhn,
        rhn_coupled,
        nas,
        gru_d,
        augru,
        tau_gru,
        sgrn,
        conv_gru,
        conv_lstm,
        hyper_lstm,
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
    "antisymmetric_rnn",
    "antisymmetric_rnn_gated",
    "atr",
    "augru",
    "blocks",
    "brc",
    "cfc",
    "cfn",
    "clockwork",
    "conv_gru",
    "conv_lstm",
    "cornn",
    "deltanet",
    "drop_between",
    "dsgu",
    "esn",
    "exp_rnn",
    "fast_grnn",
    "fast_rnn",
    "gla",
    "gru",
    "gru1",
    "gru2",
    "gru3",
    "gru_cho",
    "gru_d",
    "hyper_lstm",
    "indrnn",
    "indrnn_tanh",
    "intersection_rnn",
    "janet",
    "lem",
    "lightru",
    "ligru",
    "lipschitz_rnn",
    "lmu",
    "lru",
    "lstm",
    "lstm_1997",
    "lstm_cifg",
    "lstm_fgr",
    "lstm_layernorm",
    "lstm_mc",
    "lstm_multiplicative",
    "lstm_nested",
    "lstm_nfg",
    "lstm_niaf",
    "lstm_nig",
    "lstm_noaf",
    "lstm_nog",
    "lstm_peephole",
    "lstm_residual",
    "lstm_wmc",
    "lstmp",
    "ltc",
    "mgu",
    "mgu1",
    "mgu2",
    "mgu3",
    "min_gru",
    "min_lstm",
    "minimal_rnn",
    "miru",
    "miru1",
    "mlstm",
    "modrelu_rnn",
    "mut1",
    "mut2",
    "mut3",
    "nas",
    "nbrc",
    "on_lstm",
    "phased_lstm",
    "qrnn",
    "qrnn_1",
    "ran",
    "retention",
    "rg_lru",
    "rhn",
    "rhn_coupled",
    "rnn",
    "rnn_relu",
    "s5",
    "scrn",
    "sgrn",
    "sgu",
    "slstm",
    "sru",
    "sru_2017",
    "stack",
    "star",
    "t_gru",
    "t_lstm",
    "t_rnn",
    "tau_gru",
    "ugrnn",
    "unicornn",
]

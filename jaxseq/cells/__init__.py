"""Recurrent cells, each a `Cell` value whose file reads like the paper's equations.

The imports below are the only list of cells: `CELLS` is derived from them, and the catalogue from `CELLS`.
"""

from jaxseq.cells._antisymmetric_rnn import (
    antisymmetric_rnn as antisymmetric_rnn,
    antisymmetric_rnn_gated as antisymmetric_rnn_gated,
)
from jaxseq.cells._atr import atr as atr
from jaxseq.cells._augru import augru as augru
from jaxseq.cells._base import Cell as Cell, activate as activate, affine as affine, blocks as blocks
from jaxseq.cells._brc import brc as brc, nbrc as nbrc
from jaxseq.cells._cfc import cfc as cfc
from jaxseq.cells._cfn import cfn as cfn
from jaxseq.cells._clockwork import clockwork as clockwork
from jaxseq.cells._conv_gru import conv_gru as conv_gru
from jaxseq.cells._conv_lstm import conv_lstm as conv_lstm
from jaxseq.cells._cornn import cornn as cornn
from jaxseq.cells._deltanet import deltanet as deltanet
from jaxseq.cells._deltaproduct import deltaproduct as deltaproduct
from jaxseq.cells._esn import esn as esn
from jaxseq.cells._exp_rnn import exp_rnn as exp_rnn, modrelu_rnn as modrelu_rnn
from jaxseq.cells._fast_rnn import fast_grnn as fast_grnn, fast_rnn as fast_rnn
from jaxseq.cells._fast_weight import fast_weight as fast_weight
from jaxseq.cells._ffm import ffm as ffm
from jaxseq.cells._gated_deltanet import gated_deltanet as gated_deltanet
from jaxseq.cells._gla import gla as gla
from jaxseq.cells._gru import GRUCarry as GRUCarry, GRUGates as GRUGates, GRUParams as GRUParams, gru as gru
from jaxseq.cells._gru_cho import GRUChoParams as GRUChoParams, gru_cho as gru_cho
from jaxseq.cells._gru_d import gru_d as gru_d
from jaxseq.cells._gru_reductions import gru1 as gru1, gru2 as gru2, gru3 as gru3
from jaxseq.cells._hgrn import hgrn as hgrn
from jaxseq.cells._hgrn2 import hgrn2 as hgrn2
from jaxseq.cells._hyper_lstm import hyper_lstm as hyper_lstm
from jaxseq.cells._indrnn import indrnn as indrnn, indrnn_tanh as indrnn_tanh
from jaxseq.cells._init import (
    Size as Size,
    check_range as check_range,
    check_sizes as check_sizes,
    checked_init as checked_init,
    init_of as init_of,
)
from jaxseq.cells._inputs import (
    Inflow as Inflow,
    Observed as Observed,
    Scored as Scored,
    Spaced as Spaced,
    Stamped as Stamped,
    complete as complete,
    inflow as inflow,
    lift_sequence as lift_sequence,
    scored as scored,
    spaced as spaced,
    stamped as stamped,
)
from jaxseq.cells._intersection_rnn import intersection_rnn as intersection_rnn
from jaxseq.cells._janet import janet as janet
from jaxseq.cells._lem import lem as lem
from jaxseq.cells._lightru import lightru as lightru
from jaxseq.cells._ligru import ligru as ligru
from jaxseq.cells._linear_transformer import linear_transformer as linear_transformer
from jaxseq.cells._linoss import linoss_im as linoss_im, linoss_imex as linoss_imex
from jaxseq.cells._lipschitz_rnn import lipschitz_rnn as lipschitz_rnn
from jaxseq.cells._lmu import lmu as lmu
from jaxseq.cells._longhorn import longhorn as longhorn
from jaxseq.cells._lru import lru as lru
from jaxseq.cells._lstm import LSTMCarry as LSTMCarry, LSTMGates as LSTMGates, LSTMParams as LSTMParams, lstm as lstm
from jaxseq.cells._lstm_1997 import lstm_1997 as lstm_1997
from jaxseq.cells._lstm_layernorm import lstm_layernorm as lstm_layernorm
from jaxseq.cells._lstm_mc import lstm_mc as lstm_mc
from jaxseq.cells._lstm_multiplicative import lstm_multiplicative as lstm_multiplicative
from jaxseq.cells._lstm_nested import lstm_nested as lstm_nested
from jaxseq.cells._lstm_peephole import lstm_peephole as lstm_peephole
from jaxseq.cells._lstm_peephole_ablations import (
    lstm_cifg as lstm_cifg,
    lstm_fgr as lstm_fgr,
    lstm_nfg as lstm_nfg,
    lstm_niaf as lstm_niaf,
    lstm_nig as lstm_nig,
    lstm_noaf as lstm_noaf,
    lstm_nog as lstm_nog,
)
from jaxseq.cells._lstm_residual import lstm_residual as lstm_residual
from jaxseq.cells._lstm_wmc import lstm_wmc as lstm_wmc
from jaxseq.cells._lstmp import lstmp as lstmp
from jaxseq.cells._ltc import ltc as ltc
from jaxseq.cells._mamba import mamba as mamba
from jaxseq.cells._mamba2 import mamba2 as mamba2
from jaxseq.cells._mega_ema import mega_ema as mega_ema
from jaxseq.cells._memory import (
    Access as Access,
    Larger as Larger,
    Latest as Latest,
    Memory as Memory,
    MemoryEquations as MemoryEquations,
    Rest as Rest,
    Window as Window,
    Write as Write,
)
from jaxseq.cells._mgu import mgu as mgu, mgu1 as mgu1, mgu2 as mgu2, mgu3 as mgu3
from jaxseq.cells._min_gru import min_gru as min_gru
from jaxseq.cells._min_lstm import min_lstm as min_lstm
from jaxseq.cells._minimal_rnn import minimal_rnn as minimal_rnn
from jaxseq.cells._miru import miru as miru, miru1 as miru1
from jaxseq.cells._mlstm import mlstm as mlstm
from jaxseq.cells._mlstm_block import mlstm_block as mlstm_block
from jaxseq.cells._mogrifier_lstm import mogrifier_lstm as mogrifier_lstm
from jaxseq.cells._mut import mut1 as mut1, mut2 as mut2, mut3 as mut3
from jaxseq.cells._nas import nas as nas
from jaxseq.cells._on_lstm import on_lstm as on_lstm
from jaxseq.cells._para_gru import para_gru as para_gru
from jaxseq.cells._para_lstm import para_lstm as para_lstm
from jaxseq.cells._parts import (
    Hidden as Hidden,
    hidden_product as hidden_product,
    input_affine as input_affine,
    no_hidden_terms as no_hidden_terms,
    zeros_carry as zeros_carry,
)
from jaxseq.cells._phased_lstm import phased_lstm as phased_lstm
from jaxseq.cells._qrnn import qrnn as qrnn, qrnn_1 as qrnn_1
from jaxseq.cells._ran import ran as ran
from jaxseq.cells._recipe import REGISTERED, Recipe, made as made, registered
from jaxseq.cells._retention import retention as retention
from jaxseq.cells._rg_lru import rg_lru as rg_lru
from jaxseq.cells._rhn import rhn as rhn, rhn_coupled as rhn_coupled
from jaxseq.cells._rnn import (
    RNNCarry as RNNCarry,
    RNNGates as RNNGates,
    RNNParams as RNNParams,
    rnn as rnn,
    rnn_relu as rnn_relu,
)
from jaxseq.cells._rwkv4 import rwkv4 as rwkv4
from jaxseq.cells._rwkv6 import rwkv6 as rwkv6
from jaxseq.cells._rwkv7 import rwkv7 as rwkv7
from jaxseq.cells._s4d import s4d as s4d
from jaxseq.cells._s5 import s5 as s5
from jaxseq.cells._scrn import scrn as scrn
from jaxseq.cells._sgrn import sgrn as sgrn
from jaxseq.cells._sgu import dsgu as dsgu, sgu as sgu
from jaxseq.cells._slstm import slstm as slstm
from jaxseq.cells._slstm_block import slstm_block as slstm_block
from jaxseq.cells._sru import sru as sru, sru_2017 as sru_2017
from jaxseq.cells._stack import Dropped as Dropped, drop_between as drop_between, stack as stack
from jaxseq.cells._star import star as star
from jaxseq.cells._strongly_typed import t_gru as t_gru, t_lstm as t_lstm, t_rnn as t_rnn
from jaxseq.cells._tau_gru import tau_gru as tau_gru
from jaxseq.cells._titans import titans as titans
from jaxseq.cells._ttt_linear import ttt_linear as ttt_linear
from jaxseq.cells._ugrnn import ugrnn as ugrnn
from jaxseq.cells._unicornn import unicornn as unicornn
from jaxseq.errors import Registry

CELLS: Registry[Cell] = Registry(
    "cell", dict(sorted((cell.name, cell) for cell in list(globals().values()) if isinstance(cell, Cell)))
)
"""Every single-layer cell by name."""

for _name, _cell in CELLS.items():
    if _cell.recipe is None:  # a variant's call is its recipe already
        object.__setattr__(_cell, "recipe", Recipe(registered, (_name,)))
    REGISTERED[_name] = _cell

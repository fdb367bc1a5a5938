"""Recurrent cells written from scratch, as pure functions, in JAX.

The cells and what runs them are here; the heavier parts (training, plots, the applications) are imported by name
where they are wanted: ``from jaxseq import train``, ``import jaxseq.plots``.
"""

from jaxseq import attention, cells, decode, losses, recurrence, seq2seq
from jaxseq._layers import Bidirectional, bidirectional, init_bidirectional, init_layers, layers
from jaxseq._unroll import Trace, length_mask, trace, unroll
from jaxseq.attention import ATTENTIONS
from jaxseq.cells import CELLS, Cell, stack
from jaxseq.errors import InputError
from jaxseq.recurrence import RECURRENCES

__version__ = "0.1.0"

__all__ = [
    "ATTENTIONS",
    "CELLS",
    "RECURRENCES",
    "Bidirectional",
    "Cell",
    "InputError",
    "Trace",
    "attention",
    "bidirectional",
    "cells",
    "decode",
    "init_bidirectional",
    "init_layers",
    "layers",
    "length_mask",
    "losses",
    "recurrence",
    "seq2seq",
    "stack",
    "trace",
    "unroll",
]

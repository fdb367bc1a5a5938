"""Recurrent cells written from scratch, as pure functions, in JAX.

The cells and what runs them are here; the heavier parts (training, plots, the applications) are imported by name
where they are wanted: ``from jaxseq import train``, ``import jaxseq.plots``.
"""

from jaxseq import attention, cells, decode, losses, recurrence, seq2seq
from jaxseq.cells import CELLS, Cell, stack
from jaxseq.errors import InputError
from jaxseq.recurrence import RECURRENCES
from jaxseq._unroll import Bidirectional, Trace, bidirectional, layers, trace, unroll

__version__ = "0.1.0"

__all__ = [
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
    "layers",
    "losses",
    "recurrence",
    "seq2seq",
    "stack",
    "trace",
    "unroll",
]

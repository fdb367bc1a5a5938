"""Recurrent cells written from scratch, as pure functions, in JAX.

The cells and the functions that run them are here. The heavier parts (`study`, `testing`, `train`, `plots`, ...) are
imported on first use, as ``jaxseq.study`` or ``from jaxseq import study``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxseq import _starting, attention, cells, losses, recurrence  # noqa: F401, _starting first: others are slow
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
    "mixed",
    "recurrence",
    "seq2seq",
    "stack",
    "trace",
    "unroll",
]

if TYPE_CHECKING:
    from jaxseq import decode, seq2seq
    from jaxseq.precision import mixed
else:  # hidden from type checkers: to them, jaxseq would otherwise have every attribute
    _ON_DEMAND = frozenset(
        "checkpoint decode forcing initializers interop interventions online optimizers order plots problems "
        "regularisers seq2seq study testing train".split()
    )

    def __getattr__(name: str) -> Any:
        """Return a lazily imported submodule."""
        if name in _ON_DEMAND:
            return importlib.import_module(f"jaxseq.{name}")
        if name == "mixed":
            return importlib.import_module("jaxseq.precision").mixed
        raise AttributeError(f"module 'jaxseq' has no attribute {name!r}")

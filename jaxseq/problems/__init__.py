"""Small problems that need memory, and a trainer for any cell. ``from jaxseq import problems``.

A problem is called with its sizes, ``problems.copy(30)``; `train` trains a cell on it, `compare` trains several cells
with matched parameter counts, `evaluate` scores them.
"""

from collections.abc import Callable

from jaxseq.problems._adding import adding
from jaxseq.problems._anbn import anbn, balance, words
from jaxseq.problems._automata import Automaton
from jaxseq.problems._base import Batch, Problem
from jaxseq.problems._compare import Compared, Scores, compare, count_params, evaluate, matched_hidden
from jaxseq.problems._copy import copy, reverse
from jaxseq.problems._digits import digits
from jaxseq.problems._letters import letters
from jaxseq.problems._recall import recall, selective_copy
from jaxseq.problems._retaining import RETAINING, retaining
from jaxseq.problems._tomita import PARITY, TOMITA, parity, tomita
from jaxseq.problems._valence import VALENCES, balanced, valence
from jaxseq.problems._warped import warped
from jaxseq.problems.fit import ModelParams, Trained, descend, drawn_loss, init_params, loss_of, outputs, train

PROBLEMS: dict[str, Callable[..., Problem]] = {
    problem.__name__: problem for problem in (copy, selective_copy, reverse, recall, adding, anbn, warped, digits)
}
"""The problems that need only sizes, by name; call `letters`, `tomita`, `parity` and `valence` as functions."""

__all__ = [
    "PARITY",
    "PROBLEMS",
    "RETAINING",
    "TOMITA",
    "VALENCES",
    "Automaton",
    "Batch",
    "Compared",
    "ModelParams",
    "Problem",
    "Scores",
    "Trained",
    "adding",
    "anbn",
    "balance",
    "balanced",
    "compare",
    "copy",
    "count_params",
    "descend",
    "digits",
    "drawn_loss",
    "evaluate",
    "init_params",
    "letters",
    "loss_of",
    "matched_hidden",
    "outputs",
    "parity",
    "recall",
    "retaining",
    "reverse",
    "selective_copy",
    "tomita",
    "train",
    "valence",
    "warped",
    "words",
]

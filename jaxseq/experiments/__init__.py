"""Claims of papers, run and judged: `jaxseq experiment NAME`. One module for each; the rule is in `base`."""

from jaxseq.experiments._ablation import ablation
from jaxseq.experiments._attention import attention
from jaxseq.experiments._automata import automata
from jaxseq.experiments._chrono import chrono
from jaxseq.experiments._counting import counting
from jaxseq.experiments._forget_bias import forget_bias
from jaxseq.experiments._gates_open import gates_open
from jaxseq.experiments._line_attractor import line_attractor
from jaxseq.experiments._memory import memory
from jaxseq.experiments._parity import parity
from jaxseq.experiments._spectrum import spectrum
from jaxseq.experiments._vanishing import vanishing
from jaxseq.experiments.base import Experiment, Found, Row

_ALL = (
    counting, memory, chrono, forget_bias, spectrum, ablation, vanishing, attention, gates_open, automata, parity,
    line_attractor,
)  # fmt: skip
EXPERIMENTS: dict[str, Experiment] = {one.name: one for one in _ALL}
"""Every experiment by name."""

__all__ = ["EXPERIMENTS", "Experiment", "Found", "Row"]

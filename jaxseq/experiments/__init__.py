"""Claims of papers, run and judged: `jaxseq experiment NAME`. One file an experiment; the rule is in `base`."""

from jaxseq.experiments.ablation import ablation
from jaxseq.experiments.attention import attention
from jaxseq.experiments.base import Experiment, Found, Row, verdict
from jaxseq.experiments.chrono import chrono
from jaxseq.experiments.counting import counting
from jaxseq.experiments.forget_bias import forget_bias
from jaxseq.experiments.gates_open import gates_open
from jaxseq.experiments.memory import memory
from jaxseq.experiments.spectrum import spectrum
from jaxseq.experiments.vanishing import vanishing

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (counting, memory, chrono, forget_bias, spectrum, ablation, vanishing, attention, gates_open)
}
"""Every experiment by name."""

__all__ = ["EXPERIMENTS", "Experiment", "Found", "Row", "verdict"]

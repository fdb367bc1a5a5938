"""The study of gates: what a trained cell does, as arrays. ``from jaxseq import study``.

Functions take a cell, its params and inputs, ``(cell, params, xs, carry=None, *, mask=None)`` as `jaxseq.unroll` does,
or arrays that another one returned, and give arrays; what a cell does not have, such as a gate that retains, is None.
They work under `jax.jit`, except those that make text and figures. A figure of each is ``plot_...(data, ax=None)``, for
which alone matplotlib is needed.

An LSTM of 256 units over 1,000 steps of one row takes, on two CPU cores, 1 to 3 s for each of gates, ledger,
saturation, half-lives, gradient flow, Lyapunov exponents and the equations of a step, compilation included, and at most
0.7 s when it is called again, in less than 1 GB; `atlas` and `spectrum` say what they take.
"""

from jaxseq.study._part_of import part_of
from jaxseq.study._replay import Recording, Replay, along, log_spaced, recorder, replay
from jaxseq.study._saturation import (
    CLOSED,
    OPEN,
    Saturation,
    histogram,
    ranges_in,
    ranges_of,
    saturation,
    saturation_of,
)
from jaxseq.study.attention import Decomposition, coverage, decompose, diagonal_accuracy, entropy
from jaxseq.study.collect import collect
from jaxseq.study.contexts import Contexts, Neighbours, Places, nearest_states, top_contexts
from jaxseq.study.equations import Explanation, explain
from jaxseq.study.extraction import Extraction, extract_automaton
from jaxseq.study.gradients import Flow, flow, slope, triangle
from jaxseq.study.jacobian import Lyapunov, Spectrum, lyapunov, parts, products, spectrum, step_jacobians
from jaxseq.study.memory import HalfLife, Keep, half_life, keep_of, keeps_in, keeps_of, survival, time_constant
from jaxseq.study.part import Part
from jaxseq.study.patches import Patching, patching
from jaxseq.study.plots import (
    plot_atlas,
    plot_attention,
    plot_attention_summary,
    plot_comparison,
    plot_eigenvalues,
    plot_flow,
    plot_half_lives,
    plot_histogram,
    plot_ledger,
    plot_pinned,
    plot_replay,
    plot_saturation,
    plot_survival,
    plot_timelines,
    plot_triangle,
)
from jaxseq.study.plots_causes import plot_automaton, plot_contexts, plot_neighbours, plot_patching, plot_probe
from jaxseq.study.probes import Longer, Probe, Scores, probe
from jaxseq.study.report import Report
from jaxseq.study.timelines import Ledger, Show, by_half_life, correlation, gates_of, ledger, show_of
from jaxseq.study.whatif import Atlas, Effect, atlas, what_if

__all__ = [
    "CLOSED",
    "OPEN",
    "Atlas",
    "Contexts",
    "Decomposition",
    "Effect",
    "Explanation",
    "Extraction",
    "Flow",
    "HalfLife",
    "Keep",
    "Ledger",
    "Longer",
    "Lyapunov",
    "Neighbours",
    "Part",
    "Patching",
    "Places",
    "Probe",
    "Recording",
    "Replay",
    "Report",
    "Saturation",
    "Scores",
    "Show",
    "Spectrum",
    "along",
    "atlas",
    "by_half_life",
    "collect",
    "correlation",
    "coverage",
    "decompose",
    "diagonal_accuracy",
    "entropy",
    "explain",
    "extract_automaton",
    "flow",
    "gates_of",
    "half_life",
    "histogram",
    "keep_of",
    "keeps_in",
    "keeps_of",
    "ledger",
    "log_spaced",
    "lyapunov",
    "nearest_states",
    "part_of",
    "parts",
    "patching",
    "plot_atlas",
    "plot_attention",
    "plot_attention_summary",
    "plot_automaton",
    "plot_comparison",
    "plot_contexts",
    "plot_eigenvalues",
    "plot_flow",
    "plot_half_lives",
    "plot_histogram",
    "plot_ledger",
    "plot_neighbours",
    "plot_patching",
    "plot_pinned",
    "plot_probe",
    "plot_replay",
    "plot_saturation",
    "plot_survival",
    "plot_timelines",
    "plot_triangle",
    "probe",
    "products",
    "ranges_in",
    "ranges_of",
    "recorder",
    "replay",
    "saturation",
    "saturation_of",
    "show_of",
    "slope",
    "spectrum",
    "step_jacobians",
    "survival",
    "time_constant",
    "top_contexts",
    "triangle",
    "what_if",
]

"""The study of gates: the behaviour of a trained cell, as arrays. ``from jaxseq import study``.

Functions take a cell, its params and inputs, ``(cell, params, xs, carry=None, *, mask=None)`` as `jaxseq.unroll` does,
or arrays that another one returned, and give arrays; they return None for a cell without, say, a gate that retains.
They work under `jax.jit`, except those that make text and figures. A figure of each is ``plot_...(data, ax=None)``, for
which alone matplotlib is needed.

An LSTM of 256 units over 1,000 steps of one row takes, on two CPU cores, 1 to 3 s for each of gates, ledger,
saturation, half-lives, gradient flow, Lyapunov exponents and the equations of a step, compilation included, and at most
1.4 s when it is called again, in less than 1 GB; `atlas` and `spectrum` say what they take.
"""

from jaxseq.study._connectivity import Connectivity, Integrated, connectivity, integrated_gradients
from jaxseq.study._constant import Constant, constant_map
from jaxseq.study._contextual import Contextual, contextual
from jaxseq.study._contributions import Contributions, contributions
from jaxseq.study._fixed_points import KINDS_OF_POINTS, FixedPoints, fixed_points
from jaxseq.study._lags import Lags, Verdict, lags, verdicts
from jaxseq.study._latex import latex
from jaxseq.study._part_of import part_of
from jaxseq.study._pooled import Batch, Pooled, pooled
from jaxseq.study._replay import Recording, Replay, along, log_spaced, recorder, replay
from jaxseq.study._roles import ROLES, roles_in, roles_of
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
from jaxseq.study._trajectories import Components, Trajectories, principal, project, trajectories
from jaxseq.study.attention import Decomposition, coverage, decompose, diagonal_accuracy, entropy
from jaxseq.study.collect import collect
from jaxseq.study.contexts import Contexts, Neighbours, Places, nearest_states, top_contexts
from jaxseq.study.equations import Explanation, explain
from jaxseq.study.extraction import Extraction, extract_automaton
from jaxseq.study.gradients import Flow, flow, slope, triangle
from jaxseq.study.jacobian import Lyapunov, Spectrum, decimals, lyapunov, parts, products, spectrum, step_jacobians
from jaxseq.study.memory import (
    HalfLife,
    Keep,
    half_life,
    keep_of,
    keeps_in,
    keeps_of,
    outlasting,
    pooled_half_life,
    survival,
    time_constant,
)
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
from jaxseq.study.plots_dynamics import (
    plot_connectivity,
    plot_contextual,
    plot_contributions,
    plot_fixed_points,
    plot_integrated,
    plot_trajectories,
)
from jaxseq.study.probes import Longer, Probe, Scores, probe
from jaxseq.study.report import Report
from jaxseq.study.timelines import Ledger, Show, by_half_life, by_likeness, correlation, gates_of, ledger, show_of
from jaxseq.study.whatif import Atlas, Effect, atlas, held_gates, what_if

__all__ = [
    "CLOSED",
    "KINDS_OF_POINTS",
    "OPEN",
    "ROLES",
    "Atlas",
    "Batch",
    "Components",
    "Connectivity",
    "Constant",
    "Contexts",
    "Contextual",
    "Contributions",
    "Decomposition",
    "Effect",
    "Explanation",
    "Extraction",
    "FixedPoints",
    "Flow",
    "HalfLife",
    "Integrated",
    "Keep",
    "Lags",
    "Ledger",
    "Longer",
    "Lyapunov",
    "Neighbours",
    "Part",
    "Patching",
    "Places",
    "Pooled",
    "Probe",
    "Recording",
    "Replay",
    "Report",
    "Saturation",
    "Scores",
    "Show",
    "Spectrum",
    "Trajectories",
    "Verdict",
    "along",
    "atlas",
    "by_half_life",
    "by_likeness",
    "collect",
    "connectivity",
    "constant_map",
    "contextual",
    "contributions",
    "correlation",
    "coverage",
    "decimals",
    "decompose",
    "diagonal_accuracy",
    "entropy",
    "explain",
    "extract_automaton",
    "fixed_points",
    "flow",
    "gates_of",
    "half_life",
    "held_gates",
    "histogram",
    "integrated_gradients",
    "keep_of",
    "keeps_in",
    "keeps_of",
    "lags",
    "latex",
    "ledger",
    "log_spaced",
    "lyapunov",
    "nearest_states",
    "outlasting",
    "part_of",
    "parts",
    "patching",
    "plot_atlas",
    "plot_attention",
    "plot_attention_summary",
    "plot_automaton",
    "plot_comparison",
    "plot_connectivity",
    "plot_contexts",
    "plot_contextual",
    "plot_contributions",
    "plot_eigenvalues",
    "plot_fixed_points",
    "plot_flow",
    "plot_half_lives",
    "plot_histogram",
    "plot_integrated",
    "plot_ledger",
    "plot_neighbours",
    "plot_patching",
    "plot_pinned",
    "plot_probe",
    "plot_replay",
    "plot_saturation",
    "plot_survival",
    "plot_timelines",
    "plot_trajectories",
    "plot_triangle",
    "pooled",
    "pooled_half_life",
    "principal",
    "probe",
    "products",
    "project",
    "ranges_in",
    "ranges_of",
    "recorder",
    "replay",
    "roles_in",
    "roles_of",
    "saturation",
    "saturation_of",
    "show_of",
    "slope",
    "spectrum",
    "step_jacobians",
    "survival",
    "time_constant",
    "top_contexts",
    "trajectories",
    "triangle",
    "verdicts",
    "what_if",
]

"""Each part of an LSTM left out and the rest trained anew (Greff et al. 2015).

The vanilla LSTM (with peepholes) and its eight variants, which differ from it by one change each, are trained on two
problems. The paper's are streams of data in which every step is labelled or predicted, and the past must give way to
what is new; so are these: symbols warped in time (output at each step the symbol before), and the letters of English
sentences (predict the next). Each variant is trained at the learning rate that suits it (`training.learn`), as in the
paper.

Judged on each problem, seed by seed, is the loss over the last tenth of training: without the forget gate (NFG), and
without the output activation (NOAF), it is above the vanilla LSTM's, so they matter; and above that of the worst other
variant, on average over the seeds, so they matter most. A seed in which the vanilla LSTM has learnt nothing
(`training.told`) does not count for either side. The losses of all are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxseq import problems
from jaxseq.cells import Cell, lstm
from jaxseq.cells._lstm_peephole import lstm_peephole
from jaxseq.cells._lstm_peephole_ablations import (
    lstm_cifg,
    lstm_fgr,
    lstm_nfg,
    lstm_niaf,
    lstm_nig,
    lstm_noaf,
    lstm_nog,
)
from jaxseq.experiments import data
from jaxseq.experiments.base import Experiment, Found, Network, Row, more, unjudged
from jaxseq.experiments.training import Learnt, at_once, draw_seeds, final, learn, network, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VARIANTS: dict[str, tuple[str, Cell]] = {
    "V": ("vanilla", lstm_peephole),
    "NIG": ("no input gate", lstm_nig),
    "NFG": ("no forget gate", lstm_nfg),
    "NOG": ("no output gate", lstm_nog),
    "NIAF": ("no input activation", lstm_niaf),
    "NOAF": ("no output activation", lstm_noaf),
    "CIFG": ("coupled gates", lstm_cifg),
    "NP": ("no peepholes", lstm),
    "FGR": ("full gate recurrence", lstm_fgr),
}
CRITICAL = ("NFG", "NOAF")
"""The variants that are claimed to do worst."""


class Settings(NamedTuple):
    """Numbers of the experiment: steps and longest symbol of the warped problem, window of letters, and of training."""

    warped: int = 100
    longest: int = 10
    letters: int = 60
    hidden: int = 48
    steps: int = 2000
    batch: int = 32
    seeds: int = 5


def run(settings: Settings) -> Found:
    """Train every variant on both problems."""
    rows: list[Row] = []
    every: dict[str, dict[str, np.ndarray]] = {}
    networks: list[Network] = []
    text = " ".join(english for english, _ in data.sentences())
    for problem in (problems.warped(settings.warped, settings.longest), problems.letters(settings.letters, text)):
        name = problem.kind

        def one(cell: Cell, problem: problems.Problem = problem) -> Learnt:
            return learn(cell, problem, settings)

        trained = dict(zip(VARIANTS, at_once(one, [cell for _, cell in VARIANTS.values()]), strict=True))
        found = {  # a training that broke down knows nothing
            short: np.nan_to_num(final(learnt.losses), nan=problem.baseline, posinf=problem.baseline)
            for short, learnt in trained.items()
        }
        looked_at = [network(short, VARIANTS[short][1], problem, trained[short]) for short in ("V", *CRITICAL)]
        networks = networks or looked_at
        worst = max((short for short in found if short not in ("V", *CRITICAL)), key=lambda short: found[short].mean())
        learnt = told(problem.baseline, found["V"])
        for short, values in found.items():
            what = f"{name}: loss, {VARIANTS[short][0]} ({short})"
            if short in CRITICAL:
                rows += [more(what, values, f"that of {than}", found[than]).where(learnt) for than in ("V", worst)]
            else:
                rows.append(unjudged(what, values))
        every[problem.name] = found
    return Found(tuple(rows), lambda figure: draw(figure, every), tuple(networks))


def draw(figure: Figure, every: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw the losses of each variant, a dot for each seed, the vanilla LSTM's mean dotted."""
    for ax, (name, found) in zip(figure.subplots(1, len(every)), every.items(), strict=True):
        for n, (short, values) in enumerate(found.items()):
            color = "#d1495b" if short in CRITICAL else "#3b528b"
            draw_seeds(ax, n, values, color)
        ax.axhline(found["V"].mean(), color="0.5", linestyle=":", linewidth=1)
        ax.set_xticks(range(len(found)), list(found), rotation=45)
        ax.set(ylabel="final loss", ylim=(0, None))
        ax.set_title(name.partition(", symbols")[0].rstrip(")") + ")", fontsize="medium")
        ax.grid(alpha=0.3, axis="y")
    figure.supxlabel("variant (red: claimed to do worst; dotted: the mean of V, the vanilla LSTM)", fontsize="medium")


ablation = Experiment(
    "ablation",
    "Of all parts of an LSTM the forget gate and the output activation matter most: without either, and trained anew, "
    "it does worse than the whole, and than without any other.",
    'Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber 2015, "LSTM: a search space odyssey", arXiv:1503.04069, '
    "section V",
    run, Settings(), Settings(warped=40, longest=6, letters=30, hidden=24, steps=500),
    "jaxseq study --cell lstm_peephole --problem warped",
)  # fmt: skip

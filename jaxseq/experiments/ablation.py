"""Each part of an LSTM left out and the rest trained anew (Greff et al. 2015).

The vanilla LSTM (with peepholes) and its eight variants, each but for one change, are trained on two tasks: symbols
warped in time, which asks at every step what was before and must forget what was before that, and adding.

Judged on each task, seed by seed: without the forget gate (NFG) and without the output activation (NOAF) the loss over
the last tenth of training is each above that of every other variant, the vanilla LSTM among them. The losses of all
are shown. The learning rate is one for all, where the paper searched one for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxseq.cells import Cell, lstm
from jaxseq.cells.lstm_peephole import lstm_peephole
from jaxseq.cells.lstm_peephole_ablations import (
    lstm_cifg,
    lstm_fgr,
    lstm_nfg,
    lstm_niaf,
    lstm_nig,
    lstm_noaf,
    lstm_nog,
)
from jaxseq.experiments.base import Experiment, Found, Row, beside, more
from jaxseq.experiments.training import at_once, final, seeds_of
from jaxseq.study import tasks
from jaxseq.study.compare import train
from jaxseq.study.tasks import Task

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
    """Numbers of the experiment: steps and longest symbol of the warped task, length of adding, and of training."""

    warped: int = 100
    longest: int = 10
    adding: int = 60
    hidden: int = 48
    steps: int = 2500
    batch: int = 32
    rate: float = 3e-3
    seeds: int = 5


def run(settings: Settings) -> Found:
    """Train every variant on both tasks."""
    rows: list[Row] = []
    every: dict[str, dict[str, np.ndarray]] = {}
    for task in (tasks.warped(settings.warped, settings.longest), tasks.adding(settings.adding)):
        name = task.name.partition("(")[0]

        def one(cell: Cell, task: Task = task) -> np.ndarray:
            trained = train(
                cell, task, hidden=settings.hidden, steps=settings.steps, seed=seeds_of(settings.seeds),
                learning_rate=settings.rate, batch=settings.batch,
            )  # fmt: skip
            # a training that broke down knows nothing
            return np.nan_to_num(final(trained.losses), nan=task.baseline, posinf=task.baseline)

        trained = at_once(one, [cell for _, cell in VARIANTS.values()])
        found = dict(zip(VARIANTS, trained, strict=True))
        worst = np.max([values for short, values in found.items() if short not in CRITICAL], axis=0)
        for short, values in found.items():
            what = f"{name}: loss, {VARIANTS[short][0]} ({short})"
            critical = short in CRITICAL
            rows.append(more(what, values, "all but NFG and NOAF", worst) if critical else beside(what, values))
        every[task.name] = found
    return Found(tuple(rows), lambda figure: draw(figure, every))


def draw(figure: Figure, every: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw the losses of each variant, a dot a seed, the vanilla LSTM's mean dotted."""
    for ax, (name, found) in zip(figure.subplots(1, len(every)), every.items(), strict=True):
        for n, (short, values) in enumerate(found.items()):
            color = "#d1495b" if short in CRITICAL else "#3b528b"
            ax.plot(n + np.linspace(-0.2, 0.2, len(values)), values, "o", markersize=4, color=color, alpha=0.7)
        ax.axhline(found["V"].mean(), color="0.5", linestyle=":", linewidth=1)
        ax.set_xticks(range(len(found)), list(found), rotation=45)
        ax.set(ylabel="final loss", ylim=(0, None))
        ax.set_title(name.partition(", symbols")[0].rstrip(")") + ")", fontsize="medium")
        ax.grid(alpha=0.3, axis="y")
    figure.supxlabel("variant (red: claimed to do worst; dotted: the mean of V, the vanilla LSTM)", fontsize="medium")


ablation = Experiment(
    "ablation",
    "Of all parts of an LSTM the forget gate and the output activation matter most: without either, and trained anew, "
    "it does worse than every other variant.",
    'Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber 2015, "LSTM: a search space odyssey", arXiv:1503.04069, '
    "section V",
    run, Settings(), Settings(warped=40, longest=6, adding=24, hidden=24, steps=400),
    "jaxseq study --cell lstm_peephole --task warped",
)  # fmt: skip

"""Ablations of the LSTM, each trained from scratch without one part (Greff et al. 2015).

The vanilla LSTM (with peepholes) and its eight variants, which differ from it by one change each, are trained on two
problems. In the paper's problems every step of a stream is labelled or predicted, and new inputs replace old ones.
These are similar: symbols warped in time (output at each step the previous symbol), and the letters of English
sentences (predict the next). Each variant is trained at the learning rate that suits it (`training.learn`), as in the
paper.

The judged loss is on held-out streams several times as long as the windows of training (letters of separate sentences,
or newly drawn symbols), read from start to end without a reset, at the steps beyond the training length. There a c that
only accumulates, or that the output passes on unbounded, has time to grow beyond all values seen in training. The loss
at the first steps, within the training length, is shown too.

Judged on each problem, seed by seed: without the forget gate (NFG), and without the output activation (NOAF), the loss
is above the vanilla LSTM's, so they matter; and above that of the worst other variant, on average over the seeds, so
they matter most. A seed in which the vanilla LSTM has learnt nothing (`training.told`) does not count for either side.
The losses of all variants are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
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
from jaxseq.experiments.training import FIRST_SEED, Learnt, at_once, draw_seeds, learn, network, told
from jaxseq.losses import masked_mean
from jaxseq.notation import Array
from jaxseq.problems import ModelParams, Problem, outputs

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
    """Settings: steps and longest symbol of the warped problem, window of letters, and training.

    `longer` is the ratio of held-out to training length.
    """

    warped: int = 80
    longest: int = 10
    letters: int = 50
    longer: int = 10
    hidden: int = 32
    steps: int = 1500
    batch: int = 32
    seeds: int = 10
    first: int = FIRST_SEED


HELD = 0.1
"""The share of the sentences, at the end of the corpus, that is held out."""


def both_problems(settings: Settings) -> tuple[tuple[Problem, Problem], ...]:
    """Return each training problem with its held-out one: symbols warped in time, and letters."""
    sentences = [english for english, _ in data.sentences()]
    cut = round(len(sentences) * (1 - HELD))
    n, m, longer = settings.letters, settings.warped, settings.longer
    return (
        (problems.warped(m, settings.longest), problems.warped(longer * m, settings.longest)),
        (problems.letters(n, " ".join(sentences[:cut])), problems.letters(longer * n, " ".join(sentences[cut:]))),
    )


def held_out(cell: Cell, learnt: Learnt, streams: Problem, length: int, rows: int = 64) -> np.ndarray:
    """Return each network's loss in the first `length` steps of new streams and in those after them, ``[2, seeds]``.

    A training that diverged to NaN has learnt nothing and counts as the baseline.
    """
    batch = streams.draw(jax.random.key(2**31), rows)

    def losses(params: ModelParams) -> Array:
        every = streams.losses(outputs(cell, params, batch), batch.targets)
        parts = slice(None, length), slice(length, None)
        return jnp.stack([masked_mean(every[part], batch.scored[part]) for part in parts])

    found = np.asarray(jax.jit(jax.vmap(losses))(learnt.params), float).T
    return np.nan_to_num(found, nan=streams.baseline, posinf=streams.baseline)


def run(settings: Settings) -> Found:
    """Train every variant on both problems."""
    rows: list[Row] = []
    every: dict[str, dict[str, np.ndarray]] = {}
    networks: list[Network] = []
    for problem, streams in both_problems(settings):

        def one(cell: Cell, problem: Problem = problem, streams: Problem = streams) -> tuple[Learnt, np.ndarray]:
            learnt = learn(cell, problem, settings)
            return learnt, held_out(cell, learnt, streams, problem.length)

        trained = dict(zip(VARIANTS, at_once(one, [cell for _, cell in VARIANTS.values()]), strict=True))
        found = {short: far for short, (_, (_, far)) in trained.items()}
        looked_at = [network(short, VARIANTS[short][1], problem, trained[short][0]) for short in ("V", *CRITICAL)]
        networks = networks or looked_at
        worst = max((short for short in found if short not in ("V", *CRITICAL)), key=lambda short: found[short].mean())
        has_learnt = told(problem.baseline, found["V"])
        steps = f"steps {problem.length + 1} to {streams.length}"
        for short, (_, (near, far)) in trained.items():
            name = f"{VARIANTS[short][0]} ({short})"
            rows.append(unjudged(f"{problem.kind}, the first {problem.length} steps: loss, {name}", near))
            what = f"{problem.kind}, {steps}: loss, {name}"
            if short in CRITICAL:
                others = [("that of V", "V"), (f"that of {worst}, the worst other", worst)]
                rows += [more(what, far, than, found[other]).where(has_learnt) for than, other in others]
            else:
                rows.append(unjudged(what, far))
        every[f"{problem.kind}, {steps}"] = found
    return Found(tuple(rows), lambda figure: draw(figure, every), tuple(networks))


def draw(figure: Figure, every: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw the losses of each variant, one dot per seed, with the vanilla LSTM's mean dotted."""
    for ax, (name, found) in zip(figure.subplots(1, len(every)), every.items(), strict=True):
        for n, (short, values) in enumerate(found.items()):
            color = "#d1495b" if short in CRITICAL else "#3b528b"
            draw_seeds(ax, n, values, color)
        ax.axhline(found["V"].mean(), color="0.5", linestyle=":", linewidth=1)
        ax.set_xticks(range(len(found)), list(found), rotation=45)
        ax.set(ylabel="loss on held-out streams", ylim=(0, None))
        ax.set_title(name, fontsize="medium")
        ax.grid(alpha=0.3, axis="y")
    figure.supxlabel("variant (red: claimed to do worst; dotted: the mean of V, the vanilla LSTM)", fontsize="medium")


ablation = Experiment(
    "ablation",
    "Of all parts of an LSTM the forget gate and the output activation matter most: without either, and trained anew, "
    "it does worse than the whole, and than without any other.",
    'Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber 2015, "LSTM: a search space odyssey", arXiv:1503.04069, '
    "section V",
    run, Settings(), Settings(warped=40, longest=6, letters=30, hidden=24, steps=300, batch=16),
    "jaxseq study --cell lstm_peephole --problem warped",
    "the source trains on speech, handwriting and music, 5400 runs of random search, 15 "
    "years of a processor; here each variant trains for 1500 steps of 32 windows (quick: 300 of 16), at the best of 5 "
    "rates",
)  # fmt: skip

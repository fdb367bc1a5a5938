"""The forget gate's bias at the start of training, and learning over long lags (Gers 2000, Jozefowicz 2015).

LSTMs that differ only in the bias are trained on the adding and the copy problem, each at the learning rate that suits
it (`training.learn`). Faster learning means a lower mean loss over the whole training. Judged: that loss is
lower with a bias of 1 than with 0, and with 2 than with 0, seed by seed. A seed in which neither of the two has learnt
anything by the end (`training.told`) does not count. The comparison of 2 with 1 is shown, without a claim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxseq import problems
from jaxseq.cells import lstm
from jaxseq.experiments.base import Experiment, Found, Row, less, unjudged
from jaxseq.experiments.training import FIRST_SEED, Learnt, at_once, draw_losses, final, learn, network, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BIASES = (0.0, 1.0, 2.0)


class Settings(NamedTuple):
    """Settings: length of adding; lag, word and symbols of copy; and training."""

    adding: int = 100
    lag: int = 40
    word: int = 5
    symbols: int = 8
    hidden: int = 40
    steps: int = 3000
    batch: int = 32
    seeds: int = 10
    first: int = FIRST_SEED


def run(settings: Settings) -> Found:
    """Train with each bias on both problems."""
    rows: list[Row] = []
    curves: dict[str, dict[str, np.ndarray]] = {}
    baselines = {}
    for problem in (problems.adding(settings.adding), problems.copy(settings.lag, settings.word, settings.symbols)):

        def one(bias: float, problem: problems.Problem = problem) -> Learnt:
            return learn(lstm, problem, settings, init=problems.retaining(lstm, bias=bias))

        trained = at_once(one, BIASES)
        every = [np.asarray(learnt.losses) for learnt in trained]
        zero, *others = (losses.mean(1) for losses in every)
        ends = [final(losses) for losses in every]
        name = problem.kind
        rows += [
            unjudged(f"{name}: mean loss with forget bias 0 (knowing nothing: {problem.baseline:.3f})", zero),
            *[
                less(f"{name}: mean loss with forget bias {bias:g}", mean, "that with 0", zero)
                .where(told(problem.baseline, ends[0], end))
                for bias, mean, end in zip(BIASES[1:], others, ends[1:], strict=True)
            ],
            *[
                unjudged(f"{name}: final loss with forget bias {bias:g}", end)
                for bias, end in zip(BIASES, ends, strict=True)
            ],
        ]  # fmt: skip
        curves[problem.name] = {f"bias {bias:g}": losses for bias, losses in zip(BIASES, every, strict=True)}
        baselines[problem.name] = problem.baseline
        networks = [
            network(f"lstm, forget bias {bias:g}", lstm, problem, learnt)
            for bias, learnt in zip(BIASES, trained, strict=True)
        ]
    return Found(tuple(rows), lambda figure: draw(figure, curves, baselines), tuple(networks))


def draw(figure: Figure, curves: dict[str, dict[str, np.ndarray]], baselines: dict[str, float]) -> None:
    """Draw the losses on each problem."""
    for ax, (name, curve) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        draw_losses(ax, curve, baselines[name])
        ax.set_title(name, fontsize="small")


forget_bias = Experiment(
    "forget-bias",
    "An LSTM learns to bridge long lags sooner when its forget gate starts open: with a bias of 1 or 2 rather than 0.",
    'Gers, Schmidhuber & Cummins 2000, "Learning to forget", Neural Computation 12(10); Jozefowicz, Zaremba & '
    'Sutskever 2015, "An empirical exploration of recurrent network architectures", ICML',
    run, Settings(),
    Settings(adding=30, lag=15, word=2, symbols=4, hidden=24, steps=1200), "jaxseq study --cell lstm --problem adding",
)  # fmt: skip

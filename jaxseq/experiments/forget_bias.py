"""The forget gate's bias at the start of training, and learning over long lags (Gers 2000, Jozefowicz 2015).

One LSTM, alike but for the bias, trained on the adding and the copy task. Judged: the mean loss over the last tenth of
the steps is lower with a bias of 1 than with 0, and with 2 than with 0, seed by seed. Whether 2 is better than 1 is not
claimed, and shown.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxseq.cells import lstm
from jaxseq.experiments.base import Experiment, Found, Row, beside, less
from jaxseq.experiments.training import draw_losses, final, seeds_of
from jaxseq.notation import Key, Params
from jaxseq.study import tasks
from jaxseq.study.compare import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BIASES = (0.0, 1.0, 2.0)


class Settings(NamedTuple):
    """Numbers of the experiment: length of adding, lag and word of copy, and of training."""

    adding: int = 150
    lag: int = 50
    word: int = 5
    hidden: int = 64
    steps: int = 2500
    batch: int = 32
    rate: float = 3e-3
    seeds: int = 5


@functools.cache
def biased(bias: float) -> Callable[[Key, int, int], Params]:
    """Return the init of an LSTM with this forget bias."""
    return functools.partial(lstm.init, forget_bias=bias)


def run(settings: Settings) -> Found:
    """Train with each bias on both tasks."""
    rows: list[Row] = []
    curves: dict[str, dict[str, np.ndarray]] = {}
    baselines = {}
    for task in (tasks.adding(settings.adding), tasks.copy(settings.lag, settings.word)):
        curve = {}
        for bias in BIASES:
            trained = train(
                lstm, task, hidden=settings.hidden, steps=settings.steps, seed=seeds_of(settings.seeds),
                learning_rate=settings.rate, batch=settings.batch, init=biased(bias),
            )  # fmt: skip
            curve[f"bias {bias:g}"] = np.asarray(trained.losses)
        zero, one, two = (final(losses) for losses in curve.values())
        name = task.name.partition("(")[0]
        rows += [
            beside(f"{name}: loss with forget bias 0 (knowing nothing: {task.baseline:.3f})", zero),
            less(f"{name}: loss with forget bias 1", one, "that with 0", zero),
            less(f"{name}: loss with forget bias 2", two, "that with 0", zero),
        ]
        curves[task.name], baselines[task.name] = curve, task.baseline
    return Found(tuple(rows), lambda figure: draw(figure, curves, baselines))


def draw(figure: Figure, curves: dict[str, dict[str, np.ndarray]], baselines: dict[str, float]) -> None:
    """Draw the losses on each task."""
    for ax, (name, curve) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        draw_losses(ax, curve, baselines[name])
        ax.set_title(name, fontsize="small")


forget_bias = Experiment(
    "forget-bias",
    "An LSTM learns to bridge long lags sooner when its forget gate starts open: with a bias of 1 or 2 rather than 0.",
    'Gers, Schmidhuber & Cummins 2000, "Learning to forget", Neural Computation 12(10); Jozefowicz, Zaremba & '
    'Sutskever 2015, "An empirical exploration of recurrent network architectures", ICML',
    run, Settings(),
    Settings(adding=40, lag=20, word=4, hidden=32, steps=600), "jaxseq study --cell lstm --task adding",
)  # fmt: skip

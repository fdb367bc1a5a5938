"""How long a lag each cell learns to bridge (Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016).

Tanh network, IRNN, GRU and LSTM, with about as many parameters each, are trained on the adding and the copy task at
rising lengths, at each from the start. A length is *learnt* if the loss over the last tenth of training is below a
tenth of what knowing nothing costs. A cell's *reach* is the largest length up to which all were learnt, 0 if none.

Judged, seed by seed: on adding the reach of LSTM, GRU and IRNN is above the tanh network's, and the tanh network does
not reach the largest length; on copy the reach of LSTM and GRU is above the tanh network's. Lengths that every cell
learns, or none, leave the claim inconclusive.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxseq.cells import Cell, gru, lstm, rnn, rnn_relu
from jaxseq.experiments.base import Experiment, Found, Row, below, beside, more
from jaxseq.experiments.training import at_once, final, seeds_of
from jaxseq.initializers import identity
from jaxseq.notation import Array, Key
from jaxseq.study import tasks
from jaxseq.study.compare import matched_hidden, parameters, train
from jaxseq.study.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNT = 0.1
"""The share of the baseline below which a loss must come."""


def small(key: Key, shape: tuple[int, ...], dtype: type) -> Array:
    """Draw an IRNN's input weights: normal with a standard deviation of 0.001 (Le, Jaitly & Hinton 2015)."""
    return 0.001 * jax.random.normal(key, shape, dtype)


CELLS: dict[str, tuple[Cell, Callable | None]] = {
    "lstm": (lstm, None),
    "gru": (gru, None),
    "irnn": (rnn_relu, functools.partial(rnn_relu.init, recurrent=identity(), kernel=small)),
    "rnn": (rnn, None),
}


class Settings(NamedTuple):
    """Numbers of the experiment: lengths of adding, lags of copy and its word, H of the LSTM, and of training."""

    adding: tuple[int, ...] = (25, 50, 100, 150)
    lags: tuple[int, ...] = (10, 25, 50, 100)
    word: int = 5
    hidden: int = 48
    steps: int = 3000
    batch: int = 32
    rate: float = 2e-3
    seeds: int = 5


def reach(lengths: tuple[int, ...], losses: np.ndarray, baseline: float) -> np.ndarray:
    """Return the largest length up to which all were learnt, ``[seeds]``, of final losses ``[lengths, seeds]``.

    Example:
      >>> reach((10, 20, 30), np.array([[0.0, 0.0], [0.0, 0.9], [0.9, 0.0]]), 1.0).tolist()
      [20, 10]
    """
    learnt = np.cumprod(np.nan_to_num(losses, nan=np.inf) < LEARNT * baseline, axis=0).sum(0)
    return np.array([0, *lengths])[learnt]


def run(settings: Settings) -> Found:
    """Train every cell at every length of both tasks."""
    rows: list[Row] = []
    drawn = {}
    kinds: dict[str, tuple[tuple[int, ...], Callable[[int], Task]]] = {
        "adding": (settings.adding, tasks.adding),
        "copy": (settings.lags, lambda lag: tasks.copy(lag, settings.word)),
    }
    for kind, (lengths, task_of) in kinds.items():
        task = task_of(lengths[0])
        count = parameters(lstm, task, settings.hidden)

        def one(trial: tuple[str, int], task_of: Any = task_of, task: Task = task, count: int = count) -> np.ndarray:
            (cell, init), length = CELLS[trial[0]], trial[1]
            return final(train(
                cell, task_of(length), hidden=matched_hidden(cell, task, count), steps=settings.steps,
                seed=seeds_of(settings.seeds), learning_rate=settings.rate, batch=settings.batch, init=init,
            ).losses)  # fmt: skip

        trials = [(name, length) for name in CELLS for length in lengths]
        trained = np.stack(at_once(one, trials)).reshape(len(CELLS), len(lengths), -1)
        found = dict(zip(CELLS, trained, strict=True))
        reaches = {name: reach(lengths, losses, task.baseline) for name, losses in found.items()}
        what = f"{kind}: reach ({', '.join(map(str, lengths))})"
        if kind == "adding":
            rows.append(below(f"{what} of the rnn", reaches["rnn"], lengths[-1]))
        else:
            rows += [beside(f"{what} of the rnn", reaches["rnn"]), beside(f"{what} of the irnn", reaches["irnn"])]
        for name in ("irnn", "gru", "lstm") if kind == "adding" else ("gru", "lstm"):
            rows.append(more(f"{what} of the {name}", reaches[name], "that of the rnn", reaches["rnn"]))
        drawn[kind] = (lengths, found, task.baseline)
    return Found(tuple(rows), lambda figure: draw(figure, drawn))


def draw(figure: Figure, drawn: dict[str, tuple[tuple[int, ...], dict[str, np.ndarray], float]]) -> None:
    """Draw the final loss against the length, as a share of what knowing nothing costs, a dot a seed."""
    for ax, (kind, (lengths, found, baseline)) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
        for name, losses in found.items():
            (line,) = ax.plot(lengths, np.median(losses, axis=1) / baseline, label=name)
            at = np.repeat(np.asarray(lengths, float)[:, None], losses.shape[1], axis=1)
            ax.plot(at.ravel(), losses.ravel() / baseline, ".", color=line.get_color(), alpha=0.5)
        ax.axhline(LEARNT, color="0.5", linestyle=":", linewidth=1)
        ax.set(yscale="log", xlabel="length" if kind == "adding" else "lag", title=kind)
        ax.set_ylabel("final loss / loss of knowing nothing")
        ax.grid(alpha=0.3)
        ax.legend(frameon=False, fontsize="small", title="dotted: learnt below")


memory = Experiment(
    "memory",
    "On the adding and the copy task gated cells learn to bridge lags at which a tanh network fails; on adding so does "
    "a relu network that starts from the identity (IRNN).",
    'Hochreiter & Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8), sections 5.4 and 5.5; Le, '
    "Jaitly & Hinton 2015, arXiv:1504.00941; Arjovsky, Shah & Bengio 2016, arXiv:1511.06464, section 4",
    run, Settings(), Settings(adding=(10, 40), lags=(5, 20), word=4, hidden=24, steps=800, rate=3e-3),
    "jaxseq study --cell lstm --task adding",
)  # fmt: skip

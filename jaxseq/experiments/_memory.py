"""How long a lag each cell learns to bridge (Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016).

Tanh network, IRNN, GRU and LSTM, with about as many parameters each, are trained on the adding and the copy problem at
increasing lengths, from scratch at each. A length is *learnt* if the loss over the last tenth of training is below a
tenth of the baseline, the loss of a memoryless predictor. A cell's *reach* is the largest length up to which all were
learnt. The shortest length needs hardly any memory: if it was not learnt, training was too short, and the reach is NaN.

Each starts as in its papers: the tanh network from random weights (Glorot; Arjovsky et al., Le et al.), the IRNN
from the identity, LSTM and GRU with a bias of 1 on the gate that retains. Each is trained at the learning rate that
suits it at that length (`training.learn`): at a length that a cell does not learn, any rate will do. The full run also
shows a tanh network that starts from an orthogonal matrix, which none of these papers tried.

Judged, seed by seed, by the order of two reaches, which are capped at the largest length (`further`): on adding
the reach of LSTM, GRU and IRNN is above the tanh network's, and the tanh network does not reach the largest length; on
copy the reach of LSTM and GRU is above the tanh network's. If every cell learns a length, or none does, the claim is
inconclusive: two reaches at the largest length are a tie.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxseq import problems
from jaxseq.cells import Cell, gru, lstm, rnn, rnn_relu
from jaxseq.experiments.base import Experiment, Found, Network, Row, further, unjudged
from jaxseq.experiments.training import FIRST_SEED, at_once, final, learn, network
from jaxseq.initializers import glorot, identity
from jaxseq.notation import Array, Key
from jaxseq.problems import Problem, count_params, matched_hidden, retaining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNT = 0.1
"""The share of the baseline that a loss must fall below."""


def small(key: Key, shape: tuple[int, ...], dtype: type) -> Array:
    """Draw an IRNN's input weights: normal with a standard deviation of 0.001 (Le, Jaitly & Hinton 2015)."""
    return 0.001 * jax.random.normal(key, shape, dtype)


CELLS: dict[str, tuple[Cell, Callable | None]] = {
    "lstm": (lstm, retaining(lstm, bias=1.0)),
    "gru": (gru, retaining(gru, bias=1.0)),
    "irnn": (rnn_relu, functools.partial(rnn_relu.init, recurrent=identity(), kernel=small)),
    "rnn": (rnn, functools.partial(rnn.init, recurrent=glorot)),
    "rnn, orthogonal": (rnn, None),
}
SHOWN = "rnn, orthogonal"
"""The network that the claim does not cover."""


class Settings(NamedTuple):
    """Settings: lengths of adding; lags, word and symbols of copy; H of the LSTM; and training.

    `orthogonal` says whether the tanh network from an orthogonal matrix is shown.
    """

    adding: tuple[int, ...] = (10, 100)
    lags: tuple[int, ...] = (2, 50)
    word: int = 4
    symbols: int = 8
    hidden: int = 32
    steps: int = 3000
    batch: int = 32
    seeds: int = 10
    first: int = FIRST_SEED
    orthogonal: bool = True


def reach(lengths: tuple[int, ...], losses: np.ndarray, baseline: float) -> np.ndarray:
    """Return the largest length up to which all were learnt, ``[seeds]``, from final losses ``[lengths, seeds]``.

    NaN if the first was not learnt.

    Example:
      >>> reach((10, 20, 30), np.array([[0.0, 0.0, 0.9], [0.0, 0.9, 0.0], [0.9, 0.0, 0.0]]), 1.0).tolist()
      [20.0, 10.0, nan]
    """
    learnt = np.cumprod(np.nan_to_num(losses, nan=np.inf) < LEARNT * baseline, axis=0).sum(0)
    return np.array([np.nan, *lengths])[learnt]


def short_of(what: str, reaches: np.ndarray, largest: int) -> Row:
    """Return the row of a reach claimed to be below the largest length, at which it is capped."""
    row = further(what, np.full(len(reaches), largest), "", reaches, largest)
    return row._replace(claimed=f"below {largest}", values=tuple(map(float, reaches)))


def run(settings: Settings) -> Found:
    """Train every cell at every length of both problems."""
    rows: list[Row] = []
    drawn = {}
    networks: list[Network] = []
    names = [name for name in CELLS if settings.orthogonal or name != SHOWN]
    kinds: dict[str, tuple[tuple[int, ...], Callable[[int], Problem]]] = {
        "adding": (settings.adding, problems.adding),
        "copy": (settings.lags, lambda lag: problems.copy(lag, settings.word, settings.symbols)),
    }
    for kind, (lengths, problem_of) in kinds.items():
        problem = problem_of(lengths[0])
        count = count_params(lstm, problem, settings.hidden)

        def one(
            name: str, lengths: Any = lengths, problem_of: Any = problem_of, count: int = count
        ) -> tuple[np.ndarray, Network]:
            """Return final losses ``[lengths, seeds]``, and the first network of the longest length."""
            cell, init = CELLS[name]
            sized = settings._replace(hidden=matched_hidden(cell, problem_of(lengths[0]), count))
            every = [learn(cell, problem_of(length), sized, init=init) for length in lengths]
            last = network(name, cell, problem_of(lengths[-1]), every[-1])
            return np.stack([final(learnt.losses) for learnt in every]), last

        trained = dict(zip(names, at_once(one, names), strict=True))
        found = {name: losses for name, (losses, _) in trained.items()}
        networks = networks or [trained[name][1] for name in ("lstm", "gru", "rnn")]
        reaches = {name: reach(lengths, losses, problem.baseline) for name, losses in found.items()}
        what = f"{kind}: reach ({', '.join(map(str, lengths))})"
        if kind == "adding":
            rows.append(short_of(f"{what} of the rnn", reaches["rnn"], lengths[-1]))
        else:
            rows += [unjudged(f"{what} of the rnn", reaches["rnn"]), unjudged(f"{what} of the irnn", reaches["irnn"])]
        if settings.orthogonal:
            rows.append(unjudged(f"{what} of the rnn from an orthogonal matrix", reaches[SHOWN]))
        for name in ("irnn", "gru", "lstm") if kind == "adding" else ("gru", "lstm"):
            rows.append(further(f"{what} of the {name}", reaches[name], "that of the rnn", reaches["rnn"], lengths[-1]))
        drawn[kind] = (lengths, found, problem.baseline)
    return Found(tuple(rows), lambda figure: draw(figure, drawn), tuple(networks))


def draw(figure: Figure, drawn: dict[str, tuple[tuple[int, ...], dict[str, np.ndarray], float]]) -> None:
    """Draw the final loss against the length, as a share of the baseline, one dot per seed."""
    for ax, (kind, (lengths, found, baseline)) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
        for name, losses in found.items():
            (line,) = ax.plot(lengths, np.median(losses, axis=1) / baseline, label=name)
            at = np.repeat(np.asarray(lengths, float)[:, None], losses.shape[1], axis=1)
            ax.plot(at.ravel(), losses.ravel() / baseline, ".", color=line.get_color(), alpha=0.5)
        ax.axhline(LEARNT, color="0.5", linestyle=":", linewidth=1)
        ax.set(yscale="log", xlabel="length" if kind == "adding" else "lag", title=kind)
        ax.set_ylabel("final loss / baseline")
        ax.grid(alpha=0.3)
        ax.set_xticks(lengths)
        ax.legend(frameon=False, fontsize="small", title="dotted: learnt below")


memory = Experiment(
    "memory",
    "On the adding and the copy problem gated cells learn to bridge lags at which a tanh network fails; on adding so "
    "does a relu network that starts from the identity (IRNN).",
    'Hochreiter & Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8), sections 5.4 and 5.5; Le, '
    "Jaitly & Hinton 2015, arXiv:1504.00941; Arjovsky, Shah & Bengio 2016, arXiv:1511.06464, section 4",
    run, Settings(),
    Settings(adding=(5, 20), lags=(2, 30), word=2, symbols=4, hidden=24, steps=1600, batch=16, orthogonal=False),
    "jaxseq study --cell lstm --problem adding",
)  # fmt: skip

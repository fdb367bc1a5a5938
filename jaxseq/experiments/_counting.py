"""Counting: which cells learn a^n b^n so that it holds for larger n (Weiss, Goldberg & Yahav 2018).

Cells of 10 units learn to predict the next letter of words of n up to `largest`. A word is right if the letter after
each b, or the end, is predicted right at every step; a cell's *reach* is the largest n up to which all words are right,
searched up to 4 times `largest`. The count is searched for in the cell state: the largest |correlation| of a unit's c
with the number of a minus that of b, over all steps of the words of n from `largest` + 1 to twice that.

Judged, seed by seed: the correlation is above 0.95; the LSTM's reach is above `largest`, above that of the GRU and
above that of the tanh network. In full the same holds for a^n b^n c^n, except the correlation. The relu network
(from the identity, an IRNN), of which the paper says that it can count but is hard to train, is shown as well.
Each cell is trained at the learning rate that suits it (`training.learn`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import problems
from jaxseq._unroll import trace
from jaxseq.cells import Cell, gru, lstm, rnn, rnn_relu
from jaxseq.experiments.base import Experiment, Found, Network, Row, above, more, unjudged
from jaxseq.experiments.training import Learnt, at_once, draw_seeds, learn, network
from jaxseq.initializers import identity
from jaxseq.notation import Array
from jaxseq.problems import ModelParams, Problem, outputs
from jaxseq.study import correlation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS: dict[str, tuple[Cell, Callable | None]] = {
    "lstm": (lstm, None),
    "gru": (gru, None),
    "rnn": (rnn, None),
    "irnn": (rnn_relu, functools.partial(rnn_relu.init, recurrent=identity())),
}


class Settings(NamedTuple):
    """Numbers of the experiment: largest n in training, letters of the words, and of training."""

    largest: int = 40
    letters: tuple[int, ...] = (2, 3)
    hidden: int = 10
    steps: int = 6000
    batch: int = 32
    seeds: int = 5


def reach(cell: Cell, params: ModelParams, largest: int, letters: int) -> Array:
    """Return the largest n, up to `largest`, up to which all words are predicted right: int ``[]``."""
    problem, words = (
        problems.anbn(largest, letters=letters),
        problems.words(jnp.arange(1, largest + 1), largest, letters),
    )
    right = problem.solved(outputs(cell, params, words), words)
    return jnp.cumprod(right.astype(jnp.int32)).sum()


def correlations(params: ModelParams, smallest: int, largest: int) -> Array:
    """Return the correlation ``[H]`` of each c of an LSTM with the count, over words of n in that range."""
    words = problems.words(jnp.arange(smallest, largest + 1), largest)
    _, seen = trace(lstm, params.cell, words.xs, mask=words.mask)
    return correlation(seen.carries.c, problems.balance(words), words.mask)


def run(settings: Settings) -> Found:
    """Train every cell on words of each number of letters."""
    rows: list[Row] = []
    reaches: dict[str, np.ndarray] = {}
    shown = None
    networks: list[Network] = []
    for letters in settings.letters:
        problem = problems.anbn(settings.largest, letters=letters)
        word = "".join(f"{letter}ⁿ" for letter in problem.symbols)

        def one(name: str, problem: Problem = problem, letters: int = letters) -> tuple[Learnt, np.ndarray]:
            cell, init = CELLS[name]
            learnt = learn(cell, problem, settings, init=init)
            far = jax.jit(jax.vmap(lambda params: reach(cell, params, 4 * settings.largest, letters)))
            return learnt, np.asarray(far(learnt.params))

        trained = dict(zip(CELLS, at_once(one, CELLS), strict=True))
        found = {name: far for name, (_, far) in trained.items()}
        if letters == 2:
            models = trained["lstm"][0].params
            networks = [network(name, CELLS[name][0], problem, learnt) for name, (learnt, _) in trained.items()]
            of_units = jax.jit(jax.vmap(lambda m: correlations(m, settings.largest + 1, 2 * settings.largest)))
            best = np.abs(np.asarray(of_units(models)))
            rows.append(above(f"{word}: |correlation| of the best c with the count", best.max(1), 0.95))
            shown = _path(models, found["lstm"], best, 2 * settings.largest)
        rows += [
            above(f"{word}: reach of the lstm, trained up to {settings.largest}", found["lstm"], settings.largest),
            unjudged(f"{word}: reach of the gru", found["gru"]),
            unjudged(f"{word}: reach of the rnn", found["rnn"]),
            unjudged(f"{word}: reach of the irnn", found["irnn"]),
            more(f"{word}: reach of the lstm", found["lstm"], "that of the gru", found["gru"]),
            more(f"{word}: reach of the lstm", found["lstm"], "that of the rnn", found["rnn"]),
        ]
        reaches |= {f"{name}, {word}": values for name, values in found.items()}
    return Found(tuple(rows), lambda figure: draw(figure, reaches, shown, settings), tuple(networks))


def _path(models: ModelParams, reaches: np.ndarray, best: np.ndarray, n: int) -> np.ndarray:
    """Return c ``[2n]`` of the unit that counts best, in the LSTM that reaches furthest, along a^n b^n."""
    seed = int(np.argmax(reaches))
    words = problems.words(jnp.array([n]), n)
    _, seen = trace(lstm, jax.tree.map(lambda a: a[seed], models.cell), words.xs)
    return np.asarray(seen.carries.c[:, 0, int(np.argmax(best[seed]))])


def draw(figure: Figure, reaches: dict[str, np.ndarray], path: np.ndarray | None, settings: Settings) -> None:
    """Draw how far each cell reaches, a dot for each seed, and the counting unit along one word."""
    first, second = figure.subplots(1, 2)
    for n, values in enumerate(reaches.values()):
        draw_seeds(first, n, values)
    first.axhline(settings.largest, color="0.5", linestyle=":", linewidth=1)
    first.set_xticks(range(len(reaches)), list(reaches), rotation=45, ha="right")
    first.set(ylabel="reach: all words right up to this n", ylim=(0, 4.2 * settings.largest))
    first.grid(alpha=0.3, axis="y")
    if path is not None:
        second.plot(np.arange(1, len(path) + 1), path, color="#3b528b")
        second.axvline(len(path) / 2, color="0.5", linestyle=":", linewidth=1)
        second.set(xlabel="step", ylabel="c of the unit that counts")
        second.set_title(f"an LSTM reads aⁿbⁿ, n = {len(path) // 2}", fontsize="medium")
        second.grid(alpha=0.3)


counting = Experiment(
    "counting",
    "An LSTM that learns aⁿbⁿ (and aⁿbⁿcⁿ) counts in a unit of its cell state, beyond the lengths of training, and "
    "generalises further than GRU and tanh network.",
    'Weiss, Goldberg & Yahav 2018, "On the practical computational power of finite precision RNNs for language '
    'recognition", arXiv:1805.04908, section 5',
    run, Settings(), Settings(largest=16, letters=(2,), steps=2500), "jaxseq study --cell lstm --problem anbn",
)  # fmt: skip

"""Counting: which cells learn a^n b^n and generalise to larger n (Weiss, Goldberg & Yahav 2018).

Cells of 10 units learn to predict the next letter of words of n up to `largest`. A word is right if the letter after
each b, or the end, is predicted right at every step; a cell's *reach* is the largest n up to which all words are right,
searched up to 16 times `largest`. Reaches are compared on a log scale by their order in each seed (`further`), since a
reach at the cap is only a lower bound.

The count is looked for in the state: the largest |correlation| of a unit's c (h in a GRU) with the number of a minus
that of b, over all steps of the words of n from `largest` + 1 to twice that. An untrained network whose gates are open
accumulates its inputs, and so correlates with a count that it never learnt. So the correlation is compared, on Fisher's
scale ``atanh r``, with that of the same networks untrained, with a bias of 5 on the gate that retains.

Judged, seed by seed: the correlation is above the untrained networks'; the LSTM's reach is above `largest`, above that
of the GRU and above that of the tanh network. The full run judges the same for a^n b^n c^n, except the correlation. The
GRU's correlation is shown too, as is the relu network (an IRNN), which according to the paper can count but is hard to
train. Each cell is trained at the learning rate that suits it (`training.learn`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import problems
from jaxseq._unroll import trace
from jaxseq.cells import Cell, gru, lstm, rnn, rnn_relu
from jaxseq.experiments.base import Experiment, Found, Network, Row, beyond, fisher, further, unjudged
from jaxseq.experiments.training import FIRST_SEED, Learnt, at_once, draw_seeds, learn, network, seeded
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


FURTHEST = 16
"""How many times the largest training n a reach is searched up to."""
OPENED = 5.0
"""The bias of the retaining gate in the untrained networks, which then retains 0.993."""


class Settings(NamedTuple):
    """Settings: largest n in training, letters of the words, and training."""

    largest: int = 40
    letters: tuple[int, ...] = (2, 3)
    hidden: int = 10
    steps: int = 6000
    batch: int = 32
    seeds: int = 10
    first: int = FIRST_SEED


def reach(cell: Cell, params: ModelParams, largest: int, letters: int) -> Array:
    """Return the largest n, at most `largest`, up to which all words are predicted right: int ``[]``."""
    problem, words = (
        problems.anbn(largest, letters=letters),
        problems.words(jnp.arange(1, largest + 1), largest, letters),
    )
    right = problem.solved(outputs(cell, params, words), words)
    return jnp.cumprod(right.astype(jnp.int32)).sum()


def correlations(cell: Cell, params: Any, smallest: int, largest: int) -> Array:
    """Return the correlation ``[H]`` of each unit's state with the count, over words of n in that range.

    The state is c of an LSTM and h of the other cells; `params` are the cell's.
    """
    words = problems.words(jnp.arange(smallest, largest + 1), largest)
    _, seen = trace(cell, params, words.xs, mask=words.mask)
    return correlation(seen.carries.c if cell is lstm else seen.carries.h, problems.balance(words), words.mask)


def counted(cell: Cell, params: Any, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return |correlations| ``[seeds, H]`` of trained networks, and of untrained ones with open gates."""
    opened = problems.retaining(cell, bias=OPENED)
    keys = seeded(settings.seeds, settings.first)
    fresh = jax.vmap(lambda key: opened(key, 2, settings.hidden))(keys)
    of_units = jax.jit(jax.vmap(lambda p: correlations(cell, p, settings.largest + 1, 2 * settings.largest)))
    trained, untrained = (np.abs(np.asarray(of_units(p), float)) for p in (params, fresh))
    return trained, untrained


def run(settings: Settings) -> Found:
    """Train every cell on words of each number of letters."""
    largest = settings.largest
    cap = FURTHEST * largest
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
            far = jax.jit(jax.vmap(lambda params: reach(cell, params, cap, letters)))
            return learnt, np.asarray(far(learnt.params))

        trained = dict(zip(CELLS, at_once(one, CELLS), strict=True))
        found = {name: far for name, (_, far) in trained.items()}
        if letters == 2:
            models = {name: learnt.params for name, (learnt, _) in trained.items()}
            networks = [network(name, CELLS[name][0], problem, learnt) for name, (learnt, _) in trained.items()]
            best, fresh = counted(lstm, models["lstm"].cell, settings)
            best_gru, fresh_gru = counted(gru, models["gru"].cell, settings)
            what = f"{word}: |correlation| with the count of the best"
            rows += [
                unjudged(f"{what} c, lstm untrained with open gates", fresh.max(1)),
                fisher(f"{what} c, lstm", best.max(1), "the untrained", fresh.max(1)),
                unjudged(f"{what} h, gru untrained with open gates", fresh_gru.max(1)),
                unjudged(f"{what} h, gru", best_gru.max(1)),
            ]
            shown = _path(models["lstm"], found["lstm"], best, 2 * settings.largest)
        rows += [
            beyond(
                f"{word}: reach of the lstm, trained up to {settings.largest}", found["lstm"], settings.largest, cap
            ),
            *[unjudged(f"{word}: reach of the {name}", found[name], cap) for name in ("gru", "rnn", "irnn")],
            further(f"{word}: reach of the lstm", found["lstm"], "that of the gru", found["gru"], cap),
            further(f"{word}: reach of the lstm", found["lstm"], "that of the rnn", found["rnn"], cap),
        ]
        reaches |= {f"{name}, {word}": values for name, values in found.items()}
    return Found(tuple(rows), lambda figure: draw(figure, reaches, shown, settings), tuple(networks))


def _path(models: ModelParams, reaches: np.ndarray, best: np.ndarray, n: int) -> np.ndarray:
    """Return c ``[2n]`` of the best counting unit of the LSTM with the largest reach, along a^n b^n."""
    seed = int(np.argmax(reaches))
    words = problems.words(jnp.array([n]), n)
    _, seen = trace(lstm, jax.tree.map(lambda a: a[seed], models.cell), words.xs)
    return np.asarray(seen.carries.c[:, 0, int(np.argmax(best[seed]))])


def draw(figure: Figure, reaches: dict[str, np.ndarray], path: np.ndarray | None, settings: Settings) -> None:
    """Draw each cell's reach, one dot per seed, and the counting unit along one word."""
    first, second = figure.subplots(1, 2)
    for n, values in enumerate(reaches.values()):
        draw_seeds(first, n, values)
    first.axhline(settings.largest, color="0.5", linestyle=":", linewidth=1)
    first.set_xticks(range(len(reaches)), list(reaches), rotation=45, ha="right")
    first.axhline(FURTHEST * settings.largest, color="0.5", linestyle="--", linewidth=1)
    first.set_yscale("symlog", base=2, linthresh=1)
    first.set_ylabel("reach: all words right up to this n\n(dotted: trained up to; dashed: searched up to)")
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

"""Automata extracted from trained networks (Weiss, Goldberg & Yahav 2018; Giles et al. 1992).

GRUs learn to tell after each symbol whether a word belongs to one of Tomita's seven languages. An automaton is then
extracted from each network (`study.extract_automaton`) and compared with the known minimal one. A seed's share is the
share of the seven languages for which the two are equal, state by state.

Judged, seed by seed: the share is above one half; at two to four times the training length, network and extracted
automaton agree on more than 99% of words. The number of equal automata and their numbers of states for each language
are shown too. Each language is learnt at the learning rate that suits it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import problems
from jaxseq.cells import gru
from jaxseq.experiments.base import Experiment, Found, Network, Row, above, unjudged
from jaxseq.experiments.training import FIRST_SEED, Learnt, at_once, learn, network
from jaxseq.problems import TOMITA, ModelParams, outputs
from jaxseq.study import Extraction, extract_automaton, plot_automaton

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Settings(NamedTuple):
    """Settings: languages, word length in training, and training."""

    grammars: tuple[int, ...] = tuple(TOMITA)
    length: int = 16
    hidden: int = 16
    steps: int = 3000
    batch: int = 64
    seeds: int = 10
    first: int = FIRST_SEED


def extracted(params: ModelParams, length: int) -> Extraction:
    """Return the automaton of a GRU trained on `problems.tomita`."""
    letters = jnp.eye(3, dtype=params.readout.b.dtype)
    return extract_automaton(
        gru, params.cell, letters[:2], accepts=lambda out: params.readout(out).argmax(-1) == 1, begin=letters[2],
        symbols="01", length=length, longest=4 * length, most=16, rounds=3,
    )  # fmt: skip


def accuracy(params: ModelParams, grammar: int, length: int) -> float:
    """Return a network's accuracy over the symbols of new words of that length."""
    problem = problems.tomita(grammar, length)
    batch = problem.draw(jax.random.key(2**31), 256)
    return float(problem.accuracy(outputs(gru, params, batch), batch))


def run(settings: Settings) -> Found:
    """Train on every language, and extract."""

    def one(grammar: int) -> tuple[Learnt, list[Extraction], list[float]]:
        learnt = learn(gru, problems.tomita(grammar, settings.length), settings)
        models = [jax.tree.map(lambda a, n=n: a[n], learnt.params) for n in range(settings.seeds)]
        found = [extracted(model, settings.length) for model in models]
        return learnt, found, [accuracy(model, grammar, 4 * settings.length) for model in models]

    every = dict(zip(settings.grammars, at_once(one, settings.grammars), strict=True))
    equal = {g: np.array([e.automaton.same_language(TOMITA[g]) for e in found]) for g, (_, found, _) in every.items()}
    far = np.array([[e.agreement[2 * settings.length :].mean() for e in found] for _, found, _ in every.values()])
    rows: list[Row] = [
        above("share of the languages whose automaton is extracted exactly", np.mean(list(equal.values()), 0), 0.5),
        above(f"agreement of network and automaton, words of {2 * settings.length} and more", far.mean(0), 0.99),
    ]
    for g, (_, found, right) in every.items():
        states = len(TOMITA[g].accepting)
        rows += [
            unjudged(f"Tomita {g}: extracted exactly, 1 or 0", equal[g]),
            unjudged(
                f"Tomita {g}: states of the automaton, {states} are right", [len(e.automaton.accepting) for e in found]
            ),
            unjudged(f"Tomita {g}: network right at {4 * settings.length} symbols", right),
        ]
    first = settings.grammars[0]
    networks: list[Network] = [network("gru", gru, problems.tomita(first, settings.length), every[first][0])]
    return Found(
        tuple(rows), lambda figure: draw(figure, {g: found for g, (_, found, _) in every.items()}), tuple(networks)
    )


def draw(figure: Figure, found: dict[int, list[Extraction]]) -> None:
    """Draw the automaton of the first seed for each language."""
    axes = np.ravel(figure.subplots(2, -(-len(found) // 2), squeeze=False))
    for ax in axes[len(found) :]:
        ax.set_axis_off()
    for ax, (grammar, each) in zip(axes, found.items(), strict=False):
        plot_automaton(each[0].automaton, ax)
        exact = sum(e.automaton.same_language(TOMITA[grammar]) for e in each)
        ax.set_title(f"Tomita {grammar}: {exact} of {len(each)} exact", fontsize="medium")


automata = Experiment(
    "automata",
    "From a gated network that has learnt a regular language the minimal automaton of that language can be extracted, "
    "and it says what the network does on words longer than those of training.",
    'Weiss, Goldberg & Yahav 2018, "Extracting automata from recurrent neural networks using queries and '
    'counterexamples", arXiv:1711.09576, section 8; Giles, Miller, Chen, Chen, Sun & Lee 1992, "Learning and '
    'extracting finite state automata with second-order recurrent neural networks", Neural Computation 4',
    run, Settings(), Settings(steps=1000, batch=32, seeds=5), "jaxseq study --cell gru --problem anbn",
)  # fmt: skip
"""The experiment."""

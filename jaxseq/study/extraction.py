"""A finite automaton from a network that decides about words: its states, gathered into those of the automaton.

States are classed by their future: two are of one class while the network decides alike after each of a set of
suffixes, read on from the one and from the other. At first the only suffix is the empty one, so that there are two
classes, accepted and not. Where states of one class disagree, since after a symbol they are in different classes, a
suffix that tells these apart, with the symbol before it, joins the set, and the class is split. When no class disagrees
any more, classes are states of an automaton. It is then compared with the network on new words; where they differ, the
states along these words are looked at as well, and splitting goes on. Distances between states are not used: noise in
them does no harm, and `Extraction.separation` says how far the classes are clusters.

References: Angluin 1987, "Learning regular sets from queries and counterexamples", Information and Computation 75 (sets
of suffixes); Weiss, Goldberg & Yahav 2018, "Extracting automata from recurrent neural networks using queries and
counterexamples", arXiv:1711.09576 (abstractions of a network's states that are refined); Giles et al. 1992, "Learning
and extracting finite state automata with second-order recurrent neural networks", Neural Computation 4 (clusters).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.cells._inputs import lift_step
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.problems import Automaton

EXHAUSTED = 256
"""Words of one length up to which all are read."""

Word = tuple[int, ...]


class Extraction(NamedTuple):
    """An automaton read off a network.

    Fields:
      automaton: the minimal one, of the classes and the transitions of most states of each class.
      suffixes: the suffixes that separate the classes, as numbers of symbols.
      stable: whether no class disagrees by more than the tolerance. False says that `most` classes were not enough: the
        network is not, or not nearly, an automaton of so few states on these words.
      disagreement: the share of transitions of all states looked at that are not those of their class.
      agreement: ``[longest + 1]``: the share of new words of each length about which automaton and network agree. Half
        of the words are uniform, half avoid prefixes that can no longer be accepted.
      states: ``[N, F]``, the network's states that were examined: all numbers of the carry.
      classes: int ``[N]``: the automaton's state after the words that led to them.
      separation: the share of these states that are nearest to the mean of their own class.
    """

    automaton: Automaton
    suffixes: tuple[Word, ...]
    stable: bool
    disagreement: float
    agreement: np.ndarray
    states: np.ndarray
    classes: np.ndarray
    separation: float


def extract_automaton(
    cell: Cell,
    params: Params,
    alphabet: Array,
    carry: Carry | None = None,
    *,
    accepts: Callable[[Tree], Array],
    begin: Array | None = None,
    empty: bool | None = None,
    symbols: str = "",
    length: int = 16,
    words: int = 100,
    longest: int | None = None,
    tolerance: float = 0.0,
    most: int = 50,
    rounds: int = 4,
    seed: int = 0,
) -> Extraction:
    """Return the automaton that a network behaves as; see the head of this file for how it is found.

    Args:
      cell: a Cell that works on vectors.
      params: its parameters.
      alphabet: ``[A, D]``, the input of each symbol.
      carry: the state before a word, without batch axes; ``cell.initial_carry`` by default.
      accepts: ``out [N, H] -> bool [N]``, whether the word that was read so far is accepted.
      begin: ``[D]``, an input that is read before every word; the output after it decides about the empty word.
      empty: whether the empty word is accepted, where nothing is read before it.
      symbols: names of the symbols, one character each.
      length: of the random words whose states are looked at, next to all shorter words up to some hundred.
      words: how many of them.
      longest: the length up to which automaton and network are compared; twice `length` by default.
      tolerance: the share of a class' states that may disagree with the others about later decisions. Above 0 it passes
        over rare mistakes of a network, and over states of the automaton that few words reach.
      most: classes from which on nothing is split.
      rounds: how often new words are examined on which automaton and network disagree.
      seed: of random words.

    It is not for use within `jax.jit`: how many states there are follows from numbers.

    Raises:
      InputError: if a setting is out of range, or neither or both of `begin` and `empty` are given.

    Example:
      >>> from jaxseq.cells import rnn_relu
      >>> params = rnn_relu.init(jax.random.key(0), 2, 1)._replace(W=jnp.array([[-99.0], [1.0]]), U=jnp.eye(1))
      >>> found = extract_automaton(  # a counter of ones, which a zero empties; over 2 is accepted
      ...     rnn_relu, params, jnp.eye(2), accepts=lambda out: out[:, 0] > 2, empty=False, symbols="01", length=8)
      >>> len(found.automaton.accepting), found.automaton.accepts("0111"), float(found.agreement.min())
      (4, True, 1.0)
    """
    title = f"extract_automaton({cell.name})"
    alphabet = jnp.asarray(alphabet)
    _check(title, cell, alphabet, begin, empty, symbols)
    settings = {"length": (length, 1), "words": (words, 1), "most": (most, 2), "rounds": (rounds, 1)}
    for name, (value, least) in {**settings, "tolerance": (tolerance, 0)}.items():
        if value < least:
            raise InputError(f"{title}: {name} must be at least {least}; got {value}")
    network = _Network(cell, params, alphabet, carry, accepts, begin, empty)
    rng = np.random.default_rng(seed)
    A, T = len(alphabet), longest or 2 * length
    # the longest length of which there are at most EXHAUSTED words: all of these are read, with their beginnings
    depth = next(d for d in itertools.count() if A ** (d + 1) > EXHAUSTED or d == length) or 1
    table = _Table(network, [()])
    table.read(np.array(list(itertools.product(range(A), repeat=depth)), int))
    table.read(rng.integers(A, size=(words, length)))
    for again in range(rounds):
        automaton, stable, disagreement = table.refined(tolerance, most, symbols)
        tests = _words(automaton, rng, 2 * words, T)
        # [words, T + 1]: decisions after every beginning, compared all at once
        said = network.along(tests)[1]
        agree = automaton.accepting[automaton.states(tests)] == said
        if agree.all() or again == rounds - 1:
            break
        # counterexamples, as in Angluin's algorithm: the states along them are new evidence
        table.read(tests[~agree.all(1)][:words, :T])
    states = table.features()
    longest_word = max(map(len, table.words))
    # padded at the end, so that one call runs all; the state at a word's own length is taken
    padded = np.array([[*word, *[0] * (longest_word - len(word))] for word in table.words], int)
    classes = automaton.states(padded)[np.arange(len(padded)), [len(word) for word in table.words]]
    separation = _separation(states, classes)
    return Extraction(
        automaton, tuple(table.suffixes), stable, disagreement, agree.mean(0), states, classes, separation
    )


def _check(title: str, cell: Cell, alphabet: Array, begin: Array | None, empty: bool | None, symbols: str) -> None:
    if alphabet.ndim != 2 or not len(alphabet):
        raise InputError(f"{title}: the alphabet must be [A, D], the input of each symbol; got {alphabet.shape}")
    if cell.spatial:
        raise InputError(f"{title}: {cell.name} works on pictures; symbols are vectors")
    if begin is not None and jnp.shape(begin) != alphabet.shape[1:]:
        raise InputError(f"{title}: begin must be [D] = {alphabet.shape[1:]}; got the shape {jnp.shape(begin)}")
    if (begin is None) == (empty is None):
        raise InputError(
            f"{title}: give either begin, an input that is read before each word, or empty, whether the empty word is "
            "accepted: a network that has read nothing says nothing"
        )
    if symbols and len(symbols) != len(alphabet):
        raise InputError(f"{title}: expected a name for each of {len(alphabet)} symbols; got {symbols!r}")


class _Network:
    """A network that decides about words: its steps, for many states at once."""

    def __init__(
        self,
        cell: Cell,
        params: Params,
        alphabet: Array,
        carry: Carry | None,
        accepts: Callable[[Tree], Array],
        begin: Array | None,
        empty: bool | None,
    ) -> None:
        def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
            carry, out, _ = cell.advance(params, carry, cell.input_terms(params, lift_step(cell, x)))
            return carry, accepts(out)

        self.symbols, self.alphabet = len(alphabet), alphabet
        self._step, self.params = jax.jit(step), params
        start = cell.initial_carry(params) if carry is None else carry
        # with a batch axis of 1: states of many words are stacked along it
        start = jax.tree.map(lambda a: jnp.asarray(a)[None], start)
        said = np.array([bool(empty)])
        if begin is not None:
            start, first = self._step(params, start, jnp.asarray(begin)[None])
            said = np.asarray(first)
        # NumPy between steps: rows are chosen and concatenated in shapes that differ each time, and jit would recompile
        self.start, self.empty = jax.tree.map(np.asarray, start), bool(said[0])

    def step(self, carry: Carry, symbols: np.ndarray) -> tuple[Carry, np.ndarray]:
        """Return the states ``[N, ...]`` after a symbol each, and whether their words are accepted."""
        new, said = self._step(self.params, carry, self.alphabet[jnp.asarray(symbols)])
        said = np.asarray(said)
        if said.dtype != bool or said.shape != symbols.shape:
            raise InputError(
                f"extract_automaton: accepts must return bool [N] = {symbols.shape}; got {said.dtype} of shape "
                f"{said.shape}"
            )
        return new, said

    def along(self, words: np.ndarray) -> tuple[list[Carry], np.ndarray]:
        """Return the states along words ``[N, T]``, T + 1 of them from the start on, and decisions ``[N, T + 1]``."""
        carry = jax.tree.map(lambda a: np.repeat(a, len(words), axis=0), self.start)
        states, said = [carry], [np.full(len(words), self.empty)]
        # a step of all words at once
        for symbols in words.T:
            carry, accepted = self.step(carry, symbols)
            states.append(jax.tree.map(np.asarray, carry))
            said.append(accepted)
        return states, np.stack(said, axis=1)


class _Table:
    """States of a network with its decisions after each of a set of suffixes."""

    def __init__(self, network: _Network, suffixes: list[Word]) -> None:
        self.network, self.suffixes = network, suffixes
        self.words: list[Word] = [()]
        self.carry, self.said = network.start, np.array([network.empty])
        # states after a suffix, kept: a longer suffix goes on from there
        self._after: dict[Word, tuple[Carry, np.ndarray]] = {}

    def read(self, words: np.ndarray) -> None:
        """Add the states after all beginnings of these words ``[N, T]``, unless they are there."""
        states, said = self.network.along(words)
        known, add = set(self.words), []
        for t in range(1, words.shape[1] + 1):
            for row, word in enumerate(map(tuple, words[:, :t].tolist())):
                if word not in known:
                    known.add(word)
                    add.append((t, row, word))
        if not add:
            return
        at = [[row for step, row, _ in add if step == t] for t in range(len(states))]
        parts = [jax.tree.map(lambda a, rows=rows: a[rows], k) for k, rows in zip(states, at, strict=True) if rows]
        self.words += [word for _, _, word in add]
        self.carry = jax.tree.map(lambda *a: np.concatenate(a), self.carry, *parts)
        self.said = np.concatenate([self.said, *[said[rows, t] for t, rows in enumerate(at) if rows]])
        self._after = {}

    def says(self, suffix: Word) -> np.ndarray:
        """Return the network's decision about each state's word followed by a suffix, bool ``[N]``."""
        return self._reached(suffix)[1]

    def _reached(self, suffix: Word) -> tuple[Carry, np.ndarray]:
        if not suffix:
            return self.carry, self.said
        if suffix not in self._after:
            before = self._reached(suffix[:-1])[0]
            self._after[suffix] = self.network.step(before, np.full(len(self.said), suffix[-1]))
        return self._after[suffix]

    def rows(self, first: Word = ()) -> np.ndarray:
        """Return the decisions after each suffix, bool ``[N, E]``, of the states after `first`."""
        return np.stack([self.says((*first, *suffix)) for suffix in self.suffixes], axis=1)

    def refined(self, tolerance: float, most: int, symbols: str) -> tuple[Automaton, bool, float]:
        """Split classes until none disagrees; return the automaton, whether that was reached, and the share left."""
        while True:
            own = self.rows()
            after = [self.rows((a,)) for a in range(self.network.symbols)]
            # rows [N, E] of the states and of their successors by each symbol are numbered together
            kinds, index = _different(np.concatenate([own, *after]))
            here, *next_ = np.split(index, 1 + self.network.symbols)
            # counts[k, a, m]: states of class k whose successor by a is of class m
            counts = np.zeros((len(kinds), self.network.symbols, len(kinds)), int)
            for a, to in enumerate(next_):
                np.add.at(counts, (here, np.full_like(here, a), to), 1)
            # the majority decides a transition: rare mistakes of the network are outvoted
            usual = counts.argmax(-1)
            fresh, full = self._unseen(here, next_, usual), len(np.unique(here)) > most
            # a transition leads to a class without states here: look at some of its states first
            if fresh and not full:
                self.read_more(fresh)
                continue
            odd = counts.sum(-1) - counts.max(-1)
            share = odd / np.maximum(counts.sum(-1), 1)
            disagree = share > tolerance
            if full or not disagree.any():
                break
            # split where most states disagree: the surest evidence
            kind, a = (int(n) for n in np.unravel_index(np.where(disagree, odd, -1).argmax(), odd.shape))
            others = counts[kind, a].copy()
            others[usual[kind, a]] = 0
            second = int(others.argmax())
            # suffixes that tell the two successor classes apart; the shortest, after the symbol, splits class `kind`
            tells = np.flatnonzero(kinds[usual[kind, a]] != kinds[second])
            self.suffixes.append(min(((a, *self.suffixes[e]) for e in tells), key=len))
        states = np.unique(here)
        # with `most` reached, a transition may lead to a class without states here: to the start's class instead
        usual = np.where(np.isin(usual, states), usual, here[0])
        place = np.zeros(len(kinds), int)
        place[states] = np.arange(len(states))
        accepting = kinds[states][:, self.suffixes.index(())]
        raw = Automaton(place[usual[states]], accepting, int(place[here[0]]), symbols)
        return raw.minimal(), not (fresh or disagree.any()), float(odd.sum() / counts.sum())

    def _unseen(self, here: np.ndarray, next_: list[np.ndarray], usual: np.ndarray) -> list[Word]:
        """Return a word for each class in which most states of another end, and of which no state was looked at."""
        known = set(here.tolist())
        found: dict[int, Word] = {}
        for a, to in enumerate(next_):
            for n in np.flatnonzero((to == usual[here, a]) & ~np.isin(to, here)):
                if int(to[n]) not in known:
                    found.setdefault(int(to[n]), (*self.words[n], a))
        return list(found.values())

    def read_more(self, words: list[Word]) -> None:
        """Add the states after single words of any length."""
        for word in words:
            self.read(np.array([word], int))

    def features(self) -> np.ndarray:
        """Return all numbers of each state, ``[N, F]``."""
        leaves = [np.asarray(a, float).reshape(len(self.said), -1) for a in jax.tree.leaves(self.carry)]
        return np.concatenate(leaves, axis=1)


def _different(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different rows of bool ``[N, E]``, and for each row the number of its own among them."""
    packed = np.packbits(rows, axis=1)  # compared as bytes, which is ten times as fast as column by column
    _, first, index = np.unique(packed.view(f"V{packed.shape[1]}").ravel(), return_index=True, return_inverse=True)
    return rows[first], index.reshape(-1)


def _words(automaton: Automaton, rng: np.random.Generator, count: int, T: int) -> np.ndarray:
    """Return random words ``[count, T]``; every other one avoids states from which nothing is accepted any more."""
    alive = np.asarray(automaton.accepting)
    # as many rounds as states: the longest way to acceptance is shorter than that
    for _ in alive:
        alive = alive | alive[automaton.transitions].any(1)
    words = rng.integers(automaton.transitions.shape[1], size=(count, T))
    state = np.full(count, automaton.start)
    for t in range(T):
        liked = rng.random((count, automaton.transitions.shape[1])) * alive[automaton.transitions[state]]
        picked = np.where(liked.max(1) > 0, liked.argmax(1), words[:, t])
        words[::2, t] = picked[::2]
        state = automaton.transitions[state, words[:, t]]
    return words


def _separation(states: np.ndarray, classes: np.ndarray) -> float:
    """Return the share of states that are nearest to the mean of their own class."""
    kinds = np.unique(classes)
    means = np.stack([states[classes == kind].mean(0) for kind in kinds])
    apart = (states**2).sum(1)[:, None] - 2 * states @ means.T + (means**2).sum(1)[None]
    return float((kinds[apart.argmin(1)] == classes).mean())

"""Finite automata: running on words, minimisation, equivalence, and DOT text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq.errors import InputError


class Automaton(NamedTuple):
    """A deterministic, complete finite automaton.

    Fields:
      transitions: int ``[Q, A]``: the state after reading symbol a in state q.
      accepting: bool ``[Q]``.
      start: the state before the first symbol.
      symbols: names of the symbols, one character each; empty if they have none.

    Example:
      >>> even = Automaton(np.array([[0, 1], [1, 0]]), np.array([True, False]), 0, "01")  # an even number of ones
      >>> even.accepts("0110"), even.accepts([1])
      (True, False)
    """

    transitions: np.ndarray
    accepting: np.ndarray
    start: int = 0
    symbols: str = ""

    def accepts(self, word: str | Sequence[int]) -> bool:
        """Return whether a word, given as symbol names or numbers, is accepted.

        Raises:
          InputError: if it has an unknown symbol.
        """
        return bool(self.accepting[self.states(np.array([self.numbers(word)], int))[0, -1]])

    def numbers(self, word: str | Sequence[int]) -> list[int]:
        """Return the numbers of a word's symbols."""
        known = range(self.transitions.shape[1])
        found = [self.symbols.find(a) if isinstance(a, str) else int(a) for a in word]
        if wrong := [a for a, number in zip(word, found, strict=True) if number not in known]:
            raise InputError(f"Automaton: unknown symbol {wrong[0]!r}; known: {self.symbols or list(known)}")
        return found

    def states(self, words: np.ndarray) -> np.ndarray:
        """Return the states along words of numbers ``[N, T]``: int ``[N, T + 1]``, beginning with the start state."""
        words = np.asarray(words, int).reshape(len(words), -1)
        seen = [np.full(len(words), self.start)]
        for symbols in words.T:
            seen.append(self.transitions[seen[-1], symbols])
        return np.stack(seen, axis=1)

    def minimal(self) -> Automaton:
        """Return the minimal automaton that accepts the same words, states in breadth-first order.

        Unreachable states are left out, and equivalent ones merged by Moore's refinement: classes of states, first by
        acceptance, are split until all states of a class lead to the same classes. States are numbered in breadth-first
        order from the start, so equal languages give equal arrays.

        References: Moore 1956, "Gedanken-experiments on sequential machines"; Hopcroft 1971 gives a faster way.
        """
        reached = _breadth_first(self.transitions, self.start)
        place = {q: n for n, q in enumerate(reached)}
        table = np.array([[place[int(q)] for q in self.transitions[p]] for p in reached])
        classes = np.asarray(self.accepting, bool)[reached].astype(int)
        while True:
            # a state's class and its successors' classes: states with different rows belong to different classes
            rows = np.concatenate([classes[:, None], classes[table]], axis=1)
            finer = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
            if finer.max() == classes.max() or len(np.unique(finer)) == len(np.unique(classes)):
                break
            classes = finer
        _, first = np.unique(classes, return_index=True)
        # one state represents each class; its successors by class
        merged = classes[table[first]]
        order = _breadth_first(merged, int(classes[0]))
        number = np.empty(len(order), int)
        number[order] = np.arange(len(order))
        accepting = np.asarray(self.accepting, bool)[reached][first][order]
        return Automaton(number[merged[order]], accepting, 0, self.symbols)

    def same_language(self, other: Automaton) -> bool:
        """Return whether another automaton, over the same number of symbols, accepts the same words."""
        mine, its = self.minimal(), other.minimal()
        same = mine.transitions.shape == its.transitions.shape and (mine.transitions == its.transitions).all()
        return bool(same and (mine.accepting == its.accepting).all())

    def dot(self) -> str:
        """Return the automaton as DOT text, for Graphviz.

        Example:
          >>> print(Automaton(np.array([[0]]), np.array([True]), 0, "a").dot())
          digraph automaton {
            rankdir=LR;
            start [shape=point];
            0 [shape=doublecircle];
            start -> 0;
            0 -> 0 [label="a"];
          }
        """
        lines = ["digraph automaton {", "  rankdir=LR;", "  start [shape=point];"]
        for q, accepting in enumerate(self.accepting):
            lines.append(f"  {q} [shape={'doublecircle' if accepting else 'circle'}];")
        lines.append(f"  start -> {self.start};")
        for (p, q), label in self.arrows().items():
            escaped = label.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'  {p} -> {q} [label="{escaped}"];')
        return "\n".join([*lines, "}"])

    def arrows(self) -> dict[tuple[int, int], str]:
        """Return the label of each edge by its two states: ``{(0, 1): "a,b"}``."""
        found: dict[tuple[int, int], str] = {}
        for p, row in enumerate(self.transitions):
            for a, q in enumerate(row):
                name = self.symbols[a] if a < len(self.symbols) else str(a)
                before = found.get((p, int(q)))
                found[p, int(q)] = name if before is None else f"{before},{name}"
        return found


def _breadth_first(transitions: np.ndarray, start: int) -> list[int]:
    """Return the states reachable from the start, in breadth-first order."""
    order, seen = [int(start)], {int(start)}
    for state in order:
        for q in transitions[state]:
            if int(q) not in seen:
                seen.add(int(q))
                order.append(int(q))
    return order

"""Regular languages over 0 and 1: parity and the seven grammars of Tomita, as automata and as problems."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq.cells._init import check_sizes
from jaxseq.errors import InputError
from jaxseq.notation import Array, Key
from jaxseq.problems._automata import Automaton
from jaxseq.problems._base import Batch, Problem, batch_of_symbols, of_symbols

BEGIN = 2
"""The index of the symbol ``^`` that begins every word of `tomita`."""


def _over01(accepting: str, *rows: str) -> Automaton:
    """Return an automaton from each state's pair of successors (after 0 and 1) and the digits of accepting states."""
    table = np.array([[int(q) for q in row] for row in rows])
    return Automaton(table, np.array([str(q) in accepting for q in range(len(rows))]), 0, "01")


TOMITA: dict[int, Automaton] = {
    1: _over01("0", "10", "11"),
    2: _over01("0", "12", "11", "01"),
    3: _over01("013", "01", "20", "34", "23", "44"),
    4: _over01("012", "10", "20", "30", "33"),
    5: _over01("0", "12", "03", "30", "21"),
    6: _over01("0", "12", "20", "01"),
    7: _over01("0123", "01", "21", "23", "43", "44"),
}
"""The minimal automaton of each grammar, by its number.

1: only ones. 2: ``(10)*``. 3: no odd run of ones is followed, at once or later, by an odd run of zeros. 4: no three
zeros in a row. 5: an even number of zeros and an even number of ones. 6: the number of zeros minus that of ones is a
multiple of 3. 7: ``0*1*0*1*``.
"""

PARITY = _over01("0", "01", "10")
"""Accepts words with an even number of ones."""


@functools.cache
def tomita(grammar: int, length: int) -> Problem:
    """Return the problem of telling, after each symbol of a word over 0 and 1, whether the word so far is accepted.

    A word begins with ``^``, after which the target is whether the empty word is accepted; `length` symbols follow.
    Half of the words are uniform; the others take at each step only symbols after which a word of the language is still
    possible, so that small languages also have members among them.

    Reference: Tomita 1982, "Dynamic construction of finite-state automata from examples using hill-climbing".

    Raises:
      InputError: if there is no such grammar, or the length is below 1.

    Example:
      >>> batch = tomita(1, 4).draw(jax.random.key(0), 3)  # only ones
      >>> batch.xs.shape, bool((batch.targets == (batch.xs[..., 0].cumsum(0) == 0)).all())
      ((5, 3, 3), True)
    """
    if grammar not in TOMITA:
        raise InputError(f"tomita: the grammars are numbered 1 to 7; got {grammar!r}")
    check_sizes("tomita", length=length)
    return _regular(
        f"tomita(grammar={grammar}, length={length})", TOMITA[grammar], length,
        'Tomita 1982, "Dynamic construction of finite-state automata from examples using hill-climbing"',
    )  # fmt: skip


@functools.cache
def parity(length: int) -> Problem:
    """Return the problem of telling, after each symbol of a uniform word over 0 and 1, whether its ones are even.

    A word begins with ``^``, as in `tomita`.

    Reference: Minsky & Papert 1969, "Perceptrons"; for recurrent networks Grazzi et al. 2024, arXiv:2411.12537.

    Example:
      >>> batch = parity(4).draw(jax.random.key(0), 3)
      >>> bool((batch.targets == 1 - batch.xs[..., 1].cumsum(0) % 2).all())
      True
    """
    check_sizes("parity", length=length)
    source = "Minsky & Papert 1969; Grazzi et al. 2024, arXiv:2411.12537"
    return _regular(f"parity(length={length})", PARITY, length, source)


def _regular(name: str, automaton: Automaton, length: int, reference: str) -> Problem:
    """Return the problem of telling after each symbol whether an automaton accepts the word so far."""
    lively = _lively(automaton)
    # the probability of a 1 in each state: for uniform words, and for those that stay alive
    ones = np.stack([np.full(len(lively), 0.5), lively[:, 1] / np.maximum(lively.sum(1), 1)])
    ones[1, lively.sum(1) == 0] = 0.5

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        of_kind, of_symbols_ = jax.random.split(key)
        kind = jax.random.bernoulli(of_kind, 0.5, (batch,)).astype(jnp.int32)
        chances = jax.random.uniform(of_symbols_, (length, batch), jnp.float32)
        after, chance = jnp.asarray(automaton.transitions, jnp.int32), jnp.asarray(ones, jnp.float32)

        def step(state: Array, drawn: Array) -> tuple[Array, tuple[Array, Array]]:
            symbol = (drawn < chance[kind, state]).astype(jnp.int32)
            state = after[state, symbol]
            return state, (symbol, state)

        start = jnp.full(batch, automaton.start, jnp.int32)
        _, (symbols, states) = lax.scan(step, start, chances)
        seen = jnp.concatenate([jnp.full((1, batch), BEGIN, jnp.int32), symbols])
        states = jnp.concatenate([start[None], states])
        targets = jnp.asarray(automaton.accepting)[states].astype(jnp.int32)
        return batch_of_symbols(seen, 3, targets, jnp.ones((length + 1, batch), bool), dtype)

    return of_symbols(name, length + 1, draw, "01^", 2, _guess(automaton, ones, length), reference)


def _lively(automaton: Automaton) -> np.ndarray:
    """Return bool ``[Q, A]``: whether a word of the language is still possible after that symbol."""
    alive = np.asarray(automaton.accepting)
    # backwards from accepting states; shortest paths have fewer steps than there are states
    for _ in alive:
        alive = alive | alive[automaton.transitions].any(1)
    return alive[automaton.transitions]


def _guess(automaton: Automaton, ones: np.ndarray, length: int) -> float:
    """Return the entropy of the target given only the current symbol: the mean loss without memory."""
    counts = np.zeros((3, 2))
    counts[BEGIN, int(automaton.accepting[automaton.start])] = 1
    # the distribution over states, exactly: no sampling
    at = np.zeros(ones.shape)
    at[:, automaton.start] = 0.5  # for each kind of word
    for _ in range(length):
        after = np.zeros_like(at)
        for symbol, share in enumerate((at * (1 - ones), at * ones)):
            for state, to in enumerate(automaton.transitions[:, symbol]):
                after[:, to] += share[:, state]
                counts[symbol, int(automaton.accepting[to])] += share[:, state].sum()
        at = after
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1e-300)
    logs = np.log(np.where(shares > 0, shares, 1))
    return float(-(counts * logs).sum() / (length + 1))

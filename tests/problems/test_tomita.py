"""The seven grammars against what their definitions say of every word, and automata against brute force."""

import itertools
import re

import jax
import numpy as np
import pytest

from jaxseq import InputError, problems
from jaxseq.problems import TOMITA, Automaton


def odd_ones_then_odd_zeros(word: str) -> bool:
    """Return whether somewhere after an odd run of ones comes an odd run of zeros, each as long as it gets."""
    odd = [symbol for symbol, run in itertools.groupby(word) if len(list(run)) % 2]
    return "1" in odd and "0" in odd[odd.index("1") :]


MEMBER = {
    1: lambda w: "0" not in w,
    2: lambda w: re.fullmatch("(10)*", w) is not None,
    3: lambda w: not odd_ones_then_odd_zeros(w),
    4: lambda w: "000" not in w,
    5: lambda w: w.count("0") % 2 == 0 and w.count("1") % 2 == 0,
    6: lambda w: (w.count("0") - w.count("1")) % 3 == 0,
    7: lambda w: re.fullmatch("0*1*0*1*", w) is not None,
}  # fmt: skip
WORDS = ["".join(w) for n in range(10) for w in itertools.product("01", repeat=n)]


def residuals(member) -> int:
    """Return how many different continuations words have: Nerode's count of states."""
    ends = ["".join(w) for n in range(5) for w in itertools.product("01", repeat=n)]
    return len({tuple(member(w + e) for e in ends) for w in WORDS if len(w) < 6})


@pytest.mark.parametrize("grammar", TOMITA)
def test_each_automaton_accepts_what_its_grammar_says_and_is_minimal(grammar: int) -> None:
    automaton, member = TOMITA[grammar], MEMBER[grammar]
    assert [automaton.accepts(w) for w in WORDS] == [member(w) for w in WORDS]
    assert len(automaton.accepting) == residuals(member)
    np.testing.assert_array_equal(automaton.minimal().transitions, automaton.transitions)
    assert automaton.same_language(automaton) and not automaton.same_language(TOMITA[grammar % 7 + 1])


@pytest.mark.parametrize("seed", range(4))
def test_a_blown_up_automaton_is_made_small_again(seed: int) -> None:
    """Every state twice or three times, arrows to any copy, one that is never reached, numbers shuffled."""
    rng = np.random.default_rng(seed)
    known = TOMITA[3 + seed]
    of = rng.permutation(np.concatenate([np.repeat(np.arange(len(known.accepting)), 3), [0]]))
    copies = [np.flatnonzero(of == q) for q in range(len(known.accepting))]
    table = np.array([[rng.choice(copies[q]) for q in known.transitions[p]] for p in of])
    start = int(rng.choice(copies[0]))
    big = Automaton(table, known.accepting[of], start, "01")
    small = big.minimal()
    np.testing.assert_array_equal(small.transitions, known.transitions)
    np.testing.assert_array_equal(small.accepting, known.accepting)
    assert big.same_language(known) and small.start == 0


def test_dot_and_words() -> None:
    text = TOMITA[1].dot()
    assert '0 -> 0 [label="1"];' in text and '1 -> 1 [label="0,1"];' in text and "0 [shape=doublecircle]" in text
    with pytest.raises(InputError, match="unknown symbol '2'; known: 01"):
        TOMITA[1].accepts("012")
    assert TOMITA[2].accepts([1, 0]) and TOMITA[2].accepts("") and not TOMITA[2].accepts([0])


@pytest.mark.parametrize("grammar", [2, 6])
def test_the_problem_asks_after_each_symbol_whether_the_word_is_accepted(grammar: int) -> None:
    batch = jax.tree.map(np.asarray, problems.tomita(grammar, 6).draw(jax.random.key(0), 40))
    members = 0
    for seen, said in zip(batch.xs.argmax(-1).T, batch.targets.T, strict=True):
        word = "".join("01^"[k] for k in seen)
        assert word[0] == "^" and "^" not in word[1:]
        assert said.tolist() == [MEMBER[grammar](word[1:t]) for t in range(1, 8)]
        members += said[-1]
    assert batch.scored.all() and 5 < members < 35


def test_what_is_no_grammar_is_refused() -> None:
    with pytest.raises(InputError, match="numbered 1 to 7; got 8"):
        problems.tomita(8, 5)
    with pytest.raises(InputError, match="must be a whole number above 0"):
        problems.tomita(1, 0)

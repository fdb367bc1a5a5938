"""Each problem asks what its docstring says, read off each row in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, problems
from jaxseq.cells import gru, lstm, rnn
from jaxseq.initializers import zeros


def drawn(problem, rows=6, seed=0):
    batch = jax.tree.map(np.asarray, problem.draw(jax.random.key(seed), rows))
    assert batch.xs.shape == (problem.length, rows, problem.input_size)
    assert batch.targets.shape == batch.mask.shape == batch.scored.shape == (problem.length, rows)
    assert not batch.targets[~batch.scored].any() and not (batch.scored & ~batch.mask).any()
    if problem.symbols:
        assert len(problem.symbols) == problem.input_size == len(set(problem.symbols))
        np.testing.assert_array_equal(batch.xs.sum(-1), batch.mask)
    return batch


def test_copy() -> None:
    batch = drawn(problems.copy(4, length=3, symbols=5))
    for seen, said, scored in zip(batch.xs.argmax(-1).T, batch.targets.T, batch.scored.T, strict=True):
        np.testing.assert_array_equal(seen[3:], [5, 5, 5, 6, 5, 5, 5])
        np.testing.assert_array_equal(said[scored], seen[:3])
        assert scored.nonzero()[0].tolist() == [7, 8, 9]


def test_reverse() -> None:
    batch = drawn(problems.reverse(4, symbols=3))
    for seen, said, scored in zip(batch.xs.argmax(-1).T, batch.targets.T, batch.scored.T, strict=True):
        assert (seen[4:] == 3).all() and scored.tolist() == [False] * 4 + [True] * 4
        assert said[4:].tolist() == seen[:4][::-1].tolist()


def test_selective_copy() -> None:
    batch = drawn(problems.selective_copy(4, length=3, symbols=5), rows=60)
    places = set()
    for seen, said, scored in zip(batch.xs.argmax(-1).T, batch.targets.T, batch.scored.T, strict=True):
        shown = (seen[:7] < 5).nonzero()[0]
        assert len(shown) == 3 and (seen[7:] == 6).all() and scored.nonzero()[0].tolist() == [7, 8, 9]
        np.testing.assert_array_equal(said[scored], seen[:7][shown])
        places.add(tuple(shown))
    assert len(places) > 15  # of 35 that there are


def test_recall() -> None:
    batch = drawn(problems.recall(3, keys=5, values=4, lag=2), rows=60)
    orders = set()
    for seen, said, scored in zip(batch.xs.argmax(-1).T, batch.targets.T, batch.scored.T, strict=True):
        written = dict(zip(seen[0:6:2], seen[1:6:2] - 5, strict=True))
        assert len(written) == 3 and max(written) < 5 and (seen[6:8] == 9).all() and (seen[9::2] == 9).all()
        assert scored.nonzero()[0].tolist() == [9, 11, 13]
        assert [written[key] for key in seen[8::2]] == said[scored].tolist()
        orders.add(tuple(list(written).index(key) for key in seen[8::2]))
    assert len(orders) == 6
    with pytest.raises(InputError, match="got 6 pairs, 5 keys, lag 0"):
        problems.recall(6, keys=5)


def test_digits() -> None:
    """Without noise a picture is a figure, stretched: its rows and columns without repetition are the figure's."""
    from jaxseq.problems._digits import FIGURES

    batch = drawn(problems.digits(24, noise=0.0), rows=30)
    assert batch.scored.sum() == 30 and batch.scored[-1].all() and len({*batch.targets[-1]}) > 5
    for pixels, digit in zip(batch.xs[..., 0].T, batch.targets[-1], strict=True):
        picture = pixels.reshape(24, 24)
        figure = np.array([[int(point) for point in row] for row in FIGURES[digit].split()])
        np.testing.assert_array_equal(*(_runs(_runs(a[a.any(1)][:, a.any(0)]).T).T for a in (picture, figure)))
    noisy = drawn(problems.digits(24, noise=0.5), rows=30).xs - batch.xs
    assert noisy.std() == pytest.approx(0.5, rel=0.05)
    with pytest.raises(InputError, match=r"got 7 and 0\.1"):
        problems.digits(7)


def _runs(rows):
    """The rows that differ from the one before."""
    return rows[np.r_[True, (rows[1:] != rows[:-1]).any(1)]]


def test_adding() -> None:
    batch = drawn(problems.adding(7), rows=50)
    numbers, marks = batch.xs[..., 0], batch.xs[..., 1]
    assert (marks[:3].sum(0) == 1).all() and (marks[3:].sum(0) == 1).all() and set(np.unique(marks)) == {0, 1}
    np.testing.assert_allclose(batch.targets[-1], (numbers * marks).sum(0), rtol=1e-6)
    assert batch.scored.sum() == 50 and batch.scored[-1].all()


@pytest.mark.parametrize("letters", [2, 3])
def test_anbn(letters: int) -> None:
    batch = drawn(problems.anbn(5, 2, letters), rows=40)
    lengths = set()
    for seen, said, real, scored in zip(
        batch.xs.argmax(-1).T, batch.targets.T, batch.mask.T, batch.scored.T, strict=True
    ):
        n = int(real.sum()) // letters
        word = [k for k in range(letters) for _ in range(n)]
        assert seen[real].tolist() == word
        assert scored.nonzero()[0].tolist() == list(range(n, letters * n))
        assert said[scored].tolist() == [*word[n + 1 :], letters]
        lengths.add(n)
    assert lengths == {2, 3, 4, 5}


def test_balance_counts_a_minus_b() -> None:
    batch = problems.words(jnp.array([1, 3]), 3)
    assert problems.balance(batch)[:, 0].tolist() == [1, 0, 0, 0, 0, 0]
    assert problems.balance(batch)[:, 1].tolist() == [1, 2, 3, 2, 1, 0]


def test_warped() -> None:
    batch = drawn(problems.warped(30, 3, symbols=40), rows=20)
    for seen, said, scored in zip(batch.xs.argmax(-1).T, batch.targets.T, batch.scored.T, strict=True):
        runs = [[seen[0], 0]]
        for t, symbol in enumerate(seen):
            if symbol != runs[-1][0]:
                runs.append([symbol, 0])
            runs[-1][1] += 1
            if len(runs) > 1 and runs[-1][1] == 1:  # when the symbol has changed, the one before is known
                assert scored[t] and said[t] == runs[-2][0]
        assert scored.any()
    still = drawn(problems.warped(9, 3, uniform=True), rows=4)
    np.testing.assert_array_equal(still.targets[3:], still.xs.argmax(-1)[:-3])
    assert (still.scored == (np.arange(9)[:, None] >= 3)).all()


@pytest.mark.parametrize("name", ["copy", "reverse", "adding", "anbn", "warped", "tomita", "parity"])
def test_the_baseline_is_what_no_memory_comes_to(name: str) -> None:
    """The best output for each present input alone, found by counting 4,000 rows."""
    problem = {
        "copy": problems.copy(3, 4, 5), "reverse": problems.reverse(3, 4), "adding": problems.adding(10),
        "anbn": problems.anbn(6, 2), "warped": problems.warped(12, 3, 6), "tomita": problems.tomita(4, 8),
        "parity": problems.parity(8),
    }[name]  # fmt: skip
    batch = problem.draw(jax.random.key(0), 4000)
    if name == "adding":
        said = jnp.ones((problem.length, 4000, 1), jnp.float32)
    else:
        seen, targets = np.asarray(batch.xs.argmax(-1)), np.asarray(batch.targets)
        counts = np.zeros((problem.input_size, problem.output_size))
        np.add.at(counts, (seen[batch.scored], targets[batch.scored]), 1)
        said = jnp.asarray(np.log(np.maximum(counts / np.maximum(counts.sum(1, keepdims=True), 1), 1e-30))[seen])
    assert abs(float(problem.loss(said, batch)) - problem.baseline) < 0.02 * problem.baseline


def test_right_answers_are_scored_as_such() -> None:
    problem = problems.anbn(4)
    batch = problem.draw(jax.random.key(0), 5)
    best = jax.nn.one_hot(batch.targets, 3) * 50
    assert float(problem.loss(best, batch)) < 1e-6
    assert float(problem.accuracy(best, batch)) == 1 and problem.solved(best, batch).all()
    wrong = best.at[-1].set(jax.nn.one_hot(0, 3) * 50)  # only a row of the longest n has that step
    assert problem.solved(wrong, batch).tolist() == (~batch.scored[-1]).tolist()


def test_equal_sizes_are_the_same_task_and_wrong_ones_are_refused() -> None:
    assert problems.copy(5) is problems.copy(5) and hash(problems.copy(5))
    for make in (
        lambda: problems.copy(0),
        lambda: problems.copy(2.5),
        lambda: problems.letters(0, "some text"),
        lambda: problems.adding(1),
        lambda: problems.anbn(3, 4),
        lambda: problems.anbn(3, letters=1),
        lambda: problems.reverse(0),
        lambda: problems.warped(5, 0),
    ):
        with pytest.raises(InputError, match=r"must be (at|a whole number above 0)"):
            make()


TEXT = "To be, or not to be: that is the QUESTION! 1234 Whether 'tis nobler in the mind to suffer."


def test_letters_are_windows_of_the_text_with_the_letter_after_each() -> None:
    problem = problems.letters(12, TEXT)
    clean = "to be or not to be that is the question whether tis nobler in the mind to suffer."
    batch = drawn_of_text(problem, rows=50)
    starts = set()
    for seen, following in zip(batch.xs.argmax(-1).T, batch.targets.T, strict=True):
        window = "".join(problem.symbols[k] for k in (*seen, following[-1]))
        assert window in clean and following[:-1].tolist() == seen[1:].tolist()
        starts.add(clean.index(window))
    assert len(starts) > 20 and batch.scored.all()
    shares = np.array([clean.count(c) for c in sorted(set(clean))]) / len(clean)
    assert problem.baseline == pytest.approx(-(shares * np.log(shares)).sum())


def drawn_of_text(problem, rows):
    batch = jax.tree.map(np.asarray, problem.draw(jax.random.key(0), rows))
    assert batch.xs.shape == (problem.length, rows, 28) and (batch.xs.sum(-1) == 1).all()
    return batch


def test_parity() -> None:
    batch = drawn(problems.parity(7), rows=20)
    for seen, said in zip(batch.xs.argmax(-1).T, batch.targets.T, strict=True):
        word = "".join("01^"[k] for k in seen)
        assert word[0] == "^" and said.tolist() == [word[:t].count("1") % 2 == 0 for t in range(1, 9)]
    assert problems.PARITY.accepts("0110") and not problems.PARITY.accepts("10")


def test_valence_asks_at_the_end_which_side_prevailed() -> None:
    batch = drawn(problems.valence(9), rows=200)
    weights, lengths = dict(zip("PpNnabc", (2, 1, -2, -1, 0, 0, 0), strict=True)), set()
    for b in range(200):
        real = batch.mask[:, b]
        text = ["PpNnabc"[k] for k in batch.xs[real, b].argmax(-1)]
        sums = np.cumsum([weights[word] for word in text])
        n = len(text)
        lengths.add(n)
        assert real[:n].all() and not batch.scored[n:, b].any() and not batch.scored[: n - 1, b].any()
        assert batch.scored[n - 1, b] == (sums[-1] != 0)
        assert sums[-1] == 0 or batch.targets[n - 1, b] == (sums[-1] > 0)
        np.testing.assert_array_equal(problems.balanced(batch)[:n, b], sums)
    assert lengths == {4, 5, 6, 7, 8, 9}
    with pytest.raises(InputError, match="length must be at least 2; got 1"):
        problems.valence(1)


def test_the_baseline_of_valence_is_that_of_the_last_word_alone() -> None:
    """By all texts of 2 to 5 words; one step of a row is scored, so that drawn rows would tell less."""
    weights, counts = np.array(problems.VALENCES), np.zeros((7, 2))
    for n in range(2, 6):
        texts = np.array(list(itertools.product(range(7), repeat=n)))
        sums = weights[texts].sum(1)
        for word in range(7):
            of_word = sums[texts[:, -1] == word]
            counts[word] += np.array([(of_word < 0).mean(), (of_word > 0).mean()])
    shares = counts / counts.sum(1, keepdims=True)
    losses = -(shares * np.log(shares)).sum(1)
    assert problems.valence(5).baseline == pytest.approx(np.average(losses, weights=counts.sum(1)))


def test_a_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="the text needs more than 12 letters, one window; it has 8"):
        problems.letters(12, "To be!?? OR")


def test_every_problem_has_its_name_and_kind() -> None:
    every = ["copy", "selective_copy", "reverse", "recall", "adding", "anbn", "warped", "digits"]
    assert list(problems.PROBLEMS) == every
    assert problems.copy(3).name == "copy(lag=3, length=10, symbols=8)" and problems.copy(3).kind == "copy"
    assert problems.letters(3, TEXT).kind == "letters"


# starting with gates that retain


@pytest.mark.parametrize(("cell", "at"), [(lstm, "f"), (gru, "z")])
def test_a_bias_is_that_of_the_gate_that_retains(cell, at) -> None:
    """Without input or state a gate is the logistic function of its bias: told from the gate, not from the layout."""
    params = problems.retaining(cell, bias=1.5)(jax.random.key(0), 2, 4)
    _, _, gates = cell.advance(params, cell.initial_carry(params), cell.input_terms(params, jnp.zeros(2, jnp.float32)))
    for name, gate in gates._asdict().items():
        want = {at: 1 / (1 + np.exp(-1.5)), "g": 0.0, "n": 0.0}.get(name, 0.5)
        np.testing.assert_allclose(gate, want, rtol=1e-5)


@pytest.mark.parametrize(("cell", "at"), [(lstm, "f"), (gru, "z")])
def test_chrono_biases_spread_forgetting_times_up_to_the_longest(cell, at) -> None:
    params = problems.retaining(cell, longest=50, recurrent=zeros)(jax.random.key(0), 2, 2000)
    _, _, gates = cell.advance(params, cell.initial_carry(params), cell.input_terms(params, jnp.zeros(2, jnp.float32)))
    times = 1 / (1 - np.asarray(getattr(gates, at), float))
    assert times.min() >= 2 - 1e-3 and times.max() <= 50 + 1e-2 and abs(times.mean() - 26) < 1
    if cell is gru:
        assert params.b_hn.shape == (2000,) and not params.b_hn.any()


def test_what_cannot_retain_is_refused() -> None:
    for options, message in (({}, "give either bias or longest"), ({"bias": 1.0, "longest": 9}, "either")):
        with pytest.raises(InputError, match=message):
            problems.retaining(lstm, **options)
    with pytest.raises(InputError, match="only lstm and gru have a bias known to retain; got rnn"):
        problems.retaining(rnn, bias=1.0)

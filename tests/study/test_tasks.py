"""The tasks ask what they say they ask; told by looking at each row in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.problems import tasks


def drawn(task, rows=6, seed=0):
    batch = jax.tree.map(np.asarray, task.draw(jax.random.key(seed), rows))
    assert batch.xs.shape == (task.length, rows, task.input_size)
    assert batch.targets.shape == batch.mask.shape == batch.scored.shape == (task.length, rows)
    assert not batch.targets[~batch.scored].any() and not (batch.scored & ~batch.mask).any()
    if task.symbols:
        assert len(task.symbols) == task.input_size == len(set(task.symbols))
        np.testing.assert_array_equal(batch.xs.sum(-1), batch.mask)
    return batch


def test_copy() -> None:
    batch = drawn(tasks.copy(4, length=3, symbols=5))
    for seen, said, scored in zip(batch.xs.argmax(-1).T, batch.targets.T, batch.scored.T, strict=True):
        np.testing.assert_array_equal(seen[3:], [5, 5, 5, 6, 5, 5, 5])
        np.testing.assert_array_equal(said[scored], seen[:3])
        assert scored.nonzero()[0].tolist() == [7, 8, 9]


def test_reverse() -> None:
    batch = drawn(tasks.reverse(4, symbols=3))
    for seen, said, scored in zip(batch.xs.argmax(-1).T, batch.targets.T, batch.scored.T, strict=True):
        assert (seen[4:] == 3).all() and scored.tolist() == [False] * 4 + [True] * 4
        assert said[4:].tolist() == seen[:4][::-1].tolist()


def test_adding() -> None:
    batch = drawn(tasks.adding(7), rows=50)
    numbers, marks = batch.xs[..., 0], batch.xs[..., 1]
    assert (marks[:3].sum(0) == 1).all() and (marks[3:].sum(0) == 1).all() and set(np.unique(marks)) == {0, 1}
    np.testing.assert_allclose(batch.targets[-1], (numbers * marks).sum(0), rtol=1e-6)
    assert batch.scored.sum() == 50 and batch.scored[-1].all()


@pytest.mark.parametrize("letters", [2, 3])
def test_anbn(letters: int) -> None:
    batch = drawn(tasks.anbn(5, 2, letters), rows=40)
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
    batch = tasks.words(jnp.array([1, 3]), 3)
    assert tasks.balance(batch)[:, 0].tolist() == [1, 0, 0, 0, 0, 0]
    assert tasks.balance(batch)[:, 1].tolist() == [1, 2, 3, 2, 1, 0]


def test_warped() -> None:
    batch = drawn(tasks.warped(30, 3, symbols=40), rows=20)
    for seen, said, scored in zip(batch.xs.argmax(-1).T, batch.targets.T, batch.scored.T, strict=True):
        runs = [[seen[0], 0]]
        for t, symbol in enumerate(seen):
            if symbol != runs[-1][0]:
                runs.append([symbol, 0])
            runs[-1][1] += 1
            if len(runs) > 1 and runs[-1][1] == 1:  # when the symbol has changed, the one before is known
                assert scored[t] and said[t] == runs[-2][0]
        assert scored.any()
    still = drawn(tasks.warped(9, 3, uniform=True), rows=4)
    np.testing.assert_array_equal(still.targets[3:], still.xs.argmax(-1)[:-3])
    assert (still.scored == (np.arange(9)[:, None] >= 3)).all()


@pytest.mark.parametrize("name", ["copy", "reverse", "adding", "anbn", "warped"])
def test_the_baseline_is_what_no_memory_comes_to(name: str) -> None:
    """The best output for each present input alone, found by counting 4,000 rows."""
    task = {
        "copy": tasks.copy(3, 4, 5), "reverse": tasks.reverse(3, 4), "adding": tasks.adding(10),
        "anbn": tasks.anbn(6, 2), "warped": tasks.warped(12, 3, 6),
    }[name]  # fmt: skip
    batch = task.draw(jax.random.key(0), 4000)
    if name == "adding":
        said = jnp.ones((task.length, 4000, 1), jnp.float32)
    else:
        seen, targets = np.asarray(batch.xs.argmax(-1)), np.asarray(batch.targets)
        counts = np.zeros((task.input_size, task.output_size))
        np.add.at(counts, (seen[batch.scored], targets[batch.scored]), 1)
        said = jnp.asarray(np.log(np.maximum(counts / np.maximum(counts.sum(1, keepdims=True), 1), 1e-30))[seen])
    assert abs(float(task.loss(said, batch)) - task.baseline) < 0.02 * task.baseline


def test_right_answers_are_scored_as_such() -> None:
    task = tasks.anbn(4)
    batch = task.draw(jax.random.key(0), 5)
    best = jax.nn.one_hot(batch.targets, 3) * 50
    assert float(task.loss(best, batch)) < 1e-6
    assert float(task.accuracy(best, batch)) == 1 and task.solved(best, batch).all()
    wrong = best.at[-1].set(jax.nn.one_hot(0, 3) * 50)  # only a row of the longest n has that step
    assert task.solved(wrong, batch).tolist() == (~batch.scored[-1]).tolist()


def test_equal_sizes_are_the_same_task_and_wrong_ones_are_refused() -> None:
    assert tasks.copy(5) is tasks.copy(5) and hash(tasks.copy(5))
    for make in (
        lambda: tasks.copy(0),
        lambda: tasks.adding(1),
        lambda: tasks.anbn(3, 4),
        lambda: tasks.anbn(3, letters=1),
        lambda: tasks.reverse(0),
        lambda: tasks.warped(5, 0),
    ):
        with pytest.raises(InputError, match="must be at"):
            make()

"""Comparing cells: trained on the same problem, data and seeds, with matched parameter counts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxseq.cells import Cell
from jaxseq.notation import Array
from jaxseq.problems._base import Problem
from jaxseq.problems.fit import Init, ModelParams, Trained, init_params, outputs, train


class Scores(NamedTuple):
    """How well a model does on new rows.

    Fields:
      loss: mean over the scored steps.
      accuracy: share of the scored steps that are right.
      solved: share of the rows in which every scored step is right.
    """

    loss: Array
    accuracy: Array
    solved: Array


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="rows")
def evaluate(cell: Cell, problem: Problem, params: ModelParams, *, seed: Any = 0, rows: int = 256) -> Scores:
    """Return the scores of a model; the problem may have other sizes than the one it was trained on.

    Its rows are independent of those of any training. For several seeds: ``jax.vmap(lambda p: evaluate(cell, problem,
    p))(trained.params)``.
    """
    # training splits key(seed), so no batch of it has this key
    batch = problem.draw(jax.random.fold_in(jax.random.key(seed), 2**32 - 1), rows)
    out = outputs(cell, params, batch)
    solved = problem.solved(out, batch).astype(out.dtype)
    return Scores(problem.loss(out, batch), problem.accuracy(out, batch), solved.mean())


def count_params(cell: Cell, problem: Problem, hidden: int) -> int:
    """Return the parameter count of a model of that size, including the readout."""
    shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), cell, problem, hidden))
    return sum(a.size for a in jax.tree.leaves(shapes))


def matched_hidden(cell: Cell, problem: Problem, count: int) -> int:
    """Return the H whose parameter count is nearest to `count`.

    Example:
      >>> from jaxseq import problems
      >>> from jaxseq.cells import lstm, rnn
      >>> problem = problems.copy(5)
      >>> H = matched_hidden(rnn, problem, count_params(lstm, problem, 32))
      >>> H, count_params(lstm, problem, 32), count_params(rnn, problem, H)
      (67, 5768, 5770)
    """
    low, high = 1, 2  # H = low has at most count, or low is 1
    # doubling, then bisection: the count grows with H, and init is only traced for its shapes
    while count_params(cell, problem, high) <= count:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count_params(cell, problem, middle) <= count else (low, middle)
    return min((low, high), key=lambda H: abs(count_params(cell, problem, H) - count))


class Compared(NamedTuple):
    """One cell of a comparison.

    Fields:
      hidden: H.
      parameters: the parameter count.
      trained: the result for all seeds, with a leading axis for them.
      scores: the scores of each seed, ``[seeds]``.
    """

    hidden: int
    parameters: int
    trained: Trained
    scores: Scores


def compare(
    cells: Mapping[str, Cell],
    problem: Problem,
    *,
    hidden: int,
    steps: int,
    seed: Sequence[int] = (0,),
    inits: Mapping[str, Init] | None = None,
    began: Callable[[str], object] = lambda name: None,
    **options: Any,
) -> dict[str, Compared]:
    """Train several cells on the same problem, data and seeds, with about as many parameters each.

    Args:
      cells: the cells, by their names in the result.
      problem: such as ``copy(30)``.
      hidden: H of the first cell; the others get the sizes with the nearest parameter counts.
      steps: steps of each training.
      seed: one seed or several.
      inits: ``(key, input_size, hidden_size) -> params`` to replace a cell's own, by the cell's name.
      began: called with the name of each cell before its training, for example to show progress.
      options: passed to `train`.

    Example:
      >>> from jaxseq import problems
      >>> from jaxseq.cells import lstm, rnn
      >>> found = problems.compare({"lstm": lstm, "rnn": rnn}, problems.reverse(2), hidden=8, steps=2)
      >>> {name: (one.hidden, one.parameters) for name, one in found.items()}
      {'lstm': (8, 648), 'rnn': (18, 656)}
    """
    seeds = tuple(seed)
    found: dict[str, Compared] = {}
    count = None
    for name, cell in cells.items():
        began(name)
        H = hidden if count is None else matched_hidden(cell, problem, count)
        size = count_params(cell, problem, H)
        count = size if count is None else count
        init = (inits or {}).get(name, cell.init)
        trained = train(cell, problem, hidden=H, steps=steps, seed=seeds, init=init, **options)
        scores = jax.vmap(lambda p, cell=cell: evaluate(cell, problem, p))(trained.params)
        found[name] = Compared(H, size, trained, scores)
    return found

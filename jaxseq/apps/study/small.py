"""Small models trained while the user waits: a cell, and baseline cells for comparison, on a problem of memory."""

from __future__ import annotations

import jax

from jaxseq.apps.custom import check_reads_series, find_cell, is_code
from jaxseq.apps.progress import say
from jaxseq.apps.study.parts import Studied
from jaxseq.cells import CELLS, Cell
from jaxseq.errors import choose
from jaxseq.problems import PROBLEMS, RETAINING, Problem, compare, retaining
from jaxseq.study import Batch, log_spaced, part_of
from jaxseq.trees import at

SIZES: dict[str, dict[str, int]] = {
    "copy": {"lag": 30, "length": 2, "symbols": 4},
    "selective_copy": {"lag": 20, "length": 2, "symbols": 4},
    "reverse": {"length": 6, "symbols": 4},
    "recall": {"pairs": 2, "keys": 4, "values": 4},
    "adding": {"length": 20},
    "anbn": {"largest": 10},
    "warped": {"length": 24, "longest": 3, "symbols": 4},
    "digits": {"side": 8},
}
"""The sizes at which a problem is learnt while the user waits."""

BASELINES = ("lstm", "gru", "rnn")
"""The baseline cells."""

LEARNING_RATE = 1e-2
"""The learning rate of Adam, for small models."""


def problem_of(name: str) -> Problem:
    """Return a problem at its size in `SIZES`.

    Raises:
      InputError: if there is no problem of that name.
    """
    return choose("problem", name, PROBLEMS)(**SIZES[name])


def cells_for(name: str, problem: Problem, hidden: int) -> dict[str, Cell]:
    """Return the named cell, and then the baselines that it is compared with.

    Raises:
      InputError: if there is no such cell, or it does not read such sequences.
    """
    first = find_cell(name)
    check_reads_series(first, problem.input_size, hidden)
    called = name.rpartition(":")[2] if is_code(name) else first.name
    others = {other: CELLS[other] for other in BASELINES if CELLS[other] is not first and other != called}
    return {called: first, **others}


def of_problem(
    name: str, problem: Problem, *, hidden: int, steps: int, seed: int, examples: int | None = None
) -> Studied:
    """Train a cell and the baselines on a problem, and return them reading three new sequences.

    With `examples`, half-lives and saturation are taken over this many other new sequences.

    Raises:
      InputError: as `cells_for`.
    """
    cells = cells_for(name, problem, hidden)
    called = next(iter(cells))
    steps_shown = log_spaced(steps, 12)
    # Tallec & Ollivier 2018: biases for dependencies as long as the problem's sequences
    chrono = {other: retaining(cell, longest=problem.length) for other, cell in cells.items() if cell in RETAINING}
    found = compare(
        cells, problem, hidden=hidden, steps=steps, seed=(seed,), inits=chrono, snapshot_steps=steps_shown,
        learning_rate=LEARNING_RATE,
        began=lambda cell: say(f"training {cell} on {problem.name}, {steps} steps …"),
    )  # fmt: skip
    # new sequences: training and the scores draw theirs from other keys of the seed
    batch = problem.draw(jax.random.fold_in(jax.random.key(seed), 2**31), 3)
    more = problem.draw(jax.random.fold_in(jax.random.key(seed), 2**31 + 1), examples) if examples else None
    # problems without a fixed distance between an input and its use have no lag to mark
    lag = SIZES.get(problem.kind, {}).get("lag")
    parts = []
    for other, one in found.items():
        trained = at(one.trained, 0)  # of its one seed
        seen = (steps_shown, trained.snapshots)
        part = part_of(other, cells[other], problem, batch, trained.params, trained.losses, snapshots=seen)
        corpus = [] if more is None else [Batch(cells[other].lift(more.xs), None, more.mask)]
        parts.append(part._replace(corpus=corpus, lag=lag))
    subtitle = (
        f"{problem.name}: {', '.join(cells)}, with {found[called].parameters} parameters or about as many, "
        f"{steps} steps, seed {seed}; LSTM and GRU start with chrono biases (Tallec & Ollivier 2018)"
    )
    scores = [(float(one.scores.loss[0]), float(one.scores.accuracy[0])) for one in found.values()]
    subtitle_zh = (
        f"{problem.name}：{'、'.join(cells)}，参数 {found[called].parameters} 个或与之相近，各训练 {steps} 步，"
        f"种子 {seed}；LSTM 与 GRU 以 chrono 偏置起步（Tallec & Ollivier 2018）"
    )
    return Studied(parts, subtitle, scores=scores, subtitle_zh=subtitle_zh)

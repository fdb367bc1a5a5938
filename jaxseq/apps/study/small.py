"""Small models trained while a person waits: a cell, and those it is set beside, on a task that asks for memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.apps.custom import check_reads_series, find_cell, is_code
from jaxseq.apps.study.parts import Studied
from jaxseq.cells import CELLS, Cell
from jaxseq.errors import choose
from jaxseq.initializers import chrono
from jaxseq.notation import Key, Params
from jaxseq.problems.fit import compare, outputs
from jaxseq.problems.tasks import TASKS, Batch, Task
from jaxseq.study._replay import log_spaced
from jaxseq.study.part import Part

SIZES: dict[str, dict[str, int]] = {
    "copy": {"lag": 30, "length": 2, "symbols": 4},
    "reverse": {"length": 6, "symbols": 4},
    "adding": {"length": 20},
    "anbn": {"largest": 10},
    "warped": {"length": 24, "longest": 3, "symbols": 4},
}
"""The sizes at which a task is small enough to be learnt while a person waits."""

BESIDE = ("lstm", "gru", "rnn")
"""What a cell is set beside."""

LEARNING_RATE = 1e-2
"""Of Adam, for small models."""

BLOCKS = {"lstm": "i f g o", "gru": "r z n"}
"""Cells whose gates start as they are to retain over up to the length of a task, with the blocks of their bias."""


def task_of(name: str) -> Task:
    """Return a task at its size in `SIZES`.

    Raises:
      InputError: if there is none of that name.
    """
    return choose("task", name, TASKS)(**SIZES[name])


def of_task(name: str, task: Task, *, hidden: int, steps: int, seed: int) -> Studied:
    """Train a cell and those it is set beside on a task, and return them reading three new sequences.

    Raises:
      InputError: if there is no such cell, or it does not read such sequences.
    """
    first = find_cell(name)
    check_reads_series(first, task.input_size, hidden)
    called = name.rpartition(":")[2] if is_code(name) else first.name
    cells = {called: first, **{own: CELLS[own] for own in BESIDE if CELLS[own] is not first and own != called}}
    keep = log_spaced(steps, 12)
    inits = {own: _retaining(cell, task.length) for own, cell in cells.items()}
    found = compare(
        cells, task, hidden=hidden, steps=steps, seed=(seed,), inits=inits, keep=keep, learning_rate=LEARNING_RATE
    )
    batch = task.draw(jax.random.fold_in(jax.random.key(seed), 2**31), 3)
    first_of = lambda tree: jax.tree.map(lambda a: a[0], tree)  # noqa: E731  of its one seed
    parts = [
        part_of(
            name, cells[name], task, batch, first_of(one.trained.params), one.trained.losses[0],
            snapshots=(keep, first_of(one.trained.kept)),
        )
        for name, one in found.items()
    ]  # fmt: skip
    subtitle = (
        f"{task.name}: {', '.join(cells)}, with {found[called].parameters} parameters or about as many, "
        f"{steps} steps, seed {seed}; LSTM and GRU start with chrono biases (Tallec & Ollivier 2018)"
    )
    scores = [(float(one.scores.loss[0]), float(one.scores.accuracy[0])) for one in found.values()]
    return Studied(parts, subtitle, scores=scores)


def _retaining(cell: Cell, longest: int) -> Callable[[Key, int, int], Params]:
    """Return a cell's init, with a chrono bias where the blocks of its bias are known."""
    blocks = next((blocks for name, blocks in BLOCKS.items() if CELLS[name] is cell), None)
    if blocks is None:
        return cell.init

    def init(key: Key, input_size: int, hidden_size: int) -> Params:
        params = cell.init(key, input_size, hidden_size)
        return params._replace(b=chrono(longest, blocks)(key, params.b.shape, params.b.dtype))

    return init


def part_of(
    name: str, cell: Cell, task: Task, batch: Batch, model: Any, losses: Any,
    snapshots: tuple[Sequence[int], Any] | None = None,
) -> Part:  # fmt: skip
    """Return a `Model` that was trained on a task, with the losses ``[steps]`` of its training, as it reads a batch."""
    losses = np.asarray(losses)
    shown = np.unique(np.geomspace(1, len(losses), 120).round().astype(int)) - 1
    spoken = bool(task.symbols)
    return Part(
        name, cell, model.cell, cell.lift(batch.xs), batch.mask, inputs=_labels(task, np.asarray(batch.xs)),
        predict=model.read, targets=batch.targets if spoken else batch.targets[..., None], scored=batch.scored,
        words=[*task.symbols, "$"][: task.output_size] if spoken else (), head=(model.read.W, model.read.b),
        swaps={s: jnp.eye(task.input_size)[n] for n, s in enumerate(task.symbols)} if spoken else None,
        history=((shown + 1).tolist(), losses[shown].tolist()),
        snapshots=snapshots,
        reported=int(batch.scored.sum()) * float(task.loss(outputs(cell, model, batch), batch)),
    )  # fmt: skip


def _labels(task: Task, xs: np.ndarray) -> list[list[str]]:
    """Return what each input is called: its symbol, or its number and a star where it is marked."""
    if not task.symbols:
        return [[f"{v:.2f}{'*' if mark else ''}" for v, mark in xs[:, b]] for b in range(xs.shape[1])]
    return [[task.symbols[x.argmax()] if x.any() else "" for x in xs[:, b]] for b in range(xs.shape[1])]

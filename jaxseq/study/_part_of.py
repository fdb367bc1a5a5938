"""The subject of a study from a model that was trained on a problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.problems import Batch, ModelParams, Problem, outputs
from jaxseq.study._replay import log_spaced
from jaxseq.study.part import Part


def part_of(
    name: str,
    cell: Cell,
    problem: Problem,
    batch: Batch,
    params: ModelParams,
    losses: Any = (),
    *,
    snapshots: tuple[Sequence[int], ModelParams] | None = None,
) -> Part:
    """Return the `Part` of a model that was trained on a problem, as it reads a batch.

    Args:
      name: to show, such as ``"lstm"``.
      cell: the Cell.
      problem: that it was trained on.
      batch: of the problem.
      params: as `problems.train` returns them.
      losses: of the training, ``[steps]``; 120 of them are shown.
      snapshots: steps, and the params after each with a leading axis for them.

    Example:
      >>> import jax
      >>> from jaxseq import problems
      >>> from jaxseq.cells import gru
      >>> problem = problems.reverse(2, symbols=2)
      >>> params, batch = problems.init_params(jax.random.key(0), gru, problem, 3), problem.draw(jax.random.key(1), 1)
      >>> part_of("gru", gru, problem, batch, params).words
      ['a', 'b']
    """
    losses = np.asarray(losses)
    # most happens early: losses at logarithmic steps; step 0 has none
    shown = np.array(log_spaced(len(losses), 121)[1:] if len(losses) else (), int)
    # symbols are classes with logits, all else is a regression of one number
    spoken = bool(problem.symbols)
    return Part(
        name, cell, params.cell, cell.lift(batch.xs), batch.mask, inputs=_labels(problem, np.asarray(batch.xs)),
        predict=params.readout.__call__, targets=batch.targets if spoken else batch.targets[..., None],
        scored=batch.scored,
        words=[*problem.symbols, "$"][: problem.output_size] if spoken else (),
        head=(params.readout.W, params.readout.b),
        swaps={s: jnp.eye(problem.input_size)[n] for n, s in enumerate(problem.symbols)} if spoken else None,
        history=(shown.tolist(), losses[shown - 1].tolist()),
        snapshots=snapshots,
        reported=int(batch.scored.sum()) * float(problem.loss(outputs(cell, params, batch), batch)),
    )  # fmt: skip


def _labels(problem: Problem, xs: np.ndarray) -> list[list[str]]:
    """Return a label for each input: its symbol, or its number with a star where it is marked."""
    if not problem.symbols:
        return [[f"{v:.2f}{'*' if mark else ''}" for v, mark in xs[:, b]] for b in range(xs.shape[1])]
    return [[problem.symbols[x.argmax()] if x.any() else "" for x in xs[:, b]] for b in range(xs.shape[1])]

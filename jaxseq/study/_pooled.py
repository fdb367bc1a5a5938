"""Half-lives and saturation over a corpus: more sequences than a page shows, batch by batch."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.study._saturation import Saturation, histogram, ranges_in, saturation
from jaxseq.study.memory import HalfLife, Keep, half_life, keeps_in, pooled_half_life
from jaxseq.study.timelines import gates_of, units_of
from jaxseq.study.whatif import real_of


class Batch(NamedTuple):
    """Some sequences.

    Fields:
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``, or None.
      cell: the cell that reads the source of these sequences, where it is another for each batch; None if not.
    """

    xs: Tree
    carry: Carry | None = None
    mask: Array | None = None
    cell: Cell | None = None


class Pooled(NamedTuple):
    """Half-lives and saturation of units over all sequences of a corpus.

    Fields:
      half_lives: by the gate that retains.
      saturation: by the gate, of those between 0 and 1.
      histograms: of these, ``[bins, H]``.
      sequences: how many were read.
      steps: their real steps.
    """

    half_lives: dict[str, HalfLife]
    saturation: dict[str, Saturation]
    histograms: dict[str, Array]
    sequences: int
    steps: int


def pooled(cell: Cell, params: Params, batches: Iterable[Batch], *, gates: Sequence[str] | None = None) -> Pooled:
    """Return half-lives and saturation over all sequences of a corpus.

    They are those of one batch that holds them all; memory is that of one at a time. Batches of equal shapes compile
    once.

    Args:
      cell: any Cell; in a stack the gates of every layer are pooled.
      params: its parameters.
      batches: of any lengths.
      gates: the names of those to pool; all by default. Each must have the same units in all batches, which the weights
        of attention do not.

    Raises:
      InputError: if there is no batch.

    Example:
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> found = pooled(gru, params, [Batch(jnp.ones((7, 2, 3))), Batch(jnp.zeros((9, 1, 3)))])
      >>> found.sequences, found.steps, found.half_lives["z"].half_life.shape
      (3, 23, (5,))
    """
    keeps: tuple[Keep, ...] = ()
    between: list[str] = []

    def seen_by(cell: Cell, params: Params, batch: Batch) -> tuple[dict, dict, dict, Array]:
        # several axes, such as those of heads, are units as well
        found = gates_of(cell, params, batch.xs, batch.carry, mask=batch.mask)
        named = {name: units_of(a) for name, a in found.items()}
        real = real_of(cell, batch.xs, batch.mask)
        lives = {keep.gate: half_life(keep.of(named), real) for keep in keeps}
        ends = {name: saturation(named[name], real) for name in between}
        return lives, ends, {name: histogram(named[name], real) for name in between}, real.sum(0)

    # one jitted function for all batches, so that equal shapes compile once
    shared = jax.jit(functools.partial(seen_by, cell))
    seen: list[tuple[dict, dict, dict, Array]] = []
    for batch in batches:
        # gates that retain, and ranges, are found once, on the first batch: they belong to the equations
        if not seen:
            reader = batch.cell or cell
            ranges = ranges_in(reader, params, batch.xs, batch.carry)
            chosen = ranges if gates is None else gates
            keeps = tuple(k for k in keeps_in(reader, params, batch.xs, batch.carry) if k.gate in chosen)
            between = [name for name, bounds in ranges.items() if bounds == (0.0, 1.0) and name in chosen]
        # a cell that reads a source has other arrays for each batch
        look = shared if batch.cell is None else jax.jit(functools.partial(seen_by, batch.cell))
        # a Cell is not an array: it reaches the program by the partial
        seen.append(look(params, batch._replace(cell=None)))
    if not seen:
        raise InputError(f"pooled({cell.name}): there is no sequence to read; give a batch or more")
    rows = [np.asarray(one) for *_, one in seen]
    # fractions are averaged by real steps, so that short batches do not count as much as long ones
    share = np.array([row.sum() for row in rows], float)
    total = share.sum()

    def mean(parts: tuple[Array, ...]) -> Array:
        weighed = [float(n / total) * part for n, part in zip(share, parts, strict=True)]
        return sum(weighed[1:], weighed[0])

    return Pooled(
        {keep.gate: pooled_half_life([lives[keep.gate] for lives, *_ in seen]) for keep in keeps},
        {name: Saturation(*map(mean, zip(*(ends[name] for _, ends, *_ in seen), strict=True))) for name in between},
        {name: jnp.stack([counts[name] for *_, counts, _ in seen]).sum(0) for name in between},
        int(sum((row > 0).sum() for row in rows)),
        int(total),
    )

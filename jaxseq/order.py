"""The order in which training sees its data: a pure function of the seed and the number of chunks run.

An exact resume needs only that number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np


def chunk_length(steps: int, report_every: int, most: int) -> int:
    """Return the steps per jitted chunk: the largest common divisor of `steps` and `report_every` up to `most`.

    Chunks of one length mean one compiled program for each data shape.

    Example:
      >>> chunk_length(1500, 100, 20), chunk_length(7, 100, 20)
      (20, 1)
    """
    common = math.gcd(steps, report_every)
    return max(d for d in range(1, min(common, most) + 1) if common % d == 0)


def chunks(
    sizes: Sequence[int],
    batch: int | Sequence[int],
    steps: int,
    seed: int,
    *,
    start: int = 0,
    replacement: bool = False,
    weights: Sequence[np.ndarray] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(bucket, rows int32 [steps, batch])`` forever, from chunk number `start` on.

    Every bucket gets chunks in proportion to its number of examples, evenly interleaved. Within a bucket the examples
    come in one random permutation after another, so that each is seen once before any is seen twice; with `replacement`
    each row is drawn anew.

    Args:
      sizes: examples in each bucket.
      batch: examples in a step, one number or one for each bucket.
      steps: steps in a chunk.
      seed: of the random order.
      start: chunks already run.
      replacement: draw each row anew.
      weights: float ``[size]`` for each bucket, how often an example is seen relative to others. One pass then contains
        an example as many times as its weight, rounded down or up at random, and a bucket's share is its total weight.

    Example:
      >>> stream = chunks([3], batch=3, steps=1, seed=0)
      >>> [sorted(next(stream)[1][0].tolist()) for _ in range(2)]
      [[0, 1, 2], [0, 1, 2]]
    """
    rows = [batch] * len(sizes) if isinstance(batch, int) else list(batch)
    loads: list[float] = list(sizes) if weights is None else [float(w.sum()) for w in weights]
    if len(set(rows)) > 1:  # a bucket with small batches needs more chunks for the same number of examples
        loads = [load / count for load, count in zip(loads, rows, strict=True)]
    total, taken, number = sum(loads), [0] * len(sizes), 0
    passes = [_Passes(size, (seed, b), None if weights is None else weights[b]) for b, size in enumerate(sizes)]
    while True:
        number += 1
        # the bucket that is furthest behind its share
        bucket = max(range(len(sizes)), key=lambda b: loads[b] / total * number - taken[b])
        if number > start:
            draw = passes[bucket].drawn if replacement else passes[bucket].permuted
            yield bucket, draw(taken[bucket], steps * rows[bucket]).astype(np.int32).reshape(steps, rows[bucket])
        taken[bucket] += 1


class _Passes:
    """The passes over one bucket. The latest pass is cached: its chunks are asked for one after the other."""

    def __init__(self, size: int, seed: tuple[int, ...], weights: np.ndarray | None) -> None:
        self.size, self.seed = size, seed
        self.sums = None if weights is None else np.cumsum(weights, dtype=np.float64)
        self.length = size if self.sums is None else max(1, round(float(self.sums[-1])))
        self.last: tuple[int, np.ndarray] | None = None

    def drawn(self, chunk: int, count: int) -> np.ndarray:
        generator = np.random.default_rng((*self.seed, chunk))
        if self.sums is None:
            return generator.integers(self.size, size=count)
        return self._at(generator.random(count))

    def permuted(self, chunk: int, count: int) -> np.ndarray:
        first = chunk * count
        epochs = range(first // self.length, (first + count - 1) // self.length + 1)
        parts = []
        for epoch in epochs:
            whole = self._epoch(epoch)
            begin = max(0, first - epoch * self.length)
            parts.append(whole[begin : first + count - epoch * self.length])
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> np.ndarray:
        if self.last is None or self.last[0] != epoch:
            generator = np.random.default_rng((*self.seed, epoch))
            if self.sums is None:
                order = generator.permutation(self.size)
            else:  # equally spaced points on the cumulative weights: each weight is rounded down or up
                order = generator.permutation(self._at((generator.random() + np.arange(self.length)) / self.length))
            self.last = epoch, order.astype(np.int32)
        return self.last[1]

    def _at(self, shares: np.ndarray) -> np.ndarray:
        """Return the examples at which the cumulative weights reach these shares, from 0 to 1, of the total."""
        assert self.sums is not None
        found = np.searchsorted(self.sums, shares * self.sums[-1], side="right")
        return np.minimum(found, self.size - 1)  # rounding may reach the very end

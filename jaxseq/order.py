"""The order in which training sees its data: a pure function of a seed and of how far training has come.

Nothing needs to be stored for an exact resume but the number of chunks that were run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np


def chunk_length(steps: int, report_every: int, most: int) -> int:
    """Return how many train steps to run in one jitted chunk: the largest divisor of both that is at most `most`.

    Chunks of one length mean one compiled program for each data shape.

    Example:
      >>> chunk_length(1500, 100, 20), chunk_length(7, 100, 20)
      (20, 1)
    """
    common = math.gcd(steps, report_every)
    return max(d for d in range(1, min(common, most) + 1) if common % d == 0)


def chunks(
    sizes: Sequence[int], batch: int, steps: int, seed: int, *, start: int = 0, replacement: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(bucket, rows int32 [steps, batch])`` for ever, from chunk number `start` on.

    Every bucket gets chunks in proportion to its number of examples, evenly spread. Within a bucket the examples come
    in one random permutation after another, so that each is seen once before any is seen twice; with `replacement`
    each row is drawn anew.

    Example:
      >>> stream = chunks([3], batch=3, steps=1, seed=0)
      >>> [sorted(next(stream)[1][0].tolist()) for _ in range(2)]
      [[0, 1, 2], [0, 1, 2]]
    """
    total, taken, number = sum(sizes), [0] * len(sizes), 0
    while True:
        number += 1
        # the bucket that is furthest behind its share
        bucket = max(range(len(sizes)), key=lambda b: sizes[b] / total * number - taken[b])
        if number > start:
            draw = _drawn if replacement else _permuted
            rows = draw(sizes[bucket], taken[bucket], steps * batch, (seed, bucket))
            yield bucket, rows.astype(np.int32).reshape(steps, batch)
        taken[bucket] += 1


def _drawn(size: int, chunk: int, count: int, seed: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng((*seed, chunk)).integers(size, size=count)


def _permuted(size: int, chunk: int, count: int, seed: tuple[int, ...]) -> np.ndarray:
    first = chunk * count
    epochs = range(first // size, (first + count - 1) // size + 1)
    stream = np.concatenate([np.random.default_rng((*seed, epoch)).permutation(size) for epoch in epochs])
    return stream[first - epochs[0] * size :][:count]

"""Batches of pairs as token ids, in memory or on disk; the device gets one chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import order
from jaxseq.apps import buckets
from jaxseq.apps.parallel import check_batch
from jaxseq.apps.ragged import BLOCK, Ragged
from jaxseq.apps.settings import option
from jaxseq.apps.text import Bucket
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import Corpus
from jaxseq.devices import Devices
from jaxseq.notation import Array


class Batches(NamedTuple):
    """The training pairs in buckets of similar length.

    Fields:
      source: the sources of all training pairs.
      target: their targets.
      shapes: of each bucket, source and target tokens to which its pairs are padded.
      members: of each bucket, which pairs are in it.
      rows: of each bucket, pairs in a step.
      weights: of each bucket, how often its pairs are seen, relative to others; None for alike.
    """

    source: Ragged
    target: Ragged
    shapes: list[tuple[int, int]]
    members: list[np.ndarray]
    rows: list[int]
    weights: list[np.ndarray] | None

    @property
    def sizes(self) -> list[int]:
        """Return the number of pairs in each bucket."""
        return list(map(len, self.members))

    @property
    def steps(self) -> float:
        """Return the number of steps that see every pair once."""
        return sum(size / rows for size, rows in zip(self.sizes, self.rows, strict=True))

    @property
    def real(self) -> float:
        """Return the share of positions, of both sides, that hold a token; the rest is padding."""
        tokens = sum(int(side.starts[-1]) for side in (self.source, self.target))
        return tokens / sum(size * sum(shape) for size, shape in zip(self.sizes, self.shapes, strict=True))

    def summary(self) -> str:
        """Return one line about the buckets, and how much of them is padding."""
        each = "; ".join(
            f"{size:,} of up to {s} + {t} tokens, {rows} a step"
            for size, (s, t), rows in zip(self.sizes, self.shapes, self.rows, strict=True)
        )
        count = f"{len(self.sizes)} bucket{'s' * (len(self.sizes) > 1)}"
        return (
            f"training on {sum(self.sizes):,} pairs in {count}, {1 - self.real:.0%} of their positions padding: {each}"
        )

    def like(self, bucket: int, steps: int) -> tuple[Any, Any]:
        """Return the shapes of the result of `taken`; a program is compiled for them."""
        rows = self.rows[bucket]
        # the rows of all steps of a chunk side by side
        sides = tuple(jax.ShapeDtypeStruct((length, steps * rows), jnp.int32) for length in self.shapes[bucket])
        return sides, jax.ShapeDtypeStruct((steps, rows), jnp.int32)

    def chunks(
        self, steps: int, seed: int, *, start: int = 0, replacement: bool = False
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(bucket, rows [steps, rows])`` endlessly, as `jaxseq.order.chunks`."""
        return order.chunks(
            self.sizes, self.rows, steps, seed, start=start, replacement=replacement, weights=self.weights
        )

    def taken(self, bucket: int, rows: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Return ``(source [S, K B], target [T, K B])`` of a chunk's rows ``[K, B]``, and each row's place in these."""
        pairs = self.members[bucket][rows.ravel()].astype(np.int64)
        source, target = (
            side.padded(pairs, length)
            for side, length in zip((self.source, self.target), self.shapes[bucket], strict=True)
        )
        return (source, target), np.arange(rows.size, dtype=np.int32).reshape(rows.shape)

    def target_counts(self, size: int) -> Array:
        """Return how often each of `size` target tokens is predicted, EOS included."""
        tokens, counts = self.target.tokens, np.zeros(size, np.int64)
        for at in range(0, len(tokens), BLOCK):  # a copy of a memory-mapped array is not made whole
            counts += np.bincount(tokens[at : at + BLOCK], minlength=size)
        return jnp.asarray(counts.astype(np.int32))

    def some(self, most: int = 256) -> list[Bucket]:
        """Return at most this many pairs of each bucket, for measurements."""
        found = []
        for members, (s, t) in zip(self.members, self.shapes, strict=True):
            pairs = members[:most].astype(np.int64)
            found.append(Bucket(self.source.padded(pairs, s), self.target.padded(pairs, t), pairs))
        return found


def check_devices(config: TranslateConfig, devices: Devices) -> None:
    """Check that each device gets a row in every step, or with ``batch_tokens`` a token.

    Raises:
      InputError: naming the option that decides how large a batch is.
    """
    name = "batch_tokens" if config.batch_tokens else "batch"
    check_batch(option(name), getattr(config, name), devices)


def batches(config: TranslateConfig, corpus: Corpus, multiple: int = 1) -> Batches:
    """Return the batches of a corpus; the rows of each are a multiple of `multiple`, such as the number of devices."""
    source, target = corpus.numbers()
    return grouped(config, source, target, corpus.weights, multiple)


def grouped(
    config: TranslateConfig, source: Ragged, target: Ragged, weights: np.ndarray | None = None, multiple: int = 1
) -> Batches:
    """Return the batches of numbered pairs, in buckets of like length."""
    lengths = source.lengths, target.lengths
    at = buckets.bounds(*lengths, config.buckets)
    of = buckets.groups(*lengths, at)
    members = [np.flatnonzero(of == b).astype(np.int32) for b in range(len(at))]
    kept = [b for b, pairs in enumerate(members) if len(pairs)]
    # no longer than the longest pair in it, where bounds were cut at quantiles
    shapes = [tuple(int(side[members[b]].max()) for side in lengths) for b in kept]
    rows = [_rows(config, max(shape), multiple) for shape in shapes]
    return Batches(
        source, target, [(s, t) for s, t in shapes], [members[b] for b in kept], rows,
        None if weights is None else [weights[members[b]] for b in kept],
    )  # fmt: skip


def _rows(config: TranslateConfig, longest: int, multiple: int) -> int:
    rows = config.batch
    if config.batch_tokens:
        # each device has as many rows
        rows = max(1, config.batch_tokens // longest // multiple) * multiple
    return rows * config.accumulate

"""Problems: random sequences with targets, drawn without end.

A `Problem` is a value made of pure functions, returned by a function of its sizes. The same sizes give the same value,
so its compiled program is found again. Steps that need no memory are not scored: the loss of a cell that remembers goes
to 0, and without memory it stays at `Problem.baseline`.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.losses import cross_entropy, masked_mean
from jaxseq.notation import Array


class Batch(NamedTuple):
    """Sequences and their targets.

    Fields:
      xs: ``[T, B, D]``; one-hot if the problem has symbols.
      targets: ``[T, B]``, symbol indices or real numbers; 0 where not scored.
      mask: bool ``[T, B]``, True where a step is real.
      scored: bool ``[T, B]``, True where the output counts.
    """

    xs: Array
    targets: Array
    mask: Array
    scored: Array


class Problem(NamedTuple):
    """A problem, to train any cell on.

    Fields:
      name: the name with its sizes.
      input_size: D.
      output_size: features of the readout: one logit for each symbol, or one number.
      length: T.
      draw: ``(key, batch, dtype=float32) -> Batch`` of `batch` rows; consumes `key`.
      losses: ``(outputs [T, B, O], targets) -> [T, B]``: cross-entropy in nats, or the squared error.
      right: ``(outputs, targets) -> bool [T, B]``: the likeliest symbol is the target, or the error is below 0.04.
      baseline: the mean loss at the scored steps of the best memoryless output.
      symbols: names of the inputs, one character each; empty if inputs are numbers.
      reference: the publication that introduced it.
    """

    name: str
    input_size: int
    output_size: int
    length: int
    draw: Callable[..., Batch]
    losses: Callable[[Array, Array], Array]
    right: Callable[[Array, Array], Array]
    baseline: float
    symbols: str = ""
    reference: str = ""

    @property
    def kind(self) -> str:
        """The name without sizes: ``"copy"``."""
        return self.name.partition("(")[0]

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """Return the mean of the losses over the scored steps of all rows."""
        return masked_mean(self.losses(outputs, batch.targets), batch.scored)

    def accuracy(self, outputs: Array, batch: Batch) -> Array:
        """Return the share of scored steps that are right."""
        right = self.right(outputs, batch.targets) & batch.scored
        return masked_mean(right.astype(outputs.dtype), batch.scored)

    def solved(self, outputs: Array, batch: Batch) -> Array:
        """Return bool ``[B]``: whether every scored step of the row is right."""
        return (self.right(outputs, batch.targets) | ~batch.scored).all(0)


def of_symbols(
    name: str, T: int, draw: Callable[..., Batch], symbols: str, outputs: int, baseline: float, reference: str = ""
) -> Problem:
    """Return a problem whose inputs and targets are symbols."""
    return Problem(name, len(symbols), outputs, T, draw, cross_entropy, likeliest, baseline, symbols, reference)


def batch_of_symbols(
    seen: Array, size: int, targets: Array, scored: Array, dtype: Any, real: Array | None = None
) -> Batch:
    """Return the batch for symbol indices ``seen [T, B]``; all steps are real if `real` is None."""
    real = jnp.ones_like(scored) if real is None else real
    targets = jnp.where(scored, targets, jnp.zeros_like(targets))
    seen = jnp.where(real, seen, jnp.full_like(seen, -1))  # one_hot turns -1 into zeros
    return Batch(jax.nn.one_hot(seen, size, dtype=dtype), targets, real, scored)


def likeliest(outputs: Array, targets: Array) -> Array:
    """Return bool ``[T, B]``: whether the largest logit is the target's."""
    return outputs.argmax(-1).astype(targets.dtype) == targets


def step_numbers(T: int, batch: int) -> Array:
    """Return the number of each step, ``[T, B]``."""
    return jnp.broadcast_to(jnp.arange(T)[:, None], (T, batch))


def characters(count: int) -> str:
    """Return `count` different characters."""
    few = string.ascii_lowercase + string.ascii_uppercase + string.digits
    return few[:count] if count <= len(few) else "".join(chr(0x4E00 + k) for k in range(count))

"""What is studied: a cell with its parameters as it reads some sequences, and what is expected of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree


class Part(NamedTuple):
    """One cell reading B sequences of at most T steps: a layer of a model, or one of the cells being compared.

    Fields:
      name: what people call it: lstm, encoder.
      cell: the Cell.
      params: its parameters.
      xs: its inputs ``[T, B, D]``.
      mask: bool ``[T, B]``, padding at the end of a row, or None.
      carry: its first carry, or None.
      inputs: a label for each input, ``[B][T]``: a word, a date.
      predict: ``outs -> predictions [T, B, V]``: logits, or values. None where nothing is read from this cell.
      targets: int ``[T, B]`` for logits, ``[T, B, V]`` for values; None without predictions.
      scored: bool ``[T, B]``, the steps whose loss counts; None for all real ones.
      words: what each of V is called, for logits; empty for values.
      head: ``(W [H, V], b [V])`` where the prediction is ``h W + b`` and nothing else, so that a page can repeat it.
      weights: attention ``[T, B, S]``, and `source`: a label for each of its columns, ``[B][S]``.
      source: see weights.
      swaps: inputs that may stand in another's place, by label, each ``[D]``.
      history: ``(steps, losses)`` of its training.
      snapshots: ``{step: (params, predict)}`` kept in training, oldest first.
      scores: of the attention, taken apart: ``scores [T, B, S]``, its largest `parts` ``[T, B, S, K]`` and the `units`
        that gave them, by these names.
    """

    name: str
    cell: Cell
    params: Params
    xs: Tree
    mask: Array | None = None
    carry: Carry | None = None
    inputs: Sequence[Sequence[str]] = ()
    predict: Callable[[Tree], Array] | None = None
    targets: Array | None = None
    scored: Array | None = None
    words: Sequence[str] = ()
    head: tuple[Array, Array] | None = None
    weights: Array | None = None
    source: Sequence[Sequence[str]] = ()
    swaps: dict[str, Array] | None = None
    history: tuple[Sequence[float], Sequence[float]] = ((), ())
    snapshots: dict[int, Any] | None = None
    scores: dict[str, Any] | None = None

    def losses(self, outs: Tree) -> Array:
        """Return the loss of each step ``[T, B]``, 0 where none counts: cross entropy in nats, or squared error."""
        assert self.predict is not None and self.targets is not None
        predicted = self.predict(outs)
        if self.words:
            chosen = jnp.take_along_axis(jax.nn.log_softmax(predicted), self.targets[..., None], axis=-1)
            each = -chosen[..., 0]
        else:
            each = jnp.mean((predicted - self.targets) ** 2, axis=-1)
        counts = self.scored if self.scored is not None else self.mask
        return each if counts is None else jnp.where(counts, each, jnp.zeros_like(each))


def check_numbers(part: Part) -> None:
    """Check that the parameters are numbers.

    Raises:
      InputError: naming the first array that holds a NaN or an infinity.
    """
    for path, leaf in jax.tree.leaves_with_path(part.params):
        if (wrong := int((~jnp.isfinite(leaf)).sum())) > 0:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise InputError(
                f"{part.name}: {wrong} of {leaf.size} numbers in {name} are NaN or infinite, so there is nothing to "
                "study; train again with a lower learning rate"
            )

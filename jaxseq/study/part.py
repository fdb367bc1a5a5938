"""The subject of a study: a cell with its parameters as it reads some sequences, and its targets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.losses import cross_entropy
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.study._pooled import Batch
from jaxseq.study.checks import Run
from jaxseq.trees import named_leaves


class Part(NamedTuple):
    """One cell reading B sequences of at most T steps: a layer of a model, or one of the cells being compared.

    Fields:
      name: to show: lstm, encoder.
      cell: the Cell.
      params: its parameters.
      xs: its inputs ``[T, B, D]``.
      mask: bool ``[T, B]``, padding at the end of a row, or None.
      carry: the state to start from, or None.
      inputs: a label for each input, ``[B][T]``: a word, a date.
      predict: ``outs -> predictions [T, B, V]``: logits, or values. None if this cell has no readout.
      targets: int ``[T, B]`` for logits, ``[T, B, V]`` for values; None without predictions.
      scored: bool ``[T, B]``, the steps whose loss counts; None for all real ones.
      words: the names of the V logits; empty for values.
      head: ``(W [H, V], b [V])`` where the prediction is exactly ``h W + b``, so that a page can repeat it.
      weights: attention ``[T, B, S]``, and `source`: a label for each of its columns, ``[B][S]``.
      source: see weights.
      swaps: inputs that may replace another, by label, each ``[D]``.
      history: ``(steps, losses)`` of its training.
      snapshots: ``(steps, (params, predict))`` of its training, the pair with a leading axis for the steps; or with
        `remade` any tree of arrays instead of the pair.
      remade: ``snapshot -> the part as it was then``, where more changes in training than params and predict.
      scores: of the attention, taken apart: ``scores [T, B, S]``, its largest `parts` ``[T, B, S, K]`` and the `units`
        that gave them, by these names.
      reported: the loss of these sequences, all scored steps added up, as the model's own code computes it.
      corpus: more sequences, over which half-lives and saturation are taken; by default those of xs.
      own: whether the targets are what the model itself said, such as its translation: none of them is wrong then.
      lag: the steps over which something must be remembered; by default those of the longest sequence.
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
    snapshots: tuple[Sequence[int], Any] | None = None
    remade: Callable[[Any], Part] | None = None
    scores: dict[str, Any] | None = None
    reported: float | None = None
    corpus: Sequence[Batch] = ()
    lag: int | None = None
    own: bool = False

    @property
    def run(self) -> Run:
        """The arguments of `unroll`."""
        return Run(self.cell, self.params, self.xs, self.carry, self.mask)

    def start(self) -> Carry:
        """Return the state to start from, the cell's own where there is none."""
        rows = jax.tree.leaves(self.xs)[0].shape[1:-1]  # and places
        return self.cell.initial_carry(self.params, rows) if self.carry is None else self.carry

    def real(self) -> Array:
        """Return bool ``[T, B]``, the mask or all True."""
        return jnp.ones(jax.tree.leaves(self.xs)[0].shape[:2], bool) if self.mask is None else jnp.asarray(self.mask)

    def counted(self) -> Array:
        """Return bool ``[T, B]``, the steps whose loss counts."""
        return self.real() if self.scored is None else jnp.asarray(self.scored) & self.real()

    def forward(self) -> int:
        """Return about how many floating-point operations a run takes."""
        T, B = jax.tree.leaves(self.xs)[0].shape[:2]
        # a multiplication and an addition for each entry of each matrix; the rest is small
        return 2 * T * B * sum(a.size for a in jax.tree.leaves(self.params) if a.ndim == 2)

    def loss(self, carry: Carry, outs: Tree) -> Array:
        """Return the sum of all losses, given the results of `unroll`."""
        return self.losses(outs).sum()

    def losses(self, outs: Tree) -> Array:
        """Return the loss of each step ``[T, B]``, 0 where none counts: cross entropy in nats, or squared error."""
        assert self.predict is not None and self.targets is not None
        # [T, B, V]: logits of words, or values
        said = self.predict(outs)
        each = cross_entropy(said, self.targets) if self.words else jnp.mean((said - self.targets) ** 2, axis=-1)
        return jnp.where(self.counted(), each, jnp.zeros_like(each))


def layer_of(name: str) -> str:
    """Return the layer of a stack that a gate or a part of the carry is of: ``"0"``, in a stack of stacks ``"0.1"``.

    Example:
      >>> layer_of("1.c"), layer_of("0.1.f"), layer_of("c"), layer_of("decoder.0.attention.h")
      ('1', '0.1', '', '0')
    """
    words = itertools.dropwhile(lambda word: not word.isdigit(), name.split(".")[:-1])
    return ".".join(itertools.takewhile(str.isdigit, words))


def said_of(name: str) -> str:
    """Return the name of a gate or a part of the carry for readers: the layers of a stack are counted from 1.

    Example:
      >>> said_of("f"), said_of("0.r"), said_of("0.1.f"), said_of("h.0")
      ('f', 'layer 1: r', 'layer 1.2: f', 'h.0')
    """
    layer = layer_of(name)
    return f"layer {'.'.join(str(int(n) + 1) for n in layer.split('.'))}: {own_name(name)}" if layer else name


def own_name(name: str) -> str:
    """Return a gate or a part of the carry without its layer: ``"r"`` of ``"0.r"``."""
    layer = layer_of(name)
    return name[name.index(f"{layer}.") + len(layer) + 1 :] if layer else name


def check_numbers(name: str, params: Params) -> None:
    """Check that parameters are numbers; `name` says whose they are.

    Raises:
      InputError: naming the first array that holds a NaN or an infinity.
    """
    for array, leaf in named_leaves(params).items():
        if (wrong := int((~np.isfinite(np.asarray(leaf))).sum())) > 0:
            raise InputError(
                f"{name}: {wrong} of {leaf.size} numbers in {array} are NaN or infinite, so there is nothing to study; "
                "train again with a lower learning rate"
            )

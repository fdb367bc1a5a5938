"""The data of a part on a page before any view: its run, its predictions, and its program for live runs.

A stack has a subject for each of its layers: the units of one have nothing to do with those of another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from jaxseq._unroll import Trace, trace
from jaxseq.errors import InputError
from jaxseq.notation import Array
from jaxseq.study._constant import constant_map
from jaxseq.study._pooled import Batch, Pooled, pooled
from jaxseq.study._roles import roles_in
from jaxseq.study._saturation import ranges_in
from jaxseq.study.live import Live, live
from jaxseq.study.look import look_for
from jaxseq.study.memory import Keep, keeps_in
from jaxseq.study.part import Part, layer_of
from jaxseq.study.timelines import Show, by_half_life, by_likeness, show_seen
from jaxseq.trees import named_leaves

TOP = 5
"""Likeliest words kept at each step."""


class Outcome(NamedTuple):
    """The predictions of a part, and their losses.

    Fields:
      kind: "class" for words, "value" for numbers.
      targets: of each step; for values with an axis for their columns.
      scored: 1 where the loss counts.
      losses: of each step.
      predictions: values; None for words.
      ids: of the likeliest words; None for values.
      shares: their probabilities.
      own: whether the targets are what the model itself said.
    """

    kind: str
    targets: Annotated[np.ndarray, "T B ..."]
    scored: Annotated[np.ndarray, "T B"]
    losses: Annotated[np.ndarray, "T B"]
    predictions: Annotated[np.ndarray | None, "T B V"]
    ids: Annotated[np.ndarray | None, "T B K"]
    shares: Annotated[np.ndarray | None, "T B K"]
    own: bool


class Retained(NamedTuple):
    """The parts of a layer that one map multiplies at each step, without a gate that retains, such as an LRU's.

    Fields:
      leaves: the parts of the carry.
      moduli: the smallest and the largest of the map's eigenvalues.
      half_lives: the shortest and the longest, in steps.
    """

    leaves: list[str]
    moduli: tuple[float, float]
    half_lives: tuple[float, float]


class Same(NamedTuple):
    """The number of the part whose program runs this one as well: that of the first layer of the stack."""

    same: int


class Corpus(NamedTuple):
    """How many sequences half-lives and saturation are taken over, and how many steps these have."""

    sequences: int
    steps: int


class Subject(NamedTuple):
    """The data of a part, or of one of its layers, on the page. All views share it; a view's own data are in `views`.

    Fields:
      name: of the part, with the number of the layer where there are several.
      cell: the cell's name.
      T: steps; B: sequences; H: units.
      B: see T.
      H: see T.
      units: the numbers of the H units that are here.
      first: the number of the first step that is here.
      order: units, those that retain longest first.
      alike: units, those that move alike next to one another.
      lengths: real steps of each sequence.
      inputs: a label for each input.
      words: names of the logits.
      gates: by name; those of one number for each unit. Several axes, such as those of heads or places, are one here.
      carries: the states, likewise.
      others: the gates and states of another size than that, which are not shown, with their sizes.
      ranges: of each gate, the least and the most that it can be, or None.
      signed: gates that are not between 0 and 1.
      start: the state before the first step, None for the cell's own.
      keep: the gate that retains, and its part of the carry.
      retained: the parts that are retained without a gate, where no gate retains.
      pooled: over how much half-lives and saturation are taken.
      roles: the role that was found for each gate, one of `ROLES`.
      show: how the part of the carry that is retained is shown, where it is.
      outcome: of a part that predicts.
      live: the data to run the cell again, or the part that has them; None where `why` gives the reason.
      lines: the cell's equations.
      why: see live.
      why_text: the error, in a line.
      views: the data of each view by name; None where the part has no data for it.
      failed: by name the error of each view that could not be made.
    """

    name: str
    cell: str
    T: int
    B: int
    H: int
    units: Annotated[list[int], "H"]
    first: int
    order: Annotated[list[int], "O:H"]
    alike: Annotated[list[int], "A:H"]
    lengths: Annotated[list[int], "B"]
    inputs: Annotated[list[list[str]], "B T"]
    words: list[str]
    gates: Annotated[dict[str, np.ndarray], "T B H"]
    carries: Annotated[dict[str, np.ndarray], "T B H"]
    others: dict[str, list[int]]
    ranges: dict[str, tuple[float, float] | None]
    signed: list[str]
    start: Annotated[dict[str, np.ndarray] | None, "B H"]
    keep: Keep | None
    retained: Retained | None
    pooled: Corpus
    roles: dict[str, str]
    show: Show | None
    outcome: Outcome | None
    live: Live | Same | None
    lines: list[dict[str, Any]] | None
    why: str
    why_text: str
    views: dict[str, Any]
    failed: dict[str, str]


class Seen(NamedTuple):
    """The data that a view of a layer is gathered from.

    Fields:
      part: the part.
      subject: the layer as the page holds it.
      run: the part's run.
      gates: every named quantity of the layer.
      mask: bool ``[T, B]``.
      keep: the gate that retains.
      corpus: half-lives and saturation of all layers.
      leaves: the part of the carry of each layer that is shown first: the one that a gate retains.
      leaf: that of this layer.
      shared: results that a view has computed for all layers at once, by name.
      briefly: whether the views that run the cell many times are left out.
      score: ``(loss, accuracy)`` on data that the part was not trained on, where there is one.
    """

    part: Part
    subject: Subject
    run: Trace
    gates: dict[str, Any]
    mask: np.ndarray
    keep: Keep | None
    corpus: Pooled
    leaves: list[str]
    leaf: str
    shared: dict[str, Any]
    briefly: bool = False
    score: tuple[float, float | None] | None = None

    @property
    def between(self) -> list[str]:
        """The gates that are between 0 and 1."""
        return [name for name in self.subject.gates if name not in self.subject.signed]


class Layer(NamedTuple):
    """One layer of a part.

    Fields:
      H: its units.
      named: every named quantity.
      gates: by name, those that are one number for each unit, ``[T, B, H]``.
      carries: the same of parts of the carry.
      others: the sizes of all others.
      keep: the gate that retains, or None.
      leaf: the part of the carry that is shown first, the one that is retained or else the first.
    """

    H: int
    named: dict[str, Array]
    gates: dict[str, np.ndarray]
    carries: dict[str, np.ndarray]
    others: dict[str, list[int]]
    keep: Keep | None
    leaf: str


def look(
    part: Part, *, before: int = 0, briefly: bool = False, score: tuple[float, float | None] | None = None
) -> list[Seen]:
    """Run a part, and return for each of its layers the data from which views are gathered.

    Args:
      part: the part.
      before: the number of subjects that come before it on the page.
      briefly: as `Seen` has it.
      score: likewise.

    Raises:
      InputError: if it has no gate and no state of one number for each unit.
    """
    # params and xs are arguments: closed over they would be constants of the program, which XLA folds slowly
    _, seen = jax.jit(lambda params, xs: part.run._replace(params=params, xs=xs).through(trace))(part.params, part.xs)
    layers = _layers(part, named_leaves(seen.gates), named_leaves(seen.carries))
    batches = part.corpus or [Batch(part.xs, part.carry, part.mask)]
    corpus = pooled(part.cell, part.params, batches, gates=[name for layer in layers for name in layer.gates])
    whole = _whole(part, seen) | {"pooled": Corpus(corpus.sequences, corpus.steps)}
    roles = roles_in(part.cell, part.params, part.xs, part.carry)
    numbers = look_for(part.cell, part.params, part.xs, part.carry)
    ranges, mask = ranges_in(part.cell, part.params, part.xs, part.carry), np.asarray(part.real())
    start = {} if part.carry is None else named_leaves(part.carry)
    leaves: list[str] = [layer.leaf for layer in layers]
    # results that views of all layers use, such as one backward pass
    shared: dict[str, Any] = {}
    found = []
    for n, layer in enumerate(layers):
        keep, H = layer.keep, layer.H
        order = np.arange(H) if keep is None else by_half_life(corpus.half_lives[keep.gate])
        subject = Subject(**{
            **whole, "name": f"{part.name}, layer {n + 1}" if len(layers) > 1 else part.name,
            "H": H, "units": list(range(H)), "order": np.asarray(order).tolist(),
            "alike": by_likeness(_moving(layer), mask).tolist(),
            "gates": layer.gates, "carries": layer.carries, "others": layer.others,
            "ranges": {name: ranges[name] for name in layer.gates},
            "signed": [name for name in layer.gates if ranges[name] != (0.0, 1.0)],
            "start": {name: np.asarray(a).reshape(-1, H) for name, a in start.items() if name in layer.carries} or None,
            "keep": keep, "retained": None if keep else _retained(part, layer),
            "roles": {name: role for name, role in roles.items() if name in layer.gates},
            "show": show_seen(numbers, keep.leaf) if keep else None,
            "live": Same(before) if n and whole["live"] else whole["live"],  # one program runs all layers
        })  # fmt: skip
        found.append(Seen(
            part, subject, seen, layer.named, mask, keep, corpus, leaves, layer.leaf, shared, briefly, score
        ))  # fmt: skip
    return found


def _whole(part: Part, seen: Trace) -> dict[str, Any]:
    """Return the common data of all layers of a part: its sequences, predictions and program."""
    T, B = jax.tree.leaves(part.xs)[0].shape[:2]
    return {
        "cell": part.cell.name, "T": T, "B": B, "first": 0, "lengths": np.asarray(part.real()).sum(0).tolist(),
        "inputs": [list(row) for row in part.inputs] or [[str(t) for t in range(T)]] * B, "words": list(part.words),
        "outcome": _outcome(part, seen.outs), **live(part, seen), "views": {}, "failed": {},
    }  # fmt: skip


def _layers(part: Part, named: dict[str, Array], carries: dict[str, Array]) -> list[Layer]:
    """Return the layers of a part: one, or those of a stack.

    Raises:
      InputError: if it has no gate and no state of one number for each unit.
    """
    T, B = jax.tree.leaves(part.xs)[0].shape[:2]
    keeps = keeps_in(part.cell, part.params, part.xs, part.carry)
    found = []
    for layer in dict.fromkeys(map(layer_of, named or carries)):  # a state of tuples is not a stack: its gates say so
        gates, states = (
            {name: a for name, a in tree.items() if not layer or layer_of(name) == layer} for tree in (named, carries)
        )
        mine = [keep for keep in keeps if keep.gate in gates]
        H = _units([a.shape[2:] for a in (*gates.values(), *states.values())], [gates[k.gate].shape[2:] for k in mine])
        if not H:
            continue
        # quantities of other sizes, such as attention weights [T, B, S], have no unit to be drawn for
        ours, kept = (
            {name: np.asarray(a).reshape(T, B, H) for name, a in tree.items() if math.prod(a.shape[2:]) == H}
            for tree in (gates, states)
        )
        others = {name: list(a.shape[2:]) for name, a in {**states, **gates}.items() if name not in {**ours, **kept}}
        mine = [keep for keep in mine if keep.gate in ours]
        keep = next(iter(sorted(mine, key=lambda keep: keep.leaf not in kept)), None)  # stable: the first one
        leaf = keep.leaf if keep else next(iter(states or carries))
        found.append(Layer(H, gates, ours, kept, others, keep, leaf))
    if not found:
        raise InputError(f"study: {part.cell.name} has no gate and no state of one number a unit, so there is no page")
    return found


def _units(shapes: Sequence[tuple[int, ...]], keeping: Sequence[tuple[int, ...]]) -> int:
    """Return how many units a layer has, by the shapes of its quantities without time and batch; 0 without any.

    It is the commonest size of those with the fewest axes: gates of heads and places have more, a memory more again. A
    gate of one number for the layer has another size. But where all gates that retain have another, it is theirs.
    """
    fewest = min((len(shape) for shape in shapes if shape), default=0)
    sizes = [math.prod(shape) for shape in shapes if shape and len(shape) == fewest]
    # of several that are as common the first one
    H = max(sizes, key=sizes.count, default=0)
    kept = [math.prod(shape) for shape in keeping]
    return kept[0] if kept and H not in kept else H


def _moving(layer: Layer) -> np.ndarray:
    """Return the values by which units are compared: states, or gates where a unit has not one number of state."""
    kept = layer.carries or layer.gates
    values = np.asarray(kept.get(layer.leaf, next(iter(kept.values()))))
    return np.where(np.isfinite(values), values, 0)


def _retained(part: Part, layer: Layer) -> Retained | None:
    states = [*layer.carries, *(name for name in layer.others if name not in layer.gates)]
    found = constant_map(part.cell, part.params, part.xs, leaves=states)
    if found is None:
        return None
    ends = [(float(a.min()), float(a.max())) for a in (found.moduli, found.half_lives)]
    return Retained(list(found.leaves), *ends)


def _outcome(part: Part, outs: Any) -> Outcome | None:
    if part.predict is None or part.targets is None:
        return None
    said = part.predict(outs)
    targets, scored = np.asarray(part.targets), np.asarray(part.counted()).astype(int)
    losses = np.asarray(part.losses(outs))
    if not part.words:
        # without words there are numbers: no softmax
        return Outcome("value", targets, scored, losses, np.asarray(said), None, None, part.own)
    # the page needs the likeliest words alone: V may be thousands
    shares, ids = jax.lax.top_k(jax.nn.softmax(said), min(TOP, said.shape[-1]))
    return Outcome("class", targets, scored, losses, None, np.asarray(ids), np.asarray(shares), part.own)

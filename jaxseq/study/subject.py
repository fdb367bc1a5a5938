"""What a page holds of a part before any view: its run, what it predicts, and what runs it again in the page."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from jaxseq._unroll import Trace, trace
from jaxseq.errors import InputError
from jaxseq.study._saturation import ranges_in
from jaxseq.study.live import Live, live
from jaxseq.study.memory import Keep, half_life, keeps_in
from jaxseq.study.part import Part
from jaxseq.study.timelines import by_half_life
from jaxseq.trees import named_leaves

TOP = 5
"""Likeliest words kept at each step."""


class Outcome(NamedTuple):
    """What a part predicts, and what that costs.

    Fields:
      kind: "class" for words, "value" for numbers.
      targets: of each step; for values with an axis for their columns.
      scored: 1 where the loss counts.
      losses: of each step.
      predictions: values; None for words.
      ids: of the likeliest words; None for values.
      shares: their probabilities.
    """

    kind: str
    targets: Annotated[np.ndarray, "T B ..."]
    scored: Annotated[np.ndarray, "T B"]
    losses: Annotated[np.ndarray, "T B"]
    predictions: Annotated[np.ndarray | None, "T B V"]
    ids: Annotated[np.ndarray | None, "T B K"]
    shares: Annotated[np.ndarray | None, "T B K"]


class Subject(NamedTuple):
    """A part as its page holds it. Every view may use it; a view's own data are in `views`.

    Fields:
      name: of the part.
      cell: the cell's name.
      T: steps; B: sequences; H: units.
      B: see T.
      H: see T.
      units: the numbers of the H units that are here.
      first: the number of the first step that is here.
      order: units, those that retain longest first.
      lengths: real steps of each sequence.
      inputs: a label for each input.
      words: names of the logits.
      gates: by name; those of one number for each unit.
      carries: the states, likewise.
      ranges: of each gate, the least and the most that it can be, or None.
      signed: gates that are not between 0 and 1.
      start: the state before the first step, None for the cell's own.
      keep: the gate that retains, and what.
      words_of: the texts that name gates by what they were found to do.
      outcome: of a part that predicts.
      live: what runs the cell again; None where `why` says why not.
      lines: the cell's equations.
      why: see live.
      why_text: the error, in a line.
      views: by name the data of each view, None where the part has nothing of it.
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
    lengths: Annotated[list[int], "B"]
    inputs: Annotated[list[list[str]], "B T"]
    words: list[str]
    gates: Annotated[dict[str, np.ndarray], "T B H"]
    carries: Annotated[dict[str, np.ndarray], "T B H"]
    ranges: dict[str, tuple[float, float] | None]
    signed: list[str]
    start: Annotated[dict[str, np.ndarray] | None, "B H"]
    keep: Keep | None
    words_of: dict[str, str]
    outcome: Outcome | None
    live: Live | None
    lines: list[dict[str, Any]] | None
    why: str
    why_text: str
    views: dict[str, Any]
    failed: dict[str, str]


class Seen(NamedTuple):
    """What a view is gathered from.

    Fields:
      part: the part.
      subject: what the page holds of it.
      run: the part's run.
      gates: every named quantity of the run.
      mask: bool ``[T, B]``.
      keep: the gate that retains.
      score: ``(loss, accuracy)`` on data that the part was not trained on, where there is one.
    """

    part: Part
    subject: Subject
    run: Trace
    gates: dict[str, Any]
    mask: np.ndarray
    keep: Keep | None
    score: tuple[float, float | None] | None = None

    @property
    def between(self) -> list[str]:
        """The gates that are between 0 and 1."""
        return [name for name in self.subject.gates if name not in self.subject.signed]

    @property
    def leaf(self) -> str:
        """The part of the carry that is shown first: the one that a gate retains."""
        return self.keep.leaf if self.keep else next(iter(named_leaves(self.run.carries)))


def look(part: Part, score: tuple[float, float | None] | None = None) -> Seen:
    """Run a part, and return what its views are gathered from.

    Raises:
      InputError: if it has no gate and no state of one number for each unit.
    """
    _, seen = jax.jit(lambda params, xs: part.run._replace(params=params, xs=xs).through(trace))(part.params, part.xs)
    named, carries = named_leaves(seen.gates), named_leaves(seen.carries)
    T, B = jax.tree.leaves(part.xs)[0].shape[:2]
    widths = [a.shape[-1] for a in (*named.values(), *carries.values()) if a.ndim == 3]
    if not widths:
        raise InputError(f"study: {part.cell.name} has no gate and no state of one number a unit, so there is no page")
    H = max(set(widths), key=widths.count)
    one_a_unit = lambda found: {name: np.asarray(a) for name, a in found.items() if a.shape == (T, B, H)}  # noqa: E731
    gates, states = one_a_unit(named), one_a_unit(carries)
    ranges = ranges_in(part.cell, part.params, part.xs, part.carry)
    keeps = [keep for keep in keeps_in(part.cell, part.params, part.xs, part.carry) if keep.gate in gates]
    keep = next(iter(sorted(keeps, key=lambda keep: keep.leaf not in states)), None)  # stable: the first one
    mask = np.asarray(part.real())
    first = {} if part.carry is None else named_leaves(part.carry)
    order = np.arange(H) if keep is None else by_half_life(half_life(keep.of(named), part.real()))
    subject = Subject(
        name=part.name, cell=part.cell.name, T=T, B=B, H=H, units=list(range(H)), first=0,
        order=np.asarray(order).tolist(), lengths=mask.sum(0).tolist(),
        inputs=[list(row) for row in part.inputs] or [[str(t) for t in range(T)]] * B, words=list(part.words),
        gates=gates, carries=states, ranges={name: ranges[name] for name in gates},
        signed=[name for name in gates if ranges[name] != (0.0, 1.0)],
        start={name: np.asarray(a) for name, a in first.items() if a.shape == (B, H)} or None,
        keep=keep, words_of=_words_of(keep), outcome=_outcome(part, seen.outs), **live(part, seen),
        views={}, failed={},
    )  # fmt: skip
    return Seen(part, subject, seen, named, mask, keep, score)


def _words_of(keep: Keep | None) -> dict[str, str]:
    """Return the text that names the gate that retains or writes, by what it was found to do, not by its letter.

    Papers disagree: z retains in torch's GRU and writes in others, f writes in an MGU, and so does r in a LEM.
    """
    if keep is None or (keep.gate == "f" and not keep.inverted):  # a forget gate, as in an LSTM
        return {}
    does = "write" if keep.inverted else "retain"
    return {keep.gate: f"z_{does}" if keep.gate == "z" else does}


def _outcome(part: Part, outs: Any) -> Outcome | None:
    if part.predict is None or part.targets is None:
        return None
    said = part.predict(outs)
    targets, scored = np.asarray(part.targets), np.asarray(part.counted()).astype(int)
    losses = np.asarray(part.losses(outs))
    if not part.words:
        return Outcome("value", targets, scored, losses, np.asarray(said), None, None)
    shares, ids = jax.lax.top_k(jax.nn.softmax(said), min(TOP, said.shape[-1]))
    return Outcome("class", targets, scored, losses, None, np.asarray(ids), np.asarray(shares))

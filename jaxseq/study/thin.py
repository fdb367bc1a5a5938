"""Leave things out of a page that is too large, one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxseq.study.axes import take
from jaxseq.study.live import Live
from jaxseq.study.subject import Same, Subject
from jaxseq.study.views import ORDER, view

UNITS = 64
"""Units that are left where there are more."""

STEPS = 200
"""Steps that are left where there are more."""


class Thinning(NamedTuple):
    """One thing that may be left out.

    Fields:
      kind: names it: ``thin.KIND`` is its text.
      of: the part whose weights these are; empty for what concerns several parts.
      thin: makes the parts without it.
    """

    kind: str
    of: str
    thin: Callable[[list[Subject]], list[Subject]]


def thinnings(parts: list[Subject]) -> list[Thinning]:
    """Return everything that may be left out of a page, the least missed first, of things of one kind the largest.

    The weights with which the page opens are missed most of all weights. With units or steps left out, the page cannot
    run a cell, so that these go after all weights.
    """
    weights = [n for n, part in enumerate(parts) if isinstance(part.live, Live)]
    weights = sorted(weights[1:], key=lambda n: -_numbers(parts[n].live)) + weights[:1]
    of_parts = [Thinning("weights", _stack(parts[n]), partial(_without_weights, n)) for n in weights]
    lean = [name for name in ORDER if hasattr(view(name), "lean")]
    saved = {
        name: _numbers([p.views for p in parts]) - _numbers([p.views for p in _lean(name, parts)]) for name in lean
    }
    lean.sort(key=lambda name: -saved[name])
    return [
        *of_parts[:-1],
        *(Thinning(name, "", partial(_lean, name)) for name in lean),
        Thinning("examples", "", _each(_first_example)),
        *of_parts[-1:],
        *(Thinning(kind, "", _each(cut)) for kind, cut in NEED_NO_WEIGHTS.items()),
    ]


def fitted(parts: list[Subject], fits: Callable[[list[Subject], list[Thinning]], bool]) -> list[Thinning]:
    """Return what to leave out so that a page fits: everything, if even that is too large.

    One thing after another is left out until the page fits. A large one that goes late may have made room for others:
    each is put back if the page still fits, the most missed first.

    Args:
      parts: the parts of the page.
      fits: whether a page of these parts, with these things left out, is small enough.
    """
    left: list[Thinning] = []
    now = parts
    for one in thinnings(parts):
        if fits(now, left):
            break
        then = one.thin(now)
        # nothing to leave out of this kind: not named as left out
        if any(new is not old for new, old in zip(then, now, strict=True)):
            left, now = [*left, one], then
    for one in left[-2::-1]:
        others = [other for other in left if other is not one]
        # without all units and steps the page cannot run a cell
        runs = not any(other.kind in NEED_NO_WEIGHTS for other in others)
        if (one.kind != "weights" or runs) and fits(without(parts, others), others):
            left = others
    return left


def without(parts: list[Subject], left: list[Thinning]) -> list[Subject]:
    """Return parts without these things."""
    for one in left:
        parts = one.thin(parts)
    return parts


def _numbers(tree: Any) -> int:
    """Return how many numbers a tree of arrays holds."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def _stack(part: Subject) -> str:
    """Return the name of a part; of a layer, that of its stack."""
    return re.sub(r", layer \d+$", "", part.name)


def _without_weights(n: int, parts: list[Subject]) -> list[Subject]:
    """Return parts without the weights of one, which layers of its stack share."""
    shared = lambda k, live: k == n or (isinstance(live, Same) and live.same == n)  # noqa: E731
    return [part._replace(live=None, why="thinned") if shared(k, part.live) else part for k, part in enumerate(parts)]


def _lean(name: str, parts: list[Subject]) -> list[Subject]:
    """Return parts of which all but the first have the thin form of a view."""

    def thin(part: Subject) -> Subject:
        data = part.views.get(name)
        lean = None if data is None else view(name).lean(data)
        # a thin form may be equal to the whole one, as where there was nothing to leave out
        same = lean is data or _numbers(lean) == _numbers(data)
        return part if same else part._replace(views={**part.views, name: lean})

    return [*parts[:1], *map(thin, parts[1:])]


def _first_example(part: Subject) -> Subject:
    """Return a part with its first example only."""
    return part if part.B == 1 else take(part, "B", [0])._replace(B=1)


def _some_units(part: Subject) -> Subject:
    """Return a part with some units, evenly spread over the order of their half-lives."""
    if part.H <= UNITS:
        return part
    # spread over the half-lives: the longest and the shortest are both kept
    places = np.unique(np.linspace(0, part.H - 1, UNITS).round().astype(int))
    kept = sorted(part.order[place] for place in places)
    return take(part, "H", kept)._replace(H=len(kept))


def _last_steps(part: Subject) -> Subject:
    """Return a part with the last steps only."""
    T = part.T
    if T <= STEPS:
        return part
    # a ledger starts from the state before the steps that are left
    before = {leaf: a[T - STEPS - 1] for leaf, a in part.carries.items()}
    lengths = [max(1, n - T + STEPS) for n in part.lengths]
    # the last ones: predictions and losses are mostly at the end
    cut = take(part, "T", range(T - STEPS, T))
    return cut._replace(T=STEPS, first=part.first + T - STEPS, start=before, lengths=lengths)


def _each(thin: Callable[[Subject], Subject]) -> Callable[[list[Subject]], list[Subject]]:
    return lambda parts: [thin(part) for part in parts]


NEED_NO_WEIGHTS = {"units": _some_units, "steps": _last_steps}
"""Cuts after which the page cannot run a cell: it needs all units and the first state."""

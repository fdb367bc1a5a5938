"""Leave things out of a page that is too large, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxseq.study.axes import take
from jaxseq.study.subject import Same, Subject
from jaxseq.study.views import view

UNITS = 64
"""Units that are left where there are more."""

STEPS = 200
"""Steps that are left where there are more."""


def _without_weights(part: Subject) -> Subject:
    return part._replace(live=None, why="thinned") if part.live else part


def _one_with_weights(parts: list[Subject]) -> list[Subject]:
    """Return parts of which only the first that has them has its weights."""
    first = next((n for n, part in enumerate(parts) if part.live), None)
    # layers of one stack share the first layer's program
    kept = lambda n, live: n == first or (isinstance(live, Same) and live.same == first)  # noqa: E731
    return [part if kept(n, part.live) else _without_weights(part) for n, part in enumerate(parts)]


def _lean(part: Subject) -> Subject:
    """Return a part with the thin forms of its views."""
    views: dict[str, Any] = {
        name: view(name).lean(data) if data is not None and hasattr(view(name), "lean") else data
        for name, data in part.views.items()
    }
    return part._replace(views=views) if any(views[name] is not part.views[name] for name in views) else part


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
    # the page runs the cell from the state before the steps that are left
    before = {leaf: a[T - STEPS - 1] for leaf, a in part.carries.items()}
    lengths = [max(1, n - T + STEPS) for n in part.lengths]
    # the last ones: predictions and losses are mostly at the end
    cut = take(part, "T", range(T - STEPS, T))
    return cut._replace(T=STEPS, first=part.first + T - STEPS, start=before, lengths=lengths)


Thinning = Callable[[list[Subject]], list[Subject]]
"""A function that makes parts smaller."""


def _each(thin: Callable[[Subject], Subject]) -> Thinning:
    return lambda parts: [thin(part) for part in parts]


THINNINGS: tuple[tuple[str, Thinning], ...] = (
    ("others", _one_with_weights),
    ("extra", lambda parts: [*parts[:1], *map(_lean, parts[1:])]),
    ("examples", _each(_first_example)),
    ("live", _each(_without_weights)),
    ("units", _each(_some_units)),
    ("steps", _each(_last_steps)),
)
"""Steps of thinning by name, in the order in which they are taken: the least missed first."""

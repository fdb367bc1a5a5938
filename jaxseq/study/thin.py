"""What is left out of a page that is too large, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

UNITS = 64
"""Units that are left where there are more."""

STEPS = 200
"""Steps that are left where there are more."""


def _without_weights(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "live": None, "why": "thinned"} if part.get("live") else part


def _one_with_weights(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return parts of which only the first that has them has its weights."""
    first = next((n for n, part in enumerate(parts) if part.get("live")), None)
    kept = lambda n, part: n == first or _same_as(part) == first  # noqa: E731  (layers of one stack)
    return [part if kept(n, part) else _without_weights(part) for n, part in enumerate(parts)]


def _same_as(part: dict[str, Any]) -> int | None:
    """Return the number of the part whose weights are this part's as well, for a layer of a stack."""
    live = part.get("live")
    return live.get("same") if isinstance(live, dict) else None


def _without_extra(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part without what is drawn beyond its gates and gradients."""
    return {**part, "jacobian": None, "atlas": None, "flow": _line_only(part["flow"])}


def _line_only(flow: dict[str, Any] | None) -> dict[str, Any] | None:
    return {**flow, "triangle": None} if flow else flow


PER_EXAMPLE = ("gates", "carries", "predictions", "losses", "scored", "xs")


def _cut(a: Any, axis: int, keep: Any) -> Any:
    """Return an array with only some places of an axis; of a dict, of each array in it."""
    if isinstance(a, dict):
        return {name: _cut(one, axis, keep) for name, one in a.items()}
    return None if a is None else np.take(np.asarray(a), keep, axis)


def _first_example(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part with its first example only."""
    if part["B"] == 1:
        return part
    cut = {name: _cut(part[name], 1, [0]) for name in PER_EXAMPLE}
    cut["targets"] = _cut(part["targets"], 1, [0])
    cut["start"] = _cut(part["start"], 0, [0])
    if part["top"]:
        cut["top"] = _cut(part["top"], 1, [0])
    if part["flow"]:
        cut["flow"] = {**part["flow"], "norms": _cut(part["flow"]["norms"], 1, [0])}
        cut["flow"]["triangle"] = _cut(part["flow"]["triangle"], 0, [0])
    if part["live"] and _same_as(part) is None:
        first = {name: [_cut(a, 0, [0]) for a in part["live"][name]] for name in ("data", "start")}
        cut["live"] = {**part["live"], **first, "x": [_cut(a, 1, [0]) for a in part["live"]["x"]]}
    if part["attention"]:
        cut["attention"] = {
            **part["attention"],
            **{name: _cut(part["attention"][name], 1, [0]) for name in ("weights", "entropy")},
            "coverage": _cut(part["attention"]["coverage"], 0, [0]),
        }
        cut["attention"]["source"] = part["attention"]["source"][:1]
        for name in ("scores", "parts", "units"):
            cut["attention"].pop(name, None)
    lists = {name: part[name][:1] for name in ("lengths", "inputs") if part[name]}
    return {**part, **cut, **lists, "B": 1}


def _some_units(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part with some units, evenly spread over the order of their half-lives."""
    H = part["H"]
    if H <= UNITS:
        return part
    places = np.unique(np.linspace(0, H - 1, UNITS).round().astype(int))
    keep = np.sort(np.asarray(part["order"])[places])
    number = {int(unit): at for at, unit in enumerate(keep)}
    cut: dict[str, Any] = {name: _cut(part[name], 2, keep) for name in ("gates", "carries")}
    cut["order"] = [number[int(unit)] for unit in part["order"] if int(unit) in number]
    cut["start"] = _cut(part["start"], 1, keep)
    if part["half"]:
        cut["half"] = {
            **part["half"],
            **{name: _cut(part["half"][name], 0, keep) for name in ("life", "censored", "mean")},
        }
    cut["saturation"] = {
        g: {**s, **{name: _cut(s[name], 0, keep) for name in ("closed", "open")}} for g, s in part["saturation"].items()
    }
    if part["atlas"]:
        cut["atlas"] = {**part["atlas"], "change": _cut(part["atlas"]["change"], 2, keep)}
    return {**part, **cut, "H": len(keep), "numbers": keep.tolist()}


def _last_steps(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part with the last steps only."""
    T = part["T"]
    if T <= STEPS:
        return part
    keep = np.arange(T - STEPS, T)
    cut: dict[str, Any] = {name: _cut(part[name], 0, keep) for name in (*PER_EXAMPLE, "targets")}
    cut["start"] = {leaf: np.asarray(a)[T - STEPS - 1] for leaf, a in part["carries"].items()}
    cut["top"] = _cut(part["top"], 0, keep) if part["top"] else part["top"]
    if part["flow"]:
        cut["flow"] = {**part["flow"], "norms": _cut(part["flow"]["norms"], 0, keep), "triangle": None}
    if part["attention"]:
        cut["attention"] = {
            **part["attention"],
            **{name: _cut(part["attention"][name], 0, keep) for name in ("weights", "entropy")},
        }
        for name in ("scores", "parts", "units"):
            cut["attention"].pop(name, None)
    lists = {name: [row[-STEPS:] for row in part[name]] for name in ("inputs",) if part[name]}
    return {
        **part,
        **cut,
        **lists,
        "T": STEPS,
        "jacobian": None,
        "lengths": [max(1, n - T + STEPS) for n in part["lengths"]],
    }


Thinning = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
"""What makes parts smaller."""


def _each(thin: Callable[[dict[str, Any]], dict[str, Any]]) -> Thinning:
    return lambda parts: [thin(part) for part in parts]


THINNINGS: tuple[tuple[str, Thinning], ...] = (
    ("others", _one_with_weights),
    ("extra", lambda parts: [*parts[:1], *map(_without_extra, parts[1:])]),
    ("examples", _each(_first_example)),
    ("live", _each(_without_weights)),
    ("units", _each(_some_units)),
    ("steps", _each(_last_steps)),
)
"""What is left out of a page that is too large, one after the other."""

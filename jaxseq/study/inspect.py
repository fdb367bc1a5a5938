"""The study in a terminal: the text of each view, one after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxseq.colours import colour_maps
from jaxseq.study.collect import Study
from jaxseq.study.subject import Subject
from jaxseq.study.terminal import BARS, KINDS, LEFT, PLAIN, RIGHT, SHADES, Screen, folded, painted, row, ticks
from jaxseq.study.views import ORDER, view


def render(
    data: Study,
    *,
    width: int = 80,
    units: int = 6,
    example: int = 0,
    colours: int = 0,
    blocks: bool = True,
) -> str:
    """Return the data of `jaxseq.study.collect` as text, at most `width` columns wide.

    Args:
      data: from `collect`.
      width: columns; longer sequences are averaged.
      units: how many are shown, spread evenly over the order of their half-lives.
      example: which sequence.
      colours: 0, or how many a terminal has, 256 or more: gates are then coloured as on the page.
      blocks: whether there are block characters; else letters replace them.
    """
    shades, bars = (kind if blocks else PLAIN[kind] for kind in (SHADES, BARS))
    columns, maps = max(20, width - LEFT - RIGHT), colour_maps() if colours else {}
    screen = Screen(width, columns, 1, units, example, maps, colours, shades, bars)
    about = data.about
    lines = [*folded(about["title"], width), *folded(about["subtitle"], width), "", *_key(screen)]
    for part in data.parts:
        lines += ["", *_part(part, screen)]
    holding = sum(check["ok"] for check in data.checks)
    lines += ["", f"{holding} checks hold, parameters {about['hash']}"]
    return "\n".join(line.rstrip() for line in lines)


def facts(data: Study) -> dict[str, Any]:
    """Return the same numbers for programs, each part's as lists: a number for each unit, or ``[T][B]``."""
    return {"about": data.about, "parts": [_facts(part) for part in data.parts], "checks": data.checks}


def _facts(part: Subject) -> dict[str, Any]:
    known: dict[str, Any] = {name: getattr(part, name) for name in ("name", "cell", "H", "lengths", "inputs", "roles")}
    # a dict for JSON, None where no gate retains
    known["keep"] = part.keep and part.keep._asdict()
    known["retained_without_a_gate"] = part.retained and part.retained._asdict()
    known["pooled_over"] = part.pooled._asdict()
    for name in ORDER:
        if name in part.views and hasattr(view(name), "facts"):
            known |= view(name).facts(part, part.views[name])
    return _listed(known | ({"failed": part.failed} if part.failed else {}))


def _listed(value: Any) -> Any:
    """Return a tree with arrays as lists, and None for NaN and infinities, which JSON lacks."""
    if isinstance(value, dict):
        return {name: _listed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _listed(np.asarray(value).tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _key(screen: Screen) -> list[str]:
    """Return the legend of the characters."""
    gate, signed = ("".join(painted([v], kind, 1, screen) for v in np.linspace(0.1, 0.9, 5)) for kind in KINDS)
    rows = folded("a row for each unit, those that retain longest first", screen.width)
    return [f"gates 0 |{gate}| 1, candidates -1 |{signed}| 1", *rows]


def _part(part: Subject, screen: Screen) -> list[str]:
    b = min(screen.example, part.B - 1)
    T = part.lengths[b]
    # a short sequence is drawn wider, up to six columns a step
    screen = screen._replace(example=b, each=max(1, min(6, screen.columns // T)))
    which = f", sequence {b + 1} of {part.B}" if part.B > 1 else ""
    lines = folded(f"{part.name} ({part.cell}): {part.H} units, {T} steps{which}", screen.width)
    lines.append(row("", ticks(part.inputs[b][:T], screen.each, screen.columns)))
    for name in ORDER:
        if name in part.views and hasattr(view(name), "text"):
            lines += view(name).text(part, part.views[name], screen)
    lines += [line for name, why in part.failed.items() for line in folded(f"{name}: {why}", screen.width, "  ")]
    return lines

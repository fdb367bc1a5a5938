"""The study in a terminal: gates as blocks, half-lives, saturation and gradient norms."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxseq.colours import colour_maps
from jaxseq.study._drawing import label_of
from jaxseq.study.memory import Keep

SHADES = " ░▒▓█"
"""From 0, closed or forgotten, to 1, open or kept."""

BARS = "▁▂▃▄▅▆▇█"

PLAIN = {SHADES: " .:+#", BARS: "_.-=+*%#"}
"""What stands for them where there are no block characters."""

CUBE = (0, 95, 135, 175, 215, 255)
"""Red, green and blue as a terminal of 256 colours has them."""

KINDS = ("gate", "signed")
"""Values from 0 to 1, and from -1 to 1: colour maps."""

LEFT, RIGHT = 8, 8
"""Columns for units' numbers and for their half-lives."""


class _Screen(NamedTuple):
    """What can be shown: columns for time, so many colours of the page's maps, and characters."""

    columns: int
    maps: dict[str, list[str]]
    colours: int
    shades: str
    bars: str


def render(
    data: dict[str, Any],
    *,
    width: int = 80,
    units: int = 6,
    example: int = 0,
    colours: int = 0,
    blocks: bool = True,
) -> str:
    """Return what `jaxseq.study.collect` gathered as text, at most `width` columns wide.

    Args:
      data: from `collect`.
      width: columns; longer sequences are averaged.
      units: how many are shown, spread evenly over the order of their half-lives.
      example: which sequence.
      colours: 0, or how many a terminal has, 256 or more: gates are then coloured as on the page.
      blocks: whether there are block characters; else letters stand for them.
    """
    shades, bars = (kind if blocks else PLAIN[kind] for kind in (SHADES, BARS))
    screen = _Screen(max(20, width - LEFT - RIGHT), colour_maps() if colours else {}, colours, shades, bars)
    about = data["about"]
    lines = [*_folded(about["title"], width), *_folded(about["subtitle"], width), "", *_key(screen, width)]
    for part in data["parts"]:
        lines += ["", *_part(part, screen, units, min(example, part["B"] - 1), width)]
    lines += [*_side_by_side(data), "", f"{len(data['checks'])} checks hold, parameters {about['hash']}"]
    return "\n".join(line.rstrip() for line in lines)


def facts(data: dict[str, Any]) -> dict[str, Any]:
    """Return the same numbers for programs, each part's as lists: a number for each unit, or ``[T][B]``."""
    return {"about": data["about"], "parts": [_facts(part) for part in data["parts"]], "compare": data["compare"],
            "checks": data["checks"]}  # fmt: skip


def _facts(part: dict[str, Any]) -> dict[str, Any]:
    half, flow, jacobian = part["half"], part["flow"], part["jacobian"]
    known = {name: part[name] for name in ("name", "cell", "H", "lengths", "inputs", "keep", "losses")}
    found = {
        "half_life": half
        and {
            "steps": half["life"],
            "longer_than_seen": half["censored"],
            "mean": half["mean"],
            "lag": half["lag"],
            "units_that_outlast_it": half["outlast"],
        },
        "pooled_over": part["pooled"],
        "saturation": {g: {side: s[side] for side in ("closed", "open")} for g, s in part["saturation"].items()},
        "gradient_norms": flow and flow["norms"],
        "retained_without_a_gate": part["constant"],
        "held_gates": part["held"],
        "gradient_of_one_loss": flow and flow["lags"],
        "jacobian": jacobian and {name: jacobian[name] for name in ("steps", "radius", "singular", "lyapunov")},
    }
    return _listed({**known, **found})


def _listed(value: Any) -> Any:
    """Return a tree with arrays as lists, and None for what JSON cannot say: NaN and infinities."""
    if isinstance(value, dict):
        return {name: _listed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _listed(np.asarray(value).tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _key(screen: _Screen, width: int) -> list[str]:
    """Return what the characters mean."""
    gate, signed = ("".join(_painted([v], kind, 1, screen) for v in np.linspace(0.1, 0.9, 5)) for kind in KINDS)
    rows = _folded("a row for each unit, those that retain longest first", width)
    return [f"gates 0 |{gate}| 1, candidates -1 |{signed}| 1", *rows]


def _part(part: dict[str, Any], screen: _Screen, units: int, b: int, width: int) -> list[str]:
    T, H = part["lengths"][b], part["H"]
    each = max(1, min(6, screen.columns // T))  # columns of a step
    which = f", sequence {b + 1} of {part['B']}" if part["B"] > 1 else ""
    lines = _folded(f"{part['name']} ({part['cell']}): {H} units, {T} steps{which}", width)
    lines += [_row("", _ticks(part["inputs"][b][:T], each, screen.columns))]
    chosen = [part["order"][n] for n in np.unique(np.linspace(0, H - 1, min(units, H)).round().astype(int))]
    for gate, values in part["gates"].items():
        drawn = np.tanh(values[:T, b]) if gate.rpartition(".")[2] == "a" else values[:T, b]
        signed = gate in part["signed"]
        keeps = (part["keep"] or {}).get("gate") == gate
        lines.append(_title(part, gate, keeps))
        for unit in chosen:
            share = (drawn[:, unit] + 1) / 2 if signed else drawn[:, unit]
            life = _life(part["half"], unit) if keeps else ""
            painted = _painted(_fit(share, screen.columns), KINDS[signed], each, screen)
            lines.append(_row(str(unit), painted, life))
    return [*lines, *_gradients(part, b, each, screen), *_summary(part, b, width)]


def _row(name: str, body: str, note: str = "") -> str:
    return f"{name:>{LEFT - 1}} {body}{note:>{RIGHT}}"


def _title(part: dict[str, Any], gate: str, keeps: bool) -> str:
    if keeps and part["keep"]["inverted"]:
        return f"  {gate}  0 retains, 1 overwrites; half-life at the right"
    if keeps:
        return f"  {gate}  1 retains, 0 forgets; half-life at the right"
    return f"  {label_of(gate, [Keep(**part['keep'])] if part['keep'] else [])}"


def _life(half: dict[str, Any], unit: int) -> str:
    return f">{half['longest']}" if half["censored"][unit] else f"{float(half['life'][unit]):.3g}"


def _gradients(part: dict[str, Any], b: int, each: int, screen: _Screen) -> list[str]:
    lines = []
    for leaf, norms in ((part["flow"] or {}).get("norms") or {}).items():
        along = _fit(np.log10(np.maximum(np.asarray(norms)[: part["lengths"][b], b], 1e-30)), screen.columns)
        low, high = along.min(), along.max()
        bars = "".join(screen.bars[int(v * 7.999)] * each for v in (along - low) / max(high - low, 1e-9))
        lines += [f"  |dL/d{leaf}|, logarithmic from {10**low:.2g} to {10**high:.2g}", _row("", bars)]
    return lines


def _summary(part: dict[str, Any], b: int, width: int) -> list[str]:
    half = part["half"]
    over = f"{part['pooled']['sequences']} sequences, {part['pooled']['steps']} steps"
    found = [_without_gate(part["constant"])]
    if half:
        lives = zip(half["life"], half["censored"], strict=True)
        seen = [float(v) for v, censored in lives if not censored and math.isfinite(v)]
        said = [f"{min(seen):.3g} to {max(seen):.3g} steps"] if seen else []
        if count := sum(half["censored"]):
            said.append(f"longer than the {half['longest']} steps seen in {count} of {part['H']} units")
        found = [
            f"half-life: {'; '.join(said)}; {half['outlast']} of {part['H']} units outlast the lag of {half['lag']} "
            f"steps (over {over})"
        ]
    ends = [f"{g} {np.mean(s['closed']):.0%}, {np.mean(s['open']):.0%}" for g, s in part["saturation"].items()]
    if ends:
        found.append(f"saturation, below 0.1 and above 0.9: {'; '.join(ends)} (over {over})")
    found += _lags(part, b)
    if part["jacobian"]:
        radius, first = np.asarray(part["jacobian"]["radius"]), float(part["jacobian"]["lyapunov"][0])
        found.append(
            f"spectral radius of a step {radius.min():.3g} to {radius.max():.3g}, largest Lyapunov exponent of "
            f"sequence 1 {first:.{part['jacobian']['decimals']}f}: no gradient grows for long by more than "
            f"{math.exp(first):.3g} a step"
        )
    found += _held(part)
    if part["losses"] is not None:
        total = float(np.asarray(part["losses"])[: part["lengths"][b], b].sum())
        found.append(f"loss of this sequence {total:.4g}")
    return [line for one in found for line in _folded(one, width, "  ")]


def _lags(part: dict[str, Any], b: int) -> list[str]:
    """Return how the gradient of one loss changes with the lag, for each part of the carry."""
    lines = []
    for leaf, rows in ((part["flow"] or {}).get("lags") or {}).items():
        one = rows[b]
        if one["losses"]:
            word = {"steady": "within a factor of 10"}.get(one["word"], one["word"])
            lines.append(
                f"gradient of one loss: |dL/d{leaf}| times {math.exp(one['slope']):.3g} for each step further back "
                f"({math.exp(one['lowest']):.3g} to {math.exp(one['highest']):.3g} over {one['losses']} losses), for "
                f"up to {one['span']} steps: {word}"
            )
    return lines


def _held(part: dict[str, Any]) -> list[str]:
    """Return what holding each whole gate does to the loss; a change without a result is undefined."""
    if not part["held"]:
        return []
    said = [
        f"{gate} := {value:g} {f'{by:+.3g}' if math.isfinite(by) else 'undefined'}"
        for gate, effects in part["held"]["change"].items()
        for value, by in zip(part["held"]["values"], map(float, effects), strict=True)
    ]
    return [f"change of the loss of all sequences with all units of a gate held: {'; '.join(said)}"] if said else []


def _without_gate(constant: dict[str, Any] | None) -> str:
    if constant is None:
        return "no gate retains, so there is no half-life"
    low, high = ("inf" if v is None else f"{v:.3g}" for v in constant["half_lives"])
    smallest, largest = constant["moduli"]
    return (
        f"no gate retains; each step multiplies {', '.join(constant['leaves'])} by the same map, with eigenvalues of "
        f"modulus {smallest:.3g} to {largest:.3g}: half-lives of {low} to {high} steps"
    )


def _side_by_side(data: dict[str, Any]) -> list[str]:
    """Return the scores of models for the same problem, one on each line."""
    if not data["compare"]:
        return []
    rows = zip(data["parts"], *(data["compare"][name] for name in ("parameters", "loss", "accuracy")), strict=True)
    head = f"{'on new data':<16}{'parameters':>11}{'loss':>9}{'accuracy':>10}"
    return ["", head, *(f"{p['name']:<16}{n:>11}{loss:>9.4f}{right:>10.0%}" for p, n, loss, right in rows)]


def _fit(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many values, means of neighbours where there are more."""
    if len(values) <= most:
        return values
    edges = np.linspace(0, len(values), most + 1).round().astype(int)
    return np.array([values[a:b].mean() for a, b in itertools.pairwise(edges)])


def _painted(share: Sequence[float] | np.ndarray, kind: str, each: int, screen: _Screen) -> str:
    """Return values of 0 to 1 as shades, or as full blocks in the colours of the page, each so many columns wide."""
    levels = np.clip(np.nan_to_num(np.asarray(share)), 0, 1)
    if not screen.colours:
        return "".join(screen.shades[min(4, int(v * 5))] * each for v in levels)
    of = screen.maps[kind]
    runs = itertools.groupby(_escape(of[round(float(v) * (len(of) - 1))], screen.colours) for v in levels)
    return "".join(f"{escape}{screen.shades[-1] * each * len(list(run))}" for escape, run in runs) + "\x1b[0m"


def _escape(colour: str, colours: int) -> str:
    """Return the escape sequence of a hex colour, or of the nearest one that a terminal of 256 colours has."""
    shades = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    if colours > 256:
        return f"\x1b[38;2;{shades[0]};{shades[1]};{shades[2]}m"
    red, green, blue = (min(range(6), key=lambda n: abs(CUBE[n] - shade)) for shade in shades)
    return f"\x1b[38;5;{16 + 36 * red + 6 * green + blue}m"


def _ticks(labels: Sequence[str], each: int, columns: int) -> str:
    """Return as many labels as have room, each beginning where its step does."""
    line, end = "", 0
    for n, label in enumerate(labels):
        at = n * each * min(1, columns / (each * len(labels)))
        shown = _seen(label)
        if at < end or at + _wide(shown) > columns:
            continue
        line += " " * (int(at) - _wide(line)) + shown
        end = int(at) + _wide(shown) + (1 if len(shown) > 1 else 0)
    return line


def _folded(text: str, width: int, margin: str = "") -> list[str]:
    """Return a text in lines of at most `width` columns, four at most; the rest is cut."""
    lines, line = [], margin
    for word in _seen(text).split(" "):
        for piece in _pieces(word, width - len(margin)):
            if line.strip() and _wide(line) + 1 + _wide(piece) > width:
                lines.append(line)
                line = margin
            line = f"{line} {piece}" if line.strip() else line + piece
    lines = [*lines, line] if line.strip() else lines
    return lines if len(lines) <= 4 else [*lines[:3], _pieces(lines[3], width - 1)[0] + "…"]


def _pieces(word: str, width: int) -> list[str]:
    """Return a word in pieces of at most so many columns."""
    pieces = [""]
    for c in word:
        if _wide(pieces[-1] + c) > width:
            pieces.append("")
        pieces[-1] += c
    return pieces


def _seen(text: str) -> str:
    """Return a text without what would move a terminal's cursor or turn a line around."""
    return "".join(c if c.isprintable() else "·" for c in text)


def _wide(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

"""The study in a terminal: gates as blocks, half-lives, saturation and gradient norms."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

SHADES = " ░▒▓█"
"""From 0, closed or forgotten, to 1, open or kept."""

BARS = "▁▂▃▄▅▆▇█"


def render(data: dict[str, Any], *, width: int = 72, units: int = 10, example: int = 0) -> str:
    """Return what `jaxseq.study.collect` gathered as text, at most `width` columns and a margin wide.

    Args:
      data: from `collect`.
      width: columns for time; longer sequences are averaged.
      units: how many are shown, spread evenly over the order of their half-lives.
      example: which sequence.
    """
    about = data["about"]
    lines = [about["title"], about["subtitle"]] if about["subtitle"] else [about["title"]]
    for part in data["parts"]:
        lines += ["", *_part(part, width, units, min(example, part["B"] - 1))]
    bad = [check for check in data["checks"] if not check["ok"]]
    lines += ["", f"{len(data['checks']) - len(bad)} of {len(data['checks'])} checks hold, parameters {about['hash']}"]
    lines += [f"fails: {c['id']} ({c['part']}): error {c['error']:.3g}, allowed {c['tolerance']:.3g}" for c in bad]
    return "\n".join(line.rstrip() for line in lines)


def _part(part: dict[str, Any], width: int, units: int, b: int) -> list[str]:
    T, H = part["lengths"][b], part["H"]
    lines = [f"{part['name']} ({part['cell']}): {H} units, {T} steps"]
    lines += _folded("input", " ".join(part["inputs"][b][:T]), width + 8)
    chosen = [part["order"][n] for n in np.unique(np.linspace(0, H - 1, min(units, H)).round().astype(int))]
    half = part["half"]
    for name, values in part["gates"].items():
        drawn = np.tanh(values[:T, b]) if name == "a" else values[:T, b]
        signed = name in part["signed"]
        lines.append(f"  {_title(part, name)}{', -1 to 1' if signed else ''}")
        for unit in chosen:
            share = (drawn[:, unit] + 1) / 2 if signed else drawn[:, unit]
            life = "" if half is None else _life(half, unit, max(part["lengths"]))
            lines.append(f"  {unit:>5} {_blocks(share, width)}  {life}")
    lines += _summary(part, b, width)
    return lines


def _title(part: dict[str, Any], gate: str) -> str:
    keep = part["keep"]
    if keep and gate == keep["gate"]:
        return (
            f"{gate}: {'1 writes, 0 retains' if keep['inverted'] else '1 retains'}; at the right each unit's half-life"
        )
    return gate


def _life(half: dict[str, Any], unit: int, longest: int) -> str:
    return f">{longest}" if half["censored"][unit] else f"{float(half['life'][unit]):.3g}"


def _summary(part: dict[str, Any], b: int, width: int) -> list[str]:
    lines = []
    half = part["half"]
    if half is None:
        lines.append("  no gate retains: no half-life")
    else:
        longest, seen = (
            max(part["lengths"]),
            [float(v) for v, c in zip(half["life"], half["censored"], strict=True) if not c],
        )
        spread = f"{min(seen):.3g} to {max(seen):.3g} steps" if seen else "none within the sequence"
        lines.append(f"  half-life: {spread}; {sum(half['censored'])} of {part['H']} units longer than {longest}")
    for gate, at in part["saturation"].items():
        closed, opened = (float(np.mean(at[side])) for side in ("closed", "open"))
        lines.append(f"  {gate}: {closed:.0%} of values below 0.1, {opened:.0%} above 0.9")
    for leaf, norms in ((part["flow"] or {}).get("norms") or {}).items():
        along = np.asarray(norms)[: part["lengths"][b], b]
        logs = np.log10(np.maximum(along, 1e-30))
        low, high = logs.min(), logs.max()
        bars = "".join(BARS[int(v)] for v in _fit((logs - low) / max(high - low, 1e-9), width) * 7.999)
        lines.append(f"  |dL/d{leaf}| {bars}  {10**low:.2g} to {10**high:.2g}, logarithmic")
    if part["losses"] is not None:
        total = float(np.asarray(part["losses"])[: part["lengths"][b], b].sum())
        lines.append(f"  loss of this sequence {total:.4g}")
    return lines


def _fit(values: np.ndarray, width: int) -> np.ndarray:
    """Return at most `width` values, means of neighbours where there are more."""
    if len(values) <= width:
        return values
    edges = np.linspace(0, len(values), width + 1).round().astype(int)
    return np.array([values[a:b].mean() for a, b in itertools.pairwise(edges)])


def _blocks(share: np.ndarray, width: int) -> str:
    return "".join(SHADES[min(len(SHADES) - 1, int(v * len(SHADES)))] for v in np.clip(_fit(share, width), 0, 1))


def _folded(name: str, text: str, most: int) -> list[str]:
    shown = "".join(c if c.isprintable() else "·" for c in text)  # marks that turn a line around stay out
    return [f"  {name}: {shown if len(shown) <= most else shown[: most - 1] + '…'}"]

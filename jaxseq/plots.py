"""Plots: ``(data, ax=None) -> Axes``. They know NumPy arrays and matplotlib, and choose no backend."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.ft2font import FT2Font

from jaxseq.errors import InputError, choose
from jaxseq.files import write_atomic

GATE_LABELS = {
    "i": "i  input gate (write)",
    "f": "f  forget gate (retain)",
    "g": "g  candidate",
    "o": "o  output gate (show)",
    "r": "r  reset gate",
    "z": "z  update gate (retain)",
    "n": "n  candidate",
    "a": "a  pre-activation",
}
"""What each gate is called in plots; z never stands bare, since papers disagree on its sign."""


def loss_curve(
    steps: Sequence[int],
    losses: Sequence[float],
    validation: Sequence[float | None] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw training loss, and validation loss where there is one, over steps, on a logarithmic scale."""
    ax = _axes(ax, (6, 3.6))
    ax.plot(steps, losses, label="training")
    checked = [(s, v) for s, v in zip(steps, validation or [], strict=False) if v is not None]
    if checked:
        ax.plot(*zip(*checked, strict=True), label="validation")
        ax.legend(frameon=False)
    ax.set(xlabel="step", ylabel="loss", yscale="log")
    ax.grid(alpha=0.3, which="both")
    return ax


def forecast(
    times: Sequence[Any], actual: np.ndarray, split: int, lines: Mapping[str, np.ndarray], ax: Axes | None = None
) -> Axes:
    """Draw a series ``[T]``, the place where its test part begins, and forecasts of that part ``[T - split]``."""
    ax = _axes(ax, (9, 4))
    ax.plot(times[: split + 1], actual[: split + 1], color="0.35", label="training part")
    ax.plot(times[split:], actual[split:], color="black", label="test part")
    for name, values in lines.items():
        ax.plot(times[split:], values, linewidth=1.5, label=name)
    ax.axvline(times[split], color="0.7", linewidth=1, linestyle=":")
    ax.legend(frameon=False)
    ax.grid(alpha=0.3)
    return ax


def attention_map(weights: np.ndarray, source: Sequence[str], target: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw attention ``[target, source]``, 0 to 1: source words on top, target words down the side, upright.

    Words whose characters no installed font has are numbered, and a legend gives their code points.

    Raises:
      InputError: if the weights do not have a row for each target word and a column for each source word.
    """
    weights = np.asarray(weights)
    if weights.shape != (len(target), len(source)):
        raise InputError(
            f"attention_map: weights must be [target, source] = ({len(target)}, {len(source)}); got {weights.shape}"
        )
    font = font_for("".join([*source, *target]))
    numbered = _numbered(source, target) if font is None else (list(source), list(target), [])
    shown_source, shown_target, legend = numbered
    with _drawn_with(font):
        ax = _axes(ax, (1.6 + 0.5 * len(source), 1.2 + 0.45 * len(target)))
        image = ax.imshow(weights, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        ax.set_xticks(range(len(source)), shown_source)
        ax.set_yticks(range(len(target)), shown_target)
        for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
            label.set_fontproperties(font_manager.FontProperties(family=mpl.rcParams["font.family"]))
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.figure.colorbar(image, ax=ax, fraction=0.04, pad=0.03)
        if legend:
            ax.set_xlabel("\n".join(legend), fontsize="small", loc="left")
    return ax


def gates(traced: Mapping[str, np.ndarray], steps: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw gates ``{name: [T, H]}`` as heat maps in one Axes, stacked: units down, time across.

    Gates are 0 (closed, erase) to 1 (open, keep); candidates are -1 to 1 and drawn scaled to the same colours.
    `steps` labels the time axis.
    """
    blocks = {name: np.asarray(values) for name, values in traced.items()}
    T, H = next(iter(blocks.values())).shape
    signed = {"g", "n", "a"}
    scaled = [
        (np.tanh(v) + 1) / 2 if name == "a" else (v + 1) / 2 if name in signed else v for name, v in blocks.items()
    ]
    font = font_for("".join(steps)) if steps else None
    shown = list(steps) if steps else []
    if steps and font is None:
        shown, _, _ = _numbered(steps, [])
    gap = max(1, H // 16)
    picture = np.full((len(blocks) * (H + gap) - gap, T), np.nan)
    for row, values in enumerate(scaled):
        picture[row * (H + gap) : row * (H + gap) + H] = values.T
    with _drawn_with(font):
        ax = _axes(ax, (max(5.0, 0.45 * T + 2.5), 1.1 * len(blocks) + 1))
        image = ax.imshow(picture, vmin=0, vmax=1, cmap="cividis", aspect="auto", interpolation="nearest")
        ax.set_yticks([row * (H + gap) + (H - 1) / 2 for row in range(len(blocks))])
        ax.set_yticklabels([GATE_LABELS.get(name, name) + (" (-1 … 1)" if name in signed else "") for name in blocks])
        if shown:
            ax.set_xticks(range(T), shown)
        else:
            ax.set_xlabel("time step")
        ax.tick_params(length=0)
        ax.figure.colorbar(image, ax=ax, fraction=0.04, pad=0.03)
    return ax


def save(ax: Axes, path: Path | str) -> None:
    """Write the figure that `ax` is in: PNG, PDF or SVG by the name's suffix, whole or not at all.

    Raises:
      InputError: for another suffix, or where it cannot be written.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    choose("picture format", kind, {"png": 1, "pdf": 1, "svg": 1})
    into = io.BytesIO()
    figure = ax.figure.figure  # of a subfigure, the whole
    figure.savefig(into, format=kind, dpi=150, bbox_inches="tight")
    plt.close(figure)
    write_atomic(path, into.getvalue())


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return ax if ax is not None else plt.subplots(figsize=size, layout="constrained")[1]


def _drawn_with(font: str | None) -> AbstractContextManager[Any]:
    return mpl.rc_context({"font.family": [font]}) if font else nullcontext()


def font_for(text: str) -> str | None:
    """Return the name of an installed font that has every character of `text`: the current one if it does.

    Where there is none, None, and one warning that says what to install.
    """
    needed = frozenset(map(ord, text)) - {32, 10}
    default = font_manager.findfont(font_manager.FontProperties(family=mpl.rcParams["font.family"]))
    if needed <= _characters(default):
        return font_manager.FontProperties(fname=default).get_name()
    name = _covering(needed)
    if name is None:
        warnings.warn(
            "no installed font has all of these characters, so words are numbered in the picture. Install one, for "
            "example fonts-wqy-microhei (Debian, Ubuntu) or Noto Sans CJK (any system), and draw again",
            stacklevel=3,
        )
    return name


@functools.cache
def _covering(needed: frozenset[int]) -> str | None:
    fonts = sorted(
        font_manager.fontManager.ttflist, key=lambda f: (f.style != "normal", str(f.weight) != "400", f.name)
    )
    return next((f.name for f in fonts if needed <= _characters(f.fname)), None)


@functools.cache
def _characters(file: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font file that cannot be read covers nothing
        return frozenset()


def chinese_fonts() -> list[str]:
    """Return the names of installed fonts that have common Chinese characters."""
    common = frozenset(map(ord, "我你他的是不了人在有"))
    return sorted({f.name for f in font_manager.fontManager.ttflist if common <= _characters(f.fname)})


def _numbered(source: Sequence[str], target: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return labels with numbers for words that the current font lacks, and a legend of their code points."""
    has = _characters(font_manager.findfont(font_manager.FontProperties(family=mpl.rcParams["font.family"])))
    missing = list(dict.fromkeys(w for w in (*source, *target) if not frozenset(map(ord, w)) - {32} <= has))
    number = {word: f"[{n}]" for n, word in enumerate(missing, 1)}
    legend = [f"{n} = {' '.join(f'U+{ord(c):04X}' for c in word)}" for word, n in number.items()]
    return [number.get(w, w) for w in source], [number.get(w, w) for w in target], legend

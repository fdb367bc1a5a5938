"""Plots: ``(data, ax=None) -> Axes``. They take NumPy arrays, draw with matplotlib, and choose no backend."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, YAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from jaxseq.colours import colour_map
from jaxseq.errors import InputError, choose, shortened
from jaxseq.files import write_atomic
from jaxseq.fonts import characters, codes, default_font, font_for, pinyin
from jaxseq.texts import printable

LONGEST = 80
"""Largest number of characters of a separate text in a figure; the middle of a longer one is left out."""
PAD = "<pad>"
"""The padding token; not drawn."""


def loss_curve(
    steps: Sequence[int],
    losses: Sequence[float],
    validation: Sequence[float | None] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the training loss, and the validation loss where it was measured (else None or NaN).

    The scale is logarithmic where the losses are positive and span more than a factor of four.

    Raises:
      InputError: if the sequences differ in length.
    """
    for name, values in (("losses", losses), ("validation", validation)):
        if values is not None and len(values) != len(steps):
            raise InputError(f"loss_curve: {name} must have one value a step: expected {len(steps)}, got {len(values)}")
    ax = axes_of(ax, (6, 3.6))
    marker = "o" if len(steps) == 1 else ""  # a line through one point cannot be seen
    ax.plot(steps, losses, label="training", marker=marker)
    measured = np.array([] if validation is None else validation, float)  # None becomes NaN
    kept = np.flatnonzero(np.isfinite(measured))
    if len(kept):
        ax.plot(np.asarray(steps)[kept], measured[kept], label="validation", marker="o", markersize=3)
        ax.legend(frameon=False)
    ax.set(xlabel="step", ylabel="loss")
    drawn = np.array([*losses, *measured], float)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) and 0 < 4 * drawn.min() < drawn.max():
        log_axis(ax.yaxis)
    ax.grid(alpha=0.3, which="both")
    return ax


def forecast(
    times: Sequence[Any],
    actual: np.ndarray,
    split: int,
    lines: Mapping[str, np.ndarray],
    ax: Axes | None = None,
    *,
    name: str | None = None,
) -> Axes:
    """Draw a series ``[T]``, the start of its test part, and forecasts of that part ``[T - split]``.

    `name` labels the values, in any script.

    Raises:
      InputError: if lengths do not fit, or no test part is left.
    """
    T = len(actual)
    if len(times) != T or not 0 < split < T:
        raise InputError(
            f"forecast: expected a time for each value and a split inside; got {len(times)} times, {T} values, "
            f"split {split}"
        )
    for line, values in lines.items():
        if len(values) != T - split:
            raise InputError(
                f"forecast: {line!r} must cover the test part: expected {T - split} values, got {len(values)}"
            )
    ax = axes_of(ax, (9, 4))
    ax.plot(times[: split + 1], actual[: split + 1], color="0.55", label="training part")
    ax.plot(times[split:], actual[split:], color="black", label="test part", linewidth=2)
    for line, values in lines.items():
        ax.plot(times[split:], values, linewidth=1.3, label=line)
    ax.axvline(times[split], color="0.5", linewidth=1, linestyle=":")
    if name:
        dress_texts([ax.set_ylabel(name)])
    dress_texts(ax.legend(frameon=False, fontsize="small").get_texts())
    ax.grid(alpha=0.3)
    return ax


def attention_map(weights: np.ndarray, source: Sequence[str], target: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw attention ``[target, source]``, 0 to 1: source words on top, target words down the side.

    ``<pad>`` and its weights are not drawn. Chinese that no installed font covers is written in pinyin; other words
    without a font, and Chinese if pypinyin is not installed, are numbered, and a legend below gives their code points.

    Raises:
      InputError: if the weights do not have a row for each target word and a column for each source word.
    """
    weights = np.asarray(weights, np.float64)
    if weights.shape != (len(target), len(source)):
        raise InputError(
            f"attention_map: weights must be [target, source] = ({len(target)}, {len(source)}); got {weights.shape}"
        )
    across, down = ([n for n, word in enumerate(side) if word != PAD] for side in (source, target))
    if not (across and down):
        raise InputError("attention_map: there is no word to draw on one side; expected at least <eos>")
    source, target = [source[n] for n in across], [target[n] for n in down]
    numbers: dict[str, str] = {}
    on_top, at_side = ([_readable(word, numbers) for word in words] for words in (source, target))
    column, turned = _column([text for text, _ in on_top])
    side = 0.09 * max(_width(text) for text, _ in at_side)
    ax = axes_of(ax, (1.5 + side + column * len(source), 1.2 + 0.36 * len(target)))
    image = ax.imshow(weights[np.ix_(down, across)], vmin=0, vmax=1, cmap=colour_map("size"), aspect="auto")
    ax.xaxis.tick_top()  # before the words: each side of an axis has its own labels
    _name_cells(ax.xaxis, on_top, turned)
    _name_cells(ax.yaxis, at_side)
    ax.tick_params(length=0)
    if numbers:
        ax.set_xlabel(_legend(numbers), fontsize="small", loc="left")
    ax.figure.colorbar(image, ax=ax, fraction=0.04, pad=0.03)
    return ax


def gates(
    traced: Mapping[str, np.ndarray],
    steps: Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    unit_order: Sequence[int] | None = None,
    labels: Mapping[str, str] | None = None,
    signed: Collection[str] = (),
) -> Axes:
    """Draw gates ``{name: [T, H]}`` as heat maps stacked in one Axes: time across, units down.

    Gates are 0 (closed, erase) to 1 (open, keep) on one colour map, candidates -1 to 1 on another that is white at
    0; the pre-activation ``a`` of a plain RNN, and any quantity beyond 1, is drawn as its tanh. `steps` labels the time
    axis; `unit_order` gives the units to draw, in order (the same in every gate), and their numbers are on the right.
    `labels` default to the names; since a letter does not say what a gate does, `jaxseq.study.roles_of` finds better
    ones. Quantities with a negative value, and those named in `signed`, are drawn as candidates. The Axes holds one
    image per gate, in order.

    Raises:
      InputError: if the arrays are not ``[T, H]`` of one shape, or `steps` or `unit_order` do not fit them.
    """
    blocks = {name: np.asarray(values, np.float64) for name, values in traced.items()}
    shapes = {name: values.shape for name, values in blocks.items()}
    if not blocks or len(set(shapes.values())) > 1 or any(v.ndim != 2 or not v.size for v in blocks.values()):
        raise InputError(
            f"gates: expected arrays [T, H] of one shape; got {shapes or 'none'}. Of a batch take one row: gate[:, b]"
        )
    T, H = next(iter(shapes.values()))
    order = list(range(H)) if unit_order is None else [int(unit) for unit in unit_order]
    if not order or len(set(order)) < len(order) or not all(0 <= unit < H for unit in order):
        raise InputError(f"gates: unit_order must name units from 0 to {H - 1}, each at most once; got {order}")
    if steps is not None and len(steps) != T:
        raise InputError(f"gates: expected {T} labels of steps; got {len(steps)}")
    numbers: dict[str, str] = {}
    readable = None if steps is None else [_readable(step, numbers) for step in steps]
    column, turned = _column([text for text, _ in readable]) if readable else (0.12, False)
    height = max(0.9, min(0.09 * len(order), 2.4)) * len(blocks)
    ax = axes_of(ax, (max(5.0, column * T + 3.5), 1.0 + height))
    squashed = {name for name, v in blocks.items() if name == "a" or np.nanmax(np.abs(v), initial=0) > 1 + 1e-6}
    images = []
    for row, (name, values) in enumerate(blocks.items()):
        shown = np.tanh(values) if name in squashed else values
        centred = name == "a" or name in signed or bool(np.nanmin(values, initial=0) < 0)
        images.append(_gate(ax, shown[:, order].T, row, centred))
    ax.set(xlim=(-0.5, T - 0.5), ylim=(len(blocks) - 0.5, -0.5))
    names = {name: (labels or {}).get(name, name) for name in blocks}
    ax.set_yticks(range(len(blocks)), [f"{names[name]}{', its tanh' * (name in squashed)}" for name in blocks])
    _number_units(ax, order, len(blocks))
    if readable is None:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("time step")
    else:
        _name_cells(ax.xaxis, readable, turned)
        ax.set_xlabel(_legend(numbers), fontsize="small", loc="left")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for kind, label in (((0.0, 1.0), "gate"), ((-1.0, 1.0), "candidate")):
        if alike := [image for image in images if image.get_clim() == kind]:
            ax.figure.colorbar(alike[0], ax=ax, fraction=0.04, pad=0.02, aspect=40, label=label)
    return ax


def save(drawn: Axes | Figure, path: Path | str) -> None:
    """Write a figure, or the one that an Axes is in: PNG, PDF or SVG by the name's suffix, whole or not at all.

    The figure is closed afterwards, so drawing many does not accumulate memory.

    Raises:
      InputError: for another suffix, or if it cannot be written.
    """
    kind = picture_format(path)
    # for a subfigure, the figure that contains it
    figure: Any = drawn if isinstance(drawn, Figure) else drawn.figure.figure
    _without_mathematics(figure)
    into = io.BytesIO()
    figure.savefig(into, format=kind, dpi=150, bbox_inches="tight")
    plt.close(figure)
    write_atomic(path, into.getvalue())


def _without_mathematics(figure: Figure) -> None:
    """Show every text literally, dollars too, except the tick numbers that matplotlib itself formats."""
    numbers: set[Any] = set()
    for axis in figure.findobj(Axis):
        numbers.add(axis.offsetText)
        if not isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):
            numbers.update(axis.get_ticklabels(which="both"))
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)


def picture_format(path: Path | str) -> str:
    """Return png, pdf or svg, from the suffix of `path`.

    Raises:
      InputError: for another suffix or none.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    if not kind:
        raise InputError(f"{path} has no suffix to tell the picture's format; name it .png, .pdf or .svg")
    return choose("picture format", kind, {"png": "png", "pdf": "pdf", "svg": "svg"})


def axes_of(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return the Axes given, or those of a new figure of a size in inches."""
    return ax if ax is not None else plt.subplots(figsize=size, layout="constrained")[1]


FEW = 3
"""Decades of a logarithmic axis up to which 1, 2 and 5 have a tick; with more decades, only powers of ten."""


def log_axis(axis: Axis) -> None:
    """Make an axis logarithmic once its data are drawn; the page's logarithmic axes look the same.

    Ticks are at 1, 2 and 5 of each decade or at powers of ten, written out from 0.01 to 1000.
    """
    (axis.axes.set_yscale if isinstance(axis, YAxis) else axis.axes.set_xscale)("log")
    low, high = axis.get_view_interval()
    few = high <= low * 10.0**FEW
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if few else LogLocator(numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axis.set_minor_formatter(NullFormatter())


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
"""Digits as exponents, for `str.translate`."""


def power(value: float) -> str:
    """Return the label of a logarithmic tick: ``"0.01"``, ``"500"``, ``"10⁻⁶"``.

    Example:
      >>> power(0.05), power(1000.0), power(1e-6), power(2e7)
      ('0.05', '1000', '10⁻⁶', '2·10⁷')
    """
    if not value > 0 or 0.005 < value < 5001:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    digit = f"{value / 10.0**exponent:.3g}"
    raised = f"10{str(exponent).translate(RAISED)}"
    return raised if digit == "1" else f"{digit}·{raised}"


def _number_units(ax: Axes, order: Sequence[int], blocks: int) -> None:
    """Put as many unit numbers as fit at their rows in each block."""
    N, most = len(order), max(2, 40 // blocks)
    shown = np.unique(np.linspace(0, N - 1, min(N, most)).round().astype(int))
    side = ax.secondary_yaxis("right")
    places = [block - 0.46 + 0.92 * (row + 0.5) / N for block in range(blocks) for row in shown]
    side.set_yticks(places, [str(order[row]) for row in shown] * blocks)
    side.tick_params(length=0, pad=1, labelsize=5)
    side.spines[:].set_visible(False)


def _gate(ax: Axes, values: np.ndarray, row: int, signed: bool) -> Any:
    """Draw one gate ``[H, T]`` in the row of that number; the tick of row n is at n, its middle."""
    extent = (-0.5, values.shape[1] - 0.5, row + 0.46, row - 0.46)
    return ax.imshow(
        values, vmin=-1 if signed else 0, vmax=1, cmap=colour_map("signed" if signed else "gate"), extent=extent,
        aspect="auto", interpolation="nearest",
    )  # fmt: skip


Readable = tuple[str, FontProperties | None]
"""The text shown for a word, and its font; None means the current font."""


def _name_cells(axis: Axis, readable: Sequence[Readable], turned: bool = False) -> None:
    """Put a word at the middle of each cell, which is at 0, 1, 2 …"""
    axis.set_ticks(range(len(readable)), [text for text, _ in readable])
    for label, (_, font) in zip(axis.get_ticklabels(), readable, strict=True):
        _dress(label, font)
        label.set_rotation(90 if turned else 0)


def dress_texts(texts: Iterable[Text]) -> None:
    """Set each text in a font that has its characters."""
    for text in texts:
        shown, font = _readable(shortened(text.get_text(), LONGEST), {})
        text.set_text(shown)
        _dress(text, font)


def _readable(word: str, numbers: dict[str, str]) -> Readable:
    """Return the text and font of a word; if no font covers it, its pinyin or its number in `numbers`."""
    word, has = printable(word), characters(default_font())
    if codes(word) <= has:
        return word, None
    font = font_for(word)
    if font is not None:
        return word, font
    said = pinyin(word)
    if said is not None and codes(said) <= has:
        return said, None
    return numbers.setdefault(word, f"[{len(numbers) + 1}]"), None


def _dress(text: Text, font: FontProperties | None) -> None:
    text.set_parse_math(False)  # a literal dollar, not mathtext
    if font is not None:
        font.set_size(text.get_fontsize())
        text.set_fontproperties(font)


def _legend(numbers: Mapping[str, str], a_line: int = 4) -> str:
    """Return the legend of numbered words as code points, since the words themselves cannot be drawn."""
    said = [f"{number} = {' '.join(f'U+{ord(c):04X}' for c in word)}" for word, number in numbers.items()]
    return "\n".join("    ".join(said[n : n + a_line]) for n in range(0, len(said), a_line))


def _column(words: Sequence[str]) -> tuple[float, bool]:
    """Return a column's width in inches, and whether its words are rotated: long ones of narrow letters are."""
    longest = max(map(_width, words))
    turned = longest > 5 and not any(map(_is_wide, words))
    return (0.45 if turned else max(0.45, 0.12 + 0.09 * longest)), turned


def _is_wide(word: str) -> bool:
    return any(unicodedata.east_asian_width(c) in "WF" for c in word)


def _width(word: str) -> int:
    """Return how many columns a word takes: two for a Chinese character."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in word)

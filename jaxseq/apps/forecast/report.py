"""The text report of a forecaster's run: the data, the backtest's table, the verdict, the forecast."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxseq.apps.forecast.backtest import OURS, Backtest, Score
from jaxseq.apps.forecast.classical import MODELS
from jaxseq.apps.forecast.panel import Panel
from jaxseq.apps.forecast.run import Outcome, future

MOST = 6
"""The most series with a table each; with more, means are shown."""
ROWS = 12
"""The most rows of the future forecast that are shown."""
HEAD = ("", "MASE", "sMAPE", "RMSE", "CRPS", "in 80%", "in 95%", "DM", "p")

LEGEND = (
    "MASE: mean absolute error, 1 is that of the seasonal naive forecast within the rows fitted to; CRPS: error of the",
    "whole distribution, in the units of the values; in 80%, in 95%: how often the value was within these intervals",
)
DM_LEGEND = ("DM: Diebold and Mariano's test; below 0 the forecaster is better; p: its two-sided p value",)


def text_of(outcome: Outcome) -> str:
    """Return all lines."""
    tested, frame = outcome.backtest, future(outcome.prediction)
    lines = [*about(outcome.work.panel), *outcome.work.notes, *tested.notes, "", tested_on(tested), ""]
    lines += [line for block in tables(tested) for line in (*block, "")]
    lines += [*LEGEND, *(DM_LEGEND if _is_tested(tested) and len(tested.names) <= MOST else []), ""]
    each = ", the first of each series" if len(outcome.prediction.names) > 1 else ""
    steps = f"{outcome.work.horizon} steps" if outcome.work.horizon > 1 else "step"
    lines += [tested.verdict(), "", f"forecast of the next {steps}{each}:"]
    # of several series the first step of each: a table of all would be long
    shown = frame.head(ROWS) if len(outcome.prediction.names) == 1 else frame.groupby("series", sort=False).head(1)
    lines += rows_of(shown.head(ROWS))
    if len(shown.head(ROWS)) < len(frame):
        lines.append(f"... {len(frame)} rows in future.csv")
    return "\n".join(lines)


def _is_tested(tested: Backtest) -> bool:
    return any(not math.isnan(score.statistic) for score in tested.table)


def about(panel: Panel) -> list[str]:
    """Return lines on the data and on what was understood."""
    first = panel.series[0]
    names = ", ".join(s.name for s in panel.series[:5]) + (", ..." if len(panel.series) > 5 else "")
    sizes = sorted({len(s.values) for s in panel.series})
    rows = f"{sizes[0]} rows" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} rows"
    text = f"{names}: {rows}" if len(panel.series) == 1 else f"{len(panel.series)} series ({names}): {rows}"
    if first.stamps is not None:
        begin, end = min(s.stamps[0] for s in panel.series), max(s.stamps[-1] for s in panel.series)  # type: ignore[index]
        text += f", {stamp(begin)} to {stamp(end)}"
    return [text, *(f"  {note}" for note in panel.notes)]


def stamp(time: object) -> str:
    """Return a stamp without the parts that are zero; a row number as it is."""
    if not isinstance(time, np.datetime64 | pd.Timestamp):
        return str(time)
    shown = str(pd.Timestamp(time))
    return shown.removesuffix(":00").removesuffix(" 00:00")


def tested_on(tested: Backtest) -> str:
    """Return a line on the origins."""
    times, count = tested.origin_times[0], len(tested.origins)
    what = "row " if times.dtype.kind == "i" else ""
    span = f"{what}{stamp(times[0])}" if count == 1 else f"{what}{stamp(times[0])} to {stamp(times[-1])}"
    steps = tested.actual.shape[-1]
    return (
        f"backtest: {count} origin{'s' * (count > 1)}, {span}, {steps} step{'s' * (steps > 1)} from each; "
        "fitted once, to the rows up to the first"
    )


def tables(tested: Backtest) -> list[list[str]]:
    """Return the lines of a table for each series, or of one with the means where there are many."""
    names = tested.names
    wanted = [*_order(tested)]
    if len(names) > MOST:
        # one infinite MASE would make the mean infinite
        endless = {s.series for s in tested.table if not math.isfinite(s.mase)}
        kept = [s for s in tested.table if s.series not in endless] or tested.table
        mean = [_mean([s for s in kept if s.forecast == kind]) for kind in wanted]
        without = (
            f", without {', '.join(sorted(endless))}, which repeat exactly" if len(kept) < len(tested.table) else ""
        )
        return [[f"means over {len(kept) // len(tested.paths)} series{without}; scores.csv has each", *_lines(mean)]]
    every = []
    for name in names:
        found = {s.forecast: s for s in tested.table if s.series == name}
        every.append([*([name] if len(names) > 1 else []), *_lines([found[kind] for kind in wanted])])
    return every


def _order(tested: Backtest) -> list[str]:
    cell = f"{tested.forecaster.options.cell} alone"
    seasonal = ("seasonal naive",) * (tested.forecaster.options.seasons != (1,))
    wanted = (OURS, cell, "naive", *seasonal, "drift", "linear autoregression", *MODELS)
    return [kind for kind in wanted if kind in tested.paths]


def _mean(scores: Sequence[Score]) -> Score:
    """Return the mean of one forecast's scores over series; a test of each series is not averaged."""
    fields = ("mase", "smape", "rmse", "crps", "coverage80", "coverage95")
    found = {name: float(np.mean([getattr(s, name) for s in scores])) for name in fields}
    return Score("", scores[0].forecast, **found)


def _lines(scores: Sequence[Score]) -> list[str]:
    cells = [
        [s.forecast, f"{s.mase:.3f}", f"{s.smape:.2f}", number(s.rmse), number(s.crps), _share(s.coverage80),
         _share(s.coverage95), number(s.statistic, 3), _p(s)] for s in scores
    ]  # fmt: skip
    return aligned([list(HEAD), *cells])


def number(value: float, digits: int = 4) -> str:
    """Return a number with at least so many significant digits, or an empty string for NaN."""
    return numbers([value], digits)[0]


def numbers(values: Sequence[float] | np.ndarray, digits: int) -> list[str]:
    """Return numbers with as many decimals each, so that the largest has at least so many significant digits.

    Decimals that are 0 in all of them are left out; numbers below 1e-9 or from 1e15 on have an exponent.
    """
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    if largest == 0:
        return [_special(v, f"{v:.0f}") for v in values]
    if not 1e-9 <= largest < 1e15:
        return [_special(v, f"{v:.{digits - 1}e}") for v in values]
    # by the largest, so that decimal points are below each other
    decimals = max(0, digits - 1 - math.floor(math.log10(largest)))
    texts = [_special(v, f"{v:.{decimals}f}") for v in values]
    # whole numbers are shown as such
    zeros = min((len(t) - len(t.rstrip("0")) for t in texts if "." in t), default=0)
    if zeros >= decimals > 0 and len(texts) > 1:
        return [t.partition(".")[0] for t in texts]
    return texts


def _special(value: float, text: str) -> str:
    """Return the text of a finite number, ``inf``, or nothing for NaN."""
    if not math.isfinite(value):
        return "" if math.isnan(value) else str(value)
    # a negative number that is rounded to 0 has no sign
    return text.replace("-0", "0", 1) if float(text) == 0 else text


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}%"


def _p(score: Score) -> str:
    if math.isnan(score.statistic):
        return ""
    return "<0.001" if score.p_value < 0.0005 else f"{score.p_value:.3f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of a table: the first column to the left, numbers to the right, two blanks between."""
    widths = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))]
    # a column that is empty in every row is left out
    kept = [i for i in range(len(widths)) if i == 0 or any(row[i] for row in rows[1:])]
    return ["  ".join(_padded(row[i], widths[i], left=i == 0) for i in kept).rstrip() for row in rows]


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a Chinese character."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _padded(text: str, to: int, *, left: bool) -> str:
    blanks = " " * (to - width(text))
    return text + blanks if left else blanks + text


def rows_of(frame: pd.DataFrame) -> list[str]:
    """Return a table of a forecast; the numbers of one series share a count of decimals, those of several do by row."""
    names = frame.select_dtypes("floating").columns
    values = frame[names].to_numpy()
    if "series" in frame:
        shown = np.array([numbers(row, 5) for row in values], object).reshape(values.shape)
    else:
        shown = np.array([numbers(column, 5) for column in values.T], object).reshape(values.T.shape).T
    texts = {name: _stamps(column) for name, column in frame.items()} | dict(zip(names, shown.T, strict=True))
    return aligned([[str(name) for name in frame], *map(list, zip(*texts.values(), strict=True))])


def _stamps(column: pd.Series) -> list[str]:
    """Return stamps, all with the time of day or none."""
    texts = [str(v).removesuffix(":00") for v in column]
    return [text.removesuffix(" 00:00") for text in texts] if all(t.endswith(" 00:00") for t in texts) else texts

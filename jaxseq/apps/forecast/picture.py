"""The picture of a run: each series with the last origins of its backtest, the forecast, and their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from jaxseq import plots
from jaxseq.apps.forecast.backtest import CENTRAL, LEVELS, OURS, Backtest
from jaxseq.apps.forecast.forecaster import Prediction
from jaxseq.apps.forecast.run import Outcome
from jaxseq.fonts import font_for

MOST = 4
"""Series that are drawn, the first ones."""
ORIGINS = 3
"""Origins that are drawn, the last ones that do not overlap."""
TESTED, AHEAD = "tab:blue", "tab:red"


def draw(outcome: Outcome, path: Path) -> None:
    """Write the picture; its format is that of the path's suffix."""
    count = min(MOST, len(outcome.prediction.names))
    figure, axes = plt.subplots(count, 1, figsize=(10, 1.2 + 2.9 * count), layout="constrained", squeeze=False)
    for n, ax in enumerate(axes[:, 0]):
        _series(ax, outcome, n)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize="small", ncols=3, loc="outside upper left")
    plots.save(figure, path)


def _series(ax: Axes, outcome: Outcome, n: int) -> None:
    series, tested = outcome.work.panel.series[n], outcome.backtest
    chosen = last_origins(tested.origins, outcome.work.horizon)
    T = len(series.values)
    times: Any = np.arange(T) if series.stamps is None else series.stamps.to_numpy()
    # four horizons at least, and all that the drawn origins cover
    shown = max(0, T - max(4 * outcome.work.horizon, ORIGINS * outcome.work.horizon + 40))
    ax.plot(times[shown:], series.values[shown:], color="black", linewidth=1.2, label="values")
    for k, o in enumerate(chosen):
        _origin(ax, tested, n, o, first=k == 0)
    _future(ax, outcome.prediction, n, times)
    ax.axvline(times[-1], color="0.5", linewidth=1, linestyle=":")
    # the left end alone: the forecast decides the right one
    ax.set_xlim(times[shown])
    ax.grid(alpha=0.3)
    # an offset above the axis is easily overlooked
    ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    if series.name:
        # a name in a script that no font here has would be boxes
        named = font_for(series.name) is not None
        plots.dress_texts([ax.set_ylabel(series.name if named else f"series {n + 1}")])


def last_origins(origins: np.ndarray, horizon: int, most: int = ORIGINS) -> list[int]:
    """Return the places of the last origins that are a horizon or more apart."""
    chosen = [len(origins) - 1]
    for place in range(len(origins) - 2, -1, -1):
        if len(chosen) < most and origins[chosen[-1]] - origins[place] >= horizon:
            chosen.append(place)
    return chosen[::-1]


def _origin(ax: Axes, tested: Backtest, n: int, o: int, *, first: bool) -> None:
    times, q = tested.times[n][o], tested.quantiles[o, n]
    label = "from earlier origins, 80% and 95%" if first else None
    ax.plot(times, tested.paths[OURS][o, n], color=TESTED, linewidth=1.3, label=label)
    for low, high in CENTRAL:
        a, b = (int(np.searchsorted(LEVELS, level)) for level in (low, high))
        ax.fill_between(times, q[:, a], q[:, b], color=TESTED, alpha=0.16, linewidth=0)
    # a dot, since a forecast of one step has no line to draw
    ax.plot(times[:1], tested.paths[OURS][o, n][:1], ".", color=TESTED)


def _future(ax: Axes, prediction: Prediction, n: int, known: np.ndarray) -> None:
    times: Any = prediction.times[n]
    # without dates a forecast counts its steps from 1
    times = known[-1] + np.asarray(times) if known.dtype.kind == "i" else times.to_numpy()
    percent = [f"{100 * (b - a):g}%" for a, b in _pairs(prediction.levels)]
    ax.plot(times, prediction.mean[n], color=AHEAD, linewidth=1.6, label=f"forecast, {' and '.join(percent[::-1])}")
    for k in range(len(prediction.levels) // 2):
        ax.fill_between(times, prediction.quantiles[n, :, k], prediction.quantiles[n, :, -1 - k], color=AHEAD,
                        alpha=0.16, linewidth=0)  # fmt: skip


def _pairs(levels: np.ndarray) -> list[tuple[float, float]]:
    return [(float(levels[k]), float(levels[-1 - k])) for k in range(len(levels) // 2)]

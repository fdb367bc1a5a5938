"""The command line. Results go to standard output, progress and errors to standard error."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg
from tyro.extras import subcommand_cli_from_dict

from jaxseq import __version__
from jaxseq.apps import catalogue, convert as converting, datasets, doctor, experiment
from jaxseq.apps.compilation import keep_compiled
from jaxseq.apps.custom import is_code
from jaxseq.apps.forecast import train as forecasting
from jaxseq.apps.forecast.train import ForecastConfig
from jaxseq.apps.study import command as studying
from jaxseq.apps.translate import command as report, config as translation
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.cells import CELLS
from jaxseq.errors import InputError, choose
from jaxseq.train import Interrupted

FAILED, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 2 for input that cannot be used, 130 after Ctrl-C."""
    args = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Chinese still shows the rest
    if args[:1] == ["--version"]:
        print(f"jaxseq {__version__}")
        return 0
    try:
        commands = _commands(_preset(args))
        if args and not args[0].startswith("-"):
            choose("command", args[0], commands)
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            keep_compiled()
            subcommand_cli_from_dict(commands, prog="jaxseq", description=_ABOUT, args=args or ["--help"])
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        print(f"jaxseq: {error}", file=sys.stderr)
        return FAILED
    except (Interrupted, KeyboardInterrupt) as stopped:
        print(f"jaxseq: {stopped or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning to a person: what it says, without the line of code that raised it."""
    print(f"jaxseq: {message}", file=sys.stderr)


_ABOUT = """Recurrent cells from scratch in JAX: forecast a series, train a translator, look inside.

Example: jaxseq train && jaxseq translate runs/translate "她在看书。"
"""


def _preset(args: Sequence[str]) -> str:
    """Return the preset that is asked for: it decides which defaults the options (and --help) show."""
    for at, given in enumerate(args):
        if given.startswith("--preset="):
            return given.partition("=")[2]
        if given == "--preset" and at + 1 < len(args):
            return args[at + 1]
    return "default"


def _commands(preset: str) -> dict[str, Callable[..., None]]:
    """Return every command by name; a preset decides the defaults that its options have and its help shows."""
    known = {**translation.PRESETS, **forecasting.PRESETS}
    choose("preset", preset, known)
    translate_defaults = translation.PRESETS.get(preset, translation.PRESETS["default"])
    forecast_defaults = forecasting.PRESETS.get(preset, forecasting.PRESETS["default"])
    anything = studying.Subject()

    def train(
        config: OmitArgPrefixes[TranslateConfig] = translate_defaults,
        preset: str = "default",
        out: Path = Path("runs/translate"),
        resume: Path | None = None,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Train a translator and measure it on held-out sentences.

        Example: jaxseq train --out runs/translate

        Example: jaxseq train --data my-pairs.tsv --steps 3000 --out runs/mine

        Example: jaxseq train --preset tutorial-attention --data cmn-eng --out runs/tutorial

        Args:
          config: Settings.
          preset: default, tutorial-plain or tutorial-attention; options given beside it override it.
          out: Run folder to write.
          resume: Run folder to go on with, exactly as if it had not stopped; other settings are read from it.
          overwrite: Replace the run that is there.
          json: Print the result as JSON.
        """
        choose("translation preset", preset, translation.PRESETS)
        if resume is not None:
            given = _but_own_cell(config, translate_defaults)
            _unchanged(given, translate_defaults, f"--resume {resume} goes on with the settings of that run")
        _show(report.train(config, resume or out, resume=resume is not None, overwrite=overwrite), json)

    def translate(
        run: Positional[Path],
        text: Positional[tuple[str, ...]] = (),
        file: Path | None = None,
        attention: Path | None = None,
        gates: Path | None = None,
        cell: str | None = None,
        json: bool = False,
    ) -> None:
        """Translate sentences: arguments, a file's lines, or standard input's.

        Example: jaxseq translate runs/translate "她在看书。" --attention map.png

        Args:
          run: Run folder of a trained translator.
          text: Sentences.
          file: A text file, one sentence a line.
          attention: Write the attention map of the first sentence here (png, pdf or svg).
          gates: Write the gates of the encoder's first layer, as it reads that sentence, here; the units that
            retain most are lowest.
          cell: Your own cell, module:cell or file.py:cell, where the run was trained with it; it is code, and is run.
          json: Print tokens, probabilities and unknown words as JSON.
        """
        if text and file is not None:
            raise InputError(f"translate: give sentences as arguments or in --file {file}, not both")
        lines = text or _lines(file)
        _show(report.translate(run, lines, attention, gates, cell), json)

    def evaluate(
        run: Positional[Path], data: str | None = None, examples: int = 10, cell: str | None = None, json: bool = False
    ) -> None:
        """Measure a translator: BLEU, chrF, exact match, loss, and random examples (> source, = reference, < ours).

        Example: jaxseq evaluate runs/translate

        Args:
          run: Run folder of a trained translator.
          data: Pairs to measure on; by default those held out of training.
          examples: How many random examples to show.
          cell: Your own cell, module:cell or file.py:cell, where the run was trained with it; it is code, and is run.
          json: Print as JSON.
        """
        _show(report.evaluate(run, data, examples, cell), json)

    def forecast(
        config: OmitArgPrefixes[ForecastConfig] = forecast_defaults,
        preset: str = "default",
        out: Path = Path("runs/forecast"),
        run: Path | None = None,
        horizon: int = 12,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Forecast a series from a CSV file, beside naive and linear forecasts; or go on with a saved run.

        Example: jaxseq forecast --out runs/forecast

        Example: jaxseq forecast --data sales.csv --columns revenue --cell lstm

        Example: jaxseq forecast --run runs/forecast --horizon 24

        Args:
          config: Settings.
          preset: default, tutorial-lstm or tutorial-gru; options given beside it override it.
          out: Run folder to write.
          run: A saved run to forecast with, on --data or on what it was trained on; prints CSV.
          horizon: With --run: steps to forecast after the last row.
          overwrite: Replace the run that is there.
          json: Print the result as JSON.
        """
        choose("forecast preset", preset, forecasting.PRESETS)
        if run is not None:
            given = dataclasses.replace(config, data=forecast_defaults.data)  # which may differ
            given = _but_own_cell(given, forecast_defaults)
            _unchanged(given, forecast_defaults, f"--run {run} forecasts with the settings of that run")
            data = None if config.data == ForecastConfig.data else config.data
            _show(report.forecast_on(run, data, horizon, config.cell), json)
        else:
            _show(report.forecast(config, out, overwrite=overwrite), json)

    def data_(
        action: Positional[str], name: Positional[str], file: Positional[Path | None] = None, sha256: str | None = None,
        json: bool = False,
    ) -> None:  # fmt: skip
        """Get a data set from its publisher, or add a copy that was got by hand.

        Example: jaxseq data get cmn-eng

        Example: jaxseq data add cmn-eng cmn-eng.zip

        Args:
          action: get or add.
          name: The data set: cmn-eng, the Tatoeba Mandarin-English pairs of manythings.org.
          file: With add: the archive, or the text inside it.
          sha256: The checksum that the file must have.
          json: Print the result as JSON.
        """
        choose("action", action, {"get": 1, "add": 1})
        if action == "add" and file is None:
            raise InputError(f"data add: which file? For example: jaxseq data add {name} {name}.zip")
        got = datasets.get(name, sha256) if file is None else datasets.add(name, file, sha256)
        _show(report.added(got), json)

    def cells(name: Positional[str | None] = None, markdown: bool = False, json: bool = False) -> None:
        """List the recurrent cells; or show one: its equations, its code and where they come from.

        Example: jaxseq cells

        Example: jaxseq cells gru

        Args:
          name: A cell.
          markdown: Print the list as a Markdown table.
          json: Print as JSON.
        """
        rows = [catalogue.entry(cell)._asdict() for cell in CELLS.values() if name in (None, cell.name)]
        if name is not None:
            text = catalogue.page(name)
        else:
            text = catalogue.table().rstrip() if markdown else catalogue.listing()
        _show(report.Shown(rows, text), json)

    def convert(
        file: Positional[Path],
        library: Annotated[str, arg(name="from")],
        layer: str,
        out: Annotated[Path, arg(aliases=["-o"])],
        prefix: str | None = None,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Convert the weights of a recurrent layer of another library, and write them as ours.

        Example: jaxseq convert model.pt --from torch --layer lstm -o lstm.safetensors

        Example: jaxseq convert model.safetensors --from torch --layer gru --prefix encoder.rnn -o gru.safetensors

        Args:
          file: A .safetensors, .npz or torch file (.pt, .pth, .bin, .ckpt) with one array for each name. Torch files
            are read as weights only; one that would run code is refused.
          library: torch, flax-linen, flax-nnx, haiku, equinox or keras.
          layer: Our cell for it, such as rnn, rnn_relu, lstm, gru; gru_cho where the reset comes before the product.
          out: The file to write, safetensors.
          prefix: What the names of the layer begin with, in a file of a larger model.
          overwrite: Replace the file that is there.
          json: Print the result as JSON.
        """
        _show(converting.convert(file, library, layer, out, prefix=prefix, overwrite=overwrite), json)

    def study(
        run: Positional[Path | None] = None,
        subject: OmitArgPrefixes[studying.Subject] = anything,
        out: Annotated[Path, arg(aliases=["-o"])] = Path("report.html"),
        full: bool = False,
        json: bool = False,
    ) -> None:
        """Look inside a run: every gate, gradient, half-life and what-if, in one page that needs no network.

        Without a run, a small model is trained first, beside those it can be compared with.

        Example: jaxseq study --cell lstm --task copy

        Example: jaxseq study runs/translate --text "她在看书。" -o report.html

        Example: jaxseq study runs/forecast --rows 120:123

        Args:
          run: Run folder of a translator or a forecast.
          subject: What is looked at.
          out: The page to write.
          full: Keep everything, however large the page becomes; by default at most 2 MB.
          json: Print the result as JSON.
        """
        _show(studying.study(run, subject, out, full=full), json)

    def inspect(
        run: Positional[Path | None] = None,
        subject: OmitArgPrefixes[studying.Subject] = anything,
        units: int = 6,
        sequence: int = 1,
        json: bool = False,
    ) -> None:
        """Look inside a run in the terminal: gates as blocks, half-lives, saturation, gradient norms.

        Example: jaxseq inspect runs/translate --text "她在看书。"

        Example: jaxseq inspect --cell gru --task adding

        Args:
          run: Run folder of a translator or a forecast.
          subject: What is looked at.
          units: How many units of each gate are shown, evenly over the order of their half-lives.
          sequence: Which of the sequences is shown.
          json: Print the numbers as JSON, those of every unit.
        """
        _show(studying.inspect(run, subject, units=units, sequence=sequence), json)

    def doctor_(json: bool = False) -> None:
        """Show versions, devices, fonts that cover Chinese, the cache folder, and what each extra would add.

        Example: jaxseq doctor

        Args:
          json: Print as JSON.
        """
        facts = doctor.report()
        _show(report.Shown(facts, doctor.render(facts)), json)

    return {
        "train": train, "translate": translate, "evaluate": evaluate, "forecast": forecast, "data": data_,
        "cells": cells, "convert": convert, "study": study, "inspect": inspect,
        "experiment": experiment.command(_show), "doctor": doctor_,
    }  # fmt: skip


def _but_own_cell(config: Any, defaults: Any) -> Any:
    """Return the settings without a cell that is code: beside a run, naming it is how a person allows it."""
    return dataclasses.replace(config, cell=defaults.cell) if is_code(config.cell) else config


def _unchanged(config: Any, defaults: Any, why: str) -> None:
    """Refuse settings given beside a run that has its own: to pass over them would look like following them."""
    for field in dataclasses.fields(config):
        given = getattr(config, field.name)
        if given != getattr(defaults, field.name):
            raise InputError(f"{why}; leave out --{field.name.replace('_', '-')} (got {given}), or train anew with it")


def _lines(file: Path | None) -> tuple[str, ...]:
    from jaxseq.apps.pairs import read_text

    if file is not None:
        return tuple(line for line in read_text(file).split("\n") if line.strip())
    if sys.stdin is None:  # closed
        return ()
    if sys.stdin.isatty():
        print("one sentence a line; end with Ctrl-D", file=sys.stderr)
    return tuple(line.strip() for line in sys.stdin if line.strip())


def _show(shown: report.Shown, as_json: bool) -> None:
    for note in shown.notes:
        print(f"jaxseq: {note}", file=sys.stderr)
    print(json.dumps(shown.facts, indent=2, ensure_ascii=False, default=str) if as_json else shown.text)

"""The commands study and inspect: look inside a run, or inside small models trained on the spot."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from jaxseq.apps.custom import is_code
from jaxseq.apps.forecast.config import KIND as FORECASTER
from jaxseq.apps.forecast.tutorial.config import KIND as FORECAST
from jaxseq.apps.progress import say
from jaxseq.apps.settings import check_seed, require_at_least
from jaxseq.apps.shown import Shown, show
from jaxseq.apps.study import parts, small
from jaxseq.apps.study.forecaster import of_forecaster
from jaxseq.apps.translate.config import KIND as TRANSLATION
from jaxseq.errors import InputError
from jaxseq.files import check_place
from jaxseq.locks import locked
from jaxseq.study.checks import check_all
from jaxseq.study.collect import Study, collect
from jaxseq.study.inspect import facts, render
from jaxseq.study.report import LIMIT, Report


@dataclasses.dataclass(frozen=True)
class Subject:
    """The model to study and the sequences that it reads."""

    text: tuple[str, ...] = ()
    """Sentences for a translator, up to 8; by default three from its own data."""
    rows: str | None = None
    """Rows of a tutorial forecast's series, each with the window before it: 120, or 120,125, or 120:123."""
    series: tuple[str, ...] = ()
    """Series of a forecaster, each with its last window, up to 8; by default the first three."""
    examples: int | None = None
    """Number of sequences, from the run's data or the problem, over which half-lives and saturation are measured; by
    default those shown."""
    cell: str | None = None
    """Without a run: the cell to train, by default lstm. With one: the custom cell that it was trained with,
    module:cell or file.py:cell, whose code is run."""
    problem: Annotated[str | None, arg(aliases=["--task"])] = None
    """Without a run: the problem, copy (default), reverse, adding, anbn or warped."""
    steps: int = 1500
    """Without a run: train steps of each cell."""
    hidden: int = 32
    """Without a run: hidden units of the cell; the baselines get about as many parameters."""
    seed: int = 0
    """Without a run: the seed of weights and data."""

    def check(self, run: Path | None) -> None:
        """Check every setting.

        Raises:
          InputError: naming the setting, its allowed values and its value.
        """
        given = self.given()
        if self.examples is not None:
            require_at_least(1, ("examples",), self)
        if run is None:
            # `min` below, since a set has no order and the message should be the same each time
            if unfit := given.keys() & {"text", "rows", "series"}:
                raise InputError(
                    f"--{min(unfit)} applies to a run; name its folder first, such as jaxseq study runs/translate"
                )
            require_at_least(1, ("steps", "hidden"), self)
            check_seed(self.seed)
            return
        if unfit := given.keys() & {"problem", "steps", "hidden", "seed"}:
            raise InputError(f"{run} is already trained; leave out --{min(unfit)} {given[min(unfit)]}, or the run")
        # a custom cell is named to allow its import
        if self.cell is not None and not is_code(self.cell):
            raise InputError(f"{run} has its own cell; leave out --cell {self.cell}, or the run")

    def given(self) -> dict[str, Any]:
        """Return the settings that are not the defaults."""
        return {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default}


def study(run: Path | None, subject: Subject, out: Path, *, full: bool = False) -> Shown:
    """Write the page of a run, or of small models trained on the spot.

    Raises:
      InputError: if there is nothing to study, or a check of the page fails: then nothing is written.
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file with -o, such as {out / 'report.html'}")
    check_place(out, "-o")
    data, notes = gathered(run, subject)
    say("drawing and checking the page …")
    made = Report(data, full=full)
    # two studies may write the same page
    with locked(out):
        made.save(out)
    if made.left_out:
        sizes = f"{LIMIT / 1e6:g} MB (whole: {made.whole / 1e6:.1f} MB with --full)"
        notes = [*notes, f"left out to keep the page at {sizes}: {'; '.join(made.left_out)}"]
    size = len(made.text.encode())
    about = {"out": str(out), "bytes": size, "left_out": made.left_out, "checks": data.checks}
    checks = sum(check["ok"] for check in data.checks)
    text = f"wrote {out}: {size / 1e6:.2f} MB, {checks} checks hold; open it in a browser, it needs no network"
    return Shown({**about, "hash": data.about["hash"]}, text, notes)


def inspect(run: Path | None, subject: Subject, *, units: int = 6, sequence: int = 1) -> Shown:
    """Print the same numbers, formatted for the terminal's width and colours.

    Raises:
      InputError: as `study`.
    """
    if units < 1:
        raise InputError(f"--units must be at least 1; got {units}")
    data, notes = gathered(run, subject, briefly=True)
    # `Report` checks the numbers of a page; a terminal shows the same numbers without one
    check_all(data.checks)
    if not 1 <= sequence <= (most := data.parts[0].B):
        raise InputError(f"--sequence must be from 1 to {most}, the sequences that are studied; got {sequence}")
    columns, (colours, blocks) = shutil.get_terminal_size((80, 24)).columns, _terminal()
    # users count sequences from 1
    text = render(data, width=columns, units=units, example=sequence - 1, colours=colours, blocks=blocks)
    return Shown(facts(data), text, notes, coloured=colours > 0)


def _terminal() -> tuple[int, bool]:
    """Return how many colours standard output takes (https://no-color.org), and whether it has block characters."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    # terminals with 24-bit colours say so in COLORTERM
    many = 2**24 if os.environ.get("COLORTERM") in ("truecolor", "24bit") else 256
    try:
        "░█▁".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return 0, False
    return 0 if plain or not sys.stdout.isatty() else many, True


def gathered(run: Path | None, subject: Subject, *, briefly: bool = False) -> tuple[Study, list[str]]:
    """Return the data of a run, or of small models trained on the spot, from `collect`, and notes for the user.

    `briefly` leaves out the views that run the cell for each unit and each snapshot.

    Raises:
      InputError: if there is nothing to study.
    """
    subject.check(run)
    if run is None:
        name, problem = subject.cell or "lstm", small.problem_of(subject.problem or "copy")
        sizes = {"hidden": subject.hidden, "steps": subject.steps, "seed": subject.seed}
        found = small.of_problem(name, problem, **sizes, examples=subject.examples)
        title, title_zh = f"{name} on {problem.name}", f"{problem.name} 任务上的 {name}"
    else:
        kind, title, title_zh = parts.application_of(run), str(run), str(run)
        _check_read(run, kind, subject)
        if kind == TRANSLATION:
            found = parts.of_translator(run, subject.text, subject.cell, examples=subject.examples)
        elif kind == FORECASTER:
            found = of_forecaster(run, subject.series, subject.cell, examples=subject.examples)
        else:
            found = parts.of_forecast(run, subject.rows, subject.cell, examples=subject.examples)
    # the page shows the command that reproduces it
    words = [] if run is None else [str(run)]
    for option, value in subject.given().items():
        words += [f"--{option}", *(value if isinstance(value, tuple) else [str(value)])]
    data = collect(
        found.parts, title=title, subtitle=found.subtitle, command=shlex.join(["jaxseq", "study", *words]),
        seed=subject.seed, scores=found.scores, briefly=briefly, title_zh=title_zh,
        subtitle_zh=found.subtitle_zh, began=lambda part: say(f"looking inside {part} …"),
    )  # fmt: skip
    # a view that fails is left out, and the rest of the page is made
    lost = [f"the view {name} of {part.name} failed: {why}" for part in data.parts for name, why in part.failed.items()]
    return data, [*found.notes, *lost]


READS = {
    TRANSLATION: ("a translator", "text"),
    FORECASTER: ("a forecaster", "series"),
    FORECAST: ("a forecast of the tutorial", "rows"),
}
"""The name of each kind of run, and the option that chooses its sequences."""


def _check_read(run: Path, kind: str, subject: Subject) -> None:
    """Refuse an option that belongs to another kind of run."""
    what, option = READS[kind]
    for other in ("text", "series", "rows"):
        if other != option and other in subject.given():
            raise InputError(f"{run} is {what}, which takes --{option}; leave out --{other}")


def study_command(
    run: Positional[Path | None] = None,
    subject: OmitArgPrefixes[Subject] = Subject(),
    out: Annotated[Path, arg(aliases=["-o"])] = Path("report.html"),
    full: bool = False,
    json: bool = False,
) -> None:
    """Look inside a run: every gate, gradient, half-life and what-if, in one page that needs no network.

    Without a run, a small model is trained first, together with baseline cells for comparison.

    Example: jaxseq study --cell lstm --problem copy

    Example: jaxseq study runs/translate --text "她在看书。" -o report.html

    Example: jaxseq study runs/forecast

    Args:
      run: Run folder of a translator or a forecaster.
      subject: The sequences of a run, or a problem to train on.
      out: The page to write.
      full: Keep everything, however large the page becomes; by default at most 2 MB.
      json: Print the result as JSON.
    """
    show(study(run, subject, out, full=full), json)


def inspect_command(
    run: Positional[Path | None] = None,
    subject: OmitArgPrefixes[Subject] = Subject(),
    units: int = 6,
    sequence: int = 1,
    json: bool = False,
) -> None:
    """Look inside a run in the terminal: gates as blocks, half-lives, saturation, gradient norms.

    Example: jaxseq inspect runs/translate --text "她在看书。"

    Example: jaxseq inspect --cell gru --problem adding

    Args:
      run: Run folder of a translator or a forecaster.
      subject: The sequences of a run, or a problem to train on.
      units: How many units of each gate to show, spread evenly over the order of half-lives.
      sequence: Which of the sequences is shown.
      json: Print the numbers of all units as JSON.
    """
    show(inspect(run, subject, units=units, sequence=sequence), json)

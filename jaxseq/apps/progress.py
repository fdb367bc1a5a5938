"""The progress of training on standard error: a progress bar at a terminal, else a line for each report."""

from __future__ import annotations

import sys

from tqdm import tqdm

from jaxseq.texts import printable, tell
from jaxseq.train import Listener, Metrics

SHOWN = {"unigram_loss": "unigram", "bleu": "BLEU"}
"""Further numbers of a report that are shown, and their labels."""


class Progress(Listener):
    """Draws "compiling…" first, then rate, loss, validation loss and the time left; for a log file prints reports."""

    def __init__(self, steps: int = 0, counted: str = "tokens") -> None:
        """Take the total number of steps, if it is known already, and the name of a unit, such as tokens."""
        # a bar redraws one line over and over; in a log file each drawing would be a line
        self.counted, self.steps, self.drawn = counted, steps, sys.stderr.isatty()
        self.bar = tqdm(total=steps, unit="step", disable=not self.drawn, file=sys.stderr, dynamic_ncols=True)
        self.shown: dict[str, str] = {}

    def started(self, steps: int, done: int) -> None:
        """Take the total number of steps, and the number done before."""
        self.steps = self.bar.total = steps
        # tqdm's rate and time left count from `initial`: steps of an earlier start took no time now
        self.bar.n = self.bar.initial = done

    def compiling(self, programs: int) -> None:
        """Report that compilation of `programs` programs has started."""
        said = f"{programs} program{'s' * (programs != 1)}"
        self.bar.set_description(f"compiling… ({said})")
        self.bar.refresh()
        if not self.drawn:
            self.remark(f"compiling {said} for {self.steps:,} steps …")

    def compiled(self, seconds: float) -> None:
        """Start the clock: rates leave compilation out."""
        self.bar.set_description("training")
        # moves tqdm's start by the time since the last drawing
        self.bar.unpause()

    def advance(self, steps: int, loss: float) -> None:
        """Advance the bar by `steps` steps, and show the loss."""
        self.shown["loss"] = f"{loss:.3f}"
        # `update` draws, at most ten times a second
        self.bar.set_postfix(self.shown, refresh=False)
        self.bar.update(steps)

    def report(self, metrics: Metrics) -> None:
        """Show the measurements in the progress bar, or print them."""
        measured = measured_of(metrics)
        if self.drawn:
            self.shown.update(measured)
        else:
            numbers = "  ".join(f"{name} {value}" for name, value in measured.items())
            tell(
                f"step {metrics.step} of {self.steps}  loss {metrics.loss:.3f}  {numbers}{'  ' * bool(numbers)}"
                f"{metrics.tokens_per_second:,.0f} {self.counted}/s",
                "",
            )

    def remark(self, text: str) -> None:
        """Print a sentence above the bar."""
        # clears the bar, prints and draws it again, where print would leave half a bar behind
        tqdm.write(f"jaxseq: {printable(text)}", file=sys.stderr)

    def close(self) -> None:
        """Keep the last state of the bar on screen."""
        self.bar.close()


def measured_of(metrics: Metrics) -> dict[str, str]:
    """Return the validation loss and the numbers of `SHOWN` in a report, formatted."""
    measured = {} if metrics.validation_loss is None else {"validation": f"{metrics.validation_loss:.3f}"}
    return measured | {SHOWN[name]: f"{metrics.more[name]:.3g}" for name in SHOWN if name in metrics.more}


def say(text: str) -> None:
    """Print a remark to standard error if that is a terminal."""
    if sys.stderr.isatty():
        tell(text)

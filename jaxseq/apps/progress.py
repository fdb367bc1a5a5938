"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import sys

from tqdm import tqdm

from jaxseq.train import Listener, Metrics


class Progress(Listener):
    """Draws "compiling…" first, then rate, loss, validation loss and the time left."""

    def __init__(self, steps: int, done: int = 0) -> None:
        """Take the number of steps in all, and of those done before."""
        self.bar = tqdm(
            total=steps, initial=done, unit="step", disable=not sys.stderr.isatty(), file=sys.stderr, dynamic_ncols=True
        )
        self.shown: dict[str, str] = {}

    def compiling(self, programs: int) -> None:
        """Say that compilation of so many programs began."""
        self.bar.set_description(f"compiling… ({programs} program{'s' * (programs != 1)})")
        self.bar.refresh()

    def compiled(self, seconds: float) -> None:
        """Start the clock: rates leave compilation out."""
        self.bar.set_description("training")
        self.bar.unpause()

    def advance(self, steps: int, loss: float) -> None:
        """Show so many steps more, and the loss."""
        self.shown["loss"] = f"{loss:.3f}"
        self.bar.set_postfix(self.shown, refresh=False)
        self.bar.update(steps)

    def report(self, metrics: Metrics) -> None:
        """Show the validation loss from now on."""
        if metrics.validation_loss is not None:
            self.shown["validation"] = f"{metrics.validation_loss:.3f}"

    def remark(self, text: str) -> None:
        """Print a sentence above the bar."""
        tqdm.write(f"jaxseq: {text}", file=sys.stderr)

    def close(self) -> None:
        """Keep the last state of the bar on screen."""
        self.bar.close()


def say(text: str) -> None:
    """Print a remark to standard error if that is a terminal."""
    if sys.stderr.isatty():
        print(f"jaxseq: {text}", file=sys.stderr, flush=True)

"""The command `jaxseq experiment`: its options and their help; `jaxseq.experiments.report` runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tyro.conf import Positional

from jaxseq.apps.translate.command import Shown
from jaxseq.experiments import report


def command(show: Callable[[Shown, bool], None]) -> Callable[..., None]:
    """Return the command; `show` prints what it found, as text or as JSON."""

    def experiment(
        name: Positional[str],
        quick: bool = False,
        out: Path = Path("runs/experiments"),
        markdown: bool = False,
        json: bool = False,
    ) -> None:
        """Put a claim about gates to the test: run it over several seeds, judge it, draw it.

        The rule by which a claim is judged is in jaxseq/experiments/base.py.

        Example: jaxseq experiment counting --quick

        Example: jaxseq experiment all

        Args:
          name: counting, memory, chrono, forget-bias, spectrum, ablation, vanishing, attention, gates-open; or all.
          quick: Smaller networks and shorter training: at most two minutes each.
          out: Folder for NAME.png, NAME.json and, where cells were trained, the study page NAME.html; those of an
            earlier run are replaced.
          markdown: Print the table of verdicts alone, in Markdown.
          json: Print as JSON.
        """
        show(Shown(*report.experiment(name, out, quick=quick, markdown=markdown)), json)

    return experiment

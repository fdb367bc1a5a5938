"""The command `jaxseq experiment`: its options; `jaxseq.experiments.report` does the work."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tyro.conf import Positional

from jaxseq.apps.shown import Shown, show
from jaxseq.experiments import EXPERIMENTS, report
from jaxseq.locks import locked


def experiment(
    name: Positional[str],
    quick: bool = False,
    out: Path = Path("runs/experiments"),
    markdown: bool = False,
    blocks: int = 1,
    resume: bool = False,
    json: bool = False,
) -> None:
    """Test a claim about gates: run it over several seeds, judge it, draw it.

    The rule that judges a claim is in jaxseq/experiments/base.py.

    Example: jaxseq experiment counting --quick

    Example: jaxseq experiment vanishing --quick --blocks 3

    Example: jaxseq experiment all --resume

    Args:
      name: counting, memory, chrono, forget-bias, spectrum, ablation, vanishing, attention, gates-open, automata,
        parity, line-attractor; or all.
      quick: Smaller networks and shorter training: half a minute to seven minutes of processor time each.
      out: Folder for NAME.png, NAME.json and, where cells were trained, the study page NAME.html; those of an
        earlier run are replaced.
      markdown: Print the table of verdicts alone, in Markdown.
      blocks: Number of runs, each with other seeds; with several, print whether the verdicts agree.
      resume: Keep the blocks that NAME.json in the folder already has with equal settings and versions, such as after
        an interruption.
      json: Print as JSON.
    """
    with contextlib.ExitStack() as stack:
        for one in EXPERIMENTS if name == report.ALL else [name] if name in EXPERIMENTS else []:
            stack.enter_context(locked(out / one))  # other experiments of the folder may run meanwhile
        show(Shown(*report.experiment(name, out, quick=quick, markdown=markdown, blocks=blocks, resume=resume)), json)

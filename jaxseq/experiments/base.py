"""Experiments: their type, and the rule by which a paper's claim is judged.

An experiment states a claim with its source, measures each part of it for each seed, and turns it into a *margin*: one
number for each seed, above 0 where that seed agrees with the claim (`above`, `below`, `more`, `less`, `further`,
`beyond`). Each part has a two-sided p-value, an estimate with its 95% interval, and an effect size:

    mean    Student's t test of the mean margin; the interval of the mean; Cohen's d, mean / standard deviation
    order   sign test of the median margin, for values that are cut off at a cap; the interval of the median from order
            statistics; the number of seeds that agree. Two values at the cap are a tie, which counts for neither side

The p-values of a claim's parts are corrected for their number (Holm 1979). One rule applies to every part:

    reproduced      the corrected p-value is at most 0.05 and the margin is above 0
    not reproduced  the corrected p-value is at most 0.05 and the margin is below 0
    inconclusive    otherwise; also if fewer than 5 seeds were run or a margin is NaN: a seed in which no network learnt
                    anything cannot be compared (`Row.where`)

A claim is reproduced if all its parts are, not reproduced if any part is not, otherwise inconclusive. If the source
used far more data or training (`Experiment.scale`), "not reproduced" reads "not at this scale".

A part that follows from a theorem or from the construction is a test of the code (`check`). It must hold in every seed,
its verdict is "holds" or "fails", and it is not evidence for the claim; if it fails, the claim is inconclusive.
Quantities measured for comparison (`unjudged`) have no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxseq.cells import Cell
from jaxseq.experiments.significance import FEWEST, Tested, holm, of_mean, of_order
from jaxseq.problems import ModelParams, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = "reproduced", "not reproduced", "inconclusive"
NOT_AT_THIS_SCALE = "not at this scale"
HOLDS, FAILS = "holds", "fails"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, HOLDS, FAILS)
LEVEL = 0.05
"""The largest corrected p-value for a conclusion."""


class Row(NamedTuple):
    """One part of a claim, measured.

    Fields:
      what: the quantity, in words.
      claimed: the source's statement about it, in words; empty if there is none, and then nothing is judged.
      values: one for each seed, or one number for a quantity that does not depend on the seed.
      margins: one for each seed, above 0 where it agrees with the claim; empty without a claim.
      kind: "mean", "order" or "check".
      cap: the value at which the quantity is capped.
    """

    what: str
    claimed: str
    values: tuple[float, ...]
    margins: tuple[float, ...] = ()
    kind: str = "mean"
    cap: float = math.inf

    @property
    def tested(self) -> Tested | None:
        """The test of the margins; None for a check, and if they are inconclusive."""
        enough = len(self.margins) >= FEWEST and np.isfinite(self.margins).all()
        if not self.claimed or self.kind == "check" or not enough:
            return None
        return of_order(self.margins) if self.kind == "order" else of_mean(self.margins)

    def where(self, told: Any) -> Row:
        """Return the row with NaN for the margins of seeds that do not count: False in `told`, bool ``[seeds]``."""
        told = np.broadcast_to(told, len(self.margins))
        return self._replace(margins=tuple(m if t else math.nan for m, t in zip(self.margins, told, strict=True)))

    @property
    def measured(self) -> str:
        """Mean and standard deviation over the seeds, or median and range of a quantity with a cap, in words."""
        values = np.asarray(self.values, float)
        if not np.isfinite(values).all():
            kept = values[np.isfinite(values)]
            rest = f"{len(values) - len(kept)} of {len(values)} tell nothing"
            return f"{kept.mean():.4g}; {rest}" if len(kept) else rest
        if len(values) == 1:
            return f"{values[0]:.4g}"
        if math.isfinite(self.cap):
            at_cap = int((values >= self.cap).sum())
            cut = f", {at_cap} at the cap" if at_cap else ""
            return f"median {np.median(values):.4g}, {values.min():.4g} to {values.max():.4g}{cut}"
        return f"{values.mean():.4g} ± {values.std(ddof=1):.2g}"

    @property
    def evidence(self) -> str:
        """The margin's estimate, its 95% interval and the effect size, in words; empty if nothing was tested."""
        if (tested := self.tested) is None:
            return ""
        numbers = [tested.middle, tested.low, tested.high]
        if self.kind == "order":  # margins are log2 of a ratio
            middle, low, high = (f"{2.0**n:.3g}" for n in numbers)
            agree, ties = (np.sum(np.asarray(self.margins) > 0), np.sum(np.asarray(self.margins) == 0))
            tied = f", {ties} tied" if ties else ""
            return f"×{middle} [{low}, {high}], {agree} of {len(self.margins)} agree{tied}"
        middle, low, high = (f"{n:.3g}" for n in numbers)
        return f"{middle} [{low}, {high}], d = {tested.effect:.2g}"


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Return the verdict on each part of a claim; empty for those without a claim."""
    return [verdict for verdict, _ in judge(rows)]


def judge(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Return the verdict on each part of a claim and its corrected p-value, by the rule above.

    Example:
      >>> judge([above("x", [1.0, 2.0, 3.0, 4.0, 5.0], 0.0), unjudged("y", [0.0] * 5)])[1]
      ('', nan)
      >>> verdicts([above("x", [1.0, 2.0, 3.0, 4.0, 5.0], 0.0), above("y", [-1.0, 1.0, -1.0, 1.0, 0.5], 0.0)])
      ['reproduced', 'inconclusive']
    """
    tests = [row.tested for row in rows]
    parts = [n for n, row in enumerate(rows) if row.claimed and row.kind != "check"]
    ps = [1.0 if (test := tests[n]) is None else test.p for n in parts]
    corrected = dict(zip(parts, holm(ps), strict=True))
    found = []
    for n, (row, test) in enumerate(zip(rows, tests, strict=True)):
        p = corrected.get(n, math.nan)
        if not row.claimed:
            found.append(("", p))
        elif row.kind == "check":
            found.append((HOLDS if row.margins and all(margin > 0 for margin in row.margins) else FAILS, p))
        elif test is None or p > LEVEL:
            found.append((INCONCLUSIVE, p))
        else:
            found.append((REPRODUCED if test.middle > 0 else NOT_REPRODUCED, p))
    return found


def overall(verdicts: Sequence[str]) -> str:
    """Return the verdict on a claim from the verdicts on its parts; empty ones do not count.

    Example:
      >>> overall(["reproduced", "", "reproduced"]), overall(["reproduced", "inconclusive"])
      ('reproduced', 'inconclusive')
      >>> overall(["reproduced", "holds"]), overall(["reproduced", "fails"])
      ('reproduced', 'inconclusive')
    """
    if FAILS in verdicts:  # the code is wrong, so its measurements are not evidence
        return INCONCLUSIVE
    judged = [v for v in verdicts if v and v != HOLDS]
    for worst in (NOT_REPRODUCED, INCONCLUSIVE):
        if worst in judged:
            return worst
    return REPRODUCED if judged else INCONCLUSIVE


def above(what: str, values: Any, bound: float) -> Row:
    """Return the row of a quantity that is claimed to be above `bound`."""
    values = _numbers(values)
    return Row(what, f"above {bound:g}", values, tuple(v - bound for v in values))


def below(what: str, values: Any, bound: float) -> Row:
    """Return the row of a quantity that is claimed to be below `bound`."""
    values = _numbers(values)
    return Row(what, f"below {bound:g}", values, tuple(bound - v for v in values))


def more(what: str, values: Any, than: str, others: Any) -> Row:
    """Return the row of a quantity that is claimed to be above another's, `than`, compared seed by seed."""
    values, others = _numbers(values), _numbers(others)
    return Row(what, f"above {than}", values, tuple(v - o for v, o in zip(values, others, strict=True)))


def less(what: str, values: Any, than: str, others: Any) -> Row:
    """Return the row of a quantity that is claimed to be below another's, `than`, compared seed by seed."""
    values, others = _numbers(values), _numbers(others)
    return Row(what, f"below {than}", values, tuple(o - v for v, o in zip(values, others, strict=True)))


def beyond(what: str, values: Any, bound: float, cap: float) -> Row:
    """Return the row of a length claimed to be above `bound` and capped at `cap`; margins are log2."""
    return further(what, values, f"{bound:g}", bound, cap)


def further(what: str, values: Any, than: str, others: Any, cap: float) -> Row:
    """Return the row of a length claimed to be above another's, seed by seed; both are capped at `cap`.

    Margins are log2 of the ratio; a length of 0 counts as 1/2.

    Example:
      >>> further("reach", [32.0, 64.0], "that of the other", [8.0, 64.0], 64.0).margins
      (2.0, 0.0)
    """
    values = _numbers(values)
    ratio = np.maximum(values, 0.5) / np.maximum(np.asarray(others, float), 0.5)
    return Row(what, f"above {than}", values, _numbers(np.log2(ratio)), "order", cap)


def fisher(what: str, values: Any, than: str, others: Any) -> Row:
    """Return the row of correlations that are claimed to be above others, seed by seed, on Fisher's scale atanh r.

    They are capped at 1 - 1e-6, which float32 can hardly tell from 1.
    """
    values, others = _numbers(values), _numbers(others)
    return Row(what, f"above that of {than}", values, _numbers(_atanh(values) - _atanh(others)))


def unjudged(what: str, values: Any, cap: float = math.inf) -> Row:
    """Return the row of a quantity that the claim says nothing about."""
    return Row(what, "", _numbers(values), cap=cap)


def check(row: Row) -> Row:
    """Return the row as a test of the code: a theorem or the construction says that it holds in every seed."""
    return row._replace(kind="check")


def _atanh(values: tuple[float, ...]) -> np.ndarray:
    return np.arctanh(np.minimum(values, 1 - 1e-6))


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in np.atleast_1d(np.asarray(values, float)))


class Network(NamedTuple):
    """A network that an experiment trained, for a study page.

    Fields:
      name: a readable name.
      cell: the Cell.
      problem: the problem that it was trained on.
      params: parameters of cell and readout.
      losses: its training losses, ``[steps]``.
    """

    name: str
    cell: Cell
    problem: Problem
    params: ModelParams
    losses: Any


class Found(NamedTuple):
    """The result of an experiment.

    Fields:
      rows: the parts of the claim, and quantities measured for comparison.
      draw: draws the figure: ``(matplotlib figure) -> None``.
      networks: some trained networks for a study page, all of the first seed and on one problem; may be empty.
    """

    rows: tuple[Row, ...]
    draw: Callable[[Figure], None]
    networks: tuple[Network, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict on the whole claim."""
        return overall(verdicts(self.rows))


class Experiment(NamedTuple):
    """A claim of a paper, and how to test it.

    Fields:
      name: the name on the command line.
      claim: the claim in a sentence or two.
      source: the papers that make it.
      run: ``(settings) -> Found``; settings are a NamedTuple of numbers, `seeds` and `first` (seed) among them.
      full: the settings of the full experiment.
      quick: settings that take half a minute to seven minutes of processor time.
      look: a command whose page shows such a network from inside.
      scale: the source's data and training, if this experiment has far less; otherwise empty.
    """

    name: str
    claim: str
    source: str
    run: Callable[[Any], Found]
    full: Any
    quick: Any
    look: str
    scale: str = ""

    def verdict(self, found: Found) -> str:
        """Return the verdict on the claim; a claim that fails far below its source's scale fails at this scale."""
        return NOT_AT_THIS_SCALE if self.scale and found.verdict == NOT_REPRODUCED else found.verdict

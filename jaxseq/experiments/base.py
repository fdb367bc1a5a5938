"""What an experiment is, and the one rule by which a claim of a paper is judged.

An experiment states a claim with its source, measures each part of it for each seed, and turns it into a *margin*: a
number for each seed that is above 0 where that seed agrees with the claim (`above`, `below`, `more`). One rule, fixed
before anything was measured, holds for every part of every experiment:

    reproduced      the 95% confidence interval of the mean margin over the seeds lies above 0
    not reproduced  it lies below 0
    inconclusive    it contains 0, fewer than 5 seeds were run, or a margin is NaN: a seed in which no network learnt
                    anything does not say which learns more (`Row.where`)

The interval is Student's, ``mean ± t(0.975, n - 1) s / sqrt(n)``, s the standard deviation over the n seeds. A claim is
reproduced where all its parts are, not reproduced where one of them is not, else inconclusive. Quantities measured for
comparison are shown without a verdict and do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import stdtrit  # Student's quantile; scipy comes with jax

from jaxseq.cells import Cell
from jaxseq.problems import ModelParams, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = "reproduced", "not reproduced", "inconclusive"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE)
FEWEST = 5
"""Seeds below which nothing is concluded."""


class Row(NamedTuple):
    """One part of a claim, measured.

    Fields:
      what: the quantity, in words.
      claimed: the source's statement about it, in words; empty where there is none, and nothing is judged.
      values: one for each seed, or one number for what depends on no seed.
      margins: one for each seed, above 0 where it agrees with the claim; empty without a claim.
    """

    what: str
    claimed: str
    values: tuple[float, ...]
    margins: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict on this part; empty without a claim."""
        return verdict(self.margins) if self.claimed else ""

    def where(self, told: Any) -> Row:
        """Return the row with NaN for the margins of seeds that tell nothing; `told` is bool ``[seeds]``."""
        told = np.broadcast_to(told, len(self.margins))
        return self._replace(margins=tuple(m if t else math.nan for m, t in zip(self.margins, told, strict=True)))

    @property
    def measured(self) -> str:
        """Mean and standard deviation over the seeds, in words."""
        values = np.asarray(self.values, float)
        if not np.isfinite(values).all():
            kept = values[np.isfinite(values)]
            rest = f"{len(values) - len(kept)} of {len(values)} tell nothing"
            return f"{kept.mean():.4g}; {rest}" if len(kept) else rest
        if len(values) == 1:
            return f"{values[0]:.4g}"
        return f"{values.mean():.4g} ± {values.std(ddof=1):.2g}"


def interval(margins: Sequence[float]) -> tuple[float, float]:
    """Return Student's 95% confidence interval of the mean.

    Example:
      >>> [round(end, 3) for end in interval([1.0, 2.0, 3.0, 4.0, 5.0])]
      [1.037, 4.963]
    """
    values = np.asarray(margins, float)
    half = float(stdtrit(len(values) - 1, 0.975)) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def verdict(margins: Sequence[float]) -> str:
    """Return the verdict on a margin measured for each seed, by the rule above.

    Example:
      >>> verdict([1.0, 2.0, 3.0, 4.0, 5.0]), verdict([-1.0, 1.0, -1.0, 1.0, 0.5]), verdict([1.0] * 4)
      ('reproduced', 'inconclusive', 'inconclusive')
    """
    if len(margins) < FEWEST or not np.isfinite(margins).all():
        return INCONCLUSIVE
    low, high = interval(margins)
    return REPRODUCED if low > 0 else NOT_REPRODUCED if high < 0 else INCONCLUSIVE


def overall(verdicts: Sequence[str]) -> str:
    """Return the verdict on a claim from those on its parts; empty ones do not count.

    Example:
      >>> overall(["reproduced", "", "reproduced"]), overall(["reproduced", "inconclusive"])
      ('reproduced', 'inconclusive')
    """
    judged = [v for v in verdicts if v]
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


def unjudged(what: str, values: Any) -> Row:
    """Return the row of a quantity that the claim says nothing about."""
    return Row(what, "", _numbers(values))


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in np.atleast_1d(np.asarray(values, float)))


class Network(NamedTuple):
    """A network that an experiment trained, to be studied.

    Fields:
      name: for people.
      cell: the Cell.
      problem: that it was trained on.
      params: of cell and readout.
      losses: of its training, ``[steps]``.
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
      networks: some of the trained ones, of the first seed and all on one problem, for a study page; may be empty.
    """

    rows: tuple[Row, ...]
    draw: Callable[[Figure], None]
    networks: tuple[Network, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict on the whole claim."""
        return overall([row.verdict for row in self.rows])


class Experiment(NamedTuple):
    """A claim of a paper, and how to test it.

    Fields:
      name: on the command line.
      claim: in a sentence or two.
      source: the papers that make it.
      run: ``(settings) -> Found``; settings are a NamedTuple of numbers with `seeds` among them.
      full: the settings of the whole experiment.
      quick: settings that take at most two minutes on two cores.
      look: a command whose page shows such a network from inside.
    """

    name: str
    claim: str
    source: str
    run: Callable[[Any], Found]
    full: Any
    quick: Any
    look: str

"""Tests of a margin that was measured for each seed, and their correction for the number of parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, stdtr, stdtrit  # for the binomial and Student's t distributions; jax depends on scipy

FEWEST = 5
"""Smallest number of seeds for a conclusion."""
CONFIDENCE = 0.95
"""Level of the intervals."""


class Tested(NamedTuple):
    """The test of a margin.

    Fields:
      p: the two-sided, uncorrected p-value.
      middle: the mean or the median.
      low, high: its 95% interval.
      effect: Cohen's d of the mean, or the share of untied seeds above 0.
    """

    p: float
    middle: float
    low: float
    high: float
    effect: float


def of_mean(margins: Sequence[float]) -> Tested:
    """Test whether the mean of normal numbers is 0 (Student's t).

    Example:
      >>> [round(n, 3) for n in of_mean([1.0, 2.0, 3.0, 4.0, 5.0])]
      [0.013, 3.0, 1.037, 4.963, 1.897]
    """
    values = np.asarray(margins, float)
    n, mean, spread = len(values), float(values.mean()), float(values.std(ddof=1))
    if spread == 0:  # all seeds agree to the last digit
        effect = math.copysign(math.inf, mean) if mean else 0.0
        return Tested(0.0 if mean else 1.0, mean, mean, mean, effect)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(n)
    p = 2 * float(stdtr(n - 1, -abs(mean) / spread * math.sqrt(n)))
    return Tested(p, mean, mean - half, mean + half, mean / spread)


def of_order(margins: Sequence[float]) -> Tested:
    """Test whether the median is 0 by the signs alone; ties count for neither side.

    A value known only to lie beyond a cap still has a sign, so the test is valid for censored values too. With fewer
    than 6 untied seeds the result is always inconclusive: p is at least 0.06.

    Reference: Conover 1999, "Practical nonparametric statistics", sections 3.4 (sign test) and 3.2 (interval).

    Example:
      >>> [round(n, 3) for n in of_order([3.0, 1.0, 2.0, 1.0, 2.0, 4.0, 0.0, -1.0, 5.0, 2.0])]
      [0.039, 2.0, 0.0, 4.0, 0.889]
    """
    values = np.sort(np.asarray(margins, float))
    n, up, down = len(values), int((values > 0).sum()), int((values < 0).sum())
    p = min(1.0, 2 * float(bdtr(min(up, down), up + down, 0.5))) if up + down else 1.0
    # the largest k such that the median is below the kth value with a chance of at most 2.5%
    outer = [k for k in range(1, n // 2 + 1) if 2 * bdtr(k - 1, n, 0.5) <= 1 - CONFIDENCE]
    low, high = (float(values[outer[-1] - 1]), float(values[n - outer[-1]])) if outer else (-math.inf, math.inf)
    return Tested(p, float(np.median(values)), low, high, up / (up + down) if up + down else 0.5)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the same order.

    Reference: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian J. of Statistics 6(2).

    Example:
      >>> holm([0.01, 0.04, 0.03])
      [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, n in enumerate(sorted(range(len(ps)), key=lambda n: ps[n])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[n]))
        corrected[n] = largest
    return corrected

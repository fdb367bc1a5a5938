"""Training records: reports, the state kept between them, and listeners."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Pending(NamedTuple):
    """Sums over the steps since the last report, if training stopped between two; `Metrics` has their means."""

    losses: list[Any]
    norms: list[Any]
    tokens: float
    busy: float


class Record(NamedTuple):
    """The state of `fit` apart from the model's, saved with every checkpoint.

    Fields:
      best: the lowest number that `fit` judged by, by default the validation loss; infinite before the first report.
      best_step: the step of `best`.
      stale: reports since `best`.
      elapsed: seconds of training up to the last report, without compilation.
      pending: sums since the last report, if training stopped between reports.
    """

    best: float = math.inf
    best_step: int = 0
    stale: int = 0
    elapsed: float = 0.0
    pending: Pending | None = None

    @staticmethod
    def of(facts: Mapping[str, Any]) -> Record:
        """Return the record saved as JSON of ``_asdict``.

        Raises:
          TypeError: if a field is unknown or of another type.
        """
        pending = facts.get("pending")
        if not all(isinstance(value, int | float | np.number) for name, value in facts.items() if name != "pending"):
            raise TypeError("a record holds numbers alone")
        return Record(**{**facts, "pending": pending and Pending(*pending)})


class Metrics(NamedTuple):
    """One line of metrics.jsonl.

    Fields:
      step: steps taken.
      loss: mean training loss since the last report.
      validation_loss: loss on the validation part, or None without one.
      tokens_per_second: since the last report, without compilation, validation and saving.
      gradient_norm: mean since the last report, before clipping.
      elapsed: seconds of training, without compilation.
      more: other measurements, by name.
    """

    step: int
    loss: float
    validation_loss: float | None
    tokens_per_second: float
    gradient_norm: float
    elapsed: float
    more: Mapping[str, float] = MappingProxyType({})

    def flat(self) -> dict[str, Any]:
        """Return all numbers by name, including those in `more`."""
        own = {name: value for name, value in self._asdict().items() if name != "more"}
        return {**own, **self.more}

    def line(self) -> str:
        """Return a line of JSON, with null for NaN and infinity, which JSON lacks."""
        return json.dumps({name: v if _is_number(v) else None for name, v in self.flat().items()}, allow_nan=False)

    @staticmethod
    def of(numbers: Mapping[str, Any]) -> Metrics:
        """Return the inverse of `flat` or `line`; null is NaN, except as validation loss, where it is None.

        Raises:
          TypeError: if one of the fields is missing, or is not a number.
        """
        if not all(type(value) in (int, float) or value is None for value in numbers.values()):
            raise TypeError("a report holds numbers alone")
        if type(numbers["step"]) is not int:
            raise TypeError("step is not a whole number")
        numbers = {
            name: math.nan if value is None and name != "validation_loss" else value for name, value in numbers.items()
        }
        own = {name: value for name, value in numbers.items() if name in Metrics._fields and name != "more"}
        return Metrics(**own, more={name: value for name, value in numbers.items() if name not in own})


def _is_number(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


class Listener:
    """Callbacks for training events; the CLI's subclass draws a progress bar. Each method may be overridden."""

    def started(self, steps: int, done: int) -> None:
        """Called first, with the total steps and those already taken."""

    def compiling(self, programs: int) -> None:
        """Called when compilation begins, with the number of programs."""

    def compiled(self, seconds: float) -> None:
        """Called when training can begin, with the seconds spent waiting for compilation."""

    def advance(self, steps: int, loss: float) -> None:
        """Called after each chunk of steps."""

    def report(self, metrics: Metrics) -> None:
        """Called after each report."""

    def remark(self, text: str) -> None:
        """Called with a sentence that the user should read."""


class Since:
    """The measurements of the steps since the last report, accumulated."""

    def __init__(self, pending: Pending | None = None) -> None:
        """Start empty, or with the pending sums of a training that was stopped."""
        losses, norms, self.tokens, self.busy = pending or Pending([], [], 0.0, 0.0)
        self.losses: list[Any] = [losses] if losses else []
        self.norms: list[Any] = [norms] if norms else []

    def add(self, loss: np.ndarray, norm: np.ndarray, tokens: float, seconds: float) -> None:
        """Add a chunk of steps."""
        self.losses.append(loss)
        self.norms.append(norm)
        self.tokens += tokens
        self.busy += seconds

    def metrics(self, step: int, validation_loss: float | None, elapsed: float) -> Metrics:
        """Return the report of these steps."""
        loss, norm = float(_joined(self.losses).mean()), float(_joined(self.norms).mean())
        return Metrics(step, loss, validation_loss, self.tokens / self.busy, norm, elapsed)

    def pending(self) -> Pending:
        """Return the data of `metrics` in a form for JSON."""
        return Pending(_joined(self.losses).tolist(), _joined(self.norms).tolist(), self.tokens, self.busy)


def _joined(parts: list[Any]) -> np.ndarray:
    """Return the parts concatenated in the last one's dtype; the first may come from JSON, which has no dtypes."""
    return np.concatenate([np.asarray(part, parts[-1].dtype) for part in parts])


def judged_by_loss(metrics: Metrics) -> float:
    """Return the validation loss, or the training loss without one: the lower the better."""
    return metrics.loss if metrics.validation_loss is None else metrics.validation_loss


def remember(record: Record, judged: float, step: int, elapsed: float) -> tuple[Record, bool]:
    """Return the record after a report, and whether the report is the best so far."""
    if judged < record.best:
        return Record(judged, step, 0, elapsed), True
    return record._replace(stale=record.stale + 1, elapsed=elapsed), False

"""Ways to drive a cell over time, all ``(cell, params, carry, xs, mask, reverse) -> (carry, outs)``."""

from collections.abc import Callable

from jaxseq.notation import Carry, Tree
from jaxseq.recurrence._associative import associative
from jaxseq.recurrence._checkpointed import checkpointed
from jaxseq.recurrence._clipped import clipped
from jaxseq.recurrence._deferred import deferred
from jaxseq.recurrence._scan import hold, over_features, scan

Recurrence = Callable[..., tuple[Carry, Tree]]

RECURRENCES: dict[str, Recurrence] = {"scan": scan, "deferred": deferred, "checkpointed": checkpointed}
"""Every recurrence that computes the gradient as it is, by name. `clipped` changes it."""

__all__ = [
    "RECURRENCES",
    "Recurrence",
    "associative",
    "checkpointed",
    "clipped",
    "deferred",
    "hold",
    "over_features",
    "scan",
]

"""Ways to drive a cell over time, each a `Recurrence`: ``(cell, params, xs, carry, *, mask, resets, reverse)``."""

from jaxseq.errors import Registry
from jaxseq.recurrence._associative import associative
from jaxseq.recurrence._checkpointed import checkpointed
from jaxseq.recurrence._chunked import chunked
from jaxseq.recurrence._clipped import clipped
from jaxseq.recurrence._deferred import deferred
from jaxseq.recurrence._forward import forward
from jaxseq.recurrence._newton import Solution, newton, newton_solution
from jaxseq.recurrence._scan import Recurrence, hold, over_features, scan

RECURRENCES: Registry[Recurrence] = Registry(
    "recurrence",
    {
        "scan": scan,
        "deferred": deferred,
        "checkpointed": checkpointed,
        "associative": associative,
        "newton": newton,
        "chunked": chunked,
        "clipped": clipped,
        "forward": forward,
    },
)
"""Every recurrence by name. All compute the same values. `associative` takes only cells whose carry is linear, unit by
unit; `newton` only those with a carry of floating numbers; `chunked` only those whose memory is a matrix. `clipped`
changes the gradient of the carry, and `forward` has no gradient with respect to the inputs."""

EXACT: Registry[Recurrence] = Registry(
    "exact recurrence", {name: RECURRENCES[name] for name in ("scan", "deferred", "checkpointed")}
)
"""Those that take every cell and compute its exact gradient."""

__all__ = [
    "EXACT",
    "RECURRENCES",
    "Recurrence",
    "Solution",
    "associative",
    "checkpointed",
    "chunked",
    "clipped",
    "deferred",
    "forward",
    "hold",
    "newton",
    "newton_solution",
    "over_features",
    "scan",
]

"""Closed and open gates, unit by unit: fractions of steps below 0.1 and above 0.9, and histograms.

A unit whose forget gate is above 0.9 nearly always is a memory; one whose gates are below 0.1 is switched off; one
that is neither is graded. Quantities that do not lie between 0 and 1, a candidate or a pre-activation, are found by
`ranges_of`, from the values of the cell's equations for large inputs.

Reference: Karpathy, Johnson & Li 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078,
section 4.2 (left-saturated and right-saturated gates).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.study.look import EQUAL, Look, look_at, look_for
from jaxseq.study.memory import real_steps
from jaxseq.study.timelines import gates_of

CLOSED = 0.1
"""Below it a gate is closed (Karpathy et al. 2015)."""
OPEN = 0.9
"""Above it a gate is open."""

LARGE, DRAWS = 8.0, 32
"""Standard deviation of the inputs, and number of problems, that show which quantities are bounded."""


class Saturation(NamedTuple):
    """Fractions of real steps, each ``[H]``: ``closed``, below 0.1, and ``open``, above 0.9."""

    closed: Array
    open: Array


def saturation(gate: Array, mask: Array | None = None, *, low: float = CLOSED, high: float = OPEN) -> Saturation:
    """Return how often each unit of a gate ``[T, B, H]`` is below `low` and above `high`.

    Example:
      >>> import jax.numpy as jnp
      >>> saturation(jnp.array([0.0, 0.5, 0.95, 1.0]).reshape(4, 1, 1))
      Saturation(closed=Array([0.25], dtype=float32), open=Array([0.5], dtype=float32))
    """
    gate, real = real_steps(gate, mask)
    axes = tuple(range(gate.ndim - 1))
    count = jnp.broadcast_to(real, gate.shape).sum(axes, dtype=gate.dtype)
    return Saturation(
        (real & (gate < low)).sum(axes, dtype=gate.dtype) / count,
        (real & (gate > high)).sum(axes, dtype=gate.dtype) / count,
    )


def histogram(
    gate: Array, mask: Array | None = None, *, bins: int = 20, lowest: float = 0.0, highest: float = 1.0
) -> Array:
    """Return how many real steps fall into each of `bins` equal parts of lowest ... highest: ``[bins, H]``.

    A part has its lower edge and not its upper one, the last part both. Values outside are not counted.

    Example:
      >>> import jax.numpy as jnp
      >>> histogram(jnp.array([0.0, 0.3, 0.5, 1.0]).reshape(4, 1, 1), bins=2).ravel().tolist()
      [2, 2]
    """
    if bins < 1 or not lowest < highest:
        raise InputError(f"histogram: expected at least 1 bin and lowest < highest; got {bins}, {lowest}, {highest}")
    gate, real = real_steps(gate, mask)
    place = jnp.floor((gate - lowest) * (bins / (highest - lowest)))
    # the upper end would otherwise get its own bin
    place = jnp.where(gate == highest, bins - 1, place)
    axes = tuple(range(gate.ndim - 1))
    # a sum for each part and not a scatter: it stays in the shape [bins, H] under vmap and jit
    return jnp.stack([(real & (place == part)).sum(axes, dtype=jnp.int32) for part in range(bins)])


def ranges_of(cell: Cell) -> dict[str, tuple[float, float] | None]:
    """Return for each named quantity of a cell ``(0, 1)``, ``(-1, 1)``, or None where it has no such bounds.

    Example:
      >>> from jaxseq.cells import gru, rnn
      >>> ranges_of(gru), ranges_of(rnn)
      ({'r': (0.0, 1.0), 'z': (0.0, 1.0), 'n': (-1.0, 1.0)}, {'a': None})
    """
    return ranges_seen(look_at(cell, size=LARGE, draws=DRAWS))


def ranges_in(
    cell: Cell, params: Params, xs: Tree, carry: Carry | None = None
) -> dict[str, tuple[float, float] | None]:
    """Return the result of `ranges_of` for any cell, by the shapes of its params and inputs."""
    return ranges_seen(look_for(cell, params, xs, carry, size=LARGE, draws=DRAWS))


def saturation_of(
    cell: Cell, params: Params, xs: Tree, carry: Carry | None = None, *, mask: Array | None = None
) -> dict[str, Saturation | None]:
    """Return `saturation` of every named quantity of a run; None for one that is not between 0 and 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> seen = saturation_of(gru, params, jnp.ones((7, 2, 3)))
      >>> seen["z"].open.shape, seen["n"]
      ((5,), None)
    """
    ranges = ranges_in(cell, params, xs, carry)
    gates = gates_of(cell, params, xs, carry, mask=mask)
    return {name: saturation(gate, mask) if ranges[name] == (0.0, 1.0) else None for name, gate in gates.items()}


def ranges_seen(seen: Look) -> dict[str, tuple[float, float] | None]:
    """Return the ranges, as `ranges_of`, from steps examined with large inputs."""
    return {name: _range(gate) for name, gate in seen.gates.items()}


def _range(values: np.ndarray) -> tuple[float, float] | None:
    if not values.size or not np.issubdtype(values.dtype, np.floating) or not np.abs(values).max() <= 1 + EQUAL:
        return None
    # at large random inputs a quantity shows its bounds: a tanh goes below 0, a sigmoid does not
    return (0.0, 1.0) if values.min() >= -EQUAL else (-1.0, 1.0)

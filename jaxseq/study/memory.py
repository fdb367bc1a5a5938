"""The memory of a cell: the gate that retains, the half-life of each unit, and the share left at the end.

Where the new state is ``k * old + written``, k is the gate that retains: f of an LSTM, z of a GRU here, and one minus
the update gate in other libraries. `keep_of` does not use names. It holds a cell's gates at their values and
differentiates the new state along a random direction of the old: a gate that retains is the ratio of the two, unit by
unit. Everything else here takes that gate's values ``[T, B, H]``, from `jaxseq.study.gates_of`.

The share of its state that a unit retains over the steps t+1 ... T is the product of the gates of these steps. A unit
whose gate were always at its geometric mean k~ would have lost half of its state after ln(1/2) / ln k~ steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq.cells import Cell
from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import over_features
from jaxseq.study.look import EQUAL, Look, look_at, look_near, over


class Keep(NamedTuple):
    """Which gate retains which part of the carry; their names as in `jaxseq.interventions` (``"0.f"`` in a stack).

    Fields:
      leaf: the part of the carry, ``"c"``.
      gate: the gate, ``"f"``.
      inverted: whether it is one minus the gate that retains.
    """

    leaf: str
    gate: str
    inverted: bool = False

    def of(self, gates: Mapping[str, Any]) -> Any:
        """Return the gate that retains, 1 keeping and 0 erasing, from gates by name (those of `gates_of`)."""
        gate = choose("gate", self.gate, gates)
        return 1 - gate if self.inverted else gate


class HalfLife(NamedTuple):
    """How long each unit retains, and over how much that was taken.

    Fields:
      geometric_mean: ``[H]``, of the gate that retains, over all real steps.
      half_life: ``[H]``, steps until half is lost; inf where nothing is lost, 0 where one step erased all, NaN where
        the gate was negative.
      censored: bool ``[H]``, whether the half-life is longer than the longest sequence, and was not seen to pass.
      longest: int, the steps of the longest sequence.
      steps: int, the real steps of all sequences.
      sequences: int, those with a real step.
    """

    geometric_mean: Array
    half_life: Array
    censored: Array
    longest: Array
    steps: Array
    sequences: Array


def keeps_of(cell: Cell, seed: int = 0) -> tuple[Keep, ...]:
    """Return every part of the carry that a gate retains, with that gate, as `keep_of` finds it out.

    Example:
      >>> from jaxseq.cells import lstm, gru, stack
      >>> [(keep.leaf, keep.gate) for keep in keeps_of(stack(lstm, gru))]
      [('0.c', '0.f'), ('1.h', '1.z')]
    """
    return keeps_seen(look_at(cell, seed))


def keep_of(cell: Cell, seed: int = 0) -> Keep | None:
    """Return which gate retains, found out from the cell's equations on a random problem; None where none does.

    A part of the carry is retained by a gate if, all gates held at their values, the derivative of the new one by the
    old one is that gate (or one minus it) and no unit's depends on another's. Works within jit.

    Args:
      cell: a Cell that ``init(key, input_size, hidden_size)`` makes; for another see `keeps_in`.
      seed: of the random problem.

    Raises:
      InputError: if the cell's init needs more than sizes.

    Example:
      >>> from jaxseq.cells import brc, gru, lstm, rnn
      >>> keep_of(lstm)
      Keep(leaf='c', gate='f', inverted=False)
      >>> keep_of(gru).gate, keep_of(rnn)
      ('z', None)
    """
    return next(iter(keeps_of(cell, seed)), None)


def keeps_in(cell: Cell, params: Params, xs: Tree, carry: Carry | None = None, *, seed: int = 0) -> tuple[Keep, ...]:
    """Return the gates as `keeps_of`, for a cell whose init needs more than sizes, such as one that reads a source.

    Only the sizes of params, carry and ``xs [T, B, D]`` are used, so that it works within jit, unless a cell gives NaN
    with any numbers but its own.

    Raises:
      InputError: within jit, for such a cell.
    """
    return keeps_seen(look_near(cell, params, xs, carry, seed=seed))


def half_life(keep: Array, mask: Array | None = None) -> HalfLife:
    """Return each unit's half-life, ln(1/2) / ln k~, with k~ the geometric mean of its gate over steps and batch.

    Args:
      keep: ``[T, B, H]``, the values of the gate that retains. A gate above 1 loses nothing; one below 0, which flips
        the sign of the state, gives NaN.
      mask: bool ``[T, B]``, True where a step is real.

    Example:
      >>> import jax.numpy as jnp
      >>> life = half_life(jnp.broadcast_to(jnp.array([0.5, 0.9, 0.99]), (50, 1, 3)))
      >>> [round(float(steps), 4) for steps in life.half_life], life.censored.tolist()
      ([1.0, 6.5788, 68.9676], [False, False, True])
    """
    keep, real = real_steps(keep, mask)
    # ln 1 = 0 at padded steps; the inner where keeps the derivative finite there
    logs = jnp.where(real, jnp.log(jnp.where(real, keep, jnp.ones_like(keep))), jnp.zeros_like(keep))
    axes = tuple(range(keep.ndim - 1))
    # the mean of logarithms is the logarithm of the geometric mean
    mean = logs.sum(axes) / jnp.broadcast_to(real, keep.shape).sum(axes, dtype=keep.dtype)
    rows = (real.reshape(*real.shape[:2], -1)[..., 0] if real.ndim > 2 else real[:, :1]).sum(0)  # real steps of each
    return _of_mean(mean, rows.max(initial=0), rows.sum(), (rows > 0).sum())


def pooled_half_life(lives: Sequence[HalfLife]) -> HalfLife:
    """Return the half-lives of several batches as if they had been one.

    Example:
      >>> import jax.numpy as jnp
      >>> ones = [half_life(jnp.full((T, 1, 1), keep)) for T, keep in ((30, 0.5), (10, 0.125))]
      >>> both = pooled_half_life(ones)
      >>> round(float(both.half_life[0]), 4), int(both.steps), int(both.sequences)  # (30 * 1 + 10 * 3) / 40 halvings
      (0.6667, 40, 2)
    """
    if not lives:
        raise InputError("pooled_half_life: there are no half-lives to pool")
    steps, sequences = (jnp.stack(counts).sum(0) for counts in zip(*(life[4:] for life in lives), strict=True))
    # logarithms add up over steps, so batches are weighted by their steps
    parts = [jnp.log(life.geometric_mean) * life.steps.astype(life.geometric_mean.dtype) for life in lives]
    mean = sum(parts[1:], parts[0]) / steps.astype(parts[0].dtype)
    longest = jnp.max(jnp.stack([life.longest for life in lives]))
    return _of_mean(mean, longest, steps, sequences)


def _of_mean(mean: Array, longest: Array, steps: Array, sequences: Array) -> HalfLife:
    """Return half-lives by the mean logarithm of a gate, ``[H]``."""
    # -1 where nothing is lost: a division by 0 would give NaN gradients though its result is not used
    losing = jnp.where(mean < 0, mean, -jnp.ones_like(mean))
    life = jnp.where(mean < 0, -jnp.log(2.0).astype(mean.dtype) / losing, jnp.full_like(mean, jnp.inf))
    # NaN < 0 is False, which gave inf above
    life = jnp.where(jnp.isnan(mean), mean, life)
    return HalfLife(jnp.exp(mean), life, life > longest.astype(mean.dtype), longest, steps, sequences)


def outlasting(life: HalfLife, lag: int | None = None) -> Array:
    """Return how many units still hold more than half after a lag, a whole number; by default the longest sequence.

    A median half-life misleads where few units remember and the others need not: one unit that outlasts the lag can be
    enough.

    Example:
      >>> import jax.numpy as jnp
      >>> life = half_life(jnp.broadcast_to(jnp.array([0.5, 0.9, 0.99]), (50, 1, 3)))
      >>> int(outlasting(life)), int(outlasting(life, lag=6)), int(outlasting(life, lag=7))
      (1, 2, 1)
    """
    longer = jnp.asarray(life.longest if lag is None else lag).astype(life.half_life.dtype)
    return (life.half_life > longer).sum()  # False for NaN


def time_constant(keep: Array, mask: Array | None = None) -> Array:
    """Return ``1 / (1 - k)`` of the mean k of each unit, ``[H]``: the steps after which a leak of 1 - k has lost 1/e.

    A chrono initialisation spreads it evenly over 2 ... T_max (Tallec & Ollivier 2018, arXiv:1804.11188).

    Example:
      >>> import jax.numpy as jnp
      >>> time_constant(jnp.full((8, 1, 1), 0.75)).tolist()
      [4.0]
    """
    keep, real = real_steps(keep, mask)
    axes = tuple(range(keep.ndim - 1))
    count = jnp.broadcast_to(real, keep.shape).sum(axes, dtype=keep.dtype)
    return 1 / (jnp.where(real, 1 - keep, jnp.zeros_like(keep)).sum(axes) / count)


def survival(keep: Array, mask: Array | None = None) -> Array:
    """Return the share of each unit's state after each step that is left at the end: ``[T, B, H]``.

    It is the product of the later gates.

    ``survival[t]`` is ``keep[t + 1] * ... * keep[T - 1]``, so that the last is 1: the derivative of the last state by
    the state after step t, as far as it goes through the state itself. Padded steps retain all.

    Example:
      >>> import jax.numpy as jnp
      >>> survival(jnp.full((4, 1, 1), 0.5)).ravel().tolist()
      [0.125, 0.25, 0.5, 1.0]
    """
    keep, real = real_steps(keep, mask)
    # shifted by one: the gate of step t acts on the state before t, not on the one after it
    later = jnp.concatenate([jnp.where(real, keep, jnp.ones_like(keep))[1:], jnp.ones_like(keep[:1])])
    return lax.cumprod(later, axis=0, reverse=True)


def keeps_seen(seen: Look) -> tuple[Keep, ...]:
    """Return the gates as `keeps_of`, from a step that was looked at."""
    return tuple(keep for leaf, ratio in seen.ratios.items() for keep in _matching(leaf, ratio, seen.gates))


def _matching(leaf: str, ratio: np.ndarray, named: Mapping[str, np.ndarray]) -> list[Keep]:
    """Return the first gate that is everywhere the ratio, or one minus it; none where the ratio is 0."""
    # nothing of the old part is retained: a gate that happens to be 0 would fit
    if not np.abs(ratio).max(initial=0) > EQUAL:
        return []
    # the gate itself before one minus it
    for inverted in (False, True):
        for name, gate in named.items():
            # a lower rank is fine, one gate for a whole row of a matrix state
            if gate.ndim > ratio.ndim or not np.issubdtype(gate.dtype, np.floating):
                continue
            kept = over(1 - gate if inverted else gate, ratio)
            fits = all(a in (1, b) for a, b in zip(kept.shape, ratio.shape, strict=True))
            if fits and np.abs(ratio - kept).max() <= EQUAL:
                return [Keep(leaf, name, inverted)]
    return []


def real_steps(keep: Array, mask: Array | None) -> tuple[Array, Array]:
    """Return a gate's values ``[T, B, H]`` as an array, and which of them are of real steps, broadcasting to it.

    Raises:
      InputError: if they are not over time and batch, or the mask does not fit.
    """
    keep = jnp.asarray(keep)
    if keep.ndim < 2:
        raise InputError(f"expected a gate's values [T, B, H]; got the shape {keep.shape}")
    real = jnp.ones(keep.shape[:-1], bool) if mask is None else jnp.asarray(mask)
    if real.dtype != bool or real.shape != keep.shape[: real.ndim]:
        raise InputError(f"expected a mask bool [T, B] = {keep.shape[:-1]}; got {real.dtype} of shape {real.shape}")
    return keep, over_features(real, keep)

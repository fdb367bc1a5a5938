"""Contexts in which a unit is highest and lowest over a corpus, and the hidden states nearest to a given one.

Both take values ``[T, B, H]`` of any number of sequences, as `jaxseq.trace` and `jaxseq.study.gates_of` return them,
and give rows and steps, with which to look up the text.

References: Karpathy, Johnson & Li 2015, arXiv:1506.02078, section 4.1 (units read by the contexts in which they are
high); Strobelt et al. 2018, "LSTMVis", arXiv:1606.07461 (search for like states).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.errors import InputError, choose
from jaxseq.notation import Array
from jaxseq.study.memory import real_steps


class Places(NamedTuple):
    """Steps of a corpus, for each unit, the most extreme first.

    Fields:
      rows: int ``[H, N]``, which sequence; -1 where there are fewer real steps than were asked for.
      steps: int ``[H, N]``, the step in that row.
      values: ``[H, N]``, the unit there; NaN beyond the last such place.
      windows: ``[H, N, before + 1 + after]``, the unit at the steps around it; NaN beyond the sequence.
    """

    rows: Array
    steps: Array
    values: Array
    windows: Array


class Contexts(NamedTuple):
    """Where each unit is highest, and where it is lowest."""

    highest: Places
    lowest: Places


class Neighbours(NamedTuple):
    """The steps whose states are nearest to each query, the nearest first: each ``[Q, N]``; -1 and NaN as in `Places`.

    Fields:
      rows: which sequence.
      steps: the step in that row.
      distances: from the query.
    """

    rows: Array
    steps: Array
    distances: Array


def top_contexts(
    values: Array, mask: Array | None = None, *, count: int = 10, before: int = 10, after: int = 2
) -> Contexts:
    """Return the steps at which each unit is highest and lowest, over all rows.

    Args:
      values: ``[T, B, H]``.
      mask: bool ``[T, B]``.
      count: N.
      before: steps shown before each.
      after: steps shown after each.

    Raises:
      InputError: if values are not over time and batch, the mask does not fit, or a number is out of range.

    Example:
      >>> found = top_contexts(jnp.array([[0.0, 3.0], [5.0, 1.0]])[..., None], count=2)  # two rows of two steps
      >>> found.highest.values.tolist(), found.highest.rows.tolist(), found.highest.steps.tolist()
      ([[5.0, 3.0]], [[0, 1]], [[1, 0]])
    """
    values, real = _steps(values, mask)
    for name, number, least in (("count", count, 1), ("before", before, 0), ("after", after, 0)):
        if number < least:
            raise InputError(f"top_contexts: {name} must be at least {least}; got {number}")
    seen = jnp.where(real[..., None], values, jnp.full_like(values, jnp.nan))

    def extreme(sign: int) -> Places:
        # the lowest are the largest of -values
        rows, steps, found = _largest(sign * values, real, count)
        around = steps[..., None] + jnp.arange(-before, after + 1, dtype=steps.dtype)[None, None]
        inside = (around >= 0) & (around < values.shape[0]) & (rows >= 0)[..., None]
        unit = jnp.broadcast_to(jnp.arange(values.shape[-1], dtype=steps.dtype)[:, None, None], around.shape)
        # clipped to a valid step first; places outside become NaN below
        window = seen[around.clip(0, values.shape[0] - 1), jnp.broadcast_to(rows[..., None], around.shape), unit]
        return Places(rows, steps, sign * found, jnp.where(inside, window, jnp.full_like(window, jnp.nan)))

    return Contexts(extreme(1), extreme(-1))


def nearest_states(
    states: Array, query: Array, mask: Array | None = None, *, count: int = 10, metric: str = "euclidean"
) -> Neighbours:
    """Return the steps of a corpus whose states are most like a given one.

    Args:
      states: ``[T, B, H]``.
      query: ``[H]``, or several ``[Q, H]``. If it is one of the states, it is its own nearest.
      mask: bool ``[T, B]``.
      count: N.
      metric: "euclidean", or "cosine": one minus the cosine of the angle.

    Memory is Q T B numbers.

    Raises:
      InputError: if shapes do not fit, or for another metric.

    Example:
      >>> found = nearest_states(jnp.array([0.0, 3.0, 5.0]).reshape(3, 1, 1), jnp.array([4.5]), count=2)
      >>> found.steps.tolist(), found.distances.tolist()
      ([[2, 1]], [[0.5, 1.5]])
    """
    states, real = _steps(states, mask)
    choose("metric", metric, {"euclidean": None, "cosine": None})
    if count < 1:
        raise InputError(f"nearest_states: count must be at least 1; got {count}")
    query, H = jnp.asarray(query), states.shape[-1]
    if query.ndim not in (1, 2) or query.shape[-1] != H:
        raise InputError(f"nearest_states: the query must be [{H}] or [Q, {H}]; got the shape {query.shape}")
    queries = query.reshape(-1, H).astype(states.dtype)

    def apart(one: Array) -> Array:
        if metric == "cosine":
            length = jnp.sqrt((states**2).sum(-1) * (one**2).sum())
            # a state of zeros has no direction: its cosine counts as 0
            return 1 - states @ one / jnp.where(length > 0, length, jnp.ones_like(length))
        return jnp.sqrt(((states - jnp.broadcast_to(one, states.shape)) ** 2).sum(-1))

    distances = jnp.moveaxis(jax.vmap(apart)(queries), 0, -1)  # [T, B, Q]
    rows, steps, found = _largest(-distances, real, count)
    return Neighbours(rows, steps, -found)


def _steps(values: Array, mask: Array | None) -> tuple[Array, Array]:
    values = jnp.asarray(values)
    if values.ndim != 3:
        raise InputError(f"expected values [T, B, H] of several sequences; got the shape {values.shape}")
    values, real = real_steps(values, mask)
    return values, real.reshape(values.shape[:2])


def _largest(values: Array, real: Array, count: int) -> tuple[Array, Array, Array]:
    """Return row, step and value of the `count` largest of each unit ``[T, B, H]``, each ``[H, count]``."""
    T, B, H = values.shape
    # [H, T * B]: top_k works on the last axis, here all steps of all rows
    low = jnp.where(real[..., None], values, jnp.full_like(values, -jnp.inf)).reshape(T * B, H).T
    found, place = jax.lax.top_k(low, min(count, T * B))
    # real steps come first, so the places beyond their number are padding
    place, there = place.astype(jnp.int32), jnp.arange(found.shape[-1]) < real.sum()
    there = jnp.broadcast_to(there, found.shape)
    none = jnp.full_like(place, -1)
    # the flat index is step * B + row
    parts = jnp.where(there, place % B, none), jnp.where(there, place // B, none)
    found = jnp.where(there, found, jnp.full_like(found, jnp.nan))
    # always `count` places, so that the shape does not depend on T * B
    more = ((0, 0), (0, count - found.shape[-1]))
    rows, steps = (jnp.pad(a, more, constant_values=-1) for a in parts)
    return rows, steps, jnp.pad(found, more, constant_values=jnp.nan)

"""A retained state as an exact sum: the part that each earlier step wrote, and the part left of the start.

Where ``state = k * old + written`` with a gate k that retains, the state after step t is a sum:

    state_t  =  k_1 ... k_t * state_0  +  sum over s <= t of  k_(s+1) ... k_t * written_s

The sum shows which step wrote the numbers of the state. The gates and the written values depend on earlier steps as
well, through the rest of the state. That is not counted here; `jaxseq.study.connectivity` counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq._unroll import trace
from jaxseq.cells import Cell, lift_sequence
from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import over_features
from jaxseq.study.look import look_for, over
from jaxseq.study.memory import Keep, keeps_seen
from jaxseq.study.timelines import accounting
from jaxseq.study.whatif import real_of
from jaxseq.trees import named_leaves


class Contributions(NamedTuple):
    """The parts of a retained state at S steps.

    Fields:
      parts: ``[S, T + 1, B, H]``: index 0 holds the remainder of the start, index s + 1 the remainder of the value
        written at step s. 0 where s is later or padded, and at padded ones of the S steps.
      state: ``[S, B, H]``, the state as the run had it.
      steps: int ``[S]`` or ``[S, B]``, the S steps.
      error: the largest difference between a sum of parts and the state, relative to the largest entry or to 1.
    """

    parts: Array
    state: Array
    steps: Array
    error: Array


def contributions(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    steps: Sequence[int] | Array | None = None,
    keep: Keep | None = None,
) -> Contributions:
    """Return how much of the state at each step was written at each earlier step, exactly.

    For an LSTM ``c_t = (f_1 ... f_t) c_0 + sum_s (f_(s+1) ... f_t) i_s g_s``, for a GRU the same with z and
    ``(1 - z) n``. Memory is the result, ``S * (T + 1) * B * H`` numbers, and about ``8 * T * B * H`` for the run:
    choose steps for a long sequence.

    Args:
      cell: any Cell with a gate that retains (`keeps_in`).
      params: its parameters; the result has their dtype, or that of the state where it is wider.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``, True where a step is real.
      steps: the steps at which to look, all T by default: int ``[S]``, or ``[S, B]`` with a step for each row, such as
        ``(lengths - 1)[None]`` for the last real one.
      keep: which part of the carry, where there are several (`keeps_of`); by default the first.

    Raises:
      InputError: if no gate of the cell retains; if `steps` are not whole numbers from 0 to T - 1 of one of these
        shapes (their values are not checked where they are traced); and as `ledger`.

    Reference: Levy, Lee, FitzGerald & Zettlemoyer 2018, arXiv:1805.03716, which reads an LSTM as this weighted sum.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> found = contributions(lstm, params, jnp.ones((7, 2, 3)), steps=[6])
      >>> found.parts.shape, bool(found.error < 1e-6)
      ((1, 8, 2, 5), True)
    """
    xs = lift_sequence(cell, jax.tree.map(jnp.asarray, xs))
    seen = look_for(cell, params, xs, carry)
    keep = next(iter(keeps_seen(seen)), None) if keep is None else keep
    if keep is None:
        raise InputError(
            f"contributions({cell.name}): no gate of this cell retains a part of its carry, so its state is not a sum "
            "over steps; `connectivity` takes every cell"
        )
    choose(f"part of the carry of {cell.name}", keep.leaf, seen.new)
    choose(f"gate of {cell.name}", keep.gate, seen.gates)
    run = trace(accounting(cell, keep, None), params, xs, carry, mask=mask)[1]
    _, wrote, new = run.outs[:3]
    T, *places = jax.tree.leaves(xs)[0].shape[:-1]
    rows = tuple(places[: len(places) - cell.spatial])
    real = real_of(cell, xs, mask)
    # k_t, [T, B, H]: the gate itself, or one minus it where it overwrites
    kept = jnp.broadcast_to(over(keep.of(named_leaves(run.gates)), new), new.shape)
    kept = jnp.where(over_features(real, new), kept, jnp.ones_like(kept))  # a padded step loses nothing
    start = named_leaves(cell.initial_carry(params, tuple(places)) if carry is None else carry)[keep.leaf]
    # index 0 is the start, index s + 1 the value written at step s
    written = jnp.concatenate([start[None].astype(wrote.dtype), wrote])
    chosen = _steps(cell, steps, T, rows)
    # one of the S steps at a time: a step's parts are [T + 1, B, H] already
    parts, state = lax.map(lambda step: _at(step, kept, written, new, real), chosen)
    most = lambda a: jnp.abs(a).max(initial=0)  # noqa: E731
    return Contributions(parts, state, chosen, most(parts.sum(1) - state) / jnp.maximum(most(state), 1))


def _at(step: Array, kept: Array, written: Array, new: Array, real: Array) -> tuple[Array, Array]:
    """Return the parts of the state at one step, ``[T + 1, B, H]``, and that state."""
    T, *rows = real.shape
    step = jnp.broadcast_to(step, tuple(rows))
    past = jnp.arange(T, dtype=step.dtype).reshape(T, *[1] * len(rows)) <= step[None]
    # the gates after each step and up to this one: those of later steps count as 1
    factors = jnp.where(over_features(past, kept), kept, jnp.ones_like(kept))
    # left[s] = k_s ... k_step
    left = lax.cumprod(factors, axis=0, reverse=True)
    # shifted by one: the value written at s is retained from s + 1 on, the start from step 0 on
    left = jnp.concatenate([left, jnp.ones_like(left[:1])]) * written
    # whether the step that is looked at is real, [1, B]
    here = jnp.take_along_axis(real, step[None], axis=0)
    # the start always counts; written values only up to the step, and only at real steps
    there = jnp.concatenate([jnp.ones_like(past[:1]), past & real]) & here
    state = jnp.take_along_axis(new, over_features(step[None], new), axis=0)[0]
    return (
        jnp.where(over_features(there, left), left, jnp.zeros_like(left)),
        jnp.where(over_features(here[0], state), state, jnp.zeros_like(state)),
    )


def _steps(cell: Cell, steps: Sequence[int] | Array | None, T: int, rows: tuple[int, ...]) -> Array:
    """Return the steps to look at, int ``[S]`` or ``[S, B]``."""
    if steps is None:
        return jnp.arange(T)
    # traced steps have no values to check
    known = None if isinstance(steps, jax.core.Tracer) else np.asarray(steps)
    chosen = steps if known is None else known
    assert isinstance(chosen, np.ndarray | jax.Array)
    if not jnp.issubdtype(chosen.dtype, jnp.integer) or chosen.ndim < 1 or chosen.shape[1:] not in ((), rows):
        raise InputError(
            f"contributions({cell.name}): steps must be whole numbers [S], or [S, B] with B = {rows}; got "
            f"{chosen.dtype} of shape {chosen.shape}"
        )
    if known is not None and (wrong := [int(step) for step in known.ravel() if not 0 <= step < T]):
        raise InputError(f"contributions({cell.name}): steps must be from 0 to {T - 1}; got {wrong[0]}")
    return jnp.asarray(chosen)

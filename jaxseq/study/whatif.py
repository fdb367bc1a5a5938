"""What if a gate is held, a unit silenced or an input swapped: the effect on the outputs and the loss.

States are changed as gates are, by their names in the carry: ``{"f": 1.0}`` never forgets, ``{"h": {3: 0.0}}`` silences
the output of unit 3 of an LSTM, ``{"c": {3: 0.0}}`` its state as well.

A gate changed here is changed in a cell that was trained without the change. The effect measures the use that the
trained weights make of the gate. A cell trained without the gate may do otherwise.

Some changes have no result: an sLSTM whose input gate is held at 0 divides 0 by 0. Their effects are NaN. They are
undefined, neither large nor small, and `Effect.undefined` and `Atlas.undefined` count them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq._unroll import trace, unroll
from jaxseq.cells import Cell
from jaxseq.errors import InputError, choose
from jaxseq.interventions import at_steps, hold_at, intervene, intervene_at
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import over_features
from jaxseq.study.gradients import showing_states
from jaxseq.trees import named_leaves


class Effect(NamedTuple):
    """The effect of a change.

    Fields:
      outs: ``[T, B, H]``, as they were.
      changed: as they are with the change.
      moved: ``[T, B]``, the root mean square over the units of their difference; 0 at padded steps. Of outputs that
        are several arrays, as with attention, each weighs the same.
      loss: as it was, of the shape that the loss has; None where no loss was given.
      changed_loss: as it is with the change, or None.
    """

    outs: Array
    changed: Array
    moved: Array
    loss: Array | None
    changed_loss: Array | None

    @property
    def undefined(self) -> Array:
        """Return bool ``[T, B]``, the steps at which the changed outputs are not all finite."""
        return ~jnp.isfinite(self.moved)


def what_if(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    changes: Mapping[str, Any] | None = None,
    swapped: Tree | None = None,
    loss: Callable[[Carry, Tree], Array] | None = None,
    at: Array | Sequence[int] | None = None,
) -> Effect:
    """Run a cell as it is and with changes, and compare.

    Args:
      cell: any Cell; the rest as in `unroll`.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``.
      changes: by the name of a gate or of a state (in a stack ``"0.f"``): a number, an array that broadcasts to
        ``[B, H]``, ``{unit: number}``, or a function ``(value, gate) -> value`` as `intervene` takes it.
      swapped: inputs to run over instead of xs, of the same shapes.
      loss: of the results of `unroll`, ``(carry, outs) -> []``, or ``[T, B]`` to see where it changes.
      at: the steps at which the changes are made, numbers or bool ``[T]`` or ``[T, B]``; all by default.

    Memory is that of two runs.

    Raises:
      InputError: as `clamp` and `intervene`; if nothing is changed, or `at` is given without changes; or if swapped
        has other shapes than xs.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> found = what_if(lstm, params, jnp.ones((7, 2, 3)), changes={"f": 1.0})  # never forget
      >>> found.moved.shape, bool(found.moved[0].max() == 0), bool(found.moved[-1].min() > 0)
      ((7, 2), True, True)
    """
    if not changes and swapped is None:
        raise InputError(f'what_if({cell.name}): give changes, such as {{"f": 1.0}}, or swapped inputs')
    if swapped is not None and (have := jax.tree.map(jnp.shape, swapped)) != (want := jax.tree.map(jnp.shape, xs)):
        raise InputError(f"what_if({cell.name}): swapped must be of the shape of xs, {want}; got {have}")
    if at is not None and not changes:
        raise InputError(f"what_if({cell.name}): at says at which steps changes are made; give changes")
    # the same carry and mask in both runs: all that differs is the change
    first, outs = unroll(cell, params, xs, carry, mask=mask)
    given = xs if swapped is None else swapped
    # swapped inputs and changes may come together
    other = cell if not changes else _with(cell, changes, timed=at is not None)
    # the steps travel with the inputs, so that the loop stays one compiled scan
    given = given if at is None else at_steps(cell, given, at)
    second, changed = unroll(other, params, given, carry, mask=mask)
    # first and second are the carries at the end: a loss may be of either
    before, after = (None, None) if loss is None else (loss(first, outs), loss(second, changed))
    return Effect(outs, changed, moved_by(outs, changed), before, after)


class Atlas(NamedTuple):
    """The effect of holding each unit of each gate, by the gate's name, each ``[V, units]``; empty if it has no gates.

    Fields:
      values: the numbers that the units were held at.
      moved: root mean square change of the outputs, over real steps, rows and units.
      loss: the change of the loss, positive where the unit's freedom was of use; None where no loss was given.
      unused: gates that nothing in a step is computed from, which cannot have an effect. They are the keys, so that a
        jitted function may return them.
    """

    values: dict[str, Array]
    moved: dict[str, Array]
    loss: dict[str, Array] | None
    unused: dict[str, None]

    @property
    def undefined(self) -> dict[str, Array]:
        """Return how many of a gate's effects are not finite, by its name."""
        return {name: (~jnp.isfinite(effects)).sum() for name, effects in (self.loss or self.moved).items()}


def atlas(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    loss: Callable[[Carry, Tree], Array] | None = None,
    gates: Sequence[str] | None = None,
    units: Sequence[int] | None = None,
    values: Sequence[float | str] = (0.0, 1.0, "mean"),
    together: int = 64,
) -> Atlas:
    """Hold one unit of one gate at a time at each of some values, and measure the effect.

    Each is a run of its own, and `together` run side by side by `vmap`, each with its outputs in memory a few times,
    ``[T, B, H]``. An LSTM of 256 units makes 3,072 runs: over 1,000 steps of one row they take about 12 s on one core,
    and 70 MiB.

    Args:
      cell: any Cell; the rest as in `unroll`.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``.
      loss: ``(carry, outs) -> []`` of the results of `unroll`.
      gates: names of gates, or of states; all gates by default.
      units: numbers; all by default. Those of a gate of several axes are counted row by row.
      values: numbers, and "mean" for the unit's own mean over real steps and rows.
      together: runs at a time.

    Raises:
      InputError: for an unknown gate, unit or value, or a loss that is not one number.

    Example:
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> found = atlas(gru, params, jnp.ones((7, 2, 3)), loss=lambda carry, outs: (outs**2).mean())
      >>> {name: effects.shape for name, effects in found.loss.items()}
      {'r': (3, 5), 'z': (3, 5), 'n': (3, 5)}
    """
    if wrong := [v for v in values if isinstance(v, str) and v != "mean"]:
        raise InputError(f'atlas({cell.name}): values must be numbers or "mean"; got {wrong[0]!r}')
    if together < 1:
        raise InputError(f"atlas({cell.name}): together must be at least 1; got {together}")
    start, seen = trace(cell, params, xs, carry, mask=mask)
    # the unchanged run is computed once, and every effect is relative to it
    base = None if loss is None else loss(start, seen.outs)
    if base is not None and jnp.ndim(base):
        raise InputError(f"atlas({cell.name}): the loss must be one number; got the shape {jnp.shape(base)}. Sum it")
    chosen = _chosen(cell, seen, gates)
    # states get names among the gates, so that one mechanism holds both
    open_cell = showing_states(cell)
    real = real_of(cell, xs, mask)
    held: dict[str, Array] = {}
    moved: dict[str, Array] = {}
    losses: dict[str, Array] = {}
    unused: dict[str, None] = {}
    for name, gate in chosen.items():
        # units are counted along all axes of a gate, such as those of heads
        H = math.prod(gate.shape[real.ndim :])
        of = jnp.arange(H) if units is None else jnp.asarray(units)
        if units is not None and not all(0 <= u < H for u in units):
            raise InputError(f"atlas({cell.name}): {name} has the units 0 to {H - 1}; got {list(units)}")
        if not used_in(open_cell, name, params, xs, carry):
            # not run: each of its effects would be exactly 0, and a picture of zeros looks like a finding
            unused[name] = None
            continue
        mean = _mean(gate, real)[of]
        # [V, units]: "mean" is another number for each unit
        at = jnp.stack([mean if isinstance(v, str) else jnp.full(of.shape, v, gate.dtype) for v in values])

        def one(
            given: tuple[Array, Array], name: str = name, shape: tuple[int, ...] = gate.shape[real.ndim :]
        ) -> tuple[Array, Array | None]:
            unit, value = given
            # unit and value are traced: all runs of a gate share one program
            changed = intervene(open_cell, {name: _one_unit(unit, value, shape)})
            end, outs = unroll(changed, params, xs, carry, mask=mask)
            by = None if loss is None or base is None else loss(end, outs) - base
            return moved_in_all(seen.outs, outs, real), by

        # V * units runs, the units of the first value first
        runs = (jnp.tile(of, len(values)), at.reshape(-1))
        effects = lax.map(one, runs, batch_size=min(together, runs[0].shape[0]))
        held[name] = at
        moved[name], by = jax.tree.map(lambda a, at=at: a.reshape(at.shape), effects)
        if by is not None:
            losses[name] = by
    return Atlas(held, moved, None if loss is None else losses, unused)


def held_gates(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    loss: Callable[[Carry, Tree], Array],
    gates: Sequence[str] | None = None,
    values: Sequence[float] = (0.0, 1.0),
) -> dict[str, Array]:
    """Return the change of the loss with all units of a gate held at each of some values, by gate: ``[V]``.

    Each is one run. In a stack the gates of every layer are held, one gate of one layer at a time. Gates that nothing
    is computed from are left out; NaN where a change has no result.

    Args:
      cell: any Cell; the rest as in `unroll`.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``.
      loss: ``(carry, outs) -> []`` of the results of `unroll`.
      gates: names of gates, or of states; all gates by default.
      values: numbers.

    Raises:
      InputError: for an unknown gate.

    Example:
      >>> from jaxseq.cells import gru, stack
      >>> both = stack(gru, gru)
      >>> params, xs = both.init(jax.random.key(0), 3, 5), jnp.ones((7, 2, 3))
      >>> found = held_gates(both, params, xs, loss=lambda carry, outs: (outs**2).mean(), gates=["0.z", "1.z"])
      >>> {name: effects.shape for name, effects in found.items()}
      {'0.z': (2,), '1.z': (2,)}
    """
    start, seen = trace(cell, params, xs, carry, mask=mask)
    base = loss(start, seen.outs)
    open_cell = showing_states(cell)
    found = {}
    for name, gate in _chosen(cell, seen, gates).items():
        if not used_in(open_cell, name, params, xs, carry):
            continue

        def one(value: Array, name: str = name) -> Array:
            # value is traced: all values of a gate share one program
            hold = {name: lambda old, _: jnp.full_like(old, value)}
            return loss(*unroll(intervene(open_cell, hold), params, xs, carry, mask=mask)) - base

        found[name] = lax.map(one, jnp.asarray(values, gate.dtype))
    return found


def _chosen(cell: Cell, seen: Any, gates: Sequence[str] | None) -> dict[str, Array]:
    """Return gates and states of a trace by name: those asked for, or all gates."""
    named = named_leaves(seen.carries) | named_leaves(seen.gates)
    own = named_leaves(seen.gates) if gates is None else gates
    return {name: choose(f"gate or state of {cell.name}", name, named) for name in own}


def _with(cell: Cell, changes: Mapping[str, Any], *, timed: bool) -> Cell:
    made = {name: v if callable(v) else hold_at(v, name) for name, v in changes.items()}
    return (intervene_at if timed else intervene)(showing_states(cell), made)


def _one_unit(unit: Array, value: Array, shape: tuple[int, ...]) -> Callable[[Array, Callable[[str], Array]], Array]:
    """Return the change that holds one unit of a gate of this shape, whose number may be traced."""

    def change(old: Array, gate: Callable[[str], Array]) -> Array:
        # by comparison and not by index: the unit's number may be traced and batched by vmap
        numbers = jnp.arange(math.prod(shape)).reshape(shape)
        here = jnp.broadcast_to(numbers == unit, old.shape)
        return jnp.where(here, jnp.full_like(old, value), old)

    return change


def used_in(cell: Cell, name: str, params: Params, xs: Tree, carry: Carry | None = None) -> bool:
    """Return whether anything in a step is computed from a gate, so that changing it can have an effect."""
    # intervene raises if nothing reads the gate; eval_shape finds that out without computing anything
    try:
        jax.eval_shape(lambda: unroll(intervene(cell, {name: lambda old, _: old * 1}), params, xs, carry))
    except InputError:
        return False
    return True


def real_of(cell: Cell, xs: Tree, mask: Array | None) -> Array:
    """Return bool ``[T, B]``, the mask or all True."""
    shape = jax.tree.leaves(xs)[0].shape[:-1]
    return jnp.ones(shape[: len(shape) - cell.spatial], bool) if mask is None else jnp.asarray(mask)


def _mean(gate: Array, real: Array) -> Array:
    """Return each unit's mean over real steps and rows, ``[H]``."""
    gate = gate.reshape(*real.shape, -1)
    # real steps weigh 1, padding 0
    weights = jnp.broadcast_to(over_features(real, gate), gate.shape).astype(gate.dtype)
    over = tuple(range(gate.ndim - 1))
    return (gate * weights).sum(over) / jnp.maximum(weights.sum(over), 1)


def moved_by(a: Tree, b: Tree) -> Array:
    """Return the root mean square difference over the features of outputs that may be a tree."""
    # a mean for each leaf first, so that a wide one does not outweigh the others
    squares = [((x - y) ** 2).mean(-1) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    return jnp.sqrt(sum(squares[1:], squares[0]) / len(squares))


def moved_in_all(a: Tree, b: Tree, real: Array) -> Array:
    """Return the root mean square of `moved_by` over the real steps ``[T, B]``."""
    apart = moved_by(a, b)
    # the denominator counts real steps alone; moved_by is 0 at padded ones
    return jnp.sqrt((apart**2).sum() / jnp.maximum(real.sum(), 1).astype(apart.dtype))

"""Activation patching: the states and gates, units and steps that carry the difference of two inputs.

Run A reads one input, run B another. Run A is repeated with one thing changed: at step t a state or gate, whole or one
unit of it, gets the value that it had in run B at that step. All later steps follow from the changed one. An effect
that comes to the whole difference of the two runs says that the information is there at that step, in that unit.

References: Geiger, Lu, Icard & Potts 2021, "Causal abstractions of neural networks", arXiv:2106.02997 (interchange
interventions); Meng, Bau, Andonian & Belinkov 2022, "Locating and editing factual associations in GPT",
arXiv:2202.05262, section 2 (causal tracing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq._unroll import trace, unroll
from jaxseq.cells import Cell
from jaxseq.errors import InputError, choose
from jaxseq.interventions import at_steps, intervene_at
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.study.gradients import chosen_steps, showing_states
from jaxseq.study.whatif import moved_in_all, real_of, used_in
from jaxseq.trees import named_leaves


class Patching(NamedTuple):
    """The effects of putting values of run B into run A.

    Fields:
      steps: ``[S]``, the steps at which they were put.
      effects: by the name of the state or gate, ``[S, units]``, or with a loss for each row ``[S, units, B]``: the loss
        of the patched run minus that of run A; without a loss, the root mean square change of the outputs over real
        steps, rows and units. Of a whole state or gate, and of several together (``"c+h"``), there is one unit.
      own: the loss of run A; 0 where no loss was given.
      other: the loss of run B; where no loss was given, the root mean square difference of the two runs' outputs.
      unused: gates that nothing in a step is computed from, which cannot have an effect, as the keys.
    """

    steps: Array
    effects: dict[str, Array]
    own: Array
    other: Array
    unused: dict[str, None]

    def shares(self) -> dict[str, Array]:
        """Return effects as shares of the whole difference, ``(patched - own) / (other - own)``: 1 carries it all."""
        whole = self.other - self.own
        return {name: effect / jnp.broadcast_to(whole, effect.shape) for name, effect in self.effects.items()}


def patching(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    other: Tree,
    other_carry: Carry | None = None,
    mask: Array | None = None,
    other_mask: Array | None = None,
    loss: Callable[[Carry, Tree], Array] | None = None,
    names: Sequence[str | Sequence[str]] | None = None,
    steps: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    whole: bool = False,
    together: int = 64,
) -> Patching:
    """Put values of one run into another, one step and one unit at a time, and measure the effect.

    Each is a run of its own over all T steps, and `together` run side by side, each with its outputs in memory a few
    times. There are S runs for each unit of each state and gate: choose steps, names or `whole` where that is many.

    Args:
      cell: any Cell; the rest as in `unroll`. This is run A.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state that run A starts from, or None.
      other: the inputs of run B, of the shapes of xs.
      other_carry: the state that run B starts from, or None.
      mask: bool ``[T, B]``, of run A.
      other_mask: of run B; that of run A by default. Nothing is put at a step that is padded in one of the two.
      loss: ``(carry, outs) -> []`` or ``[B]`` of the results of `unroll`; any number of interest, such as the
        difference of two logits.
      names: states and gates (in a stack ``"0.f"``), or several to be put together, ``("c", "h")``; all by default.
        Where a state and a gate have one name, it is the state's.
      steps: numbers; all by default.
      units: numbers; all by default.
      whole: put all units of a state or gate at once.
      together: runs at a time.

    Raises:
      InputError: for an unknown name, unit or step, for inputs that do not fit each other, or a loss of another shape.

    Example:
      >>> from jaxseq.cells import gru
      >>> params, xs = gru.init(jax.random.key(0), 3, 5), jnp.ones((4, 1, 3))
      >>> found = patching(gru, params, xs, other=xs.at[0].set(0.0), names=["h"], whole=True)
      >>> found.effects["h"].shape, bool(jnp.allclose(found.shares()["h"][0], 1))  # all that is known passes through h
      ((4, 1), True)
    """
    title = f"patching({cell.name})"
    if (have := jax.tree.map(jnp.shape, other)) != (want := jax.tree.map(jnp.shape, xs)):
        raise InputError(f"{title}: other must be of the shape of xs, {want}; got {have}")
    if together < 1:
        raise InputError(f"{title}: together must be at least 1; got {together}")
    end, seen = trace(cell, params, xs, carry, mask=mask)
    other_mask = mask if other_mask is None else other_mask
    # every gate and state of run B, [T, B, H]: the values to put
    end_b, seen_b = trace(cell, params, other, other_carry, mask=other_mask)
    real = real_of(cell, xs, mask)
    # a padded step of run B has no value to put
    both = real & real_of(cell, xs, other_mask)

    def measure(end: Carry, outs: Tree) -> Array:
        if loss is not None:
            return loss(end, outs)
        return moved_in_all(seen.outs, outs, real)

    # without a loss the measure is the distance from run A: 0 for itself, the whole difference for run B
    own, theirs = measure(end, seen.outs), measure(end_b, seen_b.outs)
    if jnp.shape(own) not in ((), both.shape[1:]):
        raise InputError(
            f"{title}: the loss must be one number, or one for each row, {both.shape[1:]}; got the shape "
            f"{jnp.shape(own)}"
        )
    states, gates = named_leaves(seen_b.carries), named_leaves(seen_b.gates)
    groups, unused = _groups(cell, params, xs, carry, states, gates, names, title)
    chosen = chosen_steps(title, steps, both.shape[0])
    effects = {}
    for names_, opened in groups.items():
        values = {name: states[name] if name in states else gates[name] for name in names_}
        of = _units(values, units, whole, title)

        def one(given: tuple[Array, Array], values: dict = values, opened: Cell = opened) -> Array:
            step, unit = given
            # step and unit are traced, so places are found by comparison, [T, B, 1] and [units]: one program for all
            here = (jnp.arange(both.shape[0]) == step).reshape(-1, *[1] * (both.ndim - 1)) & both
            at = {
                name: here[..., None] & ((unit < 0) | (jnp.arange(value.shape[-1]) == unit)).reshape(
                    *[1] * both.ndim, value.shape[-1]
                )
                for name, value in values.items()
            }  # fmt: skip
            # the values of run B travel with the inputs, each put only where `at` is True
            given_xs = at_steps(cell, xs, at, values)
            return measure(*unroll(intervene_at(opened), params, given_xs, carry, mask=mask)) - own

        # S * units runs; unit -1 is all of them
        runs = (jnp.repeat(chosen, len(of)), jnp.tile(of, len(chosen)))
        found = lax.map(one, runs, batch_size=min(together, max(1, runs[0].shape[0])))
        effects["+".join(names_)] = found.reshape(len(chosen), len(of), *jnp.shape(own))
    return Patching(chosen, effects, own, theirs, unused)


def _groups(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None,
    states: dict[str, Array],
    gates: dict[str, Array],
    names: Sequence[str | Sequence[str]] | None,
    title: str,
) -> tuple[dict[tuple[str, ...], Cell], dict[str, None]]:
    """Return the names to be put together, each group with the cell whose gates have these names; and unused ones."""
    # where a name is both, it is the state's
    known = gates | states
    real = {name for name, a in known.items() if jnp.issubdtype(a.dtype, jnp.floating)}
    order = dict.fromkeys([*states, *gates])
    wanted: Sequence[str | Sequence[str]] = [name for name in order if name in real] if names is None else names
    groups: dict[tuple[str, ...], Cell] = {}
    unused: dict[str, None] = {}
    for given in wanted:
        group = (given,) if isinstance(given, str) else tuple(given)
        for name in group:
            choose(f"gate or state of {cell.name}", name, known)
            if name not in real:
                raise InputError(f"{title}: {name} is {known[name].dtype}; only real numbers can be put")
        among = {name in states for name in group}
        if len(among) == 2 and (both := [name for name in group if name in states and name in gates]):
            raise InputError(f"{title}: {both[0]} is a state and a gate, and cannot be put together with gates")
        # gates alone keep their names; with states in the group, showing_states names them too
        opened = cell if among == {False} else showing_states(cell, gates=len(among) == 2)
        if len(group) == 1 and not used_in(opened, group[0], params, xs, carry):
            unused[group[0]] = None
        else:
            groups[group] = opened
    return groups, unused


def _units(values: dict[str, Array], units: Sequence[int] | None, whole: bool, title: str) -> Array:
    """Return the numbers of the units to be put one at a time; -1 is all of them."""
    if whole or (units is None and len(values) > 1):
        return jnp.full(1, -1)
    # states of one group may differ in width: only units that all have
    H = min(value.shape[-1] for value in values.values())
    if units is not None and (wrong := [u for u in units if not 0 <= u < H]):
        raise InputError(f"{title}: {'+'.join(values)} has the units 0 to {H - 1}; got {wrong[0]}")
    return jnp.arange(H) if units is None else jnp.asarray(np.asarray(units, int))

"""The role of each named quantity of a step, found from numbers: papers use one letter for different things.

All gates are held at their values and one is made 0, 2 or -1 times as large. Its role follows from the state and the
output: a gate that writes scales the summand that is added to the state, one that shows scales the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.attention import reading, with_attention
from jaxseq.cells import Cell, stack
from jaxseq.cells._recipe import join, remembered
from jaxseq.errors import InputError
from jaxseq.interventions import hold_at, intervene
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.seq2seq._decoder import feeding
from jaxseq.study._saturation import ranges_in, ranges_of
from jaxseq.study.look import EQUAL, Look, Numbers, exact, holdable, look, numbers_at, numbers_for, uneven
from jaxseq.study.memory import keeps_seen
from jaxseq.study.timelines import h_of
from jaxseq.trees import named_leaves

ROLES = ("retain", "overwrite", "write", "show", "candidate", "reset", "pre-activation")
"""The roles of quantities.

==================  ================================================================================================
``retain``          a part of the new state is the gate times the old one, plus a written part; the old one may turn,
                    as a complex number does
``overwrite``       the same, of one minus the gate
``write``           it scales the written part, and is not negative
``show``            it scales the output of the state, and leaves the state as it is
``candidate``       it is the written part, scaled by other gates or by nothing
``reset``           at 0 it keeps the old state out of all candidates
``pre-activation``  the state, or a candidate, is its tanh, sigmoid or positive part
==================  ================================================================================================
"""

# 0 removes the gate; 2 and -1 tell a product from a square or an absolute value, which 0 alone would not
SCALES = (0.0, 2.0, -1.0)
"""Factors of a gate while all others are held."""

SQUASHES = (np.tanh, lambda a: np.maximum(a, 0), lambda a: (1 + np.tanh(a / 2)) / 2)


class Effects(NamedTuple):
    """A part of the carry with a gate scaled and all others held; axes: draws, `SCALES` and 1 at last, then its own.

    Fields:
      written: the new one, with the old one erased.
      new: the new one.
      slope: the derivative of h, or else of the output, by the old one.
    """

    written: Any
    new: Any
    slope: Any


def roles_of(cell: Cell) -> dict[str, str]:
    """Return the role of each gate, one of `ROLES`; gates without a role are left out.

    Raises:
      InputError: if the cell's init needs more than sizes; see `roles_in`.

    Example:
      >>> from jaxseq.cells import gru, lstm
      >>> roles_of(lstm)
      {'i': 'write', 'f': 'retain', 'g': 'candidate', 'o': 'show'}
      >>> roles_of(gru)
      {'r': 'reset', 'z': 'retain', 'n': 'candidate'}
    """
    found = _of_layers(cell)
    return _roles(numbers_at(cell), ranges_of(cell)) if found is None else found


def roles_in(cell: Cell, params: Params, xs: Tree, carry: Carry | None = None) -> dict[str, str]:
    """Return the result of `roles_of` for any cell, by the shapes of its params and inputs.

    Raises:
      InputError: within jit, for a cell that gives NaN with any numbers but its own.
    """
    found = _of_layers(cell)
    if found is not None:
        return found
    return _roles(numbers_for(cell, params, xs, carry), ranges_in(cell, params, xs, carry))


def _of_layers(cell: Cell) -> dict[str, str] | None:
    """Return the roles of a stack's layers, and of a cell with attention those that it has without.

    The source brings the old state to a candidate by a second way, which says nothing of its gates. None for another
    cell, or where a layer cannot be made from sizes alone.
    """
    recipe = cell.recipe
    inside = {reading: 1, with_attention: 1, feeding: 1, stack: None}
    if recipe is None or recipe.factory not in inside:
        return None
    layers = recipe.args[: inside[recipe.factory]]
    try:
        found = [roles_of(layer) for layer in layers]
    except InputError:
        return None
    if recipe.factory is not stack:
        return found[0]
    return {f"{n}.{name}": role for n, roles in enumerate(found) for name, role in roles.items()}


def _roles(numbers: Numbers, ranges: Mapping[str, Any]) -> dict[str, str]:
    seen = look(numbers)
    with exact():
        effects, slopes = jax.tree.map(np.asarray, _looker(numbers.static)(*numbers[1:]))
    # in this order, `| found` last: an earlier role wins, so that a gate that retains is not also said to write
    keeps = keeps_seen(seen)
    found = dict.fromkeys(_turning(seen), "retain")
    found |= {keep.gate: "overwrite" if keep.inverted else "retain" for keep in reversed(keeps)}
    for of in effects.values():
        found = dict.fromkeys(_showing(of), "show") | found
    # parts that a gate retains; of a cell without one, all parts
    for leaf in dict.fromkeys([keep.leaf for keep in keeps] or effects):
        found = _writing(effects[leaf], ranges, seen) | found
    candidates = [name for name, role in found.items() if role == "candidate"]
    for name, others in slopes.items():
        # only a gate between 0 and 1 resets: a candidate at 0 would stop everything, too
        between = name and name not in found and ranges[name] == (0.0, 1.0)
        if between and _without(slopes[""], others, candidates):
            found[name] = "reset"
    results = [*seen.new.values(), *(seen.gates[name] for name in candidates)]
    for name, gate in seen.gates.items():
        if np.isrealobj(gate) and name not in found and any(_same(of(gate), a) for a in results for of in SQUASHES):
            found[name] = "pre-activation"
    return {name: found[name] for name in seen.gates if name in found}


def _turning(seen: Look) -> list[str]:
    """Return the gates that a part of the carry is retained by as it turns: they times numbers that stay the same.

    Such as ``f * exp(i theta) * s``, whose real part is ``f * cos(theta)`` times the old real part, less of the other.
    """
    found = []
    for ratio in seen.ratios.values():
        for name, gate in seen.gates.items():
            if gate.shape != ratio.shape or not np.issubdtype(gate.dtype, np.floating) or not (gate > EQUAL).all():
                continue
            turned = ratio / gate
            # draws and rows come first: over rows the gate is another, and what it multiplies is not
            moves = np.abs(gate - gate[:, :1]).max() > EQUAL
            if moves and np.abs(turned).min() > EQUAL and _same(turned, turned[:, :1]):
                found.append(name)
    return found


def _showing(effects: Mapping[str, Effects]) -> list[str]:
    """Return the gates that scale the visible output of a part of the carry, and do not change that part."""
    found = []
    for name, (_, new, slope) in effects.items():
        # a slope of 0 is scaled by any factor, and says nothing
        if slope is None or not np.isfinite(slope).all() or not np.abs(slope[:, -1]).max(initial=0) > EQUAL:
            continue
        if _same(new[:, :-1], new[:, -1:]) and _scaled(slope):
            found.append(name)
    return found


def _writing(effects: Mapping[str, Effects], ranges: Mapping[str, Any], seen: Look) -> dict[str, str]:
    """Return the gates that write and the candidates: those that scale a summand of the written part.

    Those of one summand, such as ``i * g``, account for the same of it. Of these the ones that are never negative
    write; one that is alone writes where it is between 0 and 1, and is a candidate elsewhere.
    """
    summands: list[tuple[np.ndarray, list[str]]] = []
    for name, (written, _, _) in effects.items():
        # the written part minus that with the gate at 0: the summand that the gate is a factor of
        part = written[:, -1:] - written[:, :1]
        if not np.isfinite(written).all() or not np.abs(part).max(initial=0) > EQUAL:
            continue
        if not _scaled(written - written[:, :1]) or _withheld(part, written[:, :1]):
            continue
        # factors of one product change the written part alike
        same = next((names for other, names in summands if _same(part, other)), None)
        summands.append((part, [name])) if same is None else same.append(name)
    found: dict[str, str] = {}
    for _, names in summands:
        signed = [name for name in names if seen.gates[name].min() < -EQUAL]  # a 0 may be rounded
        for name in names:
            bounded = ranges[name] == (0.0, 1.0)
            # i * g: g is signed and the candidate, i writes. Without a signed factor, a gate between 0 and 1 writes
            writes = name not in signed if signed else bounded
            found[name] = "write" if writes else "candidate"
    return found


def _withheld(part: np.ndarray, rest: np.ndarray) -> bool:
    """Return whether a gate's summand takes everywhere from what is written without it, as in ``(1 - o) * m`` does."""
    return bool(np.abs(rest).max(initial=0) > EQUAL) and bool((part * rest <= 0).all())


def _without(free: Mapping[str, Any], held: Mapping[str, Any], candidates: list[str]) -> bool:
    """Return whether candidates follow the old state, and with a gate at 0 none of them does."""
    follow = [name for name in candidates if np.abs(free[name]).max(initial=0) > EQUAL]
    return bool(follow) and all(np.abs(held[name]).max(initial=0) <= EQUAL for name in follow)


def _scaled(values: np.ndarray) -> bool:
    """Return whether values under `SCALES`, unscaled last, are multiples of these by the scales."""
    times = np.asarray(SCALES).reshape(1, -1, *[1] * (values.ndim - 2))
    return _same(values[:, :-1], times * values[:, -1:])


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    fits = a.ndim == b.ndim and all(m in (1, n) for n, m in zip(a.shape, b.shape, strict=True))
    return fits and bool(np.abs(a - b).max(initial=0) <= EQUAL)


@remembered
def _looker(static: Any) -> Any:
    """Return a function of numbers of a step that returns the effects by part of the carry and gate, and slopes.

    The slopes are those of all gates by the whole old state: under "" as they are, under a gate's name with it at 0.
    """

    def seen(arrays: list[Array], params: Params, carry: Carry, x: Tree) -> tuple[dict, dict]:
        cell = join(static, arrays)
        wx, uh = cell.input_terms(params, x), cell.hidden_terms(params, carry)
        values = named_leaves(cell.equations(params, carry, wx, uh)[2])
        effects, every = {}, set()
        for leaf in named_leaves(carry):
            # gates of whole numbers or bool cannot be scaled
            names = [n for n in holdable(cell, leaf, params, carry, wx, uh) if _real(values[n])]
            every.update(names)
            if names and _real(named_leaves(carry)[leaf]):
                effects[leaf] = _effects(cell, leaf, names, values, (params, carry, wx, uh))
        return effects, _slopes(cell, [name for name in values if name in every], params, carry, wx)

    return jax.jit(jax.vmap(seen, in_axes=(None, 0, 0, 0)))


def _real(a: Array) -> bool:
    return jnp.issubdtype(a.dtype, jnp.floating)


def _effects(cell: Cell, leaf: str, names: list[str], values: dict[str, Array], step: tuple) -> dict[str, Effects]:
    params, carry, wx, uh = step
    leaves, structure = jax.tree.flatten(carry)
    place = list(named_leaves(carry)).index(leaf)

    def of(scales: Array) -> Effects:
        held = {name: hold_at(values[name] * scale, name) for name, scale in zip(names, scales, strict=True)}
        still = intervene(cell, held)

        def after(old: Array) -> tuple[Array, Array | None]:
            whole = jax.tree.unflatten(structure, [*leaves[:place], old, *leaves[place + 1 :]])
            new, out, _ = still.equations(params, whole, wx, uh)
            shown = h_of(leaf, named_leaves(new), out)
            return named_leaves(new)[leaf], shown if isinstance(shown, jax.Array) and _real(shown) else None

        old = leaves[place]
        (new, _), (_, slope) = jax.jvp(after, (old,), (uneven(old),))
        # the old part erased: the new part is then the written one
        return Effects(after(jnp.zeros_like(old))[0], new, slope)

    # rows[n, s]: the factors of all gates, s applied to gate n only; the last one is the step as it is
    rows = jnp.ones((len(names), len(SCALES) + 1, len(names)))
    for n in range(len(names)):
        rows = rows.at[n, : len(SCALES), n].set(jnp.asarray(SCALES))
    # all gates and factors in one program
    found = jax.vmap(jax.vmap(of))(rows)
    return {name: jax.tree.map(lambda a, n=n: a[n], found) for n, name in enumerate(names)}


def _slopes(cell: Cell, names: list[str], params: Params, carry: Carry, wx: Tree) -> dict[str, dict[str, Array]]:
    leaves, structure = jax.tree.flatten(carry)
    moving = [n for n, a in enumerate(leaves) if _real(a)]

    def of(scales: Array) -> dict[str, Array]:
        scaled = {name: lambda value, gate, n=n: value * scales[n] for n, name in enumerate(names)}
        changed = intervene(cell, scaled) if names else cell

        def gates(olds: list[Array]) -> dict[str, Array]:
            whole = list(leaves)
            for n, old in zip(moving, olds, strict=True):
                whole[n] = old
            carry = jax.tree.unflatten(structure, whole)
            named = named_leaves(changed.equations(params, carry, wx, cell.hidden_terms(params, carry))[2])
            return {name: a for name, a in named.items() if _real(a)}

        olds = [leaves[n] for n in moving]
        return jax.jvp(gates, (olds,), ([uneven(old) for old in olds],))[1]

    # first all gates as they are, then each at 0 in turn
    rows = jnp.concatenate([jnp.ones((1, len(names))), 1 - jnp.eye(len(names))])
    found = jax.vmap(of)(rows)
    return {name: {g: a[n] for g, a in found.items()} for n, name in enumerate(["", *names])}

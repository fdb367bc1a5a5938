"""A cell at every step: its gates by name, and the ledger of its state, retained + written = new.

The ledger of an LSTM is its two equations with their numbers, ``f * c`` retained and ``i * g`` written, added up to the
new c, squashed by tanh and shown through o. No cell's equations are here. The written part is the new state that the
cell itself computes with its gates held at their values and the old state set to zero. So the sum is an identity of the
cell, and its distance from the state that the run had is returned with it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._unroll import trace, unroll
from jaxseq.cells import Cell, made
from jaxseq.errors import InputError, choose
from jaxseq.interventions import hold_at, intervene
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import over_features
from jaxseq.study.look import EQUAL, Look, holdable, look_at, look_for, over
from jaxseq.study.memory import HalfLife, Keep, keeps_seen
from jaxseq.trees import named_leaves


def gates_of(
    cell: Cell, params: Params, xs: Tree, carry: Carry | None = None, *, mask: Array | None = None
) -> dict[str, Array]:
    """Return every named quantity of every step by name, each ``[T, B, H]``, zero at padded steps.

    Names are those of the cell's gates, with the layer before them in a stack: ``"f"``, ``"0.f"``. A cell without
    gates has its pre-activation, or the values that it names.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> {name: gate.shape for name, gate in gates_of(gru, params, jnp.ones((7, 2, 3))).items()}
      {'r': (7, 2, 5), 'z': (7, 2, 5), 'n': (7, 2, 5)}
    """
    return named_leaves(trace(cell, params, xs, carry, mask=mask)[1].gates)


def units_of(gate: Array) -> Array:
    """Return a gate ``[T, B, ...]`` with one axis for all its numbers of a step, such as those of several heads.

    Example:
      >>> import jax.numpy as jnp
      >>> units_of(jnp.ones((7, 2, 4, 5))).shape
      (7, 2, 20)
    """
    return gate.reshape(*gate.shape[:2], -1)


class Show(NamedTuple):
    """How a part of the carry is shown: ``h = gate * squash(leaf)``.

    Fields:
      leaf: the part of the carry.
      gate: the gate's name; None where the state is shown whole.
      squash: ``"tanh"`` or ``"none"``.
    """

    leaf: str
    gate: str | None
    squash: str


class LedgerErrors(NamedTuple):
    """The largest absolute differences, relative to the largest entry or to 1.

    Fields:
      new: of kept + written and the state that the run had.
      shown: of gate * squashed and the h that the run had; None where there is no such equation.
    """

    new: Array
    shown: Array | None


class Ledger(NamedTuple):
    """The account of one part of the carry, each ``[T, B, H]``, zero at padded steps.

    Fields:
      kept: the part retained of the old state, ``f * c``.
      written: the written part, ``i * g``.
      new: the new state, as the run had it.
      squashed: ``tanh(c)``; None where h is not a gate times the squashed state, or the squashed state.
      shown: ``o * squashed``; h as the run had it where there is no such equation.
      errors: of the identities.
    """

    kept: Array
    written: Array
    new: Array
    squashed: Array | None
    shown: Array
    errors: LedgerErrors


def ledger(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    keep: Keep | None = None,
) -> Ledger | None:
    """Return the retained, written and shown parts of each step; None for a cell without a gate that retains.

    Args:
      cell: a Cell.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      mask: bool ``[T, B]``, True where a step is real.
      keep: which part of the carry, where there are several (`keeps_of`); by default the first.

    Raises:
      InputError: as `unroll`; if keep names no part of the carry or no gate; within jit, for a cell whose init needs
        more than sizes, so that its equations are found from its inputs.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> account = ledger(lstm, params, jnp.ones((7, 2, 3)))
      >>> account.kept.shape, bool(account.errors.new < 1e-6), bool(account.errors.shown < 1e-6)
      ((7, 2, 5), True, True)
    """
    # which gate retains, and how the state is shown, are found from the equations, not from names
    seen = look_for(cell, params, xs, carry)
    keep = next(iter(keeps_seen(seen)), None) if keep is None else keep
    if keep is None:
        return None
    choose(f"part of the carry of {cell.name}", keep.leaf, seen.new)
    choose(f"gate of {cell.name}", keep.gate, seen.gates)
    show = show_seen(seen, keep.leaf)
    kept, written, new, squashed, shown, h = unroll(accounting(cell, keep, show), params, xs, carry, mask=mask)[1]
    # an identity is measured only where the cell has it
    apart = None if squashed is None else _apart(shown, h)
    return Ledger(kept, written, new, squashed, shown, LedgerErrors(_apart(kept + written, new), apart))


def show_of(cell: Cell, leaf: str, seed: int = 0) -> Show | None:
    """Return how a part of the carry is shown in h, found out on a random problem; None where it is otherwise.

    Example:
      >>> from jaxseq.cells import gru, lstm
      >>> show_of(lstm, "c"), show_of(gru, "h").gate
      (Show(leaf='c', gate='o', squash='tanh'), None)
    """
    seen = look_at(cell, seed)
    choose(f"part of the carry of {cell.name}", leaf, seen.new)
    return show_seen(seen, leaf)


def by_half_life(life: HalfLife | Array) -> Array:
    """Return the order of units that puts the longest half-life first, ``[H]``; NaN comes last.

    Example:
      >>> import jax.numpy as jnp
      >>> by_half_life(jnp.array([1.0, jnp.inf, 3.0])).tolist()
      [1, 2, 0]
    """
    # argsort puts NaN last, so that an undefined half-life is never first
    steps = life.half_life if isinstance(life, HalfLife) else jnp.asarray(life)
    return jnp.argsort(-steps)


def by_likeness(values: Any, mask: Any = None) -> np.ndarray:
    """Return units such that those that move alike are next to one another, ``[H]`` of ``values [T, B, H]``.

    They are the leaves of a tree: average linkage of one minus the correlation over all real steps, up to 256 units
    turned so that neighbours are as alike as can be. Not within jit.

    Reference: Bar-Joseph, Gifford & Jaakkola 2001, "Fast optimal leaf ordering for hierarchical clustering",
    Bioinformatics 17.

    Example:
      >>> import jax.numpy as jnp
      >>> up = jnp.arange(6.0)
      >>> order = by_likeness(jnp.stack([up, -up, up + 1, -2 * up], axis=-1)[:, None])
      >>> sorted([sorted(order[:2].tolist()), sorted(order[2:].tolist())])
      [[0, 2], [1, 3]]
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # slow to import
    from scipy.spatial.distance import squareform

    values = np.asarray(values, np.float64)
    if values.ndim != 3:
        raise InputError(f"by_likeness: expected values [T, B, H]; got the shape {values.shape}")
    real = np.ones(values.shape[:2], bool) if mask is None else np.asarray(mask)
    moves = values[real] - values[real].mean(0) if real.any() else np.zeros((1, values.shape[-1]))
    sizes = np.linalg.norm(moves, axis=0)
    moves = moves / np.where(sizes > 0, sizes, 1)  # a unit that never moves is like no other
    apart = np.clip(1 - moves.T @ moves, 0, 2)
    np.fill_diagonal(apart, 0)
    H = len(apart)
    if H < 3:
        return np.arange(H)
    return leaves_list(linkage(squareform(apart, checks=False), "average", optimal_ordering=H <= OPTIMAL))


OPTIMAL = 256
"""Units up to which a tree is turned at best, which takes the cube of their number."""


def correlation(values: Array, target: Array, mask: Array | None = None) -> Array:
    """Return each unit's correlation with one number a step, over all real steps of all rows: ``[H]``.

    A unit that counts is one whose correlation with the count is near 1 or -1. It is 0 for a unit that never changes.

    Args:
      values: ``[T, B, H]``, such as the carries' c.
      target: ``[T, B]``, such as the number of a's less that of b's so far.
      mask: bool ``[T, B]``.

    Example:
      >>> import jax.numpy as jnp
      >>> count = jnp.arange(6.0).reshape(6, 1)
      >>> correlation(jnp.stack([2 * count + 1, -count], axis=-1), count).tolist()
      [1.0, -1.0]
    """
    values, target = jnp.asarray(values), jnp.asarray(target)
    if target.shape != values.shape[:-1]:
        raise InputError(f"correlation: expected one number a step, {values.shape[:-1]}; got {target.shape}")
    real = jnp.ones(target.shape, bool) if mask is None else mask
    axes = tuple(range(target.ndim))
    count = real.sum(dtype=values.dtype)

    def centred(a: Array) -> Array:
        there = jnp.broadcast_to(over_features(real, a), a.shape)
        mean = jnp.where(there, a, jnp.zeros_like(a)).sum(axes) / count
        return jnp.where(there, a - jnp.broadcast_to(mean, a.shape), jnp.zeros_like(a))

    # NaN in padding is replaced before it can reach a sum
    v, t = centred(values), centred(jnp.broadcast_to(target.astype(values.dtype)[..., None], values.shape))
    size = jnp.sqrt((v * v).sum(axes) * (t * t).sum(axes))
    # a constant unit has no correlation: 0, and no division by 0
    return jnp.where(size > 0, (v * t).sum(axes) / jnp.where(size > 0, size, jnp.ones_like(size)), jnp.zeros_like(size))


SQUASHES = {"tanh": jnp.tanh, "none": lambda a: a}


@made
def accounting(cell: Cell, keep: Keep, show: Show | None) -> Cell:
    """Return the cell whose output is kept, written, new, squashed, shown and h: the same equations, seen."""

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        after, out, named = cell.equations(params, carry, wx, uh)
        values, olds, news = named_leaves(named), named_leaves(carry), named_leaves(after)
        old, new = olds[keep.leaf], news[keep.leaf]
        # k * old, with k the gate or one minus it
        kept = over(keep.of(values), old) * old
        # gates are held at the run's values, so that erasing the old state changes the retained part only
        names = holdable(cell, keep.leaf, params, carry, wx, uh)
        still = intervene(cell, {name: hold_at(values[name], name) for name in names}) if names else cell
        leaves, structure = jax.tree.flatten(carry)
        # k * 0 = 0: the new state is then the written part alone
        erased = [jnp.zeros_like(a) if name == keep.leaf else a for name, a in zip(olds, leaves, strict=True)]
        written = named_leaves(still.equations(params, jax.tree.unflatten(structure, erased), wx, uh)[0])[keep.leaf]
        h = h_of(keep.leaf, news, out)
        squashed, shown = None, h
        if show is not None:
            squashed = shown = SQUASHES[show.squash](new)
            shown = squashed if show.gate is None else values[show.gate] * squashed
        return after, (kept, written, new, squashed, shown, h), named

    return cell.replace(equations=equations)


def h_of(leaf: str, new: dict, out: Tree) -> Tree:
    """Return the h that a part of the carry is shown in: its neighbour of that name, or else the output."""
    return new.get(f"{leaf.rpartition('.')[0]}.h".lstrip("."), out)


def show_seen(seen: Look, leaf: str) -> Show | None:
    """Return the gate as `show_of`, from a step that was looked at."""
    state, h = seen.new[leaf], h_of(leaf, seen.new, seen.out)
    if h is None or h.shape != state.shape:
        return None
    same = lambda a, b: a.shape == b.shape and np.abs(a - b).max(initial=0) <= EQUAL  # noqa: E731
    # without a gate first: a gate of ones would fit as well
    for squash, function in (("none", lambda a: a), ("tanh", np.tanh)):
        if same(function(state), h):
            return Show(leaf, None, squash)
    for squash, function in (("tanh", np.tanh), ("none", lambda a: a)):
        for name, gate in seen.gates.items():
            if gate.shape == state.shape and same(gate * function(state), h):
                return Show(leaf, name, squash)
    return None


def _apart(got: Array, want: Array) -> Array:
    most = lambda a: jnp.abs(a).max(initial=0)  # noqa: E731
    return most(got - want) / jnp.maximum(most(want), 1)

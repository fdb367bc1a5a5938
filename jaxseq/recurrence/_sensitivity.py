"""The derivative of a carry with respect to the parameters, propagated forward in time: real-time recurrent learning.

The sensitivity S of a carry h to parameters p follows the step, ``S' = A S + I``, where A is the step's derivative with
respect to the old carry and I that with respect to the parameters. If g is a loss's gradient with respect to the carry,
its gradient with respect to the parameters is ``g S``.

Most entries of S are zero if units do not mix: a parameter acts on the state of its own unit alone. So the numbers of a
carry are grouped such that each parameter acts on one group; `_structure.joined` finds the groups in the jaxpr of a
step. S has K entries for each parameter, the size of the largest group: an array ``[K, *shape]`` for each array of
params and each row of a batch. K is 1 for an IndRNN, 2 for an LSTM with vectors as recurrent weights, and the size of
the carry if a matrix mixes all units: then S is complete.

One cotangent seeds one number of every group, so K products with the transposed derivative give A and I.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Tree, wide
from jaxseq.recurrence._scan import restart
from jaxseq.recurrence._structure import joined, own
from jaxseq.trees import shapes

Step = Callable[[list[Array], Carry, Tree], tuple[Carry, Tree]]
"""``(differentiated arrays, carry, other arguments of a step) -> (carry, out)``."""


class Sensitivities(NamedTuple):
    """Derivatives of a carry, each ``[*B, K, *shape]``.

    Fields:
      params: for each array of params; None for one that the carry does not depend on.
      first: for each leaf of the carry that the sequence began with; empty if not wanted.
      initial: for each leaf of the carry after a reset; empty if not wanted.
    """

    params: list[Array | None]
    first: list[Array]
    initial: list[Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """The numbers of a carry on which each entry of an array acts, as indices ``[K, ...]`` that broadcast to its shape.

    Fields:
      rows: the number of batch axes of a carry.
      count: n, how many numbers a row of the carry has.
      members: the numbers in each group ``[N, K]``, padded with n.
      params: indices for the entries of each array of params; None for one that the carry does not depend on.
      carry: indices for the entries of each leaf of the carry.
    """

    rows: int
    count: int
    members: np.ndarray
    params: list[np.ndarray | None]
    carry: list[np.ndarray]

    @property
    def seeds(self) -> np.ndarray:
        """Bool ``[K, n]``: row k marks the kth number of every group."""
        return np.stack([np.isin(np.arange(self.count), column) for column in self.members.T])

    def contracted(self, known: Sensitivities, gradient: list[Array]) -> Sensitivities:
        """Return the carry's gradient times S, for each row: the gradients of params and first carries."""

        def row(known: Sensitivities, gradient: list[Array]) -> Sensitivities:
            g = _flat(gradient, 0)
            return self.each(lambda S, place: _pushed(g[None], place, S)[0], known)

        return self.over_rows(row)(known, gradient)

    def summed(self, by_rows: Sensitivities) -> list[Array | None]:
        """Return the gradients with respect to params, summed over the rows."""
        return [None if a is None else a.sum(axis=tuple(range(self.rows))) for a in by_rows.params]

    def each(self, function: Callable[[Array, np.ndarray], Array], known: Sensitivities) -> Sensitivities:
        """Return ``function(S, places)`` for every array."""
        pairs = zip(known.params, self.params, strict=True)
        of = [None if S is None or place is None else function(S, place) for S, place in pairs]
        places = self.carry
        return Sensitivities(of, list(map(function, known.first, places)), list(map(function, known.initial, places)))

    def over_rows(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of one row, mapped over all rows."""
        for _ in range(self.rows):
            function = jax.vmap(function)
        return function


@dataclasses.dataclass(frozen=True, eq=False)
class Forward:
    """A step whose carry is differentiated forward in time.

    Fields:
      step: the step, of a batch or of one row.
      groups: the groups of its carry.
      cut: whether A keeps only a unit's effect on itself in each product with a weight.
    """

    step: Step
    groups: Groups
    cut: bool

    def carry_of(self, params: list[Array], old: Carry, floats: list[Array], given: Tree) -> list[Array]:
        """Return the floating leaves of the new carry."""
        return _carry_of(self.step, params, old, floats, given)

    def fresh(self, carry: Carry, params: Sequence[Array], *, first: bool, initial: bool, at: str) -> Sensitivities:
        """Return the sensitivities at the start; `at` says whether the carry is the "first" or an "initial" one."""
        leaves, K = floats_of(carry), self.groups.members.shape[1]
        batch = leaves[0].shape[: self.groups.rows]
        zeros = [
            None if place is None else jnp.zeros((*batch, K, *a.shape), wide(a.dtype))
            for a, place in zip(params, self.groups.params, strict=True)
        ]
        one, none = [], []
        number = 0
        for a, place in zip(leaves, self.groups.carry, strict=True):
            size = math.prod(a.shape[self.groups.rows :])
            own = np.arange(number, number + size).reshape(a.shape[self.groups.rows :]) == place
            one.append(jnp.broadcast_to(jnp.asarray(own, wide(a.dtype)), (*batch, *own.shape)))
            none.append(jnp.zeros_like(one[-1]))
            number += size
        chosen = {True: one, False: none}
        return Sensitivities(zeros, chosen[at == "first"] if first else [], chosen[at == "initial"] if initial else [])

    def moved(self, params: list[Array], old: Carry, known: Sensitivities, given: Tree) -> Sensitivities:
        """Return the sensitivities after a step: ``A S + I``."""

        def row(old: Carry, known: Sensitivities, given: Tree) -> Sensitivities:
            floats = floats_of(old)
            new, by_params = jax.vjp(lambda params: self.carry_of(params, old, floats, given), params)
            run = lambda floats: self.carry_of(params, old, floats, given)  # noqa: E731
            by_carry = jax.vjp(own(run, products=True) if self.cut else run, floats)[1]
            seeds = _parted(jnp.asarray(self.groups.seeds), new)
            A = _flat(jax.vmap(by_carry)(seeds)[0], 1)
            pushed = self.groups.each(lambda S, place: _pushed(A, place, S), known)
            (I,) = jax.vmap(by_params)(seeds)  # noqa: E741, of every parameter, since each is in one group
            total = [None if S is None else S + i.astype(S.dtype) for S, i in zip(pushed.params, I, strict=True)]
            return pushed._replace(params=total)

        return self.groups.over_rows(row)(old, known, given)

    def restarted(self, begins: Array | None, carry: Carry, params: Sequence[Array], known: Sensitivities) -> Any:
        """Return the sensitivities of the reset carry where a sequence begins, and `known` elsewhere."""
        if begins is None:
            return known
        asked = {"first": bool(known.first), "initial": bool(known.initial)}
        return restart(begins, self.fresh(carry, params, **asked, at="initial"), known)

    def check_size(self, name: str, carry: Carry, params: Sequence[Array], largest: int) -> None:
        """Refuse sensitivities that are too large; a symbolic number of rows is not counted."""
        K = self.groups.members.shape[1]
        rows = math.prod(n for n in floats_of(carry)[0].shape[: self.groups.rows] if isinstance(n, int))
        sizes = [
            math.prod(a.shape) * jnp.dtype(wide(a.dtype)).itemsize
            for a, place in zip(params, self.groups.params, strict=True)
            if place is not None
        ]
        if (asked := rows * K * sum(sizes)) > largest:
            raise InputError(
                f"{name}: the sensitivities of the carry would take {asked} bytes, more than largest = {largest}: "
                f"{rows} rows, {K} numbers for each parameter. Use a cell whose units do not mix, snap=1, or deferred; "
                "or raise largest"
            )


def forward_of(step: Step, params: list[Array], carry: Carry, given: Tree, rows: int, snap: int | None) -> Forward:
    """Return a step with the groups of its carry.

    Args:
      step: the step of a batch or of one row.
      params: the arrays to differentiate with respect to.
      carry: the carry before a step, every leaf ``[*B, ...]``.
      given: the other arguments of one step, every leaf ``[*B, ...]``; only shapes are read.
      rows: the number of axes in B.
      snap: 1 for groups of the numbers on which a parameter acts within one step; None for those on which it ever acts.
    """
    if snap not in (None, 1):
        raise InputError(f"snap must be None, for the exact sensitivities, or 1, for SnAp-1; got {snap!r}")
    found: list[Groups] = []

    def look(params: list[Array], old: Carry, given: Tree) -> None:
        floats = floats_of(old)
        run = lambda floats: _carry_of(step, params, old, floats, given)  # noqa: E731

        def pushed(dfloats: list[Array], dparams: list[Array]) -> list[Array]:
            by_params = lambda params: _carry_of(step, params, old, floats, given)  # noqa: E731
            moved = jax.jvp(by_params, (params,), (dparams,))[1]
            by_carry = own(run, products=True) if snap == 1 else run
            return list(map(jnp.add, moved, jax.jvp(by_carry, (floats,), (dfloats,))[1]))

        found.append(_groups(rows, *joined(pushed, floats, params), floats))

    kinds = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in params]
    jax.eval_shape(look, kinds, _without(rows, carry), _without(rows, given))
    return Forward(step, found[0], snap == 1)


def steps_by_rows(step: Step, params: Any, carry: Carry, given: Tree, rows: int) -> bool:
    """Return whether a step of one row is that of the batch: not if a cell holds arrays with the batch's axes.

    A source that `reading` binds is such an array, or a mask of `variational`. Arguments as of `forward_of`.
    """
    row = _without(rows, carry)
    try:
        new = jax.eval_shape(step, params, row, _without(rows, given))[0]
    except Exception:  # whatever a cell's equations raise for arrays that do not fit one row
        return False
    return shapes(new) == shapes(row)


def _without(rows: int, tree: Tree) -> Tree:
    """Return the shapes of a tree without the first `rows` axes."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[rows:], a.dtype), tree)


def _carry_of(step: Step, params: list[Array], old: Carry, floats: list[Array], given: Tree) -> list[Array]:
    return floats_of(step(params, with_floats(old, floats), given)[0])


def _groups(rows: int, ids: np.ndarray, of_params: list[np.ndarray], floats: list[Array]) -> Groups:
    names, group, counts = np.unique(ids, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    place = np.arange(len(ids)) - (np.cumsum(counts) - counts)[group[order]]
    members = np.full((len(names), int(counts.max())), len(ids))
    members[group[order], place] = order

    def places(of: np.ndarray) -> np.ndarray:
        # an axis along which all entries are equal, such as the columns of a matrix W, needs only one
        for axis in range(of.ndim):
            if (of == of.take([0], axis)).all():
                of = of.take([0], axis)
        return np.moveaxis(members[of], -1, 0)

    # an entry that does not act on the carry is zero in any group
    params = [places(np.searchsorted(names, of.clip(0))) if (of >= 0).any() else None for of in of_params]
    ends = np.cumsum([math.prod(a.shape) for a in floats])[:-1]
    carry = [places(g.reshape(a.shape)) for g, a in zip(np.split(group, ends), floats, strict=True)]
    return Groups(rows, len(ids), members, params, carry)


def _pushed(A: Array, places: np.ndarray, S: Array) -> Array:
    """Return ``A[:, places] S``: from ``A [J, n + 1]`` and ``S [K, *shape]`` to ``[J, *shape]``."""
    if places.size == len(places):  # one group: a matrix product
        return jnp.tensordot(A[:, places.ravel()].astype(S.dtype), S, 1)
    return (A[:, places].astype(S.dtype) * S[None]).sum(axis=1)


def floats_of(tree: Tree) -> list[Any]:
    """Return the floating leaves of a tree."""
    return [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.floating)]


def with_floats(tree: Tree, floats: Sequence[Any]) -> Tree:
    """Return a tree with other floating leaves."""
    rest = iter(floats)
    return jax.tree.map(lambda a: next(rest) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def _flat(leaves: Sequence[Array], lead: int) -> Array:
    """Return leaves as one vector after `lead` axes, with a zero appended for missing numbers."""
    flat = [a.reshape(*a.shape[:lead], -1).astype(wide(a.dtype)) for a in leaves]
    dtype = max((a.dtype for a in flat), key=lambda dtype: jnp.finfo(dtype).bits)
    flat.append(jnp.zeros((*leaves[0].shape[:lead], 1), dtype))
    return jnp.concatenate([a.astype(dtype) for a in flat], axis=-1)


def _parted(seeds: Array, like: Sequence[Array]) -> list[Array]:
    """Return ``seeds [K, n]`` as a carry's leaves ``[K, ...]``."""
    ends = np.cumsum([math.prod(a.shape) for a in like])[:-1]
    parts = jnp.split(seeds, ends, axis=-1)
    return [part.reshape(-1, *a.shape).astype(a.dtype) for part, a in zip(parts, like, strict=True)]

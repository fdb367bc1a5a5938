"""Finds which numbers of a carry a step mixes, from the jaxpr of its derivative; and the step with that mixing cut.

`blocks` follows every number of the tangent of a carry through the operations of ``jax.jvp`` of a step. Operations that
move numbers (slice, pack, reshape) or work elementwise keep them apart. A product or a sum over an axis joins the
numbers that it adds up. Numbers that depend on each other are a block, so the Jacobian of the step is block diagonal:
one block of all numbers for a cell with a matrix U, one of two numbers (h, c) for each unit of an LSTM whose recurrent
weights are vectors, one for each column of the state of a delta rule.

`own` is the same step with a cheaper derivative. For a product ``x W`` with ``W [K, G K]``, the layout of packed gates,
the derivative keeps the diagonals of the G blocks, or nothing; for every other mixing operation it is 0. The Jacobian's
blocks are then small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq.notation import Array, Carry

ELEMENTWISE = frozenset(
    "abs add add_any and atan2 cbrt ceil clamp convert_element_type copy copy_p cos cosh div eq erf erf_inv erfc exp "
    "exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter not or "
    "pow pvary reduce_precision rem reshard round rsqrt select_n sharding_constraint sign sin sinh sqrt square "
    "stop_gradient sub tan tanh xor".split()
)
"""Elementwise primitives: an output entry depends on the inputs at the same index, or on a scalar."""

CALLS = frozenset("jit pjit closed_call core_call custom_jvp_call custom_vjp_call checkpoint remat remat2".split())
"""Primitives that call a jaxpr once."""

Labels = np.ndarray
"""For every entry of an array, a number of the carry on which it depends, or -1."""


def _broadcast(labels: Labels, eqn: Any) -> Labels:
    shape, places = eqn.params["shape"], eqn.params["broadcast_dimensions"]
    sides = [1] * len(shape)
    for size, place in zip(labels.shape, places, strict=True):
        sides[place] = size
    return np.broadcast_to(labels.reshape(sides), shape)


def _cut(labels: Labels, eqn: Any) -> Labels:
    steps = eqn.params["strides"] or (1,) * labels.ndim
    return labels[tuple(map(slice, eqn.params["start_indices"], eqn.params["limit_indices"], steps))]


def _split(labels: Labels, eqn: Any) -> list[Labels]:
    return np.split(labels, np.cumsum(eqn.params["sizes"])[:-1], axis=eqn.params["axis"])


MOVES: dict[str, Callable[[Labels, Any], Labels | list[Labels]]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": lambda labels, eqn: labels.reshape(eqn.params["new_sizes"]),
    "expand_dims": lambda labels, eqn: np.expand_dims(labels, eqn.params["dimensions"]),
    "squeeze": lambda labels, eqn: np.squeeze(labels, tuple(eqn.params["dimensions"])),
    "transpose": lambda labels, eqn: np.transpose(labels, eqn.params["permutation"]),
    "rev": lambda labels, eqn: np.flip(labels, eqn.params["dimensions"]),
    "slice": _cut,
    "split": _split,
}
"""Functions of labels for the one-operand primitives that move entries."""


def blocks(step: Callable[[Carry], Carry], carry: Carry, rows: int) -> list[np.ndarray]:
    """Return the blocks of the Jacobian of ``step(carry)``: for each size an array ``[blocks, size]``.

    Args:
      step: a function of the carry alone, in which rows of a batch are assumed not to see each other.
      carry: the step's argument, or its shapes and dtypes, with known sizes; every leaf ``[B, ...]``.
      rows: the number of axes in B.

    Returns:
      Indices into a row of the carry, with its leaves flattened and concatenated, by blocks.
    """
    leaves, structure = jax.tree.flatten(carry)

    def pushed(primal: list[Array], tangent: list[Array]) -> list[Array]:
        run = lambda leaves: jax.tree.leaves(step(jax.tree.unflatten(structure, leaves)))  # noqa: E731
        return jax.jvp(run, (primal,), (tangent,))[1]

    jaxpr = jax.make_jaxpr(pushed)(leaves, leaves).jaxpr
    numbers, first = [], 0
    for a in leaves:
        size = math.prod(a.shape[rows:])
        places = np.arange(first, first + size).reshape((1,) * rows + a.shape[rows:])
        numbers.append(np.broadcast_to(places, a.shape))
        first += size
    follow = _Follow()
    outs = follow.jaxpr(jaxpr, [*([None] * len(leaves)), *numbers])
    for number, out in zip(numbers, outs, strict=True):
        if out is not None:
            follow.join([number, out])
    return _by_size(_connected(first, follow.edges))


def joined(
    pushed: Callable[[list[Array], list[Array]], list[Array]], carry: list[Any], others: list[Any]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return groups of the numbers of a carry, and the groups that the numbers of other arrays act on.

    Two numbers of the carry are in one group if one depends on the other, or both on the same number of another array.

    Args:
      pushed: the linear derivative of a step: from tangents of a carry's leaves and of other arrays to those of the new
        carry.
      carry: the leaves of the carry, or shapes and dtypes.
      others: the other arrays, or shapes and dtypes.

    Returns:
      For each number of the carry, with its leaves flattened and concatenated, the smallest number of its group; and
      for each other array, in its shape, the smallest number of the group that an entry acts on, or -1.
    """
    jaxpr = jax.make_jaxpr(pushed)(carry, others).jaxpr
    ends = np.cumsum([math.prod(a.shape) for a in [*carry, *others]])
    numbers = [np.arange(math.prod(a.shape)).reshape(a.shape) for a in [*carry, *others]]
    numbers = [a + end - a.size for a, end in zip(numbers, ends, strict=True)]
    follow = _Follow()
    for number, out in zip(
        numbers, follow.jaxpr(jaxpr, numbers), strict=False
    ):  # one output for each leaf of the carry
        if out is not None:
            follow.join([number, out])
    least = _connected(int(ends[-1]), follow.edges)
    # a group that contains a number of the carry is named by one, since those come first
    count = int(ends[len(carry) - 1])
    return least[:count], [np.where((of := least[a]) < count, of, -1) for a in numbers[len(carry) :]]


class _Follow:
    """Propagates labels through a jaxpr, and records which numbers are joined."""

    def __init__(self) -> None:
        self.edges: list[np.ndarray] = []

    def jaxpr(self, jaxpr: Any, inputs: Sequence[Labels | None]) -> list[Labels | None]:
        """Return the labels of the outputs; None for one that does not depend on the carry."""
        known: dict[Any, Labels] = {v: a for v, a in zip(jaxpr.invars, inputs, strict=True) if a is not None}
        read = lambda v: None if hasattr(v, "val") else known.get(v)  # noqa: E731, a literal has no labels
        for eqn in _needed(jaxpr):
            labels = [read(v) for v in eqn.invars]
            if any(a is not None for a in labels):
                known.update(
                    (v, a) for v, a in zip(eqn.outvars, self._through(eqn, labels), strict=True) if a is not None
                )
        return [read(v) for v in jaxpr.outvars]

    def _through(self, eqn: Any, labels: list[Labels | None]) -> list[Labels | None]:
        from jaxseq.jaxprs import inside

        name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.outvars]
        if name in CALLS and len(called := inside(eqn)) == 1:
            return self.jaxpr(called[0], labels)
        if name in ELEMENTWISE:
            return [self._joined(labels, shapes[0])]
        if name in MOVES:
            moved = MOVES[name](_known(labels)[0], eqn)
            return list(moved) if isinstance(moved, list) else [moved]
        if name in ("concatenate", "pad"):
            return [_packed(eqn, labels)]
        if name == "dot_general" and len(_known(labels)) == 1:
            return [self._product(eqn, labels)]
        if name in ("reduce_sum", "reduce_max", "reduce_min"):
            return [self._over(_known(labels)[0], eqn.params["axes"])]
        return [self._mixed(labels, shape) for shape in shapes]

    def join(self, parts: Sequence[Labels]) -> Labels:
        """Return the labels of an array that depends on all of the parts, which have one shape."""
        one = parts[0]
        for other in parts[1:]:
            both = (one >= 0) & (other >= 0) & (one != other)
            if both.any():
                self.edges.append(np.unique(np.stack([one[both], other[both]], axis=1), axis=0))
            one = np.where(one >= 0, one, other)
        return one

    def _joined(self, labels: list[Labels | None], shape: tuple[int, ...]) -> Labels:
        return self.join([np.broadcast_to(a, shape) for a in _known(labels)])

    def _over(self, labels: Labels, axes: Sequence[int]) -> Labels:
        """Return the labels of a sum over some axes."""
        rest = [n for n in range(labels.ndim) if n not in axes]
        flat = labels.transpose([*axes, *rest]).reshape(-1, *(labels.shape[n] for n in rest))
        return self.join(list(flat)) if len(flat) else np.full(flat.shape[1:], -1)

    def _product(self, eqn: Any, labels: list[Labels | None]) -> Labels:
        """Return the labels of a product of which one operand depends on the carry."""
        (contracted, batched), side = eqn.params["dimension_numbers"], int(labels[0] is None)
        of = _known(labels)[0]
        rest = [n for n in range(of.ndim) if n not in (*contracted[side], *batched[side])]
        # batch axes first, then the remaining axes of this operand
        kept = self._over(of.transpose([*contracted[side], *batched[side], *rest]), range(len(contracted[side])))
        shape, count = eqn.outvars[0].aval.shape, len(batched[side])
        others = len(shape) - kept.ndim  # axes of the other operand, after these or between them
        place = kept.shape + (1,) * others if side == 0 else kept.shape[:count] + (1,) * others + kept.shape[count:]
        return np.broadcast_to(kept.reshape(place), shape)

    def _mixed(self, labels: list[Labels | None], shape: tuple[int, ...]) -> Labels:
        numbers = np.unique(np.concatenate([a.ravel() for a in _known(labels)]))
        numbers = numbers[numbers >= 0]
        if len(numbers) > 1:
            self.edges.append(np.stack([numbers[:-1], numbers[1:]], axis=1))
        return np.full(shape, numbers[0] if len(numbers) else -1)


def _known(labels: Sequence[Labels | None]) -> list[Labels]:
    return [a for a in labels if a is not None]


def _packed(eqn: Any, labels: list[Labels | None]) -> Labels:
    """Return the labels of a concatenation or of padding."""
    whole = [np.full(v.aval.shape, -1) if a is None else a for v, a in zip(eqn.invars, labels, strict=True)]
    if eqn.primitive.name == "concatenate":
        return np.concatenate(whole, axis=eqn.params["dimension"])
    out, config = np.full(eqn.outvars[0].aval.shape, whole[1]), eqn.params["padding_config"]
    target, source = [], []
    for (low, _, inner), size, room in zip(config, whole[0].shape, out.shape, strict=True):
        places = low + (inner + 1) * np.arange(size)
        inside = (places >= 0) & (places < room)  # padding may be negative
        target.append(places[inside])
        source.append(np.arange(size)[inside])
    out[np.ix_(*target)] = whole[0][np.ix_(*source)]
    return out


def _needed(jaxpr: Any) -> list[Any]:
    """Return the equations on which the outputs depend."""
    live, found = {v for v in jaxpr.outvars if not hasattr(v, "val")}, []
    for eqn in reversed(jaxpr.eqns):
        if live.intersection(eqn.outvars):
            found.append(eqn)
            live.update(v for v in eqn.invars if not hasattr(v, "val"))
    return found[::-1]


def _connected(count: int, edges: list[np.ndarray]) -> np.ndarray:
    """Return for each of `count` numbers the smallest one that it is connected to."""
    least = np.arange(count)
    if not edges:
        return least
    one, other = np.concatenate(edges).T
    while True:
        before = least.copy()
        low = np.minimum(least[one], least[other])
        for side in (least[one], least[other]):  # the roots, so that whole components follow
            np.minimum.at(least, side, low)
        while (shorter := least[least]).tobytes() != least.tobytes():
            least = shorter
        if (before == least).all():
            return least


def _by_size(least: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(least, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(least[order])) + 1) if len(order) else []
    sizes = sorted({len(part) for part in parts})
    return [np.stack([part for part in parts if len(part) == size]) for size in sizes]


def own(step: Callable[[Carry], Carry], *, products: bool) -> Callable[[Carry], Carry]:
    """Return the same function, with a derivative of 0 for operations that mix units.

    Args:
      step: a function of the carry alone.
      products: whether the derivative of a product keeps each unit's effect on itself.
    """
    rule = partial(_of_its_own, products)

    def run(carry: Carry) -> Carry:
        from jaxseq.jaxprs import evaluate

        leaves, structure = jax.tree.flatten(carry)
        closed, shape = jax.make_jaxpr(lambda *a: step(jax.tree.unflatten(structure, a)), return_shape=True)(*leaves)
        outs = evaluate(closed, leaves, rule, [True] * len(leaves))
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return run


def _of_its_own(products: bool, eqn: Any, values: list[Any]) -> list[Any] | None:
    from jaxseq.jaxprs import inside, result

    name = eqn.primitive.name
    if name in ELEMENTWISE or name in MOVES or name in ("concatenate", "pad") or (name in CALLS and inside(eqn)):
        return None
    outs = [lax.stop_gradient(out) for out in result(eqn, values)]
    if not products or name not in ("dot_general", "rounded_product"):
        return outs
    x, W = values
    K, N = W.shape[0] if W.ndim else 0, W.shape[-1] if W.ndim else 0
    if W.ndim != 2 or x.ndim < 1 or x.shape[-1] != K or N % K or outs[0].shape != (*x.shape[:-1], N):
        return outs
    diagonals = jnp.diagonal(W.reshape(K, N // K, K), axis1=0, axis2=2).reshape(-1)  # [G K], as the gates are packed
    change = jnp.concatenate([x - lax.stop_gradient(x)] * (N // K), axis=-1)
    return [outs[0] + (change * jnp.broadcast_to(lax.stop_gradient(diagonals), change.shape)).astype(outs[0].dtype)]

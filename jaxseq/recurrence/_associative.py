"""Linear cells in parallel over time: all T steps in about 2 log2 T rounds instead of T.

In a cell with ``linear="elementwise"`` each unit's new carry is an affine function of its own old one,
``new = A old + b``. Two such steps compose to one, ``(A2 A1, A2 b1 + b2)``, and `jax.lax.associative_scan` composes
neighbours in a tree. A and b come from the cell's own three functions, for any such cell: b is the new carry of a zero
carry, and a column of A is the derivative with respect to one leaf of the carry, for all units at once, since none sees
another. With L leaves of one shape (a complex state has two) A is an L x L matrix for each unit. Outputs are then
computed from all the carries at once. Where a step is padding, A is the identity and b is 0.

Leaves of different shapes are assumed not to depend on each other: elementwise implies that. A cell with a matrix
between its units (``linear="matrix"``) would need A of H x H and products of H^3, and is refused.

This is meant for accelerators, with T in the thousands and batches too small to fill them; it was not measured on one.
It does about L^2 times the work on the carry, writes A and the carry of every step, and keeps much of that for the
backward pass. On a CPU it is faster only for steps so small that the cost of the loop itself dominates. T = 4096, B =
1, H = 64 on 2 shared cores, in milliseconds (least of 30 noisy runs; forward, with gradient): a minLSTM 10.3 and 14.8
by scan, 2.6 and 8.2 here; an LRU, with L = 2, 4.0 and 15.1 by scan, 9.7 and 55.5 here. With B = 32 the minLSTM's
forward pass took 752 here and 213 by `deferred`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence._scan import added, hold, over_features, reset_carry, scan

Matrix = list[dict[int, Array]]
"""A row for each leaf of the carry: by leaf number, an array for each leaf of the same shape."""


def associative(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]`` as `scan` does, in parallel over time.

    In a program exported for any T it is `scan`, since the depth of the tree depends on T.

    Raises:
      InputError: if the cell's new carry is not affine in the old one, unit by unit.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import lru
      >>> from jaxseq.recurrence import associative
      >>> params, xs = lru.init(jax.random.key(0), 3, 5), jnp.ones((1000, 2, 3))
      >>> jax.grad(lambda p: unroll(lru, p, xs, recurrence=associative)[1].sum())(params).C.shape
      (10, 5)
    """
    if cell.linear != "elementwise":
        how = "mixes its units" if cell.linear == "matrix" else "is not linear"
        raise InputError(
            f"associative({cell.name}): needs a cell whose new carry is affine in the old one, each unit by itself "
            f"(cell.linear == 'elementwise'); the carry of {cell.name} {how}. Use deferred"
        )
    # the number of rounds, log2 T, must be known when the program is traced
    if not isinstance(jax.tree.leaves(xs)[0].shape[0], int):
        return scan(cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse)
    terms = cell.input_terms(params, xs)
    first, structure = jax.tree.flatten(carry)
    if jax.tree.leaves(xs)[0].shape[0]:
        # over T: A is leaves by leaves of [T, B, H], b one [T, B, H] for each leaf
        A, b = jax.vmap(lambda wx: _affine(cell, params, carry, wx))(terms)
        # mask before resets: a padded step that begins a sequence then takes the initial carry, A = 1 and b = 0
        if mask is not None:
            A, b = _identity_where_padded(mask, A, b)
        initial = jax.tree.leaves(reset_carry(cell, params, xs, resets))
        if resets is not None:
            A, b = _constant_where_reset(resets, A, b, initial)
        # now A[t], b[t] are steps 0 ... t composed: the carry after step t is A[t] first + b[t]
        A, b = lax.associative_scan(_join, (A, b), reverse=reverse)
        news = jax.vmap(_apply, in_axes=(0, None, 0))(A, first, b)
        # the carry before a step is the one after its predecessor, which in reverse is the next step
        before = [[n[1:], f[None]] if reverse else [f[None], n[:-1]] for n, f in zip(news, first, strict=True)]
        olds, last = [jnp.concatenate(pair) for pair in before], [n[0 if reverse else -1] for n in news]
        if resets is not None:
            # the outputs of a step that begins a sequence are computed from the initial carry
            olds = [jnp.where(over_features(resets, o), i[None], o) for i, o in zip(initial, olds, strict=True)]
    else:
        # T = 0: associative_scan has no first element to start from
        olds, last = [jnp.zeros((0, *f.shape), f.dtype) for f in first], first
    old, end = (jax.tree.unflatten(structure, leaves) for leaves in (olds, last))
    outs = jax.vmap(lambda old, wx: cell.advance(params, old, wx)[1])(old, terms)
    return end, hold(mask, outs, jax.tree.map(jnp.zeros_like, outs))


def _affine(cell: Cell, params: Params, carry: Carry, wx: Tree) -> tuple[Matrix, list[Array]]:
    """Return A and b of one step, whose new carry is ``A old + b``."""
    # at zeros: there an affine map has exactly the value b and the derivative A
    leaves, structure = jax.tree.flatten(jax.tree.map(jnp.zeros_like, carry))

    def new(leaves: list[Array]) -> list[Array]:
        return jax.tree.leaves(cell.advance(params, jax.tree.unflatten(structure, leaves), wx)[0])

    b, push = jax.linearize(new, leaves)
    # a tangent of 1 for all units of leaf j at once: A is diagonal over units, so the results do not mix
    columns = [push([jnp.ones_like(a) if k == j else a for k, a in enumerate(leaves)]) for j in range(len(leaves))]
    # entries between leaves of different shapes are zero by definition; leaving them out saves work
    seen = [[j for j, other in enumerate(leaves) if other.shape == leaf.shape] for leaf in leaves]
    return [{j: columns[j][i] for j in row} for i, row in enumerate(seen)], b


def _identity_where_padded(mask: Array, A: Matrix, b: list[Array]) -> tuple[Matrix, list[Array]]:
    def held(a: Array, otherwise: float) -> Array:
        return jnp.where(over_features(mask, a), a, jnp.full_like(a, otherwise))

    rows = [{j: held(a, float(i == j)) for j, a in row.items()} for i, row in enumerate(A)]
    return rows, [held(a, 0.0) for a in b]


def _constant_where_reset(resets: Array, A: Matrix, b: list[Array], initial: list[Array]) -> tuple[Matrix, list[Array]]:
    """Return the steps with A = 0, and b the new carry, where a sequence begins."""
    # A initial + b
    begun = jax.vmap(_apply, in_axes=(0, None, 0))(A, initial, b)
    b = [jnp.where(over_features(resets, n), n, old) for n, old in zip(begun, b, strict=True)]
    return [{j: jnp.where(over_features(resets, a), jnp.zeros_like(a), a) for j, a in row.items()} for row in A], b


def _join(early: tuple[Matrix, list[Array]], late: tuple[Matrix, list[Array]]) -> tuple[Matrix, list[Array]]:
    """Return the composition of two steps."""
    (A1, b1), (A2, b2) = early, late
    # late after early: A2 (A1 old + b1) + b2 = (A2 A1) old + (A2 b1 + b2), elementwise over [.., B, H]
    A = [{k: added([a * A1[j][k] for j, a in row.items()]) for k in row} for row in A2]
    return A, _apply(A2, b1, b2)


def _apply(A: Matrix, old: list[Array], b: list[Array]) -> list[Array]:
    return [added([b_i, *(a * old[j] for j, a in row.items())]) for row, b_i in zip(A, b, strict=True)]

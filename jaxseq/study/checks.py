"""The invariants that a study rests on, each with its error and the most that it may be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._unroll import unroll
from jaxseq.cells import Cell
from jaxseq.cells._recipe import join, split
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.study.gradients import Flow, Nudged, no_nudges, nudged
from jaxseq.study.look import in_float64
from jaxseq.study.memory import half_life
from jaxseq.study.whatif import what_if
from jaxseq.trees import named_leaves

Loss = Callable[[Carry, Tree], Array]
"""``(carry, outs) -> []`` of the results of `unroll`."""


class Run(NamedTuple):
    """The arguments of `unroll`, which the functions of a study share."""

    cell: Cell
    params: Params
    xs: Tree
    carry: Carry | None = None
    mask: Array | None = None

    def through(self, look: Callable[..., Any], **options: Any) -> Any:
        """Return ``look(cell, params, xs, carry, mask=mask, **options)``."""
        return look(self.cell, self.params, self.xs, self.carry, mask=self.mask, **options)


class Check(NamedTuple):
    """One invariant.

    Fields:
      id: which; the page has a text for each.
      error: how far it is from holding.
      tolerance: the most that it may be.
      stops: whether nothing is shown where it does not hold.
    """

    id: str
    error: float
    tolerance: float
    stops: bool = True

    def of(self, part: str) -> dict[str, Any]:
        """Return the check as the page shows it; a NaN does not hold."""
        return {**self._asdict(), "part": part, "ok": bool(self.error <= self.tolerance)}


def check_all(checks: Sequence[dict[str, Any]]) -> None:
    """Check that every one holds that must.

    Raises:
      InputError: naming those that do not, with their errors.
    """
    if broken := [check for check in checks if not check["ok"] and check["stops"]]:
        named = "; ".join(f"{c['id']} ({c['part']}): {c['error']:.3g} is above {c['tolerance']:.3g}" for c in broken)
        raise InputError(f"study: the self-check fails, so nothing is shown: {named}")


def known_half_lives() -> Check:
    """Return the half-lives of gates that are always .5, .9 and .99, against 1, 6.5788 and 68.9676 steps."""
    keep = jnp.broadcast_to(jnp.asarray([0.5, 0.9, 0.99], jnp.float32), (100, 1, 3))
    # ln(1/2) / ln k in closed form
    error = np.abs(np.asarray(half_life(keep).half_life) / [1, 6.578813, 68.967564] - 1).max()
    return Check("half", float(error), 1e-4)


def finite(tree: Tree) -> Check:
    """Return the share of numbers that are NaN or infinite."""
    leaves = [np.asarray(a) for a in jax.tree.leaves(tree)]
    wrong = sum(int((~np.isfinite(a)).sum()) for a in leaves)
    return Check("finite", wrong / max(1, sum(a.size for a in leaves)), 0.0)


def undefined(effects: np.ndarray) -> Check:
    """Return the share of changes without a result, such as a division of 0 by 0; that is a fact, and not an error."""
    return Check("undefined", float((~np.isfinite(effects)).mean()) if effects.size else 0.0, 1.0)


def summed(losses: Array, reported: float) -> Check:
    """Return the relative difference of the summed losses of the steps and the loss that the model reports."""
    # float64: a float32 sum over many steps would itself be off by more than the tolerance
    total = float(np.asarray(losses, np.float64).sum())
    return Check("loss", abs(total - reported) / max(1.0, abs(reported)), 1e-5)


def rows_of_attention(weights: Array, source: Sequence[Sequence[str]], mask: np.ndarray) -> list[Check]:
    """Return how far the rows of ``weights [T, B, S]`` are from 1 in sum, and from 0 where there is no source."""
    rows = np.asarray(weights)
    real = np.array([[s < len(row) for s in range(rows.shape[-1])] for row in source])
    # only at real target steps: padded ones output zeros
    sums = np.abs(rows.sum(-1) - 1)[mask]
    outside = np.abs(np.where(real[None], 0, rows))[mask]
    return [
        Check("attention_sum", float(sums.max(initial=0)), 1e-5),
        Check("attention_mask", float(outside.max(initial=0)), 0.0),
    ]


SIZES = (1e-2, 3e-3, 1e-3, 3e-4)
"""Steps of a finite difference: the largest is above float32's rounding, the smallest below the loss' curvature."""

SMALL = (1e-3, 1e-4, 1e-5, 1e-6)
"""The same in float64. A loss near 0 of a network that is sure of its words can rise e-fold within 1e-3."""


@contextlib.contextmanager
def _precisely() -> Iterator[None]:
    """Compute in float64, also with numbers that are given in float32."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision("highest"):
        yield


def _widened(run: Run) -> Run:
    """Return a run in float64, with the arrays that its cell holds, such as a source."""
    wide = lambda tree: jax.tree.map(in_float64, tree)  # noqa: E731
    static, arrays = split(run.cell)
    return Run(join(static, wide(arrays)), wide(run.params), wide(run.xs), wide(run.carry), run.mask)


def gradient_by_differences(loss: Loss, run: Run, seen: Flow, leaf: str, *, back: int = 4) -> Check:
    """Return how far a gradient by a state, some steps before the end, is from a central difference of the loss.

    By the best of `SMALL`, in float64; relative to the gradient, or to 0.01 where it is smaller: the gradient itself is
    rounded to float32.
    """
    norms = np.asarray(seen.norms[leaf])
    # some steps before the last state with a gradient: the path through several steps is checked as well
    t = max(0, int(np.flatnonzero(norms.any(-1)).max(initial=0)) - back)
    b = int(norms[t].argmax())
    norm = float(norms[t, b])
    # along the gradient: the slope there is its norm, the largest of all directions
    along = np.asarray(seen.gradients[leaf][t, b], np.float64) / max(norm, 1e-30)
    with _precisely():
        wide = _widened(run)
        zeros = no_nudges(wide.cell, wide.params, wide.xs)
        names = list(named_leaves(zeros))

        def moved(by: Array) -> Array:
            leaves, structure = jax.tree.flatten(zeros)
            leaves[names.index(leaf)] = leaves[names.index(leaf)].at[t, b].set(jnp.asarray(along) * by)
            xs = Nudged(wide.xs, jax.tree.unflatten(structure, leaves))
            return loss(*unroll(nudged(wide.cell), wide.params, xs, wide.carry, mask=wide.mask))

        slopes = _slopes(moved, jnp.float64, SMALL)
    return Check("flow", float(np.abs(slopes - norm).min()) / max(norm, 1e-2), 2e-2)


def inputs_by_differences(losses: Callable[[Tree], Array], run: Run, products: Array) -> Check:
    """Return the error of gradients times inputs as the effect of scaling an input on the losses of a step, in float64.

    Args:
      losses: ``outs -> [B]``.
      run: whose xs are one array.
      products: ``[T, B]``, gradient times input of each step; the largest is checked.
    """
    t, b = np.unravel_index(int(np.abs(np.asarray(products)).argmax()), products.shape)
    with _precisely():
        wide = _widened(run)

        def moved(by: Array) -> Array:
            xs = wide.xs.at[t, b].multiply(1 + by)
            return losses(unroll(wide.cell, wide.params, xs, wide.carry, mask=wide.mask)[1])[b]

        slopes = _slopes(moved, jnp.float64, SMALL)
    wanted = float(products[t, b])
    return Check("connectivity", float(np.abs(slopes - wanted).min()) / max(abs(wanted), 1e-2), 2e-2)


def _slopes(moved: Callable[[Array], Array], dtype: Any, sizes: Sequence[float] = SIZES) -> np.ndarray:
    """Return the central difference of a function of one number at 0, for each of some sizes, all in one program."""
    each = np.asarray(sizes)
    values = np.asarray(jax.jit(jax.vmap(moved))(jnp.asarray([*each, *-each], dtype)), np.float64)
    ahead, behind = np.split(values, 2)
    return (ahead - behind) / (2 * each.reshape(-1, *[1] * (values.ndim - 1)))


def jacobian_by_differences(cell: Cell, params: Params, before: Carry, x: Tree, jacobian: Array) -> Check:
    """Return how far the first row's Jacobian is from a central difference of a step."""
    leaves, structure = jax.tree.flatten(before)
    # the order of `parts`, by which the Jacobian is laid out
    real = [n for n, a in enumerate(leaves) if jnp.issubdtype(a.dtype, jnp.floating)]
    ends = np.cumsum([leaves[n][0].size for n in real])
    # one random direction sees an error in any entry
    direction = jax.random.normal(jax.random.key(0), (ends[-1],), jacobian.dtype)
    direction = direction / jnp.linalg.norm(direction)

    def after(by: Array) -> Array:
        moved = list(leaves)
        for n, change in zip(real, jnp.split(by * direction, ends[:-1]), strict=True):
            moved[n] = leaves[n].at[0].add(change.reshape(leaves[n].shape[1:]))
        new = jax.tree.leaves(cell.step(params, jax.tree.unflatten(structure, moved), x)[0])
        return jnp.concatenate([new[n][0].ravel() for n in real])

    wanted = np.asarray(jacobian) @ np.asarray(direction)
    error = np.abs(_slopes(after, direction.dtype) - wanted).max(-1).min()
    return Check("jacobian", float(error / max(1.0, np.abs(wanted).max())), 1e-3)


def own_values(loss: Loss, run: Run, gates: Sequence[str]) -> Check:
    """Return the relative change of the loss when gates are replaced by their own values."""

    def same(old: Array, gate: Callable[[str], Array]) -> Array:
        # a new value that equals the old one: `intervene` then goes the whole way of a change
        return old * 1

    found = run.through(what_if, changes=dict.fromkeys(gates, same), loss=loss)
    assert found.loss is not None and found.changed_loss is not None
    was, now = float(found.loss), float(found.changed_loss)
    return Check("unclamped", abs(now - was) / max(1.0, abs(was)), 1e-6)

"""Scan with a gradient that is carried forward in time: nothing is stored for the T steps of a sequence.

The backward pass is a second scan in the direction of the first. It propagates the sensitivity of the carry to the
parameters (`_sensitivity`) and contracts it at each step with the gradient of the outputs. So the gradient's memory
does not grow with T, apart from inputs and outputs. For a cell whose units do not mix, the sensitivity has K times as
many numbers as the parameters, where a unit has K numbers of state; for other cells H times as many.

References: Williams & Zipser 1989, "A learning algorithm for continually running fully recurrent neural networks",
Neural Computation 1(2); Menick et al. 2020, "A practical sparse approximation for real time recurrent learning"
(SnAp), arXiv:2006.07232.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.cells._closed import closes_over_traced
from jaxseq.cells._recipe import join, split
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree, widened
from jaxseq.placement import on_mesh
from jaxseq.recurrence._scan import hold, over_time, reset_carry, restart, scan
from jaxseq.recurrence._sensitivity import (
    Forward,
    Sensitivities,
    floats_of,
    forward_of,
    steps_by_rows,
    with_floats,
)
from jaxseq.trees import step_shapes

LARGEST = 2**30
"""Default limit on the size of the sensitivities, in bytes."""


def forward(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    snap: int | None = None,
    largest: int = LARGEST,
) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]`` as `scan` does, with a gradient that is carried forward in time.

    The gradient with respect to params and the first carry is that of `scan`. There is no derivative with respect to
    xs, which would need memory for T steps, and no forward mode. `scan` runs cells that hold arrays of the whole batch
    (a source that `reading` binds, a mask of `variational`), custom cells whose functions close over traced values, and
    all cells on an Explicit mesh and inside `jax.shard_map`. Set options by
    ``recurrence=functools.partial(forward, snap=1)``.

    Args:
      snap: 1 keeps only the sensitivities of the units on which a parameter acts within one step (SnAp-1, Menick et al.
        2020, section 3): an approximation, except for cells whose units do not mix. All numbers of state of such a unit
        are kept.
      largest: the largest number of bytes of sensitivities.

    Raises:
      InputError: if a derivative with respect to xs is requested, the sensitivities take more than `largest` bytes, or
        snap is neither None nor 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import para_gru
      >>> from jaxseq.recurrence import forward
      >>> params, xs = para_gru.init(jax.random.key(0), 3, 5), jnp.ones((1000, 2, 3))
      >>> jax.grad(lambda p: unroll(para_gru, p, xs, recurrence=forward)[1].sum())(params).W.shape
      (3, 15)
    """
    if snap not in (None, 1):
        raise InputError(f"forward: snap must be None, for the exact gradient, or 1, for SnAp-1; got {snap!r}")
    # custom_vjp has no derivative with respect to closed-over values, which would be leaked tracers
    if on_mesh() or closes_over_traced(cell, params, carry, step_shapes(xs)) or not _by_rows(cell, params, xs, carry):
        return scan(cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse)
    static, arrays = split(cell)  # arrays in a cell's recipe are differentiated too
    initial = reset_carry(cell, params, xs, resets)
    return _run(_How(static, reverse, snap, largest), (arrays, params), xs, carry, initial, mask, resets)


def _by_rows(cell: Cell, params: Params, xs: Tree, carry: Carry) -> bool:
    """Return whether the sensitivities of each row are known without the other rows."""
    kinds = step_shapes(xs)
    run = partial(_stepped, cell)
    return steps_by_rows(run, params, carry, (kinds, None), _rows_of(cell, kinds))


def _rows_of(cell: Cell, kinds: Tree) -> int:
    """Return the number of batch axes of one step's inputs."""
    return jax.tree.leaves(kinds)[0].ndim - 1 - cell.spatial


class _How(NamedTuple):
    """The static arguments: the cell without its arrays, the direction and the options."""

    static: Any
    reverse: bool
    snap: int | None
    largest: int


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(
    how: _How,
    bound: tuple[list[Array], Params],
    xs: Tree,
    carry: Carry,
    initial: Carry | None,
    mask: Array | None,
    resets: Array | None,
) -> tuple[Carry, Tree]:
    arrays, params = bound
    cell = join(how.static, arrays)

    def step(old: Carry, at_t: tuple[Tree, Array | None, Array | None]) -> tuple[Carry, Tree]:
        x, real, begins = at_t
        return _stepped(cell, params, restart(begins, initial, old), (x, real))

    return over_time(step, carry, (xs, mask, resets), reverse=how.reverse)


def _stepped(cell: Cell, params: Params, old: Carry, given: tuple[Tree, Array | None]) -> tuple[Carry, Tree]:
    """Return ``(carry, out)`` of a step that holds the carry on padding."""
    x, real = given
    # input terms in the loop: computing them for all T would need memory for T steps
    new, out, _ = cell.advance(params, old, cell.input_terms(params, x))
    return hold(real, new, old), hold(real, out, jax.tree.map(jnp.zeros_like, out))


def _kept(how: _How, *given: Tree) -> tuple[tuple[Carry, Tree], tuple]:
    """Return the result and the residuals: the arguments, and flags for those that are differentiated."""
    is_primal = lambda a: hasattr(a, "perturbed")  # noqa: E731
    values = jax.tree.map(lambda a: a.value, given, is_leaf=is_primal)
    # None or an empty tuple for each leaf: residuals are trees of arrays, and their structure is static
    moving = [
        [() if a.perturbed and jnp.issubdtype(a.value.dtype, jnp.floating) else None for a in leaves]
        for leaves in (jax.tree.leaves(part, is_leaf=is_primal) for part in given[:4])
    ]
    of_bound, of_xs, of_carry, of_initial = moving
    if () in of_xs:
        name = getattr(how.static, "name", "cell")
        raise InputError(
            f"forward({name}): has no derivative by xs, which would need memory for all T steps; expected derivatives "
            "by params and the first carry only. Use deferred or checkpointed, or jax.lax.stop_gradient(xs)"
        )
    return _run(how, *values), (values, of_bound, () in of_carry, () in of_initial)


def _back(how: _How, kept: tuple, gradients: tuple[Carry, Tree]) -> tuple:
    (bound, xs, carry, initial, mask, resets), chosen, *starts = kept
    leaves, structure = jax.tree.flatten(bound)
    params = [a for a, c in zip(leaves, chosen, strict=True) if c is not None]

    def step(params: list[Array], old: Carry, given: tuple[Tree, Array | None]) -> tuple[Carry, Tree]:
        rest = iter(params)
        all_of = [a if c is None else next(rest) for a, c in zip(leaves, chosen, strict=True)]
        arrays, own = jax.tree.unflatten(structure, all_of)
        return _stepped(join(how.static, arrays), own, old, given)

    cell, kinds = join(how.static, bound[0]), step_shapes(xs)
    forward = forward_of(step, params, carry, (kinds, None), _rows_of(cell, kinds), how.snap)
    forward.check_size(f"forward({cell.name})", carry, params, how.largest)
    last, outs = map(_instantiated, gradients)
    by_params, by_starts = _gradients(forward, params, (carry, initial), starts, last, outs, xs, mask, resets, how)
    rest = iter(g.astype(a.dtype) for g, a in zip(by_params, params, strict=True))
    by_bound = jax.tree.unflatten(structure, [None if c is None else next(rest) for c in chosen])
    return (by_bound, None, *by_starts, None, None)


def _gradients(
    forward: Forward,
    params: list[Array],
    carries: tuple[Carry, Carry | None],
    starts: list[bool],
    last: list[Array],
    outs: list[Array],
    xs: Tree,
    mask: Array | None,
    resets: Array | None,
    how: _How,
) -> tuple[list[Array], list[Carry | None]]:
    """Return the gradients with respect to params, and to the carry at the start and at resets."""
    first, initial = carries
    known = forward.fresh(first, params, first=starts[0], initial=starts[1], at="first")

    def both(params: list[Array], old: Carry, floats: list[Array], given: tuple) -> list[Array]:
        return floats_of(forward.step(params, with_floats(old, floats), given)[1])

    def step(state: tuple, at_t: tuple) -> tuple[tuple, None]:
        old, known, total = state
        x, real, begins, gradient = at_t
        old = restart(begins, initial, old)
        known = forward.restarted(begins, old, params, known)
        # gradient with respect to params at this step, and to the carry before it, the result of all earlier steps
        pull = jax.vjp(lambda params, floats: both(params, old, floats, (x, real)), params, floats_of(old))[1]
        direct, by_carry = pull(gradient)
        total = _plus(forward, total, direct, forward.groups.contracted(known, by_carry))
        moved = forward.moved(params, old, known, (x, real))
        return (forward.step(params, old, (x, real))[0], moved, total), None

    zeros = [jnp.zeros_like(widened(a)) for a in params]
    by_row = jax.eval_shape(forward.groups.contracted, known, floats_of(first))
    nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (by_row.first, by_row.initial))
    (_, known, total), _ = over_time(
        step, (first, known, (zeros, *nothing)), (xs, mask, resets, outs), reverse=how.reverse
    )
    by_params, *by_starts = _plus(forward, total, [None] * len(params), forward.groups.contracted(known, last))
    return by_params, [_like(tree, g) for tree, g in zip(carries, by_starts, strict=True)]


def _plus(forward: Forward, total: tuple, direct: list[Array | None], by_rows: Sensitivities) -> tuple:
    """Return the gradients so far plus those of a step."""
    params = [
        sum((g.astype(t.dtype) for g in more if g is not None), start=t)
        for t, *more in zip(total[0], direct, forward.groups.summed(by_rows), strict=True)
    ]
    return params, *(list(map(jnp.add, a, b)) for a, b in zip(total[1:], by_rows[1:], strict=True))


def _like(carry: Carry | None, gradients: list[Array]) -> Carry | None:
    """Return gradients as a tree like the carry; None if there are none."""
    if not gradients:
        return None
    rest, (leaves, structure) = iter(gradients), jax.tree.flatten(carry)
    floating = [jnp.issubdtype(a.dtype, jnp.floating) for a in leaves]
    return jax.tree.unflatten(
        structure, [next(rest).astype(a.dtype) if f else None for a, f in zip(leaves, floating, strict=True)]
    )


def _instantiated(gradients: Tree) -> list[Array]:
    """Return the gradients of floating arrays, with JAX's symbolic zeros made arrays."""
    is_zero = lambda a: isinstance(a, jax.custom_derivatives.SymbolicZero)  # noqa: E731
    kept = [a for a in jax.tree.leaves(gradients, is_leaf=is_zero) if a.dtype != jax.dtypes.float0]
    return [jnp.zeros(a.shape, a.dtype) if is_zero(a) else a for a in kept]


_run.defvjp(_kept, _back, symbolic_zeros=True)

"""Online learning from a stream: an update at any step, in memory that does not grow with the stream.

A step propagates the sensitivities of the carry to the parameters along with the carry (real-time recurrent learning,
as in `jaxseq.recurrence.forward`). They turn the gradient of this step's loss with respect to the output into that with
respect to the parameters, through all steps before::

    state = online.start(cell, params, x)
    while True:
        state, out, gradient = online.step(cell, params, state, x)
        grads = gradient(jax.grad(loss)(out))
        params = ...                                    # or later: gradients of several steps may be added up

While the parameters stay the same, the sum over steps is the gradient of the whole sequence. If they change on the way,
each step's sensitivities are to the parameters as they were at that step.

Reference: Williams & Zipser 1989, "A learning algorithm for continually running fully recurrent neural networks",
Neural Computation 1(2).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.cells._checks import check_is_cell, check_step
from jaxseq.cells._inputs import lift_step
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence._forward import LARGEST
from jaxseq.recurrence._scan import restart
from jaxseq.recurrence._sensitivity import (
    Forward,
    Groups,
    Sensitivities,
    floats_of,
    forward_of,
    steps_by_rows,
    with_floats,
)
from jaxseq.trees import shapes


class State(NamedTuple):
    """The state between two steps.

    Fields:
      carry: the cell's.
      known: the derivatives of the carry with respect to the parameters, each ``[*B, K, *shape]``.
    """

    carry: Carry
    known: Sensitivities


def start(cell: Cell, params: Params, x: Tree, *, snap: int | None = None, largest: int = LARGEST) -> State:
    """Return the state before the first step.

    Args:
      cell: a Cell.
      params: its parameters.
      x: the input of one step ``[B, D]``; only its shape is read.
      snap: 1 for SnAp-1, as in `jaxseq.recurrence.forward`; the same at every step.
      largest: the largest number of bytes of sensitivities.

    Raises:
      InputError: if the sensitivities take more than `largest` bytes, snap is neither None nor 1, or x does not fit the
        params.
    """
    check_is_cell("online.start", cell)
    learner, carry, _ = _learner(cell, params, x, snap)
    leaves = floats_of(params)
    learner.check_size(f"online.start({cell.name})", carry, leaves, largest)
    return State(carry, learner.fresh(carry, leaves, first=False, initial=True, at="initial"))


def step(
    cell: Cell, params: Params, state: State, x: Tree, *, begins: Array | None = None, snap: int | None = None
) -> tuple[State, Tree, Any]:
    """Take one step of a stream.

    Args:
      cell: a Cell.
      params: its parameters.
      state: from `start`, or from the step before.
      x: ``[B, D]``.
      begins: bool ``[B]``, True where a new sequence begins with this step.
      snap: as given to `start`.

    Returns:
      ``(state, out [B, H], gradient)``: ``gradient(g)`` takes the gradient of a loss with respect to `out` and returns
      that with respect to params, through this step and all before it. It is a pytree, which a jitted function may
      return.

    Raises:
      InputError: if x does not fit the params, or the state is not one of this cell, for this batch and snap.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import online
      >>> from jaxseq.cells import para_gru
      >>> params, x = para_gru.init(jax.random.key(0), 3, 5), jnp.ones((2, 3))
      >>> state = online.start(para_gru, params, x)
      >>> state, out, gradient = jax.jit(online.step, static_argnums=0)(para_gru, params, state, x)
      >>> gradient(2 * out).W.shape
      (3, 15)
    """
    check_is_cell("online.step", cell)
    learner, initial, x = _learner(cell, params, x, snap)
    leaves = floats_of(params)
    wanted = State(initial, learner.fresh(initial, leaves, first=False, initial=True, at="initial"))
    if shapes(state) != shapes(wanted):
        raise InputError(
            f"online.step({cell.name}): state must be that of online.start with the same cell, batch and snap, "
            f"{shapes(wanted)}; got {shapes(state)}"
        )
    old = restart(begins, initial, state.carry)
    known = learner.restarted(begins, old, leaves, state.known)
    carry, out = learner.step(leaves, old, x)
    pull = jax.vjp(lambda p, f: learner.step(p, with_floats(old, f), x)[1], leaves, floats_of(old))[1]
    batch = jax.tree.leaves(x)[0].shape[:-1]
    begun = jax.vjp(lambda p: floats_of(cell.initial_carry(with_floats(params, p), batch)), leaves)[1]
    after = State(carry, learner.moved(leaves, old, known, x))

    # keep the groups alone: the learner's step would keep traced values alive
    finish = functools.partial(_gradient, learner.groups)
    return after, out, jax.tree_util.Partial(finish, pull, begun, known, initial, params)


def _gradient(
    groups: Groups, pull: Any, begun: Any, known: Sensitivities, initial: Carry, params: Params, by_out: Tree
) -> Params:
    """Return the gradient with respect to params, given that with respect to an output."""
    direct, by_carry = pull(by_out)
    through = groups.contracted(known, by_carry)
    # for params that the initial carry depends on; most cells begin with zeros
    by_initial = [g.astype(a.dtype) for g, a in zip(through.initial, floats_of(initial), strict=True)]
    (by_first,) = begun(by_initial)
    parts = zip(direct, by_first, groups.summed(through), strict=True)
    total = [d + f if s is None else d + f + s.astype(d.dtype) for d, f, s in parts]
    return with_floats(jax.tree.map(jnp.zeros_like, params), total)


def _learner(cell: Cell, params: Params, x: Tree, snap: int | None) -> tuple[Forward, Carry, Tree]:
    """Return the cell's step with its groups, the initial carry, and x as the cell takes it."""
    x = lift_step(cell, jax.tree.map(jnp.asarray, x))
    leaf = jax.tree.leaves(x)[0]

    def step(floats: list[Array], old: Carry, x: Tree) -> tuple[Carry, Tree]:
        own = with_floats(params, floats)
        new, out, _ = cell.advance(own, old, cell.input_terms(own, x))
        return new, out

    carry = cell.initial_carry(params, leaf.shape[:-1])
    check_step(cell, params, carry, x)
    rows = leaf.ndim - 1 - cell.spatial
    if not steps_by_rows(step, floats_of(params), carry, shapes(x), rows):
        raise InputError(
            f"online({cell.name}): expected a cell that steps each row by itself; this one holds arrays of the whole "
            "batch, such as a source that it reads. Use unroll"
        )
    return forward_of(step, floats_of(params), carry, shapes(x), rows, snap), carry, x

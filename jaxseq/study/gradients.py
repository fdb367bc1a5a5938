"""Gradients through time: the derivative of a loss by every earlier state, from one backward pass.

Zeros are added to the carry of every step, where it is computed, so that all later values depend on them (an LSTM's h_t
depends on the zeros of c_t). The loss' derivative by those zeros is its derivative by the states: ``dL/dh_t`` and
``dL/dc_t`` for all t at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq._unroll import unroll
from jaxseq.cells import Cell, made
from jaxseq.errors import InputError
from jaxseq.interventions import altered
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.trees import named_leaves


class Nudged(NamedTuple):
    """An input, and the numbers to add to the new carry, of the carry's structure; None adds nothing."""

    x: Tree
    nudge: Carry


@made
def nudged(cell: Cell) -> Cell:
    """Return the cell whose input is `Nudged`: the nudge is added to each leaf of the new carry where it is computed.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params, xs = lstm.init(jax.random.key(0), 3, 5), jnp.ones((7, 2, 3))
      >>> carry, outs = unroll(nudged(lstm), params, Nudged(xs, no_nudges(lstm, params, xs)))
      >>> bool(jnp.allclose(outs, unroll(lstm, params, xs)[1]))
      True
    """
    # without gates: a gate of the same name as a state would hide it
    inner = showing_states(cell, gates=False)

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        wx, nudge = wx
        # by=by: each function keeps its own array, or all would add the loop's last one
        changes = {name: (lambda old, _, by=by: old + by) for name, by in named_leaves(nudge).items()}
        return altered(inner, changes, params, carry, wx, uh)

    def input_terms(params: Params, given: Nudged) -> tuple[Tree, Carry]:
        return cell.input_terms(params, given.x), given.nudge

    return cell.replace(equations=equations, input_terms=input_terms, linear="")


@made
def showing_states(cell: Cell, *, gates: bool = True) -> Cell:
    """Return the cell whose gates are a dict by name, with the new states among them where no gate has their name.

    That gives states names by which `jaxseq.interventions` changes them: all that is made of a state in its own step
    sees the change. A state that is only handed on can be changed like any other.

    Args:
      cell: any Cell.
      gates: whether to keep the gates, or to name the states only.
    """

    def shown(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, dict[str, Array]]:
        new, out, named = cell.equations(params, carry, wx, uh)
        leaves, structure = jax.tree.flatten(new)
        known = {id(a) for a in jax.tree.leaves((params, carry, wx, uh))}
        # a leaf that is returned as it came in is the same tracer as the input: times 1 it is a value of its own, so
        # that changing it does not change the input
        for place, leaf in enumerate(leaves):
            if id(leaf) in known:
                leaves[place] = leaf * 1
            known.add(id(leaf))
        new = jax.tree.unflatten(structure, leaves)
        # gates win over states of the same name
        return new, out, named_leaves(new) | (named_leaves(named) if gates else {})

    return cell.replace(equations=shown)


def no_nudges(cell: Cell, params: Params, xs: Tree) -> Carry:
    """Return zeros to be added to the carry of every step, each leaf ``[T, B, ...]``; None for one of whole numbers."""
    T, *batch = jax.tree.leaves(xs)[0].shape[:-1]
    # shapes alone are needed
    start = jax.eval_shape(lambda p: cell.initial_carry(p, tuple(batch)), params)
    return jax.tree.map(lambda a: jnp.zeros((T, *a.shape), a.dtype) if is_real(a) else None, start)


def is_real(a: Array) -> bool:
    """Return whether an array has derivatives: a counter of steps, say, has none."""
    return bool(jnp.issubdtype(a.dtype, jnp.floating))


class Flow(NamedTuple):
    """How a loss depends on the states of all steps.

    Fields:
      loss: the number itself.
      gradients: by the name of the carry's leaf, ``dL/dh_t`` and so on, each ``[T, B, H]``, through everything that
        is computed from that state, in its own step as well. Zero at padded steps, which pass on the state before.
        States of whole numbers have none and are left out.
      norms: over the units, ``[T, B]``; right down to the smallest number of the dtype.
    """

    loss: Array
    gradients: dict[str, Array]
    norms: dict[str, Array]


def flow(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    loss: Callable[[Carry, Tree], Array],
    mask: Array | None = None,
) -> Flow:
    """Return the loss' gradients by the states of every step, from one backward pass.

    Args:
      cell: as the rest, as in `unroll`. Memory is that of one training step, and a few times the carries of all T.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      loss: ``(carry, outs) -> []`` of the results of `unroll`; a sum or mean over rows, say.
      mask: bool ``[T, B]``.

    Raises:
      InputError: if the loss is not one number.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> found = flow(lstm, params, jnp.ones((7, 2, 3)), loss=lambda carry, outs: outs[-1].sum())
      >>> {name: norms.shape for name, norms in found.norms.items()}
      {'c': (7, 2), 'h': (7, 2)}
    """
    of = _of_nudges(loss, cell, params, xs, carry, mask)

    def number(nudges: Carry) -> Array:
        value = of(nudges)
        if jnp.ndim(value):
            raise InputError(
                f"flow({cell.name}): the loss must be one number; got the shape {jnp.shape(value)}. Sum it, or see "
                "`triangle` for one number a step"
            )
        return value

    # at nudges of zero the run is the cell's own; its derivative by nudge t is dL/d(carry t)
    value, by_nudges = jax.value_and_grad(number)(no_nudges(cell, params, xs))
    gradients = dict(sorted(named_leaves(by_nudges).items()))
    return Flow(value, gradients, {name: norms_of(g, rows_of(cell, xs)) for name, g in gradients.items()})


def triangle(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    losses: Callable[[Carry, Tree], Array],
    mask: Array | None = None,
    steps: Sequence[int] | None = None,
    together: int = 8,
) -> dict[str, Array]:
    """Return the norm of ``dL_s/dh_t`` for the loss of each step s and the state of each step t.

    Args:
      cell: as the rest, as in `unroll`.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None.
      losses: ``(carry, outs) -> [T, B]`` (or ``[T]``), the loss of each step.
      mask: bool ``[T, B]``.
      steps: the s to look at; all T by default. Each is a backward pass of its own, so that time grows with T squared.
      together: how many of them run side by side, each with gradients ``[T, B, H]`` of every leaf in memory.

    Returns:
      By the name of the carry's leaf ``[S, T, B]``: the steps s, and for each all t; zero where t is after s.

    Raises:
      InputError: if there is not a loss for each step, or a step is not in the sequence.

    Example:
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> found = triangle(gru, params, jnp.ones((7, 2, 3)), losses=lambda carry, outs: outs.sum(-1))
      >>> found["h"].shape, float(found["h"][2, 3].max())
      ((7, 7, 2), 0.0)
    """
    of = _of_nudges(losses, cell, params, xs, carry, mask)
    T = jax.tree.leaves(xs)[0].shape[0]

    def norms(by_nudges: Carry) -> dict[str, Array]:
        return {name: norms_of(g, rows_of(cell, xs)) for name, g in sorted(named_leaves(by_nudges).items())}

    return each_loss(f"triangle({cell.name})", of, no_nudges(cell, params, xs), norms, T, steps, together)


def each_loss(
    title: str,
    losses: Callable[[Any], Array],
    at: Any,
    found: Callable[[Any], Tree],
    T: int,
    steps: Sequence[int] | None,
    together: int,
) -> Any:
    """Return `found` of the gradient of each chosen step's loss, stacked; each is a backward pass.

    Args:
      title: the beginning of error messages.
      losses: ``at -> [T, B]`` (or ``[T]``).
      at: the argument of `losses`, by which they are differentiated.
      found: ``gradient, like at -> arrays``.
      T: the number of steps.
      steps: those to look at; all by default.
      together: how many of them run side by side.

    Raises:
      InputError: if there is not a loss for each step, a step is out of range, or together is below 1.
    """
    chosen = chosen_steps(title, steps, T)
    if together < 1:
        raise InputError(f"{title}: together must be at least 1; got {together}")
    # one forward pass for all; a cotangent of 1 at step s, for every row, gives row s of the triangle
    values, pull = jax.vjp(losses, at)
    if jnp.ndim(values) == 0 or values.shape[0] != T:
        raise InputError(
            f"{title}: the losses must be [T, B] with T = {T}, one for each step; got the shape {jnp.shape(values)}"
        )
    # rows are independent, so a 1 for all of them at once mixes nothing
    one = lambda step: found(*pull(jnp.zeros_like(values).at[step].set(1)))  # noqa: E731
    return lax.map(one, chosen, batch_size=max(1, min(together, chosen.shape[0])))


def chosen_steps(title: str, steps: Sequence[int] | None, T: int) -> Array:
    """Return the numbers of steps to look at, all T by default.

    Raises:
      InputError: if one is out of range.
    """
    if steps is not None and (wrong := [s for s in steps if not 0 <= s < T]):
        raise InputError(f"{title}: steps must be from 0 to {T - 1}; got {wrong[0]}")
    return jnp.arange(T) if steps is None else jnp.asarray(np.asarray(steps, int))


def slope(norms: Array) -> Array:
    """Return how fast gradients change per step further back: the least-squares slope of ``ln norm``, ``[B]``.

    Below 0 they vanish, above 0 they explode; each step back multiplies them by about ``exp(slope)``. Steps whose norm
    is 0 (padding, or after the loss) do not count; NaN where fewer than two are left, or where a norm is NaN.

    Args:
      norms: ``[T, B]``, from `flow`.

    Example:
      >>> growth = slope(jnp.array([[0.25], [0.5], [1.0], [0.0]]))
      >>> round(float(jnp.exp(growth[0])), 5)
      0.5
    """
    T = norms.shape[0]
    # ln 0 is not a number to fit a line through
    counts = norms != 0
    # x axis: steps back, T ... 1; a constant shift does not change a slope
    back = jnp.arange(T, 0, -1, dtype=norms.dtype).reshape(T, *[1] * (norms.ndim - 1))
    back = jnp.broadcast_to(back, norms.shape)
    # ln 1 where a step does not count: finite, and its weight is 0
    logs = jnp.log(jnp.where(counts, norms, jnp.ones_like(norms)))
    weights = counts.astype(norms.dtype)
    total = weights.sum(0)

    def centred(a: Array) -> Array:
        # centred at the weighted mean, so that the least-squares slope is cov(x, y) / var(x)
        return (a - jnp.broadcast_to((a * weights).sum(0) / total, a.shape)) * weights

    x = centred(back)
    return jnp.where(total > 1, (x * centred(logs)).sum(0) / (x * x).sum(0), jnp.full_like(total, jnp.nan))


def _of_nudges(
    loss: Callable[[Carry, Tree], Array], cell: Cell, params: Params, xs: Tree, carry: Carry | None, mask: Array | None
) -> Callable[[Carry], Array]:
    return lambda nudges: loss(*unroll(nudged(cell), params, Nudged(xs, nudges), carry, mask=mask))


def rows_of(cell: Cell, xs: Tree) -> int:
    """Return how many axes of xs, time and batch, are not features or places."""
    return jax.tree.leaves(xs)[0].ndim - 1 - cell.spatial


def norms_of(g: Array, rows: int) -> Array:
    """Return the norms over all axes after the first `rows`, of scaled numbers: squares of tiny ones would be 0."""
    # norm = s * |g / s| with s the largest entry: 1e-30 squared is 0 in float32
    flat = jnp.abs(g).reshape(*g.shape[:rows], math.prod(g.shape[rows:]))
    largest = flat.max(-1, initial=0)
    scale = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    return scale * jnp.sqrt(((flat / jnp.broadcast_to(scale[..., None], flat.shape)) ** 2).sum(-1))

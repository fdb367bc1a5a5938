"""The inputs behind an output: gradients of each loss with respect to each input, and integrated gradients.

A row of `connectivity` is one backward pass from the loss of one step to all inputs: the derivative with everything
else held. `integrated_gradients` averages the gradient on the way from a baseline to the inputs, so that the
attributions add up to the change of the loss; it also returns the error of this sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq._unroll import unroll
from jaxseq.cells import Cell
from jaxseq.cells._checks import check_mask
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import over_features
from jaxseq.study.gradients import each_loss, norms_of, rows_of
from jaxseq.trees import named_leaves


class Connectivity(NamedTuple):
    """How each of S losses depends on each input, each ``[S, T, B]``; 0 for a later input and at padded steps.

    Fields:
      norms: of ``dL_s / dx_t`` over the features.
      products: the sum over the features of gradient times input, signed: to first order, the loss minus the loss with
        that input at 0.
    """

    norms: Array
    products: Array


def connectivity(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    losses: Callable[[Carry, Tree], Array],
    mask: Array | None = None,
    steps: Sequence[int] | None = None,
    together: int = 8,
) -> Connectivity:
    """Return how the loss of each step s depends on the input of each step t: ``dL_s / dx_t``.

    Memory is that of one training step, and ``together * T * B * D`` numbers for the backward passes. For tokens give
    their embeddings as xs.

    Args:
      cell: any Cell.
      params: its parameters.
      xs: ``[T, B, D]``, or another input of the cell; differentiated by its x, not by its times.
      carry: the state to start from, or None.
      losses: ``(carry, outs) -> [T, B]`` (or ``[T]``) of the results of `unroll`: the loss of each step, or any number
        of interest such as one logit.
      mask: bool ``[T, B]``.
      steps: the s to look at; all T by default. Each is a backward pass of its own.
      together: how many of them run side by side.

    Raises:
      InputError: if there is not a loss for each step, a step is not one of the sequence's, or xs has no part x.

    Reference: the gradient as saliency, Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034, eq. 4; times the input,
    Shrikumar, Greenside, Shcherbina & Kundaje 2016, arXiv:1605.01713; over time as "connectivity", Madsen 2019,
    "Visualizing memorization in RNNs", Distill.

    Example:
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> found = connectivity(gru, params, jnp.ones((7, 2, 3)), losses=lambda carry, outs: outs.sum(-1))
      >>> found.norms.shape, float(found.norms[2, 3].max()), bool(found.norms[3, 2].min() > 0)
      ((7, 7, 2), 0.0, True)
    """
    xs, x, with_x = _inputs("connectivity", cell, xs, mask)
    rows = rows_of(cell, xs)

    def of(x: Array) -> Array:
        return losses(*unroll(cell, params, with_x(x), carry, mask=mask))

    def both(by_x: Array) -> tuple[Array, Array]:
        # reduced within each backward pass: [T, B] is kept of each, not [T, B, D]
        return norms_of(by_x, rows), (by_x * x).sum(tuple(range(rows, x.ndim)))

    return Connectivity(*each_loss(f"connectivity({cell.name})", of, x, both, x.shape[0], steps, together))


class Integrated(NamedTuple):
    """Attributions of a loss to the inputs.

    Fields:
      features: ``[T, B, D]``, the attribution of each feature; 0 at padded steps.
      steps: ``[T, B]``, their sums over the features.
      loss: of the inputs, ``[]`` or ``[B]`` as the loss gives it.
      baseline_loss: of the baseline.
      gap: the attributions' sum less the change of the loss, ``[]`` or ``[B]``: 0 if the integral is exact.
    """

    features: Array
    steps: Array
    loss: Array
    baseline_loss: Array
    gap: Array


def integrated_gradients(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    loss: Callable[[Carry, Tree], Array],
    mask: Array | None = None,
    baseline: Array | None = None,
    points: int = 32,
) -> Integrated:
    """Return the attributions ``(x - x') * mean of dL/dx on the line from the baseline x' to x``.

    The mean is the integral by Gauss and Legendre's rule, exact for polynomials of degree ``2 points - 1``. Each point
    is a run forward and back, one after the other; memory is that of one training step.

    Args:
      cell: any Cell.
      params: its parameters.
      xs: ``[T, B, D]``, or another input of the cell; its x gets the attributions.
      carry: the state to start from, or None; the same for the baseline.
      loss: ``(carry, outs) -> []`` or ``[B]`` of the results of `unroll`; a row's must depend on that row only.
      mask: bool ``[T, B]``.
      baseline: x', which broadcasts to x from its last axis, such as ``[D]``; zeros by default.
      points: of the integral.

    Raises:
      InputError: if the loss has another shape, the baseline does not broadcast, points is below 1, or xs has no
        part x.

    Reference: Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks", arXiv:1703.01365, eq. 1;
    completeness is their proposition 1.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> found = integrated_gradients(lstm, params, jnp.ones((7, 2, 3)), loss=lambda carry, outs: outs[-1].sum(-1))
      >>> found.steps.shape, found.gap.shape, bool(abs(found.gap).max() < 1e-5)
      ((7, 2), (2,), True)
    """
    if points < 1:
        raise InputError(f"integrated_gradients({cell.name}): points must be at least 1; got {points}")
    xs, x, with_x = _inputs("integrated_gradients", cell, xs, mask)
    rows = rows_of(cell, xs)
    start = _baseline(cell, baseline, x)
    if mask is not None:
        # padding is 0 in x as well, so it lies on no path and has no attribution
        start = jnp.where(over_features(jnp.asarray(mask), start), start, jnp.zeros_like(start))
    # eq. 1 of the paper: attribution_i = (x_i - x'_i) * integral over a of dL/dx_i (x' + a (x - x'))
    way = x - start

    def at(x: Array) -> Array:
        value = jnp.asarray(loss(*unroll(cell, params, with_x(x), carry, mask=mask)))
        if value.shape not in ((), x.shape[1:rows]):
            raise InputError(
                f"integrated_gradients({cell.name}): the loss must be one number, or one for each row "
                f"{x.shape[1:rows]}; got the shape {value.shape}. Choose a step, or sum over steps"
            )
        return value

    nodes, shares = np.polynomial.legendre.leggauss(points)  # on [-1, 1], which has twice the length of [0, 1]
    places, weights = jnp.asarray((nodes + 1) / 2, x.dtype), jnp.asarray(shares / 2, x.dtype)

    def add(total: Array, point: tuple[Array, Array]) -> tuple[Array, None]:
        place, weight = point
        # the sum over rows has the gradients of all rows at once, since a row's loss depends on that row only
        return total + weight * jax.grad(lambda x: at(x).sum())(start + place * way), None

    # one point at a time: the sum is all that is kept
    features = way * lax.scan(add, jnp.zeros_like(x), (places, weights))[0]
    reached, base = at(x), at(start)
    # with one loss for each row the batch axes stay
    over = [axis for axis in range(x.ndim) if reached.ndim == 0 or axis == 0 or axis >= rows]
    gap = features.sum(over).astype(reached.dtype) - (reached - base)
    return Integrated(features, features.sum(tuple(range(rows, x.ndim))), reached, base, gap)


def _baseline(cell: Cell, baseline: Array | None, x: Array) -> Array:
    if baseline is None:
        return jnp.zeros_like(x)
    given = jnp.asarray(baseline, x.dtype)
    # NumPy's rule, checked here so that the message names the baseline
    fits = given.ndim <= x.ndim and all(n in (1, m) for n, m in zip(given.shape[::-1], x.shape[::-1], strict=False))
    if not fits:
        raise InputError(
            f"integrated_gradients({cell.name}): the baseline must broadcast to x, {x.shape}; got {given.shape}"
        )
    return jnp.broadcast_to(given, x.shape)


def _inputs(name: str, cell: Cell, xs: Tree, mask: Array | None) -> tuple[Tree, Array, Callable[[Array], Tree]]:
    """Return xs as arrays, their part x with zeros at padded steps, and ``x -> xs``.

    Raises:
      InputError: if xs is neither one array nor has a part called x.
    """
    xs = jax.tree.map(jnp.asarray, xs)
    leaves, structure = jax.tree.flatten(xs)
    names = list(named_leaves(xs))
    # of several leaves, such as x with times or with missing values, only x is differentiated
    place = 0 if isinstance(xs, jax.Array) else next((n for n, a in enumerate(names) if a.split(".")[-1] == "x"), None)
    if place is None or not jnp.issubdtype(leaves[place].dtype, jnp.floating):
        raise InputError(
            f"{name}({cell.name}): xs must be one array of floats, or have a part x of floats; got "
            f"{', '.join(f'{n or type(xs).__name__} {a.dtype}' for n, a in zip(names, leaves, strict=True))}. "
            "For tokens give their embeddings"
        )
    x = leaves[place]
    if mask is not None:  # 0 * NaN is NaN: padding must be zero before gradient times input
        mask = jnp.asarray(mask)
        check_mask(f"{name}({cell.name})", mask, x.shape[: rows_of(cell, xs)])
        x = jnp.where(over_features(mask, x), x, jnp.zeros_like(x))
    return xs, x, lambda x: jax.tree.unflatten(structure, [*leaves[:place], x, *leaves[place + 1 :]])

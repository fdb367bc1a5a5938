"""Regularisers of recurrent networks; each wraps a Cell or changes its arguments, and no cell knows of them.

Random numbers are drawn outside the loop, from a key that the caller gives, and enter as data, never as params: bound
to the cell if one mask serves a whole sequence, alongside x if each step has its own. A step stays a pure function, so
every recurrence works. Evaluation runs the plain cell or x, and uses the expectation of the masks, as the papers do
(for dropout, whose kept units are scaled up, that is the network without masks).

| where the mask enters                     | drawn        | function                                            |
|-------------------------------------------|--------------|-----------------------------------------------------|
| inputs                                    | per sequence | `drop_inputs`       Gal & Ghahramani 2016           |
| rows of an embedding                      | per sequence | `drop_words`        Gal & Ghahramani 2016           |
| h on its way into U                       | per sequence | `variational`       Gal & Ghahramani 2016           |
| entries of U                              | per sequence | `drop_weights`      Merity, Keskar & Socher 2018    |
| the candidate                             | per step     | `recurrent_dropout` Semeniuta, Severyn & Barth 2016 |
| the carry, which then keeps its old value | per step     | `zoneout`           Krueger et al. 2017             |

`activation_penalty` and `change_penalty` are terms of a loss. Clipping the gradient of the carry is a recurrence:
`jaxseq.recurrence.clipped`. Dropout between layers is `jaxseq.cells.drop_between`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell, made
from jaxseq.cells._checks import check_has_h, check_is_cell, params_dtype
from jaxseq.dropout import keep_mask
from jaxseq.errors import InputError, choose
from jaxseq.interventions import altered
from jaxseq.notation import Array, Carry, Key, Params, Tree, wide, widened


def drop_inputs(key: Key, rate: float, xs: Array) -> Array:
    """Return ``xs [T, B, D]`` with the same features dropped at every step. Consumes `key`.

    Reference: Gal & Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks",
    arXiv:1512.05287, section 4.

    Raises:
      InputError: if rate is not in [0, 1).

    Example:
      >>> drop_inputs(jax.random.key(0), 0.5, jnp.ones((7, 2, 3))).shape
      (7, 2, 3)
    """
    return xs * jnp.broadcast_to(keep_mask(key, rate, xs.shape[1:], xs.dtype), xs.shape)


def drop_words(key: Key, rate: float, table: Array) -> Array:
    """Return an embedding ``table [V, E]`` with whole rows dropped: a dropped word is zero at every occurrence.

    Consumes `key`. Reference: Gal & Ghahramani 2016, arXiv:1512.05287, section 4.2.

    Raises:
      InputError: if rate is not in [0, 1).
    """
    return table * jnp.broadcast_to(keep_mask(key, rate, (table.shape[0], 1), table.dtype), table.shape)


def drop_weights(key: Key, rate: float, params: Params) -> Params:
    """Return params with entries of every recurrent matrix dropped: each field whose name begins with U.

    Consumes `key`. The dropped entries are the same at every step and for the whole batch.

    Reference: Merity, Keskar & Socher 2018, "Regularizing and optimizing LSTM language models", arXiv:1708.02182,
    section 2 (DropConnect of Wan et al. 2013 on the hidden-to-hidden weights).

    Raises:
      InputError: if rate is not in [0, 1), or no field of params begins with U.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> float((drop_weights(jax.random.key(1), 0.5, params).U == 0).mean()) > 0.3
      True
    """
    leaves, structure = jax.tree.flatten_with_path(params)
    named = [str(getattr(path[-1], "name", "")).startswith("U") for path, _ in leaves]
    if not any(named):
        raise InputError(f"drop_weights: {type(params).__name__} has no recurrent matrix: no field begins with U")
    keys = jax.random.split(key, len(leaves))
    dropped = [
        leaf * keep_mask(k, rate, leaf.shape, leaf.dtype) if recurrent else leaf
        for k, recurrent, (_, leaf) in zip(keys, named, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, dropped)


@made
def variational(cell: Cell, keep: Array) -> Cell:
    """Return the Cell with h dropped on its way into U: the same units at every step of a sequence.

    The params are the cell's own, and evaluation runs the original cell. A path of h around the matrix product
    (``z * h`` in a GRU) is not dropped, nor is a product inside the equations (``(r * h) U_n`` in `gru_cho`).

    Args:
      cell: a Cell whose carry has an h; in a stack, make each layer variational separately.
      keep: ``[B, H]``, the factor of h, drawn for each batch by `draw_variational`.

    Reference: Gal & Ghahramani 2016, arXiv:1512.05287, eq. 7, with weights tied.

    Raises:
      InputError: when run, if the carry has no h, or its shape differs from the mask's.

    Example:
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> keep = draw_variational(jax.random.key(1), 0.3, lstm, params, (2,))
      >>> unroll(variational(lstm, keep), params, jnp.ones((7, 2, 3)))[1].shape
      (7, 2, 5)
    """

    def hidden_terms(params: Params, carry: Carry) -> Tree:
        _check_own_h(cell, carry)
        shape = carry.h.shape
        if keep.shape != shape[len(shape) - keep.ndim :]:  # the h of all T steps at once has one more axis
            raise InputError(
                f"variational: the mask must be {shape}, as the h of {cell.name}; got {keep.shape}. Draw it for this "
                f"batch: draw_variational(key, rate, cell, params, {shape[:-1]})"
            )
        return cell.hidden_terms(params, carry._replace(h=carry.h * jnp.broadcast_to(keep, shape)))

    return cell.replace(hidden_terms=hidden_terms, name=f"variational {cell.name}", linear="")


def draw_variational(key: Key, rate: float, cell: Cell, params: Params, batch_shape: tuple[int, ...]) -> Array:
    """Return the mask of `variational` for a batch, ``[B, H]``: 0 where h is dropped, else 1 / (1 - rate).

    Consumes `key`.

    Raises:
      InputError: if rate is not in [0, 1), or the cell's carry has no h.
    """
    carry = jax.eval_shape(lambda p: cell.initial_carry(p, batch_shape), params)
    _check_own_h(cell, carry)
    return keep_mask(key, rate, carry.h.shape, carry.h.dtype)


def _check_own_h(cell: Cell, carry: Carry) -> None:
    check_has_h("variational", cell, carry)
    if "h" not in carry._fields:  # the carry contains an attention's state, and h is nested deeper
        raise InputError(
            f"variational: the h of {cell.name} is that of the cell inside; make that one variational: "
            "with_attention(variational(cell, keep), attention)"
        )


class Noise(NamedTuple):
    """An input and the random numbers of its step.

    Fields:
      x: ``[T, B, D]``, or another input of the cell.
      masks: a tuple of masks ``[T, B, H]``, one for each thing that is dropped.
    """

    x: Tree
    masks: tuple[Array, ...]


def _beside(x: Tree) -> tuple[Tree, tuple[Array, ...] | None]:
    return (x.x, x.masks) if isinstance(x, Noise) else (x, None)


@made
def recurrent_dropout(cell: Cell, gate: str = "g") -> Cell:
    """Return the Cell with its candidate dropped before it is written: ``c' = f * c + i * d(g)``.

    Its input is `Noise` from `draw_recurrent_dropout`, or x for evaluation. `gate` is the candidate's name among the
    cell's gates: g in an LSTM, n in a GRU.

    Reference: Semeniuta, Severyn & Barth 2016, "Recurrent dropout without memory loss", arXiv:1603.05118, eqs. 8, 9.

    Raises:
      InputError: when it is first run, if the cell has no such gate.

    Example:
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import lstm
      >>> cell, xs = recurrent_dropout(lstm), jnp.ones((7, 2, 3))
      >>> params = cell.init(jax.random.key(0), 3, 5)
      >>> noisy = draw_recurrent_dropout(jax.random.key(1), 0.25, cell, params, xs)
      >>> unroll(cell, params, noisy)[1].shape
      (7, 2, 5)
    """

    def input_terms(params: Params, x: Tree) -> Tree:
        x, masks = _beside(x)
        return cell.input_terms(params, x), masks

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        wx, masks = wx
        changes = {} if masks is None else {gate: lambda value, _: value * masks[0].astype(value.dtype)}
        return altered(cell, changes, params, carry, wx, uh)

    return cell.replace(
        input_terms=input_terms, equations=equations, name=f"{cell.name} with {gate} dropped", linear=""
    )


def draw_recurrent_dropout(key: Key, rate: float, cell: Cell, params: Params, xs: Tree) -> Noise:
    """Return `xs` with a mask ``[T, B, H]`` for each step. Consumes `key`.

    Raises:
      InputError: if rate is not in [0, 1).
    """
    like = jax.tree.leaves(_carries(cell, params, xs))[0]
    return Noise(xs, (keep_mask(key, rate, like.shape, params_dtype("draw_recurrent_dropout", params)),))


@made
def zoneout(cell: Cell, rate: float | Mapping[str, float]) -> Cell:
    """Return the Cell with units that keep their old value at random: ``h' = keep * h + (1 - keep) * new h``.

    Its input is `Noise` from `draw_zoneout`; with x alone, for evaluation, each unit keeps the share `rate` of its old
    value, which is the expectation. An output that is the carry's h, as in an LSTM or a GRU, is zoned out too; any
    other output is not.

    Args:
      cell: a Cell of one layer, whose carry is a NamedTuple.
      rate: the probability of keeping the old value, for every leaf of the carry or by name: ``{"h": 0.05, "c": 0.5}``.

    Reference: Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden activations",
    arXiv:1606.01305, section 3.

    Raises:
      InputError: if a rate is not in [0, 1]; when first run, if the carry has no leaf of that name.

    Example:
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import lstm
      >>> cell, xs = zoneout(lstm, {"h": 0.05, "c": 0.5}), jnp.ones((7, 2, 3))
      >>> params = cell.init(jax.random.key(0), 3, 5)
      >>> unroll(cell, params, draw_zoneout(jax.random.key(1), cell, params, xs))[1].shape
      (7, 2, 5)
    """
    check_is_cell("zoneout", cell)
    for one in rate.values() if isinstance(rate, Mapping) else [rate]:
        if not isinstance(one, jax.core.Tracer) and not 0 <= one <= 1:
            raise InputError(f"zoneout: a rate must be from 0 to 1, the probability of keeping; got {one}")

    def shares(carry: Carry) -> list[float]:
        if not isinstance(rate, Mapping):
            return [rate] * len(carry)
        for name in rate:
            choose(f"leaf of the carry of {cell.name}", name, dict.fromkeys(carry._fields))
        return [rate.get(name, 0.0) for name in carry._fields]

    def input_terms(params: Params, x: Tree) -> Tree:
        x, masks = _beside(x)
        if masks is not None:
            drawn = shares(cell.initial_carry(params, ()))
            masks = tuple((u < share).astype(u.dtype) for u, share in zip(masks, drawn, strict=True))
        return cell.input_terms(params, x), masks

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        wx, keep = wx
        new, out, named = cell.equations(params, carry, wx, uh)
        if keep is None:
            keep = tuple(jnp.full_like(leaf, share) for leaf, share in zip(new, shares(new), strict=True))
        keep = tuple(k.astype(n.dtype) for k, n in zip(keep, new, strict=True))
        zoned = type(new)(*[k * old + (1 - k) * n for k, old, n in zip(keep, carry, new, strict=True)])
        shown = next((z for z, n in zip(zoned, new, strict=True) if n is out), out)
        h = getattr(new, "h", None)
        if h is not None and isinstance(out, jax.Array) and h.shape == out.shape and h.dtype != out.dtype:
            shown = zoned.h.astype(out.dtype)  # a state in float32 next to bfloat16 params
        return zoned, shown, named

    return cell.replace(input_terms=input_terms, equations=equations, name=f"{cell.name} with zoneout")


def draw_zoneout(key: Key, cell: Cell, params: Params, xs: Tree) -> Noise:
    """Return `xs` with uniform random numbers for each step and leaf of the carry. Consumes `key`."""
    leaves = jax.tree.leaves(_carries(cell, params, xs))
    keys, dtype = jax.random.split(key, len(leaves)), params_dtype("draw_zoneout", params)
    return Noise(xs, tuple(jax.random.uniform(k, leaf.shape, dtype) for k, leaf in zip(keys, leaves, strict=True)))


def _carries(cell: Cell, params: Params, xs: Tree) -> Carry:
    """Return the shapes of a carry for each step of ``xs [T, B, D]``, or for the one step of ``x [B, D]``."""
    return jax.eval_shape(lambda p: cell.initial_carry(p, jax.tree.leaves(xs)[0].shape[:-1]), params)


def activation_penalty(outs: Array, mask: Array | None = None) -> Array:
    """Return activation regularisation (AR), to be scaled: the mean square of ``outs [T, B, H]`` over real steps.

    Reference: Merity, McCann & Socher 2017, "Revisiting activation regularization for language RNNs",
    arXiv:1708.01009, section 2 (they take dropped-out outputs).
    """
    return _mean_square(outs, mask)


def change_penalty(outs: Array, mask: Array | None = None) -> Array:
    """Return temporal AR (TAR): the mean square of ``outs[t + 1] - outs[t]`` where both steps are real.

    Reference: Merity, McCann & Socher 2017, arXiv:1708.01009, section 2 (they take outputs without dropout). A sequence
    of one step has a penalty of 0.
    """
    both = None if mask is None else mask[1:] & mask[:-1]
    return _mean_square(outs[1:] - outs[:-1], both)


def _mean_square(a: Array, mask: Array | None) -> Array:
    if mask is None:
        return (jnp.square(widened(a)).sum() / max(a.size, 1)).astype(a.dtype)
    real = jnp.where(mask[..., None], widened(a), jnp.zeros((), wide(a.dtype)))
    return (jnp.square(real).sum() / jnp.maximum(mask.sum() * a.shape[-1], 1).astype(real.dtype)).astype(a.dtype)

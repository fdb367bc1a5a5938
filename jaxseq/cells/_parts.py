"""Parts that most cells have in common, so that a cell's own file is its equations and little else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import affine, zeros_for
from jaxseq.errors import InputError
from jaxseq.initializers import Initializer, glorot, orthogonal, packed, zeros
from jaxseq.notation import Array, Carry, Key, Params, Tree


class Hidden(NamedTuple):
    """The state ``h [B, H]``, which is also the output."""

    h: Array


class Timed(NamedTuple):
    """An input with a time of its own.

    Fields:
      x: ``[B, D]``.
      t: ``[B, 1]``, a time stamp or the time since the last step, as the cell says, in the unit that its parameters
        are in.
    """

    x: Array
    t: Array


def stamped(xs: Array) -> Timed:
    """Return ``xs [T, B, D]`` with the time stamps 0, 1, 2, ..."""
    t = jnp.arange(xs.shape[0], dtype=xs.dtype).reshape(-1, *[1] * (xs.ndim - 1))
    return Timed(xs, jnp.broadcast_to(t, (*xs.shape[:-1], 1)))


def spaced(xs: Array) -> Timed:
    """Return ``xs [T, B, D]`` with a time of 1 between steps."""
    return Timed(xs, jnp.ones_like(xs[..., :1]))


def init_of(
    params_type: Any,
    *,
    forget: int | None = None,
    **shapes: str | tuple[str, Initializer],
) -> Callable[..., Params]:
    """Return an ``init(key, input_size, hidden_size, *, dtype=float32, kernel, recurrent, bias)`` for given shapes.

    A shape is written in the letters of `jaxseq.notation`: ``W="D 4H"`` is a matrix of D rows and four blocks of H
    columns, each block drawn by itself. Parameters whose names begin with W are drawn by `kernel` (Glorot uniform),
    with U by `recurrent` (orthogonal), with b by `bias` (zeros); any other brings its initializer:
    ``p=("3H", uniform(0.1))``. The key is split into one for each parameter, in their order.

    Args:
      params_type: the NamedTuple to build, with a field for each of `shapes`, in the same order.
      forget: which block of b is the forget gate's; init then takes ``forget_bias=1.0``, which is added there.
      shapes: of every parameter.

    Example:
      >>> from jaxseq.cells._lstm import LSTMParams
      >>> init = init_of(LSTMParams, forget=1, W="D 4H", U="H 4H", b="4H")
      >>> init(jax.random.key(0), 3, 5, forget_bias=2.0).U.shape
      (5, 20)
    """
    assert tuple(shapes) == params_type._fields, f"{params_type.__name__} has {params_type._fields}, got {shapes}"

    def init(
        key: Key,
        input_size: int,
        hidden_size: int,
        *,
        dtype: Any = jnp.float32,
        kernel: Initializer = glorot,
        recurrent: Initializer = orthogonal,
        bias: Initializer = zeros,
        **options: float,
    ) -> Params:
        """Return parameters for D = input_size, H = hidden_size. Consumes `key`.

        Raises:
          InputError: if a size is not a whole number above 0.
        """
        forget_bias = options.pop("forget_bias", 1.0) if forget is not None else 0.0
        if options:
            raise TypeError(f"init of {params_type.__name__} has no option {sorted(options)[0]!r}")
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, int | np.integer) or size < 1:
                raise InputError(f"init of {params_type.__name__}: {name} must be a whole number above 0, got {size!r}")
        by_letter = {"W": kernel, "U": recurrent, "b": bias}
        made = {}
        for k, (name, given) in zip(jax.random.split(key, len(shapes)), shapes.items(), strict=True):
            shape, draw = given if isinstance(given, tuple) else (given, by_letter[name[0]])
            *rows, (blocks, columns) = [_axis(axis, input_size, hidden_size) for axis in shape.split()]
            if rows:
                made[name] = packed(draw, k, (rows[0][0] * rows[0][1], columns), blocks, dtype)
            else:
                made[name] = draw(k, (blocks * columns,), dtype)
        if forget is not None:
            H = hidden_size
            made["b"] = made["b"].at[forget * H : (forget + 1) * H].add(forget_bias)
        return params_type(**made)

    return init


def _axis(text: str, D: int, H: int) -> tuple[int, int]:
    """Return ``(blocks, size of one)`` of an axis such as ``"4H"``, ``"D"`` or ``"1"``."""
    found = re.fullmatch(r"(\d*)([DH]?)", text)
    assert found is not None, f"an axis is a count and D or H, such as 4H; got {text!r}"
    count, letter = found.groups()
    return int(count or 1), {"D": D, "H": H, "": 1}[letter]


def zeros_carry(carry_type: Any, like: str = "U") -> Callable[..., Carry]:
    """Return an `initial_carry` whose every leaf is zeros ``[*batch_shape, H]``, with H the rows of ``params.U``.

    Where a cell has no U, `like` names another parameter with H rows.
    """

    def initial_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        """Return the state before the first step: zeros, each ``[*batch_shape, H]``."""
        rows = getattr(params, like)
        return carry_type(*[zeros_for(rows, batch_shape, rows.shape[0])] * len(carry_type._fields))

    return initial_carry


def input_affine(params: Params, x: Array) -> Array:
    """Return ``x W + b``, ``[B, G*H]``: the `input_terms` of most cells."""
    return affine(x, params.W, params.b)


def hidden_product(params: Params, carry: Carry) -> Tree:
    """Return ``h U``, ``[B, G*H]``: the `hidden_terms` of most cells."""
    return carry.h @ params.U


def no_hidden_terms(params: Params, carry: Carry) -> Tree:
    """Return nothing: the `hidden_terms` of a cell without a matrix product in its loop."""
    return ()

"""Argument checks that raise actionable errors at trace time, before JAX raises deeper ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxseq.cells._inputs import check_input_type
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.trees import shapes

if TYPE_CHECKING:
    from jaxseq.cells._base import Cell


def input_size_of(params: Params) -> int | None:
    """Return D, read from the first input matrix ``W [D, G*H]`` in params; None if there is no such matrix."""
    if (W := getattr(params, "W", None)) is not None:
        return W.shape[-2]  # a convolution's is [rows, columns, D, G*H]
    return input_size_of(params[0]) if isinstance(params, tuple) and params else None


def params_dtype(name: str, params: Params) -> Any:
    """Return the one floating dtype of params.

    Raises:
      InputError: if the params have several floating dtypes, or no floating arrays.
    """
    floating = [a for a in jax.tree.leaves(params) if jnp.issubdtype(jnp.result_type(a), jnp.floating)]
    dtypes = {jnp.result_type(a) for a in floating}
    if len(dtypes) == 1:
        return dtypes.pop()
    got = ", ".join(sorted(map(str, dtypes))) or "none"
    raise InputError(
        f"{name}: params must share one floating dtype; got {got}. "
        "Cast them together: jax.tree.map(lambda a: a.astype(dtype), params)"
    )


def check_is_cell(name: str, cell: Any) -> None:
    """Check that `cell` is a Cell, and not a name or a module."""
    if not (hasattr(cell, "input_terms") and hasattr(cell, "advance")) or isinstance(cell, type):
        got = type(cell).__name__ if len(repr(cell)) > 100 else repr(cell)  # an array's repr would print its numbers
        raise InputError(
            f"{name}: cell must be a Cell, such as jaxseq.cells.lstm; got {got}. By name: jaxseq.cells.CELLS['lstm']"
        )


def check_params(name: str, wanted: Any, params: Params) -> None:
    """Check that params have the type that the cell's init returns. Others may fit in shape but compute nonsense."""
    if wanted is None:
        return
    layers = wanted if isinstance(wanted, tuple) else ()
    if layers and type(params) is tuple and len(params) == len(layers):
        for layer, (one, own) in enumerate(zip(layers, params, strict=True)):
            check_params(f"{name}, layer {layer}", one, own)
    elif layers or not isinstance(params, wanted):
        expected = f"a tuple of {len(layers)}, one for each layer" if layers else wanted.__name__
        raise InputError(
            f"{name}: the params are not this cell's: expected {expected}, got {_outline(params)}; make them with init"
        )


def check_inputs(name: str, params: Params, x: Tree, axes: str) -> None:
    """Check dtype and features of x, whose axes are ``"[B, D]"`` for one step, ``"[T, B, D]"`` for a sequence."""
    dtype = params_dtype(name, params)
    x = getattr(x, "checked", x)  # an input may carry values of gates, whose dtypes differ from that of x
    if isinstance(x, list) or not jax.tree.leaves(x):
        raise InputError(
            f"{name}: x must be an array {axes}; got {type(x).__name__}. Convert it: jnp.asarray(x, jnp.{dtype})"
        )
    for leaf in jax.tree.leaves(x):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InputError(
                f"{name}: x has dtype {leaf.dtype}, params have {dtype}. Cells take real numbers: embed tokens first, "
                f"or convert with x.astype(jnp.{dtype})"
            )
        if leaf.dtype != dtype:
            half = jnp.finfo(leaf.dtype).bits < jnp.finfo(dtype).bits
            hint = (
                f". For products in {leaf.dtype}: jaxseq.mixed(cell, jnp.{leaf.dtype}), with x in {dtype}"
                if half
                else ""
            )
            raise InputError(
                f"{name}: x has dtype {leaf.dtype}, params have {dtype}; nothing is promoted silently. "
                f"Convert one of them: x.astype(jnp.{dtype}), or params by jax.tree.map{hint}"
            )
    first, wanted = jax.tree.leaves(x)[0], input_size_of(params)
    least = 2 if axes.startswith("[T") else 1
    if first.ndim < least:
        raise InputError(f"{name}: x must be {axes} with any number of batch axes; got the shape {first.shape}")
    if wanted is not None and first.shape[-1] != wanted:
        raise InputError(
            f"{name}: x has {first.shape[-1]} features on its last axis, params expect {wanted}. "
            f"Features come last, time (if any) first: x is {axes}; got the shape {first.shape}"
        )


def check_carry(cell: Cell, params: Params, carry: Carry, batch_shape: tuple[int, ...]) -> None:
    """Check that carry has the structure, shapes and dtypes of ``cell.initial_carry(params, batch_shape)``."""
    wanted = jax.eval_shape(lambda p: cell.initial_carry(p, batch_shape), shapes(params))
    advice = f"start from {cell.name}.initial_carry(params, {batch_shape})"
    if getattr(carry, "dtype", None) == jnp.bool_:
        raise InputError(f"{cell.name}: got a mask where the carry belongs; give it by name: mask=mask, or resets=")
    if str(jax.tree.structure(carry)) != str(jax.tree.structure(wanted)):
        raise InputError(
            f"{cell.name}: the carry is that of another cell: expected {_outline(wanted)}, "
            f"got {_outline(carry)}; {advice}"
        )
    for (path, want), have in zip(jax.tree.leaves_with_path(wanted), jax.tree.leaves(carry), strict=True):
        have = jnp.asarray(have)
        if have.shape != want.shape or have.dtype != want.dtype:
            raise InputError(
                f"{cell.name}: carry{jax.tree_util.keystr(path)} must be {want.dtype} of shape {want.shape}, for x "
                f"with batch axes {batch_shape}; got {have.dtype} of shape {have.shape}; {advice}"
            )


def check_step_returns(name: str, cell: Cell, params: Params, carry: Carry, x: Tree) -> None:
    """Check that a custom cell's step returns ``(carry, out, gates)`` with a carry like the one it took."""
    step = jax.eval_shape(lambda p, k, x: cell.advance(p, k, cell.input_terms(p, x)), *map(shapes, (params, carry, x)))
    if not isinstance(step, tuple) or len(step) != 3:
        raise InputError(f"{name}: equations must return (carry, out, gates); got {_outline(step)}")
    described = [[(jax.tree_util.keystr(at), a.shape, a.dtype) for at, a in jax.tree.leaves_with_path(k)]
                 for k in (carry, step[0])]  # fmt: skip
    if str(jax.tree.structure(carry)) != str(jax.tree.structure(step[0])):
        raise InputError(
            f"{name}: equations must return a carry like the one they are given, {_outline(carry)}; got "
            f"{_outline(step[0])}"
        )
    for (at, shape, dtype), (_, new_shape, new_dtype) in zip(*described, strict=True):
        if (shape, dtype) != (new_shape, new_dtype):
            raise InputError(
                f"{name}: equations must return a carry like the one they are given: carry{at} is {dtype} of shape "
                f"{shape}; got {new_dtype} of shape {new_shape}"
            )


def check_has_h(name: str, cell: Cell, carry: Carry) -> None:
    """Check that a cell's carry has an h, which not all have; `name` names the caller in the message."""
    if getattr(carry, "h", None) is None:
        raise InputError(
            f"{name}: needs a cell whose carry has an h, as that of gru or lstm; the carry of {cell.name} is "
            f"{_outline(carry)}"
        )


def check_step(cell: Cell, params: Params, carry: Carry, x: Tree) -> None:
    """Check the arguments of one step."""
    check_params(cell.name, cell.params_type, params)
    check_input_type(cell.name, cell, x)
    check_inputs(cell.name, params, x, "[B, D]")
    check_carry(cell, params, carry, jax.tree.leaves(x)[0].shape[:-1])


def check_order(name: str, cell: Cell, params: Params, xs: Tree, carry: Carry | None) -> None:
    """Check that xs is not a carry or None, as in the argument order of version 0.1."""
    swapped = xs is None
    if carry is not None and isinstance(xs, tuple):
        # the batch axes, which a source bound by `reading` must have too
        batch = next((a.shape[:-1] for a in jax.tree.leaves(carry)), ())
        wanted = jax.eval_shape(lambda p: cell.initial_carry(p, batch), shapes(params))
        here, there = (str(jax.tree.structure(tree)) == str(jax.tree.structure(wanted)) for tree in (xs, carry))
        swapped = here and not there
    if swapped:
        raise InputError(
            f"{name}: got {'None' if xs is None else 'a carry'} where xs belongs; the order is (cell, params, xs, "
            "carry=None): the carry comes after xs, and only if there is one"
        )


def check_mask(
    name: str, mask: Array, time_and_batch: tuple[int, ...], what: str = "mask", meaning: str = "a step is real"
) -> None:
    """Check that mask is boolean ``[T, B]``."""
    if mask.dtype != jnp.bool_:
        lengths = mask.shape == time_and_batch[1:] and jnp.issubdtype(mask.dtype, jnp.integer)
        by_length = f"For lengths: jaxseq.length_mask(lengths, {time_and_batch[0]})"
        hint = by_length if lengths else f"Try {what}.astype(bool)"
        raise InputError(f"{name}: {what} must be bool (True where {meaning}); got {mask.dtype} {mask.shape}. {hint}")
    if mask.shape != time_and_batch:
        hint = f" Time comes first: try {what}.T" if mask.shape[::-1] == time_and_batch else ""
        raise InputError(f"{name}: {what} must be [T, B] = {time_and_batch}, as xs; got the shape {mask.shape}.{hint}")


def _outline(tree: Tree) -> str:
    if isinstance(tree, tuple):
        inner = ", ".join(getattr(tree, "_fields", None) or map(_outline, tree))
        return f"{type(tree).__name__}({inner})"
    return f"array{tuple(tree.shape)}" if hasattr(tree, "shape") else type(tree).__name__

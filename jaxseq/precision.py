"""Mixed precision: a cell's matrix products in half precision, everything else in the parameters' precision.

A product rounds both operands to bfloat16, multiplies, and accumulates in float32, as accelerators' matrix units do.
Parameters, the carry, the equations between gates and all gradients stay in float32. The products are
found in the jaxprs of a cell's functions, so no cell knows of this.

`product_p` is such a product. It takes and returns float32, is bilinear, and its transposes are products of the
same kind: in the backward pass they round the cotangent and the other operand to bfloat16, and return float32 sums.
(With two casts and `jax.lax.dot_general` instead, JAX's transpose multiplies in float32, and rounds the gradients of
weights to bfloat16.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn, Primitive
from jax.interpreters import ad, batching, mlir

from jaxseq.cells import Cell, made
from jaxseq.cells._checks import check_is_cell
from jaxseq.errors import InputError
from jaxseq.jaxprs import evaluate
from jaxseq.notation import Array

PRODUCTS = (lax.dot_general_p, lax.conv_general_dilated_p)
"""The primitives that are matrix products."""


@made
def mixed(cell: Cell, products: Any = jnp.bfloat16) -> Cell:
    """Return the cell with its matrix products in half precision, summed in float32.

    Every product and convolution that depends on the input or the carry rounds its operands to `products`. A product of
    parameters alone, which makes a weight (the exponential of `exp_rnn`), is left as it is. Parameters, carry, outputs
    and gradients keep their dtype. Derivatives are those of the cell, with products rounded in the same way: finite
    differences, which see the jumps of the rounding, do not match them. Evaluation may run the original cell.

    Args:
      cell: a Cell, a stack, one with attention or a wrapped one, with float32 parameters.
      products: the dtype of the operands. float16 overflows above 65504, and gradients below 6e-8 vanish in it: scale
        the loss, which bfloat16 does not need.

    Raises:
      InputError: if `products` is not a floating dtype of at most 16 bits.

    References: Micikevicius et al. 2018, "Mixed precision training", arXiv:1710.03740; Kalamkar et al. 2019, "A study
    of BFLOAT16 for deep learning training", arXiv:1905.12322, section 3.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import mixed, unroll
      >>> from jaxseq.cells import lstm
      >>> params, xs = lstm.init(jax.random.key(0), 3, 5), jnp.ones((7, 2, 3))
      >>> carry, outs = unroll(mixed(lstm), params, xs)
      >>> outs.dtype, bool(0 < abs(outs - unroll(lstm, params, xs)[1]).max() < 0.01)
      (dtype('float32'), True)
    """
    check_is_cell("mixed", cell)
    of = partial(mixed_function, products=products)
    return cell.replace(
        input_terms=of(cell.input_terms),
        hidden_terms=of(cell.hidden_terms),
        equations=of(cell.equations),
        remember=None if cell.remember is None else of(cell.remember),
        name=f"mixed {cell.name}",
    )


def mixed_function(function: Callable[..., Any], products: Any = jnp.bfloat16) -> Callable[..., Any]:
    """Return ``function(params, *data)`` with its matrix products in half precision, as `mixed` does for a cell.

    For functions other than cells: a layer, a loss. Arguments are trees of arrays; a loop in the function with a custom
    derivative, such as that of `unroll`, must run a cell that is already mixed.

    Raises:
      InputError: if `products` is not a floating dtype of at most 16 bits.

    Example:
      >>> product = mixed_function(lambda W, x: x @ W)
      >>> print(product(jnp.ones((1, 1)), jnp.array([[1.001]])), product(jnp.ones((1, 1)), jnp.array([[1.01]])))
      [[1.]] [[1.0078125]]
    """
    if not jnp.issubdtype(products, jnp.floating) or jnp.finfo(products).bits > 16:
        raise InputError(
            f"mixed: products must be a floating dtype of at most 16 bits, such as jnp.bfloat16; got {products!r}"
        )
    return _rounded(function, jnp.dtype(products))


def _rounded(function: Callable[..., Any], dtype: Any) -> Callable[..., Any]:
    """Return ``function(params, *data)`` with its products rounded to a dtype where they depend on the data."""

    def run(params: Any, *data: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(params, *data)
        own, given = (jax.tree.leaves(tree) for tree in (params, data))
        seen = [False] * len(own) + [True] * len(given)
        return jax.tree.unflatten(
            jax.tree.structure(shapes), evaluate(closed, [*own, *given], partial(_round, dtype=dtype), seen)
        )

    return run


def _round(eqn: JaxprEqn, values: Sequence[Any], dtype: Any) -> list[Any] | None:
    """Return a product's result by `product_p`; None for other equations, and if no operand is wider."""
    floating = all(jnp.issubdtype(v.dtype, jnp.floating) for v in values)
    if eqn.primitive not in PRODUCTS or not floating or any(jnp.finfo(v.dtype).bits <= 16 for v in values):
        return None
    return [product_p.bind(*values, of=eqn.primitive, dtype=dtype, **eqn.params)]


product_p = Primitive("rounded_product")
"""A matrix product of rounded operands, summed in float32: one primitive, so a rewritten jaxpr can find it."""


def _product(x: Array, y: Array, *, of: Primitive, dtype: Any, **params: Any) -> Array:
    """Return the product of the rounded operands, accumulated in their original dtype."""
    params |= {"precision": None, "preferred_element_type": params["preferred_element_type"] or x.dtype}
    return of.bind(x.astype(dtype), y.astype(dtype), **params)


def _emulated(x: Array, y: Array, *, of: Primitive, dtype: Any, **params: Any) -> Array:
    """Return the same values by a product in the operands' own dtype, for CPU and outside compiled functions.

    XLA for CPU lacks some bfloat16 products (jaxlib 0.10: "Unsupported element type for DotThunk"), and where it
    converts operands back by itself it may drop the rounding.
    """
    rounded = partial(lax.reduce_precision, exponent_bits=jnp.finfo(dtype).nexp, mantissa_bits=jnp.finfo(dtype).nmant)
    return of.bind(rounded(x), rounded(y), **params)


def _abstract(x: Any, y: Any, *, of: Primitive, dtype: Any, **params: Any) -> Any:
    return of.abstract_eval(x, y, **params)[0]


def _left(g: Array, x: Any, y: Array, *, of: Primitive, dtype: Any, **params: Any) -> Array:
    """Return the cotangent of x, whose type alone is known: JAX's own transpose, with its products rounded."""
    back = lambda g, y: jax.linear_transpose(lambda x: of.bind(x, y, **params), x.aval)(g)[0]  # noqa: E731
    return _rounded(lambda _, *data: back(*data), dtype)((), g, y)


def _right(g: Array, x: Array, y: Any, *, of: Primitive, dtype: Any, **params: Any) -> Array:
    """Return the cotangent of y, in the same way."""
    back = lambda g, x: jax.linear_transpose(lambda y: of.bind(x, y, **params), y.aval)(g)[0]  # noqa: E731
    return _rounded(lambda _, *data: back(*data), dtype)((), g, x)


def _batched(args: Sequence[Array], axes: Sequence[int | None], *, of: Primitive, dtype: Any, **params: Any) -> Any:
    mapped = jax.vmap(partial(of.bind, **params), in_axes=tuple(axes))
    return _rounded(lambda _, *data: mapped(*data), dtype)((), *args), 0


product_p.def_impl(_emulated)
product_p.def_abstract_eval(_abstract)
mlir.register_lowering(product_p, mlir.lower_fun(_product, multiple_results=False))
mlir.register_lowering(product_p, mlir.lower_fun(_emulated, multiple_results=False), platform="cpu")
ad.defbilinear(product_p, _left, _right)
batching.primitive_batchers[product_p] = _batched

"""Products with a weight, whose gradient is computed as XLA for CPU does it fastest.

JAX's transpose of ``x W`` makes the cotangent the left operand of ``dW = (g^T x)^T``, and sums over its first axis. XLA
for CPU first copies a left operand so that the axis it sums over is the last: that is ``g [T, B, G]``, the largest
array there is. With x on the left the copy is that of ``x [T, B, K]``, a third or a quarter of it, and the product is
already ``[K, G]``. Both orders are the same numbers, and other platforms have no preference.

`product_p` is ``x W``, linear in each, and `gradient_p` the sum over rows of ``x g^T`` that its transpose needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxseq.notation import Array
from jaxseq.placement import on_mesh


def is_product(avals: Sequence[Any], params: dict[str, Any]) -> bool:
    """Return whether a dot_general is ``x [..., K] W [K, N]``, in one floating dtype, and nothing of it is sharded.

    On a mesh whose axes are in the types of arrays, JAX's own product knows where its results are.
    """
    x, w = avals[:2]
    plain = params["dimension_numbers"] == (((x.ndim - 1,), (0,)), ((), ())) and x.ndim > 1 and w.ndim == 2
    same = len({aval.dtype for aval in avals}) == 1 and jnp.issubdtype(x.dtype, jnp.floating)
    return plain and same and not on_mesh()


def product(x: Array, w: Array, precision: Any) -> Array:
    """Return ``x w`` for ``x [..., K]``, ``w [K, N]``."""
    return product_p.bind(x, w, precision=precision)


def _product(x: Array, w: Array, *, precision: Any) -> Array:
    return lax.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())), precision)


def _back(g: Array, w: Array, *, precision: Any) -> Array:
    """Return ``g w^T``, the cotangent of x."""
    return lax.dot_general(g, w, (((g.ndim - 1,), (1,)), ((), ())), precision)


def _gradient(x: Array, g: Array, *, precision: Any) -> Array:
    rows = tuple(range(x.ndim - 1))
    return lax.dot_general(x, g, ((rows, rows), ((), ())), precision)


def _gradient_on_cpu(x: Array, g: Array, *, precision: Any) -> Array:
    rows = tuple(range(x.ndim - 1))
    turned = lax.optimization_barrier(lax.transpose(x, (x.ndim - 1, *rows)))
    return lax.dot_general(turned, g, ((tuple(n + 1 for n in rows), rows), ((), ())), precision)


def _batched_product(args: Sequence[Array], axes: Sequence[int | None], *, precision: Any) -> tuple[Array, int]:
    x, w = args
    if axes[1] is None:  # one more axis of rows
        return product_p.bind(jnp.moveaxis(x, axes[0], 0), w, precision=precision), 0
    return jax.vmap(partial(_product, precision=precision), in_axes=tuple(axes))(x, w), 0


def _batched_gradient(args: Sequence[Array], axes: Sequence[int | None], *, precision: Any) -> tuple[Array, int]:
    return jax.vmap(partial(_gradient, precision=precision), in_axes=tuple(axes))(*args), 0


def _primitive(name: str, function: Callable[..., Array], left: Callable[..., Array], right: Callable[..., Array]) -> Any:
    """Return a primitive that is bilinear; `left` and `right` are the cotangents of its operands."""
    made = Primitive(name)
    made.def_impl(function)
    mlir.register_lowering(made, mlir.lower_fun(function, multiple_results=False))
    ad.defbilinear(made, left, right)
    return made


product_p = _primitive(
    "product",
    _product,
    lambda g, x, w, **params: _back(g, w, **params),
    lambda g, x, w, **params: gradient_p.bind(x, g, **params),
)
product_p.def_abstract_eval(lambda x, w, **_: ShapedArray((*x.shape[:-1], w.shape[1]), x.dtype))
batching.primitive_batchers[product_p] = _batched_product
gradient_p = _primitive(
    "gradient",
    _gradient,
    lambda dw, x, g, **params: _back(g, dw, **params),
    lambda dw, x, g, **params: _product(x, dw, **params),
)
mlir.register_lowering(gradient_p, mlir.lower_fun(_gradient_on_cpu, multiple_results=False), platform="cpu")
gradient_p.def_abstract_eval(lambda x, g, **_: ShapedArray((x.shape[-1], g.shape[-1]), x.dtype))
batching.primitive_batchers[gradient_p] = _batched_gradient

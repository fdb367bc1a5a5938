"""Products with a weight, in the operand order that XLA for CPU computes fastest.

- *The gradient of a weight.* JAX's transpose of ``x W`` makes the cotangent the left operand of ``dW = (g^T x)^T``, and
  sums over its first axis. XLA for CPU first copies the left operand to make the summed axis the last: that is
  ``g [T, B, G]``, the largest array. With x on the left it copies ``x [T, B, K]``, a third or a quarter of that, and
  the product is already ``[K, G]``.
- *The cotangent of the operand*, ``g W^T``. XLA for CPU packs, or strides through, the right operand of a product in
  every step of a loop; the left one is read as it is. If the weight is large and rows are few, ``(W g^T)^T`` is faster,
  with W on the left as it is stored. (The product ``x W`` gains less, and would need W transposed.)

Other platforms get the usual products. `product_p` is ``x W``, `back_p` is ``g W^T`` and `gradient_p` the sum over rows
of ``x g^T``; each is linear in both operands, and its transposes are the other two.
"""

from __future__ import annotations

import math
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

FEW_ROWS, LARGE = 16, 1 << 19
"""With 2 to FEW_ROWS rows, a weight of LARGE bytes or more is the left operand of ``(W g^T)^T``.

Value and gradient in milliseconds on 2 cores, W on the right and on the left (cell: B, T, D, H): 7.75 and 5.83 (lstm:
4, 30, 512, 512), 21.0 and 14.3 (lstm: 2, 20, 1024, 1024), 3.84 and 3.14 (lstm: 8, 30, 256, 256), 2.64 and 1.96
(gru_cho: 8, 20, 256, 256), 86.5 and 79.6 (lstm: 16, 30, 1024, 1024), 6.11 and 5.80 (lstm: 16, 30, 256, 256). With more
rows it is often slower: 54.2 and 56.2 (lstm: 24, 30, 768, 768), 102 and 112 (lstm: 32, 20, 1024, 1024); as with small
weights: 1.01 and 1.14 (gru: 16, 30, 64, 64), 2.93 and 3.02 (rnn: 16, 50, 256, 256). A single row is read in the same
order either way.
"""


def is_product(avals: Sequence[Any], params: dict[str, Any]) -> bool:
    """Return whether a dot_general is ``x [..., K] W [K, N]`` in one floating dtype, with nothing sharded.

    If array types carry sharding, JAX's own product must decide how its result is sharded.
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
    # contracts the second axis of both, [..., N] and [K, N]: needs no transposed copy of w
    return lax.dot_general(g, w, (((g.ndim - 1,), (1,)), ((), ())), precision)


def _back_on_cpu(g: Array, w: Array, *, precision: Any) -> Array:
    rows = g.shape[:-1]
    if not all(isinstance(n, int) for n in (*rows, *w.shape)):  # an exported program's rows may be symbolic
        return _back(g, w, precision=precision)
    if not (1 < math.prod(rows) <= FEW_ROWS and w.nbytes >= LARGE):
        return _back(g, w, precision=precision)
    # [N, rows]: g has few rows here, so transposing it is cheap; w [K, N] stays as it is stored
    # without the barriers XLA would fold the transposes into the product and restore the old order
    columns = lax.optimization_barrier(g.reshape(-1, g.shape[-1]).T)
    back = lax.optimization_barrier(lax.dot(w, columns, precision=precision))
    return back.T.reshape(*rows, w.shape[0])


def _gradient(x: Array, g: Array, *, precision: Any) -> Array:
    # every axis but the last is a row, and is summed over: [T, B, K] and [T, B, N] give [K, N]
    rows = tuple(range(x.ndim - 1))
    return lax.dot_general(x, g, ((rows, rows), ((), ())), precision)


def _gradient_on_cpu(x: Array, g: Array, *, precision: Any) -> Array:
    rows = tuple(range(x.ndim - 1))
    # x [K, T, B] is the copy that XLA needs anyway; the barrier keeps it from being moved to g, the larger array
    turned = lax.optimization_barrier(lax.transpose(x, (x.ndim - 1, *rows)))
    return lax.dot_general(turned, g, ((tuple(n + 1 for n in rows), rows), ((), ())), precision)


Rule = Callable[..., Array]


def _bilinear(name: str, function: Rule, on_cpu: Rule, shape: Callable[[Any, Any], tuple[int, ...]]) -> Primitive:
    """Return a primitive of two operands for a function, with a different implementation on CPU."""
    made = Primitive(name)
    made.def_impl(function)
    made.def_abstract_eval(lambda x, y, **_: ShapedArray(shape(x, y), x.dtype))
    # the rule for all platforms first; the CPU's rule then overrides it
    mlir.register_lowering(made, mlir.lower_fun(function, multiple_results=False))
    mlir.register_lowering(made, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")

    def batched(args: Sequence[Array], axes: Sequence[int | None], **params: Any) -> tuple[Array, int]:
        if made is not gradient_p and axes[0] is not None and axes[1] is None:  # one more axis of rows
            return made.bind(jnp.moveaxis(args[0], axes[0], 0), args[1], **params), 0
        # a batched weight is no longer one product: JAX's batched dot_general
        return jax.vmap(partial(function, **params), in_axes=tuple(axes))(*args), 0

    batching.primitive_batchers[made] = batched
    return made


product_p = _bilinear("product", _product, _product, lambda x, w: (*x.shape[:-1], w.shape[1]))
back_p = _bilinear("product_back", _back, _back_on_cpu, lambda g, w: (*g.shape[:-1], w.shape[0]))
gradient_p = _bilinear("product_gradient", _gradient, _gradient_on_cpu, lambda x, g: (x.shape[-1], g.shape[-1]))

# of a cotangent and the other operand, each in its function's argument order
ad.defbilinear(
    product_p,
    lambda g, _, w, **how: back_p.bind(g, w, **how),
    lambda g, x, _, **how: gradient_p.bind(x, g, **how),
)
ad.defbilinear(
    back_p,
    lambda x, _, w, **how: product_p.bind(x, w, **how),
    lambda x, g, _, **how: gradient_p.bind(x, g, **how),
)
ad.defbilinear(
    gradient_p,
    lambda w, _, g, **how: back_p.bind(g, w, **how),
    lambda w, x, _, **how: product_p.bind(x, w, **how),
)

"""The floor of a layer's time: its matrix products alone, measured on this machine, each in its fastest form.

Activations, bias gradients, copies and loop overhead come on top, so no layer built on these products is faster; below
about 0.1 ms per call the time to launch programs dominates. Operands already have the layout that the product prefers:
producing it is the layer's work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.bench.products import Product
from jaxseq.bench.timing import milliseconds

FORMS = {"as written": (False, False), "right turned": (False, True), "exchanged": (True, False)}
"""``x W``; ``x W`` with W stored transposed; ``Wᵀ xᵀ``, with the weight on the left. All give the same numbers, at
rates that differ by a factor of up to nine on a CPU. Contracting a left operand over its first axis is never the
fastest there."""
NEVER = 123.456
"""A number that no product's first entry equals; comparing with it at run time keeps the compiler from reordering."""
TRIES, LONG = 3, 2.0
"""Samples of each form, and the minimum milliseconds of one: shorter calls are repeated."""


def floor(products: Sequence[Product], dtype: Any = jnp.float32) -> Callable[[], Any]:
    """Return a thunk that runs the products in one jit, each in its fastest form; a step's products run in sequence."""
    forms = [best_form(product, jnp.dtype(dtype).name) for product in products]
    operands = [_operands(product, form, dtype) for product, form in zip(products, forms, strict=True)]

    def run(operands: Any) -> list[jax.Array]:
        made: list[jax.Array] = []
        for product, form, of in zip(products, forms, operands, strict=True):
            one = functools.partial(_run, product, form)
            if made:  # in sequence, as in a layer: a backward loop cannot run alongside the forward one
                made.append(lax.cond(made[-1][0, 0, 0] != NEVER, one, functools.partial(_zeros_of, one), of))
            else:
                made.append(one(of))
        return made

    jitted = jax.jit(run)
    return lambda: jitted(operands)


def _zeros_of(function: Callable[[Any], Any], operands: Any) -> jax.Array:
    """Return zeros of the shape that a function returns."""
    shape = jax.eval_shape(function, operands)
    return jnp.zeros(shape.shape, shape.dtype)


@functools.lru_cache(maxsize=256)
def best_form(product: Product, dtype: str) -> str:
    """Return the name of a product's fastest form here, by the minimum over a few calls."""
    took = {}
    for form in FORMS:
        operands = _operands(product, form, dtype)
        run = jax.jit(functools.partial(_run, product, form))
        thunk = functools.partial(run, operands)
        jax.block_until_ready(thunk())  # compiles
        calls = max(1, round(LONG / milliseconds(thunk)))
        took[form] = min(milliseconds(thunk, calls) for _ in range(TRIES))
    return min(took, key=lambda form: took[form])


def _operands(product: Product, form: str, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """Return random left and right operands, scaled so that a chain of T products neither explodes nor vanishes."""
    exchanged, turned = FORMS[form]
    m, k, n, b = product.rows, product.inner, product.columns, product.batch
    if exchanged:
        m, n = n, m
    keys = jax.random.split(jax.random.key(0))
    left = jax.random.normal(keys[0], (b, m, k), dtype)
    right = jax.random.normal(keys[1], (b, n, k) if turned else (b, k, n), dtype)
    # a weight of variance 1 / k keeps the variance of its product's entries at 1
    return (left / k**0.5, right) if exchanged else (left, right / k**0.5)


def _run(product: Product, form: str, operands: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Return the last of a product's results; each depends on the previous one, so none is skipped or reordered."""
    exchanged, turned = FORMS[form]

    def dot(left: jax.Array, right: jax.Array) -> jax.Array:
        if product.batch == 1:  # writes its result, as a layer does
            return lax.dot_general(left[0], right[0], (((1,), (1 if turned else 0,)), ((), ())))[None]
        return lax.dot_general(left, right, (((2,), (2 if turned else 1,)), ((0,), (0,))))

    if product.times == 1:
        return dot(*operands)
    varying, fixed = operands[::-1] if exchanged else operands
    axis = 1 if exchanged else 2

    def step(varying: jax.Array, _: None) -> tuple[jax.Array, None]:
        made = dot(fixed, varying) if exchanged else dot(varying, fixed)
        size = min(product.inner, product.columns)  # fewer columns than the operand has: the rest is kept
        return lax.dynamic_update_slice(varying, lax.slice_in_dim(made, 0, size, axis=axis), (0, 0, 0)), None

    return lax.scan(step, varying, length=product.times)[0]


@functools.lru_cache(maxsize=8)
def machine_rate(dtype: str, largest: int = 4096, patience: float = 200.0) -> float:
    """Return the best GFLOP/s of large square products of several sizes here.

    Args:
      dtype: name of the operands' dtype.
      largest: rows of the largest product tried.
      patience: milliseconds; products that would take longer, judging by the previous size, are not tried.
    """
    best, size = 0.0, 512
    while size <= largest:
        square = Product(size, size, size)
        run = floor([square], dtype)
        jax.block_until_ready(run())
        took = min(milliseconds(run) for _ in range(TRIES))
        best = max(best, square.flops / took / 1e6)
        # the next size has twice the rows, columns and sum: eight times the work
        if 8 * took > patience:
            break
        size *= 2
    return best

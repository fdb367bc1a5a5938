"""The floor of a layer's time: its matrix products alone, measured on this machine, each as it is done quickest.

Activations, gradients of biases, copies and the loop's own overhead come on top, so that no layer built on these
products is faster; below some 0.1 ms a call it is the time to start programs that counts. Operands lie in memory as the
product wants them: to bring them there is the layer's work.
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
"""``x W``; ``x W`` with W stored as its transpose; ``Wᵀ xᵀ``, where the weight is on the left. Each gives the same
numbers, at rates that differ by a factor of up to nine on a CPU. A left operand that is contracted over its first axis
is never the best there."""
NEVER = 123.456
"""A number that no product's first entry equals; compared when it runs, so that the compiler cannot reorder."""
TRIES, LONG = 3, 2.0
"""Samples of each form, and milliseconds that one takes at least: a shorter call is repeated."""


def floor(products: Sequence[Product], dtype: Any = jnp.float32) -> Callable[[], Any]:
    """Return a thunk that runs the products in one jit, each in its best form; those of a step one after the other."""
    forms = [best_form(product, jnp.dtype(dtype).name) for product in products]
    operands = [_operands(product, form, dtype) for product, form in zip(products, forms, strict=True)]

    def run(operands: Any) -> list[jax.Array]:
        made: list[jax.Array] = []
        for product, form, of in zip(products, forms, operands, strict=True):
            one = functools.partial(_run, product, form)
            if made:  # one after the other, as in a layer: a backward loop cannot run alongside the forward one
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
    """Return the name of the form in which a product takes least time here, the least of a few calls of each."""
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
    """Return random left and right operands; a chain of T products neither grows nor vanishes soon."""
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
    """Return the last of a product's results; each reads the one before, so that none is left out or done early."""
    exchanged, turned = FORMS[form]

    def dot(left: jax.Array, right: jax.Array) -> jax.Array:
        if product.batch == 1:  # as a layer writes it
            return lax.dot_general(left[0], right[0], (((1,), (1 if turned else 0,)), ((), ())))[None]
        return lax.dot_general(left, right, (((2,), (2 if turned else 1,)), ((0,), (0,))))

    if product.times == 1:
        return dot(*operands)
    varying, fixed = operands[::-1] if exchanged else operands
    axis = 1 if exchanged else 2

    def step(varying: jax.Array, _: None) -> tuple[jax.Array, None]:
        made = dot(fixed, varying) if exchanged else dot(varying, fixed)
        size = min(product.inner, product.columns)  # fewer columns than it took: the rest stays
        return lax.dynamic_update_slice(varying, lax.slice_in_dim(made, 0, size, axis=axis), (0, 0, 0)), None

    return lax.scan(step, varying, length=product.times)[0]


@functools.lru_cache(maxsize=8)
def machine_rate(dtype: str, largest: int = 4096, patience: float = 200.0) -> float:
    """Return the GFLOP/s of a large square product here, the best of several sizes.

    Args:
      dtype: name of the operands' dtype.
      largest: rows of the largest product tried.
      patience: milliseconds; no product is tried that would take longer, by the time of the one before.
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

"""The matrix products of a layer, found in its cell's jaxprs: sizes, number and cost.

A product with x, ``x W``, is computed once for all T steps; one with the carry, ``h U``, once per step. Products of
parameters alone are left out: they can be computed before the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.jaxprs import inside
from jaxseq.trees import shapes, step_shapes


class Product(NamedTuple):
    """``[rows, inner] x [inner, columns]``, computed `times` times in sequence.

    Fields:
      rows: rows of the operand that varies from step to step.
      inner: the axis that is summed.
      columns: columns of the other operand.
      weight: whether that other operand depends on parameters alone.
      batch: number of such products in one batched product.
      times: 1 for all steps at once, T for one per step.
    """

    rows: int
    inner: int
    columns: int
    weight: bool = True
    batch: int = 1
    times: int = 1

    @property
    def flops(self) -> int:
        """Return the number of multiplications and additions in total."""
        return 2 * self.times * self.batch * self.rows * self.inner * self.columns

    def backward(self) -> tuple[Product, Product]:
        """Return the two products of its derivative: the gradients of the rows and of the other operand.

        The gradient of a weight is one product over the rows of all steps, since it is a sum.
        """
        of_rows = self._replace(inner=self.columns, columns=self.inner)
        of_other = self._replace(rows=self.inner, inner=self.rows)
        if self.weight:
            of_other = of_other._replace(inner=self.rows * self.times, times=1)
        return of_rows, of_other


def products(cell: Cell, params: Any, xs: Any, *, gradient: bool = False) -> list[Product]:
    """Return the products of a layer's forward pass, or of value and gradient with respect to params and inputs.

    Args:
      cell: any Cell without attention.
      params: its params, or their shapes.
      xs: its inputs ``[T, B, D]``, or their shapes.
      gradient: include the backward pass, which has two more for each.

    Raises:
      InputError: if the cell convolves: its work is not in matrix products.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> for product in products(lstm, params, jax.ShapeDtypeStruct((7, 2, 3), "float32")):
      ...     print(product.rows, product.inner, product.columns, product.times)
      14 3 20 1
      2 5 20 7
    """
    params, xs = shapes((params, xs))
    T, *batch = xs.shape[: 2 + cell.spatial]
    lifted = jax.eval_shape(cell.lift, xs)
    wx = jax.eval_shape(cell.input_terms, params, lifted)
    carry = jax.eval_shape(lambda p: cell.initial_carry(p, tuple(batch)), params)
    first = step_shapes(wx)
    found = _found(cell.input_terms, params, lifted)
    found += [p._replace(times=T) for p in _found(lambda p, k, wx: cell.advance(p, k, wx)[:2], params, carry, first)]
    return found + [back for p in found for back in p.backward()] if gradient else found


def _found(function: Any, params: Any, *varying: Any) -> list[Product]:
    """Return the products of a function of params and of varying arguments."""
    closed = jax.make_jaxpr(function)(params, *varying)
    count = len(jax.tree.leaves(params))
    return list(_walk(closed.jaxpr, [n >= count for n in range(len(closed.jaxpr.invars))]))


def _walk(jaxpr: Jaxpr, varies: Sequence[bool]) -> Iterator[Product]:
    """Yield the products that see a varying input, also inside jit, scan and functions with custom derivatives."""
    known = {var for var, yes in zip(jaxpr.invars, varies, strict=True) if yes}
    for eqn in jaxpr.eqns:
        flags = [not isinstance(var, Literal) and var in known for var in eqn.invars]
        if not any(flags):
            continue
        # anything computed from a varying value varies
        known.update(eqn.outvars)
        if eqn.primitive.name == "dot_general":
            yield _product(eqn, flags)
        elif eqn.primitive.name == "conv_general_dilated":
            raise InputError("the cell convolves")
        for inner in inside(eqn)[: 1 if eqn.primitive.name == "cond" else None]:  # one branch is run
            same = len(inner.invars) == len(flags)
            for product in _walk(inner, flags if same else [True] * len(inner.invars)):
                yield product._replace(times=product.times * eqn.params.get("length", 1))


def _product(eqn: JaxprEqn, varies: Sequence[bool]) -> Product:
    """Return the sizes of a dot_general; the operand that varies is the one with the rows."""
    (contracted, _), (batched, _) = eqn.params["dimension_numbers"]
    avals: list[Any] = [var.aval for var in eqn.invars]
    left, right = (aval.shape for aval in avals)
    inner, batch = (math.prod(left[axis] for axis in axes) for axes in (contracted, batched))
    # all axes that are neither summed nor batched
    rows, columns = (math.prod(shape) // (inner * batch) for shape in (left, right))
    if not varies[0]:
        rows, columns = columns, rows
    return Product(rows, inner, columns, weight=not all(varies), batch=batch)

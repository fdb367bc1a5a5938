"""A computation as a graph of its values, each with its equation and the inputs it depends on.

It decomposes a number into the summands that the code adds up; no formula is written twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxseq.jaxprs import CALLS, called, result
from jaxseq.notation import Array, Tree

SUMS = ("add", "add_any")


# eq=False: nodes are compared by identity, since comparing arrays would compute
@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One value.

    Fields:
      value: it.
      of: the names of the inputs that it depends on.
      made: the equation that makes it; None for an input.
      inputs: the values that the equation takes.
    """

    value: Array
    of: frozenset[str]
    made: JaxprEqn | None = None
    inputs: tuple[Node, ...] = ()

    @property
    def op(self) -> str:
        """The name of the primitive that makes it, "" for an input."""
        return "" if self.made is None else self.made.primitive.name

    def summands(self) -> list[Node]:
        """Return the values that add up to it: itself if it is not a sum."""
        if self.op not in SUMS:
            return [self]
        return [one for node in self.inputs for one in node.summands()]


def computed(function: Callable[[Any], Array], given: Mapping[str, Tree]) -> Node:
    """Return the result of a function of a dict of trees as a node; calls of jit and custom derivatives are opened."""
    closed = jax.make_jaxpr(function)(dict(given))
    # sorted, as jax.tree flattens a dict: leaves and the jaxpr's inputs are then in one order
    leaves = [Node(leaf, frozenset([name])) for name in sorted(given) for leaf in jax.tree.leaves(given[name])]
    (node,) = _computed(closed, leaves)
    return node


def _computed(closed: ClosedJaxpr, inputs: list[Node]) -> list[Node]:
    jaxpr, constant = closed.jaxpr, lambda value: Node(jnp.asarray(value), frozenset())
    known: dict[Any, Node] = dict(zip(jaxpr.constvars, map(constant, closed.consts), strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))
    node = lambda v: constant(v.val) if isinstance(v, Literal) else known[v]  # noqa: E731
    for eqn in jaxpr.eqns:
        taken = [node(v) for v in eqn.invars]
        inner = called(eqn) if eqn.primitive.name in CALLS else None
        if inner is not None:
            made = _computed(ClosedJaxpr(inner, ()) if isinstance(inner, Jaxpr) else inner, taken)
        else:
            # a value depends on all that its operands depend on
            of = frozenset().union(*(one.of for one in taken))
            made = [Node(value, of, eqn, tuple(taken)) for value in result(eqn, [one.value for one in taken])]
        known.update(zip(eqn.outvars, made, strict=True))
    return [node(v) for v in jaxpr.outvars]


def before(node: Node) -> Iterator[Node]:
    """Yield all values that a value is computed from, each after those that it needs itself, which is the last."""
    seen: set[int] = set()

    def visit(one: Node) -> Iterator[Node]:
        if id(one) not in seen:
            seen.add(id(one))
            for inner in one.inputs:
                yield from visit(inner)
            yield one

    return visit(node)


def sides(product: Node) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return for both factors of a ``dot_general`` over one axis how they are laid out for ``(left * right).sum(-1)``.

    Their axes are then those of the product, of length 1 where a factor has not got them, and at last the one that is
    summed over.
    """
    assert product.made is not None
    (left, right), (rows, others) = product.made.params["dimension_numbers"]
    ndims = [node.value.ndim for node in product.inputs]
    # axes that are neither summed nor batched, of each factor
    free = [[n for n in range(ndim) if n not in (*by, *batch)]
            for ndim, by, batch in zip(ndims, (left, right), (rows, others), strict=True)]  # fmt: skip

    def laid(contracted: tuple[int, ...], batch: tuple[int, ...], own: list[int], first: int, last: int) -> Any:
        # to [batch, 1s, own, 1s, summed], so that left * right broadcasts to the product's axes and the summed one
        def lay(a: Array) -> Array:
            a = jnp.transpose(a, (*batch, *own, *contracted))
            shape = [a.shape[: len(batch)], (1,) * first, a.shape[len(batch) : -1], (1,) * last, a.shape[-1:]]
            return a.reshape(sum(map(tuple, shape), ()))

        return lay

    return laid(left, rows, free[0], 0, len(free[1])), laid(right, others, free[1], len(free[0]), 0)

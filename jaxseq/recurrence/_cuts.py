"""Cuts a cell's equations, as a list of operations, where values may be stored and gradients deferred.

The derivative of a recurrence is a linear loop. It needs some of a step's values, and the places where tangents enter
that can be computed for all T at once. `cut` finds both in the jaxpr of the equations:

- the *terms*, wx and uh, whose tangents ``xs dW`` and ``olds dU`` are products over ``[T * B]``;
- every *product* ``a w`` inside the equations, of a value computed in the step and a weight that depends on parameters
  alone: an upper layer of a stack, a reset gate before the product, attention. In its tangent, ``da w + a dw``, the
  second part is also one product for all T;
- their *sum*, if such values are only added to each other: then one array is stored, and one tangent enters.

Values that depend on parameters alone (U - U^T, a mask on U) are computed once, before the loop. Nothing here is
specific to any cell.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal

from jaxseq.jaxprs import result
from jaxseq.notation import Array, Tree
from jaxseq.recurrence._products import is_product, product

PRODUCTS = ("dot_general", "rounded_product")
"""Names of the primitives that are matrix products; the second belongs to `jaxseq.mixed`."""

LARGER = 4
"""A product is deferred if its operand is at most this many times larger than its weight or its result. Deferring the
score of additive attention, ``tanh(...) v``, would write ``[B, S, A]`` at every step to save a gradient ``[A]``."""


class Product(NamedTuple):
    """One product of an operand and a weight.

    Fields:
      apply: ``(operand, weight) -> value``, linear in each.
      operand: index among the operands.
      weight: index among the weights.
    """

    apply: Callable[[Array, Array], Array]
    operand: int
    weight: int


class Cut(NamedTuple):
    """One stored value of a step: the sum of some terms, products and constants.

    Fields:
      terms: indices of the leaves of ``(wx, uh)``.
      products: indices of the products.
      constants: indices, among the weights, of values that depend on parameters alone, such as a bias.
    """

    terms: tuple[int, ...] = ()
    products: tuple[int, ...] = ()
    constants: tuple[int, ...] = ()

    def __add__(self, other: Cut) -> Cut:  # type: ignore[override]
        return Cut(*(mine + its for mine, its in zip(self, other, strict=True)))


class Cuts(NamedTuple):
    """The result of cutting equations.

    Fields:
      cuts: the stored values.
      products: the products in them.
      before: ``(bound) -> (weights, others)``, the values that depend on bound alone; weights are used only in
        products.
      observed: ``(weights, others, old, terms) -> (value, operands, kept)``.
      known: ``(weights, others, kept, taps, old) -> value``, computed from stored values; the tangent of each is that
        of its tap and of its products' operands.
    """

    cuts: tuple[Cut, ...]
    products: tuple[Product, ...]
    before: Callable[[Tree], tuple[list[Array], list[Array]]]
    observed: Callable[..., tuple[Tree, list[Array], list[Array]]]
    known: Callable[..., Tree]


class Operation(NamedTuple):
    """One operation of a program: its inputs are indices of values, or literals; its outputs are indices of values."""

    do: Callable[[list[Any]], list[Any]]
    name: str
    inputs: tuple[Any, ...]
    outputs: tuple[int, ...]
    avals: tuple[Any, ...]
    params: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """A literal value in the program."""

    value: Any


def cut(equations: Callable[..., Tree], bound: Tree, old: Tree, terms: Tree) -> Cuts:
    """Return the cut of ``equations(bound, old, terms)``; the arguments may be shapes and dtypes."""
    closed, shape = jax.make_jaxpr(equations, return_shape=True)(bound, old, terms)
    sizes = [len(jax.tree.leaves(tree)) for tree in (bound, old, terms)]
    program = _Program(closed, *sizes)
    structure = jax.tree.structure(shape)

    def before(bound: Tree) -> tuple[list[Array], list[Array]]:
        return program.before(jax.tree.leaves(bound))

    def observed(
        weights: list[Array], others: list[Array], old: Tree, terms: Tree
    ) -> tuple[Tree, list[Array], list[Array]]:
        env = program.start(others, jax.tree.leaves(old), jax.tree.leaves(terms))
        program.run(env, weights, {})
        # run with nothing known: every operation is executed, and the cut values are collected afterwards
        kept = [env[place] for place in program.places]
        return jax.tree.unflatten(structure, program.results(env)), [env[a] for a in program.operands], kept

    def known(weights: list[Array], others: list[Array], kept: list[Array], taps: list[Array], old: Tree) -> Tree:
        # no terms: they are either stored values themselves or part of a stored sum
        env = program.start(others, jax.tree.leaves(old), None)

        # called when the run reaches the place, when operands computed on the way are in env
        def at(n: int) -> Array:
            own = [program.products[k] for k in program.cuts[n].products]
            operands = [env[program.operands[p.operand]] for p in own]
            return _known(own, operands, [weights[p.weight] for p in own], kept[n], taps[n])

        program.run(env, weights, {place: partial(at, n) for n, place in enumerate(program.places)})
        return jax.tree.unflatten(structure, program.results(env))

    return Cuts(tuple(program.cuts), tuple(program.products), before, observed, known)


def staged(function: Callable[..., Tree], bound: Tree, old: Tree) -> tuple[Callable[[Tree], Any], Callable[..., Tree]]:
    """Return ``before, after`` with ``after(before(bound), old) = function(bound, old)``; `before` gets bound alone."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(bound, old)
    # no terms: the function is one of the terms itself
    program = _Program(closed, len(jax.tree.leaves(bound)), len(jax.tree.leaves(old)), 0)

    def before(bound: Tree) -> tuple[list[Array], list[Array]]:
        return program.before(jax.tree.leaves(bound))

    def after(values: tuple[list[Array], list[Array]], old: Tree) -> Tree:
        weights, others = values
        env = program.start(others, jax.tree.leaves(old), [])
        program.run(env, weights, {})
        return jax.tree.unflatten(jax.tree.structure(shape), program.results(env))

    return before, after


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _known(products: list[Product], operands: list[Array], weights: list[Array], value: Array, tap: Array) -> Array:
    return value


@_known.defjvp
def _tangent(products: list[Product], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # d(value) = tap + sum of da w. The other half, a dw, is already in the tap: the tangents of the weights and of the
    # # value are dropped, or they would count twice
    _, weights, value, _ = primals
    doperands, _, _, total = tangents
    for own, d, w in zip(products, doperands, weights, strict=True):
        total = total + own.apply(d, w)
    return value, total


class _Program:
    """The operations of a jaxpr, sorted by whether they depend on its first inputs alone, with the places to cut."""

    def __init__(self, closed: ClosedJaxpr, bound: int, old: int, terms: int) -> None:
        self.size = 0
        inputs = [self._new() for _ in range(bound + old + terms)]
        self.operations: list[Operation] = []
        self.outputs = self._read(closed.jaxpr, [*map(Given, closed.consts), *inputs])
        self.bound, self.old, self.terms = inputs[:bound], inputs[bound : bound + old], inputs[bound + old :]
        self._sort()
        self._cut()

    def _new(self) -> int:
        self.size += 1
        return self.size

    def _read(self, jaxpr: Any, inputs: list[Any]) -> list[Any]:
        """Add the operations of a jaxpr, inlining calls that contain products; return its outputs."""
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], inputs, strict=True))
        read = lambda v: Given(v.val) if isinstance(v, Literal) else env[v]  # noqa: E731
        for eqn in jaxpr.eqns:
            values = tuple(map(read, eqn.invars))
            # inlined, since a product in a jitted function that a cell calls would otherwise not be found
            if _is_call(eqn):
                inner = eqn.params["jaxpr"]
                outputs = self._read(inner.jaxpr, [*map(Given, inner.consts), *values])
            else:
                outputs = [self._new() for _ in eqn.outvars]
                # shapes and dtypes of inputs, then outputs: all that `_operand_and_weight` needs
                avals = tuple(v.aval for v in (*eqn.invars, *eqn.outvars))
                self.operations.append(
                    Operation(partial(result, eqn), eqn.primitive.name, values, tuple(outputs), avals, eqn.params)
                )
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _sort(self) -> None:
        # backwards over the list: unused operations are dropped, such as gates that only `trace` returns
        live = set(_numbers(self.outputs))
        needed = []
        for op in reversed(self.operations):
            if live.intersection(op.outputs):
                needed.append(op)
                live.update(_numbers(op.inputs))
        self.alone = set(self.bound)
        fixed: set[int] = set()  # values without inputs, such as an iota, have no tangent: computed where they are used
        self.constant: list[Operation] = []
        self.early: list[Operation] = []
        self.late: list[Operation] = []
        for op in reversed(needed):
            read = set(_numbers(op.inputs)) - fixed
            if not read:
                self.constant.append(op)
                fixed.update(op.outputs)
            # depends on bound alone: computed once before the loop
            elif self.alone.issuperset(read):
                self.early.append(op)
                self.alone.update(op.outputs)
            else:
                self.late.append(_weighted(op, self.alone))

    def _cut(self) -> None:
        """Find the products that may be deferred, and the values that are only added to each other."""
        # result of each deferred product: its operand, weight and function
        sides = {op.outputs[0]: s for op in self.late if (s := _operand_and_weight(op, self.alone)) is not None}
        self.operands = list(dict.fromkeys(a for a, _, _ in sides.values()))
        self.weights = list(dict.fromkeys(w for _, w, _ in sides.values()))
        self.products = [Product(f, self.operands.index(a), self.weights.index(w)) for a, w, f in sides.values()]
        uses = collections.Counter(n for op in self.late for n in _numbers(op.inputs))
        # being a result counts as a use, so it cannot be merged into a sum
        uses.update(_numbers(self.outputs))
        # initially every used term and every product is stored by itself
        found = {n: Cut(terms=(t,)) for t, n in enumerate(self.terms) if uses[n]}
        found |= {n: Cut(products=(k,)) for k, n in enumerate(sides)}
        self.inside: set[int] = set(sides)
        for op in self.late:
            if op.name not in ("add", "add_any"):
                continue
            # a value with another use is needed by itself, and stays a separate cut
            parts = [n for n in op.inputs if n in found and uses[n] == 1]
            rest = [n for n in op.inputs if n not in parts]
            # a bias is merged into a sum with a product; a lone term stays as it is, so its hoisted array can be used
            constant = rest and rest[0] in self.alone and (found[parts[0]].products if parts else ())
            if len(set(parts)) + bool(constant) < 2:
                continue
            self.weights += [n for n in rest if n not in self.weights]
            # the sum replaces its parts: one array is written in the loop, and one tangent enters
            whole = functools.reduce(Cut.__add__, [found.pop(n) for n in parts])
            found[op.outputs[0]] = whole + Cut(constants=tuple(map(self.weights.index, rest)))
            self.inside |= {*parts, op.outputs[0]}
        self.places, self.cuts = list(found), list(found.values())
        # values of bound that a step also reads elsewhere: their gradients are accumulated step by step
        read = [n for op in self.late if op.outputs[0] not in self.inside for n in _numbers(op.inputs)]
        read += self.operands + list(_numbers(self.outputs))
        self.others = list(dict.fromkeys(n for n in read if n in self.alone))

    def before(self, bound: list[Array]) -> tuple[list[Array], list[Array]]:
        # constants are evaluated here as well as in `start`: early operations may read them
        env: dict[int, Any] = dict(zip(self.bound, bound, strict=True))
        for op in self.constant + self.early:
            _do(op, env)
        return [env[n] for n in self.weights], [env[n] for n in self.others]

    def start(self, others: list[Array], old: list[Array], terms: list[Array] | None) -> dict[int, Any]:
        env = dict(zip(self.others, others, strict=True)) | dict(zip(self.old, old, strict=True))
        for op in self.constant:
            _do(op, env)
        return env if terms is None else env | dict(zip(self.terms, terms, strict=True))

    def run(self, env: dict[int, Any], weights: list[Array], known: dict[int, Callable[[], Array]]) -> None:
        """Execute the operations of a step, except known values and those used only inside a known sum."""
        env.update(zip(self.weights, weights, strict=True))
        for n in self.terms:
            if n in known:
                env[n] = known[n]()
        for op in self.late:
            n = op.outputs[0]
            if n in known:
                env[n] = known[n]()
            elif not (known and n in self.inside):
                _do(op, env)

    def results(self, env: dict[int, Any]) -> list[Any]:
        return [_value(env, n) for n in self.outputs]


def _weighted(op: Operation, alone: set[int]) -> Operation:
    """Return `_products`'s form of a product ``x W`` where W depends on bound alone; other operations unchanged."""
    if op.name != "dot_general" or op.inputs[1] not in alone or not is_product(op.avals, op.params):
        return op
    return op._replace(do=lambda operands: [product(operands[0], operands[1], op.params["precision"])])


def _operand_and_weight(op: Operation, alone: set[int]) -> tuple[int, int, Callable[[Array, Array], Array]] | None:
    """Return ``(operand, weight, apply)`` of a product whose weight gradient can be deferred; otherwise None."""
    if op.name not in PRODUCTS or not all(jnp.issubdtype(aval.dtype, jnp.floating) for aval in op.avals):
        return None
    left, right = op.inputs
    if isinstance(left, Given) or isinstance(right, Given) or (left in alone) == (right in alone):
        return None
    sizes = [aval.shape for aval in op.avals]
    # symbolic sizes cannot be compared; the product then stays in the loop, which is correct but slower
    if not all(isinstance(n, int) for shape in sizes for n in shape):
        return None
    # compare the operand, written T times, with the gradient that it saves
    left_size, right_size, size = map(math.prod, sizes)
    if right in alone:
        fits, found = left_size <= LARGER * max(right_size, size), (left, right, lambda a, w: op.do([a, w])[0])
    else:
        fits, found = right_size <= LARGER * max(left_size, size), (right, left, lambda a, w: op.do([w, a])[0])
    return found if fits else None


def _is_call(eqn: Any) -> bool:
    """Return whether an equation calls a jaxpr that contains a product and was traced under the current mesh."""
    if eqn.primitive.name not in ("pjit", "jit", "closed_call"):
        return False
    # a call traced under another mesh must run under that mesh, so it stays whole
    if eqn.params.get("ctx_mesh", here := jax.sharding.get_abstract_mesh()) != here:
        return False
    return any(inner.primitive.name in PRODUCTS or _is_call(inner) for inner in eqn.params["jaxpr"].jaxpr.eqns)


def _do(op: Operation, env: dict[int, Any]) -> None:
    env.update(zip(op.outputs, op.do([_value(env, n) for n in op.inputs]), strict=True))


def _value(env: dict[int, Any], n: Any) -> Any:
    return n.value if isinstance(n, Given) else env[n]


def _numbers(inputs: Any) -> Iterator[int]:
    return (n for n in inputs if not isinstance(n, Given))

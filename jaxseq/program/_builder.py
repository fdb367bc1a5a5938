"""A graph of operations that is simplified as it is built: equal ones are merged, constants are folded.

A *named* operation computes a gate. Simplification never looks through it or merges it: code that holds the gate at a
value must change everything computed from it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxseq.program._numpy import BINARY, ELEMENTWISE, compute


class Node(NamedTuple):
    """An operation of a graph, as `jaxseq.program.Op`; an input of the graph has the op "input"."""

    op: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    attributes: tuple[tuple[str, Any], ...]
    name: str = ""


def frozen(value: Any) -> Any:
    """Return lists as tuples, which are hashable, and NumPy integers as Python ones."""
    if isinstance(value, np.integer):
        return int(value)
    return tuple(map(frozen, value)) if isinstance(value, list | tuple | range) else value


class Builder:
    """A graph; nodes are identified by index."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.values: dict[int, np.ndarray] = {}
        self.known: dict[Any, int] = {}

    def input(self, name: str, shape: Sequence[int]) -> int:
        """Add an input of known shape."""
        self.nodes.append(Node("input", (), tuple(shape), (), name))
        return len(self.nodes) - 1

    def constant(self, value: Any) -> int:
        """Add a known array or number; an array of equal numbers becomes one number, broadcast."""
        array = np.asarray(value, np.float64)
        if array.ndim and array.size and (array == array.flat[0]).all() and not np.isnan(array.flat[0]):
            number = self.constant(array.flat[0])
            return self._add(Node("broadcast", (number,), array.shape, (("shape", array.shape), ("axes", ()))))
        key = ("constant", array.shape, array.tobytes())
        if key not in self.known:
            self.nodes.append(Node("constant", (), array.shape, ()))
            self.known[key] = len(self.nodes) - 1
            self.values[self.known[key]] = array
        return self.known[key]

    def emit(self, op: str, *inputs: int, **attributes: Any) -> int:
        """Add an operation, or return a node that already computes the same."""
        attributes = {name: frozen(value) for name, value in attributes.items()}
        known = [self.value(n) for n in inputs]
        if all(value is not None for value in known):
            return self.constant(compute(op, known, attributes))  # type: ignore[arg-type]
        if op in ELEMENTWISE:
            return self._elementwise(op, inputs)
        simpler = self._moved(op, inputs, attributes)
        if simpler is not None:
            return simpler
        shape = self._shape(op, inputs, attributes)
        return self._add(Node(op, inputs, shape, tuple(attributes.items())))

    def named(self, n: int, name: str) -> int:
        """Return a node that computes the same as another and has the name `name`."""
        node = self.nodes[n]
        plain = node.op not in ("input", "constant") and not node.name
        return self._add(node._replace(name=name) if plain else Node("copy", (n,), node.shape, (), name))

    def value(self, n: int) -> np.ndarray | None:
        """Return the value of a node, or None if it is unknown."""
        node = self.nodes[n]
        if node.name:
            return None
        if node.op == "broadcast" and node.inputs[0] in self.values:
            return np.broadcast_to(self.values[node.inputs[0]], node.shape)
        return self.values.get(n)

    def number(self, n: int) -> float | None:
        """Return the number that all entries of a node equal, or None."""
        single = self.single(n)
        value = None if single is None else self.value(single)
        return None if value is None else float(value.reshape(-1)[0])

    def single(self, n: int) -> int | None:
        """Return the node of the single number that a node repeats."""
        node = self.nodes[n]
        if node.shape == ():
            return n
        again = node.op == "broadcast" and not node.name and self.nodes[node.inputs[0]].shape == ()
        return node.inputs[0] if again else None

    def is_op(self, n: int, op: str) -> bool:
        """Return whether simplification may look through a node."""
        return self.nodes[n].op == op and not self.nodes[n].name

    def _add(self, node: Node) -> int:
        if node not in self.known:
            self.nodes.append(node)
            self.known[node] = len(self.nodes) - 1
        return self.known[node]

    def _elementwise(self, op: str, inputs: tuple[int, ...]) -> int:
        """Add an elementwise operation; on inputs with all entries equal, it is computed once."""
        shape = np.broadcast_shapes(*(self.nodes[n].shape for n in inputs))  # JAX does not expand axes of length 1
        inputs = tuple(
            n if self.nodes[n].shape in ((), shape) else self.emit("broadcast", n, shape=shape, axes=range(len(shape)))
            for n in inputs
        )
        singles = [self.single(n) for n in inputs]
        if shape and all(n is not None for n in singles):
            made = self.emit(op, *singles)  # type: ignore[arg-type]
            return self.emit("broadcast", made, shape=shape, axes=())
        inputs = tuple(n if one is None else one for n, one in zip(inputs, singles, strict=True))
        simpler = self._simpler(op, inputs, shape)
        return self._add(Node(op, inputs, shape, ())) if simpler is None else simpler

    def _simpler(self, op: str, inputs: tuple[int, ...], shape: tuple[int, ...]) -> int | None:
        """Return a simpler node equal to an elementwise operation, or None."""
        a, b = inputs[0], inputs[-1]
        if op == "copy":
            return a
        if op == "neg" and self.is_op(a, "neg"):
            return self.nodes[a].inputs[0]
        if op == "select" and (which := self.number(a)) is not None:
            return self._whole(inputs[1] if which else inputs[2], shape)
        if op == "ne" and a == b:
            return self.constant(np.zeros(shape))  # a test for NaN, which the other branch passes on too
        if op in BINARY:
            return self._simpler_binary(op, a, b, shape)
        return None

    def _simpler_binary(self, op: str, a: int, b: int, shape: tuple[int, ...]) -> int | None:
        x, y = self.number(a), self.number(b)
        nothing = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "pow": 1.0}.get(op)
        if nothing is not None and y == nothing:
            return self._whole(a, shape)
        if x == nothing and op in ("add", "mul"):
            return self._whole(b, shape)
        if op in ("max", "min") and (least := {"max": -np.inf, "min": np.inf}[op]) in (x, y):
            return self._whole(b if x == least else a, shape)
        if op == "sub" and x == 0:
            return self.emit("neg", b)
        if op == "mul" and -1.0 in (x, y):
            return self.emit("neg", b if x == -1 else a)
        if op == "pow" and y == 2:
            return self.emit("mul", a, a)
        if op in ("add", "sub") and self.is_op(b, "neg"):
            return self.emit("sub" if op == "add" else "add", a, self.nodes[b].inputs[0])
        if op == "add" and self.is_op(a, "neg"):
            return self.emit("sub", b, self.nodes[a].inputs[0])
        if op == "add":
            for one, other in ((a, b), (b, a)):
                found = self._sigmoid(one, other)
                found = self._softplus(one, other) if found is None else found
                if found is not None:
                    return found
        return None

    def _sigmoid(self, a: int, b: int) -> int | None:
        """Return the sigmoid for 0.5 + 0.5 tanh(0.5 a)."""
        inner = self._half_of(b) if self.number(a) == 0.5 else None
        if inner is None or not self.is_op(inner, "tanh"):
            return None
        of = self._half_of(self.nodes[inner].inputs[0])
        return None if of is None else self.emit("logistic", of)

    def _half_of(self, n: int) -> int | None:
        if not self.is_op(n, "mul"):
            return None
        a, b = self.nodes[n].inputs
        return b if self.number(a) == 0.5 else a if self.number(b) == 0.5 else None

    def _softplus(self, a: int, b: int) -> int | None:
        """Return the softplus for max(a, 0) + log1p(exp(-|a|))."""
        for op in ("log1p", "exp", "neg", "abs"):
            if not self.is_op(b, op):
                return None
            (b,) = self.nodes[b].inputs
        if not self.is_op(a, "max"):
            return None
        one, other = self.nodes[a].inputs
        return self.emit("softplus", b) if (one, self.number(other)) == (b, 0) or (
            other, self.number(one)) == (b, 0) else None  # fmt: skip

    def _whole(self, n: int, shape: tuple[int, ...]) -> int:
        """Return a node in a shape; it has that shape or is a single number."""
        return n if self.nodes[n].shape == shape else self.emit("broadcast", n, shape=shape, axes=())

    def _moved(self, op: str, inputs: tuple[int, ...], attributes: Mapping[str, Any]) -> int | None:
        """Return a simpler node equal to a change of shape, or None."""
        node = self.nodes[inputs[0]]
        shape = self._shape(op, inputs, attributes)
        if op in ("reshape", "transpose", "broadcast", "slice") and (one := self.single(inputs[0])) is not None:
            plain = op == "broadcast" and inputs[0] == one
            return None if plain and shape else self._whole(one, shape)
        if op in ("reshape", "slice", "concatenate", "pad") and shape == node.shape and (op != "pad"):
            return inputs[0] if len(inputs) == 1 else None
        if op == "transpose" and tuple(attributes["axes"]) == tuple(range(len(shape))):
            return inputs[0]
        if op == "broadcast" and shape == node.shape:
            return inputs[0]
        if op == "reshape" and self.is_op(inputs[0], "reshape"):
            return self.emit("reshape", node.inputs[0], shape=shape)
        if op == "broadcast" and sorted(attributes["axes"]) == list(attributes["axes"]) and np.prod(
            shape, dtype=int) == np.prod(node.shape, dtype=int):  # fmt: skip
            return self.emit("reshape", inputs[0], shape=shape)
        return None

    def _shape(self, op: str, inputs: tuple[int, ...], attributes: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the shape of an operation's result."""
        with_ones = [np.broadcast_to(np.ones(()), self.nodes[n].shape) for n in inputs]
        if op == "expm":
            return self.nodes[inputs[0]].shape
        if op == "dot":
            (left, right), (rows, other) = attributes["contract"], attributes["batch"]
            a, b = (self.nodes[n].shape for n in inputs)
            free = [n for i, n in enumerate(a) if i not in (*left, *rows)]
            return (*(a[i] for i in rows), *free, *(n for i, n in enumerate(b) if i not in (*right, *other)))
        return compute(op, with_ones, attributes).shape

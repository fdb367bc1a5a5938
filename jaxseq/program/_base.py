"""Programs: their type, their construction from a cell, and their evaluation by NumPy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.cells._checks import check_is_cell, check_step
from jaxseq.cells._inputs import lift_step
from jaxseq.cells._recipe import is_made, join, split
from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.program._builder import Builder
from jaxseq.program._lower import Lowering
from jaxseq.program._numpy import compute
from jaxseq.program._slices import Rebuilt, needed
from jaxseq.trees import named_leaves


class Input(NamedTuple):
    """An input array of a program.

    Fields:
      kind: "params", "carry", "x", "wx" (input terms), or "data": an array that the cell contains, such as a source.
      name: name of the leaf, ``"U"``, ``"0.h"`` in a stack; "" if the tree is one array.
      shape: shape of the array.
    """

    kind: str
    name: str
    shape: tuple[int, ...]


class Op(NamedTuple):
    """One operation.

    Fields:
      op: a name in `jaxseq.program.OPERATIONS`.
      inputs: indices of the values it takes.
      output: index of the value it makes.
      shape: shape of that value.
      name: name of the gate if the value is one, otherwise "".
      attributes: other arguments of the operation, such as the axes of a sum.
    """

    op: str
    inputs: tuple[int, ...]
    output: int
    shape: tuple[int, ...]
    name: str
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Program:
    """A step of a cell as a list of operations, each after its inputs.

    Values are indexed, first the inputs, then the results of operations.

    Fields:
      cell: the cell's name.
      inputs: the leaves of params, carry, x (or its input terms) and of the cell's own arrays.
      ops: the operations.
      carry: the index of each leaf of the new carry, by name.
      out: the index of each leaf of the output; ``{"": n}`` if it is one array.
      gates: the index of each gate.
      data: the values of the inputs of kind "data".
    """

    cell: str
    inputs: tuple[Input, ...]
    ops: tuple[Op, ...]
    carry: Mapping[str, int]
    out: Mapping[str, int]
    gates: Mapping[str, int]
    data: tuple[np.ndarray, ...] = dataclasses.field(default=(), compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the structure as dicts, lists, numbers and text; weights and `data` are not in it."""
        ops = [
            [op.op, list(op.inputs), op.output, list(op.shape), op.name, _plain(dict(op.attributes))] for op in self.ops
        ]
        return {
            "cell": self.cell, "inputs": [[i.kind, i.name, list(i.shape)] for i in self.inputs], "ops": ops,
            "carry": dict(self.carry), "out": dict(self.out), "gates": dict(self.gates),
        }  # fmt: skip

    def moving(self) -> list[bool]:
        """Return for each value whether it depends on carry or input, and so varies from step to step."""
        moves = [given.kind in ("carry", "x", "wx") for given in self.inputs]
        for op in self.ops:
            moves.append(any(moves[n] for n in op.inputs))
        return moves


def _plain(value: Any) -> Any:
    """Return tuples as lists, and numbers that JSON lacks as text."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def program(cell: Cell, params: Params, carry: Carry, x: Tree, *, terms: bool = False) -> Program:
    """Return a cell's step as a short list of operations.

    Compiled functions, custom derivatives and scans are inlined, dead code is removed, equal operations are merged,
    constants are folded, and slices of packed products are moved to the weights, so each gate has its own product.

    Args:
      cell: any Cell, also a stack, one with attention, or a wrapped one.
      params: its parameters, or their shapes.
      carry: the state before the step with any batch axes, or its shapes.
      x: the input of the step, or its shapes.
      terms: whether x is already the result of ``cell.input_terms``.

    Raises:
      InputError: as ``cell.step``; also if the step needs a primitive that programs lack, such as sorting, a loop of
        variable length, or indices computed within the step.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import rnn
      >>> params = rnn.init(jax.random.key(0), 3, 5)
      >>> found = program(rnn, params, rnn.initial_carry(params), jnp.ones(3))
      >>> [op.op for op in found.ops], found.ops[-1].inputs == (found.gates["a"],)
      (['dot', 'add', 'dot', 'add', 'tanh'], True)
    """
    check_is_cell("program", cell)
    if not terms:
        x = jax.eval_shape(lambda x: lift_step(cell, x), x)
    static, arrays = split(cell)
    b, given = Builder(), (params, carry, x, arrays)
    kinds = ("params", "carry", "wx" if terms else "x", "data")
    named_given = (*map(named_leaves, given[:3]), dict(zip(_names_of_held(cell), arrays, strict=True)))
    inputs = [
        Input(kind, name, np.shape(leaf) if jnp.isscalar(leaf) else tuple(leaf.shape))
        for kind, leaves in zip(kinds, named_given, strict=True)
        for name, leaf in leaves.items()
    ]
    nodes = [b.input(f"{one.kind} {one.name}", one.shape) for one in inputs]
    low = Lowering(b, cell.name)

    def affine(params: Params, carry: Carry, x: Tree, arrays: list[Array]) -> tuple[Tree, Tree]:
        here = join(static, arrays)
        if not terms:
            check_step(here, params, carry, x)
        return x if terms else here.input_terms(params, x), here.hidden_terms(params, carry)

    def equations(params: Params, carry: Carry, arrays: list[Array], both: tuple[Tree, Tree]) -> tuple:
        return join(static, arrays).equations(params, carry, *both)

    # separately: a held gate changes within the equations, not in the terms before them
    closed, both = jax.make_jaxpr(affine, return_shape=True)(*given)
    made = low.closed(closed, nodes)
    closed, shapes = jax.make_jaxpr(equations, return_shape=True)(params, carry, arrays, both)
    counts = [len(jax.tree.leaves(tree)) for tree in (params, carry, x, arrays)]
    first, last = counts[0] + counts[1], len(nodes) - counts[3]
    gates = named_leaves(shapes[2])
    names = dict(zip(reversed(closed.jaxpr.outvars[-len(gates) :] if gates else []), reversed(gates), strict=True))
    outputs = low.closed(closed, [*nodes[:first], *nodes[last:], *made], names)
    rebuilt = Rebuilt(b, outputs)
    where = iter(rebuilt.outputs)
    named = [dict(zip(named_leaves(tree), where, strict=False)) for tree in shapes]
    return _finished(cell.name, inputs, rebuilt.b, named, tuple(np.asarray(a, np.float64) for a in arrays))


def _names_of_held(cell: Cell) -> list[str]:
    """Return the names of a cell's own arrays: "keys" and so on for a source, indices for others."""
    found: list[str] = []

    def visit(value: Any) -> None:
        # in the order in which `split` returns them
        if is_made(value):
            given = (value.recipe.args, dict(value.recipe.options))
            for path, leaf in jax.tree_util.tree_flatten_with_path(given, is_leaf=is_made)[0]:
                if isinstance(leaf, jax.Array | np.ndarray):
                    found.append(getattr(path[-1], "name", ""))
                else:
                    visit(leaf)

    visit(cell)
    return [name if name and found.count(name) == 1 else str(n) for n, name in enumerate(found)]


def _finished(
    cell: str, inputs: Sequence[Input], b: Builder, named: Sequence[dict[str, int]], data: tuple[np.ndarray, ...]
) -> Program:
    """Return the program of a graph: the nodes that its outputs need, renumbered."""
    number = {n: n for n in range(len(inputs))}
    ops: list[Op] = []
    for n in needed(b, [n for names in named for n in names.values()]):
        node = b.nodes[n]
        if n in number:
            continue
        number[n] = len(inputs) + len(ops)
        attributes = {"value": b.values[n].tolist()} if node.op == "constant" else dict(node.attributes)
        ops.append(Op(node.op, tuple(number[i] for i in node.inputs), number[n], node.shape, node.name, attributes))
    carry, out, gates = ({name: number[n] for name, n in names.items()} for names in named)
    return Program(cell, tuple(inputs), tuple(ops), carry, out, gates, data)


Named = dict[str, np.ndarray]
"""Arrays by leaf name."""


def run_numpy(
    program: Program, params: Params, carry: Carry, x: Tree, *, held: Mapping[str, Any] | None = None
) -> tuple[Named, Named, Named]:
    """Return ``(carry, out, gates)`` of a step, leaves by name, computed by NumPy in float64.

    Args:
      program: the cell's program.
      params: as for the cell.
      carry: the state before the step.
      x: the input, as ``cell.lift`` makes it, or its input terms if the program takes these.
      held: values to hold gates at, by name: a number, an array that broadcasts, or ``{unit: number}``.

    Raises:
      InputError: for an array of another shape, or an unknown gate.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import rnn
      >>> params = rnn.init(jax.random.key(0), 3, 5)
      >>> carry = rnn.initial_carry(params)
      >>> _, out, _ = run_numpy(program(rnn, params, carry, jnp.ones(3)), params, carry, jnp.ones(3))
      >>> bool(np.allclose(out[""], rnn.step(params, carry, jnp.ones(3))[1]))
      True
    """
    values = values_of(program, params, carry, x, held=held)
    now = lambda names: {name: values[n] for name, n in names.items()}  # noqa: E731
    return now(program.carry), now(program.out), now(program.gates)


def values_of(
    program: Program, params: Params, carry: Carry, x: Tree, *, held: Mapping[str, Any] | None = None
) -> list[np.ndarray]:
    """Return every value of a step, by index; arguments as in `run_numpy`."""
    leaves = [*jax.tree.leaves((params, carry, x)), *program.data]
    values = [np.asarray(leaf).astype(np.float64) for leaf in leaves]
    for given, value in zip(program.inputs, values, strict=True):
        if value.shape != given.shape:
            raise InputError(
                f"{program.cell}: this program takes {given.kind} {given.name} of shape {given.shape}; got "
                f"{value.shape}. Make one for these shapes: program(cell, params, carry, x)"
            )
    hold = {choose(f"gate of {program.cell}", name, program.gates): at for name, at in (held or {}).items()}
    values = [_held(value, hold[n]) if n in hold else value for n, value in enumerate(values)]
    for op in program.ops:
        value = compute(op.op, [values[n] for n in op.inputs], op.attributes)
        values.append(_held(value, hold[op.output]) if op.output in hold else value)
    return values


def _held(value: np.ndarray, at: Any) -> np.ndarray:
    if not isinstance(at, Mapping):
        return np.broadcast_to(np.asarray(at, np.float64), value.shape)
    value = value.copy()
    for unit, number in at.items():
        value[..., unit] = number
    return value

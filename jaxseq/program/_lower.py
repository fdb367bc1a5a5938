"""Lowers each JAX primitive to operations of a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxseq.errors import InputError
from jaxseq.jaxprs import CALLS, called
from jaxseq.program._builder import Builder
from jaxseq.program._numpy import BINARY, UNARY

UNROLLED = 100
"""Largest number of steps of a scan within a cell's step that are unrolled."""

Rule = Callable[["Lowering", JaxprEqn, list[int]], "int | list[int]"]
"""``(lowering, equation, nodes of its inputs) -> nodes of its outputs``."""


class Lowering:
    """Adds the equations of a jaxpr to a graph.

    Fields:
      b: the graph.
      cell: the name of the cell in error messages.
    """

    def __init__(self, b: Builder, cell: str) -> None:
        self.b, self.cell = b, cell

    def closed(
        self, closed: ClosedJaxpr | Jaxpr, inputs: Sequence[int], names: Mapping[Any, str] | None = None
    ) -> list[int]:
        """Add a jaxpr, and return the nodes of its outputs.

        Args:
          closed: the jaxpr.
          inputs: the nodes of its inputs.
          names: names of its variables that are gates.
        """
        consts = closed.consts if isinstance(closed, ClosedJaxpr) else []
        jaxpr = closed.jaxpr if isinstance(closed, ClosedJaxpr) else closed
        called = names or {}
        known: dict[Any, int] = {}
        node = lambda v: self.b.constant(v.val) if isinstance(v, Literal) else known[v]  # noqa: E731

        def learn(variables: Sequence[Any], nodes: Sequence[int]) -> None:
            for v, n in zip(variables, nodes, strict=True):
                known[v] = self.b.named(n, called[v]) if v in called else n

        learn([*jaxpr.constvars, *jaxpr.invars], [*(self.b.constant(np.asarray(c)) for c in consts), *inputs])
        for eqn in jaxpr.eqns:
            learn(eqn.outvars, self.equation(eqn, [node(v) for v in eqn.invars]))
        return [node(v) for v in jaxpr.outvars]

    def equation(self, eqn: JaxprEqn, inputs: list[int]) -> list[int]:
        """Add one equation, and return the nodes of its outputs."""
        name = eqn.primitive.name
        if any(jnp.issubdtype(getattr(_aval(v), "dtype", float), jnp.complexfloating) for v in eqn.outvars):
            raise self.unsupported("complex numbers")
        made: int | list[int]
        if name in RULES:
            made = RULES[name](self, eqn, inputs)
        elif (op := SAME.get(name, name)) in UNARY or op in BINARY:
            made = self.b.emit(op, *inputs)
        elif name in CALLS and (inner := called(eqn)) is not None:
            made = self.closed(inner, inputs)
        else:
            raise self.unsupported(f"the primitive {name!r}")
        return made if isinstance(made, list) else [made]

    def unsupported(self, what: str) -> InputError:
        """Return the error for a cell that programs cannot express."""
        return InputError(
            f"{self.cell}: {what} of its step is not among the operations of a program; write the step with sums, "
            "products, elementwise functions and static indices"
        )


SAME = {"add_any": "add"}
"""Primitives with another name in programs."""


def _aval(v: Any) -> Any:
    """Return the type of a variable, with a shape and a dtype."""
    return v.aval


def _jit(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int | list[int]:
    """Inline a compiled function; the matrix exponential is one operation."""
    if eqn.params.get("name") == "expm":
        return low.b.emit("expm", inputs[0])
    return low.closed(eqn.params["jaxpr"], inputs)


def _is_whole(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.integer)


def _towards_zero(low: Lowering, n: int) -> int:
    return low.b.emit("mul", low.b.emit("sign", n), low.b.emit("floor", low.b.emit("abs", n)))


def _div(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    made = low.b.emit("div", *inputs)
    return _towards_zero(low, made) if _is_whole(_aval(eqn.outvars[0])) else made


def _converted(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    """Convert dtypes; changes of precision are ignored."""
    old, new = _aval(eqn.invars[0]).dtype, _aval(eqn.outvars[0]).dtype
    if jnp.issubdtype(new, jnp.bool_) and not jnp.issubdtype(old, jnp.bool_):
        return low.b.emit("ne", inputs[0], low.b.constant(0.0))
    if jnp.issubdtype(new, jnp.integer) and jnp.issubdtype(old, jnp.floating):
        return _towards_zero(low, inputs[0])
    return inputs[0]


def _not(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    if not jnp.issubdtype(_aval(eqn.outvars[0]).dtype, jnp.bool_):
        raise low.unsupported(f"the bitwise {eqn.primitive.name!r}")
    return low.b.emit(eqn.primitive.name, *inputs)


def _integer_pow(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return low.b.emit("pow", inputs[0], low.b.constant(float(eqn.params["y"])))


def _square(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return low.b.emit("mul", inputs[0], inputs[0])


def _erf(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return low.b.emit("sub", low.b.constant(1.0), low.b.emit("erfc", inputs[0]))


def _exp2(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return low.b.emit("pow", low.b.constant(2.0), inputs[0])


def _log_of_base(base: float) -> Rule:
    """Return the rule of a logarithm that newer versions of JAX have as a separate primitive."""
    return lambda low, eqn, inputs: low.b.emit("div", low.b.emit("log", inputs[0]), low.b.constant(np.log(base)))


def _clamp(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    least, n, most = inputs
    return low.b.emit("min", low.b.emit("max", n, least), most)


def _select_n(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    which, first, *others = inputs
    made = first
    for k, other in enumerate(others, 1):
        chosen = which if len(others) == 1 else low.b.emit("eq", which, low.b.constant(float(k)))
        made = low.b.emit("select", chosen, other, made)
    return made


def _round(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    if "EVEN" in str(eqn.params["rounding_method"]):
        return low.b.emit("round", inputs[0])
    up = low.b.emit("floor", low.b.emit("add", low.b.emit("abs", inputs[0]), low.b.constant(0.5)))
    return low.b.emit("mul", low.b.emit("sign", inputs[0]), up)


def _same(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> list[int]:
    return inputs


def _reshape(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return low.b.emit("reshape", inputs[0], shape=_aval(eqn.outvars[0]).shape)


def _transpose(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return low.b.emit("transpose", inputs[0], axes=eqn.params["permutation"])


def _broadcast(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return low.b.emit("broadcast", inputs[0], shape=eqn.params["shape"], axes=eqn.params["broadcast_dimensions"])


def _slice(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    stride = eqn.params["strides"] or (1,) * len(eqn.params["start_indices"])
    return low.b.emit(
        "slice", inputs[0], start=eqn.params["start_indices"], stop=eqn.params["limit_indices"], stride=stride
    )


def cut(low: Lowering, n: int, axis: int, start: int, stop: int) -> int:
    """Add a slice of an array along one axis."""
    shape = low.b.nodes[n].shape
    whole = [(0, size) for size in shape]
    whole[axis] = (start, stop)
    return low.b.emit("slice", n, start=[a for a, _ in whole], stop=[z for _, z in whole], stride=[1] * len(shape))


def _split(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> list[int]:
    ends = np.cumsum(eqn.params["sizes"]).tolist()
    return [
        cut(low, inputs[0], eqn.params["axis"], end - size, end)
        for end, size in zip(ends, eqn.params["sizes"], strict=True)
    ]


def _concatenate(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return low.b.emit("concatenate", *inputs, axis=eqn.params["dimension"])


def _pad(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    config = eqn.params["padding_config"]
    if any(low_ < 0 or high < 0 or between for low_, high, between in config):
        raise low.unsupported("padding between numbers, or of a negative length,")
    return low.b.emit("pad", *inputs, low=[one[0] for one in config], high=[one[1] for one in config])


def _reversed(low: Lowering, n: int, axes: Sequence[int]) -> int:
    shape = low.b.nodes[n].shape
    places = np.flip(np.arange(int(np.prod(shape))).reshape(shape), tuple(axes))
    return low.b.emit("take", n, places=places.ravel().tolist(), shape=shape)


def _rev(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    return _reversed(low, inputs[0], eqn.params["dimensions"])


def _places(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    """Lower a read at known indices, found by applying the primitive to the numbers 0, 1, 2, ...."""
    known = [low.b.value(n) for n in inputs[1:]]
    if any(value is None for value in known):
        raise low.unsupported(f"the primitive {eqn.primitive.name!r} at places that are not known before the step")
    shape = low.b.nodes[inputs[0]].shape
    numbers = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    places = [np.asarray(value, _aval(v).dtype) for value, v in zip(known, eqn.invars[1:], strict=True)]
    params = {**eqn.params, "fill_value": np.nan} if "fill_value" in eqn.params else eqn.params
    with jax.ensure_compile_time_eval():
        found = np.asarray(eqn.primitive.bind(numbers, *places, **params))
    if np.isnan(found).any():
        raise low.unsupported(f"the primitive {eqn.primitive.name!r} at places outside of an array")
    return low.b.emit("take", inputs[0], places=found.astype(int).ravel().tolist(), shape=found.shape)


def _written(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    """Lower a write at known indices: each number comes from the old array or the updates."""
    first, updates = (0, 1) if eqn.primitive.name == "dynamic_update_slice" else (0, 2)
    known = {n: low.b.value(inputs[n]) for n in range(len(inputs)) if n not in (first, updates)}
    if any(value is None for value in known.values()):
        raise low.unsupported(f"the primitive {eqn.primitive.name!r} at places that are not known before the step")
    shapes = [low.b.nodes[inputs[n]].shape for n in (first, updates)]
    old, new = (int(np.prod(shape)) for shape in shapes)
    given = {n: np.asarray(value, _aval(eqn.invars[n]).dtype) for n, value in known.items()}
    given[first] = np.arange(old, dtype=np.float32).reshape(shapes[0])
    given[updates] = np.arange(old, old + new, dtype=np.float32).reshape(shapes[1])
    with jax.ensure_compile_time_eval():
        found = np.asarray(eqn.primitive.bind(*(given[n] for n in sorted(given)), **eqn.params))
    flat = [low.b.emit("reshape", inputs[n], shape=(size,)) for n, size in ((first, old), (updates, new))]
    both = low.b.emit("concatenate", *flat, axis=0)
    return low.b.emit("take", both, places=found.astype(int).ravel().tolist(), shape=found.shape)


def _iota(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    shape, axis = eqn.params["shape"], eqn.params["dimension"]
    along = np.arange(shape[axis]).reshape([-1 if n == axis else 1 for n in range(len(shape))])
    return low.b.constant(np.broadcast_to(along, shape))


def _dot(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    contract, batch = eqn.params["dimension_numbers"]
    return low.b.emit("dot", *inputs, contract=contract, batch=batch)


def _reduce(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    op = {"reduce_and": "reduce_min", "reduce_or": "reduce_max"}.get(eqn.primitive.name, eqn.primitive.name)
    if not eqn.params["axes"]:
        return inputs[0]
    return low.b.emit(op, inputs[0], axes=eqn.params["axes"])


def _argmax(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    n = inputs[0] if eqn.primitive.name == "argmax" else low.b.emit("neg", inputs[0])
    return low.b.emit("argmax", n, axis=eqn.params["axes"][0])


def _cumulative(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    axis = eqn.params["axis"]
    if not eqn.params["reverse"]:
        return low.b.emit(eqn.primitive.name, inputs[0], axis=axis)
    turned = low.b.emit(eqn.primitive.name, _reversed(low, inputs[0], [axis]), axis=axis)
    return _reversed(low, turned, [axis])


def _conv(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> int:
    """Lower a convolution to a sum of products, one for each position of the kernel."""
    p, b = eqn.params, low.b
    n = len(p["window_strides"])
    if p["feature_group_count"] != 1 or p["batch_group_count"] != 1 or any(d != 1 for d in p["lhs_dilation"]):
        raise low.unsupported("a convolution in groups, or of an input that is spread out,")
    left, right, out = p["dimension_numbers"]
    x = b.emit("transpose", inputs[0], axes=[left[0], *left[2:], left[1]])  # [N, places, C]
    kernel = b.emit("transpose", inputs[1], axes=[*right[2:], right[1], right[0]])  # [places, C, O]
    around = p["padding"]
    x = b.emit("pad", x, b.constant(0.0), low=[0, *(lo for lo, _ in around), 0], high=[0, *(hi for _, hi in around), 0])
    N, *_, C = b.nodes[x].shape
    sizes, total = [_aval(eqn.outvars[0]).shape[axis] for axis in out[2:]], None
    for place in np.ndindex(*b.nodes[kernel].shape[:n]):
        first = [k * d for k, d in zip(place, p["rhs_dilation"], strict=True)]
        last = [f + s * (m - 1) + 1 for f, s, m in zip(first, p["window_strides"], sizes, strict=True)]
        seen = b.emit("slice", x, start=[0, *first, 0], stop=[N, *last, C], stride=[1, *p["window_strides"], 1])
        weights = b.emit("slice", kernel, start=[*place, 0, 0], stop=[*(k + 1 for k in place),
            *b.nodes[kernel].shape[n:]], stride=[1] * (n + 2))  # fmt: skip
        weights = b.emit("reshape", weights, shape=b.nodes[kernel].shape[n:])
        term = b.emit("dot", seen, weights, contract=((n + 1,), (0,)), batch=((), ()))
        total = term if total is None else b.emit("add", total, term)
    assert total is not None
    order = [0, n + 1, *range(1, n + 1)]  # in the order of an output specification: N, C, spatial axes
    return b.emit("transpose", total, axes=[order[out.index(axis)] for axis in range(n + 2)])


def _scan(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> list[int]:
    """Unroll the steps of a scan."""
    p, b = eqn.params, low.b
    if p["length"] > UNROLLED:
        raise low.unsupported(f"a scan of more than {UNROLLED} steps")
    inner, rank = p["jaxpr"].jaxpr, lambda v: len(_aval(v).shape)
    # values with one axis fewer inside are scanned over; the params that count them depend on the version
    moves = sum(rank(v) == rank(w) for v, w in zip(eqn.outvars, inner.outvars, strict=True))
    end = sum(rank(v) == rank(w) for v, w in zip(eqn.invars, inner.invars, strict=True))
    fixed = end - moves
    consts, carry, xs = inputs[:fixed], inputs[fixed:end], inputs[end:]
    steps: list[list[int]] = [[] for _ in range(p["length"])]
    for t in reversed(range(p["length"])) if p["reverse"] else range(p["length"]):
        now = [b.emit("reshape", cut(low, x, 0, t, t + 1), shape=b.nodes[x].shape[1:]) for x in xs]
        out = low.closed(p["jaxpr"], [*consts, *carry, *now])
        carry, steps[t] = out[:moves], out[moves:]
    rows = [[b.emit("reshape", y, shape=(1, *b.nodes[y].shape)) for y in step] for step in steps]
    return [*carry, *(b.emit("concatenate", *ys, axis=0) for ys in zip(*rows, strict=True))]


def _cond(low: Lowering, eqn: JaxprEqn, inputs: list[int]) -> list[int]:
    """Compute all branches, and select."""
    which, *rest = inputs
    known, branches = low.b.number(which), eqn.params["branches"]
    if known is not None:
        return low.closed(branches[min(max(int(known), 0), len(branches) - 1)], rest)
    made = low.closed(branches[0], rest)
    for k, branch in enumerate(branches[1:], 1):
        here = low.b.emit("ge", which, low.b.constant(float(k)))
        made = [low.b.emit("select", here, a, z) for a, z in zip(low.closed(branch, rest), made, strict=True)]
    return made


RULES: dict[str, Rule] = {
    "jit": _jit, "pjit": _jit, "div": _div, "convert_element_type": _converted, "not": _not, "and": _not, "or": _not,
    "xor": _not, "integer_pow": _integer_pow, "square": _square, "erf": _erf, "exp2": _exp2,
    "log2": _log_of_base(2.0), "log10": _log_of_base(10.0), "clamp": _clamp,
    "select_n": _select_n, "round": _round, "stop_gradient": _same, "copy": _same, "copy_p": _same,
    "optimization_barrier": _same, "reduce_precision": _same, "pvary": _same, "reshape": _reshape,
    "squeeze": _reshape, "expand_dims": _reshape, "transpose": _transpose, "broadcast_in_dim": _broadcast,
    "slice": _slice, "split": _split, "concatenate": _concatenate, "pad": _pad, "rev": _rev, "gather": _places,
    "dynamic_slice": _places,
    "scatter": _written, "dynamic_update_slice": _written, "iota": _iota, "dot_general": _dot,
    "reduce_sum": _reduce, "reduce_max": _reduce,
    "reduce_min": _reduce, "reduce_prod": _reduce, "reduce_and": _reduce, "reduce_or": _reduce, "argmax": _argmax,
    "argmin": _argmax, "cumsum": _cumulative, "cumprod": _cumulative, "conv_general_dilated": _conv, "scan": _scan,
    "cond": _cond,
}  # fmt: skip
"""The lowering of each primitive, except those with the same name in programs and in JAX."""

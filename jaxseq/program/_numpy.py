"""The closed set of a program's operations in NumPy, and its evaluation in float64.

Numbers are float64 throughout; booleans are 1 or 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Values = np.ndarray
"""An array in float64."""


def _truth(compare: Callable[[Values, Values], Any]) -> Callable[[Values, Values], Values]:
    return lambda a, b: np.asarray(compare(a, b), np.float64)


def expm(a: Values) -> Values:
    """Return a matrix exponential: the series for the matrix over 2^s, squared s times."""
    halvings = max(0, int(np.ceil(np.log2(max(1e-300, np.abs(a).sum(0).max())))) + 2)
    small = a / 2.0**halvings  # its norm is below 1/4: the 20th term is below 1e-30
    term = total = np.eye(len(a))
    for n in range(1, 21):
        term = term @ small / n
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total


UNARY: dict[str, Callable[[Values], Values]] = {
    "neg": np.negative,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "cbrt": np.cbrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "logistic": lambda a: (1 + np.tanh(a / 2)) / 2,
    "erfc": np.vectorize(math.erfc, otypes=[np.float64]),
    "softplus": lambda a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "not": lambda a: 1 - a,
    "is_finite": lambda a: np.isfinite(a).astype(np.float64),
    "copy": lambda a: a,
}
"""Elementwise operations on one array; round is half to even, copy is the identity."""

BINARY: dict[str, Callable[[Values, Values], Values]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "rem": np.fmod,
    "max": np.maximum,
    "min": np.minimum,
    "atan2": np.arctan2,
    "eq": _truth(np.equal),
    "ne": _truth(np.not_equal),
    "lt": _truth(np.less),
    "le": _truth(np.less_equal),
    "gt": _truth(np.greater),
    "ge": _truth(np.greater_equal),
    "and": np.multiply,
    "or": np.maximum,
    "xor": _truth(np.not_equal),
}
"""Elementwise operations on two arrays; either may be a single number."""

ELEMENTWISE = {*UNARY, *BINARY, "select"}
"""Elementwise operations: an input has the output's shape, or is a single number."""


def _broadcast(a: Values, shape: Sequence[int], axes: Sequence[int]) -> Values:
    kept = dict(zip(axes, a.shape, strict=True))
    return np.broadcast_to(a.reshape([kept.get(n, 1) for n in range(len(shape))]), shape)


def _select(which: Values, yes: Values, no: Values) -> Values:
    return np.where(which != 0, yes, no)


def _slice(a: Values, start: Sequence[int], stop: Sequence[int], stride: Sequence[int]) -> Values:
    return a[tuple(map(slice, start, stop, stride))]


def _dot(a: Values, b: Values, contract: Sequence[Sequence[int]], batch: Sequence[Sequence[int]]) -> Values:
    free = [[n for n in range(v.ndim) if n not in (*c, *t)] for v, c, t in zip((a, b), contract, batch, strict=True)]
    left = a.transpose([*batch[0], *free[0], *contract[0]])
    right = b.transpose([*batch[1], *contract[1], *free[1]])
    rows, count = len(batch[0]), len(contract[0])
    B, K = left.shape[:rows], left.shape[left.ndim - count :]
    M, N = left.shape[rows : left.ndim - count], right.shape[rows + count :]
    size = lambda shape: int(np.prod(shape, dtype=int))  # noqa: E731
    made = left.reshape(*B, size(M), size(K)) @ right.reshape(*B, size(K), size(N))
    return made.reshape(*B, *M, *N)


STRUCTURAL: dict[str, Callable[..., Values]] = {
    "constant": lambda value: np.asarray(value, np.float64),
    "select": _select,
    "reshape": lambda a, shape: a.reshape(shape),
    "transpose": lambda a, axes: a.transpose(axes),
    "broadcast": _broadcast,
    "slice": _slice,
    "take": lambda a, places, shape: a.reshape(-1)[np.asarray(places, int)].reshape(shape),
    "pad": lambda a, value, low, high: np.pad(a, list(zip(low, high, strict=True)), constant_values=float(value)),
    "concatenate": lambda *parts, axis: np.concatenate(parts, axis),
    "dot": _dot,
    "reduce_sum": lambda a, axes: a.sum(tuple(axes)),
    "reduce_prod": lambda a, axes: a.prod(tuple(axes)),
    "reduce_max": lambda a, axes: a.max(tuple(axes)),
    "reduce_min": lambda a, axes: a.min(tuple(axes)),
    "argmax": lambda a, axis: np.asarray(a.argmax(axis), np.float64),
    "cumsum": lambda a, axis: a.cumsum(axis),
    "cumprod": lambda a, axis: a.cumprod(axis),
    "expm": expm,
}
"""All other operations, with their attributes."""

OPERATIONS: dict[str, Callable[..., Values]] = {**UNARY, **BINARY, **STRUCTURAL}
"""The closed set of operations."""


def compute(op: str, inputs: Sequence[Values], attributes: Mapping[str, Any]) -> Values:
    """Return the value of one operation."""
    with np.errstate(all="ignore"):  # both branches of a select are computed
        return np.asarray(OPERATIONS[op](*inputs, **attributes), np.float64)

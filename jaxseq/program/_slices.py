"""Moves slices to the weights: when a packed product ``h U`` is cut into gates, each gate gets its own ``h U_f``.

Only values that are used solely through slices are split, so nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxseq.program._builder import Builder, Node
from jaxseq.program._numpy import ELEMENTWISE

PUSHABLE = {*ELEMENTWISE, "dot", "concatenate", "pad", "broadcast", "transpose", "slice", "reshape"}
"""Operations that commute with slicing."""


class Piece(NamedTuple):
    """A slice: its start, end and step along each axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the sliced array."""
        return tuple(len(range(*one)) for one in zip(*self, strict=True))

    def only(self, axes: Sequence[int]) -> Piece:
        """Return the slice restricted to some axes."""
        return Piece(*(tuple(one[n] for n in axes) for one in self))


def whole(shape: Sequence[int]) -> Piece:
    """Return the slice of the whole array."""
    return Piece((0,) * len(shape), tuple(shape), (1,) * len(shape))


class Rebuilt:
    """A graph rebuilt from its outputs, with slices moved towards the inputs."""

    def __init__(self, old: Builder, outputs: Sequence[int]) -> None:
        self.old, self.b = old, Builder()
        self.made: dict[Any, int] = {}
        for n, node in enumerate(old.nodes):
            if node.op == "input":
                self.made[n] = self.b.input(node.name, node.shape)
        self.cut_only = _only_cut(old, outputs)
        for n, cut in sorted(self.cut_only.items()):
            if not cut:  # in order, so recursion never goes deep
                self.node(n)
        self.outputs = [self.node(n) for n in outputs]

    def node(self, n: int) -> int:
        """Return the new node for an old one."""
        if n not in self.made:
            self.made[n] = self.b.constant(self.old.values[n]) if n in self.old.values else self._emitted(n)
        return self.made[n]

    def _emitted(self, n: int) -> int:
        node = self.old.nodes[n]
        if node.op == "slice":
            made = self.piece(node.inputs[0], Piece(*(value for _, value in node.attributes)))
        else:
            made = self.b.emit(node.op, *map(self.node, node.inputs), **dict(node.attributes))
        return self.b.named(made, node.name) if node.name else made

    def piece(self, n: int, piece: Piece) -> int:
        """Return the new node for a slice of an old one."""
        key = (n, piece)
        if key not in self.made:
            node = self.old.nodes[n]
            made = None
            if piece == whole(node.shape):
                made = self.node(n)
            elif node.op in PUSHABLE and self.cut_only[n]:
                made = self._pushed(node, piece)
            self.made[key] = self._sliced(n, piece) if made is None else made
        return self.made[key]

    def _sliced(self, n: int, piece: Piece) -> int:
        return self.b.emit("slice", self.node(n), **piece._asdict())

    def _pushed(self, node: Node, piece: Piece) -> int | None:
        """Return the slice of an operation as an operation of slices, or None."""
        has = dict(node.attributes)
        if node.op in ELEMENTWISE:
            cut = [self.node(n) if self.old.nodes[n].shape == () else self.piece(n, piece) for n in node.inputs]
            return self.b.emit(node.op, *cut)
        (n, *others) = node.inputs
        if node.op == "slice":
            inner = Piece(**has)
            start = tuple(a + s * p for a, s, p in zip(inner.start, inner.stride, piece.start, strict=True))
            stride = tuple(s * p for s, p in zip(inner.stride, piece.stride, strict=True))
            stop = tuple(a + s * (m - 1) + 1 for a, s, m in zip(start, stride, piece.shape, strict=True))
            return self.piece(n, Piece(start, stop, stride))
        if node.op == "transpose":
            back = [has["axes"].index(axis) for axis in range(len(node.shape))]
            return self.b.emit("transpose", self.piece(n, piece.only(back)), **has)
        if node.op == "broadcast":
            shape = self.old.nodes[n].shape
            kept = piece.only(has["axes"])
            one = whole(shape)
            picked = Piece(*(tuple(o if size == 1 else k for size, o, k in zip(shape, a, b, strict=True))
                             for a, b in zip(one, kept, strict=True)))  # fmt: skip
            return self.b.emit("broadcast", self.piece(n, picked), shape=piece.shape, axes=has["axes"])
        if node.op == "dot":
            return self._dot(node, piece, **has)
        if node.op == "reshape":
            return self._reshape(n, node.shape, piece)
        return self._concatenated(node, piece) if node.op == "concatenate" else self._padded(n, others[0], piece, **has)

    def _dot(self, node: Node, piece: Piece, contract: Any, batch: Any) -> int:
        """Return a slice of a product's columns, rows or batches."""
        shapes = [self.old.nodes[n].shape for n in node.inputs]
        free = [
            [n for n in range(len(s)) if n not in (*c, *t)] for s, c, t in zip(shapes, contract, batch, strict=True)
        ]
        rows, at = len(batch[0]), 0
        cut = []
        for n, shape, own, shared in zip(node.inputs, shapes, free, batch, strict=True):
            first = rows + at
            at += len(own)
            from_out = {**dict(zip(shared, range(rows), strict=True)), **{a: first + k for k, a in enumerate(own)}}
            full = whole(shape)
            cut.append(self.piece(n, Piece(*(
                tuple(p[from_out[axis]] if axis in from_out else f[axis] for axis in range(len(shape)))
                for p, f in zip(piece, full, strict=True)
            ))))  # fmt: skip
        return self.b.emit("dot", *cut, contract=contract, batch=batch)

    def _reshape(self, n: int, shape: tuple[int, ...], piece: Piece) -> int | None:
        """Return a slice of a reshape as a reshape of a slice along one axis, or None."""
        before = self.old.nodes[n].shape
        cut = [k for k, one in enumerate(zip(*piece, strict=True)) if one != (0, shape[k], 1)]
        if len(cut) != 1 or piece.stride[cut[0]] != 1:
            return None
        axis, size = cut[0], lambda of: int(np.prod(of, dtype=int))
        for other in range(len(before)):
            tail = size(shape[axis + 1 :])
            if size(before[:other]) == size(shape[:axis]) and tail % size(before[other + 1 :]) == 0:
                each = tail // size(before[other + 1 :])
                if before[other] == shape[axis] * each:
                    full = whole(before)
                    ends = (piece.start[axis] * each, piece.stop[axis] * each)
                    put = lambda a, v: (*a[:other], v, *a[other + 1 :])  # noqa: B023, E731
                    run = Piece(put(full.start, ends[0]), put(full.stop, ends[1]), full.stride)
                    return self.b.emit("reshape", self.piece(n, run), shape=piece.shape)
        return None

    def _concatenated(self, node: Node, piece: Piece) -> int | None:
        """Slice each of the joined arrays, and join the parts."""
        axis = dict(node.attributes)["axis"]
        if piece.stride[axis] != 1:
            return None
        parts, at = [], 0
        for n in node.inputs:
            size = self.old.nodes[n].shape[axis]
            low, high = max(piece.start[axis] - at, 0), min(piece.stop[axis] - at, size)
            if low < high:
                put = lambda a, v: (*a[:axis], v, *a[axis + 1 :])  # noqa: E731
                parts.append(self.piece(n, Piece(put(piece.start, low), put(piece.stop, high), piece.stride)))
            at += size
        return parts[0] if len(parts) == 1 else self.b.emit("concatenate", *parts, axis=axis)

    def _padded(self, n: int, value: int, piece: Piece, low: Any, high: Any) -> int | None:
        """Return a slice of a padded array if it is all padding or all array, otherwise None."""
        shape = self.old.nodes[n].shape
        moved = Piece(tuple(a - k for a, k in zip(piece.start, low, strict=True)),
                      tuple(z - k for z, k in zip(piece.stop, low, strict=True)), piece.stride)  # fmt: skip
        inside = [(a >= 0 and z <= size) for a, z, size in zip(moved.start, moved.stop, shape, strict=True)]
        if all(inside):
            return self.piece(n, moved)
        if any(z <= 0 or a >= size for a, z, size in zip(moved.start, moved.stop, shape, strict=True)):
            return self.b.emit("broadcast", self.node(value), shape=piece.shape, axes=())
        return None


def needed(old: Builder, outputs: Sequence[int]) -> list[int]:
    """Return the nodes that the outputs need, in order."""
    found, waiting = set(), list(outputs)
    while waiting:
        n = waiting.pop()
        if n not in found:
            found.add(n)
            waiting += old.nodes[n].inputs
    return sorted(found)


def _only_cut(old: Builder, outputs: Sequence[int]) -> dict[int, bool]:
    """Return for each needed node whether only slices use it, or operations that are sliced themselves."""
    users: dict[int, list[int]] = {n: [] for n in needed(old, outputs)}
    for n in users:
        for given in old.nodes[n].inputs:
            users[given].append(n)
    cut: dict[int, bool] = {}
    for n in reversed(list(users)):
        node = old.nodes[n]
        used = [old.nodes[u].op == "slice" or (old.nodes[u].op in PUSHABLE and cut[u]) for u in users[n]]
        cut[n] = (
            n not in outputs and not node.name and node.op not in ("input", "constant") and bool(used) and all(used)
        )
    return cut

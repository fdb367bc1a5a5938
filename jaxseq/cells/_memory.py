"""Memories that are matrices: a cell states once what a step writes and reads, and every way to run it follows.

A memory ``S [B, K, V]`` maps keys to values. Such cells differ in how they make keys, values, decays and queries from
the input; the recurrence is one and the same. In a step, vectors being rows,

    S <- exp(log_decay)^T * S                      retain, each key feature at its own rate or all at one
    S <- R(turn) S                                 turn pairs of key features
    S <- S + key^T (value - erase S)               write, once or several times; erase corrects what S has already
    read = query S

or, with momentum, S <- exp(log_decay) * S + A, where A, what is added, is exp(momentum) of the last A and the write.
None of these vectors depends on S, so that many steps can be taken at once as products of matrices
(`jaxseq.recurrence.chunked`). Whatever else is in the carry may only be the largest of what it was, shifted, and a new
value (`Larger`, the stabiliser of exponential gates), that value (`Latest`, the last input), or the last few of such
values (`Window`, the inputs of a convolution over time): all are known for all steps before the memory is.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.cells._base import wide_zeros_for
from jaxseq.notation import Array, Carry, Params, Tree


class Memory(NamedTuple):
    """The memory ``S [B, K, H]``: a matrix that maps a key ``[K]`` to a value ``[H]``."""

    S: Array


class Write(NamedTuple):
    """A write ``S <- S + key^T (value - erase S)``.

    Fields:
      key: ``[B, K]``.
      value: ``[B, V]``, for a memory in several parts a tree like it; None for zeros.
      erase: ``[B, K]``, such as ``beta * key`` of a delta rule; None erases nothing.
    """

    key: Array
    value: Tree
    erase: Array | None = None


class Access(NamedTuple):
    """What one step does to a memory ``S [B, K, V]`` and reads from it. B are any leading axes, heads among them.

    Fields:
      query: ``[B, K]``, of what is read.
      writes: in their order.
      log_decay: logarithms of the decays, ``[B, K]``, or ``[B, 1]`` for one rate; each at most 0. None retains all.
        Batch axes along which it does not vary may have length 1.
      turn: angles ``[B, K/2]`` by which the features k and K/2 + k are turned; None turns nothing. With it a memory is
        a pair, of the first K/2 features and of the others.
      momentum: logarithms ``[B, 1]``, at most 0, of how much of what the last step added this one adds again; None for
        a memory without. With it a memory is a pair, of itself and of what was added last; there is one write, which
        erases what it reads before the decay, and one rate of decay.
    """

    query: Array
    writes: tuple[Write, ...]
    log_decay: Array | None = None
    turn: Array | None = None
    momentum: Array | None = None

    def take(self, memory: Tree, *, early: bool = False) -> tuple[Tree, Tree]:
        """Return ``(memory, read)`` after this step; `early` reads what was there before it."""
        if self.momentum is not None:
            return self._pushed(self.momentum, *memory, early=early)
        # one after the other, and not side by side: to put halves together would take as long as all else
        halves: tuple[Tree, ...] = memory if self.turn is not None else (memory,)
        before = halves
        if self.log_decay is not None:
            decay = jnp.exp(self.log_decay)[..., None]
            halves = tuple(jax.tree.map(lambda S: decay * S, half) for half in halves)
        if self.turn is not None:
            cos, sin = (part(self.turn)[..., None] for part in (jnp.cos, jnp.sin))
            top, bottom = halves
            halves = (
                jax.tree.map(lambda t, b: cos * t - sin * b, top, bottom),
                jax.tree.map(lambda t, b: sin * t + cos * b, top, bottom),
            )
        for key, value, erase in self.writes:
            change = value
            if erase is not None:
                known = _read(erase, halves)
                change = (
                    jax.tree.map(jnp.negative, known) if value is None else jax.tree.map(jnp.subtract, value, known)
                )
            keys = jnp.split(key, len(halves), axis=-1)
            halves = tuple(
                jax.tree.map(lambda S, u, k=k: S + outer(k, u), half, change)
                for k, half in zip(keys, halves, strict=True)
            )
        found = _read(self.query, before if early else halves)
        return halves if self.turn is not None else halves[0], found

    def _pushed(self, momentum: Array, memory: Array, added: Array, *, early: bool) -> tuple[Tree, Array]:
        """Return what `take` does with momentum: it is written to what is added, and that to the memory."""
        ((key, value, erase),) = self.writes
        change = value if erase is None else value - read(erase, memory)
        added = jnp.exp(momentum)[..., None] * added + outer(key, change)
        new = memory if self.log_decay is None else jnp.exp(self.log_decay)[..., None] * memory
        new = new + added
        return (new, added), read(self.query, memory if early else new)


def _read(q: Array, halves: tuple[Tree, ...]) -> Tree:
    """Return what a query reads, the sum of what its parts read of the parts of a memory."""
    parts = [
        jax.tree.map(lambda S, q=q: read(q, S), half)
        for q, half in zip(jnp.split(q, len(halves), axis=-1), halves, strict=True)
    ]
    return jax.tree.map(lambda *found: functools.reduce(jnp.add, found), *parts)


class Larger(NamedTuple):
    """A state that becomes ``max(shift + state, floor)``."""

    shift: Array
    floor: Array

    def of(self, state: Array) -> Array:
        """Return the new state."""
        return jnp.maximum(self.shift + state, self.floor)


class Latest(NamedTuple):
    """A state that becomes the value, whatever it was."""

    value: Array

    def of(self, state: Array) -> Array:
        """Return the new state."""
        return self.value


class Window(NamedTuple):
    """A state ``[B, W, H]``, the values of the last W steps, the latest last: rows move up, and the last is the value.

    Fields:
      value: ``[B, H]``.
    """

    value: Array

    def of(self, state: Array) -> Array:
        """Return the new state."""
        return jnp.concatenate([state[..., 1:, :], self.value[..., None, :]], axis=-2)


Law = Larger | Latest | Window
"""How a field of the carry that is not the memory becomes what it is after a step."""


class Rest(NamedTuple):
    """The carry but for the memory, before and after a step, by the names of its fields."""

    old: Mapping[str, Array]
    new: Mapping[str, Array]

    def __or__(self, other: Rest) -> Rest:
        """Return the fields of both."""
        return Rest({**self.old, **other.old}, {**self.new, **other.new})


def outer(k: Array, v: Array) -> Array:
    """Return ``k^T v``, ``[B, K, H]``: the value associated with the key."""
    return k[..., :, None] * v[..., None, :]


def read(q: Array, S: Array) -> Array:
    """Return ``q S``, ``[B, H]``: the value stored for the query ``q [B, K]``."""
    return jnp.einsum("...k,...kh->...h", q, S)


def unit(a: Array) -> Array:
    """Return a divided by its Euclidean norm."""
    return a * jax.lax.rsqrt(jnp.sum(a * a, axis=-1, keepdims=True) + 1e-6)


def turned(a: Array, angle: Array, axis: int = -1) -> Array:
    """Return a with each pair of features, one of either half of an axis, turned by an angle."""
    top, bottom = jnp.split(a, 2, axis=axis)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([cos * top - sin * bottom, sin * top + cos * bottom], axis=axis)


def heads(a: Array, count: int) -> Array:
    """Return ``[..., N * K]`` as ``[..., N, K]``."""
    return a.reshape(*a.shape[:-1], count, a.shape[-1] // count)  # not -1, which T = 0 leaves open


def merged(a: Array) -> Array:
    """Return ``[..., N, V]`` as ``[..., N * V]``."""
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def empty(b: Array, batch_shape: tuple[int, ...], *sizes: int) -> Array:
    """Return a memory of zeros ``[*batch_shape, *sizes]``, in float32 at least: it decays slowly."""
    *axes, last = sizes
    return wide_zeros_for(b, (*batch_shape, *axes), last)


def _nothing(params: Params, wx: Tree) -> dict[str, Law]:
    """Return no other fields: the carry is the memory alone."""
    return {}


def _unmixed(params: Params, wx: Tree, past: Rest) -> Tree:
    """Return the input terms: they are of one step."""
    return wx


def _plain(params: Params, read: Array, gates: Tree, wx: Tree, rest: Rest) -> Array:
    """Return what was read, in the dtype of the input terms."""
    return read.astype(jax.tree.leaves(wx)[0].dtype)


def _memory_of(carry: Memory) -> Array:
    """Return the memory of a carry, ``[B, K, V]``."""
    return carry.S


def _as_memory(S: Array, rest: Mapping[str, Array]) -> Memory:
    """Return a memory ``[B, K, V]`` as the whole carry."""
    return Memory(S)


def _unchanged(gates: Tree, memory: Tree) -> Tree:
    """Return the gates: none is read from the memory."""
    return gates


@dataclasses.dataclass(frozen=True)
class MemoryEquations:
    """The `equations` of a cell whose carry is a memory, made of its statement; a cell without `hidden_terms`.

    Fields:
      access: ``(params, wx, rest) -> (Access, gates)``: all that a paper says of a step.
      out: ``(params, read, gates, wx, rest) -> out``; what was read, in the dtype of wx, by default.
      rest: ``(params, wx) -> {field: law}`` of the carry's other fields, if it has any; a law is `Larger`, `Latest` or
        `Window`.
      pack: ``carry -> memory``, a tree of arrays ``[B, K, V]`` with the same K, with turns a pair of such trees, and
        with momentum a pair of such arrays; ``carry.S`` by default.
      unpack: ``(memory, {field: array}) -> carry``, the way back.
      seen: ``(gates, memory) -> gates``, for gates that are read from the memory before the step.
      early: whether the query reads the memory before the step.
      past: ``(params, wx) -> {field: law}`` of fields that `mixed` needs, such as the `Window` of a convolution.
      mixed: ``(params, wx, past) -> wx``: input terms of this step and the last ones made into those that `rest`,
        `access` and `out` get.
    """

    access: Callable[[Params, Any, Rest], tuple[Access, Any]]
    out: Callable[..., Any] = _plain
    rest: Callable[[Params, Any], Mapping[str, Law]] = _nothing
    pack: Callable[[Any], Tree] = _memory_of
    unpack: Callable[[Any, Mapping[str, Array]], Any] = _as_memory
    seen: Callable[[Any, Any], Any] = _unchanged
    early: bool = False
    past: Callable[[Params, Any], Mapping[str, Law]] = _nothing
    mixed: Callable[[Params, Any, Rest], Any] = _unmixed

    def __post_init__(self) -> None:
        # where the paper's equations are: a cell shows the docstring and the code of that module
        object.__setattr__(self, "__module__", self.access.__module__)

    def __call__(self, params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        """Return ``(carry, out, gates)`` of one step."""
        past = _followed(self.past(params, wx), carry)
        wx = self.mixed(params, wx, past)
        rest = past | _followed(self.rest(params, wx), carry)
        access, gates = self.access(params, wx, rest)
        memory, found = access.take(self.pack(carry), early=self.early)
        gates = self.seen(gates, self.pack(carry))
        return self.unpack(memory, rest.new), self.out(params, found, gates, wx, rest), gates


def _followed(laws: Mapping[str, Law], carry: Carry) -> Rest:
    """Return the fields of a carry that have laws, before and after a step."""
    old = {name: getattr(carry, name) for name in laws}
    return Rest(old, {name: law.of(old[name]) for name, law in laws.items()})

"""Matrix memories: a cell states once what a step writes and reads, and every way to run it follows.

A memory ``S [B, K, V]`` maps keys to values. Such cells differ in how they make keys, values, decays and queries from
the input; the recurrence is the same. In a step, with vectors as rows,

    S <- exp(log_decay)^T * S                      retain, each key feature at its own rate or all at one
    S <- R(turn) S                                 turn pairs of key features
    S <- S + key^T (value - erase S)               write, once or several times; erase corrects what S has already
    read = query S

or, with momentum, S <- exp(log_decay) * S + A, where the addition A is exp(momentum) times the last A, plus the write.
None of these vectors depends on S, so many steps can be taken at once as matrix products (`jaxseq.recurrence.chunked`).
Any other field of the carry may only be a maximum of its shifted old value and a new one (`Larger`, the stabiliser of
exponential gates), the new value itself (`Latest`, the last input), or the last few of them (`Window`, the inputs of a
convolution over time): these are known for all steps before the memory is.
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
      value: ``[B, V]``, or a tree like the memory's if it has several parts; None for zeros.
      erase: ``[B, K]``, such as ``beta * key`` of a delta rule; None erases nothing.
    """

    key: Array
    value: Tree
    erase: Array | None = None


class Access(NamedTuple):
    """One step's access to a memory ``S [B, K, V]``: writes, decay and query. B is any leading axes, also heads.

    Fields:
      query: ``[B, K]``, with which the memory is read.
      writes: the writes, in order.
      log_decay: logarithms of the decays, ``[B, K]``, or ``[B, 1]`` for a single rate; each at most 0. None retains
        everything. Batch axes may have length 1 to broadcast.
      turn: angles ``[B, K/2]`` of the rotation of features k and K/2 + k; None rotates nothing. With it a memory is a
        pair: the first K/2 features and the rest.
      momentum: logarithms ``[B, 1]``, at most 0, of the share of the last step's addition that is added again; None for
        no momentum. With it a memory is a pair, itself and the last addition; there is one write, which erases what it
        reads before the decay, and a single decay rate.
    """

    query: Array
    writes: tuple[Write, ...]
    log_decay: Array | None = None
    turn: Array | None = None
    momentum: Array | None = None

    def take(self, memory: Tree, *, early: bool = False) -> tuple[Tree, Tree]:
        """Return ``(memory, read)`` after this step; with `early`, read from the memory before it."""
        if self.momentum is not None:
            return self._pushed(self.momentum, *memory, early=early)
        # the halves one after the other: concatenating them would take as long as everything else
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
        """Return what `take` returns with momentum: the write goes into the addition, and that into the memory."""
        ((key, value, erase),) = self.writes
        change = value if erase is None else value - read(erase, memory)
        added = jnp.exp(momentum)[..., None] * added + outer(key, change)
        new = memory if self.log_decay is None else jnp.exp(self.log_decay)[..., None] * memory
        new = new + added
        return (new, added), read(self.query, memory if early else new)


def _read(q: Array, halves: tuple[Tree, ...]) -> Tree:
    """Return the value that a query reads: the sum over the parts of a memory."""
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
    """A state that becomes the value, regardless of its old value."""

    value: Array

    def of(self, state: Array) -> Array:
        """Return the new state."""
        return self.value


class Window(NamedTuple):
    """A state ``[B, W, H]`` of the last W values, latest last: each step shifts the rows up and appends the value.

    Fields:
      value: ``[B, H]``.
    """

    value: Array

    def of(self, state: Array) -> Array:
        """Return the new state."""
        return jnp.concatenate([state[..., 1:, :], self.value[..., None, :]], axis=-2)


Update = Larger | Latest | Window
"""The update rule of a field of the carry other than the memory."""


class Rest(NamedTuple):
    """The carry's fields except the memory, before and after a step, by name."""

    old: Mapping[str, Array]
    new: Mapping[str, Array]

    def __or__(self, other: Rest) -> Rest:
        """Return the fields of `before` and `after`."""
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
    """Return a with each pair of features, one from each half of an axis, rotated by an angle."""
    top, bottom = jnp.split(a, 2, axis=axis)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([cos * top - sin * bottom, sin * top + cos * bottom], axis=axis)


def heads(a: Array, count: int) -> Array:
    """Return ``[..., N * K]`` as ``[..., N, K]``."""
    return a.reshape(*a.shape[:-1], count, a.shape[-1] // count)  # sizes instead of -1, which is ambiguous for T = 0


def merged(a: Array) -> Array:
    """Return ``[..., N, V]`` as ``[..., N * V]``."""
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def empty(b: Array, batch_shape: tuple[int, ...], *sizes: int) -> Array:
    """Return a memory of zeros ``[*batch_shape, *sizes]``, in at least float32, since it decays slowly."""
    *axes, last = sizes
    return wide_zeros_for(b, (*batch_shape, *axes), last)


def _nothing(params: Params, wx: Tree) -> dict[str, Update]:
    """Return no updates: the carry is the memory alone."""
    return {}


def _unmixed(params: Params, wx: Tree, past: Rest) -> Tree:
    """Return the input terms unchanged: they need no earlier steps."""
    return wx


def _plain(params: Params, read: Array, gates: Tree, wx: Tree, rest: Rest) -> Array:
    """Return the read values in the dtype of the input terms."""
    return read.astype(jax.tree.leaves(wx)[0].dtype)


def _memory_of(carry: Memory) -> Array:
    """Return the memory of a carry, ``[B, K, V]``."""
    return carry.S


def _as_memory(S: Array, rest: Mapping[str, Array]) -> Memory:
    """Return a memory ``[B, K, V]`` as the whole carry."""
    return Memory(S)


def _unchanged(gates: Tree, memory: Tree) -> Tree:
    """Return the gates unchanged: none is read from the memory."""
    return gates


@dataclasses.dataclass(frozen=True)
class MemoryEquations:
    """The `equations` of a cell whose carry is a memory, derived from `access`; such a cell has no `hidden_terms`.

    Fields:
      access: ``(params, wx, rest) -> (Access, gates)``: the paper's equations of a step.
      out: ``(params, read, gates, wx, rest) -> out``; by default the read values in the dtype of wx.
      rest: ``(params, wx) -> {field: update}`` for the carry's other fields, if any; an update is `Larger`, `Latest` or
        `Window`.
      pack: ``carry -> memory``, a tree of arrays ``[B, K, V]`` with the same K (a pair of such trees with turns, a pair
        of such arrays with momentum); ``carry.S`` by default.
      unpack: ``(memory, {field: array}) -> carry``, the inverse of `pack`.
      seen: ``(gates, memory) -> gates``, adds the gates that are read from the memory before the step.
      early: whether the query reads the memory before the step.
      past: ``(params, wx) -> {field: update}`` for fields that `mixed` needs, such as the `Window` of a convolution.
      mixed: ``(params, wx, past) -> wx``: combines this step's input terms with earlier ones, for `rest`, `access` and
        `out`.
    """

    access: Callable[[Params, Any, Rest], tuple[Access, Any]]
    out: Callable[..., Any] = _plain
    rest: Callable[[Params, Any], Mapping[str, Update]] = _nothing
    pack: Callable[[Any], Tree] = _memory_of
    unpack: Callable[[Any, Mapping[str, Array]], Any] = _as_memory
    seen: Callable[[Any, Any], Any] = _unchanged
    early: bool = False
    past: Callable[[Params, Any], Mapping[str, Update]] = _nothing
    mixed: Callable[[Params, Any, Rest], Any] = _unmixed

    def __post_init__(self) -> None:
        # the module with the paper's equations: a cell shows its docstring and code
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


def _followed(updates: Mapping[str, Update], carry: Carry) -> Rest:
    """Return the carry's fields that have updates, before and after a step."""
    old = {name: getattr(carry, name) for name in updates}
    return Rest(old, {name: update.of(old[name]) for name, update in updates.items()})

"""Attention: where in a source to look, given a query. Every attention returns its weights.

An `Attention` is a value made of pure functions. Arrays that depend on the source alone are computed once per sentence
and returned as a `Memory`, which each query then reads. Weights are ``[B, S]``, exactly 0 on padding, and sum to 1 over
the real source positions (or to less where an attention's docstring says so); a source without real positions gives
weights and a context of zeros.

Most attentions look only at the query and the source. Those that use where they looked before have a state, a tree of
arrays ``[B, ...]``, passed from query to query; the state of the others is an empty tuple.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from jaxseq.cells._checks import check_mask
from jaxseq.cells._init import check_sizes
from jaxseq.cells._recipe import Made, Recipe
from jaxseq.initializers import Initializer, glorot, zeros
from jaxseq.notation import Array, Key, Params, Tree

P = TypeVar("P")


class Memory(NamedTuple):
    """A source prepared for reading.

    Fields:
      keys: ``[B, S, A]``, compared with the query (``[B, S, 0]`` for an attention without keys).
      values: ``[B, S, K]``, averaged by the weights, zero on padding.
      mask: bool ``[B, S]``.
    """

    keys: Array
    values: Array
    mask: Array


class AttentionInit(Protocol):
    """Makes params: ``(key, query_size, value_size, units, *, dtype=float32, ...) -> params``."""

    def __call__(self, key: Key, query_size: int, value_size: int, units: int, /, *args: Any, **options: Any) -> Params:
        """Return params for Q = query_size, K = value_size, A = units. Consumes `key`."""


class Remember(Protocol):
    """Prepares a source for reading: ``(params, values, mask=None) -> memory``."""

    def __call__(self, params: Any, values: Array, mask: Array | None = None, /) -> Any:
        """Return a `Memory`, or a NamedTuple with its fields and others, every leaf ``[B, ...]``.

        Args:
          params: the attention's parameters.
          values: the source ``[S, B, K]``, time-major like every sequence.
          mask: bool ``[S, B]``, True where a position is real; None if all are.
        """


class InitialState(Protocol):
    """The state before the first query: ``(params, memory) -> state``."""

    def __call__(self, params: Any, memory: Any, /) -> Tree:
        """Return the state, every leaf ``[B, ...]``; an empty tuple for an attention without one."""


class Attend(Protocol):
    """Reads a source with a query: ``(params, memory, state, query) -> (state, (context, weights))``."""

    def __call__(self, params: Any, memory: Any, state: Any, query: Array, /) -> tuple[Any, tuple[Array, Array]]:
        """Return the new state, and ``(context [B, K], weights [B, S])`` of a ``query [B, Q]``.

        Args:
          params: the attention's parameters.
          memory: from `Remember`.
          state: the state after the previous query, of the same type as the new one.
          query: ``[B, Q]``, compared with the source.
        """


def no_state(params: Params, memory: Any) -> Tree:
    """Return an empty tuple: the state of an attention that looks only at the query and the source."""
    return ()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Attention(Made):
    """An attention: a value made of pure functions, compared and pickled by name or by the call that made it.

    Fields:
      init: ``(key, query_size, value_size, units, *, dtype=float32, ...) -> params``; consumes `key`.
      remember: ``(params, values [S, B, K], mask [S, B] or None) -> Memory`` (or a custom NamedTuple with these
        fields).
      attend: ``(params, memory, state, query [B, Q]) -> (state, (context [B, K], weights [B, S]))``.
      name: for error messages and the command line.
      initial_state: ``(params, memory) -> state`` before the first query; every leaf is ``[B, ...]``.
      reference: the publication with the equations.
      recipe: the call that made it; see `jaxseq.cells.made`.

    Example:
      >>> from jaxseq.attention import location
      >>> params = location.init(jax.random.key(0), 2, 4, units=6)
      >>> memory = location.remember(params, jnp.ones((5, 3, 4)))  # [S, B, K]
      >>> state = location.initial_state(params, memory)
      >>> state, (context, weights) = location.attend(params, memory, state, jnp.ones((3, 2)))
      >>> context.shape, weights.shape
      ((3, 4), (3, 5))
      >>> location.with_(width=5)
      <Attention location>
    """

    init: AttentionInit
    remember: Remember
    attend: Attend
    name: str = "attention"
    initial_state: InitialState = no_state
    reference: str = ""
    recipe: Recipe | None = dataclasses.field(default=None, init=False)  # a copy made with other fields has no recipe

    def __repr__(self) -> str:
        return f"<Attention {self.name}>"


# --- parts that attentions have in common ----------------------------------------------------------------------------


def init_of(params_type: Callable[..., P], **shapes: str) -> InitOf[P]:
    """Return an ``init(key, query_size, value_size, units, *, dtype=float32, kernel, bias)`` for given shapes.

    A shape is written in the letters Q, K and A: ``W="Q+K A"`` is a matrix. An axis written _ has length 1; only the
    initializer sees it, and it is then dropped: ``v="A _"`` is a vector drawn like the column of a matrix. Parameters
    whose names begin with b are drawn by `bias` (zeros), all others by `kernel` (Glorot uniform). The key is split into
    one for each parameter, in order.

    Args:
      params_type: called with the parameters, by name.
      shapes: the shape of every parameter.

    Example:
      >>> class DotParams(NamedTuple):
      ...     W: Array
      ...     v: Array
      >>> params = init_of(DotParams, W="Q A", v="A _")(jax.random.key(0), 2, 3, units=4)
      >>> params.W.shape, params.v.shape
      ((2, 4), (4,))
    """
    return InitOf(params_type, tuple(shapes.items()))


@dataclasses.dataclass(frozen=True)
class InitOf(Generic[P]):
    """The result of `init_of`: a function that can be pickled and compared."""

    params_type: Callable[..., P]
    shapes: tuple[tuple[str, str], ...]

    def __call__(
        self,
        key: Key,
        query_size: int,
        value_size: int,
        units: int,
        *,
        dtype: Any = jnp.float32,
        kernel: Initializer = glorot,
        bias: Initializer = zeros,
    ) -> P:
        """Return parameters for Q = query_size, K = value_size, A = units. Consumes `key`.

        Raises:
          InputError: if a size is not a whole number above 0.
        """
        check_sizes("init of an attention", query_size=query_size, value_size=value_size, units=units)
        letters = {"Q": query_size, "K": value_size, "A": units, "_": 1}
        made = {}
        for k, (name, text) in zip(jax.random.split(key, len(self.shapes)), self.shapes, strict=True):
            axes = text.split()
            shape = tuple(sum(letters[a] if a in letters else int(a) for a in axis.split("+")) for axis in axes)
            # the axis "_" of length 1 gives a vector the fan-in and fan-out of a one-column matrix
            drawn = (bias if name.startswith("b") else kernel)(k, shape, dtype)
            made[name] = drawn.squeeze([n for n, axis in enumerate(axes) if axis == "_"])
        return self.params_type(**made)


def masked_softmax(scores: Array, mask: Array) -> Array:
    """Return softmax over the last axis of ``scores [..., S]``: exactly 0 where the mask is False, never NaN.

    Example:
      >>> masked_softmax(jnp.zeros(3), jnp.array([True, True, False])).tolist()
      [0.5, 0.5, 0.0]
    """
    lowest = jnp.full_like(scores, jnp.finfo(scores.dtype).min)  # finite: -inf would turn an all-padding row into NaN
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, scores, lowest)), jnp.zeros_like(scores))


def batch_first(values: Array, mask: Array | None) -> tuple[Array, Array]:
    """Return ``values [B, S, K]``, zero on padding, and ``mask [B, S]`` of a time-major source."""
    if mask is None:
        mask = jnp.ones_like(values[..., 0], bool)  # made from values, so it is sharded like them
    check_mask("attention", mask, values.shape[:-1])
    # a weight of exactly 0 times NaN would be NaN
    values = jnp.where(mask[..., None], values, jnp.zeros_like(values))
    return jnp.moveaxis(values, 0, -2), jnp.moveaxis(mask, 0, -1)


def projected(params: Any, values: Array, mask: Array | None = None) -> Memory:
    """Return the memory whose keys are ``h_j U``: the `remember` of an attention with a matrix ``U [K, A]``."""
    values, mask = batch_first(values, mask)
    return Memory(values @ params.U, values, mask)


def read(weights: Array, values: Array) -> Array:
    """Return the weighted sum over the source, ``[B, K]`` of ``weights [B, S]`` and ``values [B, S, K]``."""
    return jnp.einsum("...s,...sk->...k", weights, values)


def softmax_of(score: Callable[[Any, Any, Array], Array]) -> Attend:
    """Return the `attend` of an attention without state, given its ``score(params, memory, query) -> [B, S]``."""

    def attend(params: Any, memory: Any, state: Tree, query: Array) -> tuple[Tree, tuple[Array, Array]]:
        weights = masked_softmax(score(params, memory, query), memory.mask)
        return state, (read(weights, memory.values), weights)

    return attend


def over_source(a: Array) -> Array:
    """Return ``[B, A]`` as ``[B, 1, A]``, to broadcast over source positions."""
    return a[..., None, :]

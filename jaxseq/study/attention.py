"""Where an attention looked: entropy of each row, coverage of each column, and what a score is made of.

All take the weights of a run, ``[T, B, S]``: `Attended.weights` of `jaxseq.attention.with_attention`, which are exactly
0 on padding. `decompose` opens one step: an additive attention's score is a sum over its A hidden units, a product's
over the features compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxseq.attention import Attention
from jaxseq.attention._base import over_source
from jaxseq.attention._location import slide
from jaxseq.errors import InputError
from jaxseq.notation import Array, Params, Tree


def entropy(weights: Array) -> Array:
    """Return the entropy of each row in nats, ``[T, B]`` of ``weights [T, B, S]``: 0 for one place, ln S for all alike.

    Of weights that sum to less than 1 (monotonic, local) it is the same sum, and no entropy.

    Example:
      >>> import jax.numpy as jnp
      >>> [round(float(e), 4) for e in entropy(jnp.array([[0.0, 1.0], [0.5, 0.5]]))]
      [0.0, 0.6931]
    """
    some = weights > 0
    return (weights * -jnp.log(jnp.where(some, weights, jnp.ones_like(weights)))).sum(-1)


def coverage(weights: Array, mask: Array | None = None) -> Array:
    """Return how much each source position got in all real steps together, ``[B, S]`` of ``weights [T, B, S]``.

    Args:
      weights: of every step.
      mask: bool ``[T, B]``, True where a target step is real.

    Example:
      >>> import jax.numpy as jnp
      >>> coverage(jnp.array([[0.0, 1.0], [0.5, 0.5]])).tolist()
      [0.5, 1.5]
    """
    if mask is not None:
        weights = jnp.where(mask[..., None], weights, jnp.zeros_like(weights))
    return weights.sum(0)


class Decomposition(NamedTuple):
    """The scores of one step, taken apart; ``terms.sum(-1) + rest`` is the score.

    Fields:
      terms: ``[B, S, N]``: what each of N parts gives to each score. Parts are the attention's hidden units
        (``v_a tanh(...)``), or the features whose products are added up.
      query: ``[B, S, N]`` or less, broadcasting to it: the query's part inside, ``s W`` of an additive attention, the
        one factor of a product.
      source: the same of the source position, ``h_j U``, the other factor.
      state: the same of where the attention looked before; None where it does not know.
      rest: what all scores have in common, a scalar.
      scores: ``[B, S]``.
      weights: ``[B, S]``, as the attention itself computes them.
    """

    terms: Array
    query: Array
    source: Array
    state: Array | None
    rest: Array
    scores: Array
    weights: Array


def decompose(attention: Attention, params: Params, memory: Any, state: Tree, query: Array) -> Decomposition:
    """Take the scores of one step apart: for additive attentions by hidden unit, for products by feature.

    Args:
      attention: one whose score is such a sum: additive, concat, coverage, location, monotonic, dot, scaled_dot,
        general, local_m or local_p.
      params: its parameters.
      memory: the source, from ``attention.remember``.
      state: the attention's own before the step, ``()`` where it has none.
      query: ``[B, Q]``; `with_attention` asks with the old h.

    Raises:
      InputError: for another attention: multi_head's weights are a mean of several softmaxes, positional's scores are
        blind to the source, and there is no one score to take apart.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.attention import additive
      >>> params = additive.init(jax.random.key(0), 3, 4, units=6)
      >>> memory = additive.remember(params, jnp.ones((9, 2, 4)))
      >>> seen = decompose(additive, params, memory, (), jnp.ones((2, 3)))
      >>> seen.terms.shape, seen.scores.shape
      ((2, 9, 6), (2, 9))
    """
    if attention.name not in PARTS:
        raise InputError(
            f"decompose: the weights of {attention.name} attention are not the softmax of one score that is a sum; "
            f"those of {', '.join(PARTS)} are"
        )
    terms, asked, source, before, rest = PARTS[attention.name](params, memory, state, query)
    rest = jnp.asarray(rest, terms.dtype)
    # from the attention itself, so that a test can compare softmax(scores) with them
    _, (_, weights) = attention.attend(params, memory, state, query)
    return Decomposition(terms, asked, source, before, rest, terms.sum(-1) + rest, weights)


def _hidden(v: Array, query: Array, source: Array, before: Array | None = None, rest: Any = 0.0) -> tuple:
    # [B, S, A], the argument of tanh in Bahdanau's score; summed over A with v it is the score
    inside = over_source(query) + source if before is None else over_source(query) + source + before
    return jnp.tanh(inside) * jnp.broadcast_to(v, inside.shape), over_source(query), source, before, rest


def _product(query: Array, keys: Array, scale: float = 1.0) -> tuple:
    # a source may have a multiple of Q features, such as two directions: the query is repeated to match
    asked = over_source(jnp.concatenate([query] * (keys.shape[-1] // query.shape[-1]), axis=-1)) * scale
    return asked * keys, asked, keys, None, 0.0


def _shifted(a: Array, b: Array) -> Array:
    return a + jnp.broadcast_to(b, a.shape)


def _monotonic(params: Any, memory: Any, state: Tree, query: Array) -> tuple:
    v = params.v * (params.g / jnp.linalg.norm(params.v))
    return _hidden(v, _shifted(query @ params.W, params.b), memory.keys, rest=params.r)


PARTS: dict[str, Callable[[Any, Any, Tree, Array], tuple]] = {
    "additive": lambda p, m, s, q: _hidden(p.v, q @ p.W, m.keys),
    "concat": lambda p, m, s, q: _hidden(p.v, q @ p.W[: q.shape[-1]], m.keys),
    "coverage": lambda p, m, s, q: _hidden(p.v, _shifted(q @ p.W, p.b), m.keys, s[..., None] @ p.w[None]),
    "location": lambda p, m, s, q: _hidden(p.v, _shifted(q @ p.W, p.b), m.keys, slide(p.F, s) @ p.L),
    "monotonic": _monotonic,
    "dot": lambda p, m, s, q: _product(q, m.keys),
    "scaled_dot": lambda p, m, s, q: _product(q, m.keys, m.keys.shape[-1] ** -0.5),
    "general": lambda p, m, s, q: _product(q, m.keys),
    "local_m": lambda p, m, s, q: _product(q, m.keys),
    "local_p": lambda p, m, s, q: _product(q, m.keys),
}
"""By the attention's name: ``(params, memory, state, query) -> (terms, query, source, state, rest)``."""


def diagonal_accuracy(weights: Array, want: Array, mask: Array | None = None) -> Array:
    """Return the share of real steps at which the position looked at most is the one wanted, a scalar.

    Args:
      weights: ``[T, B, S]``.
      want: int ``[T, B]``, the position: ``S - 1 - t`` where a sequence is to be reversed.
      mask: bool ``[T, B]``.

    Example:
      >>> import jax.numpy as jnp
      >>> round(float(diagonal_accuracy(jnp.eye(3)[::-1][:, None], jnp.array([[2], [1], [1]]))), 2)
      0.67
    """
    right = jnp.argmax(weights, -1) == want
    real = jnp.ones(right.shape, bool) if mask is None else mask
    return (right & real).sum(dtype=weights.dtype) / real.sum(dtype=weights.dtype)

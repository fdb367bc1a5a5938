"""Attention maps in numbers: entropy of each row, coverage of each column, and the summands of a score.

All take the weights of a run, ``[T, B, S]``: `Attended.weights` of `jaxseq.attention.with_attention`, which are exactly
0 on padding. `decompose` opens one step: an additive attention's score is a sum over its A hidden units, a product's
over the features compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxseq.attention import Attention
from jaxseq.errors import InputError
from jaxseq.notation import Array, Params, Tree
from jaxseq.study._graph import SUMS, Node, before, computed, sides


def entropy(weights: Array) -> Array:
    """Return the entropy of each row in nats, ``[T, B]`` of ``weights [T, B, S]``: 0 for one place, ln S for all alike.

    Of weights that sum to less than 1 (monotonic, local) it is the same sum, and no entropy.

    Example:
      >>> import jax.numpy as jnp
      >>> [round(float(e), 4) for e in entropy(jnp.array([[0.0, 1.0], [0.5, 0.5]]))]
      [0.0, 0.6931]
    """
    # 0 log 0 is 0: padding has weight 0 and adds nothing
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
    """The scores of one step, decomposed; ``terms.sum(-1) + rest`` is the score.

    Fields:
      terms: ``[B, S, N]``: the contribution of each of N parts to each score. Parts are the attention's hidden units
        (``v_a tanh(...)``), or the features whose products are added up.
      query: ``[B, S, N]`` or less, broadcasting to it: the query's part inside, ``s W`` of an additive attention, the
        one factor of a product.
      source: the same of the source position, ``h_j U``, the other factor.
      state: the same of where the attention looked before; None where it does not know.
      rest: the part that all scores share, a scalar.
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
    """Decompose the scores of one step: by hidden unit for additive attentions, by feature for products.

    The summands are read off the attention's own code: the sum over one axis that query and source enter.

    Args:
      attention: one whose weights come from such a sum: additive, concat, coverage, location, monotonic, dot,
        scaled_dot, general, local_m, local_p, or one of your own.
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
    given = {"params": params, "memory": memory, "state": state, "query": query}

    def looked(given: dict[str, Any]) -> Array:
        return attention.attend(given["params"], given["memory"], given["state"], given["query"])[1][1]

    weights = computed(looked, given)
    every = list(before(weights))
    # `before` yields values in the order of computation: the first such product is the score itself
    score = next((node for node in every if _is_score(node, weights)), None)
    if score is None:
        raise InputError(
            f"decompose: the weights of {attention.name} attention do not come from one score of each source position "
            "that is a sum, as additive's is over its units and dot's over features"
        )
    left, right = (lay(node.value) for lay, node in zip(sides(score), score.inputs, strict=True))
    # a scaled or shifted score, such as scaled_dot's, is still the same sum: terms take the scale
    scores, scale, rest = _used(score, every)
    inside = next((n for n, node in enumerate(score.inputs) if node.of >= _BOTH), None)
    if inside is None:
        asked, source = (left, right) if "query" in score.inputs[0].of else (right, left)
        parts: tuple[Array, Array, Array | None] = (asked * scale, source, None)
    else:
        parts = _within(score.inputs[inside], sides(score)[inside])
    return Decomposition(left * right * scale, *parts, rest, scores.value, weights.value)


_BOTH = {"query", "memory"}


def _is_score(node: Node, weights: Node) -> bool:
    """Return whether a value is a sum over one axis, for each source position, that query and source enter."""
    if node.op != "dot_general" or node.value.shape != weights.value.shape or not node.of >= _BOTH:
        return False
    assert node.made is not None
    return len(node.made.params["dimension_numbers"][0][0]) == 1


def _used(score: Node, every: list[Node]) -> tuple[Node, Array, Array]:
    """Return the score as the weights are computed from it, and the numbers that it is multiplied by and added to."""
    scale, rest = jnp.ones((), score.value.dtype), jnp.zeros((), score.value.dtype)
    while True:
        # followed while one operation with a single number uses the score
        users = [node for node in every if any(one is score for one in node.inputs)]
        (user,) = users if len(users) == 1 else (None,)
        if user is None or not (user.op in ("mul", *SUMS) or (user.op in ("div", "sub") and user.inputs[0] is score)):
            return score, scale, rest
        (other,) = (one for one in user.inputs if one is not score)
        number = _single(other)
        if number is None:
            return score, scale, rest
        if user.op in ("mul", "div"):
            number = number if user.op == "mul" else 1 / number
            scale, rest = scale * number, rest * number
        else:
            rest = rest - number if user.op == "sub" else rest + number
        score = user


def _single(node: Node) -> Array | None:
    """Return the number that a value repeats; None where it is not one number."""
    while node.op == "broadcast_in_dim":
        (node,) = node.inputs
    return node.value.reshape(()) if node.value.size == 1 else None


def _within(hidden: Node, lay: Callable[[Array], Array]) -> tuple[Array, Array, Array | None]:
    """Return the parts of query, source and state in the sum that a hidden layer squashes; a bias is the query's."""
    found: dict[str, Array] = {}
    for node in hidden.inputs[0].summands():
        kind = next((name for name in ("query", "state", "memory") if name in node.of), "query")
        value = lay(node.value)
        found[kind] = found[kind] + value if kind in found else value
    return found["query"], found["memory"], found.get("state")


def diagonal_accuracy(weights: Array, want: Array, mask: Array | None = None) -> Array:
    """Return the share of real steps whose largest weight is at the wanted position, a scalar.

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

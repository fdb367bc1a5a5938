"""Multiplicative and local attentions: dot, scaled dot, general, concat, local-m and local-p.

    dot          e_j = s . h_j                               (8)
    scaled dot   e_j = s . h_j / sqrt(K)                     Vaswani et al., (1)
    general      e_j = s W . h_j                             (8)
    concat       e_j = v . tanh([s; h_j] W)                  (8)
    each with    weights = softmax(e) over the source        (7)

    local-m      p = t, the number of the step               section 3.2, "monotonic alignment"
                 weights = softmax(e) over |j - p| <= D
    local-p      p = S sigmoid(v . tanh(s Wp))               (9), "predictive alignment"
                 weights = softmax(e) over |j - p| <= D, times exp(-(j - p)^2 / (2 (D / 2)^2))   (10)

The local ones score by `general`. Positions j and steps t count from 0, and S is the number of real positions. If no
position is in the window (local-m, more than D steps past the source's end), weights and context are zeros; the weights
of local-p sum to less than 1, as in the paper.

The paper attends with the new hidden state; `with_attention` with the old one, as Bahdanau et al. If a source has K = n
Q features, such as both directions of an encoder, `dot` compares each of its n parts with the query and adds up the
scores. `concat` is `additive` with W and U in one matrix, drawn as a whole.

Reference: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation",
arXiv:1508.04025, sections 3.1 and 3.2; Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.attention._base import (
    Attention,
    Memory,
    batch_first,
    init_of,
    masked_softmax,
    over_source,
    read,
    softmax_of,
)
from jaxseq.cells import made
from jaxseq.errors import InputError
from jaxseq.notation import Array, Key, Params, Tree, wide

WINDOW = 10
"""D of the local attentions: the positions seen on either side of the centre (Luong et al., section 4.2)."""
LUONG = "Luong, Pham & Manning 2015, arXiv:1508.04025, section 3"


def matches(keys: Array, query: Array) -> Array:
    """Return the dot product of ``keys [B, S, Q]`` with ``query [B, Q]`` at every source position, ``[B, S]``."""
    return jnp.einsum("...sq,...q->...s", keys, query)


# --- without parameters ----------------------------------------------------------------------------------------------


def dot_init(key: Key, query_size: int, value_size: int, units: int, **options: Any) -> Params:
    """Return no parameters, whatever the options; refuse sizes that cannot be compared."""
    if value_size % query_size:
        raise InputError(
            f"dot attention: the source's features must be as many as the query's, or a multiple; got {value_size} and "
            f"{query_size}. Attention general takes any sizes"
        )
    return ()


def dot_remember(params: Params, values: Array, mask: Array | None = None) -> Memory:
    """Return the memory whose keys are its values."""
    values, mask = batch_first(values, mask)
    return Memory(values, values, mask)


def dot_score(params: Params, memory: Memory, query: Array) -> Array:
    """Return ``s . h_j``, summed over the parts of Q features of h_j."""
    return matches(memory.keys, jnp.concatenate([query] * (memory.keys.shape[-1] // query.shape[-1]), axis=-1))


def scaled_score(params: Params, memory: Memory, query: Array) -> Array:
    """Return ``s . h_j / sqrt(K)``."""
    return dot_score(params, memory, query) * memory.keys.shape[-1] ** -0.5


dot = Attention(dot_init, dot_remember, softmax_of(dot_score), "dot", reference=LUONG)
"""Dot product of query and source, no parameters: ``e_j = s . h_j``."""

scaled_dot = Attention(
    dot_init,
    dot_remember,
    softmax_of(scaled_score),
    "scaled_dot",
    reference="Vaswani et al. 2017, arXiv:1706.03762",
)
"""Dot product over sqrt(K): ``e_j = s . h_j / sqrt(K)``, of unit variance if s and h_j have it."""


# --- with parameters -------------------------------------------------------------------------------------------------


class GeneralParams(NamedTuple):
    """``W [Q, K]``, between query and source."""

    W: Array


general_init = init_of(GeneralParams, W="Q K")  # `units` is unused here


def general_remember(params: GeneralParams | LocalParams, values: Array, mask: Array | None = None) -> Memory:
    """Return the memory whose keys are ``W h_j``, computed once per sentence."""
    values, mask = batch_first(values, mask)
    return Memory(values @ params.W.T, values, mask)


def general_score(params: Params, memory: Memory, query: Array) -> Array:
    """Return ``s . W h_j``."""
    return matches(memory.keys, query)


general = Attention(general_init, general_remember, softmax_of(general_score), "general", reference=LUONG)
"""Dot product through a matrix: ``e_j = s W . h_j``."""


class ConcatParams(NamedTuple):
    """``W [Q + K, A]``, rows of the query first, and ``v [A]``."""

    W: Array
    v: Array


concat_init = init_of(ConcatParams, W="Q+K A", v="A _")


def concat_remember(params: ConcatParams, values: Array, mask: Array | None = None) -> Memory:
    """Return the memory whose keys are the source's part of ``[s; h_j] W``."""
    values, mask = batch_first(values, mask)
    return Memory(values @ params.W[-values.shape[-1] :], values, mask)


def concat_score(params: ConcatParams, memory: Memory, query: Array) -> Array:
    """Return ``v . tanh([s; h_j] W)``."""
    return jnp.tanh(over_source(query @ params.W[: query.shape[-1]]) + memory.keys) @ params.v


concat = Attention(concat_init, concat_remember, softmax_of(concat_score), "concat", reference=LUONG)
"""A hidden layer on the concatenated query and source position: ``e_j = v . tanh([s; h_j] W)``."""


# --- local -----------------------------------------------------------------------------------------------------------


class LocalMemory(NamedTuple):
    """`Memory`, with ``places``, int ``[B, S]``: the number of real positions before each."""

    keys: Array
    values: Array
    mask: Array
    places: Array


def local_remember(params: GeneralParams | LocalParams, values: Array, mask: Array | None = None) -> LocalMemory:
    """Return the memory of `general`, with places."""
    memory = general_remember(params, values, mask)
    # counted over real positions, so padding before or between them does not shift the window
    return LocalMemory(*memory, jnp.cumsum(memory.mask, axis=-1, dtype=jnp.int32) - 1)


def distances(memory: LocalMemory, centre: Array) -> Array:
    """Return ``j - p``, ``[B, S]``, for ``p [B]``, in its dtype."""
    places = memory.places.astype(centre.dtype)
    return places - jnp.broadcast_to(centre[..., None], (*centre.shape, places.shape[-1]))


def first_step(params: GeneralParams, memory: LocalMemory) -> Array:
    """Return the step number 0 for every row: ``[B]``, in at least float32."""
    # a bfloat16 counter would stop at 256
    return jnp.zeros(memory.mask.shape[:-1], wide(memory.values.dtype))


@made
def local_m_of(window: int = WINDOW) -> Attention:
    """Return local-m: attention within `window` positions of the position with the step's number.

    Raises:
      InputError: if window is below 1.

    Example:
      >>> narrow, params = local_m.with_(window=1), general.init(jax.random.key(0), 2, 2, 2)
      >>> memory = narrow.remember(params, jnp.ones((5, 2)))
      >>> state = narrow.initial_state(params, memory)
      >>> for _ in range(2):
      ...     state, (context, weights) = narrow.attend(params, memory, state, jnp.ones(2))
      >>> (weights > 0).tolist()
      [True, True, True, False, False]
    """
    check_window("local_m", window)

    def attend(params: GeneralParams, memory: LocalMemory, state: Array, query: Array) -> tuple[Array, tuple]:
        near = jnp.abs(distances(memory, state)) <= window
        weights = masked_softmax(matches(memory.keys, query), memory.mask & near)
        return state + 1, (read(weights, memory.values), weights)

    return Attention(general_init, local_remember, attend, "local_m", first_step, LUONG)


class LocalParams(NamedTuple):
    """``W [Q, K]`` for the scores, ``Wp [Q, A]`` and ``v [A]`` for the position."""

    W: Array
    Wp: Array
    v: Array


local_init = init_of(LocalParams, W="Q K", Wp="Q A", v="A _")


@made
def local_p_of(window: int = WINDOW) -> Attention:
    """Return local-p: attention within `window` positions of a position predicted from the query, strongest near it.

    Raises:
      InputError: if window is below 1.

    Example:
      >>> local_p.with_(window=4).init(jax.random.key(0), 2, 3, 5).Wp.shape
      (2, 5)
    """
    check_window("local_p", window)

    def attend(params: LocalParams, memory: LocalMemory, state: Tree, query: Array) -> tuple[Tree, tuple]:
        # eq. 9: p = S sigmoid(v . tanh(W_p s)), where S is the row's number of real positions
        share = jax.nn.sigmoid(jnp.tanh(query @ params.Wp) @ params.v).astype(wide(query.dtype))
        away = distances(memory, memory.mask.sum(-1).astype(share.dtype) * share)
        align = masked_softmax(matches(memory.keys, query), memory.mask & (jnp.abs(away) <= window))
        # eq. 10 with sigma = D / 2: exp(-away^2 / (2 sigma^2)). The weights then sum to less than 1, as in the paper
        weights = align * jnp.exp(-2 * (away / window) ** 2).astype(align.dtype)
        return state, (read(weights, memory.values), weights)

    return Attention(local_init, local_remember, attend, "local_p", reference=LUONG)


def check_window(name: str, window: int) -> None:
    """Check that a window has at least one position on either side."""
    if window < 1:
        raise InputError(f"{name} attention: the window must be at least 1 position to either side; got {window}")


local_m = local_m_of()
"""Local attention around the step's number, D = 10 positions to either side (``with_(window=)`` for others)."""

local_p = local_p_of()
"""Local attention around a predicted position, D = 10 positions to either side (``with_(window=)`` for others)."""

"""Location-sensitive attention: additive attention that also sees the weights of the previous step.

    f_j = sum_m F_m a_{j + m - (r - 1) / 2}                    (8) a = the weights of the step before, zero outside
    e_j = v . tanh(s W + h_j U + f_j L + b)                    (9) weights = softmax(e) over the source

F holds k filters of width r, applied as a cross-correlation (not flipped), as in torch. The weights before the first
step are zeros; the paper does not specify them. Our U, L are the paper's V, U; our v is its w.

Reference: Chorowski, Bahdanau, Serdyuk, Cho & Bengio 2015, "Attention-based models for speech recognition",
arXiv:1506.07503, section 2.1, eqs. 8-9.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxseq.attention._base import Attention, Memory, init_of, masked_softmax, over_source, projected, read
from jaxseq.cells import affine, made
from jaxseq.errors import InputError
from jaxseq.notation import Array


class LocationParams(NamedTuple):
    """``W [Q, A]`` (query), ``U [K, A]`` (source), ``F [r, k]`` (filters), ``L [k, A]``, ``b [A]``, ``v [A]``."""

    W: Array
    U: Array
    F: Array
    L: Array
    b: Array
    v: Array


def slide(filters: Array, weights: Array) -> Array:
    """Convolve ``weights [B, S]`` with ``filters [r, k]``, each centred at its position: ``[B, S, k]``."""
    rows = weights.reshape(-1, weights.shape[-1], 1)
    seen = lax.conv_general_dilated(rows, filters[:, None], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
    return seen.reshape(*weights.shape, filters.shape[-1])


def nowhere(params: LocationParams, memory: Memory) -> Array:
    """Return the weights before the first step: zeros ``[B, S]``."""
    return jnp.zeros(memory.mask.shape, memory.values.dtype)


def attend(params: LocationParams, memory: Memory, state: Array, query: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return the weights as the next state, the context and the weights."""
    hidden = over_source(affine(query, params.W, params.b)) + memory.keys + slide(params.F, state) @ params.L
    weights = masked_softmax(jnp.tanh(hidden) @ params.v, memory.mask)
    return weights, (read(weights, memory.values), weights)


@made
def location_of(filters: int = 10, width: int = 31) -> Attention:
    """Return location-sensitive attention with k = `filters` filters of r = `width` positions.

    The paper has 10 filters of 201 speech frames; 31 positions suit words.

    Raises:
      InputError: if filters is below 1, or width is not odd.

    Example:
      >>> import jax
      >>> location.with_(filters=4, width=5).init(jax.random.key(0), 2, 3, 6).F.shape
      (5, 4)
    """
    if filters < 1 or width < 1 or width % 2 == 0:
        raise InputError(
            f"location attention: expected at least 1 filter, of an odd width; got {filters} of width {width}"
        )
    init = init_of(
        LocationParams, W="Q A", U="K A", F=f"{width} {filters}", L=f"{filters} A", b="A", v="A _"
    )  # fmt: skip
    return Attention(init, projected, attend, "location", nowhere, "Chorowski et al. 2015, arXiv:1506.07503, eqs. 8-9")


location = location_of()
"""Additive attention that also sees its last weights, through 10 filters of 31 positions; ``with_(filters=, width=)``
for others."""

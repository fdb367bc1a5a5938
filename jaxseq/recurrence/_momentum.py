"""The effect of C consecutive steps on a memory with momentum (`Access.momentum`), as matrix products.

A step adds ``S_i = h_i S_(i-1) + key_i^T u_i`` to the memory, ``M_i = d_i M_(i-1) + S_i``, where h_i and d_i are
numbers and ``u_i = value_i - erase_i M_(i-1)``. With D_ij the product of the decays d after step j up to step i, H_ij
that of h, both 0 above the diagonal, and G = D H their matrix product,

    M_i = d_(0,i) M_0 + c_i S_0 + sum_(j <= i) G_ij key_j^T u_j,    c_i = sum_(m <= i) D_im h_(0,m)
    S_i =               h_(0,i) S_0 + sum_(j <= i) H_ij key_j^T u_j

The rest is as in `_chunks`, with G for D: the u of a chunk solve a triangular system, and a loop over chunks passes M_0
and S_0 on. D and H are computed as there, by halving and without division. A padded step adds nothing to the memory:
its column of D is 0. Where sequences begin in a chunk, entries of D and H from before to after it are 0, and later
steps start from the initial memory.

Value and gradient of `titans` at T = 1024, H = 64 took, in milliseconds of processor time on 2 busy cores, 131 by
`deferred` and 26 by this with B = 1, 983 and 309 with B = 8; planned memory was 35 and 16, 273 and 130 MiB.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._memory import Access
from jaxseq.notation import Array
from jaxseq.recurrence._chunks import Pieces, inverse, products, products_since
from jaxseq.recurrence._scan import over_time


class _Paths(NamedTuple):
    """The shares of each write, and of the state before the chunk, in a memory.

    Fields:
      written: share of each step's write at each step, ``[G, B, C, C]``.
      starts: shares at each step of the memory and the last addition before the chunk and, with resets, of the initial
        ones, ``[G, B, C, n]`` with n = 2 or 4.
    """

    written: Array
    starts: Array

    def of_writes(self, x: Array, key: Array) -> Array:
        """Return x's weight on each write, ``[G, B, C, C]``, for x and key ``[G, B, C, K]``."""
        return self.written * jnp.einsum("...ik,...jk->...ij", x, key)

    def of_starts(self, x: Array) -> Array:
        """Return x's weights on the stacked starts: ``[G, B, C, n K]`` for ``x [G, B, C, K]``."""
        parts = self.starts[..., None] * x[..., None, :]
        return parts.reshape(*parts.shape[:-2], -1)

    def at_end(self, key: Array) -> tuple[Array, Array]:
        """Return the shares left after the chunk: of the starts ``[G, B, n]``, of the keys ``[G, B, K, C]``."""
        return self.starts[..., -1, :], jnp.swapaxes(self.written[..., -1, :, None] * key, -1, -2)


def recall_with_momentum(
    access: Access, memory: Array, initial: Array, begun: Pieces | None, real: Array | None, *, early: bool
) -> tuple[Array, Array]:
    """Return ``(memory, reads [G, B, C, V])`` after G chunks of C steps.

    Args:
      access: as for `recall`, with one write and a single decay rate.
      memory: ``[B, 2K, V]`` before the first chunk, the memory stacked on the last addition.
      initial: ``[B, 2K, V]`` at the beginning of a sequence.
      begun: where sequences begin; None if none does.
      real: 1 for steps and 0 for padding, ``[G, B, C]``; None if all are steps.
      early: whether a query reads the memory before its step.
    """
    ((key, value, erase),) = access.writes
    (before, _), (after, added) = (_paths(access, begun, real, early=one) for one in (True, False))
    at, known = before if early else after, None
    if erase is not None:
        X = inverse(before.of_writes(erase, key))
        value, known = X @ value, X @ before.of_starts(erase)

    def sources(S: Array) -> Array:
        """Return the memories that are read, stacked."""
        return S if begun is None else jnp.concatenate([S, jnp.broadcast_to(initial, S.shape)], axis=-2)

    def chunk(S: Array, of: tuple) -> tuple[Array, tuple[Array, Array]]:
        u, known, ends = of
        u = u if known is None else u - known @ sources(S)
        new = [_left(starts, sources(S)) + keys @ u for starts, keys in ends]
        return jnp.concatenate(new, axis=-2), (S, u)

    ends = [paths.at_end(key) for paths in (after, added)]
    last, (S, u) = over_time(chunk, memory, (value, known, ends), reverse=False)
    return last, at.of_starts(access.query) @ sources(S) + at.of_writes(access.query, key) @ u


def _left(starts: Array, sources: Array) -> Array:
    """Return the sources ``[B, n K, V]`` summed with the shares ``starts [B, n]``."""
    n = starts.shape[-1]
    apart = sources.reshape(*sources.shape[:-2], n, sources.shape[-2] // n, sources.shape[-1])
    return jnp.sum(starts[..., None, None] * apart, axis=-3)


def _paths(access: Access, begun: Pieces | None, real: Array | None, *, early: bool) -> tuple[_Paths, _Paths]:
    """Return the shares in the memory after each step (before it if `early`), and in the step's addition."""
    assert access.momentum is not None  # it is why this form is taken
    log = jnp.zeros_like(access.momentum) if access.log_decay is None else access.log_decay
    D, d = products(log, begun, early=early)
    H, h = products(access.momentum, begun)
    D = D if real is None else D * real[..., None, :]
    memory, added = [d, _times(D, h)], [jnp.zeros_like(h), h]
    if begun is not None:
        first, later = begun.first[..., 0], 1 - begun.first[..., 0]
        d, h = products_since(log, begun, early=early), products_since(access.momentum, begun)
        memory = [*(first * a for a in memory), later * d, later * _times(D, h)]
        added = [*(first * a for a in added), jnp.zeros_like(h), later * h]
    return _Paths(D @ H, jnp.stack(memory, axis=-1)), _Paths(H, jnp.stack(added, axis=-1))


def _times(D: Array, h: Array) -> Array:
    return jnp.einsum("...im,...m->...i", D, h)

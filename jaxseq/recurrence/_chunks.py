"""The effect of C consecutive steps on a memory, as matrix products: the chunkwise form of every `Access`.

Number the writes of a chunk in order. u_j is the vector that write j adds for its key: its value minus the value
already stored. With a_(j,i) the product of the decays after write j up to write i,

    S_i = a_(0,i)^T * S_0 + sum_(j <= i) (a_(j,i) * key_j)^T u_j
    u_i = value_i - erase_i S_(i-1)               so that  (I + L) U = V - E S_0,   U = X V - X E S_0

where ``L_ij = (erase_i * a_(j,i)) key_j^T`` below the diagonal, ``E_i = erase_i * a_(0,i)``, and X is the inverse: the
WY form of the delta rule (arXiv:2406.06484, section 3.2; with decays arXiv:2412.06464, section 3.3). A step reads
``query_i S_i``, from the first line. L, X, ``X V`` and ``X E`` are computed for all chunks at once; a loop over chunks
passes S_0 on, and computes U from it.

Decays are never divided by each other: ``a_(0,i) / a_(0,j)`` is 0 / 0 where a chunk forgets everything. Instead a chunk
is halved repeatedly. For j in the first half and i in the second, a_(j,i) is the decay from j to the middle times the
decay from the middle to i. Both are products of decays, so queries and keys are multiplied by at most 1. This is exact
for any decays, 0 included. It takes half the products of a C x C matrix, and needs no weight for each pair of steps and
each feature, as the secondary chunks of arXiv:2312.06635 (section 4.3) do.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq.cells._memory import Access, Write, turned
from jaxseq.notation import Array
from jaxseq.recurrence._scan import over_time

FORGOTTEN = -1e30
"""Smallest logarithm of a decay: its exponential is 0 in every dtype, and its sum over a chunk is finite."""


class Pieces(NamedTuple):
    """Where sequences begin in chunks, as zeros and ones.

    Fields:
      same: ``[G, B, C, C]``, whether two steps of a chunk belong to the same sequence.
      first: ``[G, B, C, 1]``, whether a step belongs to the sequence that began before the chunk.
      last: ``[G, B, C, 1]``, whether it belongs to the sequence of the chunk's last step.
    """

    same: Array
    first: Array
    last: Array


def pieces(resets: Array, dtype: jnp.dtype) -> Pieces:
    """Return where sequences begin, from resets, bool ``[G, B, C]``."""
    number = jnp.cumsum(resets.astype(jnp.int32), axis=-1)
    column, row, last = number[..., :, None], number[..., None, :], number[..., -1:, None]
    return Pieces(*(a.astype(dtype) for a in (column == row, column == 0, column == last)))


def recall(access: Access, memory: Array, initial: Array, begun: Pieces | None, *, early: bool) -> tuple[Array, Array]:
    """Return ``(memory, reads [G, B, C, V])`` after G chunks of C steps.

    Args:
      access: ``query [G, B, C, K]``, values ``[G, B, C, V]`` and so on, with C a power of two and B any axes.
      memory: ``[B, K, V]`` before the first chunk.
      initial: ``[B, K, V]`` at the beginning of a sequence.
      begun: where sequences begin; None if none does.
      early: whether a query reads the memory before its step.
    """
    (log, turn), query, (key, value, erase) = access[2:4], access.query[..., None, :], _stacked(access.writes)
    x = _in_frame(query, turn, early=early)
    k, e = _in_frame(key, turn), None if erase is None else _in_frame(erase, turn)
    C, R = key.shape[-3:-1]

    now = np.tril(np.ones((C, C), bool), -1 if early else 0)[:, None, :, None]
    weights, reading, left = _pairs(x, k, log, begun, np.broadcast_to(now, (C, 1, C, R)), early=early)
    left = jnp.swapaxes(left, -1, -2)
    reading = _of_sources(reading, query, log, turn, begun, early=early)
    if e is None:
        added, known, grown = _flat(value), None, left @ _flat(value)
    else:
        before = np.tril(np.ones((C * R, C * R), bool), -1).reshape(C, R, C, R)
        others, start, _ = _pairs(e, k, log, begun, before)
        X = inverse(others)
        assert erase is not None  # e was computed from it
        added, known, grown = X @ _flat(value), X @ _of_sources(start, erase, log, turn, begun), None

    def chunk(S: Array, at: tuple) -> tuple[Array, tuple[Array, Array | None]]:
        added, known, grown, left, end = at
        if known is not None:
            added = added - known @ _sources(S, initial, begun)
            grown = left @ added
        return end.of(end.kept(S) + grown, initial), (S, None if known is None else added)

    parts = (None if known is None else added, known, grown, None if known is None else left)
    last, (starts, erased) = over_time(chunk, memory, (*parts, _ends(log, turn, begun)), reverse=False)
    added = added if known is None else erased
    return last, reading @ _sources(starts, initial[None], begun) + weights @ added


def _stacked(writes: tuple[Write, ...]) -> tuple[Array, Array, Array | None]:
    """Return keys, values and erasures of several writes, ``[G, B, C, R, ...]``; missing ones are 0."""
    key = jnp.stack([w.key for w in writes], axis=-2)
    like = next(w.value for w in writes if w.value is not None)
    value = jnp.stack([jnp.zeros_like(like) if w.value is None else w.value for w in writes], axis=-2)
    if all(w.erase is None for w in writes):
        return key, value, None
    return key, value, jnp.stack([jnp.zeros_like(w.key) if w.erase is None else w.erase for w in writes], axis=-2)


class _End(NamedTuple):
    """The change of a memory over a chunk. The fields have no axis C, and are None if they change nothing.

    Fields:
      log: summed logarithms of the chunk's decays, ``[G, B, K]``.
      turn: summed angles.
      first: 0 if a sequence begins in the chunk, otherwise 1, ``[G, B, 1]``.
      since: log and turn since the last sequence began.
    """

    log: Array | None
    turn: Array | None
    first: Array | None
    since: tuple[Array | None, Array | None]

    def kept(self, S: Array) -> Array:
        """Return the memory before the chunk after all its decays, without rotations."""
        S = S if self.first is None else self.first[..., None] * S
        return S if self.log is None else jnp.exp(self.log)[..., None] * S

    def of(self, S: Array, initial: Array) -> Array:
        """Return the memory after the chunk, from its decayed and written parts without rotations."""
        S = _after(S, None, self.turn)
        return S if self.first is None else S + (1 - self.first)[..., None] * _after(initial, *self.since)


def _after(S: Array, log: Array | None, turn: Array | None) -> Array:
    """Return a memory after decays and rotations."""
    S = S if turn is None else turned(S, turn[..., None], axis=-2)
    return S if log is None else jnp.exp(log)[..., None] * S


def _ends(log: Array | None, turn: Array | None, begun: Pieces | None) -> _End:
    """Return the effect of each chunk on the memory before it and, where sequences begin, on the initial one."""
    whole = [None if a is None else jnp.sum(a, axis=-2) for a in (log, turn)]
    if begun is None:
        return _End(whole[0], whole[1], None, (None, None))
    since = [None if a is None else _since(a, begun)[..., -1, :] for a in (log, turn)]
    return _End(whole[0], whole[1], begun.first[..., -1, :], (since[0], since[1]))


def _pairs(
    x: Array, k: Array, log: Array | None, begun: Pieces | None, allowed: np.ndarray, *, early: bool = False
) -> tuple[Array, Array, Array]:
    """Return x's weights on the writes of k and on the memory before the chunk, and k decayed to its end.

    Args:
      x: ``[G, B, C, X, K]``, the queries or the erasures, both of which read.
      k: ``[G, B, C, R, K]``, the keys.
      log: logarithms of decays, ``[G, B, C, K]`` or ``[G, B, C, 1]``.
      begun: where sequences begin.
      allowed: bool ``[C, X, C, R]``, whether i reads the write j.
      early: whether x reads before the decays of its step.

    Returns:
      ``(x_i * a_(j,i)) k_j^T``, ``[G, B, C X, C R]``; ``x_i * a_(0,i)``, ``[G, B, C X, K]``; ``k_j * a_(j,C)``.
    """
    factor = None
    if log is None:
        weights = jnp.einsum("...ixk,...jrk->...ixjr", x, k)
    elif log.shape[-1] > 1:
        weights, x, k = _decayed(x, k, jnp.exp(log), early=early)
    else:
        one = jnp.ones_like(log)[..., None]
        factor, since, until = _decayed(one, one, jnp.exp(log), early=early)
        weights, x, k = jnp.einsum("...ixk,...jrk->...ixjr", x, k), x * since, k * until
    if begun is not None:
        same = begun.same[..., :, None, :, None]
        factor, k = same if factor is None else factor * same, k * begun.last[..., None, :]
    weights = weights if factor is None else weights * factor
    weights = jnp.where(allowed.reshape((1,) * (weights.ndim - 4) + allowed.shape), weights, jnp.zeros_like(weights))
    weights = weights.reshape(*weights.shape[:-2], -1)  # one pair at a time: an Explicit mesh refuses both at once
    return _flat(weights), _flat(x), _flat(k)


def _decayed(x: Array, k: Array, decay: Array, *, early: bool) -> tuple[Array, Array, Array]:
    """Return weights ``[..., C, X, C, R]``, 0 for j after i, ``x_i * a_(0,i)`` and ``k_j * a_(j,C)``.

    Blocks of h steps are joined in pairs. A block has x, decayed from the block's beginning; k, decayed to its end; and
    its total decay.
    """
    rows = x.shape[:-3]
    x, k, decay = (jnp.expand_dims(a, len(rows) + 1) for a in (x, k, decay))
    weights = jnp.einsum("...ixk,...jrk->...ixjr", x, k)
    x = x if early else x * decay[..., None, :]
    while x.shape[len(rows)] > 1:
        (x1, x2), (k1, k2), (a1, a2), (w1, w2) = (_in_pairs(a, len(rows)) for a in (x, k, decay, weights))
        corner = jnp.einsum("...ixk,...jrk->...ixjr", x2, k1)
        above = jnp.concatenate([w1, jnp.zeros_like(corner)], axis=-2)
        weights = jnp.concatenate([above, jnp.concatenate([corner, w2], axis=-2)], axis=-4)
        x = jnp.concatenate([x1, _times(x2, a1)], axis=-3)
        k = jnp.concatenate([_times(k1, a2), k2], axis=-3)
        decay = a1 * a2
    weights, x, k = (jnp.squeeze(a, len(rows)) for a in (weights, x, k))
    return weights, x, k


def products(log: Array, begun: Pieces | None, *, early: bool = False) -> tuple[Array, Array]:
    """Return products of numbers after step j up to step i, ``[G, B, C, C]``, and since the chunk began, ``[G, B, C]``.

    Args:
      log: logarithms of the numbers, ``[G, B, C, 1]``.
      begun: where sequences begin; products across a beginning are 0.
      early: whether products end at the step before i; the diagonal is then 0.
    """
    one = jnp.ones_like(log)[..., None]
    factor, since, _ = _decayed(one, one, jnp.exp(log), early=early)
    factor = jnp.tril(factor[..., :, 0, :, 0], -1 if early else 0)
    return factor if begun is None else factor * begun.same, since[..., 0, 0]


def products_since(log: Array, begun: Pieces, *, early: bool = False) -> Array:
    """Return products of numbers since the sequence or the chunk began, ``[G, B, C]``, from logarithms as above."""
    return jnp.exp(_since(log, begun, early=early))[..., 0]


def _in_pairs(a: Array, axis: int) -> tuple[Array, Array]:
    """Return the even and the odd entries along an axis."""
    paired = a.reshape(*a.shape[:axis], a.shape[axis] // 2, 2, *a.shape[axis + 1 :])
    first, second = (lax.index_in_dim(paired, n, axis + 1, keepdims=False) for n in (0, 1))
    return first, second


@jax.custom_jvp
def _times(x: Array, decay: Array) -> Array:
    """Return ``x [..., h, X, K]`` times ``decay [..., 1, K]`` of a block, h a power of two."""
    return x * decay[..., None, :]


@_times.defjvp
def _times_tangent(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, decay), (dx, ddecay) = primals, tangents
    # Repeated by halves, whose transpose is a sum of slices. XLA for CPU makes a separate call for a sum over a middle
    # # axis: 2.0 ms where this takes 0.4, for [16, 8, 8, 8, 64] floats on one core.
    spread = ddecay[..., None, :]
    while spread.shape[-3] < x.shape[-3]:
        spread = jnp.concatenate([spread, spread], axis=-3)
    return _times(x, decay), _times(dx, decay) + x * spread


def _in_frame(x: Array, turn: Array | None, *, early: bool = False) -> Array:
    """Return ``[G, B, C, X, K]`` rotated back by the chunk's rotations so far, so that the memory need not rotate."""
    return x if turn is None else turned(x, -_since(turn, early=early)[..., None, :])


def _of_sources(
    reading: Array, x: Array, log: Array | None, turn: Array | None, begun: Pieces | None, *, early: bool = False
) -> Array:
    """Return the weights on the memory before the chunk, ``[G, B, C X, K]``, and those on the initial one.

    Args:
      reading: weights on the memory before the chunk, as if no sequence began in it.
      x: ``[G, B, C, X, K]``, without decays and rotations.
      log: logarithms of decays.
      turn: angles.
      begun: where sequences begin.
      early: whether x reads before its step.
    """
    if begun is None:
        return reading
    if turn is not None:
        x = turned(x, -_since(turn, begun, early=early)[..., None, :])
    if log is not None:
        x = x * jnp.exp(_since(log, begun, early=early))[..., None, :]
    first = jnp.broadcast_to(begun.first[..., None, :], (*x.shape[:-1], 1))
    return jnp.concatenate([_flat(first) * reading, _flat((1 - first) * x)], axis=-1)


def _sources(S: Array, initial: Array, begun: Pieces | None) -> Array:
    """Return the two memories that these weights read, stacked."""
    return S if begun is None else jnp.concatenate([S, jnp.broadcast_to(initial, S.shape)], axis=-2)


def _since(a: Array, begun: Pieces | None = None, *, early: bool = False) -> Array:
    """Return sums over a step (unless early) and those before it in its sequence and chunk; ``a [G, B, C, K]``."""
    C = a.shape[-2]
    until_now = jnp.asarray(np.tril(np.ones((C, C)), -1 if early else 0), a.dtype)
    if begun is None:
        return jnp.einsum("ij,...jk->...ik", until_now, a)
    return (begun.same * jnp.broadcast_to(until_now, begun.same.shape)) @ jnp.maximum(a, FORGOTTEN)


@jax.custom_jvp
def inverse(L: Array) -> Array:
    """Return ``(I + L)^-1`` of matrices ``[..., n, n]`` that are 0 on and above the diagonal."""
    return _inverse(L)


@inverse.defjvp
def _inverse_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    X = inverse(*primals)
    return X, -(X @ tangents[0] @ X)


def _inverse(L: Array) -> Array:
    """Return the inverse by halves: products that are as accurate as forward substitution.

    A sum of powers of L would need fewer products, but if keys repeat the powers grow, and then cancel.
    """
    n = L.shape[-1]
    if n == 1:
        return jnp.ones_like(L)
    if n % 2:
        return _inverse(jnp.pad(L, [(0, 0)] * (L.ndim - 2) + [(0, 1), (0, 1)]))[..., :n, :n]
    h = n // 2
    first, second = _inverse(jnp.stack([L[..., :h, :h], L[..., h:, h:]]))
    corner = -(second @ L[..., h:, :h] @ first)
    rows = [[first, jnp.zeros_like(corner)], [corner, second]]
    return jnp.concatenate([jnp.concatenate(row, axis=-1) for row in rows], axis=-2)


def _flat(a: Array) -> Array:
    """Return ``[..., C, R, K]`` as ``[..., C R, K]``."""
    return a.reshape(*a.shape[:-3], -1, a.shape[-1])

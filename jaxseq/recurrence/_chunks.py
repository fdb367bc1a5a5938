"""What C steps in a row do to a memory, as products of matrices: the chunkwise form of every `Access`.

Number the writes of a chunk in their order, and let u_j be what the jth adds for its key: its value less what was there.
With a_(j,i) the product of the decays after write j up to write i,

    S_i = a_(0,i)^T * S_0 + sum_(j <= i) (a_(j,i) * key_j)^T u_j
    u_i = value_i - erase_i S_(i-1)               so that  (I + L) U = V - E S_0,   U = X V - X E S_0

where ``L_ij = (erase_i * a_(j,i)) key_j^T`` below the diagonal, ``E_i = erase_i * a_(0,i)``, and X is the inverse: the
WY form of the delta rule (arXiv:2406.06484, section 3.2; with decays arXiv:2412.06464, section 3.3). The query in place
of erase gives what is read. S after the chunk is then ``M S_0 + N``, and what is read ``Q S_0 + R``, where M, N, Q and R
do not depend on S_0: they are computed for all chunks at once, and from chunk to chunk only S_0 is passed on.

Decays are never divided by each other: ``a_(0,i) / a_(0,j)`` is 0 / 0 where a chunk forgets all. A chunk is halved
again and again instead. For j in the first half and i in the second, a_(j,i) is what is left of j at the middle times
what is left of the middle at i. Both are exponentials of sums of logarithms, none of them a difference: exact for any
decays, 0 included, with half the products of a C x C matrix and none of the weights for each pair of steps and feature
that the secondary chunks of arXiv:2312.06635 (section 4.3) need.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._memory import Access, Write, turned
from jaxseq.notation import Array
from jaxseq.recurrence._scan import over_time

FORGOTTEN = -1e30
"""Least logarithm of a decay: in every dtype its exponential is 0, and sums of a chunk of them are finite."""


class Pieces(NamedTuple):
    """Where sequences begin, as zeros and ones.

    Fields:
      same: ``[G, B, C, C]``, whether two steps of a chunk are of one sequence.
      first: ``[G, B, C, 1]``, whether a step is of the sequence that was under way before the chunk.
      last: ``[G, B, C, 1]``, whether it is of the one that is under way after it.
    """

    same: Array
    first: Array
    last: Array


def pieces(resets: Array, dtype: jnp.dtype) -> Pieces:
    """Return the pieces of chunks from marks, bool ``[G, B, C]``."""
    number = jnp.cumsum(resets.astype(jnp.int32), axis=-1)
    column, row, last = number[..., :, None], number[..., None, :], number[..., -1:, None]
    return Pieces(*(a.astype(dtype) for a in (column == row, column == 0, column == last)))


def recall(access: Access, memory: Array, initial: Array, begun: Pieces | None, *, early: bool) -> tuple[Array, Array]:
    """Return ``(memory, reads [G, B, C, V])`` after G chunks of C steps.

    Args:
      access: ``query [G, B, C, K]``, values ``[G, B, C, V]`` and so on, C a power of two; B are any axes.
      memory: ``[B, K, V]`` before the first chunk.
      initial: ``[B, K, V]`` at the beginning of a sequence.
      begun: where sequences begin, None if none does.
      early: whether a query reads the memory before its step.
    """
    log = None if access.log_decay is None else jnp.maximum(access.log_decay, FORGOTTEN)
    turn, query, (key, value, erase) = access.turn, access.query[..., None, :], _stacked(access.writes)
    x, k, e = (_in_frame(a, turn) for a in (query, key, erase))
    C, R = key.shape[-3:-1]

    now = np.tril(np.ones((C, C), bool), -1 if early else 0)[:, None, :, None]
    weights = _weights(x, k, log, begun, np.broadcast_to(now, (C, 1, C, R)), early=early)
    reading = _flat(_from_start(query, log, turn, begun, early=early))
    left = _transposed(_flat(_to_end(key, log, turn, begun)))
    values, moved = _flat(value), None
    if erase is not None:
        before = np.tril(np.ones((C * R, C * R), bool), -1).reshape(C, R, C, R)
        X = inverse(_weights(e, k, log, begun, before))
        values, known = X @ values, X @ _flat(_from_start(erase, log, turn, begun))
        reading, moved = reading - weights @ known, left @ known
    ends = [None if a is None else _since(a, begun)[..., -1, :] for a in (log, turn)]
    whole = None if begun is None else begun.first[..., -1, :, None]

    def chunk(S: Array, at: tuple) -> tuple[Array, Array]:
        grown, moved, (log, turn), whole = at
        new = S if whole is None else whole * S + (1 - whole) * initial
        new = new if log is None else jnp.exp(log)[..., None] * new
        new = new if turn is None else turned(new, turn[..., None], axis=-2)
        return new + grown - (0 if moved is None else moved @ _sources(S, initial, begun)), S

    last, starts = over_time(chunk, memory, (left @ values, moved, ends, whole), reverse=False)
    return last, reading @ _sources(starts, initial[None], begun) + weights @ values


def _stacked(writes: tuple[Write, ...]) -> tuple[Array, Array, Array | None]:
    """Return keys, values and what they erase of several writes, ``[G, B, C, R, ...]``; what is missing is 0."""
    key = jnp.stack([w.key for w in writes], axis=-2)
    like = next(w.value for w in writes if w.value is not None)
    value = jnp.stack([jnp.zeros_like(like) if w.value is None else w.value for w in writes], axis=-2)
    if all(w.erase is None for w in writes):
        return key, value, None
    return key, value, jnp.stack([jnp.zeros_like(w.key) if w.erase is None else w.erase for w in writes], axis=-2)


def _weights(x: Array, k: Array, log: Array | None, begun: Pieces | None, allowed: Any, *, early: bool = False) -> Array:
    """Return ``(x_i * a_(j,i)) k_j^T`` for all i and j, ``[G, B, C X, C R]``, 0 where it is not allowed.

    Args:
      x: ``[G, B, C, X, K]``, what reads.
      k: ``[G, B, C, R, K]``, the keys.
      log: logarithms of decays, ``[G, B, C, K]`` or ``[G, B, C, 1]``.
      begun: where sequences begin.
      allowed: bool ``[C, X, C, R]``.
      early: whether x reads before its step, and so before the decay.
    """
    if log is not None and log.shape[-1] > 1:
        weights, factor = _decayed(x, k, log, early=early)[0], None
    else:
        weights = jnp.einsum("...ixk,...jrk->...ixjr", x, k)
        one = None if log is None else jnp.ones_like(log)[..., None]
        factor = None if log is None or one is None else _decayed(one, one, log, early=early)[0]
    if begun is not None:
        same = begun.same[..., :, None, :, None]
        factor = same if factor is None else factor * same
    if factor is not None:
        weights = weights * factor
    weights = jnp.where(allowed.reshape((1,) * (weights.ndim - 4) + allowed.shape), weights, jnp.zeros_like(weights))
    C, X, _, R = weights.shape[-4:]
    return weights.reshape(*weights.shape[:-4], C * X, C * R)


def _decayed(x: Array, k: Array, log: Array, *, early: bool) -> tuple[Array, Array, Array]:
    """Return ``(x_i * a_(j,i)) k_j^T`` for j up to i, ``[..., C, X, C, R]``, else 0; and sums of log.

    The sums are those over a step and the steps before it, and over the steps after it, ``[..., C, K]``.
    """
    C = x.shape[-3]
    if C == 1:
        return jnp.einsum("...ixk,...jrk->...ixjr", x, k), log, jnp.zeros_like(log)
    (x1, x2), (k1, k2), (log1, log2) = (jnp.split(a, 2, axis=n) for a, n in ((x, -3), (k, -3), (log, -2)))
    halves = (jnp.stack(pair) for pair in ((x1, x2), (k1, k2), (log1, log2)))
    weights, since, until = _decayed(*halves, early=early)
    from_middle = _shifted(since[1]) if early else since[1]
    reader, writer = x2 * jnp.exp(from_middle)[..., None, :], k1 * jnp.exp(until[0])[..., None, :]
    corner = jnp.einsum("...ixk,...jrk->...ixjr", reader, writer)
    rows = [[weights[0], jnp.zeros_like(corner)], [corner, weights[1]]]
    return (
        jnp.concatenate([jnp.concatenate(row, axis=-2) for row in rows], axis=-4),
        jnp.concatenate([since[0], since[1] + since[0][..., -1:, :]], axis=-2),
        jnp.concatenate([until[0] + since[1][..., -1:, :], until[1]], axis=-2),
    )


def _from_start(
    x: Array, log: Array | None, turn: Array | None, begun: Pieces | None, *, early: bool = False
) -> Array:
    """Return ``[G, B, C, X, K]`` as it reads the memory at the beginning of its sequence or chunk.

    Where sequences begin, ``[G, B, C, X, 2 K]``: of the memory before the chunk, and of the initial one.
    """
    if turn is not None:
        x = turned(x, -_since(turn, begun, early=early)[..., None, :])
    if log is not None:
        x = x * jnp.exp(_since(log, begun, early=early))[..., None, :]
    if begun is None:
        return x
    first = begun.first[..., None, :]
    return jnp.concatenate([first * x, (1 - first) * x], axis=-1)


def _to_end(k: Array, log: Array | None, turn: Array | None, begun: Pieces | None) -> Array:
    """Return keys ``[G, B, C, R, K]`` as what they wrote is left after the chunk."""
    after = np.triu(np.ones(2 * k.shape[-3:-2]), 1)
    if turn is not None:
        k = turned(k, _summed(after, turn)[..., None, :])
    if log is not None:
        k = k * jnp.exp(_summed(after, log))[..., None, :]
    return k if begun is None else k * begun.last[..., None, :]


def _since(a: Array, begun: Pieces | None, *, early: bool = False) -> Array:
    """Return sums over a step (unless early) and those before it in its sequence and chunk; ``a [G, B, C, K]``."""
    until_now = np.tril(np.ones(2 * a.shape[-2:-1]), -1 if early else 0)
    return _summed(until_now, a) if begun is None else (begun.same * jnp.broadcast_to(jnp.asarray(until_now, a.dtype), begun.same.shape)) @ a


def _summed(which: np.ndarray, a: Array) -> Array:
    """Return for each step of a chunk the sum over those steps that its row of ``which [C, C]`` tells."""
    return jnp.einsum("ij,...jk->...ik", jnp.asarray(which, a.dtype), a)


def _in_frame(a: Array | None, turn: Array | None) -> Array | None:
    """Return ``[G, B, C, R, K]`` turned back by all turns since the chunk began: a memory there does not turn."""
    if a is None or turn is None:
        return a
    return turned(a, -_since(turn, None)[..., None, :])


def _sources(S: Array, initial: Array, begun: Pieces | None) -> Array:
    """Return the memories that `_from_start` reads, ``[..., K, V]`` or ``[..., 2 K, V]``."""
    return S if begun is None else jnp.concatenate([S, jnp.broadcast_to(initial, S.shape)], axis=-2)


@jax.custom_jvp
def inverse(L: Array) -> Array:
    """Return ``(I + L)^-1`` of matrices ``[..., n, n]`` that are 0 on and above the diagonal."""
    return _inverse(L)


@inverse.defjvp
def _inverse_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    X = inverse(*primals)
    return X, -(X @ tangents[0] @ X)


def _inverse(L: Array) -> Array:
    """Return what `inverse` does, half by half: products, as accurate as forward substitution.

    A sum of powers of L would need fewer, but these grow where keys repeat, and cancel.
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


def _shifted(a: Array) -> Array:
    """Return ``[..., C, K]`` a step later, with zeros first."""
    return jnp.concatenate([jnp.zeros_like(a[..., :1, :]), a[..., :-1, :]], axis=-2)


def _flat(a: Array) -> Array:
    """Return ``[..., C, R, K]`` as ``[..., C R, K]``."""
    return a.reshape(*a.shape[:-3], -1, a.shape[-1])


def _transposed(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)

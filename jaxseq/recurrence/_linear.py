"""Linear recurrences ``y_t = A_t y_{t-1} + b_t`` with block-diagonal A, all T steps in about 2 log2 T rounds.

Two steps compose to one, ``(A2 A1, A2 b1 + b2)``, and `jax.lax.associative_scan` composes neighbours in a tree. The
blocks of one size are an array ``A [T, B, N, K, K]`` with ``b [T, B, N, K]``; a system has one for each size. Small
blocks are split into their K x K entries, each ``[T, B, N]``, whose products XLA fuses; larger ones are multiplied as
matrices.

`smoothed` solves the damped system: it minimises ``sum |y_t - A_t y_{t-1} - b_t|^2 + damping |y_t|^2``. That is a
Levenberg-Marquardt step, which a Kalman smoother computes in parallel (ELK: Gonzalez et al. 2024, "Towards scalable and
stable parallelization of nonlinear RNNs", arXiv:2407.19115, section 4; the filter as a scan: Särkkä & García-Fernández
2021, "Temporal parallelization of Bayesian smoothers", arXiv:1905.13002, section IV).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from jaxseq.notation import Array
from jaxseq.recurrence._scan import added

SMALL = 4
"""Blocks of at most this many numbers are multiplied entry by entry."""

Entries = list[list[Array]]
"""The entries of small blocks, each ``[T, B, N]``."""


def affine_scan(A: Sequence[Array], b: Sequence[Array], *, reverse: bool = False) -> list[Array]:
    """Return ``y_t = A_t y_{t-1} + b_t`` from ``y = 0``, for each block size ``[T, B, N, K]``; linear in b."""
    taken = [(_rows(a), _columns(c)) if c.shape[-1] <= SMALL else (a, c) for a, c in zip(A, b, strict=True)]
    joined = lax.associative_scan(lambda one, two: [*map(_join, one, two)], taken, reverse=reverse)
    return [jnp.stack(y, axis=-1) if isinstance(y, list) else y for _, y in joined]


def apply(A: Sequence[Array], y: Sequence[Array]) -> list[Array]:
    """Return ``A y`` for each block size."""
    return [_apply(a, c) for a, c in zip(A, y, strict=True)]


def _rows(a: Array) -> Entries:
    return [_columns(a[..., i, :]) for i in range(a.shape[-2])]


def _columns(a: Array) -> list[Array]:
    return [a[..., j] for j in range(a.shape[-1])]


def _join(early: tuple, late: tuple) -> tuple:
    """Return the composition of two steps."""
    (A1, b1), (A2, b2) = early, late
    if isinstance(A1, list):
        A = [[added([a * A1[j][k] for j, a in enumerate(row)]) for k in range(len(row))] for row in A2]
        return A, [added([c, *(a * b1[j] for j, a in enumerate(row))]) for row, c in zip(A2, b2, strict=True)]
    return _times(A2, A1), _apply(A2, b1) + b2


def _times(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _apply(a: Array, y: Array) -> Array:
    return _times(a, y[..., None])[..., 0] if y.shape[-1] > SMALL else (a * y[..., None, :]).sum(axis=-1)


def smoothed(A: Sequence[Array], b: Sequence[Array], damping: Array, *, reverse: bool = False) -> list[Array]:
    """Return the damped solution, for each block size ``[T, B, N, K]``; damping ``[B]``."""
    return [_smoothed(a, c, damping, reverse) for a, c in zip(A, b, strict=True)]


def _smoothed(A: Array, b: Array, damping: Array, reverse: bool) -> Array:
    """Filter forwards, then smooth backwards: steps have noise variance 1, observations y = 0 have 1 / damping."""
    identity = jnp.broadcast_to(jnp.eye(A.shape[-1], dtype=A.dtype), A.shape)
    of_b = (damping / (1 + damping))[None, ..., None, None]
    of_a = of_b[..., None]
    turned = _turned(A)
    first = jnp.arange(A.shape[0]) == (A.shape[0] - 1 if reverse else 0)  # the initial y is known: 0
    old = jnp.where(first.reshape(-1, *[1] * (A.ndim - 1)), jnp.zeros_like(A), A)
    elements = (
        (1 - of_a) * old,
        (1 - of_b) * b,
        (1 - of_a) * identity,
        -of_b * _apply(turned, b),
        of_a * _times(turned, A),
    )
    _, mean, spread, _, _ = lax.associative_scan(_filtered, elements, reverse=reverse)
    # the information of the next step about this one: E_t = P_t A' (A' P_t A'^T + 1)^-1 with A' of the step after
    later = _later(A, reverse), _later(b, reverse)
    predicted = _times(_times(later[0], spread), _turned(later[0])) + identity
    back = _turned(_solved(predicted, _times(later[0], spread)))
    rest = mean - _apply(back, _apply(later[0], mean) + later[1])
    return affine_scan([back], [rest], reverse=not reverse)[0]


def _filtered(early: tuple[Array, ...], late: tuple[Array, ...]) -> tuple[Array, ...]:
    """Compose two elements of the filter."""
    (A1, b1, C1, e1, J1), (A2, b2, C2, e2, J2) = early, late
    identity = jnp.broadcast_to(jnp.eye(A1.shape[-1], dtype=A1.dtype), A1.shape)
    forth = _turned(_solved(identity + _times(_turned(J2), _turned(C1)), _turned(A2)))  # A2 (1 + C1 J2)^-1
    back = _turned(_solved(identity + _times(_turned(C1), _turned(J2)), A1))  # A1^T (1 + J2 C1)^-1
    return (
        _times(forth, A1),
        _apply(forth, b1 + _apply(C1, e2)) + b2,
        _times(_times(forth, C1), _turned(A2)) + C2,
        _apply(back, e2 - _apply(J2, b1)) + e1,
        _times(_times(back, J2), A1) + J1,
    )


def _solved(M: Array, B: Array) -> Array:
    """Return ``M^-1 B`` by pivoted elimination, for ``M [..., K, K]``, ``B [..., K, N]``.

    LAPACK's solver deadlocks if rows are sharded over CPU devices.
    """
    K, rows = M.shape[-1], jnp.arange(M.shape[-1]).reshape(*[1] * (M.ndim - 2), -1, 1)

    def eliminate(j: int | Array, both: Array) -> Array:
        column = lax.dynamic_index_in_dim(both, j, axis=-1, keepdims=True)  # [..., K, 1]
        left = (rows >= j).astype(both.dtype)
        size = abs(column) * left + (left - 1)  # -1 in the rows that are done
        pivot = (rows == size.argmax(axis=-2, keepdims=True)).astype(both.dtype)  # one row of [..., K, 1]
        here = (rows == j).astype(both.dtype)
        of = lambda which: (which * both).sum(axis=-2, keepdims=True)  # noqa: E731, a row [..., 1, K + N]
        both = both + (pivot - here) * (of(here) - of(pivot))  # the two rows swapped
        row = of(here) / lax.dynamic_index_in_dim(of(here), j, axis=-1, keepdims=True)
        column = lax.dynamic_index_in_dim(both, j, axis=-1, keepdims=True)
        return both - (column - here) * row

    both = jnp.concatenate([M, B], axis=-1)
    if K <= SMALL:
        for j in range(K):
            both = eliminate(j, both)
        return both[..., K:]
    return lax.fori_loop(0, K, eliminate, both)[..., K:]


def _turned(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


def _later(a: Array, reverse: bool) -> Array:
    """Return at each step the entry of the next step, zeros at the last."""
    none = jnp.zeros_like(a[:1])
    return jnp.concatenate([none, a[:-1]] if reverse else [a[1:], none])

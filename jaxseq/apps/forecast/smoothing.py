"""Exponential smoothing in three forms, fitted by gradient to the loss over the whole horizon.

One recursion, in error-correction form, for level l, trend b and season s of each series (m rows in a season):

    e = z - (l + phi b + s[0])
    l' = l + phi b + alpha e      b' = phi b + alpha beta e      s' = (s[1], ..., s[m-1], s[0] + gamma (1 - alpha) e)
    forecast of step j:  l + (phi + ... + phi^j) b + s[(j - 1) mod m]

| form     | free                            | is                                                               |
|----------|---------------------------------|------------------------------------------------------------------|
| `theta`  | alpha                           | half of the line's slope as drift, fixed season (Assimakopoulos & |
|          |                                 | Nikolopoulos 2000 in the form of Hyndman & Billah 2003)           |
| `level`  | alpha, gamma                    | no trend                                                         |
| `damped` | alpha, beta, gamma, phi, starts | Gardner & McKenzie 1985 with an additive season                  |
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxseq.apps.forecast.simple import filled, targets
from jaxseq.notation import Array

FORMS = ("theta", "level", "damped")
# 0 and 1, which multiply the parameters: all forms are one program
FREE = np.array([[1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]], np.float32)
"""Which of alpha, beta, gamma and (phi, starts) each form fits."""
STEPS, RATE = 120, 0.1
MOST_ROWS, TOGETHER = 1200, 512
"""The most rows that are fitted to, the latest ones, and the most series at once."""
SMOOTH = 0.1
"""Errors below this, in units of a series' scale, count by their square, larger ones by their size."""


class Smoothing(NamedTuple):
    """Parameters and starting state of K forms for N series; the state is that before row `start` of the fitted rows.

    Fields:
      alpha, beta, gamma, phi, level, trend: ``[K, N]``.
      season: ``[K, N, m]``.
      start: int ``[]``.
    """

    alpha: np.ndarray
    beta: np.ndarray
    gamma: np.ndarray
    phi: np.ndarray
    level: np.ndarray
    trend: np.ndarray
    season: np.ndarray
    start: np.ndarray


def season_for(seasons: tuple[int, ...], rows: int) -> int:
    """Return the longest season of up to 200 rows that training rows hold three times; else 1."""
    return max([s for s in seasons if s <= 200 and 3 * s <= rows], default=1)


def fit(z: np.ndarray, season: int, horizon: int) -> Smoothing:
    """Fit every form to every series of ``z [T, N]`` (NaN where missing)."""
    # four seasons at least, however long they are
    start = max(0, len(z) - max(MOST_ROWS, 4 * season))
    parts = [_fit_some(z[start:, n : n + TOGETHER], season, horizon) for n in range(0, z.shape[1], TOGETHER)]
    joined = [np.concatenate(part, axis=1) for part in zip(*parts, strict=True)]
    return Smoothing(*joined, np.array(start))  # type: ignore[call-arg]


def _fit_some(z: np.ndarray, season: int, horizon: int) -> list[np.ndarray]:
    N, K = z.shape[1], len(FORMS)
    states = [_decompose(z[:, n], season) for n in range(N)]
    level, trend, slope, start_season, whole_season = (np.stack(a) for a in zip(*states, strict=True))
    levels = np.stack([level, level, level])
    # theta's drift is half of the slope of a line through all rows
    trends = np.stack([slope / 2, 0 * slope, trend])
    seasons = np.stack([whole_season, start_season, start_season])
    known = np.isfinite(z)
    follow = np.moveaxis(targets(z, np.arange(len(z)), horizon), 1, 0)  # [N, T, h]
    first = known.argmax(0)
    rows = np.arange(len(z)) - first[:, None]
    # errors of the first season rest on the starting state, which is not judged by them
    warm = np.minimum(season, known.sum(0) // 4)
    counted = np.isfinite(follow) & (rows >= warm[:, None])[..., None]
    free = _single(np.repeat(FREE[:, :, None], N, axis=2).transpose(1, 0, 2))  # [4, K, N]
    starts = tuple(map(_single, (levels, trends, seasons)))
    fitted = _descend(_single(z.T), jnp.asarray(known.T), _single(follow), jnp.asarray(counted), free, starts, horizon)
    return [np.asarray(a, float).reshape(K, N, *a.shape[2:]) for a in fitted]


def _single(a: np.ndarray) -> Array:
    return jnp.asarray(np.nan_to_num(a), jnp.float32)


def _decompose(z: np.ndarray, m: int) -> tuple[np.ndarray, ...]:
    """Return starting level and trend, the slope of all, the season at the start and of all rows, by phase of row 0.

    The season is the mean deviation from a centred moving average of one season, shrunk by its F statistic: a season
    at the level of noise is not taken (positive-part James-Stein).
    """
    history, known = filled(z[:, None])[:, 0], np.isfinite(z)
    first, T = int(known.argmax()), len(z)
    some = slice(first, T)
    seasons = [np.zeros(m), np.zeros(m)]
    if m > 1 and T - first >= 2 * m:
        # an even season has no middle row: the average over m + 1 rows counts its ends by half
        weights = np.concatenate([[0.5], np.ones(m - 1), [0.5]]) / m if m % 2 == 0 else np.ones(m) / m
        smooth = np.convolve(history[some], weights, "valid")
        off = (len(weights) - 1) // 2
        rest = history[first + off : first + off + len(smooth)] - smooth
        phase = (np.arange(len(rest)) + first + off) % m
        # the state starts with the season of the first rows; theta's is fixed, and is that of all rows
        seasons = [_seasonal_means(rest[:r], phase[:r], m) for r in (min(len(rest), 4 * m), len(rest))]
    plain = history - seasons[0][np.arange(T) % m]
    rows = np.arange(T - first)
    slope = np.polyfit(rows, (history - seasons[1][np.arange(T) % m])[some], 1)[0] if len(rows) > 2 else 0.0
    n = min(len(rows), max(2 * m, 10))
    # a line through the first rows; the state is that before row 0
    trend, level = np.polyfit(rows[:n], plain[first : first + n], 1) if n > 2 else (0.0, plain[first])
    return np.array(level - trend), np.array(trend), np.array(slope), seasons[0], seasons[1]


def _seasonal_means(rest: np.ndarray, phase: np.ndarray, m: int) -> np.ndarray:
    count = np.maximum(np.bincount(phase, minlength=m), 1)
    means = np.bincount(phase, rest, minlength=m) / count
    means -= means.mean()
    # F compares the variance between the season's means with that within; below 1 the season is noise
    left = len(rest) - m
    within = ((rest - means[phase]) ** 2).sum() / left if left > 0 else np.inf
    between = (count * means**2).sum() / (m - 1)
    return means * max(0.0, 1 - within / between) if between > 0 else np.zeros(m)


def _unpack(raw: tuple[Array, ...], free: Array, starts: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return alpha, beta, gamma, phi, level, trend and season of unconstrained numbers."""
    a, b, g, p, level, trend, season = raw
    bend = jax.nn.sigmoid
    # damping from 0.8, below which a trend is gone after a few steps, to 0.998; 1 for forms without it
    phi = free[3] * (0.8 + 0.198 * bend(p)) + (1 - free[3])
    return (bend(a) * free[0], bend(b) * free[1], bend(g) * free[2], phi, starts[0] + level,
            starts[1] + trend * free[3], starts[2] + season * free[2][..., None])  # fmt: skip


def _states(p: tuple[Array, ...], z: Array, known: Array) -> tuple[Array, ...]:
    """Return level and trend ``[T, K, N]`` and season ``[T, K, N, m]`` after each row of ``z [N, T]``."""
    alpha, beta, gamma, phi, *state = p

    def step(state: tuple[Array, ...], at: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        (level, trend, season), (z, known, begun) = state, at
        # a missing row has error 0: level and trend move on as forecast
        e = jnp.where(known, z - (level + phi * trend + season[..., 0]), jnp.float32(0))
        new = (
            jnp.where(begun, level + phi * trend + alpha * e, level),
            jnp.where(begun, phi * trend + alpha * beta * e, trend),
            jnp.concatenate([season[..., 1:], (season[..., 0] + gamma * (1 - alpha) * e)[..., None]], axis=-1),
        )
        return new, new

    # a series that begins late keeps its starting state until then
    begun = jnp.cumsum(known, axis=1) > 0
    each = tuple(jnp.broadcast_to(a.T[:, None], (a.shape[1], *alpha.shape)) for a in (z, known, begun))
    # [T, K, N]: one scan runs all forms of all series
    return lax.scan(step, tuple(state), each)[1]


@functools.partial(jax.jit, static_argnums=6)
def _descend(
    z: Array, known: Array, follow: Array, counted: Array, free: Array, starts: tuple[Array, ...], horizon: int
) -> tuple[Array, ...]:
    """Return the parameters that Adam finds for the mean error over all origins and steps of the horizon."""
    shape, m = free.shape[1:], starts[2].shape[-1]
    # before the sigmoid; a weak pull, so that a short series does not take extremes
    prior = jnp.array([-0.5, -2.0, -1.5, 0.0], jnp.float32)
    steps = jnp.arange(1, horizon + 1, dtype=jnp.float32)

    def loss(raw: tuple[Array, ...]) -> Array:
        p = _unpack(raw, free, starts)
        level, trend, season = _states(p, z, known)
        sums = jnp.cumsum(p[3][..., None] ** steps, axis=-1)
        path = level[..., None] + trend[..., None] * sums + season[..., np.arange(horizon) % m]  # [T, K, N, h]
        truth, mask = (jnp.moveaxis(a, 1, 0)[:, None] for a in (follow, counted))
        e = jnp.where(mask, path - jnp.broadcast_to(truth, path.shape), jnp.float32(0))
        # pseudo-Huber, as the networks' loss
        error = jnp.sqrt(e * e + jnp.float32(SMOOTH**2)) - jnp.float32(SMOOTH)
        each = error.sum((0, 3)) / jnp.maximum(mask.sum((0, 3)), 1).astype(jnp.float32)
        pull = sum((jnp.square(raw[k] - prior[k]) for k in range(4)), jnp.zeros(shape, jnp.float32))
        # a sum: series share no parameter, so that one gradient fits them all
        return (each + jnp.float32(1e-3) * pull).sum()

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        raw, state = carry
        updates, state = optimise.update(jax.grad(loss)(raw), state)
        return (optax.apply_updates(raw, updates), state), None

    optimise = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    zero = jnp.zeros(shape, jnp.float32)
    raw = (zero - 0.5, zero - 2, zero - 1.5, zero + 1, zero, zero, jnp.zeros_like(starts[2]))
    (raw, _), _ = lax.scan(step, (raw, optimise.init(raw)), None, length=STEPS)
    return _unpack(raw, free, starts)


def paths(model: Smoothing, z: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """Return forecasts ``[K, O, N, h]`` from each origin of ``z [T, N]``, whose row 0 is that of the fitted rows."""
    level, trend, season = model.level, model.trend, model.season
    kept: dict[int, tuple[np.ndarray, ...]] = {}
    wanted, begun = set(origins.tolist()), np.cumsum(np.isfinite(z), axis=0) > 0
    # the recursion of `_states`, in float64 and only up to the last origin
    for t in range(int(model.start), int(origins.max()) + 1):
        e = np.where(np.isfinite(z[t]), z[t] - (level + model.phi * trend + season[..., 0]), 0.0)
        new = level + model.phi * trend + model.alpha * e
        slope = model.phi * trend + model.alpha * model.beta * e
        tail = season[..., :1] + (model.gamma * (1 - model.alpha) * e)[..., None]
        level, trend = np.where(begun[t], new, level), np.where(begun[t], slope, trend)
        season = np.concatenate([season[..., 1:], tail], axis=-1)
        if t in wanted:
            kept[t] = (level, trend, season)
    sums = np.cumsum(model.phi[..., None] ** np.arange(1, horizon + 1), axis=-1)
    turn = np.arange(horizon) % season.shape[-1]
    # an origin before the fitted rows has the starting state
    ends = [kept.get(t, (model.level, model.trend, model.season)) for t in origins.tolist()]
    return np.stack([a[..., None] + b[..., None] * sums + s[..., turn] for a, b, s in ends], axis=1)

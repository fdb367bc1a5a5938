"""Train several networks side by side in one program, on random windows, validated during training."""

from __future__ import annotations

import functools
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxseq.apps.forecast import network as networks
from jaxseq.apps.forecast.network import Design, Network, Window
from jaxseq.cells import Cell
from jaxseq.notation import Array, Key

REPORTS = 8
"""How often a training is validated."""
SMOOTH = 0.1
"""Errors below this, in units of a series' scale, count by their square, larger ones by their size."""
FOR_LINE = 30_000
"""The most windows that the line is fitted to."""


class Rows(NamedTuple):
    """All rows of a panel as a network reads them, with room before and after.

    Fields:
      z: float32 ``[N, before + T + after]``, 0 where missing.
      known: bool, the same shape.
      first: int32 ``[N]``, the first row of each series.
      covariates: float32 ``[N, before + T + after, C]``.
      phase: int32 ``[N]``, how many rows later than that of the first series each series' row of one number is.
    """

    z: Array
    known: Array
    first: Array
    covariates: Array
    phase: Array


def rows_of(design: Design, z: np.ndarray, covariates: np.ndarray, phase: np.ndarray) -> Rows:
    """Return ``z [T, N]`` and ``covariates [T, N, C]`` with `design.rows` rows before and the horizon after."""
    room = ((design.rows, design.horizon), (0, 0))
    # room, so that windows at either end are slices like all others
    z = np.pad(z, room, constant_values=np.nan).T
    covariates = np.moveaxis(np.pad(covariates, (*room, (0, 0))), 1, 0)
    known = np.isfinite(z)
    first = jnp.asarray(known.argmax(1) - design.rows, jnp.int32)
    return Rows(
        jnp.asarray(np.nan_to_num(z), jnp.float32), jnp.asarray(known), first, jnp.asarray(covariates, jnp.float32),
        jnp.asarray(phase, jnp.int32),
    )  # fmt: skip


def windows(design: Design, rows: Rows, series: Array, ends: Array) -> Window:
    """Return the windows that end at row ``ends [B]`` of ``series [B]``."""
    # row t of the panel is `design.rows` further in the padded arrays
    before = lax.broadcasted_iota(jnp.int32, (1, design.rows), 1) + ends[:, None] + 1
    z, known, covariates = (a[series[:, None], before] for a in (rows.z, rows.known, rows.covariates))
    return Window(z.T, known.T, ends + rows.phase[series], jnp.moveaxis(covariates[:, design.reach :], 0, 1))


def gathered(
    design: Design, z: np.ndarray, covariates: np.ndarray, phase: np.ndarray, series: np.ndarray, ends: np.ndarray
) -> Window:
    """Return the windows of ``z [T, N]`` and ``covariates [T, N, C]`` that end at row ``ends [B]`` of ``series [B]``.

    `phase` ``[N]`` is that of `Rows`. In NumPy, so compiled code only sees windows, of one shape, however
    long the series is.
    """
    at = ends + np.arange(1 - design.rows, 1)[:, None]  # [rows, B]
    # at -1 NumPy would read the last row
    rows = np.where(at >= 0, z[np.maximum(at, 0), series], np.nan)
    late = at[design.reach :]
    around = np.where((late >= 0)[..., None], covariates[np.maximum(late, 0), series], 0.0)
    shown, given = (jnp.asarray(a, jnp.float32) for a in (np.nan_to_num(rows), around))
    return Window(shown, jnp.asarray(np.isfinite(rows)), jnp.asarray(ends + phase[series], jnp.int32), given)


@functools.partial(jax.jit, static_argnums=0)
def _views(design: Design, window: Window) -> tuple[Array, Array]:
    line, _, level = networks.look(design, window)
    return line[-1], level[-1]


def fit_line(design: Design, z: np.ndarray, covariates: np.ndarray, cut: int, seed: int) -> np.ndarray:
    """Return the line ``[X, h]``: ridge over windows of all series, from rows before `cut`.

    Each window is weighted by the inverse of its size, so no series dominates; targets beyond the 99.5th percentile
    are clipped.
    """
    draw = np.random.default_rng(seed)
    seen = np.cumsum(np.isfinite(z[:cut]), axis=0)
    ends, series = np.nonzero((seen[:-1] >= min(len(design.lags), cut // 3)) & np.isfinite(z[1:cut]))
    chosen = np.sort(draw.choice(len(ends), min(FOR_LINE, len(ends)), replace=False))
    ends, series = ends[chosen], series[chosen]
    phase = np.zeros(z.shape[1], int)  # a line sees no season
    X, level = (np.asarray(a, float) for a in _views(design, gathered(design, z, covariates, phase, series, ends)))
    # targets from the cut on are NaN, and left out below
    limited = np.concatenate([z[:cut], np.full((design.horizon, z.shape[1]), np.nan)])
    Y = limited[ends[:, None] + 1 + np.arange(design.horizon), series[:, None]] - level[:, None]
    # at least 0.3 scales: a window that hardly moves would count without bound
    size = np.maximum(np.abs(X).mean(1, keepdims=True), 0.3)
    X, Y = X / size, Y / size
    most = np.nanquantile(np.abs(Y), 0.995)
    line = np.zeros((X.shape[1], design.horizon))
    for step in range(design.horizon):
        kept = np.isfinite(Y[:, step])
        # a small ridge, of 0.001 a row, since lags of a smooth series are nearly collinear
        A, y = X[kept], np.clip(Y[kept, step], -most, most)
        line[:, step] = np.linalg.solve(A.T @ A + (1e-3 * len(A) + 1e-9) * np.eye(A.shape[1]), A.T @ y)
    return line


class Plan(NamedTuple):
    """The plan of a training: total steps (a multiple of `REPORTS`), windows in a batch, networks, learning rate."""

    steps: int
    batch: int
    networks: int
    rate: float


def plan(windows: int, networks: int) -> Plan:
    """Return the plan for so many windows to train on."""
    # more data, more steps, but less than in proportion
    steps = int(np.clip(30 * np.sqrt(windows), 200, 1200)) // REPORTS * REPORTS
    return Plan(steps, int(np.clip(windows // 4, 16, 128)), networks, 3e-3)


class State(NamedTuple):
    """Networks in training, side by side; leaves ``[networks, ...]``.

    Fields:
      trained: their parameters but for the line's: ``(cell, head)``.
      optimiser: its state.
      kept: `trained` after each report, leaves ``[REPORTS, networks, ...]``, 0 for later reports.
    """

    trained: tuple
    optimiser: optax.OptState
    kept: tuple


class Saving(Protocol):
    """Saves the state of a training, so that it can be resumed."""

    def started(self, state: State) -> tuple[State, int]:
        """Return the state to start from, and how many reports were made."""

    def save(self, state: State, done: int) -> None:
        """Save the state after so many reports."""


def train(
    cell: Cell, design: Design, plan: Plan, rows: Rows, line: np.ndarray, cut: int, seed: int,
    saver: Saving | None = None,
) -> Network:  # fmt: skip
    """Return every report's networks, leaves ``[REPORTS, networks, ...]``: training may be stopped at any of them.

    Only rows before `cut` are trained on. A `saver` is given the state at each report, and may have one to go on from.
    """
    # named, so that a user's default generator does not change the forecast
    key = jax.random.key(seed, impl="threefry2x32")
    kept_line = jnp.asarray(line, jnp.float32)
    state, done = _begun(cell, design, plan, kept_line, key), 0
    if saver is not None:
        state, done = saver.started(state)
    for report in range(done, REPORTS):
        state = _advanced(cell, design, plan, rows, kept_line, jnp.int32(cut), state, key, jnp.int32(report))
        if saver is not None:
            saver.save(state, report + 1)
    return Network(jnp.broadcast_to(kept_line, (REPORTS, plan.networks, *line.shape)), *state.kept)


def _optimiser(plan: Plan) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(optax.cosine_decay_schedule(plan.rate, plan.steps), weight_decay=1e-3),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _begun(cell: Cell, design: Design, plan: Plan, line: Array, key: Key) -> State:
    """Return the state before the first step."""

    def one(key: Key) -> tuple[tuple, optax.OptState]:
        start = networks.init(jax.random.split(key)[0], cell, design, line)
        # the line keeps its least-squares weights
        trained = (start.cell, start.head)
        return trained, _optimiser(plan).init(trained)

    trained, state = jax.vmap(one)(jax.random.split(key, plan.networks))
    return State(trained, state, jax.tree.map(lambda a: jnp.zeros((REPORTS, *a.shape), a.dtype), trained))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _advanced(
    cell: Cell, design: Design, plan: Plan, rows: Rows, line: Array, cut: Array, state: State, key: Key, report: Array
) -> State:
    """Return the state after one more report, the number of which is given."""
    # rows that a series must have before a step counts: its level needs them
    least = jnp.minimum(jnp.int32(design.level + 2), cut // 4)
    lengths = jnp.maximum(cut - rows.first - least - 1, 1).astype(jnp.float32)
    # all windows are equally likely, whatever their series
    chances = jnp.log(lengths)
    ahead = jnp.arange(1, design.horizon + 1, dtype=jnp.int32)
    # the first half warms the cell up from its zero state and is not trained on
    late = jnp.arange(design.window) >= design.window // 2

    def loss(trained: tuple, key: Key) -> Array:
        k_series, k_end, k_drop = jax.random.split(key, 3)
        series = jax.random.categorical(k_series, chances, shape=(plan.batch,)).astype(jnp.int32)
        ends = (
            cut
            - 2
            - jnp.floor(jax.random.uniform(k_end, (plan.batch,), jnp.float32) * lengths[series]).astype(jnp.int32)
        )
        window = windows(design, rows, series, ends)
        at = ends[None] - jnp.arange(design.window - 1, -1, -1, dtype=jnp.int32)[:, None]  # [window, B]
        follow = at[..., None] + ahead
        place = (series[None, :, None], follow + design.rows)
        # targets that are there, before the cut, of steps that have enough behind them
        counted = (
            rows.known[place] & (follow < cut) & late[:, None, None] & (at >= rows.first[series] + least)[..., None]
        )
        made = networks.forecast(cell, design, Network(line, *trained), window, k_drop)
        e = jnp.where(counted, made - rows.z[place], jnp.float32(0))
        # pseudo-Huber: smooth at 0, and an outlier counts by its size instead of its square
        error = jnp.sqrt(e * e + jnp.float32(SMOOTH**2)) - jnp.float32(SMOOTH)
        return error.sum() / jnp.maximum(counted.sum(), 1).astype(jnp.float32)

    def one(trained: tuple, state: optax.OptState, key: Key) -> tuple[tuple, optax.OptState]:
        keys = jax.random.split(jax.random.split(key)[1], (REPORTS, plan.steps // REPORTS))[report]

        def step(carry: tuple, key: Key) -> tuple[tuple, None]:
            trained, state = carry
            updates, state = _optimiser(plan).update(jax.grad(loss)(trained, key), state, trained)
            return (optax.apply_updates(trained, updates), state), None

        return lax.scan(step, (trained, state), keys)[0]

    trained, optimiser = jax.vmap(one)(state.trained, state.optimiser, jax.random.split(key, plan.networks))
    return State(trained, optimiser, jax.tree.map(lambda all, a: all.at[report].set(a), state.kept, trained))

"""The recurrent network: a linear map of the last rows, plus a cell that learns its residual.

At every step t of a window the network sees rows up to t relative to their own level (the mean of the last season),
and gives all h steps of the horizon at once, so that no error is fed back and a forecast is one program:

    forecast[t] = level[t] + W x[t]  +  head(h[t])          h = cell over x
                  line, by least squares   recurrent, starts at zero

Reference: Lai et al. 2018, "Modeling long- and short-term temporal patterns with deep neural networks", section 3.6,
for the linear path in parallel; Wen et al. 2017, "A multi-horizon quantile recurrent forecaster", for a forecast from
every step of the window.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._unroll import unroll
from jaxseq.affine import Affine
from jaxseq.cells import Cell
from jaxseq.notation import Array, Key, Params
from jaxseq.regularisers import drop_inputs

EXTREME = 4.0
"""Inputs of the cell are squashed to this many units of a series' scale."""

DROP = 0.2
"""Share of the cell's inputs that are zeroed in training, at random for each window."""


class Design(NamedTuple):
    """The sizes of a network, fixed before training; hashable.

    Fields:
      horizon: h.
      seasons: rows in each season.
      lags: how many rows back the line looks, 0 for the present row.
      level: rows whose mean is the level.
      window: steps that the cell runs over.
      hidden: units of the cell.
      covariates: numbers at each step next to the rows.
    """

    horizon: int
    seasons: tuple[int, ...]
    lags: tuple[int, ...]
    level: int
    window: int
    hidden: int
    covariates: int

    @property
    def reach(self) -> int:
        """Rows before the window that its first step reads."""
        return max(self.lags[-1], self.level - 1, self.seasons[0])

    @property
    def rows(self) -> int:
        """Rows that a forecast reads."""
        return self.reach + self.window


def design(horizon: int, seasons: tuple[int, ...], rows: int, hidden: int, covariates: int) -> Design:
    """Return the design for series of so many training rows."""
    m = seasons[0]
    # two seasons, at most 24 rows; of a longer season the rows one and two seasons before the target, and their
    # neighbours
    recent = range(min(2 * m, 24) if m > 1 else 8)
    around = {s * k - 1 + d for s in seasons if s > 1 for k in (1, 2) for d in (-1, 0, 1)}
    # at most a third of the rows, since the first windows need all lags
    lags = sorted(lag for lag in {*recent, *around} if 0 <= lag < max(4, rows // 3))
    # the mean over a whole season does not depend on the place in it
    level = min(m if 1 < m <= 200 else 4, max(1, rows // 4))
    window = int(np.clip(2 * m, 24, 48))
    return Design(horizon, seasons, tuple(lags), level, min(window, max(4, rows // 2)), hidden, covariates)


class Network(NamedTuple):
    """Parameters: the line's ``[X, h]``, the cell's, and the layer from its output to the line's residual."""

    line: Array
    cell: Params
    head: Affine


class Window(NamedTuple):
    """Rows that forecasts are made from.

    Fields:
      rows: float32 ``[reach + window, B]``, scaled, 0 where missing.
      known: bool ``[reach + window, B]``.
      phase: int32 ``[B]``, the last row's number, counted alike for all series: its place in each season.
      covariates: ``[window, B, C]``.
    """

    rows: Array
    known: Array
    phase: Array
    covariates: Array


def init(key: Key, cell: Cell, design: Design, line: Array) -> Network:
    """Return parameters that forecast as the line does: the head starts at zero. Consumes `key`."""
    size = design.covariates + len(design.lags) + 2 + 2 * sum(s > 1 for s in design.seasons)
    params = cell.init(key, size, design.hidden)
    shape = (cell.output_size(params, size), design.horizon)
    return Network(line, params, Affine(jnp.zeros(shape, jnp.float32), jnp.zeros(design.horizon, jnp.float32)))


def look(design: Design, window: Window) -> tuple[Array, Array, Array]:
    """Return the line's inputs ``[window, B, X]``, the cell's ``[window, B, D]``, and the level ``[window, B]``."""
    reach, steps = design.reach, design.window
    # zeroed here too: a row that is not known must count nowhere
    window = window._replace(rows=jnp.where(window.known, window.rows, jnp.float32(0)))
    zero = jnp.float32(0)

    # the rows `lag` before every step of the window are one static slice
    def ago(a: Array, lag: int) -> Array:
        return jax.lax.slice_in_dim(a, reach - lag, reach - lag + steps)

    def change(lag: int) -> Array:
        both = ago(window.known, 0) & ago(window.known, lag)
        return jnp.where(both, ago(window.rows, 0) - ago(window.rows, lag), zero)

    # holes are left out of the mean, which zeros would pull down
    total, count = (
        sum((ago(a, lag).astype(jnp.float32) for lag in range(design.level)), jnp.zeros_like(window.rows[:steps]))
        for a in (window.rows, window.known)
    )
    level = total / jnp.maximum(count, jnp.float32(1))
    # relative to the level, so that a shifted series gives the same inputs; a missing row is at the level
    past = [jnp.where(ago(window.known, lag), ago(window.rows, lag) - level, zero) for lag in design.lags]
    # the modulo is taken in whole numbers: float32 would lose the place after 2**24 rows
    row = window.phase - jnp.arange(steps - 1, -1, -1, dtype=jnp.int32)[:, None]
    turns = [wave(2 * np.pi / s * (row % s).astype(jnp.float32)) for s in design.seasons if s > 1
             for wave in (jnp.sin, jnp.cos)]  # fmt: skip
    line = jnp.concatenate([jnp.stack(past, -1), window.covariates], -1)
    bent = jnp.stack([*past, change(1), change(design.seasons[0])], -1)
    # tanh saturates at an outlier, which the line still sees in full
    bent = EXTREME * jnp.tanh(bent / EXTREME)
    seen = jnp.concatenate([bent, window.covariates, *(turn[..., None] for turn in turns)], -1)
    return line, seen, level


def forecast(cell: Cell, design: Design, network: Network, window: Window, key: Key | None = None) -> Array:
    """Return forecasts ``[window, B, h]`` made at every step of a window, of the h steps after it.

    In training `key`, which is consumed, drops a share `DROP` of the cell's inputs, the same at every step.
    """
    line, seen, level = look(design, window)
    if key is not None:
        seen = drop_inputs(key, DROP, seen)
    # the cell keeps its zero state until the series begins
    begun = jnp.cumsum(window.known, axis=0)[design.reach :] > 0
    _, outs = unroll(cell, network.cell, seen, mask=begun)
    return level[..., None] + line @ network.line + network.head(outs)


AT_ONCE = 1024
"""Windows in a call of the compiled network, at most."""


@functools.lru_cache(maxsize=32)
def compiled(cell: Cell, design: Design) -> Any:
    """Return a jitted ``(networks, window) -> [B, h]``: the mean of several networks' forecasts at the last step."""

    def run(networks: Network, window: Window) -> Array:
        each = jax.vmap(lambda network: forecast(cell, design, network, window)[-1])(networks)
        return each.mean(0)

    return jax.jit(run)

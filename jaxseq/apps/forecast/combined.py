"""Combine simple forecasts and networks by their errors at validation origins, with intervals.

It is fitted twice: to the rows before the validation part, to measure the errors of each forecast and the combination
there; then to all rows, for use. Every array is ``[T, N]`` (rows, series), the series aligned at their ends.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri, stdtrit

from jaxseq.apps.custom import find_cell
from jaxseq.apps.forecast import fit as training, members as simple_members, network as networks, recent
from jaxseq.apps.forecast.members import Members
from jaxseq.apps.forecast.network import Design, Network
from jaxseq.apps.forecast.scaling import Scaling
from jaxseq.apps.forecast.simple import targets
from jaxseq.errors import InputError

ORIGINS = 20
"""The most validation origins."""
HELD = 0.25
"""Share of the training rows, the last ones, for validation; at least the horizon."""
GRID = np.linspace(0, 1, 201)
"""Probabilities at which the size of errors is kept."""
ENOUGH = 200
"""Errors that a step of the horizon needs for quantiles of its own; with fewer, all steps are pooled."""
CAP = 1.5
"""Errors are taken to be at most so many times as large, or as small, as at validation: a change in the validation part
is in the validation errors already."""
MANY_ZEROS = 0.3
"""Whole numbers with this share of zeros are intermittent demand: errors around a mean say little about it."""
INDEPENDENT = 1.5
"""Independent errors in a horizon of validation rows, for the width of intervals; settled on M1 series, and on rolling
origins of them and of the tables that statsmodels ships."""
HARM = 1.03
"""The network is left out if the validation error with it, relative to that without, is above this."""


class Options(NamedTuple):
    """Settings of a model; hashable.

    Fields:
      horizon: steps ahead.
      seasons: rows in each season, the shortest first; ``(1,)`` for none.
      cell: a name of `CELLS`, or where its code is.
      hidden: its units.
      networks: how many are averaged; 0 leaves the network out.
      seed: of the first.
      log: take the logarithm of every series that allows it, or of none; None lets a test decide for each.
    """

    horizon: int
    seasons: tuple[int, ...]
    cell: str = "gru"
    hidden: int = 24
    networks: int = 5
    seed: int = 0
    log: bool | None = None


class Model(NamedTuple):
    """A fitted model.

    Fields:
      scaling: of all rows.
      members: the simple forecasts.
      rmse: ``[K + 1, N]``, validation errors of the simple forecasts and, last, of the network, scaled; infinite
        where it is left out.
      evidence: the number of independent errors behind them.
      network: networks side by side, leaves ``[networks, ...]``; of size 0 where the network has no weight.
      spread: ``[N, h]``, typical size of errors of each series and step on the training rows, scaled.
      sizes: ``[h, 201]``, quantiles of validation errors over `spread`, at the probabilities `GRID`.
      counts: ``[N, 201]``, quantiles of an intermittent series' values over the root of their mean; NaN for others.
      phase: int ``[N]``, as `fit` takes it.
      gain: validation error with the network over that without, geometric mean over series; infinite where it was
        left out.
      stopped: the report at which training was stopped; 0 is the line alone.
    """

    scaling: Scaling
    members: Members
    rmse: np.ndarray
    evidence: np.ndarray
    network: Network
    spread: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    phase: np.ndarray
    gain: np.ndarray
    stopped: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Return ``[K + 1, N]``, at the end of training, of the simple forecasts and, last, of the network."""
        return recent.weights(self.rmse, float(self.evidence))


def design_of(options: Options, rows: int, covariates: int) -> Design:
    """Return the network's design for a panel whose longest series has so many training rows."""
    return networks.design(options.horizon, options.seasons, rows, options.hidden, covariates)


def held_rows(values: np.ndarray, horizon: int) -> int:
    """Return how many of the last rows validation forecasts: a quarter of the shortest series, at least the horizon.

    If a series is too short for that, a third of it: its validation then ends before the horizon does.
    """
    shortest = int(np.isfinite(values).sum(0).min())
    wanted = max(horizon, round(HELD * shortest))
    return wanted if shortest - wanted >= 8 else max(1, shortest // 3)


def origins_between(first: int, last: int, most: int) -> np.ndarray:
    """Return at most so many origins from `first` to `last`, evenly spread, both included."""
    return np.unique(np.linspace(first, max(first, last), most).round().astype(int))


def fit(
    values: np.ndarray, covariates: np.ndarray, options: Options, phase: np.ndarray,
    saver: training.Saving | None = None,
) -> Model:  # fmt: skip
    """Fit the model to training rows ``values [T, N]`` (NaN where missing) and ``covariates [T, N, C]``.

    `phase` ``[N]``: how many rows of the calendar each series ends after the first series. `saver` is given the state
    of both trainings.

    Raises:
      InputError: if training on all rows diverges.
    """
    T, h, seasons = len(values), options.horizon, options.seasons
    inner = T - held_rows(values, h)
    # the logarithm is decided once, on all rows: both fits must be on the same scale
    whole = Scaling.fit(values, seasons[0], options.log)
    early_scaling = Scaling.fit(values[:inner], seasons[0], whole.log)
    z = early_scaling.forward(values)
    origins = origins_between(inner - 1, T - h - 1, ORIGINS)
    truth = targets(z, origins, h)
    # by the fewer rows: on all rows the lag might differ between validation and use
    lag = simple_members.seasonal_lag(z[:inner], seasons[0])
    early = simple_members.fit(z[:inner], seasons, h, lag)
    found = simple_members.paths(early, z, origins, h, seasons)
    single = simple_members.errors(found, truth)
    if lag < seasons[0]:  # too few seasons for their changes: the last value alone has no season
        # infinite error, weight 0
        single[simple_members.NAMES.index("seasonal changes")] = np.inf
    evidence = recent.independent(T - inner, h)
    alone = recent.weights(single, evidence)
    base = simple_members.combine(alone, found)
    rmse, gain, stopped, point = np.concatenate([single, np.full_like(single[:1], np.inf)]), np.inf, 0, base
    design = design_of(options, T, covariates.shape[-1])
    if options.networks:
        every = _trained(options, design, z, covariates, phase, inner, saver)
        # early stopping by the whole combination; report 0 is the line alone, before any training
        for report in range(training.REPORTS + 1):
            path = _network_paths(options, design, _at(every, report), z, covariates, phase, origins)
            if not np.isfinite(path).all():
                continue  # training diverged: an earlier report, or none
            path = simple_members.within_reach(early, path, z, origins, seasons)
            # judged within the combination, where it is used
            both = np.concatenate([found, path[None]])
            weighed = np.concatenate([single, simple_members.errors(path[None], truth)])
            mixed = simple_members.combine(recent.weights(weighed, evidence), both)
            ratio = _relative(mixed, base, truth)
            if ratio < min(gain, HARM):
                rmse, gain, stopped, point = weighed, ratio, report, mixed
    spread = _spread(early, alone, z[:inner], h, seasons)
    # over `spread`, so that errors of all series and steps are of one size and can be pooled
    sizes = _sizes(np.abs(point - truth) / spread, INDEPENDENT * truth.shape[1] * (T - inner) / h)
    # validation errors were measured on the early scale, and the model is used on that of all rows
    change = (early_scaling.scale / whole.scale)[:, None]
    spread, rmse = spread * change, rmse * change[:, 0]
    z = whole.forward(values)
    late = simple_members.fit(z, seasons, h, lag)
    network = _nothing()
    if gain < np.inf:
        # trained anew on all rows, and stopped at the report that validation chose
        network = _at(_trained(options, design, z, covariates, phase, T, saver), stopped)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(network)):
            raise InputError(
                f"the networks' parameters became infinite or NaN in training with --cell {options.cell} and --seed "
                f"{options.seed}; try another of either, or --networks 0 for the simple forecasts only"
            )
    spread = spread * np.clip(_spread(late, alone, z, h, seasons) / spread, 1 / CAP, CAP)
    return Model(whole, late, rmse, np.array(evidence), network, spread, sizes, _counts(values), phase, np.array(gain),
                 np.array(stopped))  # fmt: skip


def _nothing() -> Network:
    empty = np.zeros(0, np.float32)
    return Network(empty, empty, networks.Affine(empty, empty))  # type: ignore[arg-type]


def _trained(
    options: Options, design: Design, z: np.ndarray, covariates: np.ndarray, phase: np.ndarray, cut: int,
    saver: training.Saving | None,
) -> Network:  # fmt: skip
    """Return the networks at every report, trained on rows before `cut`."""
    # rows from the cut on are NaN, so they cannot leak into training
    past = np.where((np.arange(len(z)) < cut)[:, None], z, np.nan)
    line = training.fit_line(design, past, covariates, cut, options.seed)
    known = int(np.isfinite(z).sum())
    plan = training.plan(known, options.networks)
    rows = training.rows_of(design, past, covariates, phase)
    return training.train(find_cell(options.cell), design, plan, rows, line, cut, options.seed, saver)


def _at(every: Network, report: int) -> Network:
    """Return the networks as they were at a report; at report 0 the line alone."""
    # a head of zeros adds nothing to the line
    chosen = jax.tree.map(lambda a: a[max(report - 1, 0)], every)
    return chosen if report else chosen._replace(head=jax.tree.map(jnp.zeros_like, chosen.head))


def _network_paths(
    options: Options, design: Design, network: Network, z: np.ndarray, covariates: np.ndarray, phase: np.ndarray,
    origins: np.ndarray, least: int = 1,
) -> np.ndarray:  # fmt: skip
    """Return the networks' mean forecasts ``[O, N, h]``, in calls of one shape, which holds `least` windows."""
    series, ends = np.tile(np.arange(z.shape[1]), len(origins)), np.repeat(origins, z.shape[1])
    # a power of two: few shapes, and so few compiled programs
    size = min(networks.AT_ONCE, 1 << (max(len(ends), least) - 1).bit_length())
    run, parts = networks.compiled(find_cell(options.cell), design), []
    for first in range(0, len(ends), size):
        some = np.arange(first, first + size) % len(ends)  # the last call is filled up with copies
        window = training.gathered(design, z, covariates, phase, series[some], ends[some])
        parts.append(np.asarray(run(network, window), float))
    return np.concatenate(parts)[: len(ends)].reshape(len(origins), z.shape[1], -1)


def _relative(ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean absolute error of ours over theirs, geometric mean over series."""
    # geometric, so that halving one error weighs as much as doubling another
    a, b = (np.nanmean(np.abs(f - truth), axis=(0, 2)) for f in (ours, theirs))
    kept = np.isfinite(a) & np.isfinite(b)
    return float(np.exp(np.mean(np.log(np.maximum(a[kept], 1e-12)) - np.log(np.maximum(b[kept], 1e-12)))))


def _spread(members: Members, weight: np.ndarray, z: np.ndarray, horizon: int, seasons: tuple[int, ...]) -> np.ndarray:
    """Return ``[N, h]``, the mean absolute error of the simple combination by step, over origins in ``z [T, N]``.

    Halfway, on a logarithmic scale, to the panel's typical one: the error of a short series is a poor estimate, and
    intervals that rely on it are wider for the same coverage.
    """
    begun = np.isfinite(z).argmax(0)
    start = begun + (len(z) - begun) // 5  # before that a series has too few rows
    # at least 41 origins, and more where series and horizon are small: some 40,000 errors in all
    origins = origins_between(int(start.min()), len(z) - 2, max(41, 40_000 // z.shape[1] // horizon))
    found = simple_members.combine(weight, simple_members.paths(members, z, origins, horizon, seasons))
    error = np.abs(found - targets(z, origins, horizon))
    error[origins[:, None] < start] = np.nan
    counts = np.isfinite(error).sum(0)
    mean = np.nansum(error, axis=0) / np.maximum(counts, 1)
    mean = np.where(counts > 0, mean, mean.max(1, keepdims=True))
    # errors do not shrink with the horizon: a later step takes at least the size of an earlier one
    size = np.log(np.maximum(np.maximum.accumulate(mean, axis=1), 1e-9))
    return np.exp((size + size.mean(0)) / 2)


def _counts(values: np.ndarray) -> np.ndarray:
    """Return ``[N, 201]``, quantiles over the root of the mean, of counts with many zeros; NaN for other series."""
    out = np.full((values.shape[1], len(GRID)), np.nan)
    for n, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        # over the root of the mean: the spread of counts grows with it, as Poisson's does
        if (known >= 0).all() and (known == np.round(known)).all() and (known == 0).mean() >= MANY_ZEROS:
            out[n] = np.quantile(known, GRID) / np.sqrt(known.mean())
    return out


def _sizes(ratio: np.ndarray, independent: float = np.inf) -> np.ndarray:
    """Return quantiles ``[h, 201]`` of ``ratio [O, N, h]`` that hold for a new error as well (split conformal).

    Of n errors that are exchangeable with a new one, the k-th smallest is at least as large as it with probability
    k / (n + 1). Those of one series and neighbouring origins are not: where few are `independent`, quantiles are wider
    by Student's t over the normal's, as for a scale that so many errors estimate.

    Reference: Lei et al. 2018, "Distribution-free predictive inference for regression", section 2.2.
    """
    h = ratio.shape[-1]
    steps = [ratio[..., j][np.isfinite(ratio[..., j])] for j in range(h)]
    if min(map(len, steps)) < ENOUGH:
        pooled = ratio[np.isfinite(ratio)]
        steps = [pooled] * h
    out = []
    for errors in steps:
        ordered = np.sort(errors)
        # k = ceil(p (n + 1)), the rank of split conformal prediction
        place = np.ceil(GRID * (len(ordered) + 1)).astype(int) - 1
        out.append(ordered[np.clip(place, 0, len(ordered) - 1)])
    # A size of probability p, two-sided, is a quantile of 0.5 + p / 2. At p = 1 that is infinite, and half a step of
    # the grid below it is taken.
    free, tail = max(independent, 1.0), 0.5 + np.minimum(GRID, 1 - 1 / (2 * len(GRID))) / 2
    wider = np.where(GRID > 0, stdtrit(free, tail) / np.maximum(ndtri(tail), 1e-9), 1.0) if free < 1e4 else 1.0
    # quantiles must rise, and the factor changes from one to the next
    return np.maximum.accumulate(np.stack(out) * wider, axis=1)


class Forecasts(NamedTuple):
    """Forecasts from O origins.

    Fields:
      point: ``[O, N, h]``, the centre of the distribution.
      members: ``[K + 1, O, N, h]``, the simple forecasts and the network's (NaN where it has no weight).
      scaled: ``[O, N, h]``, the centre on the model's scale.
      wider: ``[O, N]``, size of intervals over that at validation.
    """

    point: np.ndarray
    members: np.ndarray
    scaled: np.ndarray
    wider: np.ndarray


def forecast(
    model: Model, options: Options, values: np.ndarray, covariates: np.ndarray, origins: np.ndarray, rows: int
) -> Forecasts:
    """Forecast from ``origins [O]`` of ``values [T, N]``, whose first row is that of the `rows` training rows."""
    z = model.scaling.forward(values)
    h, seasons = options.horizon, options.seasons
    step = recent.stride(z.shape[1], h)
    # forecasts from rows before the origins as well: their errors are known by then, and adapt the weights
    made = recent.needed(origins, rows, h, step)
    found = simple_members.paths(model.members, z, made, h, seasons)
    path = np.full((1, *found.shape[1:]), np.nan)
    if model.network.line.size:
        design = design_of(options, rows, covariates.shape[-1])
        least = z.shape[1] * (1 + recent.recall(h)) // step if len(made) > len(origins) else 1
        path[0] = _network_paths(options, design, model.network, z, covariates, model.phase, made, least)
        path = simple_members.within_reach(model.members, path, z, made, seasons)
    every = np.concatenate([found, path])
    # a network without weight is NaN; 0 times NaN would spoil the sum
    scaled, wider = _adaptively(model, np.nan_to_num(every), z, made, origins, rows)
    chosen = every[:, np.searchsorted(made, origins)]
    return Forecasts(model.scaling.inverse(scaled), np.stack([model.scaling.inverse(f) for f in chosen]), scaled, wider)


def _adaptively(
    model: Model, every: np.ndarray, z: np.ndarray, made: np.ndarray, origins: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the combination ``[O, N, h]`` and by how much its intervals are wider ``[O, N]``."""
    typical, h = float(model.sizes.mean()), every.shape[-1]
    step = recent.stride(z.shape[1], h)
    scaled, wider = [], []
    for origin in origins.tolist():
        times = recent.before(origin, rows, h, step)
        # cut at the origin: targets after it are NaN, so that no later value is used
        error = every[:, np.searchsorted(made, times)] - targets(z[: origin + 1], times, h)
        weight, factor = recent.adapted(
            error, times, origin, model.rmse, model.spread, typical, float(model.evidence), step
        )
        scaled.append((weight[..., None] * every[:, np.searchsorted(made, origin)]).sum(0))
        wider.append(factor)
    return np.stack(scaled), np.stack(wider)


def quantiles(model: Model, found: Forecasts, levels: np.ndarray) -> np.ndarray:
    """Return ``[O, N, h, Q]``: the centre, and errors to both sides as often as validation had them.

    Of an intermittent series: the quantiles of its training values, times the root of the forecast's mean over theirs.
    """
    intermittent = np.isfinite(model.counts[:, :1])
    lift = np.sqrt(np.where(intermittent, found.point.mean(-1, keepdims=True), 0.0))
    parts = []
    for level in levels:
        # both sides have the same sizes: level 0.9 is the upper end of the central 80%
        size = np.array([np.interp(abs(2 * level - 1), GRID, row) for row in model.sizes])  # [h]
        off = np.sign(level - 0.5) * size * model.spread * found.wider[..., None]
        often = np.array([np.interp(level, GRID, row) for row in model.counts])[:, None]  # [N, 1]
        parts.append(np.where(intermittent, often * lift, model.scaling.inverse(found.scaled + off)))
    return np.stack(parts, axis=-1)

"""Check the settings in a forecaster's file, and give the shapes of the arrays that it must hold."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from jaxseq.apps.custom import find_cell
from jaxseq.apps.forecast import combined, members as simple_members, network as recurrent, smoothing
from jaxseq.apps.forecast.autoregression import Autoregression, columns, lags_for
from jaxseq.apps.forecast.calendar import Calendar
from jaxseq.apps.forecast.combined import Model, Options
from jaxseq.apps.forecast.members import Members
from jaxseq.apps.forecast.scaling import Scaling
from jaxseq.apps.forecast.smoothing import Smoothing
from jaxseq.apps.settings import MOST_UNITS


def settings_of(facts: dict[str, Any]) -> tuple[Options, Calendar]:
    """Return the options and the calendar of a file's facts.

    Raises:
      TypeError: if a fact has the wrong type or is above a stated limit; the caller says of which file.
    """
    options, calendar = Options(**_tuples(facts["options"])), Calendar(**_tuples(facts["calendar"]))
    _check(options, calendar, facts)
    return options, calendar


def model_like(options: Options, facts: dict[str, Any]) -> Model:
    """Return the shapes and dtypes of a saved model."""
    # the longest series: rows are aligned at their ends
    N, T, h = len(facts["names"]), max(shape[0] for shape in facts["shapes"]), options.horizon
    double, whole, flag = partial(_shape, float), partial(_shape, int), _shape(bool, N)
    K, m = len(smoothing.FORMS), smoothing.season_for(options.seasons, T)

    def linear(seasons: tuple[int, ...], difference: int) -> Autoregression:
        effects, lags = columns(np.zeros(1, int), seasons).shape[1], len(lags_for(seasons, T - difference))
        return Autoregression(whole(lags), whole(), double(N), double(N, lags), double(N, effects))

    one = double(K, N)
    smooth = Smoothing(one, one, one, one, one, one, double(K, N, m), whole())
    seasonal = linear(options.seasons[:1], facts["lag"])
    members = Members(smooth, linear(options.seasons, 1), linear(options.seasons, 0), seasonal, double(N, h))
    network: Any = combined._nothing()
    # shapes alone: nothing is drawn or compiled to check a file
    if facts["has_network"]:
        # future covariates are given for each step of the horizon
        _, P, _, F, S = facts["shapes"][0]
        design = combined.design_of(options, T, P + F * h + S)
        cell, size = find_cell(options.cell), len(design.lags) + design.covariates
        line = jax.ShapeDtypeStruct((size, h), np.dtype(np.float32))
        drawn = jax.eval_shape(lambda key, line: recurrent.init(key, cell, design, line), jax.random.key(0), line)
        network = jax.tree.map(lambda a: jax.ShapeDtypeStruct((options.networks, *a.shape), a.dtype), drawn)
    scaling = Scaling(flag, double(N), double(N), flag)
    return Model(scaling, members, double(len(simple_members.NAMES) + 1, N), double(), network, double(N, h),
                 double(h, len(combined.GRID)), double(N, len(combined.GRID)), whole(N), double(), whole())  # fmt: skip


def _check(options: Options, calendar: Calendar, facts: dict[str, Any]) -> None:
    """Check the types of a file's facts, and that its sizes are below stated limits.

    Raises:
      TypeError: if one is wrong; the caller says of which file.
    """
    counts = (options.horizon, options.hidden, options.networks)
    longest = max(shape[0] for shape in facts["shapes"])
    whole = (*counts, options.seed, *options.seasons, *calendar.seasons, *(calendar.open or ()), calendar.shift)
    texts = (options.cell, *facts["names"], *facts["notes"], calendar.frequency or "")
    # type, not isinstance: True is an int
    right = all(type(n) is int and n >= 0 for n in whole) and all(isinstance(text, str) for text in texts)
    if not (right and max(counts) <= MOST_UNITS and max(options.seasons) <= longest and options.log in (None, 0, 1)):
        raise TypeError("settings that no forecaster has")


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts with the tuples that JSON made lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}


def _shape(dtype: Any, *shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, np.dtype(dtype))

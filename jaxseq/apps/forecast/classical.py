"""statsforecast's models (the extra `forecast`), fitted once and applied from every origin, for comparison."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence

import numpy as np

from jaxseq.apps.forecast.simple import filled

MODELS = ("AutoETS", "AutoTheta", "AutoARIMA")
MOST_SERIES, MOST_ROWS, LONGEST_SEASON = 20, 3000, 24
"""Beyond these limits they take minutes: AutoETS allows no longer season, and AutoARIMA's time grows with all three."""


def usable(series: int, rows: int, season: int) -> tuple[tuple[str, ...], str]:
    """Return the names of the models to compare with; if there are none, also why."""
    if importlib.util.find_spec("statsforecast") is None:
        return (), 'AutoETS, AutoTheta and AutoARIMA are compared as well after pip install "jaxseq[forecast]"'
    if series > MOST_SERIES or rows > MOST_ROWS or season > LONGEST_SEASON:
        return (), (
            f"AutoETS, AutoTheta and AutoARIMA are left out: they are compared up to {MOST_SERIES} series, {MOST_ROWS} "
            f"rows and a season of {LONGEST_SEASON}"
        )
    return MODELS, ""


def paths(
    names: Sequence[str], values: np.ndarray, origins: np.ndarray, cut: int, horizon: int, season: int
) -> dict[str, np.ndarray]:
    """Return forecasts ``[O, N, h]`` by name of ``values [T, N]``, fitted to the rows before `cut`.

    Missing values are filled from the rows before them. A model that cannot be fitted to a series leaves NaN there.
    """
    from statsforecast import models

    shape = (len(origins), values.shape[1], horizon)
    out = {name: np.full(shape, np.nan) for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n, column in enumerate(values.T):
            begun = int(np.isfinite(column).argmax())
            # these models take no NaN
            series = filled(column[begun:, None], season)[:, 0]
            for name in names:
                try:
                    fitted = getattr(models, name)(season_length=season).fit(series[: cut - begun])
                    for o, origin in enumerate(origins):
                        # with the fitted parameters: a fit at each origin would take as many times as long
                        out[name][o, n] = fitted.forward(series[: origin + 1 - begun], horizon)["mean"]
                except Exception:  # its models raise whatever numba and SciPy do on a series that they cannot fit
                    out[name][:, n] = np.nan
    return out

"""The forecaster: scores, simple forecasts and the combination, against closed forms and independent NumPy."""

import jax
import numpy as np
import pandas as pd
import pytest
import scipy

from jaxseq.apps.forecast import autoregression, combined, members, network, recent, scores, simple, smoothing
from jaxseq.apps.forecast.backtest import LEVELS, OURS, backtest
from jaxseq.apps.forecast.combined import Options
from jaxseq.apps.forecast.forecaster import fit, load
from jaxseq.apps.forecast.scaling import Scaling, grows
from jaxseq.errors import InputError

pytestmark = pytest.mark.usefixtures("in_every_thread_of_a_module")


def seasonal(T=72, noise=1.0, seed=0):
    t = np.arange(T)
    return 100 + t + 10 * np.sin(t * np.pi / 6) + noise * np.random.default_rng(seed).normal(size=T)


def test_scores_are_their_formulas():
    actual, made = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[2.0, 2.0], [1.0, 4.0]])
    assert scores.mae(actual, made) == 1.0
    assert scores.rmse(actual, made) == pytest.approx(np.sqrt(6 / 4))
    assert scores.smape(actual, made) == pytest.approx(200 * (1 / 3 + 0 + 2 / 4 + 1 / 9) / 4)
    assert scores.mase(actual, made, np.array([0.0, 2.0, 4.0, 7.0]), 2) == pytest.approx(1 / 4.5)
    assert scores.coverage(actual, made - 1, made + 1) == 75.0
    assert scores.smape(np.zeros((1, 1)), np.zeros((1, 1))) == 0.0
    assert scores.mase(actual, made, np.ones(5), 1) == np.inf and scores.mase(actual, actual, np.ones(5), 1) == 0.0
    with pytest.raises(InputError, match="one shape"):
        scores.mae(actual, made[0])


def test_crps_of_a_normal_distribution():
    """Gneiting & Raftery 2007, eq. 21: sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))."""
    from scipy.stats import norm

    levels = (np.arange(2000) + 0.5) / 2000
    y = np.array([[0.3, -1.2]])
    quantiles = np.broadcast_to(2 * norm.ppf(levels), (1, 2, 2000))
    z = y / 2
    exact = 2 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert scores.crps(y, quantiles, levels) == pytest.approx(exact.mean(), rel=1e-3)


def test_diebold_mariano_without_overlap_is_a_t_test():
    from scipy.stats import ttest_1samp

    ours, theirs = np.random.default_rng(0).random((2, 30))
    statistic, p = scores.diebold_mariano(ours, theirs, 0)
    expected = ttest_1samp(ours - theirs, 0)
    assert statistic == pytest.approx(expected.statistic) and p == pytest.approx(expected.pvalue)
    assert scores.diebold_mariano(ours, ours, 0)[1] == 1.0


def test_plain_autoregression_is_least_squares():
    z = np.random.default_rng(0).normal(size=(60, 1)).cumsum(0)
    model = autoregression.fit(z, (4,), 0, plain=True)
    lags = model.lags
    rows = np.arange(lags[-1], 60)
    X = np.concatenate([np.ones((len(rows), 1)), z[rows[:, None] - lags, 0]], axis=1)
    expected = np.linalg.lstsq(X, z[rows, 0], rcond=None)[0]
    np.testing.assert_allclose(np.r_[model.intercept, model.weights[0]], expected, rtol=1e-8)
    path = autoregression.paths(model, z, np.array([59]), 3, (4,))[0, 0]
    known = list(z[:, 0])
    for _ in range(3):
        known.append(expected[0] + sum(w * known[-lag] for w, lag in zip(expected[1:], lags, strict=True)))
    np.testing.assert_allclose(path, known[60:], rtol=1e-8)


def test_an_autoregression_never_explodes():
    z = 1.2 ** np.arange(30.0)[:, None]
    path = autoregression.paths(autoregression.fit(z, (1,), 0), z, np.array([29]), 200, (1,))
    assert np.abs(path).max() < 20 * z.max()


def test_smoothing_is_its_recursion():
    z = seasonal()[:, None] / 10
    model = smoothing.fit(z, 12, 6)
    made = smoothing.paths(model, z, np.array([71]), 6)
    for k in range(3):
        a, b, g, phi = (float(getattr(model, name)[k, 0]) for name in ("alpha", "beta", "gamma", "phi"))
        level, trend, season = model.level[k, 0], model.trend[k, 0], list(model.season[k, 0])
        for value in z[:, 0]:
            e = value - (level + phi * trend + season[0])
            level, trend = level + phi * trend + a * e, phi * trend + a * b * e
            season = [*season[1:], season[0] + g * (1 - a) * e]
        expected = [level + sum(phi**i for i in range(1, j + 1)) * trend + season[j - 1] for j in range(1, 7)]
        np.testing.assert_allclose(made[k, 0, 0], expected, rtol=1e-10)
    assert model.beta[0] == 0 and model.gamma[0] == 0 and model.phi[0] == 1
    assert model.beta[2] > 0 and model.gamma[2] > 0 and model.phi[2] < 1


def test_scaling_there_and_back():
    values = np.stack([seasonal(), np.exp(seasonal() / 50), seasonal() - 200], axis=1)
    scaling = Scaling.fit(values, 12)
    np.testing.assert_allclose(scaling.inverse(scaling.forward(values)[..., None])[..., 0], values, rtol=1e-12)
    assert not scaling.log[2]
    t = np.arange(60)
    assert grows(np.exp(0.03 * t) * (3 + np.sin(t * np.pi / 6)), 12)
    assert not grows(100 + t + np.sin(t * np.pi / 6), 12)


def test_simple_forecasts():
    values = np.array([[1.0], [np.nan], [3.0], [4.0], [7.0]])
    assert simple.seasonal_naive(values, np.array([4]), 3, 2).ravel().tolist() == [4.0, 7.0, 4.0]
    assert simple.drift(values, np.array([4]), 2).ravel().tolist() == [8.5, 10.0]
    holes = np.array([[np.nan], [5.0], [2.0], [np.nan], [3.0]])
    assert simple.filled(holes, 2).ravel().tolist() == [5.0, 5.0, 2.0, 5.0, 3.0]
    assert simple.targets(values, np.array([3]), 2)[0, 0, 0] == 7.0


@pytest.mark.parametrize("season", [1, 12])
def test_two_waves_and_a_trend_without_noise_are_forecast_exactly(season):
    """Their recursion has roots of modulus 1, and none of its periods is the season."""
    t = np.arange(96.0)
    y = 1e6 + 300 * t + 1e5 * np.sin(t / 2) + 2e4 * np.cos(1.9 * t)
    found = backtest(y, 12, season=season, networks=0)
    assert not found.forecaster.model.scaling.log[0]
    assert next(s for s in found.table if s.forecast == OURS).rmse < 1e-6 * 1e5


def test_after_a_shift_of_level_weights_and_intervals_follow_the_errors():
    """The level is 50 times as high from before the first origin on: a forecast of the mean there has the error 1."""
    draw = np.random.default_rng(3)
    y = (10 + draw.normal(size=160)) * np.where(np.arange(160) < 125, 1, 50)
    found = backtest(y, 4, networks=0, origins=12)
    score = {s.forecast: s for s in found.table}
    assert score[OURS].mase < 1.1 * min(score["seasonal naive"].mase, score["linear autoregression"].mase)
    assert score[OURS].coverage95 > 80
    weight = found.forecaster.model.weights[:-1, 0]
    assert weight.min() > 0.02 and weight.sum() == pytest.approx(1)


def test_errors_known_at_an_origin_change_weights_as_their_formula_says():
    """Two forecasts, one step: errors 3 and 1 one row ago, validation 1 and 1, which counts as a quarter of a row.

    Their mean squares are then 7.4 and 1; two independent errors give weights as 1/7.4 to 1.
    """
    error = np.array([3.0, 1.0]).reshape(2, 1, 1, 1)
    one = np.ones((1, 1))
    weight, wider = recent.adapted(error, np.array([4]), 5, np.ones((2, 1)), one, 1.0, 2.0)
    np.testing.assert_allclose(weight[:, 0], [1 / 8.4, 7.4 / 8.4])
    mixed = weight[:, 0] @ [3.0, 1.0]
    np.testing.assert_allclose(wider, (0.25 + mixed) / 1.25)
    unknown, same = recent.adapted(error, np.array([5]), 5, np.ones((2, 1)), one, 1.0, 2.0)
    np.testing.assert_allclose(unknown[:, 0], 0.5)
    np.testing.assert_allclose(same, 1.0)


def test_few_independent_errors_make_wider_intervals_by_students_t():
    from scipy.stats import norm, t

    ratio = np.abs(np.random.default_rng(0).normal(size=(400, 1, 1)))
    wide, plain = combined._sizes(ratio, 5.0), combined._sizes(ratio)
    at = int(np.argmin(np.abs(combined.GRID - 0.95)))
    assert wide[0, at] / plain[0, at] == pytest.approx(t.ppf(0.975, 5) / norm.ppf(0.975))


def test_intermittent_demand_has_the_quantiles_of_its_values():
    draw = np.random.default_rng(0)
    y = np.where(draw.random(160) < 0.3, 1 + draw.poisson(4, 160), 0).astype(float)
    found = backtest(y, 6, networks=0)
    truth = found.actual[:, 0]
    empirical = np.broadcast_to(np.quantile(y[: found.origins[0] + 1], LEVELS), found.quantiles[:, 0].shape)
    ours = next(s for s in found.table if s.forecast == OURS)
    assert found.quantiles.min() >= 0 and ours.coverage80 > 75 and ours.coverage95 > 85
    assert ours.crps < 1.1 * scores.crps(truth, empirical, LEVELS)


def test_series_that_end_in_different_months_have_their_own_phase():
    from jaxseq.apps.forecast.forecaster import phases
    from jaxseq.apps.forecast.panel import read

    frames = [pd.DataFrame({"unique_id": name, "ds": pd.date_range(start, periods=60, freq="MS"), "y": seasonal(60)})
              for name, start in (("a", "2018-01-01"), ("b", "2018-06-01"))]  # fmt: skip
    assert phases(read(pd.concat(frames))).tolist() == [0, 5]


def test_a_season_that_the_backtest_leaves_out_is_named():
    """The whole series holds two seasons, the part before the last quarter does not."""
    rng = np.random.default_rng(0)
    fast = {"networks": 0, "origins": 1}
    short, long = (backtest(rng.normal(size=(n, 1)), 3, season=12, **fast) for n in (30, 40))
    assert short.notes == (
        "season 12: the backtest leaves it out, since 22 rows before the test part hold fewer than two",
    )
    assert short.forecaster.options.seasons == (1,) and long.forecaster.options.seasons == (12,) and not long.notes


def test_a_forecast_without_a_number_is_named():
    from jaxseq.apps.forecast.backtest import _complete

    whole, holed = np.ones((2, 3, 4)), np.ones((2, 3, 4))
    holed[0, 1, 2] = np.nan
    kept, notes = _complete({"naive": whole, "AutoARIMA": holed})
    assert list(kept) == ["naive"] and notes == ("AutoARIMA is left out: it gives no number for 1 of 3 series",)


def test_holes_are_filled_from_the_rows_before_alone():
    t = np.arange(60.0)
    line = 3 + 0.5 * t + 10 * (t % 4 == 1)
    holes = line.copy()
    holes[[9, 10, 11, 30, 33, 50]] = np.nan
    late = np.r_[np.full(5, np.nan), holes[:-5]]  # in a panel, a series that begins later
    both = np.stack([holes, late], axis=1)
    found = simple.filled(both, 4)
    np.testing.assert_allclose(found[:, 0], line, rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], np.r_[np.full(5, line[0]), line[:-5]], rtol=1e-12)
    for end in range(6, 60):
        np.testing.assert_array_equal(simple.filled(both[:end], 4), found[:end])
    column = np.array([[np.nan], [2], [np.nan], [5], [np.nan]])
    assert simple.filled(column).ravel().tolist() == [2, 2, 2, 5, 5]
    assert np.isnan(simple.filled(np.full((3, 1), np.nan))).all()


@pytest.fixture(scope="module")
def result():
    return backtest(seasonal(), 6, season=12, networks=2, hidden=4)


def test_a_series_without_noise_is_forecast_exactly():
    found = backtest(seasonal(noise=0.0), 6, season=12, networks=2, hidden=4)
    assert next(s for s in found.table if s.forecast == OURS).rmse < 1e-6


def test_the_table_is_what_the_paths_say(result):
    score = {s.forecast: s for s in result.table}
    y = seasonal()
    truth = np.stack([y[o + 1 : o + 7] for o in result.origins])
    np.testing.assert_array_equal(result.actual[:, 0], truth)
    scale = np.abs(y[12 : result.origins[0] + 1] - y[: result.origins[0] - 11]).mean()
    naive = np.stack([y[o + 1 - 12 : o + 7 - 12] for o in result.origins])
    assert score["seasonal naive"].mase == pytest.approx(np.abs(naive - truth).mean() / scale)
    ours = result.paths[OURS][:, 0]
    assert score[OURS].rmse == pytest.approx(np.sqrt(((ours - truth) ** 2).mean()))
    assert len(result.frame()) == truth.size and "MASE" in result.verdict()


def test_no_forecast_looks_ahead(result):
    """Values changed after an origin change no forecast made at it or before, to the last bit."""
    y = seasonal()
    middle = int(result.origins[5])
    y[middle + 1 :] += 50
    again = backtest(y, 6, season=12, networks=2, hidden=4)
    for name, path in result.paths.items():
        np.testing.assert_array_equal(path[:6], again.paths[name][:6], err_msg=name)
    np.testing.assert_array_equal(result.quantiles[:6], again.quantiles[:6])
    assert np.abs(result.paths[OURS][7:] - again.paths[OURS][7:]).max() > 1


def test_quantiles_rise_and_hold_the_point_forecast(result):
    assert (np.diff(result.quantiles, axis=-1) >= 0).all()
    np.testing.assert_allclose(result.quantiles[..., 10], result.paths[OURS], rtol=1e-6)


@pytest.fixture(scope="module")
def forecaster():
    y = seasonal()
    y[30:33] = np.nan
    return fit(y, 6, season=12, networks=2, hidden=4)


def test_saved_and_loaded_it_forecasts_the_same_bits(forecaster, tmp_path):
    forecaster.save(tmp_path / "model.safetensors")
    other = load(tmp_path / "model.safetensors")
    for a, b in zip(forecaster.predict(), other.predict(), strict=True):
        np.testing.assert_array_equal(a, b)
    later = seasonal(80)[72:]
    np.testing.assert_array_equal(forecaster.predict(later).mean, other.predict(later).mean)


def test_many_forecasts_compile_once(forecaster):
    y = seasonal(200, seed=3)
    forecaster.predict(y[72:73])
    with jax.log_compiles(False), jax.check_tracer_leaks(False):
        run = network.compiled.cache_info().currsize
        sizes = [f._cache_size() for f in _programs(forecaster)]
        for n in range(2, 102):
            forecaster.predict(y[72 : 72 + n])
        assert [f._cache_size() for f in _programs(forecaster)] == sizes
        assert network.compiled.cache_info().currsize == run


def _programs(forecaster):
    from jaxseq.apps.custom import find_cell

    design = combined.design_of(forecaster.options, 72, 0)
    return [network.compiled(find_cell("gru"), design)]


def test_what_is_in_a_hole_does_not_matter():
    """NaN is a hole; a window with one gives the same forecast whatever number the array has there."""
    rng = np.random.default_rng(0)
    design = network.design(4, (1,), 40, 3, 0)
    from jaxseq.apps.forecast.fit import gathered
    from jaxseq.cells import gru

    z = rng.normal(size=(40, 1))
    z[30] = np.nan
    window = gathered(design, z, np.zeros((40, 1, 0)), np.array([0]), np.array([0]), np.array([39]))
    params = network.init(jax.random.key(0), gru, design, jax.numpy.ones((len(design.lags), 4), "float32"))
    params = params._replace(head=params.head._replace(W=params.head.W + 0.5))
    made = network.forecast(gru, design, params, window)
    filled = jax.numpy.where(window.known, window.rows, 1e6)
    assert not bool(window.known.all())
    level = network.look(design, window)[2]
    other = network.forecast(gru, design, params, window._replace(rows=filled))
    np.testing.assert_allclose(made[-1], other[-1], rtol=1e-4)
    assert np.isfinite(level).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_combination_is_weighed_by_the_likelihood_of_its_independent_errors(n):
    """n errors of sizes 1 and 3, each normal with its own maximum-likelihood scale: densities by scipy."""
    truth = np.zeros((n, 1, 1))
    found = np.stack([truth + 1, truth + 3])
    weight = recent.weights(members.errors(found, truth), n)
    density = [scipy.stats.norm.pdf(size, scale=size) ** n for size in (1, 3)]
    np.testing.assert_allclose(weight[:, 0], np.array(density) / sum(density))
    np.testing.assert_allclose(members.combine(weight, found), weight[0, 0] + 3 * weight[1, 0])


def test_an_exact_forecast_gets_all_the_weight_and_one_left_out_none():
    weight = recent.weights(np.array([[0.0], [1e-3], [np.inf]]), recent.SHARPEST)
    np.testing.assert_allclose(weight[:, 0], [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize(("held", "n"), [(5, 1), (8, 1), (20, 2.5), (480, 6)])
def test_validation_rows_hold_an_independent_error_for_each_horizon(held, n):
    assert recent.independent(held, 8) == n


def test_intervals_hold_new_errors_as_often_as_they_say():
    rng = np.random.default_rng(0)
    sizes = combined._sizes(np.abs(rng.normal(size=(400, 10, 1))))
    fresh = np.abs(rng.normal(size=20_000))
    for level in (0.8, 0.95):
        assert (fresh <= np.interp(level, combined.GRID, sizes[0])).mean() == pytest.approx(level, abs=0.01)


def test_nixtlas_frame_and_covariates_known_ahead():
    days = pd.date_range("2024-01-01", periods=60, freq="D")
    promotion = (np.random.default_rng(0).random(67) < 0.3).astype(float)
    frames = [
        pd.DataFrame({"unique_id": name, "ds": days, "y": base + 20 * promotion[:60] + np.arange(60) / 10,
                      "promotion": promotion[:60]})
        for name, base in (("a", 50.0), ("b", 90.0))
    ]  # fmt: skip
    from jaxseq.apps.forecast.panel import read

    plain = fit(pd.concat(frames).drop(columns="promotion"), 3, networks=0).predict().frame()
    assert plain.groupby("series")["time"].first().tolist() == [pd.Timestamp("2024-03-01")] * 2
    known = fit(read(pd.concat(frames), target=("y",), future=("promotion",)), 3, networks=1, hidden=4)
    assert known.predict().mean.shape == (2, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(40, 3.0), "constant"),
        (np.arange(5.0), "5 values"),
        (np.full(40, np.nan), "0 values"),
        (np.r_[np.arange(20.0), np.inf], "infinite"),
    ],
)
def test_what_cannot_be_forecast_is_refused_in_one_sentence(values, message):
    with pytest.raises(InputError, match=message):
        fit(values, 4)


def test_settings_are_checked():
    with pytest.raises(InputError, match="horizon"):
        fit(seasonal(), 0)
    with pytest.raises(InputError, match="unknown cell"):
        fit(seasonal(), 4, cell="grv")
    with pytest.raises(InputError, match="1 to 4 steps"):
        fit(seasonal(), 4, networks=0).predict(horizon=5)
    assert Options(4, (12,)).networks == 5


@pytest.mark.parametrize("name", ["lstm", "gru_d", "phased_lstm", "min_gru"])
def test_cells_of_every_kind_forecast(name):
    """Those that take gaps or times as well are given the rows alone."""
    from jaxseq.cells import CELLS

    design = network.design(4, (12,), 60, 4, 0)
    window = network.Window(
        np.ones((design.rows, 3), np.float32), np.ones((design.rows, 3), bool), np.full(3, 59, np.int32),
        np.zeros((design.window, 3, 0), np.float32),
    )  # fmt: skip
    line = np.zeros((len(design.lags), 4), np.float32)
    params = network.init(jax.random.key(0), CELLS[name], design, line)
    shape = jax.eval_shape(lambda p, w: network.forecast(CELLS[name], design, p, w), params, window)
    assert shape.shape == (design.window, 3, 4)


def test_networks_that_diverge_are_left_out_or_refused(monkeypatch):
    """In validation an earlier report serves, or the simple forecasts alone; on all rows there is no way back."""
    train, broken = combined.training.train, [slice(None)]

    def diverging(*given):
        def spoil(a):
            return a.at[broken[0]].set(np.nan)

        every = train(*given)
        return every._replace(cell=jax.tree.map(spoil, every.cell)) if given[5] < 72 else every  # rows to train on

    monkeypatch.setattr(combined.training, "train", diverging)
    values = seasonal()
    alone = fit(values, 6, networks=0).predict()
    found = fit(values, 6, networks=1)
    assert found.model.gain == np.inf
    np.testing.assert_array_equal(found.predict().mean, alone.mean)
    broken[0] = slice(4, None)  # reports 5 to 8
    assert fit(values, 6, networks=1).model.stopped <= 4

    def late(*given):
        every = train(*given)
        return jax.tree.map(lambda a: a * np.nan, every) if given[5] == 72 else every

    monkeypatch.setattr(combined.training, "train", late)
    monkeypatch.setattr(combined, "HARM", np.inf)
    with pytest.raises(InputError, match="infinite or NaN in training with --cell gru and --seed 0; try another"):
        fit(values, 6, networks=1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_forecast_that_is_no_number_is_refused(forecaster, monkeypatch, bad):
    forecast = combined.forecast

    def absurd(*given):
        found = forecast(*given)
        return found._replace(point=found.point * bad)

    monkeypatch.setattr(combined, "forecast", absurd)
    with pytest.raises(InputError, match=r"the forecast of series .* is infinite or NaN"):
        forecaster.predict()

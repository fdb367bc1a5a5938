"""Series for the tutorial's forecasters: reading, windows, scaling, simple forecasts and measures."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from jaxseq import InputError, shipped
from jaxseq.apps import series
from jaxseq.apps.forecast.panel import read
from jaxseq.apps.forecast.tutorial.data import read_series
from jaxseq.apps.series import Scaler


def test_the_shipped_series():
    """Box & Jenkins' airline passengers: first, last, largest value and sum as printed in the book."""
    (got,) = read(shipped.find("airline")).series
    assert got.values.shape == (144,) and got.stamps is not None
    assert [str(t.date()) for t in got.stamps[[0, -1]]] == ["1949-01-01", "1960-12-01"]
    assert (got.values[0], got.values[-1], got.values.max(), got.values.sum()) == (112, 432, 622, 40363)


@pytest.mark.parametrize(
    "content", ["a,b\n" + "1,2\n" * 9 + "1,\n" + "1,3\n", "a,b\n" + "1,2\n" * 9 + "1,\n", "a,b\n1,\n" + "1,2\n" * 9]
)
def test_the_tutorials_forecasters_know_no_missing_values(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match="column 'b' has missing values, which the tutorial's forecasters do not know"):
        read_series(str(tmp_path / "a.csv"))
    assert read_series(str(tmp_path / "a.csv"), columns=("a",)).values.shape[1] == 1


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 10))
def test_windows(length, features, more):
    values = np.random.default_rng(0).normal(size=(length + more, features))
    inputs, targets = series.windows(values, length)
    assert inputs.shape == (length, more, features)
    for n in range(more):
        np.testing.assert_array_equal(inputs[:, n], values[n : n + length])
        np.testing.assert_array_equal(targets[n], values[n + length])


@given(arrays(np.float64, (20, 2), elements=st.floats(0.5, 1e4), unique=True), st.booleans(), st.integers(0, 5))
def test_scaling_is_undone(values, log, lag):
    scaler = Scaler.fit(values[:15], ("a", "b"), log=log, lag=lag)
    scaled = scaler.forward(values)
    assert scaled.shape == (20 - lag, 2)
    back = scaler.inverse(scaled, values[: 20 - lag])
    np.testing.assert_allclose(back, values[lag:], rtol=1e-6, atol=1e-6 * values.max())
    train = scaler.forward(values[:15])
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0), 1, rtol=1e-6)


def test_scaling_knows_the_training_part_only():
    values = np.arange(1.0, 31)[:, None] ** 2
    a, b = Scaler.fit(values[:20], "a"), Scaler.fit(np.concatenate([values[:20], values[20:] * 0])[:20], "a")
    assert a.mean == b.mean == values[:20].mean() and a.std == values[:20].std()


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0, 1.0, 1.0], {}, r"column 'a' is constant \(1\) in the training part"),
        ([1.0, -1.0, 2.0], {"log": True}, r"above 0; got -1 in row 2, column 1 \(1 such values\): use --no-log"),
        ([1.0, 2.0, 3.0], {"lag": 2}, r"a seasonal difference of 2 steps needs more than 3 rows; got 3"),
    ],
)
def test_what_cannot_be_scaled(values, options, message):
    with pytest.raises(InputError, match=message):
        Scaler.fit(np.array(values)[:, None], ("a",), **options)


def test_simple_forecasts():
    history = np.array([[1.0], [2.0], [3.0]])
    assert series.naive(history, 3).ravel().tolist() == [3, 3, 3]
    assert series.naive(history, 5, 2).ravel().tolist() == [2, 3, 2, 3, 2]
    with pytest.raises(InputError, match="a season of 4 steps"):
        series.naive(history, 1, 4)
    with pytest.raises(InputError, match="a window of 3 steps and its target need 4 rows"):
        series.windows(history, 3)


def test_linear_autoregression_finds_the_rule():
    """x_t = 0.5 x_{t-1} - 0.3 x_{t-2} + 1, without noise."""
    x = [0.2, 3.0]
    while len(x) < 30:
        x.append(0.5 * x[-1] - 0.3 * x[-2] + 1)
    weights = series.fit_autoregression(np.array(x)[:, None], 2)
    np.testing.assert_allclose(weights.ravel(), [1, -0.3, 0.5], rtol=1e-8)
    nxt = series.autoregress(weights, np.array(x[-2:]).reshape(1, 2, 1))
    np.testing.assert_allclose(nxt, 0.5 * x[-1] - 0.3 * x[-2] + 1)


def test_measures():
    actual, forecast = np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [0.0], [5.0]])
    assert series.mae(actual, forecast) == 1.0
    assert series.rmse(actual, forecast) == math.sqrt(5 / 3)
    train = np.array([[0.0], [1.0], [3.0], [2.0]])
    assert series.mase(actual, forecast, train, 1) == 1.0 / np.mean([1, 2, 1])
    assert series.mase(train[1:], train[:-1], train, 1) == 1.0  # the naive forecast measures itself as 1
    with pytest.raises(InputError, match="of one shape"):
        series.rmse(actual, forecast[:, 0])
    assert series.mase(actual, forecast, np.ones((5, 1)), 1) == math.inf

"""Series for the tutorial's forecasters: reading, windows, scaling and a linear autoregression."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from jaxseq import InputError, shipped
from jaxseq.apps import series
from jaxseq.apps.forecast.panel import read
from jaxseq.apps.forecast.tutorial.compare import naive_losses
from jaxseq.apps.forecast.tutorial.config import TutorialConfig
from jaxseq.apps.forecast.tutorial.data import prepare, read_series
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


def test_losses_of_naive_forecasts_in_the_networks_units():
    config = TutorialConfig(log=False, difference=False, scaling="minmax", window=3, test=0.25, season=12)
    data = prepare(config)
    y = data.series.values[:, 0]
    unit = (y - y[:108].min()) / (y[:108].max() - y[:108].min())
    assert data.scaler.forward(data.series.values[:108]).min() == 0 and data.scaler.forward(y[:108, None]).max() == 1
    found = naive_losses(data, config.window)
    want = [
        np.mean((unit[a:b] - unit[a - k : b - k]) ** 2)
        for k, a in ((1, 3), (12, 12))
        for a, b in ((a, 108), (108, 144))
    ]
    np.testing.assert_allclose([*found["the last value repeated"], *found["the value a season before"]], want)


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


def test_too_few_rows_for_a_window():
    with pytest.raises(InputError, match="a window of 3 steps and its target need 4 rows"):
        series.windows(np.array([[1.0], [2.0], [3.0]]), 3)


def test_linear_autoregression_finds_the_rule():
    """x_t = 0.5 x_{t-1} - 0.3 x_{t-2} + 1, without noise."""
    x = [0.2, 3.0]
    while len(x) < 30:
        x.append(0.5 * x[-1] - 0.3 * x[-2] + 1)
    weights = series.fit_autoregression(np.array(x)[:, None], 2)
    np.testing.assert_allclose(weights.ravel(), [1, -0.3, 0.5], rtol=1e-8)
    nxt = series.autoregress(weights, np.array(x[-2:]).reshape(1, 2, 1))
    np.testing.assert_allclose(nxt, 0.5 * x[-1] - 0.3 * x[-2] + 1)

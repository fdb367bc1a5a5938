"""Series: reading CSV files as people have them, windows, scaling, simple forecasts and measures."""

import datetime
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from jaxseq import InputError, shipped
from jaxseq.apps import series
from jaxseq.apps.series import Scaler

MONTHS = "month,sold\n" + "".join(f"2001-{m:02d},{m * 1.5}\n" for m in range(1, 13))


@pytest.fixture
def csv(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "a.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_the_shipped_series():
    """Box & Jenkins' airline passengers: first, last, largest value and sum as printed in the book."""
    got = series.read_csv(shipped.find("airline"))
    assert got.values.shape == (144, 1) and got.dates is not None
    assert (got.dates[0], got.dates[-1]) == (datetime.datetime(1949, 1, 1), datetime.datetime(1960, 12, 1))
    assert (got.values[0, 0], got.values[-1, 0], got.values.max(), got.values.sum()) == (112, 432, 622, 40363)
    assert series.season_length(got.dates) == 12


@pytest.mark.parametrize(
    "content",
    [
        MONTHS,
        "\ufeff" + MONTHS,
        MONTHS.replace("\n", "\r\n"),
        MONTHS.replace(",", ";"),
        MONTHS.replace(",", "\t"),
        MONTHS.rstrip("\n"),
        MONTHS.replace("\n", "\n\n"),
        MONTHS.replace(",", " , ").replace("sold", "\u200bsold"),
        MONTHS.replace("2001-", "2001/"),
        "".join(f'"{line.replace(",", chr(34) + "," + chr(34))}"\n' for line in MONTHS.split()),
    ],
)
def test_forms_of_the_same_file(csv, content):
    got = series.read_csv(csv(content))
    assert got.names == ("sold",) and got.dates is not None and got.dates[1] == datetime.datetime(2001, 2, 1)
    np.testing.assert_array_equal(got.values[:, 0], np.arange(1, 13) * 1.5)


def test_columns_are_found_or_named(csv):
    path = csv("day,shop,a,b\n" + "".join(f"2001-01-{d:02d},north,{d},{-d}\n" for d in range(1, 9)))
    assert series.read_csv(path).names == ("a", "b")
    assert series.read_csv(path, columns=("b",)).values[:, 0].tolist() == [-d for d in range(1, 9)]
    assert series.read_csv(path, date="day").dates == series.read_csv(path).dates
    assert series.read_csv(csv("\na\n1\n2\n3\n\n")).dates is None
    assert series.read_csv(csv("a,shop,at,v\n1,no. 7,12:30,1.2.3\n2,3rd,13:00,1.2.4\n")).names == ("a",)
    with pytest.raises(InputError, match="line 2: '1' is not a date"):
        series.read_csv(csv("a\n1\n2\n"), date="a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a.csv is empty; expected text"),
        (b"\x89PNG\0\0", r"binary file"),
        ("month,sold\n2001-01,\xe9\n".encode("latin-1"), r"line 2: not UTF-8 .*iconv"),
        ("month,sold\n", r"a header and no rows"),
        ("1,2\n3,4\n", r"line 1: expected a header with names of columns, got '1,2'"),
        ("a,a\n1,2\n", r"line 1: two columns are named 'a'; rename"),
        ("name,place\nx,y\n", r"no column of numbers among name, place .*a forecast needs one"),
        ("m,v\n2001-01,1\n2001-02\n2001-03\n", r"line 3: expected 2 columns as in the header, got 1. Lines like it: 2"),
        ("m,v\n2001-01,1\n2001-02,\n2001-03,nan\n", r"line 3: column 'v' has nothing, expected a number. Cells.*: 2"),
        ("v\n1\n\n3\n\n", r"line 3: column 'v' has nothing, .*Cells like it: 1. Fill"),
        (
            'v,u\n"1,234",1\n"1,235",2\n',
            r"line 2: column 'v' has '1,234', expected a number with a point.*1234.5",
        ),
        ("v;u\n1,5;1\n2,5;2\n", r"line 2: column 'v' has '1,5', expected a number with a point before decimals"),
        (
            "v;u\n1 234 567,8;1\n",
            r"line 2: column 'v' has '1 234 567,8', expected a number with a point .*Rewrite",
        ),
        ("v,u\n1,$5\n2,$6\n", r"line 2: column 'u' has '\$5', expected a number with a point"),
        ("v,u\n1,5%\n2,6 %\n", r"line 2: column 'u' has '5%', .*Cells like it: 2 \(lines 2, 3\)"),
        ("m,v\n2001-01,1\n2001-02,inf\n", r"line 3: column 'v' has 'inf'"),
        ("m,v\n2001-01,1\n2001-02,x\n", r"line 3: column 'v' has 'x', expected a number"),
        ("m,v\n2001-02,1\n2001-01,2\n", r"line 3: 2001-01 is a date before the one above; sort the rows"),
        ("m,v\n2001-01,1\n2001-01,2\n", r"line 3: 2001-01 is the same date twice"),
        ("m,v\n2001-01,1\nMay,2\n", r"line 3: 'May' is not a date; expected for example 1949-01"),
        (
            "m,v\n" + "".join(f"2001-{m:02d},1\n" for m in range(1, 13) if m != 5),
            r"rows are missing between 2001-04",
        ),
    ],
)
def test_what_is_wrong_with_a_file(csv, content, message):
    with pytest.raises(InputError, match=message):
        series.read_csv(csv(content))


def test_an_unknown_column_is_named_with_its_nearest(csv):
    with pytest.raises(InputError, match="unknown column 'soldd': did you mean 'sold'"):
        series.read_csv(csv(MONTHS), columns=("soldd",))


@pytest.mark.parametrize(
    ("step", "season"), [("hours=1", 24), ("days=1", 7), ("days=30.4", 12), ("days=91.3", 4), ("days=365", 1)]
)
def test_season_lengths(step, season):
    name, _, count = step.partition("=")
    start, by = datetime.datetime(2001, 1, 1), datetime.timedelta(**{name: float(count)})
    assert series.season_length([start + n * by for n in range(10)]) == season
    assert series.season_length(None) == series.season_length([start]) == 1


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

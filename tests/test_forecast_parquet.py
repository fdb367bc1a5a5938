"""Parquet files as pandas, Spark and Arrow write them, read rightly; and those that cannot be."""

import datetime
import decimal
import time

import numpy as np
import pandas as pd
import pytest

from jaxseq import InputError, cli
from jaxseq.apps.forecast.panel import read

pa = pytest.importorskip("pyarrow", reason="pandas reads Parquet with pyarrow")
from pyarrow import parquet  # noqa: E402

MONTHS = pd.date_range("2020-01-01", periods=30, freq="MS")
VALUES = np.arange(30) * 1.5
DAYS = list(MONTHS.date)
CENTS = [decimal.Decimal(f"{v:.2f}") for v in VALUES]

TABLES = {
    "days (date32)": {"d": pa.array(DAYS, pa.date32()), "v": VALUES},
    "days in milliseconds (date64)": {"d": pa.array(DAYS, pa.date64()), "v": VALUES},
    "stamps of seconds": {"d": pa.array(MONTHS, pa.timestamp("s")), "v": VALUES},
    "stamps of a time zone": {"d": pa.array(MONTHS.tz_localize("Europe/Berlin")), "v": VALUES},
    "seconds since 1970": {"ts": pa.array(MONTHS.as_unit("s").astype("int64")), "v": VALUES},
    "text as bytes, as Hive writes it": {"d": pa.array([str(d).encode() for d in DAYS], pa.binary()), "v": VALUES},
    "decimals": {"d": pa.array(DAYS), "v": pa.array(CENTS, pa.decimal128(10, 2))},
    "half precision": {"d": pa.array(DAYS), "v": pa.array(VALUES.astype(np.float16))},
    "a column of nothing": {"d": pa.array(DAYS), "v": VALUES, "n": pa.nulls(30)},
    "text and structures": {"d": pa.array(DAYS), "v": VALUES, "s": pa.array([{"a": 1}] * 30), "c": ["x", "y"] * 15},
}
FRAMES = {
    "an index of stamps": pd.DataFrame({"v": VALUES}, index=MONTHS),
    "an index with a name": pd.DataFrame({"v": VALUES}, index=MONTHS.rename("when")),
    "an index of text": pd.DataFrame({"v": VALUES}, index=MONTHS.astype(str)),
    "an index of periods": pd.DataFrame({"v": VALUES}, index=MONTHS.to_period("M")),
    "row numbers that do not begin at 0": pd.DataFrame({"d": [datetime.date(2019, 12, 1), *DAYS], "v": [0.0, *VALUES]})[
        1:
    ],
    "nullable types": pd.DataFrame({"d": pd.array(MONTHS.astype(str), "string"), "v": pd.array(VALUES, "Float64")}),
    "categories": pd.DataFrame({"d": MONTHS, "v": VALUES, "c": pd.Categorical(["a", "b"] * 15)}),
}


@pytest.mark.parametrize("name", [*TABLES, *FRAMES])
def test_parquet_files(tmp_path, name):
    path = tmp_path / "a.parquet"
    if name in TABLES:
        parquet.write_table(pa.table(TABLES[name]), path)
    else:
        FRAMES[name].to_parquet(path)
    panel = read(path)
    (one,) = panel.series
    assert one.name == "v" and panel.calendar.frequency == "MS" and panel.calendar.seasons == (12,)
    assert one.stamps.equals(MONTHS.as_unit("us"))
    np.testing.assert_array_equal(one.values, VALUES)


def test_what_is_missing_in_a_nullable_column_is_missing(tmp_path):
    holes = [None if n in (4, 9) else v for n, v in enumerate(VALUES)]
    frame = pd.DataFrame({"d": MONTHS, "v": pd.array(holes, "Float64"), "n": pd.array(holes, "Float32")})
    frame.to_parquet(tmp_path / "a.parquet")
    for one in read(tmp_path / "a.parquet").series:
        assert np.flatnonzero(np.isnan(one.values)).tolist() == [4, 9]


def test_series_and_stamps_in_one_index(tmp_path):
    index = pd.MultiIndex.from_product([["a", "b"], MONTHS], names=["unique_id", "ds"])
    pd.DataFrame({"y": np.r_[VALUES, -VALUES]}, index=index).to_parquet(tmp_path / "a.parquet")
    assert [(s.name, s.values[-1]) for s in read(tmp_path / "a.parquet").series] == [("a", 43.5), ("b", -43.5)]


def test_hours_of_a_time_zone_are_utc(tmp_path):
    hours = pd.date_range("2020-03-28", periods=60, freq="h", tz="Europe/Berlin")  # across a change of clocks
    parquet.write_table(pa.table({"t": pa.array(hours), "v": np.arange(60.0)}), tmp_path / "a.parquet")
    panel = read(tmp_path / "a.parquet")
    assert panel.calendar.frequency == "h" and panel.series[0].stamps[0] == pd.Timestamp("2020-03-27 23:00")
    assert "offsets applied: the stamps are UTC" in panel.notes


def test_frames_of_arrow_types():
    frame = pa.table(TABLES["decimals"]).to_pandas(types_mapper=pd.ArrowDtype)
    (one,) = read(frame).series
    assert one.stamps.equals(MONTHS.as_unit("us"))
    np.testing.assert_array_equal(one.values, VALUES)


def test_a_parquet_file_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    FRAMES["an index of stamps"].to_parquet("cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-20])
    (tmp_path / "zero.parquet").write_bytes(b"PAR1" + bytes(50) + b"PAR1")
    pq_list = pa.table({"d": pa.array(DAYS), "v": pa.array([[1.0, 2.0]] * 30)})
    parquet.write_table(pq_list, "list.parquet")
    parquet.write_table(pa.table({"d": pa.array([], pa.date32()), "v": pa.array([], pa.float64())}), "empty.parquet")
    for name, message in (("cut", "is a damaged Parquet file"), ("zero", "is a damaged Parquet file"),
                          ("list", "no column of numbers to forecast: v (text"), ("empty", "has no rows")):  # fmt: skip
        assert cli.main(["forecast", "--data", f"{name}.parquet"]) == 2
        shown = capsys.readouterr()
        assert message in shown.err and len(shown.err.splitlines()) == 1 and shown.out == ""
    assert not (tmp_path / "runs").exists()


def test_a_stamp_of_the_year_9999_is_refused_at_once():
    """As a placeholder for no date; filling the hours until then took minutes."""
    hours = pd.date_range("2020-01-01", periods=200, freq="h").to_numpy("M8[us]")
    far = pd.DataFrame({"d": np.r_[hours, np.array(["9999-12-31"], "M8[us]")], "v": np.arange(201.0)})
    begun = time.perf_counter()
    with pytest.raises(InputError, match="row 200: column 'd' has the year 9999"):
        read(far)
    far["d"] = np.r_[hours, np.array(["2999-12-31"], "M8[us]")]
    with pytest.raises(InputError, match="the rows have no common step"):
        read(far)
    assert time.perf_counter() - begun < 5

"""Small tables that once took seconds, gigabytes or a traceback: each is read, or refused with a sentence."""

import cProfile
import gzip
import random

import numpy as np
import pandas as pd
import pytest

from jaxseq import InputError
from jaxseq.apps.forecast import calendar, encoding, forms, panel
from jaxseq.apps.forecast.calendar import Calendar
from jaxseq.apps.forecast.cells import numbers
from jaxseq.apps.forecast.forecaster import arrays, phases
from jaxseq.apps.forecast.panel import Panel, Series
from jaxseq.apps.forecast.steps import are_among, listed

DAYS = pd.date_range("1900-01-01", periods=2000).strftime("%Y-%m-%d").tolist()


@pytest.fixture
def read(tmp_path):
    """``(text or bytes, **options) -> panel`` of a file that holds them."""

    def read(content, **options):
        path = tmp_path / "a.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return panel.read(path, **options)

    return read


def calls(f, *args, **options) -> int:
    """Return how many functions a call calls."""
    profile = cProfile.Profile()
    profile.runcall(f, *args, **options)
    return sum(entry.callcount for entry in profile.getstats())


# ---------------------------------------------------------------------------------------------- calendars


@pytest.mark.parametrize("frequency", "D 2D h 7h min B 3B W W-SUN 2W-WED MS ME BMS SMS QE bh C".split())
def test_the_stamps_of_a_frequency_are_those_of_pandas(frequency):
    draw = random.Random(0)
    for _ in range(20):
        first = np.datetime64("1950-01-01", "us") + np.timedelta64(draw.randrange(10**9), "s")
        last = first + np.timedelta64(draw.randrange(60), "D")
        want = pd.date_range(first, last, freq=frequency, unit="us")
        np.testing.assert_array_equal(listed(first, last, frequency), want)


@pytest.mark.parametrize("frequency", ["D", "W-SUN", "MS", "QS"])
def test_all_years_that_are_read_have_days_and_longer_steps(frequency):
    first, last = np.datetime64("1000-01-06"), np.datetime64("2999-12-01")
    assert len(listed(first, last, frequency)) == len(pd.date_range(first, last, freq=frequency, unit="us"))


@pytest.mark.parametrize(
    ("frequency", "most"), [("s", "10,000,000"), ("bh", "30,000"), ("cbh", "30,000"), ("C", "30,000")]
)
def test_more_steps_than_are_listed_are_refused_before_they_are(read, frequency, most):
    said = (
        f"from 1000-01-06 10:00 to 2999-12-02 10:00 there are more than {most} steps of {frequency}; correct the dates"
    )
    with pytest.raises(InputError, match=said):
        read("ds,y\n1000-01-06 10:00,1\n2999-12-02 10:00,2\n", frequency=frequency)


@pytest.mark.parametrize(("frequency", "dates"), [
    ("SMS", ["2020-01-01", "2020-01-15", "2020-02-01"]), ("C", ["2020-01-02", "2020-01-03", "2020-01-06"]),
    ("WOM-1MON", ["2020-01-06", "2020-02-03", "2020-03-02"]), ("bh", ["2020-01-02 10:00", "2020-01-02 11:00"]),
    ("2h30min", ["2020-01-02 10:00", "2020-01-02 12:30"]),
])  # fmt: skip
def test_every_frequency_of_pandas_may_be_given(read, frequency, dates):
    found = read("date,y\n" + "".join(f"{date},{n}\n" for n, date in enumerate(dates)), frequency=frequency)
    assert found.calendar.seasons == (1,) and len(found.series[0].values) == len(dates)


@pytest.mark.parametrize("frequency", ["-1D", "0D", "-1MS", "9" * 30 + "D", "9" * 18 + "MS"])
def test_steps_that_lead_nowhere_are_refused(read, frequency):
    with pytest.raises(InputError, match=f"unknown --frequency {frequency}|--frequency {frequency} has no row at"):
        read("date,y\n2000-01-01,1\n2020-12-01,2\n", frequency=frequency)


def test_hours_that_repeat_every_day_in_linear_time():
    """450 s of each day: of the 604,800 s of a week, those that are open were looked for one by one."""
    start = np.datetime64("2000-01-03T09:00", "us")
    stamps = (start + np.arange(50)[:, None] * np.timedelta64(1, "D") + np.arange(450) * np.timedelta64(1, "s")).ravel()
    found = calendar.infer(stamps).calendar
    seconds = 9 * 3600 + np.arange(450)
    assert found.frequency == "s" and found.open == tuple((np.arange(7)[:, None] * 86400 + seconds).ravel().tolist())


def test_stamps_that_are_due_are_found_in_linear_time():
    """`np.isin` takes 14 s to find four of eight million seconds, whose hashes collide."""
    due = np.datetime64("2020-01-01", "us") + np.arange(8 * 10**6) * np.timedelta64(1, "s")
    one = np.timedelta64(1, "us")
    asked = np.array([due[5], due[-1], due[-1] + one, due[0] - one, due[9] + one])
    assert are_among(asked, due).tolist() == [True, True, False, False, False]
    assert are_among(asked, due[:0]).tolist() == [False] * 5


def test_rows_to_be_filled_are_bounded(read):
    """Four rows a month apart by seconds: eight million rows. Months may be filled by days."""
    months = pd.date_range("2020-01-01", periods=24, freq="MS").strftime("%Y-%m-%d")
    text = "date,y\n" + "".join(f"{month},{n}\n" for n, month in enumerate(months))
    assert len(read(text, frequency="D").series[0].values) == 366 + 335
    with pytest.raises(InputError, match="has 4 of the 7,862,401 rows due by --frequency; give a longer one"):
        read("date,y\n" + "".join(f"2020-0{m}-01 00:00:00,{m}\n" for m in range(1, 5)), frequency="s")


def test_a_note_on_missing_rows_writes_out_those_that_it_shows(read):
    """Two rows at the ends of 3 and of 300 years of days: as many calls of functions, where each row had some."""
    few, many = (
        calls(read, f"date,y\n1900-01-01,1\n1900-01-02,1\n{year}-01-01,2\n", frequency="D") for year in (1903, 2200)
    )
    assert many < few + 100


def test_series_that_end_at_as_many_dates_are_counted_in_one_listing():
    """The reference lists the calendar up to the end of each series."""
    stamps = pd.date_range("2020-01-01", periods=3000, freq="D", unit="us")
    none = np.zeros((1, 0))
    every = tuple(Series(str(n), stamps[n : n + 1], np.ones(1), none, none, none[0]) for n in (5, 0, 9, 2999, 9))
    for rule in (Calendar("D"), Calendar("h", open=(9, 33, 57)), Calendar("MS", shift=4)):
        whole = [len(rule.between(stamps[0].to_datetime64(), one.stamps[-1].to_datetime64())) for one in every]
        assert phases(Panel(every, rule)).tolist() == [count - whole[0] for count in whole]
    many = Panel(
        tuple(Series(str(n), stamps[n : n + 1], np.ones(1), none, none, none[0]) for n in range(1000)), Calendar("D")
    )
    assert calls(phases, many) < 20_000


def test_ids_without_dates_count_their_rows(read):
    found = read("id,y\nb,1\na,2\nb,3\nb,5\na,4\n", id="id")
    assert [(s.name, s.values.tolist()) for s in found.series] == [("b", [1, 3, 5]), ("a", [2, 4])]


# ---------------------------------------------------------------------------------------------- dates


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_since_1970(read, unit):
    """Against pandas: microseconds overflowed 64 bits."""
    stamps = pd.date_range("2020-01-01", periods=40, freq="h").as_unit(unit)
    cells = stamps.astype("int64")
    found = read("t,y\n" + "".join(f"{t},{n}\n" for n, t in enumerate(cells)))
    assert found.calendar.frequency == "h" and found.series[0].stamps.equals(stamps.as_unit("us"))


def test_nanoseconds_above_the_largest_int64():
    cells = ["9223372036854775807", "9999999999999999999"]
    found = forms.instants("nanoseconds since 1970", forms.match("nanoseconds since 1970", cells))
    assert found.stamps.tolist() == [np.datetime64(int(t) // 1000, "us").item() for t in cells]


@pytest.mark.parametrize("cell", ["9" * 5000, "²", "٣", "25"])
def test_hours_that_no_day_has(read, cell):
    """Digits beyond 0 to 9, and more of them than Python reads as a number: the column is not one of hours."""
    found = read(f"date,hour,y\n2020-01-01,{cell},1\n2020-01-02,{cell},2\n")
    assert found.columns.dates == ("date",) and found.calendar.frequency == "D" and found.series[-1].name == "y"


@pytest.mark.parametrize(("form", "said"), [
    ("mixed", "is not a date format"), ("ISO8601", "is not a date format"), ("", "is not a date format"),
    ("%d.%m.%y", "is not a date of the form"),
])  # fmt: skip
def test_formats_that_are_not_those_of_strptime(read, form, said):
    with pytest.raises(InputError, match=said):
        read("date,y\n2020-01-01 00:00+01:00,1\n2020-01-02 00:00,2\n", date_format=form)


def test_a_date_cell_has_one_of_the_forms():
    """One pattern of all forms finds the cells that one of them finds."""
    draw, seeds = random.Random(1), [
        "2020-01-02", "2020/1/2 10:00", "1.2.2020", "1-2-20", "2020Q1", "Q1 20", "2020-W05-1", "2020H1", "3 jan 2020",
        "Monday 3rd of March 2020", "2020年3月2日", "2020年第一季度", "20200102T1000", "2020:03", "2020 M3", "12.5",
    ]  # fmt: skip
    found = 0
    for _ in range(5000):
        text = list(draw.choice(seeds))
        for _ in range(draw.randrange(3)):
            at = draw.randrange(len(text) + 1)
            text[at : at + draw.randrange(2)] = draw.choice("0123456789-/. :TQWZ年月é")
        cell = "".join(text).strip()
        want = any(forms.FORMS[name].match(cell) for name in forms.SEPARATED if name != "month in words")
        assert forms.is_date_cell(cell) == (want or forms._is_month(cell)), cell
        found += want
    assert 500 < found < 4500


# ---------------------------------------------------------------------------------------------- cells and files


@pytest.mark.parametrize("text", [";" * 1000, "," * 1000, (",,,\n") * 50, '"",' * 100, '"#a",1\n' * 50, '\t"' * 100])
def test_tables_of_blank_cells(read, text):
    with pytest.raises(InputError, match=r"comments or empty cells only|no header|never closed"):
        read(text)


class Long(str):
    """A text that refuses to be copied."""

    def casefold(self):
        raise AssertionError("copied")


def test_long_cells_are_not_numbers():
    """A text of 60 kB in a million rows was copied for each of them."""
    found = numbers(np.array(["1", "2", "9" * 101, Long("x" * 10**6)], object))
    assert found.unread.tolist() == [2, 3] and found.share == 0.5


def test_a_small_packed_table_may_grow_25_times(tmp_path):
    path, draw = tmp_path / "a.csv.gz", np.random.default_rng(0)
    text = b"y\n" + b"\n".join(b"%d" % n for n in draw.integers(0, 10**9, 250_000))
    path.write_bytes(gzip.compress(text, 1))
    assert len(text) > encoding.EXPANSION_FROM and encoding.unpacked(path) == text
    path.write_bytes(gzip.compress(b"y\n" + b"1\n" * (encoding.EXPANSION_FROM // 2)))
    with pytest.raises(
        InputError, match=r"holds more than 2,097,152 bytes; unpack it first if that is intended \(gunzip\)"
    ):
        panel.read(path)


def test_a_large_packed_table_may_grow_by_more(tmp_path, monkeypatch):
    """A long table of shops that sell little is packed to a thirtieth."""
    path = tmp_path / "a.csv.gz"
    rows = (f"shop_{n // 1000:04},2020-01-{n % 28 + 1:02},{(n * 7919 % 1000 == 0) * n}\n" for n in range(10**5))
    text = "".join(rows).encode()
    path.write_bytes(gzip.compress(text))
    assert len(text) > encoding.SMALL_EXPANSION * path.stat().st_size and len(text) > encoding.EXPANSION_FROM
    with pytest.raises(InputError, match="gunzip"):
        encoding.unpacked(path)
    monkeypatch.setattr(encoding, "SMALL", path.stat().st_size)
    assert encoding.unpacked(path) == text


@pytest.fixture
def parquet(tmp_path):
    """``(names and arrays of arrow) -> panel`` of a Parquet file that holds them."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def parquet_of(**columns):
        path = tmp_path / "a.parquet"
        parquet.write_table(pa.table(columns), path, compression="zstd")
        assert path.stat().st_size < 2**20
        return panel.read(path)

    return parquet_of


def test_lists_and_records_are_not_read(parquet):
    """Of 3,000 lists of 1,000 numbers each was written out."""
    pa = pytest.importorskip("pyarrow")
    days = pa.array(pd.date_range("2000-01-01", periods=3000))
    lists = pa.array([[0] * 1000] * 3000)
    assert [s.name for s in parquet(d=days, y=pa.array(np.arange(3000.0)), z=lists).series] == ["y"]
    assert "left out: z (text, such as 'list<element: int64>')" in parquet(d=days, y=np.arange(3000.0), z=lists).notes
    few, many = (calls(parquet, d=days, y=np.arange(3000.0), z=pa.array([[0] * n] * 3000)) for n in (1, 100))
    assert many < few + 100


@pytest.mark.parametrize("kind", ["string", "large_string", "binary", "large_binary", "string_view", "fixed"])
def test_text_that_is_repeated_counts_as_often(parquet, kind):
    """A text of 20 kB in 5,000 rows, which takes some kilobytes on the disk: 100 MB to take apart."""
    pa = pytest.importorskip("pyarrow")
    of = pa.binary(20_000) if kind == "fixed" else getattr(pa, kind)()
    one = b"x" * 20_000 if "binary" in kind or kind == "fixed" else "x" * 20_000
    with pytest.raises(InputError, match="holds more than 67,108,864 bytes"):
        parquet(y=pa.array([one] * 5000, of))


@pytest.mark.parametrize("kind", ["date32", "time", "decimal"])
def test_cells_that_become_objects_count_as_128_bytes(parquet, kind):
    pa = pytest.importorskip("pyarrow")
    of = {"date32": pa.date32(), "time": pa.time64("us"), "decimal": pa.decimal128(20, 2)}[kind]
    with pytest.raises(InputError, match="holds more than 67,108,864 bytes"):
        parquet(y=pa.nulls(600_000, of))


def test_panels_for_which_there_is_no_memory(monkeypatch):
    """Two series of 60 rows and a covariate known ahead, at each of 5 steps: 8 bytes for each value, 24 a covariate."""
    monkeypatch.setattr("jaxseq.memory.available_bytes", lambda: 15_000)
    one = Series("a", None, np.arange(60.0), np.zeros((60, 0)), np.ones((60, 1)), np.zeros(0))
    both = Panel((one, one), Calendar())
    assert arrays(both, both, 4)[1].shape == (60, 2, 4)
    with pytest.raises(InputError, match=r"2 series of 60 rows, each with 5 covariates, take 15,360 bytes of memory"):
        arrays(both, both, 5)

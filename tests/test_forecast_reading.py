"""Files as people have them, read rightly; the values are checked against those that were written."""

import gzip
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from jaxseq import InputError, shipped
from jaxseq.apps.forecast import parquet
from jaxseq.apps.forecast.panel import read

WORDS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def wave(i: int, season: int) -> float:
    """A trend, a season, and digits that differ from row to row."""
    return round(200 + i + 30 * math.cos(2 * math.pi * i / season) + (i * 37 % 11) / 11, 2)


def rows(stamps, season: int, head: str = "date,sales") -> str:
    return head + "\n" + "".join(f"{stamp},{wave(i, season)}\n" for i, stamp in enumerate(stamps))


def monthly(form, count: int = 48) -> str:
    return rows([form(2016 + i // 12, i % 12 + 1) for i in range(count)], 12)


def every(start: str, freq: str, count: int, form: str = "%Y-%m-%d %H:%M") -> list[str]:
    return pd.date_range(start, periods=count, freq=freq).strftime(form).tolist()


ISO = monthly(lambda y, m: f"{y}-{m:02d}-01")
LINES = ISO.splitlines()
MONTHS_2016 = ("2016-01-01", "2019-12-01", "MS", (12,), 48)
OFFICE = [s for s in every("2023-05-01", "h", 24 * 42) if s[11:13] in "09 10 11 12 13 14".split()]
WEEK = [s for s in every("2023-05-01", "h", 600) if pd.Timestamp(s).day_of_week < 5]
FILES = {
    # name: text, then first and last stamp, frequency, seasons, rows, season of the values
    "us": (monthly(lambda y, m: f"{m:02d}/01/{y}"), *MONTHS_2016, 12),
    "european": (monthly(lambda y, m: f"01/{m:02d}/{y}"), *MONTHS_2016, 12),
    "compact": (monthly(lambda y, m: f"{y}{m:02d}01"), *MONTHS_2016, 12),
    "compact months": (monthly(lambda y, m: f"{y}{m:02d}"), *MONTHS_2016, 12),
    "words": (monthly(lambda y, m: f"{WORDS[m - 1]} {y}"), *MONTHS_2016, 12),
    "words of Excel": (monthly(lambda y, m: f"{WORDS[m - 1]}-{y % 100}"), *MONTHS_2016, 12),
    "days in words": (monthly(lambda y, m: f'"{WORDS[m - 1]} 1, {y}"'), *MONTHS_2016, 12),
    "Chinese": (monthly(lambda y, m: f"{y}年{m}月").replace("sales", "销量"), *MONTHS_2016, 12),
    "German": (monthly(lambda y, m: f"{m:02d}#{y}").replace(",", ";").replace(".", ",").replace("#", "."),
               *MONTHS_2016, 12),
    "month ends": (rows(every("2016-01-31", "ME", 48, "%Y-%m-%d"), 12),
                   "2016-01-31", "2019-12-31", "ME", (12,), 48, 12),
    "the 15th": (monthly(lambda y, m: f"{y}-{m:02d}-15"), "2016-01-15", "2019-12-15", "MS", (12,), 48, 12),
    "quarters": (rows([f"{2001 + i // 4}-Q{i % 4 + 1}" for i in range(40)], 4),
                 "2001-01-01", "2010-10-01", "QS-JAN", (4,), 40, 4),
    "quarters first": (rows([f"Q{i % 4 + 1} {2001 + i // 4}" for i in range(40)], 4),
                       "2001-01-01", "2010-10-01", "QS-JAN", (4,), 40, 4),
    "years": (rows(range(1921, 1981), 9, "year,water"), "1921-01-01", "1980-01-01", "YS-JAN", (1,), 60, 9),
    "epoch, ms": (rows([(1420070400 + 86400 * i) * 1000 for i in range(90)], 7, "ts,rate"),
                  "2015-01-01", "2015-03-31", "D", (7,), 90, 7),
    "epoch, s": (rows([1420070400 + 3600 * i for i in range(90)], 24, "ts,rate"),
                 "2015-01-01", "2015-01-04 17:00", "h", (24,), 90, 24),
    "weeks": (rows(every("2011-01-02", "W-SUN", 150, "%Y-%m-%d"), 52),
              "2011-01-02", "2013-11-10", "W-SUN", (52,), 150, 52),
    "working days": (rows(every("2021-03-01", "B", 100, "%Y-%m-%d"), 5), "2021-03-01", "2021-07-16", "B", (5,), 100, 5),
    "two years of days": (rows(every("2021-03-01", "D", 740, "%Y-%m-%d"), 7),
                          "2021-03-01", "2023-03-10", "D", (7, 365), 740, 7),
    "hours": (rows(every("2022-02-01", "h", 400), 24), "2022-02-01", "2022-02-17 15:00", "h", (24, 168), 400, 24),
    "closed at weekends": (rows(WEEK, 24), WEEK[0], WEEK[-1], "h", (24, 120), len(WEEK), 24),
    "closed at night": (rows(OFFICE, 6), OFFICE[0], OFFICE[-1], "h", (6, 42), len(OFFICE), 6),
    "quarter-hours": (rows(every("2022-02-01", "15min", 400), 96),
                      "2022-02-01", "2022-02-05 03:45", "15min", (96,), 400, 96),
    "ten minutes": (rows(every("2022-02-01", "10min", 300), 144), "2022-02-01", "2022-02-03 01:50", "10min", (144,),
                    300, 144),
    "date and time": (rows(every("2022-02-01", "h", 100), 24, "Date,Time,load").replace(" ", ","),
                      "2022-02-01", "2022-02-05 03:00", "h", (24,), 100, 24),
    "year and month": (monthly(lambda y, m: f"{y},{m}").replace("date", "Year,Month"), *MONTHS_2016, 12),
    "offsets of summer": (
        rows([pd.Timestamp(s, tz="UTC").tz_convert("Europe/Berlin").isoformat()
              for s in every("2024-10-26", "h", 60)], 24),
        "2024-10-26", "2024-10-28 11:00", "h", (24,), 60, 24),
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    def write(content: str | bytes, name: str = "a.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("name", FILES)
def test_files_as_people_have_them(file, name):
    text, first, last, frequency, seasons, count, season = FILES[name]
    panel = read(file(text))
    (one,) = panel.series
    assert (one.stamps[0], one.stamps[-1]) == (pd.Timestamp(first), pd.Timestamp(last))
    assert (panel.calendar.frequency, panel.calendar.seasons) == (frequency, seasons)
    np.testing.assert_array_equal(one.values, [wave(i, season) for i in range(count)])
    assert one.past.shape == one.future.shape == (count, 0) and one.static.shape == (0,)
    after = panel.calendar.next_stamps(one.stamps[-1], 3)  # where the calendar goes on is where the file would
    whole = panel.calendar.between(one.stamps[0].to_numpy(), after[-1].to_numpy())
    assert whole[-3:].equals(after) and len(whole) == count + 3


def test_closed_hours_and_days_have_no_stamps():
    office = read(pd.DataFrame({"t": OFFICE, "v": np.arange(len(OFFICE))}), date="t").calendar
    assert office.next_stamps(pd.Timestamp("2023-06-11 13:00"), 3).tolist() == [
        pd.Timestamp(s) for s in ("2023-06-11 14:00", "2023-06-12 09:00", "2023-06-12 10:00")
    ]
    assert str(office) == "hourly (h), 42 of 168 steps of a week; season 6 and 42 rows"
    working = read(pd.DataFrame({"ds": every("2021-03-01", "B", 40), "v": range(40)})).calendar
    assert working.next_stamps(pd.Timestamp("2021-03-05"), 1)[0] == pd.Timestamp("2021-03-08")


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + ISO,
        ISO.encode("utf-16"),
        ISO.encode("utf-16-le"),
        ISO.encode("utf-16-be"),
        ISO.replace("\n", "\r\n"),
        ISO.replace("\n", "\n\n"),
        ISO.replace(",", "\t"),
        ISO.replace(",", ";"),
        ISO.replace(",", "|"),
        ISO.replace(",", " , "),
        ISO.replace(",", "   "),
        "sep=;\n" + ISO.replace(",", ";"),
        "# from the till\n" + ISO,
        "# " + ISO,
        "Sales of the shop\n\n" + ISO,
        ISO.rstrip() + "\nTotal,12345\n",
        ISO.rstrip() + "\nSource: the till\n",
        ISO.replace("\n", ",\n"),
        ISO + ",\n,\n",
        "".join(f'"{line.replace(",", chr(34) + "," + chr(34))}"\n' for line in LINES),
        gzip.compress(ISO.encode()),
        "\n".join([LINES[0], *reversed(LINES[1:])]),
        "\n".join([LINES[0], *LINES[20:], *LINES[1:20]]),
        "".join(f"{i or ''},{line}\n" for i, line in enumerate(LINES)),
        "".join(f"{i - 1 if i else 'Unnamed: 0'},{line}\n" for i, line in enumerate(LINES)),
    ],
)
def test_forms_of_the_same_file(file, content):
    panel = read(file(content))
    assert [s.name for s in panel.series] == ["sales"] and panel.calendar.frequency == "MS"
    np.testing.assert_array_equal(panel.series[0].values, [wave(i, 12) for i in range(48)])
    assert panel.series[0].stamps.equals(pd.date_range("2016-01-01", periods=48, freq="MS", unit="us"))


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (ISO.rstrip() + "\nTotal,12345\n", "left out below the table: 'Total'"),
        ("\n".join([LINES[0], *reversed(LINES[1:])]), "rows were from the last to the first: sorted by date"),
        ("\n".join([LINES[0], *LINES[20:], *LINES[1:20]]), "rows were in no order: sorted by date"),
        ("".join(f"{i or ''},{line}\n" for i, line in enumerate(LINES)), r"left out: Unnamed: 0 \(row numbers\)"),
        ("# from the till\n" + ISO, r"line 1 left out: comments"),
        ("Sales\n" + ISO, r"line 1 left out: above the header"),
        (ISO.replace("\n", ",north\n").replace("sales,north", "sales,shop"),
         r"left out: shop \(text, such as 'north'\)"),
        ("\n".join(line for k, line in enumerate(LINES) if k not in (21, 22, 39)),
         r"sales: 3 of 48 values missing \(2017-09-01, 2017-10-01, 2019-03-01\): masked in training, filled"),
        ("\n".join(line.split(",")[0] + ",NA" if k in (21, 39) else line for k, line in enumerate(LINES)),
         r"sales: 2 of 48 values missing \(2017-09-01, 2019-03-01\)"),
        (ISO.replace("\n", "%\n").replace("sales%", "sales"), "sales: numbers in %"),
        ("v\n3\n4.5\n\n5\n", "v: 1 of 4 values missing .row 2."),
        (rows([s for s in every("2024-03-25", "h", 300) if s != "2024-03-31 02:00"], 24),
         "an hour is missing where clocks go forward, so these are local times: write offsets"),
    ],
)  # fmt: skip
def test_what_is_left_out_or_filled_is_said(file, content, note):
    assert any(pd.Series(read(file(content)).notes).str.contains(note))


@pytest.mark.parametrize(
    ("cells", "separator", "values"),
    [
        (["1.234,5", "2.000", "17"], ";", [1234.5, 2000, 17]),
        (["1,234.5", "2,000", "17"], ";", [1234.5, 2000, 17]),
        (["1 234,5", "2 000", "17"], ";", [1234.5, 2000, 17]),
        (["1\u202f234,5", "2'000", "−17"], ";", [1234.5, 2000, -17]),
        (["$1234.50", "($20)", "-$3"], ",", [1234.5, -20, -3]),
        (["1,5 €", "2,25 €", ""], ";", [1.5, 2.25, math.nan]),
        (["5 %", "6.5%", "-"], ",", [5, 6.5, math.nan]),
        (["1.5e3", ".5", "1e-2"], ",", [1500, 0.5, 0.01]),
        (["12,34,567", "1,00,000", "8"], ";", [1234567, 100000, 8]),
        (["1.234", "0.500", "2.000"], ";", [1.234, 0.5, 2]),
        (["1.234", "2.345", "2.000"], ",", [1.234, 2.345, 2]),
    ],
)
def test_numbers_as_people_write_them(file, cells, separator, values):
    text = f"day{separator}v\n" + "".join(f"2020-01-0{n}{separator}{cell}\n" for n, cell in enumerate(cells, 1))
    got = read(file(text)).series[0].values
    there = len(got)  # the last may be missing, and then there is no row for it
    np.testing.assert_array_equal(got, values[:there])
    assert there >= 2


def test_one_column_decides_for_another_and_the_user_for_both(file):
    text = "day;a;b\n2020-01-01;1.234;1,5\n2020-01-02;2.345;2,25\n"
    assert [s.values.tolist() for s in read(file(text)).series] == [[1234, 2345], [1.5, 2.25]]
    text = text.replace(";1,5", ";1").replace(";2,25", ";2")
    with pytest.raises(InputError, match=r"'1.234', which may be 1.234 \(--decimal .\) or 1234 \(--decimal ,\)"):
        read(file(text))
    assert read(file(text), decimal=",").series[0].values.tolist() == [1234, 2345]
    assert read(file(text), decimal=".").series[0].values.tolist() == [1.234, 2.345]


@pytest.mark.parametrize(
    ("name", "encoding"), [("销量", "gb18030"), ("Umsätze größer", "latin-1"), ("Größe €", "cp1252"), ("Müll", "utf-8")]
)
def test_encodings(file, name, encoding):
    panel = read(file(ISO.replace("sales", name).encode(encoding)))
    assert panel.series[0].name == name


def test_long_format_and_what_looks_like_an_id(file):
    text = "shop,date,y\n" + "".join(
        f"{shop},2015-{m:02d}-01,{wave(m, 12) * (n + 1)}\n" for n, shop in enumerate("north south".split())
        for m in range(1, 13)
    )  # fmt: skip
    panel = read(file(text), id="shop")
    assert [s.name for s in panel.series] == ["north", "south"] and panel.calendar.frequency == "MS"
    np.testing.assert_allclose(panel.series[1].values, [wave(m, 12) * 2 for m in range(1, 13)])
    with pytest.raises(InputError, match=r"line 14: 2015-01-01 occurs twice \(first in line 2\).* say --id shop"):
        read(file(text))
    nixtla = pd.read_csv(file(text)).rename(columns={"shop": "unique_id", "date": "ds"})
    for one, other in zip(read(nixtla).series, panel.series, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.values, other.values)


def test_covariates_known_ahead_go_on_below_the_target():
    days = pd.date_range("2022-01-01", periods=30)
    frame = pd.DataFrame({"day": days, "sales": np.arange(30.0), "holiday": ["no", "yes"] * 15,
                          "sun": np.arange(30) / 2, "shop": "a", "size": 7.0})  # fmt: skip
    frame.loc[26:, "sales"] = np.nan
    frame.loc[3, "sun"] = np.nan
    panel = read(frame, past=("sun",), future=("holiday",), id="shop", static=("size",))
    (one,) = panel.series
    assert one.values.shape == (26,) and one.past.shape == (26, 1) and one.future.shape == (30, 1)
    assert one.future[:, 0].tolist() == [0, 1] * 15 and one.past[2:5, 0].tolist() == [1, 1, 2] and one.static == [7]
    assert "holiday: text, 1 where it is 'yes'" in panel.notes
    with pytest.raises(InputError, match="a static column of sun changes within series 'a'"):
        read(frame, id="shop", static=("sun",))


def test_frames_of_every_type():
    dates = pd.date_range("2020-01-01", periods=20, freq="MS")
    values = np.arange(20) * 1.5
    for frame in (
        pd.DataFrame({"v": values}, index=dates),
        pd.DataFrame({"v": values}, index=dates.to_period("M")),
        pd.DataFrame({"when": dates.date, "v": values}),
        pd.DataFrame({"when": dates.astype(str), "v": pd.array(values, "Float64")}),
        pd.DataFrame({"when": dates.tz_localize("Europe/Berlin"), "v": [str(v) for v in values]}),
    ):
        panel = read(frame)
        assert panel.series[0].stamps.equals(dates.as_unit("us")) and panel.calendar.frequency == "MS"
        np.testing.assert_array_equal(panel.series[0].values, values)


def test_parquet_needs_pyarrow(file, monkeypatch):
    path = file(b"PAR1....", "a.parquet")
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="a Parquet file, which pandas reads with pyarrow: pip install pyarrow"):
        read(path)


def test_the_shipped_series():
    """Box & Jenkins' airline passengers: first, last, largest value and sum as printed in the book."""
    one = read(shipped.find("airline")).series[0]
    assert (one.values[0], one.values[-1], one.values.max(), one.values.sum()) == (112, 432, 622, 40363)


def test_a_date_format_and_frequencies_that_the_user_gives(file):
    text = rows([f"{1 + i // 12:02d}|{i % 12 + 1:02d}" for i in range(36)], 12).replace("|", "~")
    with pytest.raises(InputError, match="--date-format"):
        read(file(text))
    panel = read(file(text), date_format="%y~%m", seasons=(6, 12))
    assert panel.series[0].stamps[0] == pd.Timestamp("2001-01-01") and panel.calendar.seasons == (6, 12)
    sparse = file("day,v\n2020-01-01,1\n2020-01-02,2\n2020-02-05,3\n2020-04-09,4\n")
    with pytest.raises(InputError, match=r"the rows have no common step: .*1 day .1 times"):
        read(sparse)
    assert len(read(sparse, frequency="D").series[0].values) == 100


@settings(max_examples=12)
@given(
    st.sampled_from(["D", "h", "MS", "15min", "W-MON", "B"]),
    st.sampled_from(["%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%d.%m.%Y %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%b %d, %Y %I:%M %p"]),
    st.sampled_from([";", "\t", "|"]),
    st.booleans(),
    st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 2)), min_size=40, max_size=44),
)
def test_what_is_written_in_any_form_comes_back(tmp_path_factory, freq, form, separator, comma, values):
    stamps = pd.date_range("2019-11-01", periods=len(values), freq=freq)
    text = f"date{separator}v\n" + "".join(
        f"{stamp.strftime(form)}{separator}{format(v, '.2f').replace('.', ',' if comma else '.')}\n"
        for stamp, v in zip(stamps, values, strict=True)
    )
    path = tmp_path_factory.mktemp("any") / "a.txt"
    path.write_text(text, encoding="utf-8")
    panel = read(path)
    np.testing.assert_array_equal(panel.series[0].values, values)
    assert panel.series[0].stamps.equals(stamps.as_unit("us")) and panel.calendar.frequency == freq


def test_dates_that_may_be_two_days(file):
    text = rows([f"01/{m:02d}/2015" for m in range(1, 13)], 12)
    said = r"'01/02/2015' .* may be 2015-\d\d-\d\d \(.*--date-format %[dm]/%[dm]/%Y\) or 2015-\d\d-\d\d \(.* Choose one"
    with pytest.raises(InputError, match=said):
        read(file(text))
    assert read(file(text), date_format="%d/%m/%Y").calendar.frequency == "MS"
    assert read(file(text), date_format="%m/%d/%Y").calendar.frequency == "D"
